"""STO-05, STO-06 and PRO-03 on file systems of the test's own: full, read only, stalled."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import msgspec
import pytest

from surveillance_collector.pressure import Level
from surveillance_collector.reading import HELD_UP
from surveillance_core.lake.layout import collector_health_file
from surveillance_core.lake.manifest import manifest_days
from surveillance_core.lake.read import verify_days
from surveillance_core.lake.schemas import COVERAGE, SNAPSHOTS, TRADES
from surveillance_core.status import HealthAddress, Status
from surveillance_core.venues.simulated.judge import (
    STALE_AFTER_NS,
    compare_books,
    compare_trades,
)
from surveillance_core.venues.simulated.servers import SimulatedPolymarket
from tests.collector.live import trusted_windows
from tests.collector.worlds import VENUE, lake_rows

from .collecting import Collecting
from .matrix import Tier, Trial
from .mounted import (
    break_ext4,
    filled,
    loop_disk,
    make_read_only,
    mend_ext4,
    small_memory_disk,
    stalled,
)

RESUMED_S = 5.0
PATIENCE_S = 20.0
DISK_MB = 96
JOURNAL = "[journal]\nsync_ms = 100\nreserve_mb = 4\nmemory_mb = {memory_mb}\n"
A_DISK = 15
"""Of the row's quantity, one is tried on a real disk for so many on one that is made up."""
MOST_RSS_MB = 512
LATE_NS = 2 * STALE_AFTER_NS
"""Five thousand messages a second leave two processors little for anything else."""


_pages: dict[int, str] = {}
"""By process: a disk that was mended may have lost the file that says where they are."""


def _collecting(place: Path, venue: SimulatedPolymarket, memory_mb: int = 16) -> Collecting:
    return Collecting(place / "c", venue, more=JOURNAL.format(memory_mb=memory_mb))


def _read_status(collector: Collecting) -> Status | None:
    """What the collector says of itself; None where it says nothing."""
    with suppress(OSError, msgspec.DecodeError):
        pid = collector.process.pid
        if pid not in _pages:
            name = collector_health_file("0")
            told = (collector.lake.store.state_dir() / name).read_bytes()
            _pages[pid] = msgspec.json.decode(told, type=HealthAddress).url
        url = _pages[pid]
        with urlopen(f"{url}/status.json", timeout=2.0) as answer:  # noqa: S310  # loopback
            return msgspec.json.decode(answer.read(), type=Status)
    return None


async def _status(collector: Collecting) -> Status | None:
    assert collector.process.returncode is None, "the collector has ended"
    return await asyncio.to_thread(_read_status, collector)


async def _reads(collector: Collecting, what: str, *codes: str, files: int = -1) -> float:
    """Seconds until it gives one of the reasons, or, without any, has published more files."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE_S:
        status = await _status(collector)
        if status is not None:
            told = {reason.code for reason in status.reasons}
            venue = status.venues[0]
            # so small a disk is never a ready collector's
            well = venue.journal.level != Level.FULL and venue.files > files
            if told & set(codes) if codes else well:
                return time.monotonic() - began
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {PATIENCE_S} s: {what}")


async def _files(collector: Collecting) -> int:
    status = await _status(collector)
    return status.venues[0].files if status is not None else 0


async def _ended(collector: Collecting) -> str:
    collector.tell(signal.SIGTERM)
    _, _, log = await collector.end()
    assert collector.process.returncode == 0, log[-2_000:]
    return log


def _judge(
    collector: Collecting, venue: SimulatedPolymarket, late_ns: int = STALE_AFTER_NS
) -> tuple[int, int]:
    """Rows, and of them trades that are missing.

    ``late_ns`` is what a frame may take from the venue's hands into a row where the ledger does
    not say that it took longer; so much of what had been sent before a doubt may be missing.
    """
    lake = collector.lake
    _, damaged, lines = verify_days(lake, VENUE, manifest_days(lake.store, VENUE), deep=True)
    assert (damaged, lines) == ([], 0)
    snapshots = lake_rows(lake, SNAPSHOTS)
    assert len(snapshots) == snapshots.select("outcome_id", "ts_recv").n_unique(), "doubled"
    books = compare_books(snapshots, venue.truth, stale_after_ns=late_ns)
    assert not books.different, f"{books.different} books not true: {books.examples[:1]}"
    on_its_way_ns = late_ns - STALE_AFTER_NS
    windows = {
        token: [(begin, end - on_its_way_ns) for begin, end in spans]
        for token, spans in trusted_windows(lake, venue).items()
    }
    told = compare_trades(lake_rows(lake, TRADES), venue.truth, windows=windows)
    assert not told.extra, f"{told.extra} trades doubled or untrue"
    return len(snapshots), told.missing


async def _full(trial: Trial, place: Path, venue: SimulatedPolymarket) -> Collecting:
    """Started on a full disk, which is then freed and filled again and again."""
    collector = _collecting(place, venue)
    with filled(place):
        await collector.start()
        with trial.case("full at the start"):
            await asyncio.sleep(3.0)
            await _status(collector)
    with trial.case("freed at the start"):
        await _reads(collector, "it begins")
    worst = 0.0
    for number in range(max(1, trial.quantity // A_DISK)):
        with trial.case(f"filled {number}"):
            with filled(place):
                await _reads(collector, "it says that it is full", "recording_full")
                await asyncio.sleep(1.5)
                files = await _files(collector)
            seconds = await _reads(collector, "files again", files=files)
            worst = max(worst, seconds)
            assert seconds <= RESUMED_S, f"resumed {seconds:.1f} s after there was space"
    trial.notes.append(f"resumed at most {worst:.1f} s after there was space")
    return collector


@pytest.mark.process
@pytest.mark.fault("STO-05")
async def test_a_disk_is_filled_and_freed_again_and_again(trial: Trial, tmp_path: Path) -> None:
    async with SimulatedPolymarket(seed=trial.seed, markets=20, events_per_second=200.0) as venue:
        with small_memory_disk(tmp_path / "disk", DISK_MB) as place:
            collector = await _full(trial, place, venue)
            await _ended(collector)
            rows, trial.rows_lost = _judge(collector, venue)
    trial.notes.append(f"{rows:,} rows on a disk of {DISK_MB} MB")
    assert not trial.rows_lost


@pytest.mark.process
@pytest.mark.fault("STO-06")
async def test_a_disk_that_turns_read_only_is_waited_for(trial: Trial, tmp_path: Path) -> None:
    async with SimulatedPolymarket(seed=trial.seed, markets=20, events_per_second=200.0) as venue:
        with loop_disk(tmp_path / "disk", DISK_MB) as place:
            collector = _collecting(place, venue)
            make_read_only(place, read_only=True)
            await collector.start()
            with trial.case("read only at the start"):
                await asyncio.sleep(3.0)
                await _status(collector)
            make_read_only(place, read_only=False)
            with trial.case("mounted to be written at the start"):
                await _reads(collector, "it begins")
            for number in range(max(1, trial.quantity // A_DISK)):
                with trial.case(f"broken {number}"):
                    break_ext4(place)
                    await _reads(collector, "it says that it cannot write", "recording_full")
                    await asyncio.sleep(1.5)
                    files = await _files(collector)
                    mend_ext4(place)
                    seconds = await _reads(collector, "files again", files=files)
                    assert seconds <= RESUMED_S, f"resumed {seconds:.1f} s after it was mended"
            await _ended(collector)
            rows, trial.rows_lost = _judge(collector, venue)
    trial.notes.append(f"{rows:,} rows")
    assert not trial.rows_lost


def _resident_mb(collector: Collecting, field: str = "VmRSS") -> float:
    told = Path(f"/proc/{collector.process.pid}/status").read_text()
    (line,) = [line for line in told.splitlines() if line.startswith(field)]
    return int(line.split()[1]) * 1_024 / 1e6


@pytest.mark.process
@pytest.mark.fault("PRO-03")
async def test_a_stalled_disk_costs_memory_up_to_its_limit_and_no_row(
    trial: Trial, tmp_path: Path
) -> None:
    quick = trial.tier is Tier.QUICK
    seconds, rate, memory_mb = (8.0, 1_000.0, 1) if quick else (60.0, 5_000.0, 64)
    async with SimulatedPolymarket(seed=trial.seed, markets=200, events_per_second=rate) as venue:
        with loop_disk(tmp_path / "disk", 2_000) as place:
            collector = _collecting(place, venue, memory_mb)
            await collector.start()
            await _reads(collector, "it begins", files=3)
            paused = 0
            for number in range(trial.quantity):
                with trial.case(f"stall {number}"):
                    with stalled(place):
                        await asyncio.sleep(seconds)
                        status = await _status(collector)
                    assert status is not None
                    journal = status.venues[0].journal
                    assert journal.lag_seconds > 0.6 * seconds, journal
                    paused += journal.sockets_paused
                    lasted = await _caught_up(collector)
                    trial.notes.append(
                        f"{journal.waiting_bytes / 1e6:.0f} MB waited, sockets "
                        f"{'paused' if journal.sockets_paused else 'read'}; lag under a second "
                        f"{lasted:.1f} s after the stall of {seconds:.0f} s"
                    )
            peak_mb = _resident_mb(collector, "VmHWM")
            await _ended(collector)
            rows, trial.rows_lost = _judge(collector, venue, LATE_NS)
            causes = set(lake_rows(collector.lake, COVERAGE)["cause"])
    trial.notes.append(f"{peak_mb:.0f} MB resident at most; {rows:,} rows")
    assert peak_mb <= MOST_RSS_MB
    assert HELD_UP in causes or not paused, "sockets waited and the ledger is silent"
    assert not trial.rows_lost


async def _caught_up(collector: Collecting) -> float:
    """Seconds until what was received is on the disk within a second."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE_S:
        status = await _status(collector)
        if status is not None and status.venues[0].journal.lag_seconds < 1.0:
            return time.monotonic() - began
        await asyncio.sleep(0.1)
    raise AssertionError("the lag stays")
