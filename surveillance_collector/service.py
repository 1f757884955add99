"""The running collector: universe in, feeds up, engine fed, files published, until told to stop.

One event loop. Frames reach the engine in the loop's own thread; publishing runs in a worker
thread on buckets already taken out of the recorder, so that a slow disk delays files, not frames.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from surveillance_collector.backpressure import BACKPRESSURE
from surveillance_collector.configured import new_engine
from surveillance_collector.health.readings import Course, read_venue
from surveillance_collector.health.watch import HealthWatch
from surveillance_collector.left_behind import clear_left_staging, recover_left_behind
from surveillance_collector.output import Output, Resync
from surveillance_collector.receive_clock import ReceiveClock
from surveillance_collector.recorder import RejectedFrames
from surveillance_collector.recording import Recording
from surveillance_collector.scheduling import FRESH_SECONDS, Scheduling
from surveillance_collector.share import WHOLE, Share
from surveillance_collector.subscriptions import Subscriptions
from surveillance_core.lake.manifest import read_manifest
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.read import latest_universe_day, read_universe, universe_entry
from surveillance_core.markets import UniverseError, Venue
from surveillance_core.settings import Settings
from surveillance_core.simulated_time import receive_clock_of, receive_ns_of_wall
from surveillance_core.status import VenueStatus
from surveillance_core.venues.registry import adapter_of

TICK_SECONDS = 0.05
REPORT_SECONDS = 10.0
SWITCH_SECONDS = 0.0005
SAME_STOP_SECONDS = 1.0
"""Signals within this tell the same: a terminal's to a whole group, and then one to the process."""

log = structlog.get_logger()


@dataclass(frozen=True)
class CollectorReport:
    """What a run did; the counters of ``surveillance-collector run --json``."""

    venue: str
    seconds: float
    markets: int
    frames: int
    messages: dict[str, int]
    rejected: dict[str, int]
    ignored: dict[str, int]
    counts: dict[str, int]
    hash: dict[str, int]
    reconnects: int
    published: dict[str, int]
    files: int
    rows_held: int
    publish_failures: int


class VenueCollector:
    """Collects one venue until its task is cancelled, then flushes.

    Parameters
    ----------
    wall_ns
        The wall's nanoseconds since the epoch, of which every time in the lake is made: the same,
        or simulated where the settings say so.

    Raises
    ------
    ConfigurationError
        If what the venue's handshake needs is missing.
    """

    def __init__(
        self,
        settings: Settings,
        lake: Lake,
        venue: Venue,
        share: Share = WHOLE,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._settings = settings
        self._lake = lake
        self._venue = venue
        handshake = adapter_of(venue).handshake(settings)
        self._now_ns = receive_clock_of(settings.mock, wall_ns)
        self._clock = ReceiveClock(self._now_ns)
        self._engine = new_engine(settings, venue)
        self._recording = Recording(
            settings,
            lake,
            venue,
            share.name,
            self._engine,
            now_ns=self._clock.now_ns,
            wall_ns=wall_ns,
        )
        self._rejected = RejectedFrames(lake, venue)
        self._subscriptions = Subscriptions(
            settings, venue, self._recording.sink, self._clock, handshake, share
        )
        self._feeds = self._subscriptions.feeds
        self._scheduling = Scheduling(
            settings,
            lake,
            venue,
            share,
            self._engine,
            self._subscriptions,
            now_ns=self._clock.now_ns,
            fresh_ns=receive_ns_of_wall(settings.mock, FRESH_SECONDS),
            wall_ns=wall_ns,
            pressed=lambda: self._recording.watch.pressure.shedding,
            shed=lambda assets: self._recording.sink.shed(assets, self._clock.now_ns()),
        )
        self._universe_digest = ""
        self._refusal = ""
        self._course = Course()
        self._started = time.monotonic()

    async def run(self) -> None:
        """Collect until cancelled. Everything held is published before this returns."""
        try:
            await self._recording.prepare()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._recording.run())
                await self._wait_for_universe()
                group.create_task(self._drive())
                group.create_task(self._follow_universe())
                group.create_task(self._scheduling.run())
                group.create_task(self._subscriptions.keep_fresh())
                group.create_task(self._subscriptions.watch_stalls())
                group.create_task(self._report())
        except Exception as error:
            self._course.note_failure(error)
            raise
        finally:
            self._course.stopping = True
            await self._stop()

    def report(self) -> CollectorReport:
        """What the run has done so far."""
        engine, recorder = self._engine, self._recording.recorder
        tallies = engine.tallies
        tally = tallies.hashes
        return CollectorReport(
            venue=self._venue.value,
            seconds=round(time.monotonic() - self._started, 3),
            markets=engine.followed,
            frames=engine.frames,
            messages=dict(tallies.messages),
            rejected=dict(engine.rejected),
            ignored=dict(tallies.ignored),
            counts=dict(engine.counts),
            hash={"due": tally.due, "matched": tally.matched, "mismatched": tally.mismatched},
            reconnects=self._subscriptions.endings.total(),
            published=dict(recorder.published),
            files=recorder.files,
            rows_held=recorder.held,
            publish_failures=self._recording.state.publish_failures,
        )

    def status(self) -> VenueStatus:
        """How the run stands now."""
        self._course.publish_failing = self._recording.state.publish_failing
        return read_venue(
            self.report(),
            self._course,
            self._engine.assets,
            self._rejected.not_kept,
            adapter_of(self._venue).message_types,
            self._subscriptions,
            self._recording.status(),
        )

    # ── universe ─────────────────────────────────────────────────────────────────────────────

    async def _wait_for_universe(self) -> None:
        waiting = False
        while not self._adopt_universe():
            if not waiting:
                log.warning(
                    "waiting_for_universe",
                    venue=self._venue.value,
                    next_step="publish one with: surveillance scan",
                )
                waiting = True
            await asyncio.sleep(min(self._settings.universe.poll_seconds, 2.0))

    async def _follow_universe(self) -> None:
        while True:
            await asyncio.sleep(self._settings.universe.poll_seconds)
            self._adopt_universe()

    def _adopt_universe(self) -> bool:
        """Go by the newest universe; False where there is none to use."""
        try:
            return self._adopt_newest()
        except OSError as error:
            log.error("universe_unreadable", venue=self._venue.value, cause=str(error)[:300])
            return bool(self._universe_digest)

    def _adopt_newest(self) -> bool:
        """Hand a newly published universe to the scheduler; False where there is none to use."""
        now = datetime.fromtimestamp(self._now_ns() / 1e9, UTC)
        max_age = timedelta(hours=self._settings.universe.max_age_hours)
        day = latest_universe_day(self._lake, self._venue, now.date(), max_age)
        using = self._course.universe
        lately = using is not None and now.date() - using <= max_age
        if using is not None and lately and (day is None or day < using):
            return self._keep_universe("universe_gone", f"that of {using} is not listed any more")
        if day is None:
            return bool(self._universe_digest)
        entry = universe_entry(read_manifest(self._lake.store, self._venue, day))
        digest = f"{day} {entry.digest}" if entry is not None else ""
        if digest == self._universe_digest:
            self._course.universe_refused = self._refusal = ""
            return True
        try:
            markets = read_universe(self._lake, self._venue, day)
        except (UniverseError, OSError) as error:
            return self._keep_universe("universe_damaged", f"{digest}: {error}"[:400])
        if not markets:
            return self._keep_universe("universe_empty", f"{digest}: it holds no market")
        if not self._scheduling.adopt(markets, now, day):
            return self._keep_universe("universe_of_nothing", f"{digest}: nothing may be watched")
        self._course.universe_refused = self._refusal = ""
        self._universe_digest = digest
        self._course.universe = day
        self._course.universe_published_us = entry.published_us if entry is not None else 0
        return True

    def _keep_universe(self, event: str, cause: str) -> bool:
        """Stay with the universe in use, if there is one, and say once why."""
        if cause != self._refusal:
            log.error(event, venue=self._venue.value, cause=cause)
            self._refusal = cause
        self._course.universe_refused = event
        return bool(self._universe_digest)

    # ── the loop ─────────────────────────────────────────────────────────────────────────────

    async def _drive(self) -> None:
        """Let time pass in the engine and carry out what it asks for."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._subscriptions.raise_failed()
            now_ns = self._clock.now_ns()
            await self._carry_out(self._recording.take(now_ns))
            if (since_ns := self._recording.unheard_since(now_ns)) is not None:
                for feed in self._feeds:
                    feed.give_up(BACKPRESSURE, since_ns)
            self._course.driven = time.monotonic()

    async def _carry_out(self, output: Output) -> None:
        if output.rejected:
            self._rejected.keep(output.rejected)
            reasons = Counter(frame.rejected.reason for frame in output.rejected)
            log.warning("frames_rejected", venue=self._venue.value, reasons=dict(reasons))
        for conn, commands in _by_connection(output.commands).items():
            causes = Counter(command.cause for command in commands)
            log.info("resyncing", conn=conn, causes=dict(causes))
            # a stream that lost a number doubts all its books: one command asks for them
            asset_ids = [asset_id for command in commands for asset_id in command.asset_ids]
            for feed in self._feeds:
                await feed.resync(conn, list(dict.fromkeys(asset_ids)))

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            report = self.report()
            log.info(
                "collecting",
                venue=report.venue,
                markets=report.markets,
                books=self._engine.books,
                frames=report.frames,
                snapshots=report.counts.get("snapshots", 0),
                trades=report.counts.get("trades", 0),
                files=report.files,
                rows_held=report.rows_held,
                connected=sum(feed.connected for feed in self._feeds),
            )

    async def _stop(self) -> None:
        await self._subscriptions.stop()
        self._scheduling.save()
        output = await self._recording.stop()
        self._rejected.keep(output.rejected)


def _by_connection(commands: Sequence[Resync]) -> dict[str, list[Resync]]:
    grouped: dict[str, list[Resync]] = {}
    for command in commands:
        grouped.setdefault(command.conn, []).append(command)
    return grouped


async def collect(
    settings: Settings,
    lake: Lake,
    venues: Sequence[Venue],
    seconds: float | None,
    share: Share = WHOLE,
) -> list[CollectorReport]:
    """Collect the venues until SIGTERM, SIGINT or ``seconds`` have passed; then flush.

    A second signal ends the process at once; what is published by then is whole.

    Raises
    ------
    BaseExceptionGroup
        If a venue's task failed; whatever was held has been published.
    """
    # while a thread computes the loop waits this long after each call that lets go of the
    # interpreter, which reading a socket is
    sys.setswitchinterval(SWITCH_SECONDS)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    _stop_on_signals(loop, stopping)
    collectors = [VenueCollector(settings, lake, venue, share) for venue in venues]
    readers = [collector.status for collector in collectors]
    health = await HealthWatch(settings, lake.store, readers, shard=share.name).start()
    clear_left_staging(lake.store, share.name)
    tasks = [asyncio.create_task(collector.run()) for collector in collectors]
    left = asyncio.create_task(recover_left_behind(settings, lake, share, venues, time.time_ns()))
    ending = asyncio.create_task(stopping.wait())
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait([*tasks, ending], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    log.info("stopping", held=sum(collector.report().rows_held for collector in collectors))
    health.announce_stop()
    ending.cancel()
    for task in tasks:
        task.cancel()
    left.cancel()
    await asyncio.wait([left])
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await health.stop()
    failures = [r for r in results if isinstance(r, Exception)]
    if failures:
        raise ExceptionGroup("collection failed", failures)
    return [collector.report() for collector in collectors]


def _stop_on_signals(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    """Have SIGTERM and SIGINT set the event, and a later one end the process."""
    first: list[float] = []

    def told(number: signal.Signals) -> None:
        if not first:
            first.append(loop.time())
            stopping.set()
        elif loop.time() - first[0] > SAME_STOP_SECONDS:
            log.warning("stop_aborted", signal=number.name)
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told, number)
