"""An hour's files become one: the same rows, sorted through the hour, compressed harder.

The new file is published as every other is. Before it becomes visible it is read back, put into
the order of its inputs and compared with them value for value. One line of the manifest then puts
it in force and takes its inputs out, so that readers see either, never both and never neither.
Inputs are deleted after a grace period. A run that dies at any point leaves a sound lake, and the
next run does what is left.

Only one compaction may work on a lake at a time; it needs nobody else to stop. A file that cannot
be read, or is not what its manifest entry says, stays as it is and is reported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from surveillance_core.lake.compaction_plan import (
    HourMerge,
    Removal,
    plan_merges,
    plan_removals,
    replaced_files,
)
from surveillance_core.lake.errors import DamagedError, LakeError, PublishError
from surveillance_core.lake.layout import compacted_file, hour_dir, is_compacted
from surveillance_core.lake.manifest import (
    ManifestDay,
    ManifestEntry,
    Operation,
    append_entries,
    read_manifest,
)
from surveillance_core.lake.publish import Lake, parquet_options, publish_written
from surveillance_core.lake.read import Damage, damage_of, read_listed
from surveillance_core.lake.schemas import Table
from surveillance_core.markets import Venue

WRITER = "compaction"
"""Name of the manifest segment that compaction appends to."""
COMPRESSION_LEVEL = 9
ROW_GROUP = 50_000
"""Rows sorted and written at a time."""


def utc_now() -> datetime:
    """The present."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class MergedHour:
    """What became of an hour."""

    merge: HourMerge
    replaced: tuple[ManifestEntry, ...]
    file: ManifestEntry | None
    """The file now in force; None where nothing could be merged."""
    left_alone: tuple[Damage, ...]


@dataclass
class CompactedDay:
    """What a compaction did to a venue-day."""

    venue: Venue
    day: date
    merged: list[MergedHour] = field(default_factory=list[MergedHour])
    removed: list[ManifestEntry] = field(default_factory=list[ManifestEntry])
    waiting: list[ManifestEntry] = field(default_factory=list[ManifestEntry])
    """Replaced files still there: in their grace period, or what holds their rows is damaged."""
    damaged: list[Damage] = field(default_factory=list[Damage])
    """Files that could not be used; they are as they were."""
    failed: list[str] = field(default_factory=list[str])
    """What could not be done, and why; the next compaction tries again."""


def compact_day(
    lake: Lake,
    venue: Venue,
    day: date,
    *,
    margin: timedelta,
    grace: timedelta,
    delete_only: bool = False,
    clock: Callable[[], datetime] = utc_now,
    on_hour: Callable[[HourMerge], None] = lambda _: None,
) -> CompactedDay:
    """Compact the closed hours of a venue-day and delete what was replaced long enough ago.

    Parameters
    ----------
    margin
        How long an hour must have ended before it is compacted.
    grace
        How long replaced files stay for whoever may still be reading them.
    delete_only
        Compact nothing; only delete.
    on_hour
        Called before each hour.
    """
    done = CompactedDay(venue, day)
    manifest = read_manifest(lake.store, venue, day)
    for merge in [] if delete_only else plan_merges(manifest, clock(), margin):
        on_hour(merge)
        try:
            merged = merge_hour(lake, merge)
        except (LakeError, OSError, pa.ArrowException) as error:
            done.failed.append(f"{merge}: {error}")
            continue
        done.damaged += merged.left_alone
        if merged.file is not None:
            done.merged.append(merged)
    for removal in plan_removals(read_manifest(lake.store, venue, day), clock(), grace):
        cause = damage_of(lake, removal.holder, deep=True)
        if cause is not None:
            done.damaged.append(Damage(venue, day, removal.holder, cause))
            continue
        try:
            done.removed += remove_replaced(lake, venue, day, removal)
        except OSError as error:
            done.failed.append(f"replaced files of {removal.holder.path}: {error}")
    done.waiting = replaced_files(read_manifest(lake.store, venue, day))
    return done


def merge_hour(lake: Lake, merge: HourMerge) -> MergedHour:
    """Publish one file with the rows of all inputs that are sound, in force instead of them.

    Raises
    ------
    PublishError
        If it could not be written, or does not hold the rows of its inputs.
    """
    _delete_strays(lake, merge)
    left: list[Damage] = []
    used: list[tuple[ManifestEntry, pa.Table]] = []

    def read(entries: Iterable[ManifestEntry]) -> None:
        for entry in entries:
            try:
                used.append((entry, _fitting(merge.table, read_listed(lake, entry))))
            except DamagedError as error:
                left.append(Damage(merge.venue, merge.day, entry, str(error)))

    compacted = [entry for entry in merge.inputs if entry.replaces]
    read(entry for entry in merge.inputs if not entry.replaces)
    if used or len(compacted) > 1:
        read(compacted)
    inputs = tuple(entry for entry, _ in used)
    if not inputs or (len(inputs) == 1 and inputs[0].replaces):
        return MergedHour(merge, (), None, tuple(left))
    rows = pa.concat_tables([table for _, table in used])
    used.clear()
    first_us, last_us = _time_range(merge, rows)
    entry = publish_written(
        lake,
        merge.table,
        compacted_file(merge.table, merge.venue, merge.hour, _digest_of(inputs), first_us, last_us),
        merge.venue,
        merge.day,
        lambda staged: _write_sorted(merge.table, rows, staged),
        writer=WRITER,
        rows=rows.num_rows,
        first_us=first_us,
        last_us=last_us,
        replaces=tuple(entry.path for entry in inputs),
    )
    return MergedHour(merge, inputs, entry, tuple(left))


def _write_sorted(table: Table, rows: pa.Table, path: Path) -> None:
    """Write the rows in the table's order, and prove it."""
    order = pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in table.sort_by])
    options = parquet_options(table, COMPRESSION_LEVEL)
    with pq.ParquetWriter(path, table.arrow, **options) as file:
        # a slice at a time: the hour is in memory once already
        for start in range(0, rows.num_rows, ROW_GROUP):
            file.write_table(rows.take(order.slice(start, ROW_GROUP)))
    refuse_other_rows(table, rows, order, path)


def refuse_other_rows(
    table: Table, rows: pa.Table, order: pa.Array[Any] | pa.ChunkedArray[Any], path: Path
) -> None:
    """Refuse a file that is not these rows, each as often as here, in this order.

    No hash is relied on. The inverse of the order says where in the file each row ought to be.
    These places being distinct and as many as the file has rows, the file taken in their order is
    a reordering of itself; and it has to equal the rows value for value, column by column.

    Raises
    ------
    PublishError
        Naming the column that differs.
    """
    place = pc.sort_indices(order)
    found = pq.read_metadata(path).num_rows
    if not found == rows.num_rows == len(pc.unique(place)):
        raise PublishError(f"{path.name}: {found} rows written of {rows.num_rows}")
    for column in table.columns:
        written = pq.read_table(path, columns=[column.name], page_checksum_verification=True)
        if not written.column(column.name).take(place).equals(rows.column(column.name)):
            raise PublishError(f"{path.name}: {column.name} is not what the inputs hold")


def remove_replaced(lake: Lake, venue: Venue, day: date, removal: Removal) -> list[ManifestEntry]:
    """Delete replaced files and list them as retired; returns those deleted.

    The manifest is read once more: what is in force, because its holder was quarantined since,
    stays.
    """
    in_force = {entry.path for entry in read_manifest(lake.store, venue, day).entries}
    if removal.holder.path not in in_force:
        return []
    files = [entry for entry in removal.files if entry.path not in in_force]
    lake.store.delete_files(entry.path for entry in files)
    now_us = int(utc_now().timestamp() * 1_000_000)
    append_entries(
        lake.store,
        venue,
        day,
        WRITER,
        [
            msgspec.structs.replace(
                entry, operation=Operation.RETIRE, published_us=max(now_us, entry.published_us)
            )
            for entry in files
        ],
    )
    return files


def _fitting(table: Table, rows: pa.Table) -> pa.Table:
    """The rows in the table's schema: a column added since they were written is null."""
    unknown = [name for name in rows.column_names if name not in table.arrow.names]
    if unknown:
        raise DamagedError(f"holds columns that this version does not know: {unknown}")
    columns: list[pa.ChunkedArray[Any]] = []
    for column in table.columns:
        if column.name not in rows.column_names and column.nullable:
            nulls: pa.Array[Any] = pa.array([None] * rows.num_rows, type=column.type)
            columns.append(pa.chunked_array([nulls]))
            continue
        if column.name not in rows.column_names:
            raise DamagedError(f"lacks {column.name}")
        values = rows.column(column.name)
        if values.type != column.type:
            raise DamagedError(f"holds {column.name} as {values.type}, not {column.type}")
        if values.null_count and not column.nullable:
            raise DamagedError(f"holds a null in {column.name}, where a value is required")
        columns.append(values)
    return pa.Table.from_arrays(columns, schema=table.arrow)


def _digest_of(inputs: Iterable[ManifestEntry]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for entry in sorted(inputs, key=lambda entry: entry.path):
        digest.update(f"{entry.path} {entry.digest}\n".encode())
    return digest.hexdigest()


def _time_range(merge: HourMerge, rows: pa.Table) -> tuple[int, int]:
    """First and last time of the rows; without any, the start of the hour."""
    # collected tables are sorted by outcome, then time
    times = rows.column(merge.table.sort_by[-1]).cast(pa.int64())
    if not rows.num_rows:
        times = pa.chunked_array([[int(merge.hour.timestamp() * 1_000_000)]], type=pa.int64())
    bounds = pc.min_max(times)
    return bounds["min"].as_py(), bounds["max"].as_py()


def _delete_strays(lake: Lake, merge: HourMerge) -> None:
    """Delete compacted files of the hour that a compaction left which died before listing them.

    Nothing refers to them. Where a line of the manifest cannot be read they stay: it might be one
    that lists such a file, whose inputs are gone.
    """
    manifest = read_manifest(lake.store, merge.venue, merge.day)
    if manifest.damaged_lines:
        return
    known = _known_paths(manifest)
    directory = hour_dir(merge.table.name, merge.venue, merge.hour)
    paths = [f"{directory}/{name}" for name in lake.store.list_names(directory)]
    lake.store.delete_files(path for path in paths if is_compacted(path) and path not in known)


def _known_paths(manifest: ManifestDay) -> set[str]:
    listed = (*manifest.entries, *manifest.former, *manifest.quarantined)
    return {entry.path for entry in listed}
