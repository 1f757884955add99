"""Which markets deserve slots: pure, over the published universe.

This version fills the slots once from the most traded groups; pinned, exploit and rotation slots
take the same inputs and give the same ``Selection``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from surveillance_collector.engine import Tier
from surveillance_core.markets import Market
from surveillance_core.venues.protocols import AssetTerms
from surveillance_core.venues.registry import asset_terms


@dataclass(frozen=True)
class SelectedMarket:
    """A market with slots: its assets and how often its book is read."""

    market: Market
    assets: tuple[AssetTerms, ...]
    tier: Tier


@dataclass(frozen=True)
class Selection:
    """Markets to subscribe, in order of interest, and why the others are not."""

    markets: tuple[SelectedMarket, ...]
    left_out: Counter[str]

    @property
    def slots(self) -> int:
        """Assets subscribed."""
        return sum(len(selected.assets) for selected in self.markets)


@dataclass(frozen=True)
class Filters:
    """What keeps a listed market out, as configured."""

    exclude_title_patterns: tuple[str, ...] = ()
    min_hours_until_close: float = 0.0


def select_markets(
    universe: Sequence[Market],
    now: datetime,
    *,
    max_slots: int,
    hot_count: int,
    mirror: bool,
    filters: Filters,
) -> Selection:
    """Fill the slots with whole groups, most traded first.

    A group is every market of one event that passes the filters; it is subscribed whole or not at
    all, because constraints need all its books at once. A market outside any event is a group of
    its own. The ``hot_count`` most traded markets selected are hot.
    """
    left_out: Counter[str] = Counter()
    groups: dict[str, list[Market]] = {}
    for market in universe:
        reason = _filtered(market, now, filters)
        if reason is not None:
            left_out[reason] += 1
            continue
        group = market.groups[0].group_id if market.groups else f"market:{market.market_id}"
        groups.setdefault(group, []).append(market)
    ordered = sorted(groups.items(), key=lambda item: (-_traded(item[1]), item[0]))
    chosen: list[tuple[Market, tuple[AssetTerms, ...]]] = []
    free = max_slots
    for _, members in ordered:
        assets = [tuple(asset_terms(market, mirror=mirror)) for market in members]
        needed = sum(len(terms) for terms in assets)
        if needed > free:
            left_out["no_slots"] += len(members)
            continue
        free -= needed
        chosen.extend(zip(members, assets, strict=True))
    by_volume = sorted(chosen, key=lambda pair: (-_traded([pair[0]]), pair[0].market_id))
    hot = {market.market_id for market, _ in by_volume[:hot_count]}
    return Selection(
        tuple(
            SelectedMarket(market, assets, Tier.HOT if market.market_id in hot else Tier.WARM)
            for market, assets in chosen
        ),
        left_out,
    )


def _traded(markets: Sequence[Market]) -> float:
    return sum(market.volume_24h or 0.0 for market in markets)


def _filtered(market: Market, now: datetime, filters: Filters) -> str | None:
    title = market.title.casefold()
    if any(pattern.casefold() in title for pattern in filters.exclude_title_patterns):
        return "title_pattern"
    if filters.min_hours_until_close > 0 and market.close_hint is not None:
        soonest = now + timedelta(hours=filters.min_hours_until_close)
        if market.close_hint < soonest:
            return "closes_soon"
    return None
