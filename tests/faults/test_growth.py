"""PRO-04: memory and descriptors of a collector's process while simulated hours pass in seconds."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from asyncio.subprocess import DEVNULL
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

from surveillance_core.lake.publish import Lake, publish_universe
from surveillance_core.venues.simulated.servers import SimulatedPolymarket
from tests.collector.live import port_of, until, world_of
from tests.collector.worlds import START_MS, VENUE, universe_of

from .matrix import Tier, Trial

PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1024 * 1024
PATIENCE_S = 60.0


class Course(NamedTuple):
    """How long, and how fast, time passes."""

    hours: float
    speed: float
    """Simulated seconds in one of the wall's."""
    warm: float
    """Hours after which nothing may grow."""
    most_mib: float
    """By how much memory may grow in an hour of these."""


COURSES = {
    # seconds do not warm a process: its threads still get their first memory, and only a leak of
    # a kilobyte a frame would be told from that
    Tier.QUICK: Course(4.5, 1_350.0, 1.5, 10.0),
    Tier.FULL: Course(24.0, 600.0, 4.0, 1.0),
}


class Sample(NamedTuple):
    """A process at a moment."""

    hour: float
    rss: int
    descriptors: int


def _sample(pid: int, hour: float) -> Sample:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Sample(hour, pages * PAGE, len(list(Path(f"/proc/{pid}/fd").iterdir())))


@pytest.mark.process
@pytest.mark.fault("PRO-04")
async def test_neither_memory_nor_descriptors_grow_with_the_hours(
    trial: Trial, tmp_path: Path
) -> None:
    course = COURSES[trial.tier]
    lake = Lake(str(tmp_path / "lake"), "simulated")
    start_ms = START_MS
    venue = SimulatedPolymarket(
        seed=5, markets=20, events_per_second=2.0, start_ms=start_ms, speed=course.speed
    )
    async with venue:
        epoch_ms = time.time_ns() // 1_000_000
        first = datetime.fromtimestamp(start_ms / 1e3, UTC).date()
        for day in (first, first + timedelta(days=1)):
            publish_universe(lake, VENUE, day, universe_of(world_of(venue)), writer="universe")
        config = tmp_path / "collector.toml"
        config.write_text(
            f'data_dir = "{lake.store.root}"\n'
            "[venues.polymarket]\nenabled = true\nsnapshot_interval_ms_hot = 10_000\n"
            "snapshot_interval_ms_warm = 10_000\n"
            "[health]\nport = 0\n"
            f"[mock]\nenabled = true\nhttp_port = {port_of(venue.http_url)}\n"
            f"ws_port = {port_of(venue.ws_url)}\nspeed = {course.speed}\n"
            f"epoch_ms = {epoch_ms}\nstart_ms = {start_ms}\n"
        )
        collector = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "surveillance_collector.cli", "run", "--config", str(config),
            stdout=DEVNULL, stderr=DEVNULL,
        )  # fmt: skip
        samples: list[Sample] = []
        try:
            await until(lambda: venue.sockets.frames_sent > 200, "frames", PATIENCE_S)
            began = time.monotonic()
            hour = 0.0
            while hour < course.hours:
                samples.append(_sample(collector.pid, hour))
                await asyncio.sleep(0.1)
                hour = (time.monotonic() - began) * course.speed / 3_600
            assert collector.returncode is None, "it has ended"
        finally:
            collector.terminate()
            await asyncio.wait_for(collector.wait(), PATIENCE_S)
    _judge(trial, course, samples, venue.sockets.frames_sent)


def _judge(trial: Trial, course: Course, samples: list[Sample], frames: int) -> None:
    third = (course.hours - course.warm) / 3
    first = [s for s in samples if course.warm <= s.hour < course.warm + third]
    last = [s for s in samples if s.hour >= course.hours - third]
    grown = median(s.rss for s in last) - median(s.rss for s in first)
    slope = grown / MIB / (2 * third)
    # in the middle: one is open for a moment, or is not between two segments of the journal
    more = median(s.descriptors for s in last) - median(s.descriptors for s in first)
    with trial.case(f"{course.hours:.0f} hours at {course.speed:.0f} times the speed"):
        assert slope < course.most_mib, f"memory grows by {slope:.2f} MiB an hour"
        assert more <= 0, f"{more} descriptors more"
    peak = max(s.rss for s in samples) / MIB
    trial.notes.append(
        f"{course.hours:.0f} hours, {frames:,} frames: {slope:+.2f} MiB an hour and {more:+.0f} "
        f"descriptors in all after hour {course.warm:g}, {peak:.0f} MiB at most"
    )
