"""The liquidity programme under each of its readings, and what programmes pay."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.markets import IncentiveTerms
from surveillance_core.venues.kalshi.incentives import (
    CENT_TICKS,
    CutOff,
    Levels,
    Reading,
    Reference,
    SideOrders,
    find_best_bid,
    find_fifth_of_target,
    liquidity_reward,
    readings,
    share_range,
    side_share,
    side_share_from_best_bid,
    side_share_from_fifth_of_target,
    snapshot_share,
    volume_reward,
)

D = Decimal


def programme(
    target: float | None = 300, discount: float | None = 0.5, reward: float = 100.0
) -> IncentiveTerms:
    return IncentiveTerms(
        programme_id="p",
        kind="liquidity",
        reward=reward,
        starts=None,
        ends=None,
        target_size=target,
        discount_factor=discount,
    )


def quoted(levels: dict[int, float], cents: int, size: float = 20.0) -> SideOrders:
    """Bids by cent with one own order added."""
    bids: Levels = {cent * CENT_TICKS: resting for cent, resting in levels.items()}
    own = cents * CENT_TICKS
    bids[own] = bids.get(own, 0.0) + size
    return SideOrders(bids, {own: size})


DEEP = quoted({95: 2, 94: 29, 93: 2040}, 93)
TOP = quoted({98: 498, 97: 2049, 90: 29}, 98)


@pytest.mark.parametrize(
    ("cut_off", "from_best", "from_fifth"),
    [(CutOff.TARGET, 0.0078, 0.0087), (CutOff.NONE, 0.0094, 0.0096)],
)
def test_twenty_lots_behind_a_thin_top(
    cut_off: CutOff, from_best: float, from_fifth: float
) -> None:
    best = side_share_from_best_bid(DEEP, programme(), cut_off, CENT_TICKS)
    fifth = side_share_from_fifth_of_target(DEEP, programme(), cut_off, CENT_TICKS)
    assert best == pytest.approx(from_best, abs=5e-5)
    assert fifth == pytest.approx(from_fifth, abs=5e-5)


@pytest.mark.parametrize(
    ("cut_off", "share"), [(CutOff.TARGET, 0.0386), (CutOff.LEVEL, 0.0386), (CutOff.NONE, 0.013)]
)
def test_twenty_lots_at_a_thick_top_triple_by_the_cut_off(cut_off: CutOff, share: float) -> None:
    for function in (side_share_from_best_bid, side_share_from_fifth_of_target):
        assert function(TOP, programme(), cut_off, CENT_TICKS) == pytest.approx(share, abs=5e-5)


def test_the_last_level_counts_whole_or_only_as_far_as_it_is_needed() -> None:
    side = SideOrders({5_000: 100.0, 4_900: 400.0, 4_800: 50.0}, {5_000: 100.0})
    flat = programme(target=200, discount=1.0)
    shares = [side_share_from_best_bid(side, flat, cut_off, CENT_TICKS) for cut_off in CutOff]
    assert shares == pytest.approx([100 / 550, 100 / 500, 100 / 200])


def test_references() -> None:
    bids = {9_500: 2.0, 9_400: 29.0, 9_300: 2_040.0}
    assert find_best_bid(bids) == 9_500
    assert find_fifth_of_target(bids, 300) == 9_300
    assert find_fifth_of_target(bids, 155) == 9_400
    assert find_fifth_of_target(bids, 10_356) is None
    assert find_best_bid({}) is find_fifth_of_target({}, 1) is None


def test_the_step_matters_only_below_the_cent() -> None:
    side = SideOrders({5_000: 100.0, 4_950: 100.0}, {4_950: 100.0})
    terms = programme(target=100, discount=0.25)
    by_cent = side_share_from_best_bid(side, terms, CutOff.NONE, CENT_TICKS)
    by_tick = side_share_from_best_bid(side, terms, CutOff.NONE, 10)
    assert by_cent == pytest.approx(0.5 / 1.5)
    assert by_tick == pytest.approx(0.25**5 / (1 + 0.25**5))
    assert len(readings(CENT_TICKS)) == 6
    assert len(readings(10)) == 12


def test_a_snapshot_counts_only_with_both_sides_at_the_target() -> None:
    reading = Reading(Reference.BEST_BID, CutOff.NONE, CENT_TICKS)
    alone = SideOrders({5_000: 300.0}, {5_000: 300.0})
    short = SideOrders({4_900: 299.0}, {4_900: 299.0})
    others = SideOrders({4_900: 300.0}, {})
    assert snapshot_share(alone, short, programme(), reading) == 0
    assert snapshot_share(alone, others, programme(), reading) == 0.5
    assert snapshot_share(alone, alone, programme(), reading) == 1
    assert side_share(short, programme(), reading) == 0


ladders = st.dictionaries(
    st.integers(1, 99).map(lambda cents: cents * CENT_TICKS), st.floats(1, 5_000), max_size=8
)


@given(
    yes=ladders,
    no=ladders,
    part=st.floats(0, 1),
    target=st.floats(100, 20_000),
    discount=st.floats(0, 1),
)
def test_two_makers_share_what_counts_whole_under_every_reading(
    yes: Levels, no: Levels, part: float, target: float, discount: float
) -> None:
    terms = programme(target, discount)
    mine = [SideOrders(side, {t: part * s for t, s in side.items()}) for side in (yes, no)]
    theirs = [SideOrders(side, {t: s - part * s for t, s in side.items()}) for side in (yes, no)]
    counts = min(sum(yes.values()), sum(no.values())) >= target
    for reading in readings(10):
        a = snapshot_share(mine[0], mine[1], terms, reading)
        b = snapshot_share(theirs[0], theirs[1], terms, reading)
        assert a + b == pytest.approx(1.0 if counts else 0.0)
    lower, upper = share_range(mine[0], mine[1], terms, 10)
    assert 0 <= lower <= upper <= 1


def test_the_range_holds_every_reading() -> None:
    lower, upper = share_range(TOP, TOP, programme(), CENT_TICKS)
    assert (lower, upper) == pytest.approx((0.013, 0.0386), abs=5e-5)


def test_a_period_pays_whole_cents_from_a_dollar_on() -> None:
    assert liquidity_reward(0.3, programme()) == D("30.00")
    assert liquidity_reward(0.123456, programme()) == D("12.34")
    assert liquidity_reward(0.01, programme()) == D("1.00")
    assert liquidity_reward(0.00999, programme()) == 0
    assert liquidity_reward(0.00999, programme(), minimum=D(0)) == D("0.99")


def test_a_volume_programme_pays_pro_rata_up_to_its_cap() -> None:
    cap = D("0.005")
    assert volume_reward(D(1_000), D(1_000_000), programme(), cap) == D("0.10")
    assert volume_reward(D(1_000), D(2_000), programme(), cap) == D("5.00")
    assert volume_reward(D(0), D(0), programme(), cap) == 0


@pytest.mark.parametrize(
    "terms", [programme(None), programme(0), programme(discount=None), programme(discount=1.5)]
)
def test_terms_that_cannot_be_scored_are_refused(terms: IncentiveTerms) -> None:
    with pytest.raises(ValueError, match="no usable"):
        share_range(TOP, TOP, terms, CENT_TICKS)


def test_impossible_figures_are_refused() -> None:
    terms = programme()
    with pytest.raises(ValueError, match="among the levels"):
        side_share_from_best_bid(SideOrders({5_000: 300.0}, {5_100: 1.0}), terms, CutOff.NONE, 100)
    with pytest.raises(ValueError, match="step"):
        side_share_from_best_bid(TOP, terms, CutOff.NONE, 0)
    with pytest.raises(ValueError, match="share outside"):
        liquidity_reward(1.1, terms)
    with pytest.raises(ValueError, match="not a pool"):
        liquidity_reward(0.5, programme(reward=-1.0))
    with pytest.raises(ValueError, match="own contracts"):
        volume_reward(D(2), D(1), terms, D("0.005"))
