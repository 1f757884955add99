"""Reward scores against the venue's worked figures, and the bounds against random makers."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from surveillance_core.books import OrderBook
from surveillance_core.markets import RewardTerms
from surveillance_core.venues.polymarket.incentives import (
    Bounds,
    SideScores,
    bound_denominator,
    bound_quote_share,
    bound_share,
    combine_sides,
    daily_reward,
    insert_orders,
    midpoint_by_depth,
    midpoint_by_level,
    score_order,
    score_sides,
)

TERMS = RewardTerms(min_size=50, max_spread=0.03, daily_rate=100.0)
EVEN = 5_000.0

amounts = st.one_of(st.just(0.0), st.floats(1e-6, 1e6))
makers = st.lists(st.tuples(amounts, amounts), max_size=8)
mids = st.integers(0, 20_000).map(lambda doubled: doubled / 2)


def test_the_worked_example() -> None:
    """Side one 100 at 1, 200 at 2, 100 at 1 cent; side two 100 at 1.5, 100 at 2, 200 at 0.5."""
    first = OrderBook({4_900: 200.0, 4_800: 200.0}, {5_150: 100.0, 5_200: 100.0, 5_050: 200.0})
    scores = score_sides(first, EVEN, TERMS)
    assert scores.bid == pytest.approx(111.11, abs=0.005)
    assert scores.ask == pytest.approx(175.0)
    assert combine_sides(scores, EVEN) == pytest.approx(111.11, abs=0.005)


def test_a_score_falls_with_the_square_and_ends_at_the_maximum_spread() -> None:
    assert [score_order(3, s) for s in (0, 1.5, 3, 4)] == [1.0, 0.25, 0.0, 0.0]
    assert score_order(3, 1.5, boost=2) == 0.5


@pytest.mark.parametrize(("spread", "distance"), [(0, 1), (-1, 0), (3, -1), (float("nan"), 1)])
def test_scores_of_impossible_figures_are_refused(spread: float, distance: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        score_order(spread, distance)


def test_a_mirrored_book_swaps_the_sides() -> None:
    book = OrderBook({4_900: 80.0, 4_800: 60.0}, {5_050: 70.0})
    scores = score_sides(book, EVEN, TERMS)
    mirrored = score_sides(book.mirrored(), EVEN, TERMS)
    assert (mirrored.bid, mirrored.ask) == pytest.approx((scores.ask, scores.bid))


def test_orders_below_the_minimum_size_do_not_score() -> None:
    assert score_sides(OrderBook({4_900: 49.9}, {5_100: 50.0}), EVEN, TERMS).bid == 0
    assert score_sides(OrderBook({4_900: 49.9}, {5_100: 50.0}), EVEN, TERMS).ask > 0


def test_one_side_counts_a_third_within_the_band_only() -> None:
    one_sided = SideScores(90.0, 0.0)
    assert [combine_sides(one_sided, mid) for mid in (999.5, 1_000, 9_000, 9_000.5)] == [
        0,
        30,
        30,
        0,
    ]
    assert combine_sides(SideScores(90.0, 60.0), EVEN) == 60
    assert combine_sides(SideScores(90.0, 60.0), 500) == 60


def test_the_two_midpoints_differ_where_small_levels_add_up() -> None:
    book = OrderBook({4_900: 20.0, 4_890: 30.0, 4_800: 60.0}, {5_000: 50.0})
    assert midpoint_by_level(book, 50) == 4_900
    assert midpoint_by_depth(book, 50) == 4_945
    assert midpoint_by_level(book, 61) is None
    assert midpoint_by_depth(book, 61) is None
    assert midpoint_by_level(OrderBook(), 1) is midpoint_by_depth(OrderBook(), 1) is None


def test_an_order_through_the_midpoint_is_at_no_distance() -> None:
    assert score_sides(OrderBook({5_010: 50.0}), EVEN, TERMS).bid == 50


@given(makers, mids)
@example([(3.0, 1.0), (1.0, 3.0)], EVEN)  # the lower end: each maker three to one
@example([(2.0, 2.0), (1.0, 0.0)], EVEN)  # the upper end: balanced, and one-sided rest
@example([(5.0, 0.0), (0.0, 5.0)], 500.0)
def test_bounds_contain_the_denominator_of_any_makers(
    population: list[tuple[float, float]], mid: float
) -> None:
    truth = sum(combine_sides(SideScores(*maker), mid) for maker in population)
    totals = SideScores(sum(a for a, _ in population), sum(b for _, b in population))
    lower, upper = bound_denominator(totals, mid)
    slack = 1e-9 * (1 + upper)
    assert lower - slack <= truth <= upper + slack


@given(makers, st.tuples(amounts, amounts), mids)
def test_bounds_contain_the_share_beside_any_makers(
    population: list[tuple[float, float]], own: tuple[float, float], mid: float
) -> None:
    score = combine_sides(SideScores(*own), mid)
    others = sum(combine_sides(SideScores(*maker), mid) for maker in population)
    truth = score / (score + others) if score else 0.0
    totals = SideScores(sum(a for a, _ in population), sum(b for _, b in population))
    lower, upper = bound_share(score, bound_denominator(totals, mid))
    assert lower - 1e-9 <= truth <= upper + 1e-9


@given(amounts, amounts)
def test_within_the_band_the_ends_are_at_most_twice_apart_for_even_sides(
    a: float, b: float
) -> None:
    lower, upper = bound_denominator(SideScores(a, b), EVEN)
    assert lower <= upper
    if a == b:
        assert upper == pytest.approx(2 * lower)


def test_both_ends_of_the_denominator_are_attained() -> None:
    three_to_one = [SideScores(3.0, 1.0), SideScores(1.0, 3.0)]
    assert sum(combine_sides(m, EVEN) for m in three_to_one) == 2
    assert bound_denominator(SideScores(4.0, 4.0), EVEN) == Bounds(2.0, 4.0)
    assert combine_sides(SideScores(4.0, 4.0), EVEN) == 4


order_sizes = st.lists(
    st.tuples(st.integers(1, 350), st.floats(50, 500), st.booleans()), min_size=1, max_size=5
)


def _book(orders: list[tuple[int, float, bool]]) -> OrderBook:
    book = OrderBook()
    for distance, size, is_bid in orders:
        levels, tick = (book.bids, 5_000 - distance) if is_bid else (book.asks, 5_000 + distance)
        levels[tick] = levels.get(tick, 0.0) + size
    return book


@given(st.lists(order_sizes, max_size=5), order_sizes)
def test_a_quote_earns_a_share_within_its_bounds_whoever_made_the_public_book(
    others: list[list[tuple[int, float, bool]]], own: list[tuple[int, float, bool]]
) -> None:
    books = [_book(orders) for orders in others]
    public = OrderBook()
    for book in books:
        public = insert_orders(public, book)
    scores = [combine_sides(score_sides(book, EVEN, TERMS), EVEN) for book in books]
    mine = combine_sides(score_sides(_book(own), EVEN, TERMS), EVEN)
    truth = mine / (mine + sum(scores)) if mine else 0.0
    lower, upper = bound_quote_share(public, _book(own), EVEN, TERMS)
    assert lower - 1e-9 <= truth <= upper + 1e-9


def test_inserting_orders_leaves_the_public_book_alone() -> None:
    public = OrderBook({4_900: 10.0}, {5_100: 5.0})
    merged = insert_orders(public, OrderBook({4_900: 50.0}, {5_050: 50.0}))
    assert merged == OrderBook({4_900: 60.0}, {5_100: 5.0, 5_050: 50.0})
    assert public == OrderBook({4_900: 10.0}, {5_100: 5.0})


def test_alone_in_the_band_a_quote_has_the_whole_pool() -> None:
    assert bound_quote_share(OrderBook(), OrderBook({4_900: 50.0}), EVEN, TERMS) == (1.0, 1.0)
    assert bound_quote_share(OrderBook(), OrderBook({490: 50.0}), 500, TERMS) == (0.0, 0.0)


def test_a_reward_is_paid_from_a_dollar_on() -> None:
    assert daily_reward(0.3, TERMS) == Decimal(30)
    assert daily_reward(0.01, TERMS) == Decimal(1)
    assert daily_reward(0.0099, TERMS) == 0
    assert daily_reward(0.0099, TERMS, minimum=Decimal(0)) == Decimal("0.99")


def test_rewards_without_a_pool_or_share_are_refused() -> None:
    with pytest.raises(ValueError, match="no daily pool"):
        daily_reward(0.5, RewardTerms(min_size=50, max_spread=0.03))
    with pytest.raises(ValueError, match="share outside"):
        daily_reward(1.5, TERMS)
    with pytest.raises(ValueError, match="own score"):
        bound_share(-1.0, Bounds(0.0, 1.0))
    with pytest.raises(ValueError, match="out of range"):
        bound_denominator(SideScores(-1.0, 1.0), EVEN)
