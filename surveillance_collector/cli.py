"""``surveillance-collector``: run, replay, reparse, verify."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table as RichTable

from surveillance_collector.configured import new_recorder
from surveillance_collector.lock import collector_lock
from surveillance_collector.reparse import COLLECTED_NAMES, ReparseReport
from surveillance_collector.reparse import reparse as reparse_day
from surveillance_collector.replay import ReplayReport, replay_files
from surveillance_collector.service import CollectorReport, collect
from surveillance_collector.share import Share
from surveillance_core.command_line import (
    CommandFailed,
    ConfigOption,
    DataDirOption,
    JsonOption,
    console,
    errors,
    open_lake,
    print_json,
    reporting_failures,
    settings_from,
    show_examples,
    start_logging,
)
from surveillance_core.lake.manifest import manifest_days
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.read import unlisted_files, verify_days
from surveillance_core.markets import Venue
from surveillance_core.venues.registry import adapter_of

LISTING_SECONDS = 1.0
"""A file that is published meanwhile is listed within this."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Order books and trades from the venues into the lake.",
)


@app.command()
def run(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json_output: JsonOption = False,
    venue: Annotated[
        list[Venue] | None, typer.Option("--venue", help="Only this venue; may be repeated.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--for", min=0.0, help="Stop after this many seconds.")
    ] = None,
    shard: Annotated[
        str,
        typer.Option(
            "--shard", metavar="I/N", help="This process's part of the universe, as in 0/2 and 1/2."
        ),
    ] = "0/1",
) -> None:
    """Collect until stopped with Ctrl-C or SIGTERM; everything held is published first.

    Examples
    --------
      surveillance-collector run

      surveillance-collector run --venue polymarket --for 600 --json

      surveillance-collector run --shard 0/2 & surveillance-collector run --shard 1/2
    """
    start_logging()
    with reporting_failures():
        try:
            share = Share.parse(shard)
        except ValueError as error:
            raise CommandFailed(f"--shard: {error}", 2) from None
        settings = settings_from(config, data_dir).settings
        venues = venue or settings.venues.enabled
        if not venues:
            raise CommandFailed(
                "no venue is enabled: set venues.polymarket.enabled = true, or name --venue"
            )
        for name in venues:
            # a key that is missing stops the command before a lake is made
            adapter_of(name).handshake(settings)
        lake = open_lake(settings, write=True)
        with collector_lock(lake.store, share):
            try:
                reports = asyncio.run(collect(settings, lake, venues, seconds, share))
            except ExceptionGroup as group:
                causes = "; ".join(f"{type(e).__name__}: {e}" for e in group.exceptions)
                raise CommandFailed(f"collection failed: {causes}") from group
        if json_output:
            print_json([asdict(report) for report in reports])
        else:
            _show_reports(reports)
        if any(report.rows_held for report in reports):
            raise CommandFailed("rows could not be published; see publish_failed in the log")


@app.command()
def replay(
    files: Annotated[list[Path], typer.Argument(help="Recordings: plain, .gz or .zst.")],
    venue: Annotated[Venue, typer.Option("--venue", help="Whose frames they are.")],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json_output: JsonOption = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the rows into a lake at this directory.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Exit 1 if any proof of the recordings fails.")
    ] = False,
) -> None:
    """Run recorded frames through the engine.

    Examples
    --------
      surveillance-collector replay frames.jsonl.gz --venue polymarket --verify --json

      surveillance-collector replay frames.jsonl.zst --venue polymarket --out replayed
    """
    start_logging()
    with reporting_failures():
        settings = settings_from(config, data_dir).settings
        adapter_of(venue)
        for path in files:
            if not path.is_file():
                raise CommandFailed(f"{path}: no such file", 2)
        recorder = None
        if out is not None:
            recorder = new_recorder(settings, Lake(str(out), settings.origin), venue, "replay")
        columns = (SpinnerColumn(), TextColumn("{task.completed:,} frames"), TimeElapsedColumn())
        with Progress(*columns, console=errors, transient=True, disable=json_output) as progress:
            task = progress.add_task("replay", total=None)
            try:
                report = replay_files(
                    settings, venue, files, recorder, lambda: progress.advance(task)
                )
            except (OSError, EOFError) as error:
                raise CommandFailed(f"a recording cannot be read to its end: {error}") from error
        if json_output:
            print_json(report)
        else:
            _show_replay(report)
        if verify and report.failures:
            raise CommandFailed(f"verification failed: {', '.join(report.failures)}")


@app.command()
def reparse(
    venue: Annotated[Venue, typer.Option("--venue", help="Whose frames.")],
    day: Annotated[
        datetime, typer.Option("--date", formats=["%Y-%m-%d"], help="The UTC day of the rows.")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Write the rows into a lake at this directory.")
    ],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json_output: JsonOption = False,
    hours: Annotated[
        list[int] | None,
        typer.Option("--hour", min=0, max=23, help="Only this UTC hour; may be repeated."),
    ] = None,
    tables: Annotated[
        list[str] | None,
        typer.Option(
            "--table",
            help=f"Only this table; may be repeated. One of: {', '.join(COLLECTED_NAMES)}.",
        ),
    ] = None,
    warm_up: Annotated[
        float,
        typer.Option(
            "--warm-up",
            min=0.0,
            max=1_440.0,
            help="Minutes of frames read before each hour, for the books that were open then.",
        ),
    ] = 60.0,
) -> None:
    """Make rows anew from the archive of raw frames, into another lake.

    Frames are archived while storage.raw.keep_days is above 0. Books that were open before the
    files that are read begin are known from their next whole one on.

    Examples
    --------
      surveillance-collector reparse --venue polymarket --date 2026-09-01 --out reparsed

      surveillance-collector reparse --venue kalshi --date 2026-09-01 --hour 13 --hour 14 --out new

      surveillance-collector reparse --venue kalshi --date 2026-09-01 --table trades --out new
    """
    start_logging()
    with reporting_failures():
        unknown = sorted(set(tables or ()) - set(COLLECTED_NAMES))
        if unknown:
            raise CommandFailed(
                f"--table: no such table: {', '.join(unknown)}. "
                f"There are: {', '.join(COLLECTED_NAMES)}",
                2,
            )
        settings = settings_from(config, data_dir).settings
        source = open_lake(settings, write=False)
        columns = (BarColumn(), DownloadColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=errors, transient=True, disable=json_output) as progress:
            task = progress.add_task("reparse", total=None)
            report = reparse_day(
                settings,
                source,
                Lake(str(out), settings.origin),
                venue,
                day.date(),
                hours=set(hours) if hours else set(range(24)),
                tables=tables or COLLECTED_NAMES,
                warm_up=timedelta(minutes=warm_up),
                on_start=lambda total: progress.update(task, total=total),
                on_file=lambda size: progress.advance(task, size),
            )
        if json_output:
            print_json(report)
        else:
            _show_reparse(report)
        if report.damaged:
            raise CommandFailed(
                f"{len(report.damaged)} files of the archive cannot be used, and what they held is "
                "in no row. Put a copy of them in their place and reparse into another directory."
            )


@app.command()
def verify(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json_output: JsonOption = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every file; compare digests and page checksums.")
    ] = False,
    day: Annotated[
        datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="Only this UTC day.")
    ] = None,
) -> None:
    """Check the manifest against the files.

    Examples
    --------
      surveillance-collector verify

      surveillance-collector verify --deep --date 2026-09-01
    """
    with reporting_failures():
        settings = settings_from(config, data_dir).settings
        lake = open_lake(settings, write=False)
        checked, lines = 0, 0
        found: list[str] = []
        unlisted: list[str] = []
        for venue in Venue:
            days: list[date] = [day.date()] if day else manifest_days(lake.store, venue)
            if deep:
                unlisted += _never_listed(lake, venue, days)
            count, damaged, bad_lines = verify_days(lake, venue, days, deep=deep)
            checked += count
            lines += bad_lines
            found.extend(str(damage) for damage in damaged)
        if json_output:
            report = {"files": checked, "damaged": found, "damaged_manifest_lines": lines}
            print_json(report | ({"unlisted": unlisted} if deep else {}))
        else:
            console.print(
                f"{checked} files checked, {len(found)} damaged, {lines} manifest lines damaged"
            )
            for line in found:
                console.print(f"  {line}", markup=False)
            for path in unlisted:
                console.print(f"  {path}: there, but in no line of the manifest", markup=False)
        if found:
            raise CommandFailed(
                f"{len(found)} files damaged; readers leave them out. "
                "Replay the frames they came from to have their rows again."
            )
        if unlisted:
            raise CommandFailed(
                f"{len(unlisted)} files are in no line of the manifest; readers do not see them. "
                "Their writer died before they were acknowledged, or the manifest was cut: "
                "compare it with a copy, or move the files away."
            )


def _never_listed(lake: Lake, venue: Venue, days: list[date]) -> list[str]:
    """Files in no line of a manifest, and not because they were being published just now."""
    seen = {day: unlisted_files(lake, venue, day) for day in days}
    if any(seen.values()):
        time.sleep(LISTING_SECONDS)
    return [
        path
        for day, paths in seen.items()
        for path in (unlisted_files(lake, venue, day) if paths else ())
        if path in paths
    ]


def _show_reports(reports: list[CollectorReport]) -> None:
    table = RichTable("venue", "markets", "frames", "snapshots", "trades", "files", "rejected")
    for report in reports:
        table.add_row(
            report.venue,
            f"{report.markets:,}",
            f"{report.frames:,}",
            f"{report.counts.get('snapshots', 0):,}",
            f"{report.counts.get('trades', 0):,}",
            f"{report.files:,}",
            f"{sum(report.rejected.values()):,}",
        )
    console.print(table)


def _show_replay(report: ReplayReport) -> None:
    table = RichTable("what", "count", show_header=False)
    table.add_row("frames", f"{report.frames:,}")
    for name, count in sorted(report.messages.items()):
        table.add_row(f"  {name}", f"{count:,}")
    table.add_row("books", f"{report.books:,}")
    table.add_row("trades", f"{report.trades:,}")
    table.add_row("snapshots", f"{report.snapshots:,}")
    table.add_row("hashes matched / due", f"{report.hash.matched:,} / {report.hash.due:,}")
    table.add_row("crossed at batch end", f"{report.crossed_at_batch_end:,}")
    for name, count in sorted(report.rejected.items()):
        table.add_row(f"rejected: {name}", f"{count:,}")
    for name, count in sorted(report.ignored.items()):
        table.add_row(f"ignored: {name}", f"{count:,}")
    console.print(table)


def _show_reparse(report: ReparseReport) -> None:
    table = RichTable("what", "count", show_header=False)
    table.add_row("hours", ", ".join(f"{hour:02d}" for hour in report.hours))
    table.add_row("archive files", f"{report.files:,}")
    table.add_row("frames", f"{report.frames:,}")
    for name, count in sorted(report.rows.items()):
        table.add_row(f"rows of {name}", f"{count:,}")
    table.add_row("files written", f"{report.published:,}")
    table.add_row("places where files are missing", f"{report.gaps:,}")
    table.add_row("damaged lines", f"{report.damaged_lines:,}")
    console.print(table)
    for line in report.damaged:
        console.print(f"  {line}", markup=False)


show_examples(app)


def main() -> None:
    """Entry point."""
    app(standalone_mode=True)


if __name__ == "__main__":
    main()
