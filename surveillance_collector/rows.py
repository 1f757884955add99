"""Lake rows from books and events: pure, in the tables' column order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from enum import StrEnum
from typing import Final

from surveillance_core.books import DOLLARS, TICKS_PER_DOLLAR, BookState, BookStatus
from surveillance_core.lake.packed import pack_numbers
from surveillance_core.venues.protocols import (
    MarketListed,
    MarketResolved,
    StatusChanged,
    TickSizeChanged,
    Trade,
)

Row = tuple[object, ...]

TITLE_LIMIT: Final = 500
"""Characters kept of a title that a venue announces."""

_REACH_1C, _REACH_2C, _REACH_5C = (2 * cents * (TICKS_PER_DOLLAR // 100) for cents in (1, 2, 5))
"""Distances from the mid over which depth is summed, in doubled ticks."""

# a list finds its items in half a tuple's time where ``map`` asks
_dollars_of = list(DOLLARS).__getitem__
_OK, _ONE_SIDED, _EMPTY, _CROSSED = (
    status.value
    for status in (BookStatus.OK, BookStatus.ONE_SIDED, BookStatus.EMPTY, BookStatus.CROSSED)
)


class Reason(StrEnum):
    """Why a snapshot row was written."""

    CHANGE = "change"
    HEARTBEAT = "heartbeat"
    OPENED = "opened"
    RESYNC = "resync"


def snapshot_row(state: BookState, at_ns: int, top_k: int, reason: Reason) -> Row:
    """The row of ``schemas.SNAPSHOTS`` that says what the book was at ``at_ns``; lists packed."""
    book = state.book
    bids, asks = book.bids, book.asks
    rising_bids, ask_ticks = sorted(bids), sorted(asks)
    bid_ticks = rising_bids[::-1]
    bid_sizes = list(map(bids.__getitem__, bid_ticks))
    ask_sizes = list(map(asks.__getitem__, ask_ticks))
    best_bid = bid_ticks[0] if bid_ticks else None
    best_ask = ask_ticks[0] if ask_ticks else None
    mid = spread = None
    depths: tuple[float | None, ...] = (None,) * 6
    if best_bid is not None and best_ask is not None:
        doubled_mid = best_bid + best_ask
        mid = doubled_mid / 20_000
        spread = (best_ask - best_bid) / 10_000
        # books.depth_within for all distances at once, on sides that are sorted already
        count = len(bid_ticks)
        depths = (
            *_sums(
                bid_sizes,
                count - bisect_left(rising_bids, (doubled_mid - _REACH_1C + 1) // 2),
                count - bisect_left(rising_bids, (doubled_mid - _REACH_2C + 1) // 2),
                count - bisect_left(rising_bids, (doubled_mid - _REACH_5C + 1) // 2),
            ),
            *_sums(
                ask_sizes,
                bisect_right(ask_ticks, (doubled_mid + _REACH_1C) // 2),
                bisect_right(ask_ticks, (doubled_mid + _REACH_2C) // 2),
                bisect_right(ask_ticks, (doubled_mid + _REACH_5C) // 2),
            ),
        )
        status = _OK if best_bid < best_ask else _CROSSED
    elif best_bid is None and best_ask is None:
        status = _EMPTY
    else:
        status = _ONE_SIDED
    best_bid_size = bid_sizes[0] if bid_sizes else None
    best_ask_size = ask_sizes[0] if ask_sizes else None
    if len(bid_ticks) > top_k:
        del bid_ticks[top_k:], bid_sizes[top_k:]
    if len(ask_ticks) > top_k:
        del ask_ticks[top_k:], ask_sizes[top_k:]
    return (
        at_ns // 1_000,
        state.ts_venue_ms,
        state.market_id,
        state.asset_id,
        state.seq,
        None if best_bid is None else DOLLARS[best_bid],
        best_bid_size,
        None if best_ask is None else DOLLARS[best_ask],
        best_ask_size,
        mid,
        spread,
        pack_numbers(list(map(_dollars_of, bid_ticks))),
        pack_numbers(bid_sizes),
        pack_numbers(list(map(_dollars_of, ask_ticks))),
        pack_numbers(ask_sizes),
        *depths,
        DOLLARS[state.tick],
        max(0, at_ns - state.changed_ns) // 1_000_000,
        status,
        state.trust.value,
        reason.value,
    )


def _sums(sizes: list[float], near: int, further: int, far: int) -> tuple[float, float, float]:
    """Contracts in the first so many levels, each time more of them."""
    nearest = sum(sizes[:near])
    nearer = sum(sizes[near:further], nearest)
    return nearest, nearer, sum(sizes[further:far], nearer)


def trade_row(trade: Trade, recv_ns: int) -> Row:
    """The row of ``schemas.TRADES`` of a print."""
    return (
        recv_ns // 1_000,
        trade.ts_venue_ms,
        trade.market_id,
        trade.outcome_id,
        DOLLARS[trade.price],
        trade.size,
        None if trade.taker_side is None else trade.taker_side.value,
        trade.printed_outcome_id,
        DOLLARS[trade.printed_price],
        trade.fee_rate_bps,
        trade.transaction_id,
    )


def coverage_row(
    market_id: str, outcome_id: str, start_ns: int, end_ns: int, state: str, cause: str | None
) -> Row:
    """The row of ``schemas.COVERAGE`` of an interval."""
    return (market_id, outcome_id, start_ns // 1_000, end_ns // 1_000, state, cause)


def listed_row(event: MarketListed, recv_ns: int) -> Row:
    """The row of ``schemas.LIFECYCLE`` of a listing."""
    title = event.title[:TITLE_LIMIT] or None
    return (recv_ns // 1_000, event.ts_venue_ms, event.market_id, None, "listed", None, title)


def resolved_row(event: MarketResolved, recv_ns: int) -> Row:
    """The row of ``schemas.LIFECYCLE`` of a result."""
    return (
        recv_ns // 1_000,
        event.ts_venue_ms,
        event.market_id,
        event.winning_outcome_id,
        "resolved",
        None,
        event.winning_label,
    )


def tick_size_row(event: TickSizeChanged, recv_ns: int) -> Row:
    """The row of ``schemas.LIFECYCLE`` of a tick-size change."""
    old = None if event.old_tick is None else f"{DOLLARS[event.old_tick]:g}"
    return (
        recv_ns // 1_000,
        event.ts_venue_ms,
        event.market_id,
        event.asset_id,
        "tick_size_change",
        old,
        f"{DOLLARS[event.new_tick]:g}",
    )


def status_row(event: StatusChanged, recv_ns: int) -> Row:
    """The row of ``schemas.LIFECYCLE`` of what else happened to a market."""
    return (
        recv_ns // 1_000,
        event.ts_venue_ms,
        event.market_id,
        None,
        event.status.value,
        None,
        event.new,
    )
