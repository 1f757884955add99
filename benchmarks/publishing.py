"""build+write Parquet: collected rows to a published file, and the bytes it takes.

1,000 markets, 30 snapshots each at 10 s, 76 levels a row, three levels changed between two
snapshots. Ours is ``rows_to_table`` and ``publish_rows`` with all they promise: checks, sorting,
fsync, reading back, digest, manifest. The limit dumps the same numbers as raw float64; the peer
builds a Polars frame from the lists and writes Parquet, with no promise at all.

Bounds: 50,000 snapshots per CPU-second where raw float64 reached 1.6 million on the reference
machine, so 1/32 of the raw dump; half of the 137 bytes a snapshot of the original layout on the
same kind of data. The bound of 50 bytes belongs to compacted files: see ``compaction``. The
event log's 14 bytes are the limit: changes instead of books.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import cast

import polars as pl

from benchmarks.harness import Row as TableRow
from benchmarks.harness import Scale, at_least, at_most, run_in_turn
from surveillance_collector.rows import Reason, Row, snapshot_row
from surveillance_core.books import BookState, OrderBook
from surveillance_core.lake.layout import bucket_file
from surveillance_core.lake.packed import unpack_numbers
from surveillance_core.lake.publish import Lake, publish_rows, rows_to_table
from surveillance_core.lake.schemas import SNAPSHOTS
from surveillance_core.markets import Venue

NAME = "build+write Parquet"
_START = datetime(2026, 9, 1, tzinfo=UTC)
_SNAPSHOTS = 30
_EVERY_US = 10_000_000
_LEVELS = 38
_LISTS = tuple(f"{side}_{what}" for side in ("bid", "ask") for what in ("px", "sz"))
_EVENT_LOG_BYTES = 14
_ORIGINAL_BYTES = 137
_Numbers = list[float]


def measure(scale: Scale) -> Iterator[TableRow]:
    """Rows: snapshots per CPU-second, bytes per snapshot."""
    rows = snapshot_rows(scale.pick(300, 1_000))
    names = SNAPSHOTS.arrow.names
    lists = [names.index(name) for name in _LISTS]
    sizes: list[int] = []
    with TemporaryDirectory() as directory:
        root = Path(directory)
        lake = Lake(str(root / "lake"), "simulated")

        def ours() -> None:
            number = len(sizes)
            path = bucket_file(SNAPSHOTS, Venue.POLYMARKET, _START, "b0", number, number + 1)
            entry = publish_rows(
                lake,
                SNAPSHOTS,
                path,
                Venue.POLYMARKET,
                _START.date(),
                rows_to_table(SNAPSHOTS, rows),
                writer="benchmark",
                time_column="ts_recv",
            )
            sizes.append(entry.bytes)

        unpacked = [_unpacked(row, lists) for row in rows]
        numbers = array(
            "d", (n for row in unpacked for at in lists for n in cast(_Numbers, row[at]))
        )

        def limit() -> None:
            with (root / "raw").open("wb") as file:
                file.write(memoryview(numbers))
                file.flush()
                os.fsync(file.fileno())

        def peer() -> None:
            columns = dict(zip(names, zip(*unpacked, strict=True), strict=True))
            frame = pl.DataFrame(columns, schema=SNAPSHOTS.polars, strict=False)
            frame.write_parquet(root / "peer.parquet", compression_level=3)

        contenders: dict[str, Callable[[], Callable[[], object]]] = {
            "limit": lambda: limit,
            "peer": lambda: peer,
            "ours": lambda: ours,
        }
        timings = run_in_turn(contenders, scale.pick(5, 9))
        peer_bytes = (root / "peer.parquet").stat().st_size / len(rows)
    yield TableRow(
        workload=NAME,
        unit="snapshots/CPU-s",
        limit=timings.rate("limit", len(rows)),
        peer=timings.rate("peer", len(rows)),
        ours=timings.rate("ours", len(rows)),
        note=f"limit: raw float64; peer: Polars from lists; {len(rows)} rows; "
        f"{timings.ratio('ours', 'peer'):.1f} times the peer",
        **at_least(1 / timings.ratio("limit", "ours"), 1 / 32, "limit"),  # type: ignore[arg-type]
    )
    ours_bytes = sizes[-1] / len(rows)
    yield TableRow(
        workload="bytes a snapshot, one bucket",
        unit="bytes",
        limit=_EVENT_LOG_BYTES,
        peer=_ORIGINAL_BYTES,
        ours=ours_bytes,
        note="limit: event log; peer: the original layout, both of the reference; Polars here "
        f"{peer_bytes:.0f}; uncompacted, the bound of 50 is for compacted files",
        **at_most(ours_bytes / _ORIGINAL_BYTES, 0.5, "peer"),  # type: ignore[arg-type]
    )


def _unpacked(row: Row, lists: Collection[int]) -> Row:
    return tuple(
        unpack_numbers(cast("bytes", value)) if at in lists else value
        for at, value in enumerate(row)
    )


def snapshot_rows(markets: int, snapshots: int = _SNAPSHOTS) -> list[Row]:
    """Rows as the collector makes them, in the order of time: so many of each market."""
    rng = Random(5)
    states = [_state(rng) for _ in range(markets)]
    rows: list[Row] = []
    for number in range(snapshots):
        now_us = int(_START.timestamp() * 1e6) + number * _EVERY_US
        for state in states:
            at_ns = (now_us + rng.randrange(1_000)) * 1_000
            if number:
                _change(state, rng, at_ns)
            rows.append(snapshot_row(state, at_ns, 50, Reason.CHANGE))
    return rows


def _state(rng: Random) -> BookState:
    state = BookState(f"0x{rng.getrandbits(256):064x}", str(rng.getrandbits(255)), 100)
    mid = rng.randrange(4_000, 6_000, 10)
    sides = [rng.sample(range(1, 3 * _LEVELS), _LEVELS) for _ in range(2)]
    state.book = OrderBook(
        {mid - 10 * step: _size(rng) for step in sides[0]},
        {mid + 10 * step: _size(rng) for step in sides[1]},
    )
    return state


def _change(state: BookState, rng: Random, at_ns: int) -> None:
    for _ in range(3):
        side = state.book.bids if rng.random() < 0.5 else state.book.asks
        side[rng.choice(list(side))] = _size(rng)
    state.seq += 3
    state.changed_ns = at_ns - rng.randrange(9_000) * 1_000_000
    state.ts_venue_ms = state.changed_ns // 1_000_000 - 40


def _size(rng: Random) -> float:
    size = max(5.0, rng.lognormvariate(5.5, 1.4))
    return float(round(size)) if rng.random() < 0.6 else round(size, 2)
