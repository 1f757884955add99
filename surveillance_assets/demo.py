"""The main job against the simulated venues, all of it, with nothing to prepare.

Starts the simulated venues, scans them, collects from them, and lets Dagster's sensor materialise
the statistics because files arrived; then (``run_once``) judges every recorded book and trade
against the venues' truth log.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from surveillance_assets.instance import instance_environment, workspace_file
from surveillance_assets.judgement import VenueJudgement, judge_venue
from surveillance_assets.orchestration import STATS_INPUTS
from surveillance_assets.processes import ProcessGroup, free_port, module_command
from surveillance_core.command_line import CommandFailed, open_lake
from surveillance_core.lake.layout import UNIVERSE
from surveillance_core.lake.manifest import ManifestEntry, manifest_days, read_manifest
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.read import scan_table
from surveillance_core.lake.schemas import COLLECTED, SNAPSHOTS, STATS, TRADES
from surveillance_core.markets import Venue
from surveillance_core.settings import LoadedSettings, load_settings
from surveillance_core.venues.simulated.servers import Ports
from surveillance_core.venues.simulated.truth import read_truth

VENUES = (Venue.KALSHI, Venue.POLYMARKET)
START_SECONDS = 90.0
STATS_SECONDS = 180.0

Say = Callable[[str], None]
"""Tells the user what is happening, a line at a time."""


class DemoSummary(msgspec.Struct, kw_only=True):
    """What ``demo --once --json`` prints: figures of both venues together, and by venue."""

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
    plants: int
    """Violations and decoys that stood in the books while they were collected."""
    venues: dict[str, VenueFigures]
    days: list[str]
    seconds: float
    seconds_to_stats: float
    data_dir: str
    differences: list[str]


class VenueFigures(msgspec.Struct, kw_only=True):
    """The same of one venue."""

    markets: int
    snapshots: int
    stats_rows: int
    books_compared: int
    books_different: int
    trades_matched: int
    trades_missing: int
    trades_extra: int


@dataclass(frozen=True)
class DemoPlan:
    """Where a demo runs and what its parts are told."""

    data_dir: Path
    overrides: dict[str, object]
    ports: Ports
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
    ports = Ports(http=free_port(), ws=free_port(), kalshi_http=free_port(), kalshi_ws=free_port())
    shown: dict[str, object] = {
        "enabled": True,
        "snapshot_interval_ms_hot": 1_000,
        "snapshot_interval_ms_warm": 2_000,
        "max_subs": 1_000_000,
    }
    polymarket: dict[str, object] = {
        **shown,
        "exclude_title_patterns": [],
        "hash_check_interval_ms": 200,
    }
    return DemoPlan(
        data_dir=data_dir.absolute(),
        overrides={
            "data_dir": str(data_dir.absolute()),
            "venues": {"polymarket": polymarket, "kalshi": shown},
            "storage": {"bucket_minutes": 0.25, "flush_seconds": 1.0, "heartbeat_seconds": 10.0},
            "mock": {
                "enabled": True,
                "markets_per_venue": markets,
                "events_per_second": events_per_second,
                "http_port": ports.http,
                "ws_port": ports.ws,
                "kalshi_http_port": ports.kalshi_http,
                "kalshi_ws_port": ports.kalshi_ws,
            },
            "health": {"port": 0},
            "orchestration": {
                "sensor_seconds": 5,
                "open_day_refresh_seconds": 20.0,
                "first_date": (yesterday() - timedelta(days=5)).isoformat(),
            },
        },
        ports=ports,
        ui_port=free_port(),
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
    return environment | dict(variables(plan.overrides))


def start_venue(group: ProcessGroup, plan: DemoPlan, say: Say) -> None:
    """The simulated venues with their truth log."""
    venue = group.start(
        "venue",
        module_command("surveillance_assets.cli", "simulate", "--truth", str(plan.truth)),
    )
    ports = plan.ports
    for port in (ports.ws, ports.kalshi_ws):
        group.wait_for_port(venue, port, START_SECONDS)
    say(f"simulated Polymarket  http://127.0.0.1:{ports.http}  ws://127.0.0.1:{ports.ws}")
    say(
        f"simulated Kalshi      http://127.0.0.1:{ports.kalshi_http}  "
        f"ws://127.0.0.1:{ports.kalshi_ws}"
    )


def scan_universe(group: ProcessGroup, say: Say) -> None:
    """Scan today's universe, before any other process of Dagster's is started.

    The first process makes the instance's databases; two that make them at once break their
    migration table.
    """
    group.start("scan", module_command("surveillance_assets.cli", "scan", "--all-venues", "--json"))
    scan = group.finish("scan", START_SECONDS)
    for found in json.loads(scan.output.read_text(encoding="utf-8")):
        say(f"universe           {found['markets']} markets on {found['venue']}")


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
        reports = json.loads(collector.output.read_text(encoding="utf-8"))
        waited = time.monotonic()
        _wait_for_stats(lake, group, environment, say)
        to_stats = time.monotonic() - waited
    return _judge(plan, lake, reports, time.monotonic() - started, to_stats)


def statistics_days(lake: Lake, venue: Venue) -> dict[date, str]:
    """Days with snapshots, with the version of what their statistics should be computed from."""
    found: dict[date, str] = {}
    for day in manifest_days(lake.store, venue):
        manifest = read_manifest(lake.store, venue, day)
        if manifest.files(SNAPSHOTS.name):
            found[day] = manifest.version(STATS_INPUTS)
    return found


def _wait_for_stats(lake: Lake, group: ProcessGroup, environment: dict[str, str], say: Say) -> None:
    """Until every day's statistics were computed from the files that the manifest lists."""
    # the code location reads its settings from the environment, as in every other process
    os.environ.update(environment)
    from surveillance_assets.defs import runs

    wanted = {
        (venue, day): version
        for venue in VENUES
        for day, version in statistics_days(lake, venue).items()
    }
    if {venue for venue, _ in wanted} != set(VENUES):
        raise CommandFailed(
            f"the collector published no snapshots of a venue.\n{group.children['venue'].tail()}"
        )
    deadline = time.monotonic() + STATS_SECONDS
    with runs.current_instance() as instance:
        while wanted:
            group.check()
            for (venue, day), version in list(wanted.items()):
                used = runs.materialised_text(instance, STATS.name, venue, day, "inputs_version")
                if used == version:
                    say(f"stats              materialised by the sensor for {venue} {day}")
                    del wanted[(venue, day)]
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
    plan: DemoPlan,
    lake: Lake,
    reports: list[dict[str, Any]],
    seconds: float,
    to_stats: float,
) -> DemoSummary:
    truth = read_truth(plan.truth)
    collected = {table.name for table in COLLECTED}
    figures: dict[str, VenueFigures] = {}
    judged: list[VenueJudgement] = []
    entries: list[ManifestEntry] = []
    all_days: set[date] = set()
    for venue in VENUES:
        days = list(statistics_days(lake, venue))
        all_days.update(days)
        verdict = judge_venue(lake, venue, days, truth)
        judged.append(verdict)
        manifests = [read_manifest(lake.store, venue, day) for day in days]
        entries += [e for m in manifests for e in m.entries if e.table in collected]
        figures[venue.value] = VenueFigures(
            markets=sum(entry.rows for entry in manifests[-1].files(UNIVERSE)),
            snapshots=verdict.snapshots,
            stats_rows=scan_table(lake, STATS, venue, days).rows,
            books_compared=verdict.books.compared,
            books_different=verdict.books.different,
            trades_matched=verdict.trades.matched,
            trades_missing=verdict.trades.missing,
            trades_extra=verdict.trades.extra,
        )
    tables = _rows_of(entries, TRADES.name)
    return DemoSummary(
        markets=sum(found.markets for found in figures.values()),
        snapshots=sum(found.snapshots for found in figures.values()),
        trades=tables,
        files=len(entries),
        bytes=sum(entry.bytes for entry in entries),
        stats_rows=sum(found.stats_rows for found in figures.values()),
        books_compared=sum(found.books_compared for found in figures.values()),
        books_different=sum(found.books_different for found in figures.values()),
        books_stale=sum(verdict.books.stale for verdict in judged),
        trades_matched=sum(found.trades_matched for found in figures.values()),
        trades_missing=sum(found.trades_missing for found in figures.values()),
        trades_extra=sum(found.trades_extra for found in figures.values()),
        frames=sum(report["frames"] for report in reports),
        rejected=_added(report["rejected"] for report in reports),
        hash=_added(report["hash"] for report in reports),
        mirror_mismatched=sum(report["counts"].get("mirror_mismatched", 0) for report in reports),
        covered_hours=round(sum(verdict.covered_hours for verdict in judged), 3),
        plants=len(truth.plants),
        venues=figures,
        days=[day.isoformat() for day in sorted(all_days)],
        seconds=round(seconds, 1),
        seconds_to_stats=round(to_stats, 1),
        data_dir=str(plan.data_dir),
        differences=[example for verdict in judged for example in verdict.examples][:10],
    )


def _rows_of(entries: Iterable[ManifestEntry], table: str) -> int:
    """Rows of a table in the files that a manifest lists."""
    return sum(entry.rows for entry in entries if entry.table == table)


def _added(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for found in counts:
        total.update(found)
    return dict(total)


def yesterday() -> date:
    """The day before today, UTC."""
    return datetime.now(UTC).date() - timedelta(days=1)


def variables(tree: dict[str, object], prefix: str = "SURVEILLANCE_") -> list[tuple[str, str]]:
    """Settings as environment variables: ``SURVEILLANCE__STORAGE__BUCKET_MINUTES=0.25``."""
    found: list[tuple[str, str]] = []
    for key, value in tree.items():
        name = f"{prefix}_{key.upper()}_"
        if isinstance(value, dict):
            found += variables(value, name)  # type: ignore[arg-type]
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            found.append((name.removesuffix("_"), text))
    return found
