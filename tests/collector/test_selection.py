"""The universe as groups, and which of their markets are hot."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from surveillance_collector.sampling import Tier
from surveillance_collector.selection import Watchlist, fixed_selection, tiers_of, watchlist_of
from surveillance_core.markets import Market
from surveillance_core.venues.filters import Filters

from .worlds import listed_market

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)


def _watch(
    universe: list[Market],
    *,
    mirror: bool = False,
    filters: Filters | None = None,
    pinned: tuple[str, ...] = (),
) -> Watchlist:
    return watchlist_of(universe, NOW, mirror=mirror, filters=filters or Filters(), pinned=pinned)


def _ids(watchlist: Watchlist) -> list[str]:
    return [m for group in watchlist.groups for m in watchlist.markets(group.assets)]


@st.composite
def _universes(draw: st.DrawFn) -> list[Market]:
    count = draw(st.integers(0, 25))
    return [
        listed_market(
            f"m{number:02d}",
            group=draw(st.sampled_from((None, "a", "b", "c", "d"))),
            volume=draw(st.none() | st.integers(0, 5).map(float)),
            tokens=[f"m{number:02d}-{k}" for k in range(draw(st.sampled_from((1, 2, 2, 3))))],
        )
        for number in range(count)
    ]


@given(_universes(), st.integers(1, 40), st.booleans())
def test_groups_are_whole_and_slots_are_never_exceeded(
    universe: list[Market], slots: int, mirror: bool
) -> None:
    watchlist = _watch(universe, mirror=mirror)
    assert sorted(_ids(watchlist)) == sorted(market.market_id for market in universe)
    fixed = fixed_selection(watchlist, slots)
    chosen = _ids(fixed)
    assert fixed.slots <= slots
    assert len(chosen) + fixed.left_out["no_slots"] == len(universe)
    by_id = {market.market_id: market for market in universe}
    listed = Counter(m.groups[0].group_id for m in universe if m.groups)
    taken = Counter(by_id[m].groups[0].group_id for m in chosen if by_id[m].groups)
    assert all(taken[group] == listed[group] for group in taken)


@given(_universes(), st.randoms(use_true_random=False))
def test_the_order_of_the_listing_decides_nothing_between_groups(
    universe: list[Market], random: object
) -> None:
    shuffled = list(universe)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert set(_ids(fixed_selection(_watch(universe), 12))) == set(
        _ids(fixed_selection(_watch(shuffled), 12))
    )


def test_the_most_traded_groups_come_first_and_a_smaller_one_fills_what_is_left() -> None:
    watchlist = _watch(
        [
            listed_market("quiet", group="quiet", volume=1.0),
            *[listed_market(f"big{n}", group="big", volume=40.0) for n in range(3)],
            listed_market("busy", group="busy", volume=100.0),
        ]
    )
    assert _ids(fixed_selection(watchlist, 4)) == ["big0", "big1", "big2", "busy"]
    three = fixed_selection(watchlist, 3)
    assert _ids(three) == ["big0", "big1", "big2"]
    assert three.left_out == {"no_slots": 2}
    assert _ids(fixed_selection(watchlist, 2)) == ["busy", "quiet"]


def test_without_a_better_index_a_group_is_worth_what_is_traded_a_slot() -> None:
    watchlist = _watch(
        [
            *[listed_market(f"big{n}", group="big", volume=40.0) for n in range(3)],
            listed_market("alone", volume=50.0),
            listed_market("silent"),
        ]
    )
    assert watchlist.worth == {"big": 40.0, "market:alone": 50.0, "market:silent": 0.0}


def test_hot_markets_are_the_most_traded_ones_whatever_their_group() -> None:
    traded = {"a1": 50.0, "a2": 1.0, "b1": 30.0}
    tiers = tiers_of(["a1", "a2", "b1", "unknown"], traded, 2)
    assert [market for market, tier in tiers.items() if tier is Tier.HOT] == ["a1", "b1"]
    assert set(tiers_of(traded, traded, -1).values()) == {Tier.WARM}


def test_the_mirror_takes_a_slot_of_its_own() -> None:
    universe = [listed_market("m")]
    assert _watch(universe).slots == 1
    both = _watch(universe, mirror=True)
    assert both.groups[0].assets == ("m-yes", "m-no")
    assert [(t.asset_id, t.primary, t.mirror_id) for t in both.terms.values()] == [
        ("m-yes", True, "m-no"),
        ("m-no", False, "m-yes"),
    ]


def test_filters_leave_markets_out_and_say_why() -> None:
    soon, late = NOW + timedelta(hours=1), NOW + timedelta(hours=3)
    universe = [
        listed_market("updown", title="Bitcoin UP or Down, 5 minutes"),
        listed_market("closing", close=soon),
        listed_market("open", close=late),
        listed_market("undated"),
    ]
    filters = Filters(exclude_title_patterns=("up or down",), min_hours_until_close=2.0)
    watchlist = _watch(universe, filters=filters)
    assert _ids(watchlist) == ["open", "undated"]
    assert watchlist.left_out == {"title_pattern": 1, "closes_soon": 1}


def test_a_group_is_its_members_that_pass_the_filters() -> None:
    universe = [
        listed_market("kept", group="g"),
        listed_market("dropped", group="g", title="Bitcoin Up or Down"),
    ]
    filters = Filters(exclude_title_patterns=("Up or Down",))
    assert _ids(_watch(universe, filters=filters)) == ["kept"]


def test_a_pinned_market_pins_its_group() -> None:
    universe = [
        listed_market("a", group="event:1"),
        listed_market("b", group="event:1"),
        listed_market("c", group="event:2"),
        listed_market("d", group="event:3"),
    ]
    assert _watch(universe, pinned=("b", "3")).pinned == {"event:1", "event:3"}


def test_an_asset_that_is_listed_twice_is_watched_once() -> None:
    universe = [listed_market("a", tokens=("t1", "t2")), listed_market("b", tokens=("t2", "t3"))]
    watchlist = _watch(universe, mirror=True)
    assert _ids(watchlist) == ["a"]
    assert watchlist.left_out == {"asset_repeated": 1}
