"""A collector without sockets: its clock, engine and recorder driven by a test's time."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection

import polars as pl

from surveillance_collector.receive_clock import ReceiveClock
from surveillance_collector.recorder import Recorder
from surveillance_collector.sampling import Tier
from surveillance_core.lake.layout import parse_hour
from surveillance_core.lake.manifest import manifest_days, read_manifest
from surveillance_core.lake.publish import Lake, rows_to_table
from surveillance_core.lake.schemas import COLLECTED, COVERAGE, SNAPSHOTS, Table
from tests.collector.worlds import VENUE, Emitted, Recording, new_engine, recorded, sampled

MS = 1_000_000
TICK_NS = 50 * MS
PUBLISH_TICKS = 10
_BUCKET = re.compile(r"_(\d{4}-\d\d-\d\dT\d\d-\d\d)_")


@dataclass(frozen=True)
class Buckets:
    """How rows become files."""

    minutes: int = 5
    flush_rows: int = 50_000

    @property
    def us(self) -> int:
        """Length in microseconds."""
        return self.minutes * 60_000_000


def drive(
    lake: Lake, recording: Recording, wall: Callable[[int], int], buckets: Buckets
) -> list[Emitted]:
    """Let the recording's time pass while the collector reads the wall's; the rows it made.

    Parameters
    ----------
    wall
        What the wall's clock shows at a nanosecond of the recording's time.
    """
    passed = recording.begin_ns
    clock = ReceiveClock(lambda: wall(passed))
    engine = new_engine(sampled(2_000, heartbeat_s=60.0, bucket_s=60.0 * buckets.minutes))
    recorder = Recorder(
        lake, VENUE, "0", bucket_us=buckets.us, flush_rows=buckets.flush_rows, flush_us=0
    )
    emitted: list[Emitted] = []

    def hand_over() -> None:
        now_ns = clock.now_ns()
        engine.advance(now_ns)
        rows = engine.drain().rows
        emitted.extend(rows)
        recorder.add(rows, now_ns // 1_000)

    engine.connect("c1", clock.now_ns())
    engine.follow("c1", recording.terms, Tier.HOT, clock.now_ns())
    frames = iter(recording.frames)
    at_ns, frame = next(frames, (recording.end_ns, None))
    ticks = 0
    while passed < recording.end_ns:
        tick_ns = recording.begin_ns + ticks * TICK_NS
        while frame is not None and at_ns <= tick_ns:
            passed = at_ns
            engine.receive("c1", frame, clock.now_ns())
            at_ns, frame = next(frames, (recording.end_ns, None))
        passed = tick_ns
        hand_over()
        if ticks % PUBLISH_TICKS == 0:
            assert recorder.publish(recorder.due(clock.now_ns() // 1_000)) == []
        ticks += 1
    engine.finish(clock.now_ns())
    hand_over()
    assert recorder.flush() == []
    return emitted


def rows_missing(lake: Lake, emitted: Iterable[Emitted]) -> int:
    """Rows that were made and are in no file.

    Raises
    ------
    AssertionError
        If a row is in two files, in one of another bucket or hour, or one that nobody made; or if
        a time or duration in it goes back.
    """
    emitted = list(emitted)
    missing = 0
    for table in COLLECTED:
        made = Counter(_sorted(table, [row for kind, _, row in emitted if kind is table]).rows())
        found: Counter[tuple[object, ...]] = Counter()
        for path, rows in _files(lake, table):
            found.update(rows.rows())
            _assert_at_home(path, table, rows)
        extra = found - made
        assert not extra, f"{extra.total()} rows of {table.name} are twice there or nobody's"
        missing += (made - found).total()
    return missing


def _sorted(table: Table, rows: list[tuple[object, ...]]) -> pl.DataFrame:
    frame = pl.from_arrow(rows_to_table(table, rows))
    assert isinstance(frame, pl.DataFrame)
    return _hashable(frame)


def _hashable(frame: pl.DataFrame) -> pl.DataFrame:
    """Lists as text, so that rows can be counted."""
    lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
    return frame.with_columns(pl.col(lists).cast(pl.List(pl.String)).list.join(" "))


def _files(lake: Lake, table: Table) -> Iterable[tuple[str, pl.DataFrame]]:
    for day in manifest_days(lake.store, VENUE):
        for entry in read_manifest(lake.store, VENUE, day).files(table.name):
            frame = pl.read_parquet(lake.store.scan_path(entry.path), hive_partitioning=False)
            yield entry.path, _hashable(frame)


def _assert_at_home(path: str, table: Table, rows: pl.DataFrame) -> None:
    """Every row's time is of the file's bucket, and the file of its hour's directory."""
    named = _BUCKET.search(path)
    assert named is not None, f"{path} names no bucket"
    bucket = datetime.strptime(named[1], "%Y-%m-%dT%H-%M").replace(tzinfo=UTC)
    assert parse_hour(path) == bucket.replace(minute=0), f"{path} lies in another hour"
    assert f"/date={bucket:%Y-%m-%d}/" in path, f"{path} lies in another day"
    times = rows["ts_start" if table is COVERAGE else "ts_recv"]
    first, last = times.min(), times.max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    end = bucket.timestamp() + 300
    assert bucket.timestamp() <= first.timestamp() <= last.timestamp() < end, (
        f"{path} holds rows from {first} to {last}"
    )
    if table is COVERAGE:
        assert (rows["ts_end"] >= rows["ts_start"]).all(), "an interval ends before it starts"
    if table is SNAPSHOTS:
        assert (rows["book_age_ms"] >= 0).all(), "a book is younger than now"


def roll_over(zone: str, edges: list[datetime], roots: list[str], told: Connection) -> None:
    """Let each edge pass in a lake of its own; rows in no file, rows made, what else is wrong."""
    os.environ["TZ"] = zone
    time.tzset()
    recording = recorded(3, markets=4, seconds=6, rate=15.0)
    middle_ns = (recording.begin_ns + recording.end_ns) // 2
    for edge, root in zip(edges, roots, strict=True):
        by_ns = int(edge.timestamp()) * 1_000_000_000 - middle_ns
        lake = Lake(root, "real")
        missing, made, failure = 0, 0, ""
        try:
            emitted = drive(lake, recording, by_ns.__add__, Buckets())
            missing, made = rows_missing(lake, emitted), len(emitted)
            assert len(manifest_days(lake.store, VENUE)) == (2 if not edge.hour else 1)
        except AssertionError as error:
            failure = str(error) or "does not hold"
        told.send((missing, made, failure))
