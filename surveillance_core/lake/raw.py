"""The archive of frames as they were received: published like rows, and deleted when it is old.

A file holds what one shard received within an hour at most, in the capture format, compressed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import BinaryIO, Final, Protocol, cast

import msgspec
import zstandard

from surveillance_core.lake.errors import PublishError
from surveillance_core.lake.layout import RAW, parse_day, parse_part_shard, raw_file, raw_root
from surveillance_core.lake.manifest import (
    ManifestEntry,
    Operation,
    append_entries,
    append_entry,
    read_manifest,
)
from surveillance_core.lake.publish import Lake, published_entry, publishing
from surveillance_core.lake.read import listed_content
from surveillance_core.markets import Venue

LEVEL: Final = 3
_BLOCK: Final = 1 << 20


class RawLines(Protocol):
    """Lines of the capture format in pieces; the rest is known once they have been taken."""

    begun_ns: int
    """When the first of it was begun, nanoseconds since the epoch."""
    last_ns: int
    """When the last was received."""
    records: int
    journal: tuple[int, int]
    """Positions of the first and the last input."""

    def __iter__(self) -> Iterator[bytes]: ...


def publish_raw(lake: Lake, venue: Venue, shard: str, lines: RawLines) -> ManifestEntry:
    """Publish lines as one file and list it; the same lines give the same file.

    Raises
    ------
    PublishError
        If the file could not be written and checked; nothing of it is visible.
    """
    writer = _writer(shard)
    with publishing(lake.store, raw_root(venue), ".zst", writer) as staged:
        _write(staged, lines)
        found = _count_lines(staged)
        if found != lines.records:
            raise PublishError(f"{raw_root(venue)}: wrote {lines.records} lines, {found} are there")
        begun = datetime.fromtimestamp(lines.begun_ns / 1e9, UTC)
        path = raw_file(venue, begun, shard, lines.begun_ns, lines.last_ns)
        first_us, last_us = lines.begun_ns // 1_000, lines.last_ns // 1_000
        entry = published_entry(staged, RAW, path, lines.records, first_us, last_us, lines.journal)
        lake.store.publish_file(staged, path)
        append_entry(lake.store, venue, begun.date(), writer, entry)
    return entry


def _write(path: Path, lines: Iterable[bytes]) -> None:
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    with path.open("wb") as file, compressor.stream_writer(file, closefd=False) as packed:
        for piece in lines:
            packed.write(piece)


def _count_lines(path: Path) -> int:
    """Lines that a file gives back; its checksum is compared on the way."""
    found = 0
    with path.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file)
        try:
            while block := reader.read(_BLOCK):
                found += block.count(b"\n")
        except zstandard.ZstdError as error:
            raise PublishError(f"{path.name}: does not come back: {error}") from error
    return found


def raw_files(lake: Lake, venue: Venue, days: Iterable[date]) -> dict[str, list[ManifestEntry]]:
    """Listed files of some days by shard, in the order in which they were received."""
    found: dict[str, list[ManifestEntry]] = {}
    for day in days:
        for entry in read_manifest(lake.store, venue, day).files(RAW):
            shard = parse_part_shard(entry.path)
            if shard is not None and entry.journal is not None:
                found.setdefault(shard, []).append(entry)
    for entries in found.values():
        entries.sort(key=lambda entry: cast("tuple[int, int]", entry.journal))
    return found


def open_raw(lake: Lake, entry: ManifestEntry) -> BinaryIO:
    """A listed file, still compressed, to be read by ``captures.capture_records``.

    Raises
    ------
    DamagedError
        If it is not what was published.
    """
    return io.BytesIO(listed_content(lake, entry))


def retire_raw(lake: Lake, venue: Venue, shard: str, before_us: int) -> list[ManifestEntry]:
    """Take files out of the lake that hold nothing received since; those deleted.

    They are out of the manifest before they go, so that no reader misses what is listed.

    Parameters
    ----------
    shard
        Of the collector that does it: files of the venue go whichever shard they are.
    before_us
        Microseconds since the epoch.
    """
    before = datetime.fromtimestamp(before_us / 1e6, UTC).date()
    retired: list[ManifestEntry] = []
    for name in lake.store.list_names(raw_root(venue)):
        day = parse_day(name)
        if day is None or day > before or not _holds_files(lake, f"{raw_root(venue)}/{name}"):
            continue
        manifest = read_manifest(lake.store, venue, day)
        old = [e for e in manifest.files(RAW) if e.last_us is None or e.last_us < before_us]
        if old:
            now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
            entries = (
                msgspec.structs.replace(
                    entry, operation=Operation.RETIRE, published_us=max(now_us, entry.published_us)
                )
                for entry in old
            )
            append_entries(lake.store, venue, day, _writer(shard), entries)
        # also what an earlier try retired and could not delete
        gone = {e.path for e in manifest.former if e.table == RAW} | {e.path for e in old}
        lake.store.delete_files(sorted(gone))
        retired += old
    return retired


def _holds_files(lake: Lake, directory: str) -> bool:
    return any(lake.store.list_names(f"{directory}/{h}") for h in lake.store.list_names(directory))


def _writer(shard: str) -> str:
    return f"raw-{shard}"
