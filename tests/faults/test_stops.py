"""PRO-01: collectors of their own processes, told to stop while much is going on."""

from __future__ import annotations

import asyncio
import json
import random
import signal
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
from tests.collector.live import busy_venue, trust, trusted_windows, until
from tests.collector.worlds import VENUE, lake_rows

from .collecting import Collecting
from .matrix import Tier, Trial

AT_ONCE = 5
"""Collectors that run beside each other, which is load of its own."""
ABORTS = {Tier.QUICK: 2, Tier.FULL: 10}
STOP_SECONDS = 20.0
PATIENCE_S = 60.0


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
