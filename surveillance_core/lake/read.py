"""Reading the lake: manifest-listed files only, with pinned types; damage is set aside and named.

A file whose size differs from the manifest's is not read. It is reported and, where the caller may
write, quarantined: moved out of the lake, with a coverage row that withdraws trust from the time it
covered, so that the hole it leaves cannot pass for calm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from surveillance_core.lake.layout import UNIVERSE, bucket_file, universe_file
from surveillance_core.lake.manifest import (
    ManifestDay,
    ManifestEntry,
    Operation,
    announced_digests,
    append_entry,
    manifest_days,
    read_manifest,
)
from surveillance_core.lake.publish import Lake, file_digest, publish_rows, rows_to_table
from surveillance_core.lake.schemas import COLLECTED, COVERAGE, Table
from surveillance_core.markets import Market, UniverseError, Venue, decode_universe

QUARANTINED = "file_quarantined"
"""Cause of the coverage rows that a quarantine leaves."""


@dataclass(frozen=True)
class Damage:
    """A listed file that cannot be used, and why."""

    venue: Venue
    day: date
    entry: ManifestEntry
    cause: str

    def __str__(self) -> str:
        return f"{self.entry.path}: {self.cause}"


@dataclass(frozen=True)
class TableScan:
    """A lazily read table, and what had to be left out of it."""

    frame: pl.LazyFrame
    files: int
    rows: int
    """As the manifest states them, of the files that are read."""
    damaged: tuple[Damage, ...]
    version: str
    """Identifies the files read; equal versions mean equal content."""


def scan_table(
    lake: Lake, table: Table, venue: Venue, days: Iterable[date], *, quarantine: bool = False
) -> TableScan:
    """A table's rows of some days as a LazyFrame with the table's own types.

    Parameters
    ----------
    quarantine
        Take damaged files out of the lake instead of only leaving them out; for writers.
    """
    paths: list[str] = []
    damaged: list[Damage] = []
    rows = 0
    versions: list[str] = []
    for day in sorted(days):
        manifest = read_manifest(lake.store, venue, day)
        for entry in manifest.files(table.name):
            cause = damage_of(lake, entry)
            if cause is not None:
                damage = Damage(venue, day, entry, cause)
                damaged.append(damage)
                if quarantine:
                    quarantine_file(lake, damage)
                continue
            paths.append(lake.store.scan_path(entry.path))
            rows += entry.rows
        versions.append(manifest.version([table.name]))
    schema = table.polars
    frame = pl.LazyFrame(schema=schema)
    if paths:
        frame = pl.scan_parquet(
            paths,
            schema=schema,
            hive_partitioning=False,
            glob=False,
            missing_columns="insert",
            extra_columns="ignore",
            storage_options=lake.store.scan_options(),
        )
    return TableScan(frame, len(paths), rows, tuple(damaged), "-".join(versions))


def damage_of(lake: Lake, entry: ManifestEntry, *, deep: bool = False) -> str | None:
    """Why a listed file cannot be used, None where it can.

    The size is compared always; ``deep`` reads the file, compares the digest and, for Parquet,
    decodes every page with its checksum.
    """
    size = lake.store.size(entry.path)
    if size is None:
        return "listed in the manifest but missing"
    if size != entry.bytes:
        return f"{size} bytes where {entry.bytes} were published: the file was cut or replaced"
    if not deep:
        return None
    content = lake.store.read_bytes(entry.path)
    if file_digest(content) != entry.digest:
        return "digest differs from the published one: the content was changed"
    if entry.path.endswith(".parquet"):
        try:
            table = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            return f"cannot be decoded: {error}"
        if table.num_rows != entry.rows:
            return f"{table.num_rows} rows where {entry.rows} were published"
    return None


def quarantine_file(lake: Lake, damage: Damage, *, writer: str = "quarantine") -> str:
    """Move a damaged file out of the lake and withdraw trust from the time it covered.

    Returns where the file went.
    """
    entry = damage.entry
    missing = lake.store.size(entry.path) is None
    target = "" if missing else lake.store.quarantine(entry.path)
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    append_entry(
        lake.store,
        damage.venue,
        damage.day,
        writer,
        msgspec.structs.replace(
            entry, operation=Operation.QUARANTINE, published_us=now_us, cause=damage.cause
        ),
    )
    collected = {table.name for table in COLLECTED}
    if entry.table in collected and entry.first_us is not None and entry.last_us is not None:
        start, end = entry.first_us, entry.last_us + 1
        row = (None, None, start, end, "untrusted", QUARANTINED)
        bucket = datetime.fromtimestamp(start / 1e6, UTC)
        publish_rows(
            lake,
            COVERAGE,
            bucket_file(COVERAGE, damage.venue, bucket, "quarantine", start, now_us),
            damage.venue,
            damage.day,
            rows_to_table(COVERAGE, [row]),
            writer=writer,
            time_column="ts_start",
        )
    return target


def verify_days(
    lake: Lake, venue: Venue, days: Sequence[date], *, deep: bool
) -> tuple[int, list[Damage], int]:
    """Check every listed file of some days: files checked, damage found, damaged manifest lines."""
    checked, lines = 0, 0
    damaged: list[Damage] = []
    for day in days:
        manifest = read_manifest(lake.store, venue, day)
        lines += manifest.damaged_lines
        for entry in manifest.entries:
            checked += 1
            cause = damage_of(lake, entry, deep=deep)
            if cause is not None:
                damaged.append(Damage(venue, day, entry, cause))
    return checked, damaged, lines


def read_universe(lake: Lake, venue: Venue, day: date) -> list[Market] | None:
    """A day's universe, None where none is published.

    Raises
    ------
    UniverseError
        If the published file is damaged.
    """
    path = universe_file(venue, day)
    entry = universe_entry(read_manifest(lake.store, venue, day))
    if entry is None:
        return None
    try:
        content = lake.store.read_bytes(path)
    except FileNotFoundError:
        return None
    digest = file_digest(content)
    listed = len(content) == entry.bytes and digest == entry.digest
    if not listed and digest not in announced_digests(lake.store, venue, day, path):
        # cut between two lines every line still reads
        raise UniverseError(
            f"{path}: {len(content)} bytes where {entry.bytes} were published. "
            "Materialise the universe again."
        )
    return decode_universe(content, path)


def last_universe_size(lake: Lake, venue: Venue, day: date) -> tuple[date, int] | None:
    """Day and markets of the newest universe up to a day, None where there is none."""
    for earlier in reversed(manifest_days(lake.store, venue)):
        if earlier <= day:
            entry = universe_entry(read_manifest(lake.store, venue, earlier))
            if entry is not None:
                return earlier, entry.rows
    return None


def latest_universe_day(lake: Lake, venue: Venue, today: date, max_age: timedelta) -> date | None:
    """The newest day, not after today and not older than ``max_age``, with a universe."""
    for day in reversed(manifest_days(lake.store, venue)):
        if day > today:
            continue
        if today - day > max_age:
            return None
        if read_manifest(lake.store, venue, day).files(UNIVERSE):
            return day
    return None


def universe_entry(manifest: ManifestDay) -> ManifestEntry | None:
    """The universe's manifest entry of a day."""
    files = manifest.files(UNIVERSE)
    return files[0] if files else None
