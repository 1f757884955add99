"""``surveillance compact``: its options and what it prints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table as RichTable

from surveillance_assets.compacting import CompactionRow, compact_venues, failures, plan_venues
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
)
from surveillance_core.markets import Venue


def compact(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json_output: JsonOption = False,
    venue: Annotated[Venue | None, typer.Option("--venue", help="The venue.")] = None,
    all_venues: Annotated[
        bool, typer.Option("--all-venues", help="Every venue in the lake.")
    ] = False,
    day: Annotated[
        datetime | None,
        typer.Option("--date", formats=["%Y-%m-%d"], help="Only this UTC day. Default: all days."),
    ] = None,
    grace_hours: Annotated[
        float | None,
        typer.Option(
            "--grace-hours",
            min=0.0,
            help="Keep replaced files this long; 0 deletes them at once, for when nobody reads. "
            "Default: compaction.grace_hours.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")
    ] = False,
) -> None:
    """One file an hour and table: the same rows, sorted through the hour, in fewer bytes.

    Hours that ended compaction.margin_minutes ago are compacted; the collector need not stop. Rows
    are compared with those of the files they come from before anything is replaced, and replaced
    files are deleted by a later run, after the grace period. What was interrupted is finished by
    the next run. A file that cannot be used stays as it is and is named.

    Examples
    --------
      surveillance compact --all-venues

      surveillance compact --venue polymarket --date 2026-09-01 --dry-run

      surveillance compact --all-venues --grace-hours 0 --json
    """
    with reporting_failures():
        settings = settings_from(config, data_dir).settings
        if (venue is None) == (not all_venues):
            raise CommandFailed("name one --venue, or --all-venues", 2)
        venues = [venue] if venue is not None else list(Venue)
        given = settings.compaction.grace_hours if grace_hours is None else grace_hours
        work = plan_venues if dry_run else compact_venues
        try:
            rows = work(
                # rows of either origin stay what they are, so the lake is not claimed for one
                open_lake(settings, write=False),
                venues,
                day.date() if day is not None else None,
                margin=timedelta(minutes=settings.compaction.margin_minutes),
                grace=timedelta(hours=given),
            )
        except KeyboardInterrupt:
            raise CommandFailed(
                "interrupted; every row is where readers find it. Run it again to go on."
            ) from None
        if json_output:
            print_json({"dry_run": dry_run, "days": rows})
        else:
            _show(rows, dry_run=dry_run)
        failed = failures(rows)
        if failed:
            raise CommandFailed("\n".join([*failed, "These hours are as they were; run it again."]))


def _show(rows: Sequence[CompactionRow], *, dry_run: bool) -> None:
    if not rows:
        console.print("nothing to compact")
        return
    table = RichTable(title="would be compacted" if dry_run else "compacted")
    for name in ("date", "venue", "hours", "files", "kB", "B/snapshot"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        parts = row.tables.values()
        table.add_row(
            row.date,
            row.venue,
            f"{row.hours:,}",
            _change(sum(p.files for p in parts), [p.files_after for p in parts]),
            _change(sum(p.bytes for p in parts), [p.bytes_after for p in parts], 1_000),
            _bytes_a_row(row),
        )
    console.print(table)
    console.print(
        f"replaced files: {sum(row.removed_files for row in rows):,} "
        f"{'would be ' if dry_run else ''}deleted, "
        f"{sum(row.waiting_files for row in rows):,} kept for their grace period"
    )
    for line in [line for row in rows for line in row.damaged]:
        errors.print(
            f"left as it is: {line}", style="yellow", markup=False, highlight=False, soft_wrap=True
        )


def _change(before: int, after: Sequence[int | None], unit: int = 1) -> str:
    known = [count for count in after if count is not None]
    figures = [before, sum(known)] if known else [before]
    return " → ".join(f"{round(figure / unit):,}" for figure in figures)


def _bytes_a_row(row: CompactionRow) -> str:
    figures = [row.snapshot_bytes, row.snapshot_bytes_after]
    return " → ".join(f"{figure:,.1f}" for figure in figures if figure is not None) or "–"
