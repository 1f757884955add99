"""The archive's frames through the engine once more: rows of some hours of a venue-day, made anew.

Each shard has an engine of its own, which is given what that shard's collector gave its own, in the
same order. Without the checkpoints that the collector had, a book that was open when the files
begin is known from the next whole one on: for that, files of before the hours are read too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Final, cast

import msgspec
import structlog

from surveillance_collector.captured import CapturedInput
from surveillance_collector.configured import new_engine, new_recorder
from surveillance_collector.recorder import PublishFailure, Recorder
from surveillance_core.lake.errors import DamagedError, LakeError, PublishError
from surveillance_core.lake.layout import parse_hour
from surveillance_core.lake.manifest import ManifestEntry, read_manifest
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.raw import open_raw, raw_files
from surveillance_core.lake.schemas import COLLECTED
from surveillance_core.markets import Venue
from surveillance_core.settings import Settings
from surveillance_core.venues.captures import Began, capture_records

REACH: Final = timedelta(hours=1)
"""A row's time may be this much before its input's: a doubt reaches back."""
DRAIN_RECORDS: Final = 2_000
_HOUR_US: Final = 3_600_000_000

log = structlog.get_logger()


class NothingArchived(LakeError):
    """The archive has no frames of the hours."""


class ReparseReport(msgspec.Struct, kw_only=True):
    """What ``reparse --json`` prints."""

    venue: str
    date: str
    hours: list[int]
    """Hours of which there are frames, of those asked for."""
    files: int = 0
    """Archive files read, those before and after the hours included."""
    frames: int = 0
    rows: dict[str, int] = {}
    published: int = 0
    """Files written."""
    gaps: int = 0
    """Places where files of the archive are missing in a shard's run."""
    damaged: list[str] = msgspec.field(default_factory=list[str])
    """Files that could not be used."""
    damaged_lines: int = 0


@dataclass(frozen=True)
class Chosen:
    """Rows that are wanted: hours as microseconds of their start, UTC, and tables by name."""

    hours: frozenset[int]
    tables: frozenset[str]

    def holds(self, table: str, time_us: int) -> bool:
        """Whether a row is among them."""
        return table in self.tables and time_us - time_us % _HOUR_US in self.hours


def hour_starts(day: date, hours: Iterable[int]) -> frozenset[int]:
    """Starts of a day's hours, UTC, microseconds since the epoch."""
    midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    return frozenset((midnight + hour * 3_600) * 1_000_000 for hour in hours)


def select_files(
    entries: Iterable[ManifestEntry], hours: Iterable[int], warm_up: timedelta
) -> list[ManifestEntry]:
    """Files that are to be read for the rows of some hours: those of before and after with them."""
    before, after = warm_up // timedelta(microseconds=1), REACH // timedelta(microseconds=1)
    spans = [(hour - before, hour + _HOUR_US + after) for hour in hours]
    return [
        entry
        for entry in entries
        if entry.first_us is not None
        and entry.last_us is not None
        and any(entry.last_us >= start and entry.first_us < end for start, end in spans)
    ]


def reparse(
    settings: Settings,
    source: Lake,
    target: Lake,
    venue: Venue,
    day: date,
    *,
    hours: Collection[int],
    tables: Collection[str],
    warm_up: timedelta,
    on_start: Callable[[int], None] = lambda _: None,
    on_file: Callable[[int], None] = lambda _: None,
) -> ReparseReport:
    """Make the rows of a venue-day's hours from the archive, into another lake.

    Parameters
    ----------
    on_start, on_file
        Called with the bytes of all files that will be read, and of each once it has been.

    Raises
    ------
    NothingArchived
        If there are no frames of those hours.
    LakeError
        If the target has rows of these hours already, or cannot be written.
    """
    chosen = Chosen(hour_starts(day, hours), frozenset(tables))
    _refuse_meeting(source, target, venue, day, chosen)
    around = (day - timedelta(days=1), day, day + timedelta(days=1))
    shards = raw_files(source, venue, around)
    there = {
        hour
        for hour in hours
        if any(select_hour(entries, day, hour) for entries in shards.values())
    }
    if not there:
        raise NothingArchived(_nothing_archived(source, venue, day, hours, shards))
    report = ReparseReport(venue=venue.value, date=day.isoformat(), hours=sorted(there))
    rows: Counter[str] = Counter()
    wanted = {s: select_files(e, chosen.hours, warm_up) for s, e in sorted(shards.items())}
    on_start(sum(entry.bytes for entries in wanted.values() for entry in entries))
    for shard, entries in wanted.items():
        recorder = new_recorder(settings, target, venue, shard)
        shard_reparse = _Shard(settings, source, venue, recorder, chosen, report)
        unbroken = _pairs(shards[shard])
        for entry in entries:
            shard_reparse.read(entry, unbroken)
            on_file(entry.bytes)
        shard_reparse.close()
        rows += recorder.published
        report.published += recorder.files
    report.rows = dict(rows)
    return report


def select_hour(entries: Iterable[ManifestEntry], day: date, hour: int) -> bool:
    """Whether any of the files is of that hour."""
    start = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
    return any(parse_hour(entry.path) == start for entry in entries)


def _pairs(entries: list[ManifestEntry]) -> dict[str, str]:
    """Path of the file before each, in the order of all that are listed."""
    return {after.path: before.path for before, after in pairwise(entries)}


class _Shard:
    """The reading of one shard's files."""

    def __init__(
        self,
        settings: Settings,
        source: Lake,
        venue: Venue,
        recorder: Recorder,
        chosen: Chosen,
        report: ReparseReport,
    ) -> None:
        self._settings = settings
        self._source = source
        self._venue = venue
        self._recorder = recorder
        self._chosen = chosen
        self._report = report
        self._input: CapturedInput | None = None
        self._run = 0
        self._next = 0
        """Position of the input that is to come."""
        self._last_path = ""

    def read(self, entry: ManifestEntry, before: dict[str, str]) -> None:
        """Everything of a file, after what is missing before it has been accounted for."""
        self._report.files += 1
        listed_before = before.get(entry.path, "") == self._last_path
        try:
            file = open_raw(self._source, entry)
        except DamagedError as error:
            self._report.damaged.append(f"{entry.path}: {error}")
            log.error("archive_file_damaged", path=entry.path, cause=str(error))
            return
        self._last_path = entry.path
        for number, record in enumerate(capture_records(file), start=1):
            if isinstance(record, Began):
                self._begin(record, listed_before)
            captured = self._input or self._new_input()
            captured.apply(record)
            if number % DRAIN_RECORDS == 0:
                self._take(captured)
        if self._input is not None:
            self._take(self._input)
        self._next = cast("tuple[int, int]", entry.journal)[1] + 1

    def _begin(self, began: Began, listed_before: bool) -> None:
        if self._input is not None and began.run != self._run:
            self._end(began.recv_ns, "restarted")
        elif self._input is not None and began.first != self._next:
            self._report.gaps += listed_before
            self._end(began.recv_ns, "archive_incomplete")
        self._run = began.run

    def _new_input(self) -> CapturedInput:
        self._input = CapturedInput(new_engine(self._settings, self._venue))
        return self._input

    def _end(self, end_ns: int, cause: str) -> None:
        captured, self._input = self._input, None
        if captured is not None:
            captured.inputs.end(captured.last_input_ns or captured.last_ns, end_ns, cause)
            self._take(captured)
            self._report.frames += captured.frames
            self._report.damaged_lines += captured.damaged

    def _take(self, captured: CapturedInput) -> None:
        """Have what was produced and is wanted recorded, and published once a bucket is over."""
        now_us = captured.last_ns // 1_000
        output = captured.inputs.engine.drain()
        self._recorder.add(
            [row for row in output.rows if self._chosen.holds(row[0].name, row[1])], now_us
        )
        _raise_first(self._recorder.publish(self._recorder.due(now_us)))

    def close(self) -> None:
        """No more files: nothing is known of what came after them."""
        if self._input is not None:
            if not self._input.inputs.finished:
                self._input.inputs.engine.advance(self._input.last_ns)
            self._take(self._input)
            self._report.frames += self._input.frames
            self._report.damaged_lines += self._input.damaged
        _raise_first(self._recorder.flush())


def _raise_first(failures: list[PublishFailure]) -> None:
    if failures:
        raise PublishError(failures[0].error)


def _refuse_meeting(source: Lake, target: Lake, venue: Venue, day: date, chosen: Chosen) -> None:
    if source.store.root == target.store.root:
        raise LakeError(
            f"{target.store.root} is the lake that the frames are in: its rows stay as they were "
            "published. Name another directory with --out."
        )
    for entry in read_manifest(target.store, venue, day).entries:
        hour = parse_hour(entry.path)
        start_us = -1 if hour is None else int(hour.timestamp()) * 1_000_000
        if entry.table in chosen.tables and start_us in chosen.hours:
            raise LakeError(
                f"{target.store.root} has {entry.table} of these hours already ({entry.path}), "
                "and every row would be there twice. Name another directory with --out."
            )


def _nothing_archived(
    lake: Lake,
    venue: Venue,
    day: date,
    hours: Collection[int],
    shards: dict[str, list[ManifestEntry]],
) -> str:
    kept = sorted(
        hour for hour in range(24) if any(select_hour(e, day, hour) for e in shards.values())
    )
    if kept:
        asked, there = (", ".join(f"{hour:02d}" for hour in h) for h in (sorted(hours), kept))
        return (
            f"{lake.store.root} has no frames of {venue.value} in hour {asked} of {day}. "
            f"It has some of: {there}. Name one of those with --hour."
        )
    return (
        f"{lake.store.root} has no frames of {venue.value} on {day}: storage.raw.keep_days was 0 "
        "when they were received, or they were older than it and have been deleted. "
        "Set storage.raw.keep_days to keep frames from now on; a recording that you have elsewhere "
        f"is read by: surveillance-collector replay FILE --venue {venue.value} --out DIR"
    )


COLLECTED_NAMES: Final = tuple(table.name for table in COLLECTED)
"""Tables that can be made anew."""
