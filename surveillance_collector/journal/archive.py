"""Segments that are not needed any more become files of the raw archive, and are gone then.

A segment and those that go on with it become one file. What of them cannot be read is left out and
reported; a segment without a beginning that can be read is of no use to anybody and goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from surveillance_collector.journal.files import SegmentFiles
from surveillance_collector.journal.records import (
    Header,
    JournalDamaged,
    Kind,
    Segment,
    read_header,
)
from surveillance_collector.journal.spelling import Speller
from surveillance_core.lake.errors import LakeError
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.raw import publish_raw
from surveillance_core.markets import Venue
from surveillance_core.venues.captures import Began, Passed, capture_line

PIECE_BYTES: Final = 1 << 18
"""Lines are handed to the compressor in pieces of this size: while it works others may."""

log = structlog.get_logger()


@dataclass
class _Found:
    """A segment as its header has it."""

    name: str
    header: Header
    begun_ns: int
    until: int | None = None
    """Position before which it counts: from there on the file after it has the same again."""


class ArchivedLines:
    """Lines of a segment and those that go on with it; see ``RawLines``.

    Parameters
    ----------
    ended_ns
        When the segment after them was begun, if that is of the same run.
    """

    def __init__(
        self, files: SegmentFiles, segments: Sequence[_Found], ended_ns: int | None
    ) -> None:
        self._files = files
        self._segments = segments
        self._ended_ns = ended_ns
        header = segments[0].header
        self.begun_ns = segments[0].begun_ns
        self.last_ns = self.begun_ns
        self.records = 0
        self.journal = (header.first, header.first - 1)
        self.unreadable = 0
        """Records left out because their payload is not what it has to be."""
        self.skipped_bytes = 0
        """What lies behind a damaged record."""

    def __iter__(self) -> Iterator[bytes]:
        first = self._segments[0].header
        waiting = [capture_line(Began(recv_ns=self.begun_ns, run=first.run, first=first.first))]
        size = 0
        for line in self._lines():
            waiting.append(line)
            size += len(line)
            if size >= PIECE_BYTES:
                self.records += len(waiting)
                yield b"".join(waiting)
                waiting, size = [], 0
        if self._ended_ns is not None:
            waiting.append(capture_line(Passed(recv_ns=self._ended_ns, standing=True)))
        self.records += len(waiting)
        yield b"".join(waiting)

    def _lines(self) -> Iterator[bytes]:
        speller = Speller()
        for segment in self._segments:
            position = segment.header.first - 1
            reading = Segment(self._files.read(segment.name))
            for record in reading:
                if record.kind >= Kind.CONNECT:
                    if segment.until is not None and position + 1 >= segment.until:
                        break
                    position += 1
                    self.last_ns = max(self.last_ns, record.recv_ns)
                try:
                    spelled = speller.spell(record)
                except ValueError:
                    self.unreadable += 1
                    continue
                for line in spelled:
                    yield capture_line(line)
            else:
                self.skipped_bytes += reading.skipped_bytes
            self.journal = (self.journal[0], position)


class SegmentArchive:
    """Puts a shard's segments away: into the lake where frames are kept, then off the disk."""

    def __init__(
        self, files: SegmentFiles, lake: Lake, venue: Venue, shard: str, *, keep: bool
    ) -> None:
        self._files = files
        self._lake = lake
        self._venue = venue
        self._shard = shard
        self._keep = keep
        self._failing: str | None = None
        self.archived = 0
        """Files published."""

    def put_away(self, names: Iterable[str]) -> list[str]:
        """Archive and delete segments, those first written first; names of those still there.

        What cannot be done is logged once for each cause, and is to be tried again.
        """
        left = sorted(names)
        try:
            if not self._keep:
                self._files.remove(left)
                left = []
            for group, lines in self._groups(left) if self._keep else ():
                if lines is not None:
                    self._publish(lines)
                self._files.remove(group)
                left = left[len(group) :]
        except (OSError, LakeError) as error:
            self._note(error)
        else:
            self._failing = None
        return left

    def _publish(self, lines: ArchivedLines) -> None:
        entry = publish_raw(self._lake, self._venue, self._shard, lines)
        self.archived += 1
        if lines.unreadable or lines.skipped_bytes:
            log.error(
                "archived_with_damage",
                venue=self._venue.value,
                file=entry.path,
                unreadable=lines.unreadable,
                skipped_bytes=lines.skipped_bytes,
            )

    def _groups(self, names: Sequence[str]) -> Iterator[tuple[list[str], ArchivedLines | None]]:
        """Segments that make one file, with its lines; none where nothing can be read."""
        group: list[_Found] = []
        members: list[str] = []
        for name in names:
            found = self._find(name)
            if found is None or not found.header.continues:
                if members:
                    yield self._closed(members, group, found)
                group, members = [], []
            elif group and found.header.run == group[-1].header.run:
                group[-1].until = found.header.first
            members.append(name)
            if found is not None:
                group.append(found)
        if members:
            following = next((name for name in self._files.names() if name > members[-1]), None)
            found = None if following is None else self._find(following, report=False)
            yield self._closed(members, group, found)

    def _closed(
        self, members: list[str], group: list[_Found], following: _Found | None
    ) -> tuple[list[str], ArchivedLines | None]:
        ended_ns = None
        if group and following is not None and following.header.run == group[-1].header.run:
            group[-1].until = following.header.first
            ended_ns = following.begun_ns or None
        # one that was given up before it held anything has perhaps not even its head whole
        used = [s for s in group if s.until is None or s.until > s.header.first]
        if used and not used[0].begun_ns:
            # its beginning is lost, and only that says when it was
            records = Segment(self._files.read(used[0].name))
            used[0].begun_ns = next((r.recv_ns for r in records if r.recv_ns), 0)
        if not used or not used[0].begun_ns:
            return members, None
        return members, ArchivedLines(self._files, used, ended_ns)

    def _find(self, name: str, *, report: bool = True) -> _Found | None:
        try:
            header, begun_ns = read_header(self._files.read(name))
        except JournalDamaged as error:
            if report:
                log.error("segment_not_archived", segment=name, cause=str(error)[:200])
            return None
        return _Found(name, header, begun_ns)

    def _note(self, error: OSError | LakeError) -> None:
        system = error if isinstance(error, OSError) else error.__cause__
        # a message may name a file that is another one at each try
        number = system.errno if isinstance(system, OSError) else None
        cause = f"{type(error).__name__} {number}"
        if cause != self._failing:
            self._failing = cause
            log.error(
                "journal_not_retired",
                venue=self._venue.value,
                cause=str(error)[:300],
                next_step="free space where the lake is, or mend it; segments stay until then",
            )
