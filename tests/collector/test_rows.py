"""Rows: every column in its place, undefined ones null."""

from __future__ import annotations

from surveillance_collector.rows import (
    Reason,
    coverage_row,
    snapshot_row,
    tick_size_row,
    trade_row,
)
from surveillance_core.books import BookState, OrderBook, Trust
from surveillance_core.lake.publish import rows_to_table
from surveillance_core.lake.schemas import COVERAGE, LIFECYCLE, SNAPSHOTS, TRADES
from surveillance_core.venues.protocols import Side, TickSizeChanged, Trade
from tests.collector.worlds import named

AT_NS = 1_790_000_000_123_456_789


def _state(bids: dict[int, float], asks: dict[int, float]) -> BookState:
    state = BookState("0xmarket", "yes", 100)
    state.book = OrderBook(bids, asks)
    state.opened, state.seq, state.trust = True, 42, Trust.VERIFIED
    state.ts_venue_ms, state.changed_ns = 1_790_000_000_000, AT_NS - 1_999_000_000
    return state


def test_a_two_sided_book() -> None:
    state = _state({4_900: 10.0, 4_850: 2.5, 4_700: 3.0}, {5_100: 5.0, 5_300: 7.0})
    row = named(SNAPSHOTS, snapshot_row(state, AT_NS, 2, Reason.CHANGE))
    assert row == {
        "ts_recv": 1_790_000_000_123_456,
        "ts_venue": 1_790_000_000_000,
        "market_id": "0xmarket",
        "outcome_id": "yes",
        "seq": 42,
        "best_bid_px": 0.49,
        "best_bid_sz": 10.0,
        "best_ask_px": 0.51,
        "best_ask_sz": 5.0,
        "mid": 0.5,
        "spread": 0.02,
        "bid_px": [0.49, 0.485],
        "bid_sz": [10.0, 2.5],
        "ask_px": [0.51, 0.53],
        "ask_sz": [5.0, 7.0],
        "bid_depth_1c": 10.0,
        "bid_depth_2c": 12.5,
        "bid_depth_5c": 15.5,
        "ask_depth_1c": 5.0,
        "ask_depth_2c": 5.0,
        "ask_depth_5c": 12.0,
        "tick": 0.01,
        "book_age_ms": 1_999,
        "status": "ok",
        "trust": "verified",
        "reason": "change",
    }


def test_a_one_sided_book_has_a_touch_and_no_mid() -> None:
    row = named(SNAPSHOTS, snapshot_row(_state({}, {9_990: 1.0}), AT_NS, 50, Reason.OPENED))
    assert (row["best_ask_px"], row["best_ask_sz"], row["status"]) == (0.999, 1.0, "one_sided")
    undefined = ("best_bid_px", "best_bid_sz", "mid", "spread", "bid_depth_1c", "ask_depth_5c")
    assert all(row[name] is None for name in undefined)
    assert row["bid_px"] == []


def test_an_empty_book_is_a_row_too() -> None:
    row = named(SNAPSHOTS, snapshot_row(_state({}, {}), AT_NS, 50, Reason.HEARTBEAT))
    assert (row["status"], row["bid_px"], row["ask_sz"]) == ("empty", [], [])


def test_a_book_is_not_younger_than_the_moment_it_was_read() -> None:
    state = _state({4_900: 1.0}, {})
    state.changed_ns = AT_NS + 5_000_000
    assert named(SNAPSHOTS, snapshot_row(state, AT_NS, 1, Reason.CHANGE))["book_age_ms"] == 0


def test_a_trade_keeps_what_was_printed_beside_what_it_means() -> None:
    trade = Trade(
        market_id="0xmarket",
        outcome_id="yes",
        price=4_000,
        size=12.5,
        taker_side=Side.SELL,
        printed_outcome_id="no",
        printed_price=6_000,
        ts_venue_ms=None,
        transaction_id="0xabc",
        fee_rate_bps="0",
    )
    row = named(TRADES, trade_row(trade, AT_NS))
    assert (row["outcome_id"], row["price"], row["taker_side"]) == ("yes", 0.4, "sell")
    assert (row["printed_outcome_id"], row["printed_price"]) == ("no", 0.6)
    assert (row["ts_venue"], row["size"], row["transaction_id"]) == (None, 12.5, "0xabc")
    assert row["fee_rate_bps"] == "0"


def test_every_kind_of_row_fits_its_table() -> None:
    change = TickSizeChanged("0xmarket", "yes", 100, 10, 1_790_000_000_000)
    trade = Trade(
        market_id="0xmarket", outcome_id="yes", price=1, size=1.0, taker_side=None,
        printed_outcome_id="yes", printed_price=1, ts_venue_ms=1, transaction_id=None,
        fee_rate_bps=None,
    )  # fmt: skip
    rows = {
        SNAPSHOTS: snapshot_row(_state({1: 1.0}, {9_999: 1.0}), AT_NS, 5, Reason.RESYNC),
        TRADES: trade_row(trade, AT_NS),
        COVERAGE: coverage_row("0xmarket", "yes", AT_NS, AT_NS + 1_000, "untrusted", "stalled"),
        LIFECYCLE: tick_size_row(change, AT_NS),
    }
    for table, row in rows.items():
        assert rows_to_table(table, [row]).num_rows == 1
    assert named(LIFECYCLE, rows[LIFECYCLE])["old"] == "0.01"
    assert named(LIFECYCLE, rows[LIFECYCLE])["new"] == "0.001"
