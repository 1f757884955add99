"""Writing the journal: inputs into memory at once, onto the disk in groups.

An input is *acknowledged* once it is synced: a group of writes and one ``fdatasync`` within
``sync_seconds``, as far as the disk can, in a worker thread. What comes while the disk takes longer
is written meanwhile, for the next sync: a process that is killed then does not lose it. What fails
is never synced again by the same descriptor, which may say that it worked when it did not: it is
written anew to another file.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Final

import structlog
from msgspec.structs import replace

from surveillance_collector.journal.files import SegmentFiles
from surveillance_collector.journal.records import (
    Header,
    Kind,
    encode_payload,
    encode_record,
    frame_records,
)
from surveillance_core.lake.layout import segment_name
from surveillance_core.venues.protocols import ReceivedFrame

RETRY_SECONDS: Final = 1.0
"""Between two tries while the disk fails."""
ATTEMPTS: Final = 0x10000
"""Tries that have a name of their own; after as many the first name is free again."""

log = structlog.get_logger()


@dataclass
class WrittenSegment:
    """A segment of this run."""

    name: str
    first: int
    begins: bool
    """Whether it has a checkpoint, so that what lies before it is not needed to read it."""


@dataclass
class _Group:
    """Bytes of one segment that follow each other, and the position that they reach."""

    content: list[bytes]
    last: int
    begun_ns: int | None
    """When the first input in them was received."""
    header: Header | None = None
    """Of the segment that begins with them, None where they go on with one."""
    written: bool = False
    """Whether the file that is being written has them, synced or not."""


def pause_after(took: float, sync_seconds: float) -> float:
    """Seconds from the end of a sync that took so long until the next begins.

    What comes just after a group was closed waits for the rest of that sync, the pause, and the
    next sync; together they are ``sync_seconds``. A slow disk still has a quarter of it to rest.

    Examples
    --------
    >>> [pause_after(took, 0.5) for took in (0.0, 0.125, 3.0)]
    [0.5, 0.25, 0.125]
    """
    return max(sync_seconds - 2.0 * took, sync_seconds / 4.0)


class Journal:
    """Takes inputs in order and has them on disk soon.

    Parameters
    ----------
    header
        Of the run's first segment.
    sync_seconds
        How long an input may wait to be synced.
    limit_bytes
        What may wait in memory before ``room`` makes whoever reads sockets wait.
    reserve_bytes
        Disk set aside for the journal alone, given up when nothing else is left.
    """

    def __init__(
        self,
        files: SegmentFiles,
        header: Header,
        *,
        sync_seconds: float,
        limit_bytes: int,
        reserve_bytes: int,
    ) -> None:
        self._files = files
        self._header = header
        self._sync_seconds = sync_seconds
        self._limit = limit_bytes
        self._reserve_bytes = reserve_bytes
        self._position = header.first - 1
        self._open: list[bytes] = []
        """Records of the group that is being filled."""
        self._open_header: Header | None = None
        self._open_ns: int | None = None
        """When its first input was received."""
        self._groups: deque[_Group] = deque()
        self._waiting_bytes = 0
        self._segment_bytes = 0
        self._descriptor: int | None = None
        self._attempts = 0
        self._writing = asyncio.Lock()
        self._room = asyncio.Event()
        self._room.set()
        self.synced = self._position
        """Position up to which everything is on disk."""
        self.segments: list[WrittenSegment] = []
        self.failing: str | None = None
        """Why the last write did not succeed, None where it did."""
        self.failures = 0
        self.on_reserve = False
        """Whether the disk had nothing left but what was set aside."""
        self.synced_bytes = 0
        self.syncs = 0

    # ── input ────────────────────────────────────────────────────────────────────────────────

    def number_from(self, first: int) -> None:
        """Give the run's first input this position; before there is any."""
        self._header = replace(self._header, first=first, run=first)
        self._position = self.synced = first - 1

    def begin_segment(self, now_ns: int, head: list[bytes]) -> None:
        """The next inputs go to a new file that begins with ``head``, a checkpoint's records."""
        self._close_group()
        header = replace(self._header, first=self._position + 1)
        self._open_header = header
        self._open = [_header_record(header, now_ns), *head]
        self._segment_bytes = sum(map(len, self._open))
        self._count(self._segment_bytes)

    def append(self, kind: Kind, recv_ns: int, conn: int, payload: bytes) -> int:
        """Take one input; returns its position."""
        record = encode_record(kind, recv_ns, conn, payload)
        self._open.append(record)
        if self._open_ns is None:
            self._open_ns = recv_ns
        self._position += 1
        self._segment_bytes += len(record)
        self._count(len(record))
        return self._position

    def append_frames(self, conn: int, frames: Sequence[ReceivedFrame]) -> None:
        """Take frames of one connection, each an input."""
        # together at once: as many objects as frames, kept until the disk has them, cost more
        records = b"".join(frame_records(conn, frames))
        self._open.append(records)
        if self._open_ns is None:
            self._open_ns = frames[0][1]
        self._position += len(frames)
        self._segment_bytes += len(records)
        self._count(len(records))

    @property
    def position(self) -> int:
        """Of the last input."""
        return self._position

    @property
    def segment_bytes(self) -> int:
        """Size of the segment that is being filled."""
        return self._segment_bytes

    @property
    def waiting_bytes(self) -> int:
        """What is in memory alone."""
        return self._waiting_bytes

    @property
    def oldest_ns(self) -> int | None:
        """When the first input that is in memory alone was received."""
        begun = (group.begun_ns for group in self._groups)
        return next((ns for ns in begun if ns is not None), self._open_ns)

    @property
    def crowded(self) -> bool:
        """Whether ``room`` would wait."""
        return not self._room.is_set()

    async def room(self) -> None:
        """Return when there is room for more in memory."""
        await self._room.wait()

    def _count(self, size: int) -> None:
        self._waiting_bytes += size
        if self._waiting_bytes >= self._limit:
            self._room.clear()

    def _close_group(self) -> None:
        if self._open:
            group = _Group(self._open, self._position, self._open_ns, self._open_header)
            self._groups.append(group)
            self._open, self._open_header, self._open_ns = [], None, None

    # ── output ───────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Sync in groups until cancelled, through failures of the disk."""
        while True:
            # at first at once: the file is there when the first input comes
            began = time.monotonic()
            await self.sync()
            took = time.monotonic() - began
            if self.on_reserve:
                await self.set_reserve()
            pause = pause_after(took, self._sync_seconds)
            await asyncio.sleep(pause if self.failing is None else RETRY_SECONDS)

    async def sync(self) -> bool:
        """Write and sync everything taken so far; False where the disk would not."""
        goal = self._position
        async with self._writing:
            self._close_group()
            while self._groups and (self.synced < goal or self._groups[0].header is not None):
                taken = self._next_groups()
                writing = asyncio.ensure_future(self._put_on_disk(taken))
                cancelled: asyncio.CancelledError | None = None
                while not writing.done():
                    # who is cancelled meanwhile must still see how it ended: it is on disk, or not
                    try:
                        await asyncio.wait({writing})
                    except asyncio.CancelledError as error:
                        cancelled = error
                failure = writing.exception()
                if failure is None:
                    self._let_go(taken)
                elif isinstance(failure, OSError):
                    self._note_failure(failure)
                if cancelled is not None:
                    raise cancelled
                if failure is not None:
                    if isinstance(failure, OSError):
                        return False
                    raise failure
        return True

    async def set_reserve(self) -> None:
        """Set disk aside for the journal alone, if there is enough."""
        if not self._reserve_bytes:
            # what there is none of cannot be had back: all is well once something was written
            self.on_reserve = self.failing is not None
            return
        try:
            await asyncio.to_thread(self._files.allocate_reserve, self._reserve_bytes)
        except OSError:
            self.on_reserve = True
        else:
            self.on_reserve = False

    def _next_groups(self) -> list[_Group]:
        """Groups up to the next segment's."""
        taken: list[_Group] = []
        for group in self._groups:
            if taken and group.header is not None:
                break
            taken.append(group)
        return taken

    def _let_go(self, taken: list[_Group]) -> None:
        size = sum(len(record) for group in taken for record in group.content)
        for _ in taken:
            self._groups.popleft()
        self.synced = taken[-1].last
        self._waiting_bytes -= size
        self.synced_bytes += size
        self.syncs += 1
        if self._waiting_bytes < self._limit:
            self._room.set()
        if self.failing is not None:
            log.warning("journal_resumed", on_reserve=self.on_reserve)
            self.failing = None

    async def _put_on_disk(self, taken: list[_Group]) -> None:
        """Have groups on the disk; raises ``OSError`` where they are not."""
        made: WrittenSegment | None = None
        try:
            made, descriptor = await asyncio.to_thread(self._write, taken)
            if not await self._sync_file(descriptor, len(taken)):
                # what follows may be in it in part: it goes to another file
                self._give_file_up()
        except OSError:
            self._give_file_up()
            if made is not None:
                self._remove(made)
            raise
        if made is not None:
            made.begins = taken[0].header is not None
            self.segments.append(made)

    async def _sync_file(self, descriptor: int, taken: int) -> bool:
        """Sync what was written, and write what comes meanwhile; False where that could not be."""
        syncing = asyncio.ensure_future(asyncio.to_thread(self._files.sync, descriptor))
        whole = True
        while not (await asyncio.wait({syncing}, timeout=self._sync_seconds / 4.0))[0]:
            self._close_group()
            following = islice(self._groups, taken, None)
            ahead = [*takewhile(lambda group: group.header is None, following)]
            if whole:
                try:
                    await asyncio.to_thread(self._write_groups, descriptor, ahead)
                except OSError:
                    # the next sync meets it as well, and says so
                    whole = False
        syncing.result()
        return whole

    def _write(self, taken: list[_Group]) -> tuple[WrittenSegment | None, int]:
        """Write groups, in the thread; the segment that was made for them, and the descriptor."""
        header = taken[0].header
        if header is not None and self._descriptor is not None:
            self._files.close(self._descriptor)
            self._descriptor = None
        if self._descriptor is not None:
            self._write_groups(self._descriptor, taken)
            return None, self._descriptor
        first = self.synced + 1 if header is None else header.first
        made = WrittenSegment(segment_name(first, self._attempts), first, begins=False)
        self._attempts = (self._attempts + 1) % ATTEMPTS
        self._descriptor = self._files.create(made.name)
        going_on = replace(self._header, first=first, continues=True)
        try:
            before = _header_record(going_on, 0) if header is None else b""
            self._write_groups(self._descriptor, taken, before)
        except OSError:
            self._remove(made)
            raise
        return made, self._descriptor

    def _write_groups(self, descriptor: int, groups: list[_Group], before: bytes = b"") -> None:
        unwritten = [group for group in groups if not group.written]
        if unwritten:
            records = (record for group in unwritten for record in group.content)
            self._files.write(descriptor, b"".join([before, *records]))
            for group in unwritten:
                group.written = True

    def _remove(self, made: WrittenSegment) -> None:
        """Nothing in a segment that was not synced counts, and there is one for each try."""
        with suppress(OSError):
            self._files.remove([made.name])

    def _give_file_up(self) -> None:
        """What is not synced is written anew, to another file."""
        if self._descriptor is not None:
            self._files.close(self._descriptor)
            self._descriptor = None
        for group in self._groups:
            group.written = False

    def _note_failure(self, error: OSError) -> None:
        self.failures += 1
        if self.failing is None:
            log.error(
                "journal_failing",
                cause=str(error),
                waiting_bytes=self._waiting_bytes,
                next_step="free space on the disk of the state directory, or mend it",
            )
        self.failing = str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            # again and again: one of another size may have been left by an earlier run
            with suppress(OSError):
                self._files.release_reserve()
            if not self.on_reserve:
                self.on_reserve = True
                log.error("journal_on_reserve", bytes=self._reserve_bytes)

    # ── letting go ───────────────────────────────────────────────────────────────────────────

    async def retire(self, published: int) -> list[str]:
        """Names of the segments that nothing unpublished is in: they are no longer known here.

        Parameters
        ----------
        published
            Position up to which everything that was made of inputs is published.
        """
        async with self._writing:
            keep = 0
            for number, segment in enumerate(self.segments):
                if segment.begins and segment.first - 1 <= published:
                    keep = number
            gone = [segment.name for segment in self.segments[:keep]]
            del self.segments[:keep]
            return gone

    async def close(self) -> list[str]:
        """Let go of the file that is being written; names of the segments that are left."""
        async with self._writing:
            self._give_file_up()
            return [segment.name for segment in self.segments]


def _header_record(header: Header, now_ns: int) -> bytes:
    return encode_record(Kind.HEADER, now_ns, 0, encode_payload(header))
