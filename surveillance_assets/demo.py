"""The main job against the simulated venue, all of it, with nothing to prepare.

Starts the simulated venue, scans it, collects from it, and lets Dagster's sensor materialise the
statistics because files arrived; then (``run_once``) judges every recorded book and trade against
the venue's truth log.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl

from surveillance_assets.instance import instance_environment, workspace_file
from surveillance_assets.orchestration import STATS_INPUTS
from surveillance_assets.processes import ProcessGroup, free_port, module_command
from surveillance_core.command_line import CommandFailed, open_lake
from surveillance_core.lake.layout import UNIVERSE
from surveillance_core.lake.manifest import manifest_days, read_manifest
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.read import read_universe, scan_table
from surveillance_core.lake.schemas import COLLECTED, COVERAGE, SNAPSHOTS, STATS, TRADES
from surveillance_core.markets import Venue
from surveillance_core.settings import LoadedSettings, load_settings
from surveillance_core.venues.simulated.judge import compare_books, compare_trades
from surveillance_core.venues.simulated.truth import read_truth

VENUE = Venue.POLYMARKET
START_SECONDS = 90.0
STATS_SECONDS = 180.0
EDGE_NS = 250_000_000

Say = Callable[[str], None]
"""Tells the user what is happening, a line at a time."""


class DemoSummary(msgspec.Struct, kw_only=True):
    """What ``demo --once --json`` prints."""

    markets: int
    snapshots: int
    trades: int
    files: int
    bytes: int
    stats_rows: int
    books_compared: int
    books_different: int
    books_stale: int
    trades_matched: int
    trades_missing: int
    trades_extra: int
    frames: int
    rejected: dict[str, int]
    hash: dict[str, int]
    mirror_mismatched: int
    covered_hours: float
    days: list[str]
    seconds: float
    seconds_to_stats: float
    data_dir: str
    differences: list[str]


@dataclass(frozen=True)
class DemoPlan:
    """Where a demo runs and what its parts are told."""

    data_dir: Path
    overrides: dict[str, object]
    http_port: int
    ws_port: int
    ui_port: int

    @property
    def truth(self) -> Path:
        """The simulated venue's truth log."""
        return self.state / "truth.jsonl.zst"

    @property
    def state(self) -> Path:
        """Beside the lake: logs, truth, Dagster's storage."""
        return Path(f"{self.data_dir}.state")


def plan_demo(data_dir: Path, *, markets: int, events_per_second: float) -> DemoPlan:
    """Free ports, and settings that show in minutes what takes hours at the shipped cadence."""
    http_port, ws_port, ui_port = free_port(), free_port(), free_port()
    polymarket: dict[str, object] = {
        "enabled": True,
        "snapshot_interval_ms_hot": 1_000,
        "snapshot_interval_ms_warm": 2_000,
        "exclude_title_patterns": [],
        "hash_check_interval_ms": 200,
    }
    return DemoPlan(
        data_dir=data_dir.absolute(),
        overrides={
            "data_dir": str(data_dir.absolute()),
            "venues": {"polymarket": polymarket, "kalshi": {"enabled": False}},
            "storage": {"bucket_minutes": 0.25, "flush_seconds": 1.0, "heartbeat_seconds": 10.0},
            "mock": {
                "enabled": True,
                "markets_per_venue": markets,
                "events_per_second": events_per_second,
                "http_port": http_port,
                "ws_port": ws_port,
            },
            "orchestration": {
                "sensor_seconds": 5,
                "open_day_refresh_seconds": 20.0,
                "first_date": (yesterday() - timedelta(days=5)).isoformat(),
            },
        },
        http_port=http_port,
        ws_port=ws_port,
        ui_port=ui_port,
    )


def demo_settings(plan: DemoPlan, config: Path | None) -> LoadedSettings:
    """The plan's settings over the configured ones."""
    return load_settings(config, plan.overrides)


def demo_environment(plan: DemoPlan, loaded: LoadedSettings) -> dict[str, str]:
    """Environment under which every child sees the plan's settings and the same instance."""
    plan.state.mkdir(parents=True, exist_ok=True)
    environment = instance_environment(loaded) | {
        "SURVEILLANCE_STATE": str(plan.state / "dagster"),
    }
    (plan.state / "dagster").mkdir(exist_ok=True)
    return environment | dict(_variables(plan.overrides, "SURVEILLANCE_"))


def start_venue(group: ProcessGroup, plan: DemoPlan, say: Say) -> None:
    """The simulated venue with its truth log."""
    venue = group.start(
        "venue",
        module_command("surveillance_assets.cli", "simulate", "--truth", str(plan.truth)),
    )
    group.wait_for_port(venue, plan.ws_port, START_SECONDS)
    say(f"simulated venue    http://127.0.0.1:{plan.http_port}  ws://127.0.0.1:{plan.ws_port}")


def scan_universe(group: ProcessGroup, say: Say) -> None:
    """Scan today's universe, before any other process of Dagster's is started.

    The first process makes the instance's databases; two that make them at once break their
    migration table.
    """
    group.start(
        "scan", module_command("surveillance_assets.cli", "scan", "--venue", VENUE, "--json")
    )
    scan = group.finish("scan", START_SECONDS)
    found = json.loads(scan.output.read_text(encoding="utf-8"))
    say(f"universe           {found[0]['markets']} markets")


def start_collector(group: ProcessGroup, say: Say) -> None:
    """Collect what was scanned."""
    group.start("collector", module_command("surveillance_collector.cli", "run", "--json"))
    say("collector          running")


def run_once(plan: DemoPlan, config: Path | None, minutes: float, say: Say) -> DemoSummary:
    """The whole job headless: universe, collection, statistics by the sensor, judgement.

    Raises
    ------
    CommandFailed
        If any part fails, with its cause and the end of its log.
    """
    started = time.monotonic()
    loaded = demo_settings(plan, config)
    environment = demo_environment(plan, loaded)
    lake = open_lake(loaded.settings, write=True)
    with ProcessGroup(environment, plan.state / "logs") as group:
        start_venue(group, plan, say)
        scan_universe(group, say)
        group.start(
            "dagster-daemon",
            module_command("dagster._daemon", "run", "-w", workspace_file(environment)),
        )
        start_collector(group, say)
        ending = time.monotonic() + minutes * 60
        while time.monotonic() < ending:
            group.check()
            time.sleep(min(1.0, max(0.0, ending - time.monotonic())))
        collector = group.children.pop("collector")
        if collector.stop() != 0:
            collector.check()
        say("collector          stopped, everything published")
        report = json.loads(collector.output.read_text(encoding="utf-8"))[0]
        waited = time.monotonic()
        _wait_for_stats(lake, group, environment, say)
        to_stats = time.monotonic() - waited
    return _judge(plan, lake, report, time.monotonic() - started, to_stats)


def statistics_days(lake: Lake) -> dict[date, str]:
    """Days with snapshots, with the version of what their statistics should be computed from."""
    found: dict[date, str] = {}
    for day in manifest_days(lake.store, VENUE):
        manifest = read_manifest(lake.store, VENUE, day)
        if manifest.files(SNAPSHOTS.name):
            found[day] = manifest.version(STATS_INPUTS)
    return found


def _wait_for_stats(lake: Lake, group: ProcessGroup, environment: dict[str, str], say: Say) -> None:
    """Until every day's statistics were computed from the files that the manifest lists."""
    # the code location reads its settings from the environment, as in every other process
    os.environ.update(environment)
    from surveillance_assets.defs import runs

    wanted = statistics_days(lake)
    if not wanted:
        raise CommandFailed(
            f"the collector published no snapshots.\n{group.children['venue'].tail()}"
        )
    deadline = time.monotonic() + STATS_SECONDS
    with runs.current_instance() as instance:
        while wanted:
            group.check()
            for day, version in list(wanted.items()):
                used = runs.materialised_text(instance, STATS.name, VENUE, day, "inputs_version")
                if used == version:
                    say(f"stats              materialised by the sensor for {day}")
                    del wanted[day]
            cause = runs.failed_run(instance)
            if cause is not None:
                raise CommandFailed(f"a Dagster run failed: {cause}")
            if time.monotonic() > deadline:
                daemon = group.children["dagster-daemon"]
                raise CommandFailed(
                    f"the sensor did not bring the statistics up to date within "
                    f"{STATS_SECONDS:.0f} s.\n{daemon.tail()}"
                )
            time.sleep(1.0)


def _judge(
    plan: DemoPlan, lake: Lake, report: dict[str, object], seconds: float, to_stats: float
) -> DemoSummary:
    days = list(statistics_days(lake))
    truth = read_truth(plan.truth)
    snapshots = scan_table(lake, SNAPSHOTS, VENUE, days).frame.collect()
    trades = scan_table(lake, TRADES, VENUE, days).frame.collect()
    stats = scan_table(lake, STATS, VENUE, days).frame.collect()
    collected = {table.name for table in COLLECTED}
    entries = [
        entry
        for day in days
        for entry in read_manifest(lake.store, VENUE, day).entries
        if entry.table in collected
    ]
    universe = sum(
        entry.rows for entry in read_manifest(lake.store, VENUE, days[-1]).files(UNIVERSE)
    )
    books = compare_books(snapshots, truth)
    prints = compare_trades(trades, truth, windows=_subscribed_windows(lake, days))
    counts = report["counts"]
    return DemoSummary(
        markets=universe,
        snapshots=snapshots.height,
        trades=trades.height,
        files=len(entries),
        bytes=sum(entry.bytes for entry in entries),
        stats_rows=stats.height,
        books_compared=books.compared,
        books_different=books.different,
        books_stale=books.stale,
        trades_matched=prints.matched,
        trades_missing=prints.missing,
        trades_extra=prints.extra,
        frames=int(str(report["frames"])),
        rejected=report["rejected"],  # type: ignore[arg-type]
        hash=report["hash"],  # type: ignore[arg-type]
        mirror_mismatched=counts.get("mirror_mismatched", 0),  # type: ignore[union-attr]
        covered_hours=round(float(stats["covered_seconds"].sum()) / 3600, 3),
        days=[day.isoformat() for day in days],
        seconds=round(seconds, 1),
        seconds_to_stats=round(to_stats, 1),
        data_dir=str(plan.data_dir),
        differences=[*books.examples, *prints.examples][:10],
    )


def _subscribed_windows(lake: Lake, days: list[date]) -> dict[str, list[tuple[int, int]]]:
    """When each outcome was subscribed, in nanoseconds, by the coverage ledger.

    Shortened by ``EDGE_NS`` at both ends: the venue takes a subscription, and sends its last print,
    a moment away from when the collector says so. The second token is followed as long as the
    first.
    """
    coverage = scan_table(lake, COVERAGE, VENUE, days).frame
    spans = (
        coverage.filter(pl.col("outcome_id").is_not_null())
        .group_by("market_id", "outcome_id")
        .agg(
            pl.col("ts_start").min().dt.epoch("us").alias("start"),
            pl.col("ts_end").max().dt.epoch("us").alias("end"),
        )
        .collect()
    )
    found: dict[str, list[tuple[int, int]]] = {}
    outcomes = {
        market.market_id: market.outcomes
        for day in days
        for market in read_universe(lake, VENUE, day) or []
    }
    for row in spans.iter_rows(named=True):
        window = (row["start"] * 1_000 + EDGE_NS, row["end"] * 1_000 - EDGE_NS)
        for outcome in outcomes.get(row["market_id"], ()):
            found[outcome.outcome_id] = [window]
    return found


def yesterday() -> date:
    """The day before today, UTC."""
    return datetime.now(UTC).date() - timedelta(days=1)


def _variables(tree: dict[str, object], prefix: str) -> list[tuple[str, str]]:
    """Settings as environment variables: ``SURVEILLANCE__STORAGE__BUCKET_MINUTES=0.25``."""
    found: list[tuple[str, str]] = []
    for key, value in tree.items():
        name = f"{prefix}_{key.upper()}_"
        if isinstance(value, dict):
            found += _variables(value, name)  # type: ignore[arg-type]
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            found.append((name.removesuffix("_"), text))
    return found
