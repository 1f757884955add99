"""Rows to buckets to published files.

A bucket is the span of ``bucket_minutes`` that a row's time falls in. It is published once it has
ended and ``flush_seconds`` have passed, in parts before that where it grows past ``flush_rows``,
and at shutdown whatever stands. Rows leave memory only after the lake has listed their file.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import msgspec

from surveillance_collector.output import RejectedFrame
from surveillance_collector.rows import Row
from surveillance_core.lake.errors import LakeError
from surveillance_core.lake.layout import bucket_file, rejected_frames_file
from surveillance_core.lake.manifest import ManifestEntry
from surveillance_core.lake.publish import Lake, publish_rows, rows_to_table
from surveillance_core.lake.schemas import COVERAGE, Table
from surveillance_core.markets import Venue


@dataclass
class _Bucket:
    """Rows of one table and span; the first one's time and when the last one came name the file."""

    table: Table
    start_us: int
    first_us: int
    last_us: int = 0
    rows: list[Row] = field(default_factory=list[Row])


@dataclass(frozen=True)
class PublishFailure:
    """A bucket that could not be published; its rows are still held."""

    table: str
    rows: int
    error: str


class Recorder:
    """Collects rows and publishes them.

    Parameters
    ----------
    shard
        Name of this process's part of the universe, in file names and manifest segments.
    """

    def __init__(
        self,
        lake: Lake,
        venue: Venue,
        shard: str,
        *,
        bucket_us: int,
        flush_rows: int,
        flush_us: int,
    ) -> None:
        self._lake = lake
        self._venue = venue
        self._shard = shard
        self._bucket_us = bucket_us
        self._flush_rows = flush_rows
        self._flush_us = flush_us
        self._buckets: dict[tuple[str, int], _Bucket] = {}
        # a publish that fails in its thread puts rows back while the event loop adds others
        self._lock = threading.Lock()
        self._writer = f"collector-{shard}"
        self.published: Counter[str] = Counter()
        """Rows published by table."""
        self.files = 0

    @property
    def held(self) -> int:
        """Rows in memory."""
        with self._lock:
            return sum(len(bucket.rows) for bucket in self._buckets.values())

    def add(self, rows: Iterable[tuple[Table, int, Row]], position_us: int) -> None:
        """Take rows that the engine produced at ``position_us`` on the receive clock."""
        with self._lock:
            for table, time_us, row in rows:
                start = time_us - time_us % self._bucket_us
                key = (table.name, start)
                bucket = self._buckets.get(key)
                if bucket is None:
                    bucket = self._buckets[key] = _Bucket(table, start, time_us)
                bucket.rows.append(row)
                bucket.last_us = position_us

    def due(self, now_us: int) -> list[_Bucket]:
        """Take the buckets that are to be published now out of the recorder."""
        with self._lock:
            keys = [
                key
                for key, bucket in self._buckets.items()
                if now_us >= bucket.start_us + self._bucket_us + self._flush_us
                or len(bucket.rows) >= self._flush_rows
            ]
            return [self._buckets.pop(key) for key in keys]

    def publish(self, buckets: Iterable[_Bucket]) -> list[PublishFailure]:
        """Publish buckets taken with ``due``; a failed one is held again and reported."""
        failures: list[PublishFailure] = []
        for bucket in buckets:
            try:
                self._publish_bucket(bucket)
            except LakeError as error:
                self._hold_again(bucket)
                failures.append(
                    PublishFailure(bucket.table.name, len(bucket.rows), str(error)[:500])
                )
        return failures

    def flush(self) -> list[PublishFailure]:
        """Publish everything held."""
        with self._lock:
            buckets = list(self._buckets.values())
            self._buckets.clear()
        return self.publish(buckets)

    def _publish_bucket(self, bucket: _Bucket) -> ManifestEntry:
        moment = datetime.fromtimestamp(bucket.start_us / 1e6, UTC)
        time_column = "ts_start" if bucket.table is COVERAGE else "ts_recv"
        entry = publish_rows(
            self._lake,
            bucket.table,
            bucket_file(
                bucket.table, self._venue, moment, self._shard, bucket.first_us, bucket.last_us
            ),
            self._venue,
            moment.date(),
            rows_to_table(bucket.table, bucket.rows),
            writer=self._writer,
            time_column=time_column,
        )
        self.published[bucket.table.name] += entry.rows
        self.files += 1
        return entry

    def _hold_again(self, bucket: _Bucket) -> None:
        key = (bucket.table.name, bucket.start_us)
        with self._lock:
            newer = self._buckets.get(key)
            if newer is not None:
                bucket.rows.extend(newer.rows)
                bucket.last_us = newer.last_us
            self._buckets[key] = bucket


class RejectedFrames:
    """Keeps rejected frames beside the lake, in the capture format, up to a size a day."""

    def __init__(
        self, lake: Lake, venue: Venue, *, day_limit_bytes: int = 64 * 1024 * 1024
    ) -> None:
        self._lake = lake
        self._venue = venue
        self._day_limit = day_limit_bytes
        self._used: Counter[date] = Counter()
        self.not_kept = 0
        """Frames counted but not kept, because the day's limit was reached or the disk refused."""

    def keep(self, frames: Iterable[RejectedFrame]) -> None:
        """Append the frames to the day's file."""
        for frame in frames:
            day = datetime.fromtimestamp(frame.recv_ns / 1e9, UTC).date()
            line = _rejected_line(frame)
            if self._used[day] + len(line) > self._day_limit:
                self.not_kept += 1
                continue
            self._used[day] += len(line)
            try:
                self._lake.store.append_aside(rejected_frames_file(self._venue, day), line)
            except OSError:
                self.not_kept += 1


def _rejected_line(frame: RejectedFrame) -> bytes:
    payload = frame.rejected.payload
    return (
        msgspec.json.encode(
            {
                "recv_ns": frame.recv_ns,
                "conn": frame.conn,
                "frame": payload.decode("utf-8", "backslashreplace"),
                "reason": frame.rejected.reason,
                "detail": frame.rejected.detail[:500],
            }
        )
        + b"\n"
    )
