"""From the engine to files that are listed: what it takes in is journaled, what it makes published.

Publishing runs in a worker thread on buckets already taken out of the recorder, so that a slow disk
delays files, not frames. A segment of the journal goes once nothing is in it that is not published.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from surveillance_collector.backpressure import BackPressure
from surveillance_collector.configured import new_recorder, sampling_of
from surveillance_collector.disposal import Disposal
from surveillance_collector.engine import Engine
from surveillance_collector.journal.files import LocalSegments
from surveillance_collector.journal.records import Header
from surveillance_collector.journal.recovery import Recovered
from surveillance_collector.journal.sink import JournaledEngine
from surveillance_collector.journal.writer import Journal
from surveillance_collector.left_behind import journal_root
from surveillance_collector.output import Output
from surveillance_collector.pressure import Readings
from surveillance_collector.pressure_watch import NEXT_STEP, PressureWatch
from surveillance_collector.recorder import Bucket, PublishFailure
from surveillance_collector.restart import (
    RecoveryIncomplete,
    begun_first,
    clear_unlisted,
    next_position,
    recover_journal,
)
from surveillance_core.lake.errors import LakeError
from surveillance_core.lake.layout import journal_dir
from surveillance_core.lake.publish import Lake
from surveillance_core.markets import Venue
from surveillance_core.settings import Settings
from surveillance_core.status import JournalStatus

PUBLISH_SECONDS = 0.5
"""Between two looks for what is due."""
RETRY_SECONDS = 2.0
"""Before what the disk would not have is tried again."""
_MISCONFIGURED = frozenset(
    {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
)
"""Errors that no waiting mends."""

log = structlog.get_logger()


def journal_directory(settings: Settings, lake: Lake, venue: Venue, shard: str) -> Path:
    """Where a collector's journal of a venue lies."""
    return journal_root(settings, lake.store) / journal_dir(venue, shard)


@dataclass
class RecordingState:
    """How recording stands, for reports."""

    recovering: bool = False
    recovered: Recovered | None = None
    publish_failures: int = 0
    publish_failing: bool = False
    blocked: str = ""
    """Why recording has not begun; empty where it has."""


class Recording:
    """Journal, recorder and files of one venue and shard.

    Parameters
    ----------
    now_ns
        The receive clock: strictly rising.
    wall_ns
        The wall's time, of which the journal's first position is made.
    """

    def __init__(
        self,
        settings: Settings,
        lake: Lake,
        venue: Venue,
        shard: str,
        engine: Engine,
        *,
        now_ns: Callable[[], int],
        wall_ns: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._lake = lake
        self._venue = venue
        self._shard = shard
        self._engine = engine
        self._now_ns = now_ns
        self.sampling = sampling_of(settings, venue)
        self._wall_ns = wall_ns
        directory = journal_directory(settings, lake, venue, shard)
        self._files = LocalSegments(directory)
        self._left: list[str] = []
        """Segments of earlier runs."""
        table = settings.journal
        self._reserve_bytes = int(table.reserve_mb * 1e6)
        self.journal = Journal(
            self._files,
            Header(
                venue=venue,
                shard=shard,
                first=1,
                run=1,
                continues=False,
                sampling=self.sampling,
            ),
            sync_seconds=table.sync_ms / 1e3,
            limit_bytes=int(table.memory_mb * 1e6),
            reserve_bytes=self._reserve_bytes,
        )
        self._rows_limit = settings.storage.held_rows
        self._back_pressure = BackPressure(self.journal, self._rows_limit)
        self.sink = JournaledEngine(engine, self.journal, self._back_pressure)
        self.recorder = new_recorder(settings, lake, venue, shard)
        root = None if "://" in lake.store.root else Path(lake.store.root)
        self.watch = PressureWatch(venue.value, self._readings, root, directory)
        self._taken_to = self.journal.position
        """Position up to which everything the engine made has gone to the recorder."""
        self._segment_bytes = int(table.segment_mb * 1e6)
        self._segment_bucket = 0
        self.disposal = Disposal(settings, lake, venue, shard, self._files, now_ns)
        self._aside = Output()
        """What is for others than the recorder, until they ask."""
        self._begun_ns = 0
        self._publishing: asyncio.Future[list[PublishFailure]] | None = None
        self.state = RecordingState()

    async def prepare(self) -> None:
        """Put away what stands half done in the lake, and begin the journal; call it first.

        A disk that is full or fails is waited for.

        Raises
        ------
        LakeError
            If the journal's directory is not one that this process may use.
        """
        while True:
            try:
                await self._prepare()
                break
            except OSError as error:
                if error.errno in _MISCONFIGURED:
                    raise LakeError(
                        f"the journal cannot be written: {error}. Name another journal.directory, "
                        "or let this user write there."
                    ) from error
                self._wait_for_disk(error.strerror or str(error))
            except LakeError as error:
                self._wait_for_disk(str(error)[:300])
            await asyncio.sleep(RETRY_SECONDS)
        self.state.blocked = ""

    def _wait_for_disk(self, cause: str) -> None:
        if not self.state.blocked:
            log.error(
                "waiting_for_disk",
                venue=self._venue.value,
                cause=cause,
                next_step=NEXT_STEP,
            )
        self.state.blocked = cause

    async def _prepare(self) -> None:
        await asyncio.to_thread(self._files.open)
        left = await asyncio.to_thread(self._files.names)
        first = await asyncio.to_thread(next_position, self._files, self._wall_ns())
        begun_ns = await asyncio.to_thread(begun_first, self._files, left)
        now_ns = self._now_ns()
        if begun_ns is not None:
            await asyncio.to_thread(
                clear_unlisted, self._lake, self._venue, self._shard, begun_ns, now_ns
            )
        await self.journal.set_reserve()
        self._left = left
        self.journal.number_from(first)
        self._taken_to = self.journal.position
        self._begun_ns = now_ns
        self.sink.begin_segment(now_ns)

    async def run(self) -> None:
        """Recover what earlier runs left, journal, and publish, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.journal.run())
            group.create_task(self.recover())
            group.create_task(self._keep_publishing())
            group.create_task(self.disposal.run())
            group.create_task(self.watch.run())

    def status(self) -> JournalStatus:
        """How the journal and the disk under it stand."""
        journal, pressure = self.journal, self.watch.pressure
        oldest_ns = journal.oldest_ns
        return JournalStatus(
            lag_seconds=0.0 if oldest_ns is None else max(0, self._now_ns() - oldest_ns) / 1e9,
            waiting_bytes=journal.waiting_bytes,
            on_reserve=journal.on_reserve,
            failing=journal.failing is not None,
            failures=journal.failures,
            segments=len(journal.segments) + len(self._left) + self.disposal.waiting,
            blocked=self.state.blocked,
            level=pressure.level.value,
            causes=pressure.causes,
            free_share=self.watch.free_share,
            shedding=pressure.shedding,
            sockets_paused=self._back_pressure.crowded,
            pauses=self._back_pressure.pauses,
        )

    def unheard_since(self, now_ns: int) -> int | None:
        """Since when no socket was read, once where connections are to be given up for it."""
        return self._back_pressure.unheard_since(now_ns)

    def take(self, now_ns: int) -> Output:
        """Let time pass in the engine and have its rows recorded; the rest is returned."""
        self._turn(now_ns)
        output, self._aside = self._aside, Output()
        return output

    def _turn(self, now_ns: int) -> None:
        bucket = now_ns // self.sampling.bucket_ns
        begins = bucket != self._segment_bucket or self.journal.segment_bytes >= self._segment_bytes
        if begins:
            # rows that time alone makes are not the new segment's: they come of this mark
            self.sink.mark(now_ns)
        self.sink.advance(now_ns)
        self._record(now_ns)
        if begins:
            self._segment_bucket = bucket
            self.sink.begin_segment(now_ns)

    def _readings(self, free_share: float | None) -> Readings:
        return Readings(
            free_share=free_share,
            on_reserve=self.journal.on_reserve,
            failing=self.journal.failing,
            rows_held=self.recorder.held,
            rows_limit=self._rows_limit,
        )

    def _record(self, now_ns: int) -> None:
        output = self._engine.drain()
        self.recorder.add(output.rows, now_ns // 1_000, self._taken_to)
        self._taken_to = self.journal.position
        self._back_pressure.note(self.recorder.held, now_ns)
        self._aside.commands += output.commands
        self._aside.rejected += output.rejected

    # ── publishing ───────────────────────────────────────────────────────────────────────────

    async def _keep_publishing(self) -> None:
        while True:
            await asyncio.sleep(PUBLISH_SECONDS)
            if await self.publish_due():
                await asyncio.sleep(RETRY_SECONDS)
            await self.let_go()

    async def publish_due(self) -> bool:
        """Publish the buckets that are due; whether any failed."""
        now_ns = self._now_ns()
        if not self.recorder.has_due(now_ns // 1_000) or not self._spares_the_reserve():
            return False
        self._turn(now_ns)
        position = self._taken_to = self.sink.mark(now_ns)
        buckets = self.recorder.due(now_ns // 1_000)
        # shielded: a stop must wait for the rows in the thread, not lose sight of them
        self._publishing = asyncio.ensure_future(self._publish(buckets, position))
        return self._count(await asyncio.shield(self._publishing))

    def _spares_the_reserve(self) -> bool:
        """Whether files may be written: what was set aside for the journal is not for them."""
        if not self.journal.on_reserve:
            return True
        free = self.watch.lake_free
        return self._reserve_bytes > 0 and (free is None or free >= 2 * self._reserve_bytes)

    async def _publish(self, buckets: list[Bucket], position: int) -> list[PublishFailure]:
        """Publish what was produced up to a mark, which has to be on disk before."""
        if not await self.journal.sync():
            self.recorder.hold(buckets)
            rows = sum(len(bucket.rows) for bucket in buckets)
            return [PublishFailure("journal", rows, self.journal.failing or "")]
        return await asyncio.to_thread(self.recorder.publish, buckets, position)

    def _count(self, failures: Sequence[PublishFailure]) -> bool:
        self.state.publish_failing = bool(failures)
        for failure in failures:
            self.state.publish_failures += 1
            log.error("publish_failed", table=failure.table, error=failure.error)
        return bool(failures)

    async def let_go(self) -> None:
        """Give up segments that nothing unpublished is in."""
        unpublished = self.recorder.unpublished_since
        published = self._taken_to if unpublished is None else unpublished
        self.disposal.add(await self.journal.retire(published))

    # ── recovery ─────────────────────────────────────────────────────────────────────────────

    async def recover(self) -> None:
        """Make rows of what earlier runs left; while the disk will not have them, try again."""
        left = self._left
        if not left:
            return
        self.state.recovering = True
        while True:
            try:
                found = await asyncio.to_thread(
                    recover_journal,
                    self._settings,
                    self._lake,
                    self._venue,
                    self._shard,
                    self._files,
                    left,
                    self._begun_ns,
                )
                break
            except (RecoveryIncomplete, OSError) as error:
                log.error("recovery_incomplete", venue=self._venue.value, cause=str(error)[:300])
                await asyncio.sleep(RETRY_SECONDS)
        self.state.recovered = found
        self.state.recovering = False
        self._left = []
        log.info(
            "journal_recovered",
            venue=self._venue.value,
            segments=found.segments,
            inputs=found.inputs,
            rows=found.rows,
            published_before=found.published_before,
            skipped_bytes=found.skipped_bytes,
            unreadable=found.unreadable[:20],
            missing=found.missing,
            without_checkpoint=found.without_checkpoint,
        )
        self.disposal.add(left)

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    async def stop(self) -> Output:
        """Judge, cover and publish everything; what cannot be published stays in the journal."""
        if not self._begun_ns:
            return self._aside
        if self._publishing is not None and not self._publishing.done():
            self._count(await self._publishing)
        now_ns = self._now_ns()
        self.sink.advance(now_ns)
        self._record(now_ns)
        self.sink.finish(now_ns)
        self._record(now_ns)
        position = self._taken_to = self.sink.mark(now_ns)
        self._count(await self._publish(self.recorder.everything(), position))
        names = await self.journal.close()
        if not self.recorder.held:
            self.disposal.add(names)
        await self.disposal.put_away()
        return self._aside
