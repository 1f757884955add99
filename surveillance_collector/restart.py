"""Before a collector begins: what an earlier process left half done is taken up or put away."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import structlog

from surveillance_collector.configured import new_channels
from surveillance_collector.engine import Engine
from surveillance_collector.journal.files import SegmentFiles
from surveillance_collector.journal.records import Segment
from surveillance_collector.journal.recovery import Recovered, recover
from surveillance_collector.output import Output
from surveillance_collector.recorder import PublishFailure, Recorder, RejectedFrames
from surveillance_collector.sampling import Sampling
from surveillance_core.lake.errors import LakeError
from surveillance_core.lake.layout import (
    damaged_segment_file,
    parse_part_shard,
    parse_segment_name,
)
from surveillance_core.lake.manifest import ManifestEntry, read_manifest
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.schemas import COLLECTED
from surveillance_core.lake.unlisted import put_away_unlisted
from surveillance_core.markets import Venue
from surveillance_core.settings import Settings

log = structlog.get_logger()

_LARGEST: Final = 1 << 40
"""Bytes that a segment which cannot be read is taken to have."""
_MARGIN: Final = timedelta(hours=1)
"""A row's time may be this much before its input's: a doubt reaches back."""


_BREATH_SECONDS: Final = 0.001


class RecoveryIncomplete(LakeError):
    """Rows could not be published: the journal stays, and recovering again goes on from there."""


Spans = Mapping[tuple[str, int], Sequence[tuple[int, int]]]
"""Of files, by their table and bucket."""


@dataclass(frozen=True)
class Horizons:
    """Up to which position the rows of each table and bucket are published."""

    entries: tuple[ManifestEntry, ...]

    def by_bucket(self, bucket_us: int) -> Spans:
        """The files' first and last positions by table and the bucket's start in microseconds."""
        found: dict[tuple[str, int], list[tuple[int, int]]] = {}
        for entry in self.entries:
            if entry.journal is None or entry.first_us is None:
                continue
            key = (entry.table, entry.first_us - entry.first_us % bucket_us)
            found.setdefault(key, []).append(entry.journal)
        return found


def read_horizons(lake: Lake, venue: Venue, shard: str, days: Iterable[date]) -> Horizons:
    """What a shard has published on some days, whatever has become of the files."""
    tables = {table.name for table in COLLECTED}
    found: list[ManifestEntry] = []
    for day in days:
        manifest = read_manifest(lake.store, venue, day)
        found += [
            entry
            for entry in (*manifest.entries, *manifest.former, *manifest.quarantined)
            if entry.table in tables and parse_part_shard(entry.path) == shard
        ]
    return Horizons(tuple(found))


def next_position(files: SegmentFiles, wall_ns: int) -> int:
    """A position after every one that the segments can hold, and after earlier runs' besides.

    Without segments it is the wall's nanoseconds, which no run before has counted up to: a run
    counts inputs, from the nanosecond on in which it began.
    """
    first = wall_ns
    for name in files.names():
        parsed = parse_segment_name(name)
        if parsed is not None:
            # an input has more than one byte, and one position is the run's end
            try:
                size = len(files.read(name))
            except OSError:
                size = _LARGEST
            first = max(first, parsed[0] + size + 2)
    return first


def recover_journal(
    settings: Settings,
    lake: Lake,
    venue: Venue,
    shard: str,
    files: SegmentFiles,
    names: list[str],
    now_ns: int,
) -> Recovered:
    """Publish what the segments of earlier runs hold and the lake has not.

    Parameters
    ----------
    now_ns
        When this run began.

    Raises
    ------
    RecoveryIncomplete
        If rows could not be published: nothing is lost, and it is to be tried again.
    """
    begun_ns = begun_first(files, names)
    if begun_ns is None:
        _keep_damaged(lake, venue, shard, files, names)
        return Recovered(damaged=list(names), unreadable=list(names))
    days = _days(begun_ns, now_ns)
    horizons = read_horizons(lake, venue, shard, days)
    recorders: dict[int, tuple[Recorder, Spans]] = {}
    rejected = RejectedFrames(lake, venue)
    failures: list[PublishFailure] = []

    def recorder_of(bucket_us: int) -> tuple[Recorder, Spans]:
        if bucket_us not in recorders:
            recorder = Recorder(
                lake,
                venue,
                shard,
                bucket_us=bucket_us,
                flush_rows=settings.storage.flush_rows,
                flush_us=0,
            )
            recorders[bucket_us] = (recorder, horizons.by_bucket(bucket_us))
        return recorders[bucket_us]

    def published(table: str, time_us: int, bucket_us: int, until: int) -> int:
        spans = recorder_of(bucket_us)[1].get((table, time_us - time_us % bucket_us), ())
        return max((last for first, last in spans if first < until), default=0)

    taken_to = 0

    def hand_over(output: Output, sampling: Sampling, at_ns: int, position: int) -> None:
        nonlocal taken_to
        recorder, _ = recorder_of(sampling.bucket_ns // 1_000)
        recorder.add(output.rows, at_ns // 1_000, taken_to)
        rejected.keep_missing(output.rejected)
        failures.extend(recorder.publish(recorder.due(at_ns // 1_000), position))
        taken_to = position

    engines = RunEngines(settings, venue)
    found = recover(files, names, engines, published, hand_over, now_ns, _breathe)
    for recorder, _ in recorders.values():
        failures.extend(recorder.publish(recorder.everything(), taken_to))
    if any(recorder.held for recorder, _ in recorders.values()):
        raise RecoveryIncomplete(f"{venue.value}: {failures[-1].table}: {failures[-1].error}")
    _keep_damaged(lake, venue, shard, files, found.damaged)
    return found


def _keep_damaged(
    lake: Lake, venue: Venue, shard: str, files: SegmentFiles, names: Iterable[str]
) -> None:
    """Copies of segments beside the lake, for who may read more of them than this program does."""
    for name in names:
        try:
            content = files.read(name)
        except OSError as error:
            log.error("journal_segment_not_kept", segment=name, cause=str(error)[:200])
            continue
        if content:
            lake.store.write_aside(damaged_segment_file(venue, shard, name), content)


def _breathe() -> None:
    """Leave the interpreter to the event loop: what comes in now is more urgent."""
    time.sleep(_BREATH_SECONDS)


class RunEngines:
    """Engines of a venue as an earlier run had them."""

    def __init__(self, settings: Settings, venue: Venue) -> None:
        self._new_channel = new_channels(settings, venue)

    def new(self, sampling: Sampling) -> Engine:
        """One that knows nothing."""
        return Engine(self._new_channel, sampling)

    def restored(self, checkpoint: bytes, sampling: Sampling) -> Engine:
        """One as it was; raises ``CheckpointUnreadable``."""
        return Engine.restored(checkpoint, self._new_channel, sampling)


def begun_first(files: SegmentFiles, names: Iterable[str]) -> int | None:
    """When the first segment that can be read was begun, nanoseconds; None where none can."""
    for name in names:
        try:
            record = next(iter(Segment(files.read(name))), None)
        except OSError:
            continue
        if record is not None and record.recv_ns:
            return record.recv_ns
    return None


def clear_unlisted(lake: Lake, venue: Venue, shard: str, begun_ns: int, now_ns: int) -> list[str]:
    """Take a shard's files out of the lake that are in their place and listed nowhere.

    A process died between the two; the journal has their rows. To be called before anything is
    published.
    """
    moved: list[str] = []
    for day in _days(begun_ns, now_ns):
        moved += put_away_unlisted(lake, venue, day, COLLECTED, shard)
    if moved:
        log.warning("unlisted_files_put_away", venue=venue.value, files=moved[:20])
    return moved


def _days(begun_ns: int, now_ns: int) -> list[date]:
    first = (datetime.fromtimestamp(begun_ns / 1e9, UTC) - _MARGIN).date()
    last = max(first, datetime.fromtimestamp(now_ns / 1e9, UTC).date())
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
