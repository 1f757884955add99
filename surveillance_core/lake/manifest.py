"""The list of what is published: readers see what it lists and nothing else.

One directory a venue-day, one segment a writer, one JSON line an operation. A later line about a
path replaces an earlier one. Each ends in a checksum of the rest of it. A line that cannot be read
or is not what its checksum says is skipped and counted: it is the last one of a writer that died
while writing it, and what it announced was never acknowledged, or it was damaged since.

A line may publish a file that holds the rows of others (compaction): it puts the one in force and
takes the others out of it. Being one line it counts whole or not at all, so that no reader sees
those rows twice or misses them.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from datetime import date
from enum import StrEnum

import msgspec

from surveillance_core.lake.layout import (
    manifest_dir,
    manifest_root,
    manifest_segment,
    parse_day,
)
from surveillance_core.lake.store import Store
from surveillance_core.markets import Venue


class Operation(StrEnum):
    """What happened to the file."""

    PUBLISH = "publish"
    REPLACE = "replace"
    """About to replace a file in place: not in force, but what it announces may be found there."""
    RETIRE = "retire"
    """Deleted; others hold its rows (compaction), or it was kept long enough (raw frames)."""
    QUARANTINE = "quarantine"
    """Failed a check and was taken out of the lake."""


class ManifestEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One operation on one file. Times are microseconds since the epoch, UTC."""

    operation: Operation
    table: str
    path: str
    bytes: int
    digest: str
    """SHA-256 of the file, hexadecimal."""
    rows: int
    first_us: int | None
    last_us: int | None
    schema_version: int
    published_us: int
    journal: tuple[int, int] | None = None
    """First and last journal position the rows come from, where there is a journal."""
    cause: str | None = None
    replaces: tuple[str, ...] = ()
    """Paths of the files whose rows this one holds; none of them is in force beside it. They are
    again, as far as they are still there, once this one is quarantined."""


class ManifestDay(msgspec.Struct, frozen=True, kw_only=True):
    """A venue-day's manifest as read."""

    venue: Venue
    day: date
    entries: tuple[ManifestEntry, ...]
    """Files in force, by path."""
    quarantined: tuple[ManifestEntry, ...]
    damaged_lines: int
    former: tuple[ManifestEntry, ...] = ()
    """Files out of force, by path: another holds their rows, or they are retired and deleted."""
    unended: int = 0
    """Segments whose last line has lost its end and nothing else: what it says holds."""

    def files(self, table: str) -> list[ManifestEntry]:
        """Files in force of one table, by path."""
        return [entry for entry in self.entries if entry.table == table]

    def version(self, tables: Iterable[str]) -> str:
        """Changes exactly when the files in force, or taken out, of these tables change.

        A file that replaced others counts as those it replaced: the rows are the same.
        """
        wanted = set(tables)
        digest = hashlib.blake2b(digest_size=8)
        for entry in sorted(self._origins(wanted), key=lambda origin: origin.path):
            digest.update(f"{Operation.PUBLISH} {entry.path} {entry.digest}\n".encode())
        for entry in self.quarantined:
            if entry.table in wanted:
                digest.update(f"{entry.operation} {entry.path} {entry.digest}\n".encode())
        return digest.hexdigest()

    def _origins(self, tables: set[str]) -> list[ManifestEntry]:
        """The files as first written whose rows are in force, each once."""
        former = {entry.path: entry for entry in self.former}
        unresolved = [entry for entry in self.entries if entry.table in tables]
        origins: list[ManifestEntry] = []
        while unresolved:
            entry = unresolved.pop()
            if entry.replaces:
                unresolved.extend(former.pop(path) for path in entry.replaces if path in former)
            else:
                origins.append(entry)
        return origins


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(ManifestEntry)
_CHECKSUM = b',"crc32":"'
"""Begins the last member of a line's object; the rest of the object is what is summed."""


class _Unsummed(ManifestEntry, frozen=True, forbid_unknown_fields=True):
    """A line of before there were checksums, none of which had a member that is not known now."""


_UNSUMMED = msgspec.json.Decoder(_Unsummed)


def encode_line(entry: ManifestEntry) -> bytes:
    """The line of an operation, its end included."""
    summed = _ENCODER.encode(entry)
    return b'%s%s%08x"}\n' % (summed[:-1], _CHECKSUM, zlib.crc32(summed))


def _decode_line(line: bytes) -> ManifestEntry | None:
    """What a line says; None where it is damaged."""
    body, found, checksum = line.rpartition(_CHECKSUM)
    try:
        if not found:
            return _UNSUMMED.decode(line)
        summed = body + b"}"
        return _DECODER.decode(summed) if checksum == b'%08x"}' % zlib.crc32(summed) else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def append_entry(store: Store, venue: Venue, day: date, writer: str, entry: ManifestEntry) -> None:
    """Record an operation durably in the writer's own segment."""
    append_entries(store, venue, day, writer, [entry])


def append_entries(
    store: Store, venue: Venue, day: date, writer: str, entries: Iterable[ManifestEntry]
) -> None:
    """Record operations of which, after a crash, any number from the first on may stand."""
    lines = b"".join(encode_line(entry) for entry in entries)
    store.append_line(manifest_segment(venue, day, writer), lines)


def read_manifest(store: Store, venue: Venue, day: date) -> ManifestDay:
    """What is published of a venue-day; empty where nothing is."""
    latest: dict[str, tuple[int, ManifestEntry]] = {}
    damaged = unended = 0
    directory = manifest_dir(venue, day)
    for name in store.list_names(directory):
        if not name.endswith(".jsonl"):
            continue
        moment = 0
        *ended, last = store.read_bytes(f"{directory}/{name}").split(b"\n")
        unended += bool(last) and _decode_line(last) is not None
        for line in (*ended, last):
            if not line:
                continue
            entry = _decode_line(line)
            if entry is None:
                damaged += 1
                continue
            if entry.operation is Operation.REPLACE:
                continue
            # a writer's lines are in order even where its clock was set back between them
            moment = max(moment, entry.published_us)
            known = latest.get(entry.path)
            if known is None or moment >= known[0]:
                latest[entry.path] = (moment, entry)
    ordered = [latest[path][1] for path in sorted(latest)]
    published = [e for e in ordered if e.operation is Operation.PUBLISH]
    retired = [e for e in ordered if e.operation is Operation.RETIRE]
    # a deleted file still keeps out what it replaced: its own rows live on in another
    replaced = {path for entry in (*published, *retired) for path in entry.replaces}
    former = [*(e for e in published if e.path in replaced), *retired]
    return ManifestDay(
        venue=venue,
        day=day,
        entries=tuple(e for e in published if e.path not in replaced),
        quarantined=tuple(e for e in ordered if e.operation is Operation.QUARANTINE),
        damaged_lines=damaged,
        former=tuple(sorted(former, key=lambda entry: entry.path)),
        unended=unended,
    )


def announced_digests(store: Store, venue: Venue, day: date, path: str) -> set[str]:
    """Digests that files were said to have that were about to replace the one at a path."""
    directory = manifest_dir(venue, day)
    found: set[str] = set()
    for name in store.list_names(directory):
        if not name.endswith(".jsonl"):
            continue
        for line in store.read_bytes(f"{directory}/{name}").split(b"\n"):
            entry = _decode_line(line)
            if entry is not None and entry.path == path and entry.operation is Operation.REPLACE:
                found.add(entry.digest)
    return found


def manifest_marks(store: Store, venue: Venue, day: date) -> dict[str, int]:
    """Size in bytes of each segment of a venue-day: cheap to compare with an earlier reading."""
    directory = manifest_dir(venue, day)
    return {
        name: store.size(f"{directory}/{name}") or 0
        for name in store.list_names(directory)
        if name.endswith(".jsonl")
    }


def manifest_days(store: Store, venue: Venue) -> list[date]:
    """Days of which anything is published, oldest first."""
    days = (parse_day(name) for name in store.list_names(manifest_root(venue)))
    return sorted(day for day in days if day is not None)
