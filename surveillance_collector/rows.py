"""Lake rows from books and events: pure, in the tables' column order."""

from __future__ import annotations

from enum import StrEnum

from surveillance_core.books import DOLLARS, BookState, depth_within
from surveillance_core.venues.protocols import TickSizeChanged, Trade

Row = tuple[object, ...]


class Reason(StrEnum):
    """Why a snapshot row was written."""

    CHANGE = "change"
    HEARTBEAT = "heartbeat"
    OPENED = "opened"
    RESYNC = "resync"


def snapshot_row(state: BookState, at_ns: int, top_k: int, reason: Reason) -> Row:
    """The row of ``schemas.SNAPSHOTS`` that says what the book was at ``at_ns``."""
    book = state.book
    bids, asks = book.bids, book.asks
    bid_ticks = sorted(bids, reverse=True)[:top_k]
    ask_ticks = sorted(asks)[:top_k]
    best_bid = bid_ticks[0] if bid_ticks else None
    best_ask = ask_ticks[0] if ask_ticks else None
    mid = spread = None
    depths: tuple[float | None, ...] = (None,) * 6
    if best_bid is not None and best_ask is not None:
        mid = (best_bid + best_ask) / 20_000
        spread = (best_ask - best_bid) / 10_000
        near = [depth_within(bids, asks, cents) for cents in (1, 2, 5)]
        depths = (
            *(pair[0] if pair else None for pair in near),
            *(pair[1] if pair else None for pair in near),
        )
    return (
        at_ns // 1_000,
        state.ts_venue_ms,
        state.market_id,
        state.asset_id,
        state.seq,
        None if best_bid is None else DOLLARS[best_bid],
        None if best_bid is None else bids[best_bid],
        None if best_ask is None else DOLLARS[best_ask],
        None if best_ask is None else asks[best_ask],
        mid,
        spread,
        [DOLLARS[tick] for tick in bid_ticks],
        [bids[tick] for tick in bid_ticks],
        [DOLLARS[tick] for tick in ask_ticks],
        [asks[tick] for tick in ask_ticks],
        *depths,
        DOLLARS[state.tick],
        max(0, at_ns - state.changed_ns) // 1_000_000,
        book.status.value,
        state.trust.value,
        reason.value,
    )


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


def tick_size_row(event: TickSizeChanged, recv_ns: int) -> Row:
    """The row of ``schemas.LIFECYCLE`` of a tick-size change."""
    return (
        recv_ns // 1_000,
        event.ts_venue_ms,
        event.market_id,
        event.asset_id,
        "tick_size_change",
        f"{DOLLARS[event.old_tick]:g}",
        f"{DOLLARS[event.new_tick]:g}",
    )
