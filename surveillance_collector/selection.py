"""The published universe as groups to be scheduled. Pure.

The filters are applied again, because the close has come nearer since the scan. A group is
subscribed whole or not at all, because constraints need all its books at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from surveillance_collector.sampling import Tier
from surveillance_collector.slots import WatchedGroup
from surveillance_core.groups import subscription_groups
from surveillance_core.markets import Market
from surveillance_core.venues.filters import Filters, filter_markets, is_named
from surveillance_core.venues.protocols import AssetTerms
from surveillance_core.venues.registry import asset_terms


@dataclass(frozen=True)
class Watchlist:
    """Groups that could be subscribed, and why other markets could not."""

    groups: tuple[WatchedGroup, ...]
    terms: Mapping[str, AssetTerms]
    """By asset id."""
    traded: Mapping[str, float]
    """Contracts in 24 hours by market id, as the venue says; 0 where it does not."""
    worth: Mapping[str, float]
    """By group id, contracts in 24 hours a slot: the index where there is no better one."""
    pinned: frozenset[str]
    """Groups with a market that the configuration pins."""
    left_out: Counter[str]

    @property
    def slots(self) -> int:
        """Slots that all groups would take."""
        return sum(group.slots for group in self.groups)

    def markets(self, asset_ids: Iterable[str]) -> dict[str, list[AssetTerms]]:
        """The assets by their market, in order of first appearance."""
        found: dict[str, list[AssetTerms]] = {}
        for asset_id in asset_ids:
            terms = self.terms[asset_id]
            found.setdefault(terms.market_id, []).append(terms)
        return found


def watchlist_of(
    universe: Sequence[Market],
    now: datetime,
    *,
    mirror: bool,
    filters: Filters,
    pinned: tuple[str, ...] = (),
) -> Watchlist:
    """The groups of a universe.

    ``pinned`` names markets or groups, by the id the system gives or the venue's own.
    """
    kept, left_out = filter_markets(universe, filters, now)
    groups: list[WatchedGroup] = []
    terms: dict[str, AssetTerms] = {}
    worth: dict[str, float] = {}
    pins: set[str] = set()
    for group in subscription_groups(kept):
        assets: list[AssetTerms] = []
        for market in group.markets:
            found = asset_terms(market, mirror=mirror)
            if any(asset.asset_id in terms for asset in found):
                # two groups that want one slot would wait for each other
                left_out["asset_repeated"] += 1
                continue
            terms |= {asset.asset_id: asset for asset in found}
            assets += found
        if not assets:
            continue
        watched = WatchedGroup(group.group_id, tuple(asset.asset_id for asset in assets))
        groups.append(watched)
        worth[group.group_id] = sum(map(_traded, group.markets)) / watched.slots
        if any(is_named(market, pinned) for market in group.markets):
            pins.add(group.group_id)
    traded = {market.market_id: _traded(market) for market in kept}
    return Watchlist(tuple(groups), terms, traded, worth, frozenset(pins), left_out)


def fixed_selection(watchlist: Watchlist, max_slots: int) -> Watchlist:
    """What stays subscribed where nothing rotates: whole groups, most traded first.

    A smaller group fills what a larger one leaves.
    """
    volume = {
        group.group_id: watchlist.worth[group.group_id] * group.slots for group in watchlist.groups
    }
    free = max_slots
    chosen: list[WatchedGroup] = []
    left_out = Counter(watchlist.left_out)
    for group in sorted(watchlist.groups, key=lambda g: (-volume[g.group_id], g.group_id)):
        if group.slots <= free:
            free -= group.slots
            chosen.append(group)
        else:
            left_out["no_slots"] += len(watchlist.markets(group.assets))
    return replace(watchlist, groups=tuple(chosen), left_out=left_out)


def tiers_of(
    market_ids: Iterable[str], traded: Mapping[str, float], hot_free: int
) -> dict[str, Tier]:
    """How often each market is read: the ``hot_free`` most traded ones are hot."""
    ordered = sorted(market_ids, key=lambda market_id: (-traded.get(market_id, 0.0), market_id))
    return {
        market_id: Tier.HOT if place < hot_free else Tier.WARM
        for place, market_id in enumerate(ordered)
    }


def _traded(market: Market) -> float:
    return market.volume_24h or 0.0
