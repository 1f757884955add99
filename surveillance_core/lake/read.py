"""Reading the lake: manifest-listed files only, with pinned types; damage is set aside and named.

A file whose size differs from the manifest's is not read, nor, for who asks for it, one whose
content does. It is reported and, where the caller may
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

from surveillance_core.lake.errors import DamagedError
from surveillance_core.lake.layout import RAW, UNIVERSE, bucket_file, day_dir, universe_file
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
from surveillance_core.lake.schemas import COLLECTED, COVERAGE, TABLES, Table
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
    damaged_lines: int
    """Lines of the manifests that cannot be used; what they list is left out too."""
    version: str
    """Identifies the files read; equal versions mean equal content."""


def scan_table(
    lake: Lake,
    table: Table,
    venue: Venue,
    days: Iterable[date],
    *,
    quarantine: bool = False,
    deep: bool = False,
) -> TableScan:
    """A table's rows of some days as a LazyFrame with the table's own types.

    Parameters
    ----------
    quarantine
        Take damaged files out of the lake instead of only leaving them out; for writers.
    deep
        Read each file now and compare its digest: a changed byte may otherwise pass for another
        value, since neither sizes nor Polars notice it.
    """
    paths: list[str] = []
    damaged: list[Damage] = []
    rows, lines = 0, 0
    versions: list[str] = []
    for day in sorted(days):
        listed = _sound_files(lake, table, venue, day, quarantine=quarantine, deep=deep)
        lines += listed.manifest.damaged_lines
        paths += [lake.store.scan_path(entry.path) for entry in listed.sound]
        rows += sum(entry.rows for entry in listed.sound)
        damaged += listed.damaged
        versions.append(listed.manifest.version([table.name]))
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
    return TableScan(frame, len(paths), rows, tuple(damaged), lines, "-".join(versions))


@dataclass(frozen=True)
class _ListedFiles:
    manifest: ManifestDay
    sound: list[ManifestEntry]
    damaged: list[Damage]


def _sound_files(
    lake: Lake, table: Table, venue: Venue, day: date, *, quarantine: bool, deep: bool
) -> _ListedFiles:
    """A day's files that are of the size they are listed with or, where ``deep``, of the digest.

    A file that fails may have been replaced, and deleted, since the manifest was read: it is
    damaged only if the manifest still lists it. What a quarantine changes is read again too.
    """
    taken_out: list[Damage] = []
    while True:
        manifest = read_manifest(lake.store, venue, day)
        files = manifest.files(table.name)
        causes = {entry.path: _change_of(lake, entry, deep=deep) for entry in files}
        damaged = [
            Damage(venue, day, entry, cause)
            for entry in files
            if (cause := causes[entry.path]) is not None
        ]
        sound = [entry for entry in files if causes[entry.path] is None]
        if damaged and read_manifest(lake.store, venue, day).files(table.name) != files:
            continue
        if not quarantine:
            return _ListedFiles(manifest, sound, damaged)
        known = {damage.entry.path for damage in taken_out}
        found = [damage for damage in damaged if damage.entry.path not in known]
        if not found:
            return _ListedFiles(manifest, sound, taken_out)
        for damage in found:
            quarantine_file(lake, damage)
        taken_out += found


def damage_of(lake: Lake, entry: ManifestEntry, *, deep: bool = False) -> str | None:
    """Why a listed file cannot be used, None where it can.

    The size is compared always; ``deep`` reads the file, compares the digest and, for Parquet,
    decodes every page with its checksum.
    """
    try:
        if not deep:
            _check_size(entry, lake.store.size(entry.path))
        elif entry.path.endswith(".parquet"):
            read_listed(lake, entry)
        else:
            listed_content(lake, entry)
    except DamagedError as error:
        return str(error)
    return None


def _change_of(lake: Lake, entry: ManifestEntry, *, deep: bool) -> str | None:
    """As ``damage_of``, without decoding what the digest proves to be what once could be."""
    if not deep:
        return damage_of(lake, entry)
    try:
        listed_content(lake, entry)
    except DamagedError as error:
        return str(error)
    return None


def read_listed(lake: Lake, entry: ManifestEntry) -> pa.Table:
    """All rows of a listed Parquet file, as it holds them, once it has proved to be the one listed.

    Raises
    ------
    DamagedError
        If size, digest, a page's checksum or the number of rows is not as published.
    """
    content = listed_content(lake, entry)
    try:
        table = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise DamagedError(f"cannot be decoded: {error}") from error
    if table.num_rows != entry.rows:
        raise DamagedError(f"{table.num_rows} rows where {entry.rows} were published")
    return table


def listed_content(lake: Lake, entry: ManifestEntry) -> bytes:
    """A listed file's content, once it has proved to be what was published.

    Raises
    ------
    DamagedError
        If it has not.
    """
    _check_size(entry, lake.store.size(entry.path))
    try:
        content = lake.store.read_bytes(entry.path)
    except OSError as error:
        raise DamagedError(f"cannot be read: {error}") from error
    if file_digest(content) != entry.digest:
        raise DamagedError("digest differs from the published one: the content was changed")
    return content


def _check_size(entry: ManifestEntry, size: int | None) -> None:
    if size is None:
        raise DamagedError("listed in the manifest but missing")
    if size != entry.bytes:
        raise DamagedError(
            f"{size} bytes where {entry.bytes} were published: the file was cut or replaced"
        )


def quarantine_file(lake: Lake, damage: Damage, *, writer: str = "quarantine") -> str:
    """Move a damaged file out of the lake and withdraw trust from the time it covered.

    Trust stays where the files that it had replaced are still there: they are in force again.
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
    if entry.replaces and _replaced_are_back(lake, damage):
        return target
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


def _replaced_are_back(lake: Lake, damage: Damage) -> bool:
    manifest = read_manifest(lake.store, damage.venue, damage.day)
    present = {e.path for e in manifest.files(damage.entry.table) if damage_of(lake, e) is None}
    return present.issuperset(damage.entry.replaces)


def verify_days(
    lake: Lake, venue: Venue, days: Sequence[date], *, deep: bool
) -> tuple[int, list[Damage], int]:
    """Check every listed file of some days: files checked, damage found, damaged manifest lines.

    A last line that has lost its end is one of them, though readers still have what it says.
    """
    checked, lines = 0, 0
    damaged: list[Damage] = []
    for day in days:
        manifest = read_manifest(lake.store, venue, day)
        lines += manifest.damaged_lines + manifest.unended
        for entry in manifest.entries:
            checked += 1
            cause = damage_of(lake, entry, deep=deep)
            if cause is not None and entry in read_manifest(lake.store, venue, day).entries:
                damaged.append(Damage(venue, day, entry, cause))
    return checked, damaged, lines


def unlisted_files(lake: Lake, venue: Venue, day: date) -> list[str]:
    """Paths of a venue-day's tables that no line of the manifest names.

    Whoever wrote such a file died before it was acknowledged, or the line is lost. A file that is
    being published is among them for the moment until it is listed.
    """
    found: list[str] = []
    for name in (*TABLES, RAW):
        directory = day_dir(name, venue, day)
        for child in lake.store.list_names(directory):
            if child.endswith(".parquet"):
                found.append(f"{directory}/{child}")
                continue
            inside = lake.store.list_names(f"{directory}/{child}")
            found += [f"{directory}/{child}/{file}" for file in inside]
    universe = universe_file(venue, day)
    if lake.store.size(universe) is not None:
        found.append(universe)
    manifest = read_manifest(lake.store, venue, day)
    named = {e.path for e in (*manifest.entries, *manifest.former, *manifest.quarantined)}
    return [path for path in found if path not in named]


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
