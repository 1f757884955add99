"""One connection takes over from another: no moment without a book, no print twice or missing."""

from __future__ import annotations

import json
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surveillance_collector.engine import Engine
from surveillance_collector.sampling import Tier
from surveillance_core.lake.schemas import COVERAGE, LIFECYCLE, SNAPSHOTS, TRADES

from .worlds import MS, SECOND, START_MS, START_NS, Emitted, OneMarket, new_engine, rows_of, sampled


def _print(match: str, ts_ms: int) -> str:
    return json.dumps(
        {
            "event_type": "last_trade_price", "market": "0xmarket", "asset_id": "yes-token",
            "price": "0.51", "size": "2", "side": "BUY", "timestamp": str(ts_ms),
            "fee_rate_bps": "0", "transaction_hash": match,
        }
    )  # fmt: skip


class Line:
    """One market on two connections, of which each hears what it is told to."""

    def __init__(self) -> None:
        self.market = OneMarket()
        self.engine: Engine = new_engine(sampled())
        self.now_ns = START_NS
        self.emitted: list[Emitted] = []
        self.engine.connect("c1", self.now_ns)
        self.engine.follow("c1", [self.market.terms], Tier.HOT, self.now_ns)
        self.send(self.market.book_frame(self.ms), "c1")

    @property
    def ms(self) -> int:
        return START_MS + (self.now_ns - START_NS) // MS

    def pass_time(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND)
        self.engine.advance(self.now_ns)

    def send(self, frame: str, *conns: str) -> None:
        for conn in conns:
            self.now_ns += MS
            self.engine.receive(conn, frame, self.now_ns)

    def change(self, size: float, *conns: str) -> None:
        (frame,) = self.market.change(self.ms, ("BUY", 4_900, size))
        self.send(frame, *conns)

    def begin_handover(self) -> None:
        self.engine.connect("c2", self.now_ns)
        self.engine.follow("c2", [self.market.terms], Tier.HOT, self.now_ns)

    def rows(self) -> list[Emitted]:
        self.engine.finish(self.now_ns)
        self.emitted += self.engine.drain().rows
        return self.emitted

    def causes(self) -> list[str]:
        return [
            cast("str", row["cause"])
            for row in rows_of(self.rows(), COVERAGE)
            if row["state"] == "untrusted"
        ]

    def bids(self) -> list[float]:
        return [cast("float", row["best_bid_sz"]) for row in rows_of(self.rows(), SNAPSHOTS)]


def test_the_old_book_is_read_until_the_new_one_is_there_and_trust_is_unbroken() -> None:
    line = Line()
    line.pass_time(1)
    line.begin_handover()
    assert line.engine.waiting("c2") == 1
    line.change(20.0, "c1")
    line.pass_time(1)
    line.send(line.market.book_frame(line.ms), "c2")
    assert line.engine.waiting("c2") == 0
    line.change(30.0, "c1", "c2")
    line.pass_time(1)
    line.engine.disconnect("c1", line.now_ns, "stopped")
    line.change(40.0, "c2")
    line.pass_time(1)
    assert line.causes() == ["awaiting_book"]
    assert line.bids() == [10.0, 20.0, 30.0, 40.0]
    assert line.engine.counts["handed_over"] == 1
    assert line.engine.tallies.hashes.mismatched == 0


def test_a_print_that_both_tell_is_written_once_and_one_that_either_misses_is_not_lost() -> None:
    line = Line()
    line.pass_time(1)
    line.begin_handover()
    line.send(_print("0xa", line.ms), "c1")
    line.send(_print("0xb", line.ms), "c1", "c2")
    line.send(line.market.book_frame(line.ms), "c2")
    line.send(_print("0xc", line.ms), "c2", "c1")
    line.send(_print("0xd", line.ms), "c1")
    line.engine.disconnect("c1", line.now_ns, "stopped")
    line.send(_print("0xe", line.ms), "c2")
    told = [row["transaction_id"] for row in rows_of(line.rows(), TRADES)]
    assert told == ["0xa", "0xb", "0xc", "0xd", "0xe"]
    assert line.engine.counts["trades"] == 5


def test_what_breaks_before_the_book_came_is_a_gap_that_its_arrival_ends() -> None:
    line = Line()
    line.pass_time(1)
    line.begin_handover()
    line.engine.disconnect("c1", line.now_ns, "closed_1006")
    line.pass_time(3)
    line.send(line.market.book_frame(line.ms), "c2")
    line.pass_time(1)
    assert line.causes() == ["awaiting_book", "closed_1006"]
    gap = [row for row in rows_of(line.rows(), COVERAGE) if row["cause"] == "closed_1006"]
    assert cast("int", gap[0]["ts_end"]) - cast("int", gap[0]["ts_start"]) == 3_001_000
    assert [row["reason"] for row in rows_of(line.rows(), SNAPSHOTS)][1] == "resync"


def test_a_successor_that_breaks_leaves_everything_as_it_was() -> None:
    line = Line()
    line.pass_time(1)
    line.begin_handover()
    line.engine.disconnect("c2", line.now_ns, "closed_1006")
    line.change(20.0, "c1")
    line.pass_time(1)
    line.change(30.0, "c1")
    line.pass_time(1)
    assert line.causes() == ["awaiting_book"]
    assert line.bids() == [10.0, 20.0, 30.0]
    assert line.engine.waiting("c2") == 0
    # and another one may try
    line.engine.connect("c3", line.now_ns)
    line.engine.follow("c3", [line.market.terms], Tier.HOT, line.now_ns)
    line.send(line.market.book_frame(line.ms), "c3")
    line.engine.disconnect("c1", line.now_ns, "stopped")
    line.change(40.0, "c3")
    line.pass_time(1)
    assert line.causes() == ["awaiting_book"]
    assert line.bids()[-1] == 40.0


def test_a_price_grid_that_both_tell_is_one_change() -> None:
    line = Line()
    line.pass_time(1)
    line.begin_handover()
    line.send(line.market.book_frame(line.ms), "c2")
    line.send(line.market.tick_change(line.ms, "0.001"), "c1", "c2")
    assert len(rows_of(line.rows(), LIFECYCLE)) == 1


def test_what_is_unsubscribed_on_the_old_connection_stays_on_the_new_one() -> None:
    line = Line()
    line.pass_time(1)
    line.begin_handover()
    line.send(line.market.book_frame(line.ms), "c2")
    line.engine.forget("c1", [line.market.asset_id], line.now_ns)
    line.change(20.0, "c2")
    line.pass_time(1)
    assert line.bids()[-1] == 20.0
    assert line.engine.followed == 1
    line.engine.forget("c2", [line.market.asset_id], line.now_ns)
    assert line.engine.followed == 0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_however_the_frames_of_the_two_interleave_every_reading_is_true(
    data: st.DataObject,
) -> None:
    """Both hear every batch from some moment on, each with a delay of its own."""
    line = Line()
    sizes = data.draw(st.lists(st.integers(1, 50), min_size=3, max_size=25))
    start = data.draw(st.integers(0, len(sizes) - 1))
    delays = {"c1": data.draw(st.integers(1, 900)), "c2": data.draw(st.integers(1, 900))}
    begun_ns = line.now_ns
    events: list[tuple[int, str, str]] = []
    truth: list[tuple[int, float]] = [(begun_ns, 10.0)]
    at = begun_ns
    opened_ns = 0
    for place, size in enumerate(sizes):
        at += data.draw(st.integers(50, 1_500)) * MS
        (frame,) = line.market.change((at - START_NS) // MS + START_MS, ("BUY", 4_900, float(size)))
        truth.append((at, float(size)))
        events.append((at + delays["c1"] * MS, "c1", frame))
        if place > start:
            events.append((at + delays["c2"] * MS, "c2", frame))
        if place == start:
            ts_ms = (at - START_NS) // MS + START_MS
            opened_ns = at + delays["c2"] * MS
            events.append((opened_ns, "c2", line.market.book_frame(ts_ms)))
    begin_ns = begun_ns + data.draw(st.integers(0, max(0, (opened_ns - begun_ns) // MS - 1))) * MS
    events.sort(key=lambda event: event[0])
    connected = False
    for moment, conn, frame in events:
        if not connected and moment >= begin_ns:
            line.engine.connect("c2", begin_ns)
            line.engine.follow("c2", [line.market.terms], Tier.HOT, begin_ns)
            connected = True
        line.engine.receive(conn, frame, moment)
        line.now_ns = moment
    line.now_ns += 3 * SECOND
    line.engine.disconnect("c1", line.now_ns, "stopped")
    assert line.causes() == ["awaiting_book"]
    assert line.engine.counts["handed_over"] == 1
    assert line.engine.tallies.hashes.mismatched == 0
    for row in rows_of(line.rows(), SNAPSHOTS):
        seen = cast("float", row["best_bid_sz"])
        read_ns = cast("int", row["ts_recv"]) * 1_000
        latest = max(delays.values()) * MS + SECOND
        possible = {size for moment, size in truth if read_ns - latest <= moment <= read_ns}
        standing = [size for moment, size in truth if moment <= read_ns - latest]
        assert seen in possible | set(standing[-1:])
    assert line.bids()[-1] == truth[-1][1]


@pytest.mark.parametrize("conns", [("c1", "c2"), ("c2", "c1")])
def test_a_reading_that_waits_for_its_batch_goes_over_too(conns: tuple[str, str]) -> None:
    line = Line()
    line.pass_time(0.85)
    line.begin_handover()
    # a change just before the grid's instant: the book is read when its batch is whole
    line.now_ns = START_NS + SECOND - 3 * MS
    line.change(20.0, "c1")
    line.engine.advance(START_NS + SECOND)
    line.now_ns = START_NS + SECOND
    line.send(line.market.book_frame(line.ms), "c2")
    for conn in conns:
        line.send(line.market.change(line.ms, ("BUY", 4_900, 30.0))[0], conn)
    line.pass_time(1)
    assert line.bids()[0] == 10.0
    assert line.bids()[-1] == 30.0
    assert line.causes() == ["awaiting_book"]
