"""Simulated hours: the collector against both venues, faster than the wall's clock, and judged.

``python -m scorecard.worlds`` runs one world a seed and prints a line each; exit code 1 where a
book differs from the truth or a trade is missing or there twice.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from scorecard.figure import Figure
from surveillance_assets.demo import START_SECONDS, VENUES, variables
from surveillance_assets.judgement import VenueJudgement, judge_venue
from surveillance_assets.processes import ProcessGroup, free_port, module_command
from surveillance_core.command_line import open_lake
from surveillance_core.lake.manifest import manifest_days
from surveillance_core.lake.publish import Lake, publish_universe
from surveillance_core.markets import Venue
from surveillance_core.settings import Settings, load_settings
from surveillance_core.simulated_time import receive_time_ns
from surveillance_core.venues.simulated.truth import read_truth
from surveillance_core.venues.sweep import sweep_venue

SUBJECT = "simulated hours"
PATIENCE = 4.0
"""A run keeps both processors busy: a frame may take so many times longer into a row."""

START = datetime(2026, 9, 1, 11, 0, tzinfo=UTC)
"""The venues' time at the start: a day of its own, far from midnight."""


class Hours(msgspec.Struct, frozen=True):
    """A world to run: how long, how large and how fast."""

    seed: int
    hours: float
    markets: int
    speed: float
    events_per_second: float
    """Over both venues, of their own seconds."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to."""

    plan: Hours
    wall_seconds: float
    frames: int
    hashes_due: int
    hashes_matched: int
    mirrors_mismatched: int
    plants: int
    results: int
    reconnects: int
    venues: tuple[VenueJudgement, ...]

    @property
    def faultless(self) -> bool:
        """Whether every row is true and every trade there once."""
        return (
            all(verdict.faultless and verdict.books.compared for verdict in self.venues)
            and self.hashes_due == self.hashes_matched > 0
            and not self.mirrors_mismatched
        )


def run_hours(plan: Hours, directory: Path) -> Outcome:
    """Serve a world, collect it, and hold the lake against the truth.

    Raises
    ------
    CommandFailed
        If a process fails, with the end of its log.
    """
    started = time.monotonic()
    overrides = _overrides(plan, directory)
    settings = load_settings(Path("config/surveillance.toml"), overrides).settings
    lake = open_lake(settings, write=True)
    truth = directory / "truth.jsonl.zst"
    with ProcessGroup(dict(variables(overrides)), directory / "logs") as group:
        venue = group.start(
            "venues", module_command("surveillance_assets.cli", "simulate", "--truth", str(truth))
        )
        for port in (settings.mock.ws_port, settings.mock.kalshi_ws_port):
            group.wait_for_port(venue, port, START_SECONDS)
        for name in VENUES:
            _publish_universe(settings, lake, name)
        collector = group.start(
            "collector", module_command("surveillance_collector.cli", "run", "--json")
        )
        ending = time.monotonic() + plan.hours * 3_600 / plan.speed
        while time.monotonic() < ending:
            group.check()
            time.sleep(min(0.5, max(0.0, ending - time.monotonic())))
        if collector.stop() != 0:
            collector.check()
        group.children.pop("collector")
        reports = json.loads(collector.output.read_text(encoding="utf-8"))
        if venue.stop() != 0:
            venue.check()
    found = read_truth(truth)
    verdicts = tuple(
        judge_venue(
            lake, name, manifest_days(lake.store, name), found, speed=plan.speed, patience=PATIENCE
        )
        for name in VENUES
    )
    return Outcome(
        plan=plan,
        wall_seconds=round(time.monotonic() - started, 1),
        frames=sum(report["frames"] for report in reports),
        hashes_due=sum(report["hash"]["due"] for report in reports),
        hashes_matched=sum(report["hash"]["matched"] for report in reports),
        mirrors_mismatched=sum(r["counts"].get("mirror_mismatched", 0) for r in reports),
        plants=len(found.plants),
        results=len(found.results),
        reconnects=sum(report["reconnects"] for report in reports),
        venues=verdicts,
    )


def _overrides(plan: Hours, directory: Path) -> dict[str, object]:
    every_market: dict[str, object] = {
        "enabled": True,
        "max_subs": 1_000_000,
        "hot_count": max(1, plan.markets // 10),
        "exclude_title_patterns": [],
    }
    return {
        "data_dir": str(directory / "lake"),
        "venues": {"polymarket": every_market, "kalshi": every_market},
        "mock": {
            "enabled": True,
            "seed": plan.seed,
            "universe_size": plan.markets,
            "markets_per_venue": plan.markets,
            "events_per_second": plan.events_per_second,
            "plants_per_hour": 60.0,
            "speed": plan.speed,
            "epoch_ms": time.time_ns() // 1_000_000,
            "start_ms": int(START.timestamp() * 1_000),
            "http_port": free_port(),
            "ws_port": free_port(),
            "kalshi_http_port": free_port(),
            "kalshi_ws_port": free_port(),
        },
    }


def _publish_universe(settings: Settings, lake: Lake, venue: Venue) -> None:
    """Today's universe by the venues' calendar, which a scan by the wall's would not write."""
    now = datetime.fromtimestamp(receive_time_ns(settings.mock, time.time_ns()) / 1e9, UTC)
    sweep = sweep_venue(settings, venue, now)
    publish_universe(lake, venue, now.date(), sweep.markets, writer="worlds")


def measure() -> Iterator[Figure]:
    """Three seeds of the acceptance run."""
    for seed in (1, 2, 3):
        with tempfile.TemporaryDirectory(prefix="surveillance-world-") as directory:
            outcome = run_hours(full_plan(seed), Path(directory))
        name = f"2 h, 2,000 markets a venue, seed {seed}"
        for verdict in outcome.venues:
            books, trades = verdict.books, verdict.trades
            yield Figure(
                SUBJECT,
                f"{name}: {verdict.venue} books different / compared",
                f"{books.different + books.diverged:,} / {books.compared:,}",
                "0",
                books.different == books.diverged == 0 < books.compared,
            )
            yield Figure(
                SUBJECT,
                f"{name}: {verdict.venue} trades missing, twice / matched",
                f"{trades.missing:,}, {trades.extra:,} / {trades.matched:,}",
                "0, 0",
                trades.missing == trades.extra == 0 < trades.matched,
            )


def full_plan(seed: int, *, speed: float = 40.0) -> Hours:
    """The acceptance run: two simulated hours at 2,000 markets on each venue."""
    return Hours(seed=seed, hours=2.0, markets=2_000, speed=speed, events_per_second=40.0)


def main() -> int:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(prog="python -m scorecard.worlds", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="worlds to run: seeds 1 to this")
    parser.add_argument("--hours", type=float, default=2.0, help="simulated hours of each")
    parser.add_argument("--markets", type=int, default=2_000, help="markets on each venue")
    parser.add_argument("--speed", type=float, default=40.0, help="simulated seconds a second")
    parser.add_argument("--rate", type=float, default=40.0, help="book events a simulated second")
    parser.add_argument("--json", action="store_true", help="print the outcomes as JSON")
    arguments = parser.parse_args()
    console = Console(stderr=arguments.json)
    outcomes: list[Outcome] = []
    for seed in range(1, arguments.seeds + 1):
        plan = Hours(seed, arguments.hours, arguments.markets, arguments.speed, arguments.rate)
        with (
            console.status(f"seed {seed}: {plan.hours:g} h at {plan.speed:g} times the wall's"),
            tempfile.TemporaryDirectory(prefix="surveillance-world-") as directory,
        ):
            outcomes.append(run_hours(plan, Path(directory)))
    if arguments.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(outcomes)).decode() + "\n")
    else:
        console.print(_table(outcomes))
    for outcome in outcomes:
        for verdict in outcome.venues:
            for example in verdict.examples[:3]:
                console.print(f"seed {outcome.plan.seed}, {verdict.venue}: {example}", markup=False)
    return 0 if all(outcome.faultless for outcome in outcomes) else 1


def _table(outcomes: list[Outcome]) -> Table:
    table = Table("seed", "venue", "rows", "different", "trades", "missing", "twice", "frames")
    for outcome in outcomes:
        for verdict in outcome.venues:
            table.add_row(
                str(outcome.plan.seed),
                verdict.venue,
                f"{verdict.books.compared:,}",
                f"{verdict.books.different + verdict.books.diverged:,}",
                f"{verdict.trades.matched:,}",
                f"{verdict.trades.missing:,}",
                f"{verdict.trades.extra:,}",
                f"{outcome.frames:,}",
            )
    return table


if __name__ == "__main__":
    sys.exit(main())
