"""Reads the disk and the memory every second, and says what has changed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from surveillance_collector.pressure import Level, Pressure, Readings, follow_pressure

READ_SECONDS: Final = 1.0
NEXT_STEP: Final = "free space on the disks of data_dir and of the journal, or mend them"

log = structlog.get_logger()


class Free(NamedTuple):
    """What a file system has left for who is not its administrator."""

    bytes: int
    share: float


def read_free(path: Path) -> Free | None:
    """What the disk has left that a path is, or would be, on; None where it cannot be told."""
    with suppress(OSError):
        while not path.exists() and path != path.parent:
            path = path.parent
        disk = os.statvfs(path)
        if disk.f_blocks:
            return Free(disk.f_bavail * disk.f_frsize, disk.f_bavail / disk.f_blocks)
    return None


class PressureWatch:
    """Follows the pressure on one venue's recording.

    Parameters
    ----------
    read
        The readings but for the disk's share.
    lake, journal
        Where they are; None for a lake that is on no disk of this machine.
    """

    def __init__(
        self, venue: str, read: Callable[[float | None], Readings], lake: Path | None, journal: Path
    ) -> None:
        self._venue = venue
        self._read = read
        self._lake = lake
        self._journal = journal
        self._reading: asyncio.Task[list[Free | None]] | None = None
        self.pressure = Pressure()
        self.lake_free: int | None = None
        """Bytes left where the lake is; None where that is not known."""
        self.free_share: float | None = None

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await self._measure()
            self.follow(time.monotonic())
            await asyncio.sleep(READ_SECONDS)

    def follow(self, now: float) -> None:
        """Take a reading, and log what it changes."""
        before, self.pressure = (
            self.pressure,
            follow_pressure(self.pressure, self._read(self.free_share), now),
        )
        self._tell(before, self.pressure)

    async def _measure(self) -> None:
        """In a thread, and not waited for too long: a file system may hang."""
        reading = self._reading
        if reading is None:
            paths = (self._lake or self._journal, self._journal)
            reading = self._reading = asyncio.ensure_future(
                asyncio.to_thread(lambda: [read_free(path) for path in paths])
            )
        await asyncio.wait({reading}, timeout=READ_SECONDS)
        if reading.done():
            lake, journal = reading.result()
            self._reading = None
            self.lake_free = lake.bytes if lake is not None and self._lake is not None else None
            known = [free.share for free in (lake, journal) if free is not None]
            self.free_share = min(known, default=None)

    def _tell(self, before: Pressure, now: Pressure) -> None:
        share = None if self.free_share is None else round(self.free_share, 4)
        if now.mark != before.mark:
            if before.mark is None or (now.mark is not None and now.mark < before.mark):
                log.warning(
                    "disk_low",
                    venue=self._venue,
                    below=now.mark,
                    free_share=share,
                    next_step=NEXT_STEP,
                )
            else:
                log.info("disk_recovering", venue=self._venue, below=now.mark, free_share=share)
        if (now.level is Level.FULL) != (before.level is Level.FULL):
            if now.level is Level.FULL:
                log.error(
                    "recording_full",
                    venue=self._venue,
                    causes=now.causes,
                    free_share=share,
                    next_step=NEXT_STEP,
                )
            else:
                log.warning("recording_eased", venue=self._venue, free_share=share)
