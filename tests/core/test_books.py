"""Prices on the grid, books and their depth."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.books import (
    DOLLARS,
    SPELLING,
    TICK_OF,
    TICKS_PER_DOLLAR,
    BookStatus,
    OrderBook,
    depth_within,
    tick_of,
)

TICKS = st.integers(0, TICKS_PER_DOLLAR)
SIZES = st.floats(0.01, 1e7, allow_nan=False)
SIDES = st.dictionaries(TICKS, SIZES, max_size=12)
BOOKS = st.builds(OrderBook, SIDES, SIDES)


@given(TICKS)
def test_a_tick_survives_being_spelled_and_read(tick: int) -> None:
    assert TICK_OF[SPELLING[tick]] == tick
    assert tick_of(SPELLING[tick]) == tick
    assert tick_of(DOLLARS[tick]) == tick


def test_every_accepted_spelling_says_its_own_tick() -> None:
    wrong = [s for s, tick in TICK_OF.items() if Decimal(s) * TICKS_PER_DOLLAR != tick]
    assert wrong == []


def test_the_shortest_spelling_has_no_trailing_zero() -> None:
    assert [SPELLING[t] for t in (0, 1, 10, 100, 5000, 9999, 10_000)] == [
        "0", "0.0001", "0.001", "0.01", "0.5", "0.9999", "1",
    ]  # fmt: skip


@pytest.mark.parametrize("spelling", ["0.5", ".5", "0.50", ".50", "0.500", "0.5000", "0.500000"])
def test_both_venues_spellings_of_a_half_are_one_price(spelling: str) -> None:
    assert tick_of(spelling) == 5000


@pytest.mark.parametrize(
    "price",
    ["", "-0.1", "1.01", "0.00005", "0.12345", "nan", "inf", "1e-2", " 0.5", "0,5", "½", "+0.5"],
)
def test_text_that_is_not_a_price_is_refused(price: str) -> None:
    with pytest.raises(ValueError, match=r"not a price in \[0, 1\]"):
        tick_of(price)


@pytest.mark.parametrize("price", [-1e-9, 1.0001, float("nan"), float("inf"), 0.00005, 0.33333])
def test_a_number_off_the_grid_is_refused(price: float) -> None:
    with pytest.raises(ValueError, match=r"outside \[0, 1\]|off the 0.0001 grid"):
        tick_of(price)


@given(BOOKS)
def test_mirrored_twice_is_the_same_book(book: OrderBook) -> None:
    assert book.mirrored().mirrored() == book


@given(BOOKS)
def test_the_mirror_keeps_status_and_turns_the_top_over(book: OrderBook) -> None:
    mirror = book.mirrored()
    assert mirror.status is book.status
    assert mirror.best_ask == (None if book.best_bid is None else 10_000 - book.best_bid)
    assert mirror.best_bid == (None if book.best_ask is None else 10_000 - book.best_ask)


def test_status_names_what_the_sides_look_like() -> None:
    assert OrderBook().status is BookStatus.EMPTY
    assert OrderBook({1: 1.0}).status is BookStatus.ONE_SIDED
    assert OrderBook({}, {1: 1.0}).status is BookStatus.ONE_SIDED
    assert OrderBook({4900: 1.0}, {4901: 1.0}).status is BookStatus.OK
    assert OrderBook({4900: 1.0}, {4900: 1.0}).status is BookStatus.CROSSED
    assert OrderBook({4901: 1.0}, {4900: 1.0}).status is BookStatus.CROSSED


@given(BOOKS, st.integers(0, 50))
def test_depth_grows_with_the_distance_and_never_beyond_the_book(
    book: OrderBook, cents: int
) -> None:
    near = depth_within(book.bids, book.asks, cents)
    far = depth_within(book.bids, book.asks, cents + 1)
    if not book.bids or not book.asks:
        assert near is None
        return
    assert near is not None
    assert far is not None
    assert near[0] <= far[0] <= sum(book.bids.values()) * (1 + 1e-12)
    assert near[1] <= far[1] <= sum(book.asks.values()) * (1 + 1e-12)


@given(BOOKS, st.integers(1, 5))
def test_the_mirror_swaps_the_depths(book: OrderBook, cents: int) -> None:
    there, back = book.mirrored(), depth_within(book.bids, book.asks, cents)
    assert depth_within(there.bids, there.asks, cents) == pytest.approx(back and back[::-1])


def test_depth_counts_both_ends_and_keeps_half_tick_mids_exact() -> None:
    # mid 0.50005: one cent reaches from 0.49005 to 0.51005
    bids, asks = {5000: 1.0, 4901: 2.0, 4900: 4.0}, {5001: 1.0, 5100: 2.0, 5101: 4.0}
    assert depth_within(bids, asks, 1) == (3.0, 3.0)
    # mid 0.5: the ends 0.49 and 0.51 belong to it
    assert depth_within({4900: 4.0, 4899: 8.0}, {5100: 2.0}, 1) == (4.0, 2.0)
