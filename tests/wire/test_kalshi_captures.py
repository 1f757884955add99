"""Kalshi's recordings through the state machine, against a recomputation in decimals."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from surveillance_core.books import OrderBook, Trust
from surveillance_core.venues.captures import CaptureRecord, Connected, FrameRecord, read_capture
from surveillance_core.venues.kalshi.channel import KalshiChannel
from surveillance_core.venues.kalshi.judging import QUIET_GAPS
from surveillance_core.venues.protocols import (
    BATCH_GAP_NS,
    ChannelEvent,
    Doubted,
    Opened,
    Rejected,
)

CHECKED = {
    "kxbtc15m_book_ticker_2026-05-11_A": (1, 1, (29, 21)),
    "kxbtc15m_book_ticker_2026-05-11_B_rotation": (2, 3, (788, 607)),
    "kxbtc_orderbook_8mkts_2026-04-18": (1, 8, (0, 0)),
}
"""Streams, whole books, and tickers compared and agreed: what the check program finds."""


def _records(shared: Path, name: str) -> list[CaptureRecord]:
    path = shared / "fixtures" / "captures" / "kalshi" / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"no recording {path}")
    return list(read_capture(path))


class Truth:
    """The books by definition: a dictionary of decimals a side."""

    def __init__(self) -> None:
        self.books: dict[str, dict[str, dict[Decimal, Decimal]]] = {}

    def apply(self, frame: dict[str, Any]) -> None:
        body = frame.get("msg", {})
        if frame["type"] == "orderbook_snapshot":
            self.books[body["market_ticker"]] = {
                side: {Decimal(p): Decimal(s) for p, s in body.get(f"{side}_dollars_fp", [])}
                for side in ("yes", "no")
            }
        elif frame["type"] == "orderbook_delta":
            side = self.books[body["market_ticker"]][body["side"]]
            price = Decimal(body["price_dollars"])
            side[price] = side.get(price, Decimal(0)) + Decimal(body["delta_fp"])
            if not side[price]:
                del side[price]

    def book(self, ticker: str) -> OrderBook:
        sides = self.books[ticker]
        return OrderBook(
            {int(price * 10_000): float(size) for price, size in sides["yes"].items()},
            {int((1 - price) * 10_000): float(size) for price, size in sides["no"].items()},
        )


def _follow_and_receive(channel: KalshiChannel, record: FrameRecord) -> list[ChannelEvent]:
    named = channel.assets_named(record.frame)
    channel.follow(terms for terms in named if terms.asset_id not in channel.states)
    return list(channel.receive(record.frame, record.recv_ns))


@pytest.mark.parametrize("name", CHECKED)
def test_every_book_is_the_one_recomputed(shared: Path, name: str) -> None:
    channels: list[KalshiChannel] = []
    truth, messages = Truth(), Counter[str]()
    events: list[ChannelEvent] = []
    for place, record in enumerate(_records(shared, name)):
        if isinstance(record, Connected):
            channels.append(KalshiChannel())
            truth = Truth()
        if not isinstance(record, FrameRecord):
            continue
        frame = json.loads(record.frame)
        messages[frame["type"]] += 1
        events += _follow_and_receive(channels[-1], record)
        truth.apply(frame)
        body = frame.get("msg", {})
        if frame["type"].startswith("orderbook"):
            ticker = body["market_ticker"]
            state = channels[-1].states[ticker]
            if place % 50 == 0 or place < 5_000:
                assert state.book == truth.book(ticker)
            assert state.trust is Trust.VERIFIED
            assert state.seq == frame["seq"]
    for channel in channels:
        channel.settle(1 << 62)
    streams, books, tickers = CHECKED[name]
    assert sum((channel.messages for channel in channels), Counter[str]()) == messages
    assert messages["orderbook_snapshot"] == books
    assert sum(channel.sequence.streams for channel in channels) == streams
    assert sum(channel.sequence.gaps for channel in channels) == 0
    assert sum(channel.negative_levels for channel in channels) == 0
    assert sum(channel.crossed_at_batch_end for channel in channels) == 0
    assert (
        sum(channel.tickers.compared for channel in channels),
        sum(channel.tickers.agreed for channel in channels),
    ) == tickers
    assert not any(isinstance(event, Doubted | Rejected) for event in events)


def test_the_close_empties_the_book_on_the_same_stream(shared: Path) -> None:
    channel = KalshiChannel()
    for record in _records(shared, "kxbtc15m_book_ticker_2026-05-11_B_rotation"):
        if isinstance(record, FrameRecord) and record.conn == "c1":
            _follow_and_receive(channel, record)
    (state,) = channel.states.values()
    # the changes before it have already taken every order out
    assert channel.ignored == {}
    assert channel.messages["orderbook_snapshot"] == 2
    assert state.book == OrderBook()
    assert state.opened
    assert channel.sequence.gaps == 0


def test_whichever_frame_is_lost_is_found_at_the_next(shared: Path) -> None:
    records = [
        record
        for record in _records(shared, "kxbtc_orderbook_8mkts_2026-04-18")
        if isinstance(record, FrameRecord)
    ]
    numbered = [n for n, record in enumerate(records) if '"seq"' in record.frame]
    for lost in numbered[:-1]:
        channel = KalshiChannel()
        for record in records:
            channel.follow(channel.assets_named(record.frame))
        events: list[ChannelEvent] = []
        for place, record in enumerate(records):
            if place != lost:
                events += channel.receive(record.frame, record.recv_ns)
        assert (channel.sequence.gaps, channel.sequence.lost) == (1, 1)
        assert sum(isinstance(event, Doubted) for event in events) == len(channel.states) == 8
        standing = [state for state in channel.states.values() if state.opened]
        opened_after = sum(isinstance(event, Opened) for event in events[-8:])
        assert len(standing) <= opened_after


def test_frames_of_every_era_are_taken_or_named(shared: Path) -> None:
    folder = shared / "fixtures" / "kalshi" / "ws"
    known = {
        "orderbook_snapshot", "orderbook_delta", "trade", "ticker", "market_lifecycle_v2",
        "event_lifecycle", "event_fee_update", "subscribed", "ok", "unsubscribed", "error",
    }  # fmt: skip
    seen = Counter[str]()
    for name in (
        "real_single_frames.jsonl",
        "spec_examples_2026-07-21.jsonl",
        "spec_examples_transitional_2026-02.jsonl",
    ):
        path = folder / name
        if not path.is_file():
            pytest.skip(f"no frames {path}")
        for line in path.read_text().splitlines():
            record = json.loads(line)
            frame = record.get("frame") or record.get("payload") or record
            if "cmd" in frame:
                continue
            channel = KalshiChannel()
            events = channel.receive(json.dumps(frame), 1)
            reasons = [event.reason for event in events if isinstance(event, Rejected)]
            assert reasons == ([] if frame["type"] in known else ["unknown_type"])
            seen[frame["type"]] += 1
    assert seen["trade"] >= 2
    assert seen["market_lifecycle_v2"] >= 8


def test_the_transition_spelled_a_book_three_times(shared: Path) -> None:
    path = shared / "fixtures" / "kalshi" / "ws" / "spec_examples_transitional_2026-02.jsonl"
    if not path.is_file():
        pytest.skip(f"no frames {path}")
    snapshot = next(
        frame for frame in map(json.loads, path.read_text().splitlines())
        if frame["type"] == "orderbook_snapshot"
    )  # fmt: skip
    books: list[OrderBook] = []
    for suffix in ("", "_dollars", "_dollars_fp"):
        kept = {"market_ticker", "yes" + suffix, "no" + suffix}
        body = {key: value for key, value in snapshot["msg"].items() if key in kept}
        channel = KalshiChannel()
        channel.follow(channel.assets_named(json.dumps(snapshot)))
        channel.receive(json.dumps(snapshot | {"msg": body}), 1)
        books.append(channel.states[body["market_ticker"]].book)
    assert books[0].bids
    assert books[0] == books[1] == books[2]


@pytest.mark.parametrize("name", CHECKED)
def test_changes_of_one_time_are_one_run_and_end_before_the_channel_reads(
    shared: Path, name: str
) -> None:
    """What a book is read by: only silence or the next change ends a run of one time."""
    last: dict[tuple[int, str, str], tuple[int, int]] = {}
    for record in _records(shared, name):
        if isinstance(record, Connected):
            last.clear()
        if not isinstance(record, FrameRecord):
            continue
        frame = json.loads(record.frame)
        if frame["type"] != "orderbook_delta":
            continue
        run = (frame["sid"], frame["msg"]["market_ticker"], frame["msg"]["ts"])
        if run in last:
            seq, recv_ns = last[run]
            assert frame["seq"] == seq + 1
            assert record.recv_ns - recv_ns < QUIET_GAPS * BATCH_GAP_NS
        last[run] = (frame["seq"], record.recv_ns)
