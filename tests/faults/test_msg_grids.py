"""MSG-04: the price grid changes in the middle of things; no row is of two grids."""

from __future__ import annotations

from random import Random
from typing import cast

import pytest

from surveillance_collector.engine import Engine
from surveillance_collector.sampling import Tier as ReadTier
from surveillance_core.books import SPELLING
from surveillance_core.lake.schemas import LIFECYCLE, SNAPSHOTS
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from tests.collector.worlds import MS, START_NS, Emitted, OneMarket, rows_of, sampled

from .matrix import Trial

CONN = "c1"
GRIDS = (100, 10)
"""Ticks of 0.0001 dollars."""
TICKS_PER_DOLLAR = 10_000
WAYS = ("mid-burst", "before the book", "twice", "without a book", "with a late change")


class GridChange:
    """One market whose grid changes in one of the ways, and what its rows may be."""

    def __init__(self, draws: Random) -> None:
        self._draws = draws
        self.market = OneMarket()
        self.grid = 100
        self._now_ns = START_NS
        self._engine = Engine(
            lambda reader: PolymarketChannel(reader), sampled(50, heartbeat_s=0.5)
        )
        self._emitted: list[Emitted] = []
        self.changes: list[int] = []
        """Grids that the venue told of, in order."""
        self.epochs: list[tuple[int, int | None]] = []
        """From when (nanoseconds) books of which grid may be written; None: of none."""
        self._engine.connect(CONN, self._now_ns)
        self._engine.follow(CONN, [self.market.terms], ReadTier.HOT, self._now_ns)

    @property
    def _ms(self) -> int:
        return self._now_ns // MS

    def pass_time(self, most_ms: int) -> None:
        """Let up to so many milliseconds pass."""
        self._now_ns += self._draws.randint(1, most_ms) * MS
        self._engine.advance(self._now_ns)

    def send(self, frame: str) -> None:
        """Receive a frame a moment later."""
        self._now_ns += self._draws.randint(1, 3) * MS
        self._engine.receive(CONN, frame, self._now_ns)

    def book(self) -> None:
        """The venue sends the book."""
        frame = self.market.book_frame(self._ms)
        self.send(frame)
        self.epochs.append((self._now_ns, self.grid))

    def batch(self) -> list[str]:
        """Frames of one batch on the grid as it is."""
        changes: list[tuple[str, int, float]] = []
        for side, low, high in (("BUY", 4_000, 4_900), ("SELL", 5_100, 6_000)):
            for _ in range(self._draws.randint(1, 3)):
                tick = self._draws.randrange(low, high, self.grid)
                changes.append((side, tick, float(self._draws.randint(0, 50))))
        return self.market.change(self._ms, *changes)

    def burst(self, batches: int = 5) -> None:
        """Batches with a little time between them."""
        for _ in range(batches):
            for frame in self.batch():
                self.send(frame)
            self.pass_time(40)

    def regrid(self) -> None:
        """The other grid; what rests off it is cancelled without a word."""
        self.grid = GRIDS[self.grid == GRIDS[0]]
        book = self.market.book
        for side in (book.bids, book.asks):
            for tick in [tick for tick in side if tick % self.grid]:
                del side[tick]
        self.changes.append(self.grid)
        frame = self.market.tick_change(self._ms, SPELLING[self.grid])
        self.send(frame)
        self.epochs.append((self._now_ns, None))

    def happen(self, way: str) -> None:
        """Let the grid change in a way, between bursts."""
        self.burst()
        if way == "mid-burst":
            frames = self.batch()
            half = self._draws.randrange(len(frames))
            for frame in frames[:half]:
                self.send(frame)
            self.regrid()
            for frame in frames[half:]:
                # of the old grid, and too late
                self.send(frame)
            self.burst(2)
        elif way == "before the book":
            self._engine.disconnect(CONN, self._now_ns, "closed_1006")
            self.epochs.append((self._now_ns, None))
            self._engine.connect(CONN, self._now_ns)
            self._engine.follow(CONN, [self.market.terms], ReadTier.HOT, self._now_ns)
            self.regrid()
            self.burst(1)
        elif way == "twice":
            self.regrid()
            self.burst(1)
            self.regrid()
            self.pass_time(100)
        elif way == "without a book":
            self.regrid()
            self.pass_time(1_500)
            self.burst()
        else:
            late = self.batch()
            self.pass_time(10)
            self.regrid()
            self.pass_time(100)
            self.book()
            for frame in late:
                self.send(frame)
        self.pass_time(100)
        self.book()
        self.burst()

    def rows(self) -> list[Emitted]:
        """Everything that was written."""
        self._now_ns += 1_000 * MS
        self._engine.finish(self._now_ns)
        self._emitted += self._engine.drain().rows
        return self._emitted

    def grids_at(self, at_us: int) -> set[int]:
        """Grids of the books that may be written at a moment of the receive clock.

        The frame that begins an epoch ends the batch before it, whose row has the same time.
        """
        found: set[int | None] = {None}
        for from_ns, grid in self.epochs:
            from_us = from_ns // 1_000
            if from_us > at_us:
                break
            found = {*found, grid} if from_us == at_us else {grid}
        return {grid for grid in found if grid is not None}


def _judge(change: GridChange, way: str) -> int:
    rows = change.rows()
    books = rows_of(rows, SNAPSHOTS)
    for row in books:
        at_us, told = row["ts_recv"], row["tick"]
        assert isinstance(at_us, int)
        assert isinstance(told, float)
        grid = round(told * TICKS_PER_DOLLAR)
        allowed = change.grids_at(at_us)
        assert grid in allowed, f"a row at {at_us} on a grid of {grid} where {allowed} may be"
        for column in ("bid_px", "ask_px"):
            prices = cast("list[float]", row[column])
            off = [price for price in prices if round(price * TICKS_PER_DOLLAR) % grid]
            assert not off, f"{off} off a grid of {grid}"
    told = [row["new"] for row in rows_of(rows, LIFECYCLE) if row["event"] == "tick_size_change"]
    expected = [f"{grid / TICKS_PER_DOLLAR:g}" for grid in change.changes]
    assert told == expected, f"{told} told, {expected} happened"
    grids = {round(float(str(row["tick"])) * TICKS_PER_DOLLAR) for row in books}
    assert grids == ({GRIDS[0]} if way == "twice" else set(GRIDS))
    return len(books)


@pytest.mark.fault("MSG-04")
def test_no_row_mixes_grids(trial: Trial) -> None:
    written = 0
    for number in range(trial.quantity):
        way = WAYS[number % len(WAYS)]
        change = GridChange(Random(trial.seed + number))
        with trial.case(f"{way}, seed {trial.seed + number}"):
            change.book()
            change.happen(way)
            written += _judge(change, way)
    trial.notes.append(f"{written:,} rows")
