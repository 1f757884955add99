"""Which markets deserve slots: pure, over the published universe.

This version fills the slots once from the most traded groups; pinned, exploit and rotation slots
take the same inputs and give the same ``Selection``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from surveillance_collector.sampling import Tier
from surveillance_core.groups import subscription_groups
from surveillance_core.markets import Market
from surveillance_core.venues.filters import Filters, filter_markets
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

    The filters are applied again, because the close has come nearer since the scan. A group is
    subscribed whole or not at all, because constraints need all its books at once. The
    ``hot_count`` most traded markets selected are hot.
    """
    kept, left_out = filter_markets(universe, filters, now)
    groups = subscription_groups(kept)
    ordered = sorted(groups, key=lambda group: (-_traded(group.markets), group.group_id))
    chosen: list[tuple[Market, tuple[AssetTerms, ...]]] = []
    free = max_slots
    for group in ordered:
        assets = [tuple(asset_terms(market, mirror=mirror)) for market in group.markets]
        needed = sum(len(terms) for terms in assets)
        if needed > free:
            left_out["no_slots"] += len(group.markets)
            continue
        free -= needed
        chosen.extend(zip(group.markets, assets, strict=True))
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
