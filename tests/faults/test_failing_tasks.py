"""PRO-02: an exception in each task that runs in the collector's background."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from structlog.testing import capture_logs

from surveillance_collector.disposal import Disposal
from surveillance_collector.engine import Engine
from surveillance_collector.feed import Feed
from surveillance_collector.health import readiness, watch
from surveillance_collector.health.watch import HealthWatch
from surveillance_collector.journal.writer import Journal
from surveillance_collector.pressure_watch import PressureWatch
from surveillance_collector.recording import Recording
from surveillance_collector.scheduling import Scheduling
from surveillance_collector.service import CollectorReport, VenueCollector, collect
from surveillance_collector.subscriptions import Subscriptions
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.schemas import SNAPSHOTS
from tests.collector.live import busy_venue, publish_world, until
from tests.collector.worlds import VENUE, lake_rows

from .matrix import Trial
from .places import hurried

UNREADY_SECONDS = 5.0


class Task(NamedTuple):
    """What runs in the background, or is called there, and what is to become of its failure."""

    owner: type
    name: str
    restarted: bool = False
    """Whether it is started anew; else the collector ends, or is never ready again."""
    ends: bool = True

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.name}"


TASKS = (
    Task(VenueCollector, "_drive"),
    Task(Recording, "run"),
    Task(Recording, "_keep_publishing"),
    Task(Disposal, "run"),
    Task(PressureWatch, "run"),
    Task(Journal, "run"),
    Task(Journal, "_write"),
    Task(VenueCollector, "_follow_universe"),
    Task(VenueCollector, "_report"),
    Task(Scheduling, "run"),
    Task(Subscriptions, "keep_fresh"),
    Task(Feed, "run"),
    # where a connection's frames are read
    Task(Engine, "take_all"),
    Task(Feed, "_keep_alive", restarted=True),
    Task(HealthWatch, "_watch", ends=False),
    Task(HealthWatch, "_measure_disk", restarted=True),
)


class Sabotage:
    """Has a coroutine fail once, wherever it is by then, or a function at its next call."""

    def __init__(self, patch: pytest.MonkeyPatch, task: Task) -> None:
        self._armed = asyncio.Event()
        self.runs = 0
        original: Callable[..., Any] = getattr(task.owner, task.name)

        def called(*arguments: Any) -> Any:
            if self._armed.is_set():
                self._armed.clear()
                raise ArithmeticError("broken on purpose")
            return original(*arguments)

        async def sabotaged(*arguments: Any) -> Any:
            self.runs += 1
            running = asyncio.ensure_future(original(*arguments))
            armed = asyncio.ensure_future(self._armed.wait())
            try:
                await asyncio.wait({running, armed}, return_when=asyncio.FIRST_COMPLETED)
                if armed.done():
                    self._armed.clear()
                    raise ArithmeticError("broken on purpose")
                return running.result()
            finally:
                for other in (running, armed):
                    other.cancel()
                await asyncio.gather(running, armed, return_exceptions=True)

        waits = inspect.iscoroutinefunction(original)
        patch.setattr(task.owner, task.name, sabotaged if waits else called)

    def strike(self) -> None:
        self._armed.set()


class Readiness:
    """What the collector's page says, asked until it says something else."""

    def __init__(self, record: Path) -> None:
        self._record = record

    async def ready(self) -> bool:
        try:
            url = json.loads(self._record.read_bytes())["url"]
            async with httpx.AsyncClient() as client:
                return (await client.get(f"{url}/readyz")).status_code == 200
        except (OSError, ValueError, httpx.HTTPError):
            return False

    async def becomes(self, ready: bool, seconds: float) -> float:
        """Seconds until it is."""
        began = time.monotonic()
        while await self.ready() is not ready:
            assert time.monotonic() - began < seconds, f"not {ready=} within {seconds} s"
            await asyncio.sleep(0.02)
        return time.monotonic() - began


@pytest.mark.fault("PRO-02")
async def test_a_background_task_that_fails_is_noticed(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "READ_SECONDS", 0.05)
    monkeypatch.setattr(watch, "DISK_SECONDS", 0.1)
    monkeypatch.setattr("surveillance_collector.sending.PING_SECONDS", 0.2)
    # the machine may be busy with other tests
    monkeypatch.setattr(readiness, "LAG_SECONDS", 60.0)
    for task in TASKS:
        with trial.case(str(task)), capture_logs(), monkeypatch.context() as patch:
            await _assert_noticed(trial, task, tmp_path / str(task), patch)


async def _assert_noticed(trial: Trial, task: Task, root: Path, patch: pytest.MonkeyPatch) -> None:
    lake = Lake(str(root / "lake"), "simulated")
    page = Readiness(lake.store.state_dir() / "collector-0.health.json")
    sabotage = Sabotage(patch, task)
    async with busy_venue() as venue:
        publish_world(lake, venue)
        running = asyncio.create_task(collect(hurried(root, venue), lake, [VENUE], None))
        try:
            await page.becomes(True, 15.0)
            await _strike(trial, task, sabotage, page, running)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError, ExceptionGroup):
                await running
    assert len(lake_rows(lake, SNAPSHOTS)) > 0, "nothing of what it held is published"


async def _strike(
    trial: Trial,
    task: Task,
    sabotage: Sabotage,
    page: Readiness,
    running: asyncio.Task[list[CollectorReport]],
) -> None:
    runs = sabotage.runs
    sabotage.strike()
    if task.restarted:
        await until(lambda: sabotage.runs > runs, "it runs again", UNREADY_SECONDS)
        assert not running.done(), "the collector ended"
        await page.becomes(True, UNREADY_SECONDS)
        return
    trial.detected_after(await page.becomes(False, UNREADY_SECONDS))
    if task.ends:
        done, _ = await asyncio.wait({running}, timeout=UNREADY_SECONDS)
        assert done, "the collector goes on"
        error = running.exception()
        assert isinstance(error, ExceptionGroup), f"it ended with {error!r}"
        assert error.subgroup(ArithmeticError), f"it ended with {error!r}"
