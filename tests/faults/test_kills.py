"""STO-01: a collector killed at any moment, and started again on what it left behind."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from surveillance_core.lake.manifest import manifest_days
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.read import verify_days
from surveillance_core.lake.schemas import SNAPSHOTS, TRADES
from surveillance_core.venues.simulated.judge import compare_books, compare_trades
from surveillance_core.venues.simulated.servers import SimulatedPolymarket
from tests.collector.live import PRINT_LAG_NS, trust, trusted_windows, until
from tests.collector.worlds import VENUE, lake_rows

from .collecting import Collecting
from .matrix import Tier, Trial

SYNC_MS = 200
HEARTBEAT_S = 0.5
CADENCE_MS = 100
ALLOWED_LOSS_US = (SYNC_MS + 100) * 1_000
RESTART_S = 3.0
SHARED = {Tier.QUICK: 5.0, Tier.FULL: 1.0}
"""How much longer things may take where other tests have the processor as well."""
A_LAKE = 20
"""Kills that one lake goes through."""
PATIENCE_S = 60.0


async def _start(collector: Collecting, venue: SimulatedPolymarket) -> float:
    """Seconds from the start of the process until it receives frames."""
    sent = venue.sockets.frames_sent
    began = time.monotonic()
    await collector.start()
    await until(lambda: venue.sockets.frames_sent > sent + 20, "frames sent", PATIENCE_S)
    return time.monotonic() - began


class Lateness:
    """How late this process, which is the venue, came to do what was due, ns at worst.

    What it says was sent may have waited as long before it was.
    """

    _EVERY_S = 0.01

    def __init__(self) -> None:
        self.worst_ns = 0

    async def watch(self) -> None:
        while True:
            due_ns = time.monotonic_ns() + int(self._EVERY_S * 1e9)
            await asyncio.sleep(self._EVERY_S)
            self.worst_ns = max(self.worst_ns, time.monotonic_ns() - due_ns)


async def _killed(
    trial: Trial, root: Path, venue: SimulatedPolymarket, chance: random.Random, kills: int
) -> tuple[Collecting, list[int]]:
    """A collector that was killed so often, then told to stop; and when it was killed, µs."""
    collector = Collecting(
        root,
        venue,
        cadence_ms=CADENCE_MS,
        storage=f"bucket_minutes = 0.05\nflush_seconds = 0.0\nheartbeat_seconds = {HEARTBEAT_S}\n",
        more=f"[journal]\nsync_ms = {SYNC_MS}\nreserve_mb = 1\n",
    )
    killed: list[int] = []
    for number in range(kills):
        restart_s = await _start(collector, venue)
        with trial.case(f"restart {number}"):
            assert restart_s <= RESTART_S * SHARED[trial.tier], f"restarted in {restart_s:.1f} s"
        trial.detected_after(restart_s)
        await asyncio.sleep(chance.uniform(0.0, 1.2))
        killed.append(time.time_ns() // 1_000)
        collector.process.kill()
        await collector.end()
        assert collector.process.returncode == -signal.SIGKILL
    await _start(collector, venue)
    await asyncio.sleep(1.0)
    collector.tell(signal.SIGTERM)
    await collector.end()
    assert collector.process.returncode == 0
    return collector, killed


def _judge(
    lake: Lake, venue: SimulatedPolymarket, killed: list[int], late_ns: int
) -> tuple[int, int]:
    """Rows lost, and the longest unacknowledged time before a kill, µs.

    Raises
    ------
    AssertionError
        If a file cannot be read, or a row is not true, or is there twice.
    """
    _, damaged, lines = verify_days(lake, VENUE, manifest_days(lake.store, VENUE), deep=True)
    assert damaged == [], f"unreadable: {damaged[:3]}"
    assert lines == 0, f"{lines} lines of manifests unreadable"
    snapshots, trades = lake_rows(lake, SNAPSHOTS), lake_rows(lake, TRADES)
    doubled = len(snapshots) - snapshots.select("outcome_id", "ts_recv").n_unique()
    assert not doubled, f"{doubled} snapshots doubled"
    books = compare_books(snapshots, venue.truth)
    assert not books.different, f"{books.different} books not true: {books.examples[:1]}"
    told = compare_trades(
        trades, venue.truth, windows=trusted_windows(lake, venue, PRINT_LAG_NS + late_ns)
    )
    assert not told.extra, f"{told.extra} trades doubled or untrue: {told.examples[:1]}"
    ledger = trust(lake)
    trusted = ledger.filter(pl.col("state") == "trusted")
    return told.missing + _holes(snapshots, trusted), _unacknowledged(ledger, killed)


def _holes(snapshots: pl.DataFrame, trusted: pl.DataFrame) -> int:
    """Times within trust without the row that the heartbeat asks for."""
    limit_us = (HEARTBEAT_S + 2.5 * CADENCE_MS / 1e3) * 1e6
    rows = snapshots.select("outcome_id", at_us=pl.col("ts_recv").dt.epoch("us"))
    within = rows.join(trusted, on="outcome_id").filter(
        pl.col("at_us").is_between("start_us", "end_us")
    )
    edges = ["outcome_id", "start_us", "end_us"]
    gaps = (
        within.sort("at_us")
        .group_by(edges)
        .agg(
            longest=pl.max_horizontal(
                pl.col("at_us").diff().max().fill_null(0),
                pl.col("at_us").min() - pl.col("start_us").first(),
                pl.col("end_us").first() - pl.col("at_us").max(),
            )
        )
    )
    without = trusted.join(gaps, on=edges, how="anti").filter(
        pl.col("end_us") - pl.col("start_us") > limit_us
    )
    return len(without) + len(gaps.filter(pl.col("longest") > limit_us))


def _unacknowledged(ledger: pl.DataFrame, killed: list[int]) -> int:
    """Longest time from the last input that was recovered to a kill, µs.

    What was trusted then is distrusted from there on, because of the restart. A gap that began
    before the last kill is that one's still: of the process between them nothing was synced yet.
    """
    gaps = ledger.filter(pl.col("cause") == "restarted")
    worst = 0
    for before_us, kill_us in pairwise([0, *killed]):
        begun = gaps.filter(
            pl.col("start_us").is_between(before_us, kill_us), pl.col("end_us") >= kill_us
        )
        worst = max([worst, *(kill_us - start for start in begun["start_us"].to_list())])
    return worst


@pytest.mark.process
@pytest.mark.fault("STO-01")
async def test_killed_at_any_moment_it_goes_on_from_its_journal(
    trial: Trial, tmp_path: Path
) -> None:
    chance = random.Random(trial.seed)
    worst_us, rows, slowest, latest_ns = 0, 0, 0.0, 0
    for first in range(0, trial.quantity, A_LAKE):
        kills = min(A_LAKE, trial.quantity - first)
        async with SimulatedPolymarket(
            seed=trial.seed + first, markets=80, events_per_second=800.0
        ) as venue:
            late = Lateness()
            watching = asyncio.create_task(late.watch())
            collector, killed = await _killed(trial, tmp_path / f"{first}", venue, chance, kills)
            watching.cancel()
            latest_ns = max(latest_ns, late.worst_ns)
        with trial.case(f"lake of the kills from {first}"):
            lost, unacknowledged_us = _judge(collector.lake, venue, killed, late.worst_ns)
            trial.rows_lost += lost
            worst_us = max(worst_us, unacknowledged_us)
            rows += len(lake_rows(collector.lake, SNAPSHOTS))
            assert not lost, f"{lost} rows lost"
            allowed_us = ALLOWED_LOSS_US * SHARED[trial.tier]
            assert unacknowledged_us <= allowed_us, f"{unacknowledged_us} µs lost"
        trial.runs -= 1
    slowest = trial.worst_detection_s or 0.0
    trial.worst_detection_s = None
    trial.notes.append(
        f"limits of time times {SHARED[trial.tier]:g}; "
        f"{rows:,} rows; unacknowledged at most {worst_us / 1e3:.0f} ms at sync_ms = {SYNC_MS}; "
        f"restart at most {slowest:.1f} s; the venue late by at most {latest_ns / 1e6:.0f} ms"
    )
