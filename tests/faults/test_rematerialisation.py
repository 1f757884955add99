"""DAG-01: statistics made again, of late data, of days without any, and while more is collected."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from surveillance_collector.recorder import Recorder
from surveillance_collector.rows import Reason, coverage_row, snapshot_row, trade_row
from surveillance_core.books import BookState, OrderBook
from surveillance_core.lake.manifest import read_manifest
from surveillance_core.lake.publish import Lake, publish_universe
from surveillance_core.lake.read import scan_table
from surveillance_core.lake.schemas import COVERAGE, SNAPSHOTS, STATS, TRADES
from surveillance_core.venues.protocols import Trade
from tests.collector.worlds import VENUE, listed_market

from .matrix import Trial

pytestmark = pytest.mark.dagster

BUCKET_NS = 300_000_000_000
MARKETS = 3
FIRST = date(2026, 1, 1)
APART = timedelta(days=100)
"""Further than there are days of cases."""
Evaluations = dict[str, bool]


class Location:
    """The real definitions over a lake of this test, and runs of ``stats``."""

    def __init__(self, root: Path) -> None:
        from surveillance_assets.definitions import defs

        self.root = root
        self.lake = Lake(str(root / "lake"), "real")
        self.instance = dg.DagsterInstance.ephemeral()
        self._job = defs().resolve_implicit_global_asset_job_def()

    def materialise(self, day: date) -> Evaluations:
        """What each check says after a run, which succeeds up to them."""
        result = self._job.execute_in_process(
            partition_key=f"{day}|{VENUE}", asset_selection=[dg.AssetKey("stats")],
            instance=self.instance, raise_on_error=False,
        )  # fmt: skip
        assert result.asset_materializations_for_node("stats"), "nothing was materialised"
        found = result.get_asset_check_evaluations()
        return {str(evaluation.check_name): evaluation.passed for evaluation in found}

    def stats(self, day: date) -> pl.DataFrame:
        return scan_table(self.lake, STATS, VENUE, [day], deep=True).frame.collect()

    def version(self, day: date) -> str:
        """Of the published file: equal ones are equal to the byte."""
        [entry] = read_manifest(self.lake.store, VENUE, day).files(STATS.name)
        return entry.digest


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Location]:
    root = tmp_path_factory.mktemp("statistics")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("SURVEILLANCE__"):
                patch.delenv(name)
        patch.setenv("SURVEILLANCE__DATA_DIR", str(root / "lake"))
        yield Location(root)


def _collect(lake: Lake, day: date, bucket: int, chance: random.Random, shard: str = "0") -> None:
    """Publish five minutes of a day as the collector does."""
    start_ns = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000_000
    start_ns += bucket * BUCKET_NS
    recorder = Recorder(lake, VENUE, shard, bucket_us=300_000_000, flush_rows=10_000, flush_us=0)
    for number in range(MARKETS):
        market, outcome = f"m{number}", f"m{number}-yes"
        state = BookState(market, outcome, 100)
        for second in range(0, 300, 30):
            at_ns = start_ns + second * 1_000_000_000
            bid = 100 * chance.randrange(10, 40)
            state.book = OrderBook({bid: 10.0}, {bid + 100 * chance.randrange(1, 9): 20.0})
            row = snapshot_row(state, at_ns, 50, Reason.HEARTBEAT)
            trade = Trade(
                market_id=market, outcome_id=outcome, price=bid, size=float(chance.randrange(1, 9)),
                taker_side=None, printed_outcome_id=outcome, printed_price=bid, fee_rate_bps="0",
                transaction_id=None, ts_venue_ms=at_ns // 1_000_000,
            )  # fmt: skip
            recorder.add(
                [
                    (SNAPSHOTS, at_ns // 1_000, row),
                    (TRADES, at_ns // 1_000, trade_row(trade, at_ns)),
                ],
                at_ns // 1_000,
            )
        covered = coverage_row(market, outcome, start_ns, start_ns + BUCKET_NS, "trusted", None)
        recorder.add([(COVERAGE, start_ns // 1_000, covered)], start_ns // 1_000)
    assert recorder.flush() == []


def _universe(lake: Lake, day: date) -> None:
    markets = [listed_market(f"m{number}") for number in range(MARKETS)]
    publish_universe(lake, VENUE, day, markets, writer="universe")


SOUND: Evaluations = {"schema_holds": True, "has_rows": True, "up_to_date": True}


def _again(location: Location, day: date, chance: random.Random) -> None:
    """The same input gives the same output."""
    _collect(location.lake, day, chance.randrange(100), chance)
    assert location.materialise(day) == SOUND
    version, rows = location.version(day), location.stats(day)
    assert rows.height == MARKETS
    assert location.materialise(day) == SOUND
    assert location.stats(day).equals(rows), "another output of the same input"
    assert location.version(day) == version, "another file of the same input"


def _late(location: Location, day: date, chance: random.Random) -> None:
    """What comes late counts as if it had been there, in whichever order it came."""
    seed, buckets = chance.random(), chance.sample(range(100), 3)
    at_once = day + APART

    def collect(at: date, bucket: int) -> None:
        _collect(location.lake, at, bucket, random.Random(seed + bucket))

    _universe(location.lake, day)
    collect(day, buckets[0])
    assert location.materialise(day) == SOUND
    early = location.stats(day)
    for bucket in buckets[1:]:
        collect(day, bucket)
    assert location.materialise(day) == SOUND
    late = location.stats(day)
    _universe(location.lake, at_once)
    for bucket in sorted(buckets):
        collect(at_once, bucket)
    assert location.materialise(at_once) == SOUND
    assert not late.equals(early), "late data changes nothing"
    assert late.equals(location.stats(at_once)), "late data counts differently"


def _missing(location: Location, day: date, _: random.Random) -> None:
    """A day of which there is nothing, or a universe alone, fails the check that says so."""
    for publish in (False, True):
        if publish:
            _universe(location.lake, day)
        checks = location.materialise(day)
        assert not checks["has_rows"], "a day without rows passes"
        assert location.stats(day).is_empty()


def _while_collecting(location: Location, day: date, chance: random.Random) -> None:
    """A run takes whole files alone; what came meanwhile is told, and is in the next run."""
    _universe(location.lake, day)
    _collect(location.lake, day, 0, chance)
    stop = threading.Event()
    seed = chance.random()

    def collect() -> None:
        for bucket in count(1):
            _collect(location.lake, day, bucket, random.Random(seed + bucket), "1")
            if stop.is_set():
                return

    collecting = threading.Thread(target=collect)
    collecting.start()
    try:
        checks = location.materialise(day)
    finally:
        stop.set()
        collecting.join()
    assert checks["schema_holds"]
    assert checks["has_rows"]
    during = location.stats(day)
    buckets = during["covered_seconds"] / 300.0
    read = f"part of a file was read: {buckets.to_list()} of them, {during['snapshots'].to_list()}"
    assert buckets.n_unique() == 1, read
    assert (buckets == buckets.round()).all(), read
    assert location.materialise(day) == SOUND
    after = location.stats(day)["covered_seconds"]
    files = len(read_manifest(location.lake.store, VENUE, day).files(COVERAGE.name))
    assert after.to_list() == [300.0 * files] * MARKETS


Scenario = Callable[[Location, date, random.Random], None]
SCENARIOS: tuple[tuple[Scenario, int], ...] = (
    (_again, 2), (_late, 3), (_missing, 2), (_while_collecting, 2)
)  # fmt: skip
"""Each with how often it materialises."""


@pytest.mark.fault("DAG-01")
def test_statistics_are_a_function_of_the_lake(trial: Trial, location: Location) -> None:
    chance = random.Random(trial.seed)
    made: dict[str, Any] = {}
    left, number = trial.quantity, 0
    while left > 0:
        scenario, runs = SCENARIOS[number % len(SCENARIOS)]
        day = FIRST + timedelta(days=number)
        with trial.case(f"{number}: {scenario.__name__.strip('_')}, {day}"):
            # a case of the row is a materialisation
            trial.runs += runs - 1
            scenario(location, day, chance)
        name = scenario.__name__.strip("_").replace("_", " ")
        made[name] = made.get(name, 0) + runs
        left, number = left - runs, number + 1
    trial.notes.append(", ".join(f"{runs} {name}" for name, runs in made.items()))
