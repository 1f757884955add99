"""The demo that stays: a finished day behind it, Dagster's UI in front, until Ctrl-C."""

from __future__ import annotations

import json
import signal
import time
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from types import FrameType

from surveillance_assets.demo import (
    START_SECONDS,
    VENUES,
    DemoPlan,
    Say,
    demo_environment,
    demo_settings,
    scan_universe,
    start_collector,
    start_venue,
    yesterday,
)
from surveillance_assets.instance import workspace_file
from surveillance_assets.processes import ProcessGroup, module_command
from surveillance_core.command_line import open_lake
from surveillance_core.lake.manifest import read_manifest
from surveillance_core.lake.publish import Lake, publish_universe
from surveillance_core.lake.read import read_universe
from surveillance_core.lake.schemas import SNAPSHOTS, STATS, TRADES

REPORT_SECONDS = 10.0
HISTORY_SECONDS = 300.0
SHIPPED_CADENCE = {
    "SURVEILLANCE__STORAGE__BUCKET_MINUTES": "5",
    "SURVEILLANCE__STORAGE__HEARTBEAT_SECONDS": "60",
} | {
    f"SURVEILLANCE__VENUES__{venue.name}__SNAPSHOT_INTERVAL_MS_{tier}": cadence
    for venue in VENUES
    for tier, cadence in (("HOT", "2000"), ("WARM", "10000"))
}
"""A whole day at the demo's cadence would be tens of thousands of files."""


class _Stopped(Exception):
    """The user asked to stop."""


def run(plan: DemoPlan, config: Path | None, say: Say) -> None:
    """Run until Ctrl-C or SIGTERM; then stop everything, the collector publishing what it holds."""
    # SIGINT by name: a process started in the background inherits it ignored
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    loaded = demo_settings(plan, config)
    environment = demo_environment(plan, loaded)
    lake = open_lake(loaded.settings, write=True)
    try:
        with ProcessGroup(environment, plan.state / "logs") as group:
            start_venue(group, plan, say)
            scan_universe(group, say)
            dagster = group.start(
                "dagster",
                module_command(
                    "dagster",
                    "dev",
                    "-w",
                    workspace_file(environment),
                    "-h",
                    "127.0.0.1",
                    "-p",
                    str(plan.ui_port),
                ),
            )
            start_collector(group, say)
            _start_history(group, plan, lake)
            group.wait_for_port(dagster, plan.ui_port, START_SECONDS)
            say(f"Dagster UI         http://127.0.0.1:{plan.ui_port}/asset-groups")
            for venue in VENUES:
                replayed = group.finish(f"replay-{venue}", HISTORY_SECONDS)
                report = json.loads(replayed.output.read_text(encoding="utf-8"))
                say(
                    f"yesterday          {report['snapshots']:,} snapshots, "
                    f"{report['trades']:,} trades on {venue}"
                )
            say("Ctrl-C stops everything")
            _watch(group, lake, say)
    except _Stopped:
        say("stopped; the lake stays where it is")


def _start_history(group: ProcessGroup, plan: DemoPlan, lake: Lake) -> None:
    """Yesterday, recorded from the simulated world, through the collector's own engine."""
    day = yesterday()
    recordings = {venue: plan.state / f"{day}-{venue}.jsonl.zst" for venue in VENUES}
    for venue, recording in recordings.items():
        words = ("simulate", "--record", str(recording), "--venue", venue, "--date", str(day))
        group.start(f"record-{venue}", module_command("surveillance_assets.cli", *words))
    for venue, recording in recordings.items():
        group.finish(f"record-{venue}", HISTORY_SECONDS)
        today = read_universe(lake, venue, datetime.now(UTC).date())
        publish_universe(lake, venue, day, today or [], writer="demo")
        words = ("replay", str(recording), "--venue", venue, "--out", str(plan.data_dir), "--json")
        group.start(
            f"replay-{venue}", module_command("surveillance_collector.cli", *words), SHIPPED_CADENCE
        )


def _watch(group: ProcessGroup, lake: Lake, say: Say) -> None:
    reported = time.monotonic()
    seen_stats: dict[str, str] = {}
    while True:
        group.check()
        time.sleep(1.0)
        today = datetime.now(UTC).date()
        for venue, day in product(VENUES, (yesterday(), today)):
            for entry in read_manifest(lake.store, venue, day).files(STATS.name):
                if seen_stats.get(entry.path) != entry.digest:
                    seen_stats[entry.path] = entry.digest
                    say(
                        f"stats              {venue} {day}: {entry.rows} markets, "
                        "materialised by Dagster"
                    )
        if time.monotonic() - reported >= REPORT_SECONDS:
            reported = time.monotonic()
            for venue in VENUES:
                manifest = read_manifest(lake.store, venue, today)
                snapshots, trades = manifest.files(SNAPSHOTS.name), manifest.files(TRADES.name)
                say(
                    f"collected today    {sum(e.rows for e in snapshots):,} snapshots in "
                    f"{len(snapshots)} files, {sum(e.rows for e in trades):,} trades on {venue}"
                )


def _stop(number: int, frame: FrameType | None) -> None:
    raise _Stopped
