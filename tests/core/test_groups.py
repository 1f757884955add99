"""Groups: subscribed whole, disjoint, and never split; logic sees every one."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.groups import BINDING, logic_groups, subscription_groups
from surveillance_core.markets import FeeTerms, GroupKind, GroupRef, Market, Outcome, Venue

KINDS = [kind for kind in GroupKind if kind is not GroupKind.MARKET]


def _market(number: int, *groups: GroupRef) -> Market:
    return Market(
        venue=Venue.KALSHI, market_id=f"m{number}", title=f"Market {number}",
        outcomes=(Outcome(f"y{number}", "Yes"), Outcome(f"n{number}", "No")), tick_size=0.01,
        min_order_size=None, neg_risk=False, groups=groups, fee_terms=FeeTerms.FREE, fees=None,
        rewards=None, close_hint=None, volume_24h=None, liquidity=None, category=None,
        rules_hash="", fetched_at=datetime(2026, 9, 1, tzinfo=UTC),
    )  # fmt: skip


def _ref(kind: GroupKind, name: str, members: int = 1) -> GroupRef:
    return GroupRef(group_id=f"{kind}:{name}", kind=kind, title=name, members=members)


@st.composite
def _universes(draw: st.DrawFn) -> list[Market]:
    refs = st.builds(_ref, st.sampled_from(KINDS), st.sampled_from("abc"), st.integers(1, 9))
    drawn = draw(st.lists(st.lists(refs, max_size=3, unique_by=lambda r: r.group_id), max_size=20))
    return [_market(number, *groups) for number, groups in enumerate(drawn)]


@given(_universes())
def test_every_market_is_in_exactly_one_subscription_group(universe: list[Market]) -> None:
    groups = subscription_groups(universe)
    members = [market.market_id for group in groups for market in group.markets]
    assert sorted(members) == sorted(market.market_id for market in universe)
    assert len({group.group_id for group in groups}) == len(groups)


@given(_universes())
def test_no_binding_group_is_split_and_counts_never_lack_what_is_there(
    universe: list[Market],
) -> None:
    groups = subscription_groups(universe)
    home = {m.market_id: group.group_id for group in groups for m in group.markets}
    for logic in logic_groups(universe, BINDING):
        assert len({home[market.market_id] for market in logic.markets}) == 1
    for group in groups:
        assert group.missing >= 0
        assert group.complete == (group.missing == 0)


@given(_universes(), st.integers(0, 100))
def test_the_order_of_the_listing_changes_no_group(universe: list[Market], seed: int) -> None:
    def sets(markets: list[Market]) -> set[tuple[str, frozenset[str]]]:
        groups = subscription_groups(markets)
        return {(g.group_id, frozenset(m.market_id for m in g.markets)) for g in groups}

    shuffled = list(universe)
    random.Random(seed).shuffle(shuffled)
    assert sets(shuffled) == sets(universe)


@given(_universes())
def test_logic_sees_each_membership_once_and_each_markets_own_tokens(
    universe: list[Market],
) -> None:
    seen = [(g.group_id, m.market_id) for g in logic_groups(universe) for m in g.markets]
    listed = [(ref.group_id, m.market_id) for m in universe for ref in m.groups]
    alone = [(f"market:{m.market_id}", m.market_id) for m in universe]
    assert sorted(seen) == sorted(listed + alone)


def test_series_bind_nothing_and_a_market_outside_any_event_is_its_own_group() -> None:
    series = _ref(GroupKind.SERIES, "daily", 2)
    groups = subscription_groups([_market(1, series), _market(2, series)])
    assert [(g.group_id, g.kind, g.complete) for g in groups] == [
        ("market:m1", GroupKind.MARKET, True), ("market:m2", GroupKind.MARKET, True)
    ]  # fmt: skip


def test_a_contract_across_two_events_joins_them_and_counts_both() -> None:
    contract = _ref(GroupKind.NEG_RISK, "x", 2)
    one, two = _ref(GroupKind.EVENT, "1", 3), _ref(GroupKind.EVENT, "2", 1)
    [group] = subscription_groups([_market(1, one, contract), _market(2, two, contract)])
    assert (group.group_id, group.kind) == ("event:1", GroupKind.EVENT)
    assert (group.listed_members, group.missing, group.complete) == (4, 2, False)
