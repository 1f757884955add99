"""Segments of the journal that nobody needs any more: archived where frames are kept, then deleted.

Apart from publishing, which must not wait for it, and to the end even where the collector stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable

import structlog

from surveillance_collector.journal.archive import SegmentArchive
from surveillance_collector.journal.files import SegmentFiles
from surveillance_core.lake.errors import LakeError
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.raw import retire_raw
from surveillance_core.markets import Venue
from surveillance_core.settings import Settings

LOOK_SECONDS = 0.5
"""Between two looks for what is to be put away."""
RETRY_SECONDS = 30.0
"""Before segments that could not be archived are read once more."""
DAY_NS = 86_400_000_000_000
RETIRE_NS = 3_600_000_000_000
"""Between two looks for what the archive has kept long enough, on the receive clock."""

log = structlog.get_logger()


class Disposal:
    """Puts segments of one venue and shard away.

    Parameters
    ----------
    now_ns
        The receive clock, by which the archive's files grow old.
    """

    def __init__(
        self,
        settings: Settings,
        lake: Lake,
        venue: Venue,
        shard: str,
        files: SegmentFiles,
        now_ns: Callable[[], int],
    ) -> None:
        self._lake = lake
        self._venue = venue
        self._shard = shard
        self._now_ns = now_ns
        self._keep_ns = int(settings.storage.raw.keep_days * DAY_NS)
        self._archive = SegmentArchive(files, lake, venue, shard, keep=self._keep_ns > 0)
        self._unneeded: list[str] = []
        self._turn = asyncio.Lock()
        self._works: set[asyncio.Task[None]] = set()
        self._retire_ns = 0
        """When the archive is next to be looked through, on the receive clock."""

    @property
    def waiting(self) -> int:
        """Segments that are still there."""
        return len(self._unneeded)

    def add(self, names: Iterable[str]) -> None:
        """These segments are not needed any more."""
        self._unneeded += names

    async def run(self) -> None:
        """Put away what comes, and let go of what was kept long enough, until cancelled."""
        loop = asyncio.get_running_loop()
        again = 0.0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._unneeded and loop.time() >= again:
                await self.put_away()
                if self._unneeded:
                    again = loop.time() + RETRY_SECONDS
            if self._keep_ns and self._now_ns() >= self._retire_ns:
                await self._in_turn(self._retire())

    async def put_away(self) -> None:
        """Archive and delete what there is; where that fails it stays."""
        await self._in_turn(self._put_away())

    async def _in_turn(self, work: Coroutine[None, None, None]) -> None:
        """One after the other, and to the end even where whoever waits for it is cancelled."""

        async def alone() -> None:
            async with self._turn:
                await work

        task = asyncio.create_task(alone())
        self._works.add(task)
        task.add_done_callback(self._works.discard)
        await asyncio.shield(task)

    async def _put_away(self) -> None:
        names = list(self._unneeded)
        left = await asyncio.to_thread(self._archive.put_away, names)
        # others may have come meanwhile
        self._unneeded = left + self._unneeded[len(names) :]

    async def _retire(self) -> None:
        """Delete what the archive has had for as long as it is to keep it."""
        now_ns = self._now_ns()
        self._retire_ns = now_ns + RETIRE_NS
        before_us = (now_ns - self._keep_ns) // 1_000
        try:
            retired = await asyncio.to_thread(
                retire_raw, self._lake, self._venue, self._shard, before_us
            )
        except (OSError, LakeError) as error:
            # what is left is tried again in an hour
            log.error("archive_not_retired", venue=self._venue.value, cause=str(error)[:300])
            return
        if retired:
            log.info("archive_retired", venue=self._venue.value, files=len(retired))
