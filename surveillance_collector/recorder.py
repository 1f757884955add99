"""Rows to buckets to published files.

A bucket is the span of ``bucket_minutes`` that a row's time falls in. It is published once it has
ended and ``flush_seconds`` have passed, in parts before that where it grows past ``flush_rows``,
and at shutdown whatever stands. Rows leave memory only after the lake has listed their file, which
says which positions of the journal they came from: of a table and bucket, everything produced up to
the last of them is then published.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import msgspec

from surveillance_collector.output import RejectedFrame
from surveillance_collector.rows import Row
from surveillance_core.lake.errors import LakeError, PublishError
from surveillance_core.lake.layout import bucket_file, rejected_frames_file
from surveillance_core.lake.manifest import ManifestEntry, read_manifest
from surveillance_core.lake.publish import Lake, publish_rows, rows_to_table
from surveillance_core.lake.schemas import COVERAGE, Table
from surveillance_core.markets import Venue


@dataclass(eq=False)
class Bucket:
    """Rows of one table and span; the first one's time and when the last one came name the file."""

    table: Table
    start_us: int
    first_us: int
    since: int
    """Journal position that everything was taken up to before the first row."""
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
        self._buckets: dict[tuple[str, int], Bucket] = {}
        self._taken: list[Bucket] = []
        """What is being published."""
        # a publish that fails in its thread puts rows back while the event loop adds others
        self._lock = threading.Lock()
        self._writer = f"collector-{shard}"
        self._unlisted: dict[str, date] = {}
        """Files in their place that could neither be listed nor taken away, with their days."""
        self.published: Counter[str] = Counter()
        """Rows published by table."""
        self.files = 0

    @property
    def held(self) -> int:
        """Rows in memory."""
        with self._lock:
            return sum(len(b.rows) for b in (*self._buckets.values(), *self._taken))

    @property
    def unpublished_since(self) -> int | None:
        """Journal position up to which every row is published, None where every row there is."""
        with self._lock:
            held = (*self._buckets.values(), *self._taken)
            return min((bucket.since for bucket in held), default=None)

    def add(self, rows: Iterable[tuple[Table, int, Row]], position_us: int, since: int = 0) -> None:
        """Take rows that the engine produced at ``position_us`` on the receive clock.

        ``since`` is the journal's position when rows were taken before.
        """
        with self._lock:
            for table, time_us, row in rows:
                start = time_us - time_us % self._bucket_us
                key = (table.name, start)
                bucket = self._buckets.get(key)
                if bucket is None:
                    bucket = self._buckets[key] = Bucket(table, start, time_us, since)
                bucket.rows.append(row)
                bucket.last_us = position_us

    def has_due(self, now_us: int) -> bool:
        """Whether ``due`` would take anything."""
        with self._lock:
            return any(self._is_due(bucket, now_us) for bucket in self._buckets.values())

    def due(self, now_us: int) -> list[Bucket]:
        """Take the buckets that are to be published now; they go to ``publish`` or ``hold``."""
        with self._lock:
            keys = [key for key, bucket in self._buckets.items() if self._is_due(bucket, now_us)]
            return self._take(keys)

    def everything(self) -> list[Bucket]:
        """Take all that is held, as ``due`` does."""
        with self._lock:
            return self._take(list(self._buckets))

    def _take(self, keys: Iterable[tuple[str, int]]) -> list[Bucket]:
        taken = [self._buckets.pop(key) for key in keys]
        self._taken += taken
        return taken

    def _is_due(self, bucket: Bucket, now_us: int) -> bool:
        ended = now_us >= bucket.start_us + self._bucket_us + self._flush_us
        return ended or len(bucket.rows) >= self._flush_rows

    def publish(
        self, buckets: Iterable[Bucket], position: int | None = None
    ) -> list[PublishFailure]:
        """Publish buckets that were taken; a failed one is held again and reported.

        ``position`` is the journal's when they were taken.
        """
        failures: list[PublishFailure] = []
        with suppress(OSError):
            for path in list(self._unlisted):
                self._withdraw(path)
        for bucket in buckets:
            try:
                entry = self._publish_bucket(bucket, position)
            except (LakeError, OSError) as error:
                self.hold([bucket])
                failures.append(
                    PublishFailure(bucket.table.name, len(bucket.rows), str(error)[:500])
                )
            else:
                self.published[bucket.table.name] += entry.rows
                self.files += 1
                with self._lock:
                    self._taken.remove(bucket)
        return failures

    def flush(self) -> list[PublishFailure]:
        """Publish everything held."""
        return self.publish(self.everything())

    def hold(self, buckets: Iterable[Bucket]) -> None:
        """Take back buckets that were not published, with what has come since."""
        with self._lock:
            for bucket in buckets:
                self._taken.remove(bucket)
                key = (bucket.table.name, bucket.start_us)
                newer = self._buckets.get(key)
                if newer is not None:
                    bucket.rows.extend(newer.rows)
                    bucket.last_us = newer.last_us
                self._buckets[key] = bucket

    def _publish_bucket(self, bucket: Bucket, position: int | None) -> ManifestEntry:
        moment = datetime.fromtimestamp(bucket.start_us / 1e6, UTC)
        time_column = "ts_start" if bucket.table is COVERAGE else "ts_recv"
        path = bucket_file(
            bucket.table, self._venue, moment, self._shard, bucket.first_us, bucket.last_us
        )
        try:
            return publish_rows(
                self._lake,
                bucket.table,
                path,
                self._venue,
                moment.date(),
                rows_to_table(bucket.table, bucket.rows),
                writer=self._writer,
                time_column=time_column,
                journal=None if position is None else (bucket.since + 1, position),
            )
        except PublishError:
            self._unlisted[path] = moment.date()
            listed = self._withdraw(path)
            if listed is None:
                raise
            return listed

    def _withdraw(self, path: str) -> ManifestEntry | None:
        """Take away a file that could not be listed; its entry where it stands listed after all.

        The rows are published again under another name: they must not be in two files.
        """
        store, day = self._lake.store, self._unlisted[path]
        if store.size(path) is not None:
            entries = read_manifest(store, self._venue, day).entries
            listed = next((entry for entry in entries if entry.path == path), None)
            if listed is not None:
                del self._unlisted[path]
                return listed
            store.delete_files([path])
        del self._unlisted[path]
        return None


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

    def keep_missing(self, frames: Iterable[RejectedFrame]) -> None:
        """Append those that were received after the last one kept; for what is recovered."""
        frames = list(frames)
        days = {_day_of(frame.recv_ns) for frame in frames}
        last_ns = {day: self._last_kept_ns(day) for day in days}
        self.keep(frame for frame in frames if frame.recv_ns > last_ns[_day_of(frame.recv_ns)])

    def _last_kept_ns(self, day: date) -> int:
        lines = self._lake.store.read_aside(rejected_frames_file(self._venue, day)).split(b"\n")
        for line in reversed(lines):
            with suppress(msgspec.DecodeError):
                return _decode_kept(line).recv_ns
        return 0

    def keep(self, frames: Iterable[RejectedFrame]) -> None:
        """Append the frames to the day's file."""
        for frame in frames:
            day = _day_of(frame.recv_ns)
            line = _rejected_line(frame)
            if self._used[day] + len(line) > self._day_limit:
                self.not_kept += 1
                continue
            self._used[day] += len(line)
            try:
                self._lake.store.append_aside(rejected_frames_file(self._venue, day), line)
            except OSError:
                self.not_kept += 1


class _Kept(msgspec.Struct):
    recv_ns: int


_decode_kept = msgspec.json.Decoder(_Kept).decode


def _day_of(recv_ns: int) -> date:
    return datetime.fromtimestamp(recv_ns / 1e9, UTC).date()


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
