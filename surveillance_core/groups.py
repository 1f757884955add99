"""Which markets belong together: what is subscribed whole, and what logic starts from. Pure.

A market stands in several groups at once: its event, the contract that makes the event's outcomes
exclusive, its series, and the group of its own tokens, which pay one dollar together. Series only
repeat a template, so they bind nothing; all others are subscribed whole or not at all, because
their constraints need every book at the same moment.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from surveillance_core.markets import GroupKind, GroupRef, Market, MarketGroup, group_markets

BINDING: Final = (
    GroupKind.EVENT,
    GroupKind.NEG_RISK,
    GroupKind.EXCLUSIVE,
    GroupKind.DIRECTIONAL,
)
"""Kinds that are subscribed whole, the one that names the whole first."""

LOGIC: Final = (*BINDING[1:], GroupKind.EVENT, GroupKind.SERIES, GroupKind.MARKET)
"""Kinds that logic starts from, the strongest statement first."""


def subscription_groups(markets: Iterable[Market]) -> list[MarketGroup]:
    """Disjoint groups that hold every market once and split no binding group.

    Markets that share a binding group, directly or through others, are one group, named after its
    event; a market in none is a group of its own. In order of first appearance.
    """
    listed = list(markets)
    owner: dict[str, int] = {}
    parent = list(range(len(listed)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for place, market in enumerate(listed):
        for ref in market.groups:
            if ref.kind in BINDING:
                known = owner.setdefault(ref.group_id, place)
                first, second = sorted((root(known), root(place)))
                parent[second] = first
    members: dict[int, list[Market]] = {}
    for place, market in enumerate(listed):
        members.setdefault(root(place), []).append(market)
    return [_whole(found) for found in members.values()]


def logic_groups(
    markets: Iterable[Market], kinds: Collection[GroupKind] = LOGIC
) -> list[MarketGroup]:
    """Every group of these kinds; one market may be in many of them."""
    listed = list(markets)
    groups = [group for kind in LOGIC if kind in kinds for group in group_markets(listed, kind)]
    if GroupKind.MARKET in kinds:
        groups += [_alone(market) for market in listed]
    return groups


def _whole(members: Sequence[Market]) -> MarketGroup:
    refs: dict[str, GroupRef] = {}
    for market in members:
        for ref in market.groups:
            known = refs.get(ref.group_id)
            if ref.kind in BINDING and (known is None or known.members < ref.members):
                refs[ref.group_id] = ref
    if not refs:
        return _alone(members[0])
    named = min(refs.values(), key=lambda ref: (BINDING.index(ref.kind), ref.group_id))
    same = [ref.members for ref in refs.values() if ref.kind is named.kind]
    return MarketGroup(
        group_id=named.group_id,
        kind=named.kind,
        title=named.title,
        augmented=any(ref.augmented for ref in refs.values()),
        collateral=named.collateral,
        # events joined by one contract list their members apart
        listed_members=max(len(members), sum(same), *(ref.members for ref in refs.values())),
        markets=tuple(members),
    )


def _alone(market: Market) -> MarketGroup:
    return MarketGroup(
        group_id=f"market:{market.market_id}",
        kind=GroupKind.MARKET,
        title=market.title,
        augmented=False,
        listed_members=1,
        markets=(market,),
    )
