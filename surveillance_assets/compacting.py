"""What ``surveillance compact`` and the weekly job do: day after day of a lake, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from surveillance_core.command_line import CommandFailed, errors
from surveillance_core.lake.compaction import WRITER, CompactedDay, compact_day, utc_now
from surveillance_core.lake.compaction_plan import (
    HourMerge,
    plan_merges,
    plan_removals,
    replaced_files,
)
from surveillance_core.lake.layout import LAKE_RECORD
from surveillance_core.lake.manifest import ManifestEntry, manifest_days, read_manifest
from surveillance_core.lake.publish import Lake, clear_staging
from surveillance_core.lake.schemas import SNAPSHOTS
from surveillance_core.locks import process_lock
from surveillance_core.markets import Venue

VenueDay = tuple[Venue, date]


class FilesBeforeAndAfter(msgspec.Struct):
    """Files of the hours that were compacted; ``after`` is null where it was not done."""

    rows: int
    files: int
    bytes: int
    files_after: int | None = None
    bytes_after: int | None = None

    @property
    def row_bytes(self) -> float | None:
        """Bytes a row before."""
        return self.bytes / self.rows if self.rows else None

    @property
    def row_bytes_after(self) -> float | None:
        """Bytes a row after."""
        if self.bytes_after is None or not self.rows:
            return None
        return self.bytes_after / self.rows


class CompactionRow(msgspec.Struct, kw_only=True):
    """A venue-day on which there was something to do."""

    venue: str
    date: str
    hours: int
    """Hours of a table that were compacted, or in a dry run would be."""
    tables: dict[str, FilesBeforeAndAfter]
    snapshot_bytes: float | None
    """Bytes a snapshot in the hours compacted, before; null without any."""
    snapshot_bytes_after: float | None
    removed_files: int
    removed_bytes: int
    waiting_files: int
    """Replaced files still there."""
    damaged: list[str]
    failed: list[str]


def compact_venues(
    lake: Lake,
    venues: Iterable[Venue],
    day: date | None,
    *,
    margin: timedelta,
    grace: timedelta,
    delete_only: bool = False,
    clock: Callable[[], datetime] = utc_now,
) -> list[CompactionRow]:
    """Compact the venues' days, or one of them; a row for each on which there was anything to do.

    Raises
    ------
    LockHeld
        If another process compacts this lake.
    CommandFailed
        If there is no lake.
    """
    days = days_of(lake, venues, day)
    rows: list[CompactionRow] = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("hours"),
        TimeElapsedColumn(),
    )
    with (
        process_lock(
            lake.store,
            "compaction",
            "another compaction is at work here",
            "Wait until it has ended; it does what this one would.",
        ),
        Progress(
            *columns, console=errors, transient=True, disable=not errors.is_terminal
        ) as progress,
    ):
        clear_staging(lake.store, WRITER)
        planned = [] if delete_only else days
        total = sum(len(_planned(lake, *venue_day, clock(), margin)) for venue_day in planned)
        task = progress.add_task("compacting", total=total)

        def on_hour(merge: HourMerge) -> None:
            progress.update(task, description=f"compacting {merge}", advance=1)

        for venue, found in days:
            done = compact_day(
                lake,
                venue,
                found,
                margin=margin,
                grace=grace,
                delete_only=delete_only,
                clock=clock,
                on_hour=on_hour,
            )
            row = _row(done)
            if row is not None:
                rows.append(row)
    return rows


def plan_venues(
    lake: Lake,
    venues: Iterable[Venue],
    day: date | None,
    *,
    margin: timedelta,
    grace: timedelta,
    clock: Callable[[], datetime] = utc_now,
) -> list[CompactionRow]:
    """What ``compact_venues`` would do now, from the manifest alone; no file is read or changed."""
    rows: list[CompactionRow] = []
    for venue, found in days_of(lake, venues, day):
        manifest = read_manifest(lake.store, venue, found)
        merges = plan_merges(manifest, clock(), margin)
        removed = [e for r in plan_removals(manifest, clock(), grace) for e in r.files]
        tables: dict[str, FilesBeforeAndAfter] = {}
        for merge in merges:
            _count(tables, merge.table.name, merge.inputs)
        if merges or removed:
            rows.append(
                CompactionRow(
                    venue=venue.value,
                    date=found.isoformat(),
                    hours=len(merges),
                    tables=tables,
                    snapshot_bytes=_snapshots(tables).row_bytes,
                    snapshot_bytes_after=None,
                    removed_files=len(removed),
                    removed_bytes=sum(entry.bytes for entry in removed),
                    waiting_files=len(replaced_files(manifest)) - len(removed),
                    damaged=[],
                    failed=[],
                )
            )
    return rows


def days_of(lake: Lake, venues: Iterable[Venue], day: date | None) -> list[VenueDay]:
    """The venue-days that the lake lists, oldest first; of one date where it is given."""
    if lake.store.size(LAKE_RECORD) is None:
        raise CommandFailed(
            f"{lake.store.root}: no lake here. Name one with --data-dir, or collect first."
        )
    return sorted(
        (
            (venue, found)
            for venue in venues
            for found in manifest_days(lake.store, venue)
            if day is None or found == day
        ),
        key=lambda venue_day: (venue_day[1], venue_day[0]),
    )


def failures(rows: Sequence[CompactionRow]) -> list[str]:
    """Everything that could not be done."""
    return [line for row in rows for line in row.failed]


def _planned(
    lake: Lake, venue: Venue, day: date, now: datetime, margin: timedelta
) -> list[HourMerge]:
    return plan_merges(read_manifest(lake.store, venue, day), now, margin)


def _row(done: CompactedDay) -> CompactionRow | None:
    tables: dict[str, FilesBeforeAndAfter] = {}
    for merged in done.merged:
        if merged.file is not None:
            _count(tables, merged.merge.table.name, merged.replaced, merged.file)
    row = CompactionRow(
        venue=done.venue.value,
        date=done.day.isoformat(),
        hours=len(done.merged),
        tables=tables,
        snapshot_bytes=_snapshots(tables).row_bytes,
        snapshot_bytes_after=_snapshots(tables).row_bytes_after,
        removed_files=len(done.removed),
        removed_bytes=sum(entry.bytes for entry in done.removed),
        waiting_files=len(done.waiting),
        damaged=[str(damage) for damage in done.damaged],
        failed=done.failed,
    )
    anything = done.merged or done.removed or done.damaged or done.failed
    return row if anything else None


def _count(
    tables: dict[str, FilesBeforeAndAfter],
    table: str,
    inputs: Sequence[ManifestEntry],
    file: ManifestEntry | None = None,
) -> None:
    counted = tables.setdefault(table, FilesBeforeAndAfter(0, 0, 0))
    counted.rows += sum(entry.rows for entry in inputs)
    counted.files += len(inputs)
    counted.bytes += sum(entry.bytes for entry in inputs)
    if file is not None:
        counted.files_after = (counted.files_after or 0) + 1
        counted.bytes_after = (counted.bytes_after or 0) + file.bytes


def _snapshots(tables: dict[str, FilesBeforeAndAfter]) -> FilesBeforeAndAfter:
    return tables.get(SNAPSHOTS.name, FilesBeforeAndAfter(0, 0, 0))
