"""Recordings driven by hand, the inputs they took, and what rows must come of them.

The oracle is an engine that is given the inputs as they were, without files: what a journal was
cut into, and how often it was taken up, must make no difference to the rows.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from surveillance_collector.configured import new_engine
from surveillance_collector.journal.records import Kind, Record
from surveillance_collector.journal.recovery import InputReplay
from surveillance_collector.recording import Recording
from surveillance_collector.restart import RunEngines
from surveillance_collector.rows import Row
from surveillance_collector.sampling import Sampling, Tier
from surveillance_core.lake.manifest import ManifestEntry, manifest_days, read_manifest
from surveillance_core.lake.publish import Lake, rows_to_table
from surveillance_core.lake.schemas import COVERAGE, Table
from surveillance_core.settings import Settings
from surveillance_core.venues.protocols import AssetTerms, ReceivedFrame
from tests.collector.worlds import MS, START_MS, VENUE, OneMarket

SHARD = "0"
Rows = Counter[tuple[str, tuple[object, ...]]]


def settings_of(root: Path, *, bucket_s: float, cadence_ms: int, sync_ms: float) -> Settings:
    """A collector's settings with nothing set aside."""
    return Settings.model_validate(
        {
            "data_dir": str(root / "lake"),
            "venues": {
                VENUE.value: {
                    "enabled": True,
                    "snapshot_interval_ms_hot": cadence_ms,
                    "snapshot_interval_ms_warm": cadence_ms,
                }
            },
            "storage": {
                "bucket_minutes": bucket_s / 60,
                "flush_seconds": 0.0,
                "heartbeat_seconds": 1.0,
            },
            "journal": {"sync_ms": sync_ms, "reserve_mb": 0.0},
        }
    )


@dataclass(frozen=True)
class History:
    """Frames about one market, with when they are received."""

    terms: AssetTerms
    frames: tuple[tuple[int, str], ...]


def short_history(frames: int, every_ms: int) -> History:
    """A book, then changes of it, each fourth frame a trade and each tenth a book again."""
    market = OneMarket()
    told: list[tuple[int, str]] = []
    for number in range(frames):
        at_ms = START_MS + number * every_ms
        if number % 10 == 0:
            frame = market.book_frame(at_ms)
        elif number % 4 == 3:
            frame = _print(f"0x{number:08x}", at_ms)
        else:
            (frame,) = market.change(at_ms, ("BUY", 4_500 + 100 * (number % 3), 1.0 + number))
        told.append((at_ms * MS, frame))
    return History(market.terms, tuple(told))


def _print(match: str, ts_ms: int) -> str:
    return json.dumps(
        {
            "event_type": "last_trade_price", "market": "0xmarket", "asset_id": "yes-token",
            "price": "0.51", "size": "2", "side": "BUY", "timestamp": str(ts_ms),
            "fee_rate_bps": "0", "transaction_hash": match,
        }
    )  # fmt: skip


@dataclass
class Inputs:
    """What the journal of a run was given, in order."""

    first: int
    """Position of the first."""
    records: list[Record] = field(default_factory=list[Record])

    @property
    def end(self) -> int:
        """Position of the last."""
        return self.first + len(self.records) - 1


def opened(
    settings: Settings,
    lake: Lake,
    now_ns: Callable[[], int],
    wall_ns: Callable[[], int],
    shard: str = SHARD,
) -> tuple[Recording, Inputs]:
    """A recording, and what it will have been given."""
    engine = new_engine(settings, VENUE)
    recording = Recording(settings, lake, VENUE, shard, engine, now_ns=now_ns, wall_ns=wall_ns)
    journal = recording.journal
    inputs = Inputs(journal.position + 1)
    append, number_from = journal.append, journal.number_from

    def numbered_from(first: int) -> None:
        inputs.first = first
        number_from(first)

    def tapped(kind: Kind, recv_ns: int, conn: int, payload: bytes) -> int:
        inputs.records.append(Record(kind, recv_ns, conn, payload))
        return append(kind, recv_ns, conn, payload)

    append_frames = journal.append_frames

    def tapped_frames(conn: int, frames: Sequence[ReceivedFrame]) -> None:
        for frame, recv_ns in frames:
            payload = frame if isinstance(frame, bytes) else frame.encode()
            inputs.records.append(Record(Kind.FRAME, recv_ns, conn, payload))
        append_frames(conn, frames)

    journal.number_from = numbered_from
    journal.append = tapped
    journal.append_frames = tapped_frames
    return recording, inputs


class Clock:
    """Receive times that rise with each look, set on by the test."""

    def __init__(self, ns: int) -> None:
        self.ns = ns

    def __call__(self) -> int:
        self.ns += 1
        return self.ns

    def wall_ns(self) -> int:
        return self.ns


def begin(recording: Recording, history: History, conn: str, at_ns: int) -> None:
    """A connection on which the history's market is followed."""
    recording.sink.connect(conn, at_ns)
    recording.sink.follow(conn, [history.terms], Tier.HOT, at_ns)


async def driven(
    recording: Recording, history: History, conn: str, clock: Clock, numbers: Iterable[int]
) -> None:
    """Frames of the history on a new connection, each synced as it comes."""
    begin(recording, history, conn, clock())
    for number in numbers:
        recv_ns, frame = history.frames[number]
        clock.ns = max(clock.ns + 1, recv_ns)
        recording.sink.take(conn, frame, clock.ns)
        recording.take(clock())
        assert await recording.journal.sync()


# ── what must come of it ─────────────────────────────────────────────────────────────────────


def rows_of(
    settings: Settings, sampling: Sampling, records: Sequence[Record], cause: str = "restarted"
) -> Rows:
    """Rows of a run that ended after these inputs."""
    replay = InputReplay(RunEngines(settings, VENUE).new(sampling))
    for record in records:
        replay.apply(record)
    if records and not replay.finished:
        last_ns = max(record.recv_ns for record in records)
        replay.engine.advance(last_ns)
        replay.engine.disconnect_all(last_ns, cause)
        replay.engine.finish(last_ns + 1_000)
    return counted([(table, row) for table, _, row in replay.engine.drain().rows])


def counted(rows: Sequence[tuple[Table, Row]]) -> Rows:
    """Rows as the lake has them."""
    found: Rows = Counter()
    for table in {table.name: table for table, _ in rows}.values():
        mine = [row for kind, row in rows if kind is table]
        found.update(_plain(table.name, rows_to_table(table, mine)))
    return found


def _plain(table: str, rows: pa.Table) -> list[tuple[str, tuple[object, ...]]]:
    values = rows.to_pydict()
    columns = [_plain_values(values[name]) for name in sorted(values)]
    plain = list(zip(*columns, strict=True))
    return [(table, row) for row in plain]


def _plain_values(column: Sequence[object]) -> list[object]:
    return [tuple(cast("list[object]", v)) if isinstance(v, list) else v for v in column]


# ── what came of it ──────────────────────────────────────────────────────────────────────────


def listed_files(lake: Lake) -> list[ManifestEntry]:
    """Every file in force, of the days that there are."""
    days: list[date] = manifest_days(lake.store, VENUE)
    return [entry for day in days for entry in read_manifest(lake.store, VENUE, day).entries]


def listed_rows(lake: Lake) -> Rows:
    """All rows in force.

    Raises
    ------
    AssertionError
        If a file that is listed is not the one that was, or one is in its place and not listed.
    """
    found: Rows = Counter()
    entries = listed_files(lake)
    for entry in entries:
        path = Path(lake.store.scan_path(entry.path))
        assert path.exists(), f"listed and not there: {entry.path}"
        content = path.read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry.digest, f"not whole: {entry.path}"
        found.update(_rows_in(entry.table, content))
    listed = {entry.path for entry in entries}
    root = Path(lake.store.root)
    lying = {str(path.relative_to(root)) for path in root.rglob("*.parquet")}
    assert lying <= listed, f"in its place and not listed: {sorted(lying - listed)[:2]}"
    return found


@lru_cache(maxsize=1_024)
def _rows_in(table: str, content: bytes) -> Sequence[tuple[str, tuple[object, ...]]]:
    """A file's rows; most files are in thousands of states of a disk."""
    return _plain(table, pq.read_table(pa.BufferReader(content), use_threads=False))


def difference(found: Rows, expected: Rows) -> tuple[int, int, str]:
    """Rows missing, rows too many, and one of them.

    What the ledger has no trust in is left out: how long nobody was there is not for the inputs
    to say.
    """
    found, expected = told(found), told(expected)
    missing, extra = expected - found, found - expected
    example = next(iter((missing or extra).items()), "")
    return missing.total(), extra.total(), str(example)[:300]


def told(rows: Rows) -> Rows:
    """Rows less what the ledger has no trust in."""
    distrust = {key for key in rows if key[0] == COVERAGE.name and "untrusted" in key[1]}
    return Counter({key: times for key, times in rows.items() if key not in distrust})
