"""What the archive keeps makes the rows again that were published live."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner, Result

from surveillance_collector.cli import app
from surveillance_collector.reparse import COLLECTED_NAMES, ReparseReport, reparse
from surveillance_collector.replay import replay_files
from surveillance_core.lake.manifest import Operation, append_entries
from surveillance_core.lake.publish import Lake
from surveillance_core.markets import Venue
from surveillance_core.settings import Settings
from surveillance_core.settings_tables import RawSettings

from .archiving import (
    DAY,
    Collecting,
    collect,
    eventful,
    history,
    quick,
    raw_entries,
    rows_by_table,
)
from .conftest import MakeSettings
from .live import busy_venue, collecting, publish_world, until
from .worlds import SECOND, VENUE

VENUES = [Venue.POLYMARKET, Venue.KALSHI]


@pytest.fixture
def keeping(config: Path, tmp_path: Path) -> Settings:
    return quick(config, tmp_path / "lake")


def again(
    settings: Settings,
    lake: Lake,
    out: Lake,
    venue: Venue,
    hours: set[int] | None = None,
    warm_up: float = 60.0,
    tables: tuple[str, ...] = COLLECTED_NAMES,
) -> ReparseReport:
    return reparse(
        settings,
        lake,
        out,
        venue,
        DAY,
        hours=hours or set(range(24)),
        tables=tables,
        warm_up=timedelta(minutes=warm_up),
    )


@pytest.fixture
def out(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "out"), "simulated")


@pytest.mark.parametrize("venue", VENUES)
async def test_the_rows_are_those_that_were_published_live(
    keeping: Settings, lake: Lake, out: Lake, venue: Venue
) -> None:
    steps = eventful(venue)
    await collect(keeping, lake, venue, steps)
    live = rows_by_table(lake, venue)
    report = again(keeping, lake, out, venue)
    assert rows_by_table(out, venue) == live
    assert all(live[name] for name in ("orderbook_snapshots", "trades", "coverage"))
    causes = {row[-1] for row in live["coverage"]}
    doubted = {Venue.POLYMARKET: "hash_mismatch", Venue.KALSHI: "sequence_gap"}
    assert {"closed_1006", "awaiting_book", doubted[venue]} <= causes
    assert bool(live["lifecycle"]) == (venue is Venue.POLYMARKET)
    assert (
        causes & {"hash_mismatch", "sequence_gap", "gap", "best_price_differs"} or len(causes) > 3
    )
    assert report.frames == sum(name == "take" for name, _ in steps)
    assert (report.gaps, report.damaged, report.damaged_lines) == (0, [], 0)
    assert report.hours == [14, 15]


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("hour", [14, 15])
async def test_an_hour_alone_has_the_rows_of_that_hour(
    keeping: Settings, lake: Lake, out: Lake, venue: Venue, hour: int
) -> None:
    await collect(keeping, lake, venue, eventful(venue))
    report = again(keeping, lake, out, venue, {hour})
    assert rows_by_table(out, venue) == rows_by_table(lake, venue, [hour])
    assert report.hours == [hour]
    trades = Lake(f"{out.store.root}-trades", "simulated")
    again(keeping, lake, trades, venue, {hour}, tables=("trades",))
    found = rows_by_table(trades, venue)
    assert found.pop("trades") == rows_by_table(lake, venue, [hour])["trades"] != []
    assert not any(found.values())


@pytest.mark.parametrize("venue", VENUES)
async def test_without_files_of_before_books_are_had_from_the_next_whole_one_on(
    keeping: Settings, lake: Lake, out: Lake, venue: Venue
) -> None:
    await collect(keeping, lake, venue, eventful(venue))
    again(keeping, lake, out, venue, {15}, warm_up=0.0)
    live, found = rows_by_table(lake, venue, [15]), rows_by_table(out, venue)
    # what stood when the first file begins is followed again: prints are all there
    assert found["trades"] == live["trades"] != []
    assert len(found["orderbook_snapshots"]) < len(live["orderbook_snapshots"])
    assert any(row[-1] == "awaiting_book" for row in found["coverage"])


@pytest.mark.parametrize("venue", VENUES)
async def test_a_run_that_broke_off_ends_as_its_recovery_ended_it(
    keeping: Settings, lake: Lake, out: Lake, venue: Venue
) -> None:
    steps = eventful(venue)
    at = len(steps) // 2
    first = Collecting(keeping, lake, venue)
    await first.recording.prepare()
    await first.follow(steps[:at])
    await first.die()
    second = Collecting(keeping, lake, venue)
    second.now_ns = first.now_ns + 2 * SECOND
    await second.recording.prepare()
    await second.recording.recover()
    terms, frames = history(venue)
    begun_ns = second.now_ns
    await second.follow(
        [
            ("connect", ("c1", begun_ns)),
            ("follow", ("c1", terms, "hot", begun_ns)),
            *(("take", ("c1", frame, ns)) for ns, frame in frames if ns > begun_ns),
        ]
    )
    second.now_ns += SECOND
    await second.recording.stop()
    live = rows_by_table(lake, venue)
    report = again(keeping, lake, out, venue)
    assert rows_by_table(out, venue) == live
    assert "restarted" in {row[-1] for row in live["coverage"]}
    assert report.gaps == 0


async def test_a_file_that_is_not_listed_any_more_is_counted_where_it_lies_between_others(
    keeping: Settings, lake: Lake, out: Lake
) -> None:
    await collect(keeping, lake, VENUE, eventful(VENUE))
    entries = raw_entries(lake, VENUE)
    retired = [replace(entries[n], operation=Operation.RETIRE) for n in (0, 3)]
    append_entries(lake.store, VENUE, DAY, "retiring", retired)
    report = again(keeping, lake, out, VENUE)
    assert (report.gaps, report.files, report.damaged) == (1, len(entries) - 2, [])
    assert "archive_incomplete" in {row[-1] for row in rows_by_table(out, VENUE)["coverage"]}


def damage(path: Path) -> None:
    path.write_bytes(b"?")


async def test_a_missing_file_is_counted_and_ends_what_was_known(
    keeping: Settings, lake: Lake, out: Lake
) -> None:
    venue = VENUE
    await collect(keeping, lake, venue, eventful(venue))
    entries = raw_entries(lake, venue)
    damage(Path(lake.store.root, entries[3].path))
    report = again(keeping, lake, out, venue)
    assert len(report.damaged) == 1
    assert entries[3].path in report.damaged[0]
    rows = rows_by_table(out, venue)
    assert "archive_incomplete" in {row[-1] for row in rows["coverage"]}
    assert report.files == len(entries)


async def test_a_running_collector_archives_what_makes_its_rows_again(
    make_settings: MakeSettings, lake: Lake, out: Lake
) -> None:
    async with busy_venue() as venue:
        publish_world(lake, venue)
        settings = make_settings(venue)
        raw = RawSettings(keep_days=1.0)
        storage = settings.storage.model_copy(update={"raw": raw})
        settings = settings.model_copy(update={"storage": storage})
        async with collecting(settings, lake) as collector:
            await until(lambda: len(raw_entries(lake, VENUE)) >= 2, "files of the archive")
        report = collector.report()
    live = rows_by_table(lake, VENUE)
    days = {
        datetime.fromtimestamp((e.first_us or 0) / 1e6, UTC).date()
        for e in raw_entries(lake, VENUE)
    }
    frames = 0
    for day in sorted(days):
        hours, tables = set(range(24)), COLLECTED_NAMES
        told = reparse(
            settings, lake, out, VENUE, day, hours=hours, tables=tables, warm_up=timedelta(hours=1)
        )
        frames = max(frames, told.frames)
    assert rows_by_table(out, VENUE) == live
    assert len(live["orderbook_snapshots"]) > 50
    assert frames == report.frames


# ── replay ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("venue", VENUES)
async def test_replay_reads_files_of_the_archive(
    keeping: Settings, lake: Lake, venue: Venue
) -> None:
    await collect(keeping, lake, venue, eventful(venue))
    paths = [Path(lake.store.root, entry.path) for entry in raw_entries(lake, venue)]
    report = replay_files(keeping, venue, paths)
    assert report.frames == sum(name == "take" for name, _ in eventful(venue))
    assert report.damaged_lines == 0
    assert report.books == len(history(venue)[0])
    # a file in the middle: what stands is followed at once, prints are made into rows
    alone = replay_files(keeping, venue, [paths[1]])
    assert alone.books == len(history(venue)[0])
    assert alone.trades > 0


# ── the command ──────────────────────────────────────────────────────────────────────────────


def command(config: Path, data_dir: Path, *arguments: object) -> Result:
    words = ["reparse", "--config", config, "--data-dir", data_dir, "--venue", "polymarket"]
    return CliRunner().invoke(app, [*map(str, words), *map(str, arguments)])


async def test_the_command_says_what_it_did_and_refuses_to_do_it_twice(
    keeping: Settings, lake: Lake, tmp_path: Path
) -> None:
    await collect(keeping, lake, Venue.POLYMARKET, eventful(Venue.POLYMARKET))
    config = tmp_path / "simulated.toml"
    config.write_text("[mock]\nenabled = true\n")
    data_dir, again_dir = Path(lake.store.root), tmp_path / "again"
    asked = ("--date", DAY, "--hour", 15, "--table", "trades", "--out", again_dir, "--json")
    result = command(config, data_dir, *asked)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["hours"] == [15]
    assert report["rows"].keys() == {"trades"}
    shown = command(config, data_dir, "--date", DAY, "--out", tmp_path / "shown")
    assert shown.exit_code == 0, shown.stderr
    assert "archive files" in shown.stdout
    twice = command(config, data_dir, *asked)
    assert twice.exit_code == 1
    assert "already" in twice.stderr
    itself = command(config, data_dir, "--date", DAY, "--out", data_dir)
    assert itself.exit_code == 1
    assert "Name another directory" in itself.stderr
    other = command(config, data_dir, "--date", DAY, "--hour", 3, "--out", tmp_path / "other")
    assert other.exit_code == 1
    assert "It has some of: 14, 15" in other.stderr
    never = command(config, data_dir, "--date", "2026-09-01", "--out", tmp_path / "other")
    assert never.exit_code == 1
    assert "storage.raw.keep_days" in never.stderr
    unknown = command(config, data_dir, "--date", DAY, "--table", "books", "--out", "x")
    assert unknown.exit_code == 2
    assert "orderbook_snapshots" in unknown.stderr
