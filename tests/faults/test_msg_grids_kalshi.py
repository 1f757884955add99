"""MSG-04 on Kalshi: the grid comes on another stream than the book, which goes on as it is."""

from __future__ import annotations

import json
from random import Random
from typing import cast

import pytest

from surveillance_collector.engine import Engine
from surveillance_collector.sampling import Tier as ReadTier
from surveillance_core.books import TICKS_PER_DOLLAR
from surveillance_core.lake.schemas import LIFECYCLE, SNAPSHOTS
from surveillance_core.venues.kalshi.channel import KalshiChannel
from surveillance_core.venues.protocols import AssetTerms
from surveillance_core.venues.simulated.kalshi.frames import frame, grid_body, snapshot_body
from surveillance_core.venues.simulated.kalshi.spelling import PRICES
from surveillance_core.venues.simulated.listings import CENT, TENTH_CENT, PriceGrid
from tests.collector.worlds import MS, START_NS, rows_of, sampled

from .matrix import Trial

CONN, OTHER = "c1", "c2"
"""Of which one holds the market, and another may be the one that is told what happens to it."""
TICKER = "KXGRID-1"
TERMS = AssetTerms(market_id=TICKER, asset_id=TICKER, tick=CENT.finest, mirror_id=f"{TICKER}:no")
GRIDS = (CENT, TENTH_CENT)
BOOKS, LIFECYCLES = 1, 2
"""Streams."""
WAYS = ("mid-burst", "between bursts", "before the book", "while away", "told elsewhere", "twice")


class KalshiGridChange:
    """One market whose grid changes in one of the ways, and what its rows may be."""

    def __init__(self, draws: Random) -> None:
        self._draws = draws
        self._grid = CENT
        self._now_ns = START_NS
        self._seq = 0
        self._sides: dict[str, dict[int, float]] = {"yes": {4_900: 10.0}, "no": {5_100: 5.0}}
        """Sizes by price in terms of Yes: bids and asks."""
        self._engine = Engine(lambda reader: KalshiChannel(reader), sampled(50, heartbeat_s=0.5))
        self.changes: list[PriceGrid] = []
        """Grids that the venue told of, in order."""
        self._epochs: list[tuple[int, int]] = []
        """From when (nanoseconds) which grid holds."""
        self._connect()

    def _connect(self) -> None:
        self._seq = 0
        self._engine.connect(CONN, self._now_ns)
        self._engine.follow(CONN, [TERMS], ReadTier.HOT, self._now_ns)
        self._receive(
            json.dumps(
                {
                    "type": "subscribed",
                    "id": 1,
                    "msg": {"channel": "orderbook_delta", "sid": BOOKS},
                }
            )
        )

    def _receive(self, text: str, conn: str = CONN) -> None:
        self._now_ns += self._draws.randint(1, 3) * MS
        self._engine.receive(conn, text, self._now_ns)

    def _numbered(self, kind: str, body: str) -> None:
        self._seq += 1
        self._receive(frame(kind, BOOKS, self._seq, body, self._now_ns // MS))

    def pass_time(self, most_ms: int) -> None:
        """Let up to so many milliseconds pass."""
        self._now_ns += self._draws.randint(1, most_ms) * MS
        self._engine.advance(self._now_ns)

    def book(self) -> None:
        """The venue sends the book."""
        bids, asks = (sorted(self._sides[side].items()) for side in ("yes", "no"))
        body = snapshot_body(TICKER, "m", (bids, asks[::-1]), yes_price=False)
        self._numbered("orderbook_snapshot", body)

    def _set(self, side: str, tick: int, size: float) -> None:
        levels = self._sides[side]
        change = size - levels.pop(tick, 0.0)
        if size:
            levels[tick] = size
        if not change:
            return
        price = PRICES[tick if side == "yes" else TICKS_PER_DOLLAR - tick]
        body = (
            f'{{"market_ticker":"{TICKER}","market_id":"m","price_dollars":"{price}",'
            f'"delta_fp":"{change:.2f}","side":"{side}","ts_ms":{self._now_ns // MS}}}'
        )
        self._numbered("orderbook_delta", body)

    def burst(self, batches: int = 5) -> None:
        """Batches on the grid as it is, with a little time between them."""
        for _ in range(batches):
            self.batch()
            self.pass_time(40)

    def batch(self) -> None:
        """Some changes at once."""
        for side, low, high in (("yes", 4_000, 4_900), ("no", 5_100, 6_000)):
            for _ in range(self._draws.randint(1, 3)):
                tick = self._draws.randrange(low, high, self._grid.finest)
                self._set(side, tick, float(self._draws.randint(0, 50)))

    def regrid(self, conn: str = CONN) -> None:
        """The other grid; what rests off it was cancelled before."""
        self._grid = GRIDS[self._grid is CENT]
        for side, levels in self._sides.items():
            for tick in [tick for tick in levels if tick % self._grid.finest]:
                self._set(side, tick, 0.0)
        self.changes.append(self._grid)
        body = grid_body(TICKER, self._grid)
        text = frame("market_lifecycle_v2", LIFECYCLES, None, body, self._now_ns // MS)
        self._receive(text, conn)
        self._epochs.append((self._now_ns, self._grid.finest))

    def happen(self, way: str) -> None:
        """Let the grid change in a way, between bursts."""
        self.book()
        self.burst()
        if way == "mid-burst":
            self.batch()
            self.regrid()
            self.batch()
        elif way == "between bursts":
            self.pass_time(1_500)
            self.regrid()
            self.pass_time(1_500)
        elif way == "before the book":
            self._drop()
            self._connect()
            self.regrid()
            self.book()
        elif way == "while away":
            self.regrid()
            self.burst()
            self._drop()
            self._connect()
            self.book()
        elif way == "told elsewhere":
            self._engine.connect(OTHER, self._now_ns)
            self.batch()
            self.regrid(OTHER)
            self.batch()
        else:
            self.regrid()
            self.burst(2)
            self.regrid()
        self.burst()
        self._now_ns += 1_000 * MS
        self._engine.finish(self._now_ns)

    def _drop(self) -> None:
        self._engine.disconnect(CONN, self._now_ns, "closed_1006")
        self.pass_time(100)

    def judge(self) -> int:
        """Rows written, each of them on the grid of its moment."""
        rows = self._engine.drain().rows
        books = rows_of(rows, SNAPSHOTS)
        for row in books:
            at_us = cast("int", row["ts_recv"])
            grid = round(cast("float", row["tick"]) * TICKS_PER_DOLLAR)
            allowed = self._grids_at(at_us)
            assert grid in allowed, f"a row at {at_us} on a grid of {grid} where {allowed} may be"
            for column in ("bid_px", "ask_px"):
                prices = cast("list[float]", row[column])
                off = [price for price in prices if round(price * TICKS_PER_DOLLAR) % grid]
                assert not off, f"{off} off a grid of {grid}"
        told = [
            row["new"] for row in rows_of(rows, LIFECYCLE) if row["event"] == "tick_size_change"
        ]
        expected = [f"{grid.finest / TICKS_PER_DOLLAR:g}" for grid in self.changes]
        assert told == expected, f"{told} told, {expected} happened"
        return len(books)

    def _grids_at(self, at_us: int) -> set[int]:
        """Grids that a row of a moment may be of: the frame that ends one has its time too."""
        found = {CENT.finest}
        for from_ns, grid in self._epochs:
            from_us = from_ns // 1_000
            if from_us > at_us:
                break
            found = {*found, grid} if from_us == at_us else {grid}
        return found


@pytest.mark.fault("MSG-04")
def test_no_row_mixes_grids_on_kalshi(trial: Trial) -> None:
    written = 0
    for number in range(trial.quantity):
        way = WAYS[number % len(WAYS)]
        change = KalshiGridChange(Random(trial.seed + number))
        with trial.case(f"Kalshi, {way}, seed {trial.seed + number}"):
            change.happen(way)
            rows = change.judge()
            assert rows, "nothing was written"
            written += rows
    trial.notes.append(f"Kalshi: {written:,} rows")
