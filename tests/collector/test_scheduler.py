"""Which markets get slots."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from surveillance_collector.sampling import Tier
from surveillance_collector.scheduler import Filters, Selection, select_markets
from surveillance_core.markets import Market

from .worlds import listed_market

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)


def _select(
    universe: list[Market],
    *,
    slots: int = 100,
    hot: int = 0,
    mirror: bool = False,
    filters: Filters | None = None,
) -> Selection:
    return select_markets(
        universe, NOW, max_slots=slots, hot_count=hot, mirror=mirror, filters=filters or Filters()
    )


def _ids(selection: Selection) -> list[str]:
    return [selected.market.market_id for selected in selection.markets]


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


@given(_universes(), st.integers(1, 40), st.integers(0, 10), st.booleans())
def test_groups_are_whole_and_slots_are_never_exceeded(
    universe: list[Market], slots: int, hot: int, mirror: bool
) -> None:
    selection = _select(universe, slots=slots, hot=hot, mirror=mirror)
    chosen = _ids(selection)
    assert selection.slots <= slots
    assert len(set(chosen)) == len(chosen)
    assert len(chosen) + selection.left_out["no_slots"] == len(universe)
    listed = Counter(m.groups[0].group_id for m in universe if m.groups)
    taken = Counter(s.market.groups[0].group_id for s in selection.markets if s.market.groups)
    assert all(taken[group] == listed[group] for group in taken)
    warm = sum(selected.tier is Tier.WARM for selected in selection.markets)
    assert len(chosen) - warm == min(hot, len(chosen))


@given(_universes(), st.randoms(use_true_random=False))
def test_the_order_of_the_listing_decides_nothing_between_groups(
    universe: list[Market], random: object
) -> None:
    shuffled = list(universe)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert set(_ids(_select(universe, slots=12, hot=3))) == set(
        _ids(_select(shuffled, slots=12, hot=3))
    )


def test_the_most_traded_groups_come_first_and_a_smaller_one_fills_what_is_left() -> None:
    universe = [
        listed_market("quiet", group="quiet", volume=1.0),
        *[listed_market(f"big{n}", group="big", volume=40.0) for n in range(3)],
        listed_market("busy", group="busy", volume=100.0),
    ]
    assert _ids(_select(universe, slots=4)) == ["big0", "big1", "big2", "busy"]
    selection = _select(universe, slots=3)
    assert _ids(selection) == ["big0", "big1", "big2"]
    assert selection.left_out == {"no_slots": 2}
    assert _ids(_select(universe, slots=2)) == ["busy", "quiet"]


def test_hot_markets_are_the_most_traded_ones_whatever_their_group() -> None:
    universe = [
        listed_market("a1", group="a", volume=50.0),
        listed_market("a2", group="a", volume=1.0),
        listed_market("b1", group="b", volume=30.0),
    ]
    selection = _select(universe, hot=2)
    hot = {s.market.market_id for s in selection.markets if s.tier is Tier.HOT}
    assert hot == {"a1", "b1"}


def test_the_mirror_takes_a_slot_of_its_own() -> None:
    universe = [listed_market("m")]
    (alone,) = _select(universe, mirror=False).markets
    (both,) = _select(universe, mirror=True).markets
    assert [terms.asset_id for terms in alone.assets] == ["m-yes"]
    assert [(t.asset_id, t.primary, t.mirror_id) for t in both.assets] == [
        ("m-yes", True, "m-no"),
        ("m-no", False, "m-yes"),
    ]
    assert _ids(_select(universe, slots=1, mirror=True)) == []


def test_filters_leave_markets_out_and_say_why() -> None:
    soon, late = NOW + timedelta(hours=1), NOW + timedelta(hours=3)
    universe = [
        listed_market("updown", title="Bitcoin UP or Down, 5 minutes"),
        listed_market("closing", close=soon),
        listed_market("open", close=late),
        listed_market("undated"),
    ]
    filters = Filters(exclude_title_patterns=("up or down",), min_hours_until_close=2.0)
    selection = _select(universe, filters=filters)
    assert _ids(selection) == ["open", "undated"]
    assert selection.left_out == {"title_pattern": 1, "closes_soon": 1}


def test_a_group_is_its_members_that_pass_the_filters() -> None:
    universe = [
        listed_market("kept", group="g"),
        listed_market("dropped", group="g", title="Bitcoin Up or Down"),
    ]
    filters = Filters(exclude_title_patterns=("Up or Down",))
    assert _ids(_select(universe, filters=filters)) == ["kept"]
