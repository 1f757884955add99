"""Watching over a collecting process: reads it every second, serves the pages, tells systemd.

It changes nothing of what is collected and outlives nothing: whatever fails here is logged, the
pages then say that they are stale, and systemd hears no more of progress.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Self

import msgspec
import structlog
from websockets.http11 import Request

from surveillance_collector.health.notices import ServiceNotices
from surveillance_collector.health.pages import LOOPBACK_NAMES, Page, answer, refuse
from surveillance_collector.health.readiness import assess, limits_of
from surveillance_collector.health.server import serve_pages
from surveillance_collector.health.watchdog import Mark, follow_progress, stuck_venues
from surveillance_collector.silence import MOST_DOUBLINGS
from surveillance_core.lake.layout import collector_health_file
from surveillance_core.lake.store import Store
from surveillance_core.markets import Venue
from surveillance_core.settings import Settings
from surveillance_core.settings_tables import VenueSettings
from surveillance_core.status import HealthAddress, ProcessStatus, Status, VenueStatus

READ_SECONDS = 1.0
DISK_SECONDS = 10.0
LAG_WINDOW = 60
"""Readings that the greatest lateness is taken over: a minute."""
GRACE_SECONDS = 30.0

log = structlog.get_logger()


class HealthWatch:
    """The health of a process that collects, from ``start`` to ``stop``.

    Parameters
    ----------
    readers
        How each venue stands, read when called.
    shard
        Whose state file names the pages' address.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        readers: Sequence[Callable[[], VenueStatus]],
        *,
        shard: str = "0",
        notices: ServiceNotices | None = None,
    ) -> None:
        self._settings = settings.health
        self._limits = limits_of(settings)
        self._readers = readers
        self._notices = notices or ServiceNotices()
        self._root = Path(store.root) if "://" not in store.root else None
        self._address_file = store.state_dir() / collector_health_file(shard)
        stalls = [_longest_silence(settings.venues[venue]) for venue in Venue]
        # a silent connection must have been replaced twice by then
        self._patience = GRACE_SECONDS + 2 * max(stalls)
        self._lags: deque[float] = deque([0.0], LAG_WINDOW)
        self._marks: dict[str, Mark] = {}
        self._told = 0.0
        self._failed = False
        self._process = ProcessStatus(
            pid=os.getpid(),
            version=version("surveillance"),
            origin=settings.origin,
            started=datetime.now(UTC),
            disk_free_bytes=None,
            loop_lag_seconds=0.0,
        )
        own = settings.health.host
        names = {f"[{own}]" if ":" in own else own, *settings.health.allowed_hosts}
        self._names = LOOPBACK_NAMES | {name.lower() for name in names}
        self._tasks: list[asyncio.Task[None]] = []
        self._open = contextlib.AsyncExitStack()
        self.url: str | None = None
        self._address_due = False
        """Whether the file that says where the pages are could not be written yet."""
        """Where the pages are; None where they are not served."""
        self.status = assess(self._process, (), self._limits, datetime.now(UTC))
        """The latest verdict."""

    async def start(self) -> Self:
        """Read once, serve the pages, and tell systemd that the service has started."""
        await self._measure_disk()
        self._read()
        if self._settings.enabled:
            await self._serve()
        self._notices.ready()
        self._tasks = [
            asyncio.create_task(self._watch(), name="health"),
            asyncio.create_task(self._watch_disk(), name="health-disk"),
        ]
        return self

    def announce_stop(self) -> None:
        """From here on the process is not ready; systemd is told."""
        self._process = msgspec.structs.replace(self._process, stopping=True)
        self._notices.stopping()
        self._read()

    async def stop(self) -> None:
        """Stop reading and serving."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(OSError):
            self._address_file.unlink(missing_ok=True)
        await self._open.aclose()

    async def _serve(self) -> None:
        host, port = self._settings.host, self._settings.port
        try:
            url = await self._open.enter_async_context(serve_pages(host, port, self._answer))
        except OSError as error:
            log.warning(
                "health_unavailable",
                host=host,
                port=port,
                cause=error.strerror or str(error),
                next_step="set health.port to a free one, or to 0; collection goes on",
            )
            return
        self.url = url
        log.info("health_served", url=url)
        self._publish_address(url)

    def _publish_address(self, url: str) -> None:
        """Write down where the pages are, which ``status`` reads; a full disk is tried again."""
        address = HealthAddress(url=url, pid=self._process.pid)
        written = self._address_file.with_suffix(".new")
        try:
            written.write_bytes(msgspec.json.encode(address))
            written.replace(self._address_file)
        except OSError as error:
            if not self._address_due:
                log.warning("health_address_not_written", cause=error.strerror or str(error))
            self._address_due = True
        else:
            self._address_due = False

    def _answer(self, request: Request) -> Page:
        hosts = request.headers.get_all("Host")
        refusal = refuse(request.method, hosts, self._names)
        return refusal or answer(request.path, self.status, datetime.now(UTC))

    async def _watch(self) -> None:
        while True:
            due = time.monotonic() + READ_SECONDS
            await asyncio.sleep(READ_SECONDS)
            self._lags.append(max(0.0, time.monotonic() - due))
            if self._address_due and self.url is not None:
                self._publish_address(self.url)
            self._read()

    def _read(self) -> None:
        try:
            self._process = msgspec.structs.replace(self._process, loop_lag_seconds=max(self._lags))
            venues = [read() for read in self._readers]
            at, before = datetime.now(UTC), self.status.reasons
            self.status = assess(self._process, venues, self._limits, at, before)
            self._tell(venues)
        except Exception:
            if not self._failed:
                log.exception("health_failed")
            self._failed = True
        else:
            self._failed = False

    def _tell(self, venues: Sequence[VenueStatus]) -> None:
        self._notices.say(_in_a_line(self.status))
        period = self._notices.watchdog_seconds
        now = time.monotonic()
        self._marks = follow_progress(self._marks, venues, now)
        if period is None or now - self._told < period / 4:
            return
        self._told = now
        stuck = stuck_venues(self._marks, now, self._patience)
        if stuck:
            log.error("data_stands_still", venues=stuck)
        else:
            self._notices.alive()

    async def _watch_disk(self) -> None:
        while True:
            await asyncio.sleep(DISK_SECONDS)
            try:
                await self._measure_disk()
            except Exception:
                log.exception("health_disk_failed")

    async def _measure_disk(self) -> None:
        """In a thread: a file system that hangs must not hang the loop."""
        if self._root is None:
            return
        with contextlib.suppress(OSError):
            usage = await asyncio.to_thread(shutil.disk_usage, self._root)
            self._process = msgspec.structs.replace(self._process, disk_free_bytes=usage.free)


def _longest_silence(table: VenueSettings) -> float:
    """Seconds in which something must come of a venue, were it that REST agrees."""
    relaxed = 1.0 if table.witness_seconds else 2.0**MOST_DOUBLINGS
    return max(relaxed * table.stall_seconds, table.witness_seconds)


def _in_a_line(status: Status) -> str:
    books = sum(venue.books for venue in status.venues)
    expected = sum(venue.books_expected for venue in status.venues)
    if status.ready:
        return f"ready: {books:,} of {expected:,} books stand"
    first, more = status.reasons[0], len(status.reasons) - 1
    where = f"{first.venue}: " if first.venue else ""
    return f"not ready: {where}{first.what}" + (f" and {more} more" if more else "")
