"""STO-05 and STO-06: a disk that refuses the n-th operation, under the journal or the lake."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import errno
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.testing import capture_logs

from surveillance_collector.service import CollectorReport, VenueCollector
from surveillance_collector.share import WHOLE
from surveillance_core.lake.manifest import manifest_days
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.read import verify_days
from surveillance_core.lake.schemas import COLLECTED, SNAPSHOTS, TRADES
from surveillance_core.lake.unlisted import put_away_unlisted
from surveillance_core.settings import Settings
from surveillance_core.venues.simulated.servers import SimulatedPolymarket
from tests.collector.live import collecting, judge, publish_world, until
from tests.collector.worlds import VENUE, lake_rows

from .failing_disk import FailingDisk, Layer
from .matrix import Trial
from .quick_collector import quick_settings

A_LAKE = 30
"""Faults that one lake goes through."""
LAKES_AT_ONCE = 3
"""Most of the time each of them waits: for rows, for a fault, for what comes after it."""
RESUMED_S = 5.0


def _settings(folder: Path, ws_url: str) -> Settings:
    """As few rows a file as make for many files."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = quick_settings(folder, ws_url)
    journal = settings.journal.model_copy(update={"sync_ms": 40.0, "reserve_mb": 1.0})
    storage = settings.storage.model_copy(update={"flush_rows": 40})
    return settings.model_copy(update={"journal": journal, "storage": storage})


async def _endure(
    trial: Trial,
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    faults: Sequence[tuple[int, Layer, int, int]],
    seed: int,
) -> float:
    """A collector through its share of faults; the longest time until all was well again."""
    worst = 0.0
    disk = FailingDisk(monkeypatch, folder)
    async with SimulatedPolymarket(seed=seed, markets=8, events_per_second=120.0) as venue:
        lake = Lake(str(folder / "lake"), "simulated")
        publish_world(lake, venue)
        async with collecting(_settings(folder, venue.ws_url), lake) as collector:
            await until(lambda: collector.report().files > 1, "files")
            for error, layer, after, times in faults:
                with trial.case(f"{errno.errorcode[error]} {layer} {after} x {times}"):
                    disk.arm(layer, after, times, error)
                    await until(lambda: disk.spent, "the fault", 30.0)
                    worst = max(worst, await _resumed(collector))
    with trial.case(f"lake {folder.name}"):
        _judge(trial, collector.report(), lake, venue)
        assert disk.synced_again == []
    trial.runs -= 1
    return worst


def _judge(trial: Trial, report: CollectorReport, lake: Lake, venue: SimulatedPolymarket) -> None:
    """What a collector published after its share of faults."""
    assert report.rows_held == 0
    assert report.published["orderbook_snapshots"] == report.counts["snapshots"]
    assert len(lake_rows(lake, SNAPSHOTS)) == report.counts["snapshots"]
    assert len(lake_rows(lake, TRADES)) == report.counts["trades"]
    judge(lake, venue, rows=100)
    days = manifest_days(lake.store, VENUE)
    checked, damaged, lines = verify_days(lake, VENUE, days, deep=True)
    # a line that was half written is closed off, and nothing stands in its place but the next
    assert (damaged, lines) == ([], 0)
    unlisted = [put_away_unlisted(lake, VENUE, day, COLLECTED, WHOLE.name) for day in days]
    assert unlisted == [[] for _ in days], "files that no manifest lists"
    trial.notes.append(f"{checked} files, {report.counts['snapshots']:,} rows")


async def _resumed(collector: VenueCollector) -> float:
    """Seconds until the journal is written and files are published again."""
    began = time.monotonic()
    journal, files = collector._recording.journal, collector.report().files
    position = journal.position

    def well() -> bool:
        status = collector.status()
        assert not status.failed
        published = status.files > files and not status.publish_failing
        return published and journal.synced > position and status.journal.level != "full"

    await until(well, "all is well", 2 * RESUMED_S)
    seconds = time.monotonic() - began
    assert seconds <= RESUMED_S, f"resumed after {seconds:.1f} s"
    return seconds


async def _tried(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, folder: Path, errors: Sequence[int]
) -> None:
    chance = random.Random(trial.seed)
    monkeypatch.setattr("surveillance_collector.journal.writer.RETRY_SECONDS", 0.1)
    monkeypatch.setattr("surveillance_collector.recording.RETRY_SECONDS", 0.1)
    monkeypatch.setattr("surveillance_collector.pressure_watch.READ_SECONDS", 0.1)
    layers: tuple[Layer, ...] = ("journal", "lake")
    faults: list[tuple[int, Layer, int, int]] = [
        (chance.choice(errors), chance.choice(layers), chance.randint(0, 12), chance.randint(1, 3))
        for _ in range(trial.quantity)
    ]
    shares = {str(first): faults[first : first + A_LAKE] for first in range(0, len(faults), A_LAKE)}
    room = asyncio.Semaphore(LAKES_AT_ONCE)

    async def endured(name: str) -> float:
        async with room:
            with bound_contextvars(lake=name):
                seed = trial.seed + int(name)
                return await _endure(trial, monkeypatch, folder / name, shares[name], seed)

    with capture_logs(processors=[merge_contextvars]) as logs:
        worst = max(await asyncio.gather(*map(endured, shares)))
    for name in shares:
        events = [entry["event"] for entry in logs if entry.get("lake") == name]
        assert events.count("journal_failing") == events.count("journal_resumed") > 0
    trial.notes.append(f"all well again after at most {worst:.1f} s")


@pytest.mark.fault("STO-05")
async def test_no_space_at_the_nth_write(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await _tried(trial, monkeypatch, tmp_path, (errno.ENOSPC, errno.EDQUOT))


@pytest.mark.fault("STO-06")
async def test_errors_of_input_and_output_at_the_nth_operation(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await _tried(trial, monkeypatch, tmp_path, (errno.EIO, errno.EROFS))
