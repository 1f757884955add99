"""PRO-01: collectors of their own processes, told to stop while much is going on."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from surveillance_core.lake.manifest import manifest_days
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.read import verify_days
from surveillance_core.lake.schemas import COVERAGE, SNAPSHOTS, TRADES
from surveillance_core.venues.simulated.judge import compare_books, compare_trades
from surveillance_core.venues.simulated.servers import SimulatedPolymarket
from tests.collector.live import busy_venue, port_of, publish_world, trust, trusted_windows, until
from tests.collector.worlds import VENUE, lake_rows

from .matrix import Tier, Trial

AT_ONCE = 5
"""Collectors that run beside each other, which is load of its own."""
ABORTS = {Tier.QUICK: 2, Tier.FULL: 10}
STOP_SECONDS = 20.0
PATIENCE_S = 60.0


class Collecting:
    """A collector's process, and its lake."""

    def __init__(self, root: Path, venue: SimulatedPolymarket) -> None:
        root.mkdir()
        self.lake = Lake(str(root / "lake"), "simulated")
        publish_world(self.lake, venue)
        self.config = root / "collector.toml"
        self.config.write_text(
            f'data_dir = "{root / "lake"}"\n'
            "[venues.polymarket]\nenabled = true\nsnapshot_interval_ms_hot = 100\n"
            "[storage]\nbucket_minutes = 0.05\nflush_seconds = 0.0\n"
            "[health]\nport = 0\n"
            f"[mock]\nenabled = true\nhttp_port = {port_of(venue.http_url)}\n"
            f"ws_port = {port_of(venue.ws_url)}\n"
        )
        self.signalled_us = 0

    async def start(self) -> Process:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "surveillance_collector.cli", "run", "--json",
            "--config", str(self.config),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return self.process

    def tell(self, number: signal.Signals) -> None:
        self.signalled_us = self.signalled_us or time.time_ns() // 1_000
        self.process.send_signal(number)

    async def end(self) -> tuple[float, bytes, str]:
        """Seconds until it is gone, what it printed, and its log."""
        began = time.monotonic()
        try:
            out, log = await asyncio.wait_for(self.process.communicate(), PATIENCE_S)
        except TimeoutError:
            self.process.kill()
            out, log = await self.process.communicate()
        return time.monotonic() - began, out, log.decode()


async def _all_collecting(venue: SimulatedPolymarket, collectors: list[Collecting]) -> None:
    for collector in collectors:
        await collector.start()
    connections = len(collectors)
    await until(lambda: venue.sockets.connections == connections, "all connected", PATIENCE_S)
    sent = venue.sockets.frames_sent
    enough = 200 * connections
    await until(lambda: venue.sockets.frames_sent > sent + enough, "frames to all", PATIENCE_S)


def _lost(collector: Collecting, venue: SimulatedPolymarket, report: dict[str, Any]) -> int:
    """Rows that it made or ought to have made, and that are in no file.

    Raises
    ------
    AssertionError
        If a row is not true, or trust ends before the signal.
    """
    lake = collector.lake
    lost = sum(
        report["counts"].get(name, 0) - len(lake_rows(lake, table))
        for table, name in ((SNAPSHOTS, "snapshots"), (TRADES, "trades"))
    )
    lost += report["published"]["coverage"] - len(lake_rows(lake, COVERAGE)) + report["rows_held"]
    windows = trusted_windows(lake, venue)
    trades = compare_trades(lake_rows(lake, TRADES), venue.truth, windows=windows)
    assert not trades.extra, f"{trades.extra} trades that were not: {trades.examples[:1]}"
    assert _true_books(lake, venue), "no row"
    covered_until = trust(lake).group_by("outcome_id").agg(end=pl.col("end_us").max())["end"].min()
    assert isinstance(covered_until, int)
    before_us = collector.signalled_us - covered_until
    assert before_us <= 0, f"what was received {before_us} µs before the signal is not covered"
    return lost + trades.missing


def _true_books(lake: Lake, venue: SimulatedPolymarket) -> int:
    """Rows of books, once all have proved to be true and the lake to be whole."""
    books = compare_books(lake_rows(lake, SNAPSHOTS), venue.truth)
    assert not books.different, f"{books.different} rows are not true: {books.examples[:1]}"
    _, damaged, lines = verify_days(lake, VENUE, manifest_days(lake.store, VENUE), deep=True)
    assert (damaged, lines) == ([], 0)
    return books.compared


@pytest.mark.process
@pytest.mark.fault("PRO-01")
async def test_told_to_stop_it_publishes_all_it_has(trial: Trial, tmp_path: Path) -> None:
    chance = random.Random(trial.seed)
    left = trial.quantity - ABORTS[trial.tier]
    slowest = 0.0
    while left:
        async with busy_venue(markets=12, rate=200.0) as venue:
            number = min(AT_ONCE, left)
            left -= number
            collectors = [Collecting(tmp_path / f"{left}-{n}", venue) for n in range(number)]
            await _all_collecting(venue, collectors)
            for collector in collectors:
                await asyncio.sleep(chance.uniform(0.0, 0.6))
                collector.tell(chance.choice((signal.SIGTERM, signal.SIGINT)))
            ends = await asyncio.gather(*(collector.end() for collector in collectors))
        for n, (collector, (seconds, out, log)) in enumerate(zip(collectors, ends, strict=True)):
            slowest = max(slowest, seconds)
            with trial.case(f"stop {left + n}"):
                assert collector.process.returncode == 0, f"exit code not 0: {log[-200:]}"
                assert seconds < STOP_SECONDS, f"it took {seconds:.1f} s"
                lost = _lost(collector, venue, json.loads(out)[0])
                trial.rows_lost += lost
                assert not lost, f"{lost} rows are lost"
    trial.notes.append(f"gone after {slowest:.1f} s at most, {AT_ONCE} stopped beside each other")


@pytest.mark.process
@pytest.mark.fault("PRO-01")
async def test_told_twice_it_ends_at_once_and_what_is_published_is_whole(
    trial: Trial, tmp_path: Path
) -> None:
    aborted = 0
    async with busy_venue(markets=12, rate=200.0) as venue:
        collectors = [Collecting(tmp_path / f"{n}", venue) for n in range(ABORTS[trial.tier])]
        await _all_collecting(venue, collectors)
        for collector in collectors:
            collector.tell(signal.SIGTERM)
            # its flush stands still for longer than two signals may be one
        await asyncio.sleep(0.02)
        for collector in collectors:
            collector.tell(signal.SIGSTOP)
        await asyncio.sleep(1.2)
        for collector in collectors:
            collector.tell(signal.SIGTERM)
            collector.tell(signal.SIGCONT)
        ends = await asyncio.gather(*(collector.end() for collector in collectors))
    for n, (collector, (seconds, _, log)) in enumerate(zip(collectors, ends, strict=True)):
        aborted += "stop_aborted" in log
        with trial.case(f"abort {n}"):
            assert collector.process.returncode in (0, -signal.SIGTERM), log[-200:]
            assert seconds < 5.0, f"it took {seconds:.1f} s"
            _true_books(collector.lake, venue)
    trial.notes.append(f"{aborted} of {len(collectors)} told twice were still publishing")
