"""``surveillance``: the commands of the researcher and the market maker."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.table import Table as RichTable
from rich.text import Text

from surveillance_assets.compact_command import compact
from surveillance_assets.instance import instance_environment
from surveillance_assets.simulate_command import simulate
from surveillance_core.command_line import (
    CommandFailed,
    ConfigOption,
    DataDirOption,
    DateOption,
    JsonOption,
    console,
    day_of,
    errors,
    open_lake,
    plain,
    print_json,
    reporting_failures,
    settings_from,
    show_examples,
)
from surveillance_core.markets import Venue
from surveillance_core.settings import flatten_settings
from surveillance_core.venues.registry import adapter_of, supported_venues

if TYPE_CHECKING:
    from surveillance_assets.scanning import ScanRow

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Prediction-market surveillance: discover, collect, measure, look.",
)


@app.command()
def demo(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json_output: JsonOption = False,
    once: Annotated[
        bool, typer.Option("--once", help="Run it through headless, print the summary and exit.")
    ] = False,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.05, help="How long --once collects.")
    ] = 2.0,
    markets: Annotated[
        int, typer.Option("--markets", min=1, help="Markets of each simulated venue.")
    ] = 40,
) -> None:
    """Simulated venues, collectors and Dagster on loopback; nothing to prepare.

    Examples
    --------
      surveillance demo

      surveillance demo --once --minutes 2 --json
    """
    from surveillance_assets import demo as demonstration

    with reporting_failures():
        if data_dir is not None and "://" in data_dir:
            raise CommandFailed("the demo's --data-dir is a local directory", 2)
        root = (
            Path(data_dir) if data_dir else Path(tempfile.mkdtemp(prefix="surveillance-")) / "lake"
        )
        plan = demonstration.plan_demo(root, markets=markets, events_per_second=20.0)

        def say(line: str) -> None:
            if not json_output:
                console.print(
                    f"{datetime.now(UTC):%H:%M:%S}  {line}",
                    markup=False,
                    highlight=False,
                    soft_wrap=True,
                )

        say(f"lake               {plan.data_dir}")
        if once:
            summary = demonstration.run_once(plan, config, minutes, say)
            if json_output:
                print_json(summary)
            else:
                _show_demo(summary)
            if summary.books_different or summary.trades_missing or summary.trades_extra:
                raise CommandFailed(
                    "what was recorded differs from the venue's truth: "
                    + "; ".join(summary.differences)
                )
            return
        from surveillance_assets import live_demo

        live_demo.run(plan, config, say)


def _show_demo(summary: msgspec.Struct) -> None:
    table = RichTable("what", "figure", show_header=False)
    for name, value in msgspec.structs.asdict(summary).items():
        figure = f"{value:,}" if isinstance(value, int) else str(value)
        table.add_row(name.replace("_", " "), plain(figure))
    console.print(table)


@app.command()
def scan(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json_output: JsonOption = False,
    venue: Annotated[Venue | None, typer.Option("--venue", help="The venue to scan.")] = None,
    all_venues: Annotated[bool, typer.Option("--all-venues", help="Every enabled venue.")] = False,
    day: DateOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Publish even a small fraction of the last universe.")
    ] = False,
) -> None:
    """Sweep a venue's listing into today's universe (a materialisation that the UI shows).

    What the filters of the configuration leave out is counted by reason. A scan that fails or is
    interrupted keeps the last universe; with --all-venues the other venues are scanned all the
    same, and the exit code is 1.

    Examples
    --------
      surveillance scan --venue polymarket

      surveillance scan --all-venues --json

      surveillance scan --venue kalshi --force
    """
    from surveillance_assets.scanning import scan_venues

    with reporting_failures():
        loaded = settings_from(config, data_dir)
        if (venue is None) == (not all_venues):
            raise CommandFailed("name one --venue, or --all-venues", 2)
        venues = [venue] if venue is not None else loaded.settings.venues.enabled
        if not venues:
            raise CommandFailed("no venue is enabled: set venues.polymarket.enabled = true", 78)
        for name in venues:
            adapter_of(name)
        # the code location reads its settings from the environment, as in every other process
        os.environ.update(instance_environment(loaded))
        try:
            rows = scan_venues(venues, day_of(day), force=force)
        except KeyboardInterrupt:
            raise CommandFailed("interrupted before the scan; every universe is kept") from None
        if json_output:
            print_json(rows)
        else:
            _show_scan(rows)
        failed = [row for row in rows if row.error is not None]
        if failed:
            raise CommandFailed("\n".join(f"{row.venue}: {row.error}" for row in failed))


def _show_scan(rows: Sequence[ScanRow]) -> None:
    table = RichTable(title=f"universe of {rows[0].date}")
    for name in ("venue", "kept", "seen", "set aside", "filtered", "429s", "seconds"):
        table.add_column(name, no_wrap=name not in ("set aside", "filtered"))
    for row in rows:
        if row.error is not None:
            table.add_row(row.venue, "failed")
            continue
        counts = (_by_reason(row.set_aside), _by_reason(row.filtered))
        figures = (f"{row.throttled:,}", f"{row.seconds:,.1f}")
        table.add_row(row.venue, f"{row.markets:,}", f"{row.seen:,}", *counts, *figures)
    console.print(table)


def _by_reason(counts: Mapping[str, int]) -> Text:
    """A total and what it is made of, the largest part first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    parts = ", ".join(f"{reason} {count:,}" for reason, count in ordered)
    return plain(f"{sum(counts.values()):,} ({parts})" if parts else "0")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def collect(context: typer.Context) -> None:
    """Start the collector; the same as ``surveillance-collector run``, whose options it takes.

    Examples
    --------
      surveillance collect --venue polymarket --for 600
    """
    os.execv(  # noqa: S606 (this process becomes the collector)
        sys.executable, [sys.executable, "-m", "surveillance_collector.cli", "run", *context.args]
    )


@app.command()
def summarize(
    venue: Annotated[Venue, typer.Option("--venue", help="The venue.")],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json_output: JsonOption = False,
    day: DateOption = None,
    top: Annotated[int, typer.Option("--top", min=0, help="Markets to list.")] = 10,
) -> None:
    """What a day holds: markets, rows, files, coverage, top markets, damage.

    Examples
    --------
      surveillance summarize --venue polymarket --date 2026-09-01
    """
    from surveillance_assets.summary import summarize_day

    with reporting_failures():
        settings = settings_from(config, data_dir).settings
        summary = summarize_day(open_lake(settings, write=False), venue, day_of(day), top)
        if json_output:
            print_json(summary)
            return
        console.print(
            f"{summary.venue} {summary.date}: {summary.markets:,} markets in the universe"
        )
        tables = RichTable("table", "files", "rows", "bytes")
        for name, part in summary.tables.items():
            tables.add_row(name, f"{part.files:,}", f"{part.rows:,}", f"{part.bytes:,}")
        console.print(tables)
        if summary.covered_hours is not None:
            console.print(f"covered: {summary.covered_hours:,.2f} market-hours")
        ranked = RichTable("market", "spread", "two-sided", "trades", "volume")
        for row in summary.top_markets:
            ranked.add_row(
                plain(str(row["title"] or row["market_id"])[:60]),
                _figure(row["spread_mean"]),
                _figure(row["two_sided_share"]),
                _figure(row["trades"]),
                _figure(row["volume"]),
            )
        console.print(ranked)
        for line in [*summary.damaged, *summary.quarantined]:
            errors.print(f"damaged: {line}", style="yellow", markup=False)


@app.command()
def coverage(
    venue: Annotated[Venue, typer.Option("--venue", help="The venue.")],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json_output: JsonOption = False,
    day: DateOption = None,
    market: Annotated[
        str | None, typer.Option("--market", help="Only this market or outcome, by its id.")
    ] = None,
    every_gap: Annotated[bool, typer.Option("--gaps", help="List every gap.")] = False,
    top: Annotated[int, typer.Option("--top", min=0, help="Markets to list.")] = 20,
) -> None:
    """Coverage and grade of each market, and what the gaps were caused by.

    A grade is the trusted share of the subscribed time: A from 99.9 %, B 99, C 95, D 80, else F.

    Examples
    --------
      surveillance coverage --venue polymarket --date 2026-09-01

      surveillance coverage --venue kalshi --market KXBTC-26 --gaps --json
    """
    from surveillance_assets import coverage_report

    with reporting_failures():
        settings = settings_from(config, data_dir).settings
        found = coverage_report.report(
            open_lake(settings, write=False), venue, day_of(day), market=market, every_gap=every_gap
        )
        if json_output:
            print_json(found)
        else:
            coverage_report.show(found, console, top)


def _figure(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


@app.command()
def status(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json_output: JsonOption = False,
) -> None:
    """How the running collector is: ready or why not, connections, books, files.

    Exits 1 where none runs or it does not answer.

    Examples
    --------
      surveillance status

      surveillance status --json
    """
    from surveillance_assets.status import read_statuses
    from surveillance_assets.status_table import status_tables

    with reporting_failures():
        settings = settings_from(config, data_dir).settings
        collectors = read_statuses(open_lake(settings, write=False).store)
        if json_output:
            print_json({"collectors": collectors})
            return
        for collector in collectors:
            for table in status_tables(collector):
                console.print(table)


@app.command()
def doctor(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json_output: JsonOption = False,
) -> None:
    """What is wrong and how to mend it; every setting with its origin.

    Examples
    --------
      surveillance doctor

      surveillance doctor --json
    """
    from surveillance_assets.doctor import examine

    with reporting_failures():
        loaded = settings_from(config, data_dir)
        findings = list(examine(loaded.settings))
        values = flatten_settings(loaded.settings)
        origins = {key: loaded.origins.get(key, "default") for key in values}
        if json_output:
            print_json(
                {
                    "findings": findings,
                    "settings": {
                        key: {"value": value, "origin": origins[key]}
                        for key, value in values.items()
                    },
                    "venues_supported": supported_venues(),
                }
            )
        else:
            shown = RichTable("setting", "value", "origin")
            for key, value in values.items():
                shown.add_row(key, plain(str(value)), origins[key])
            console.print(shown)
            verdicts = RichTable("check", "verdict", "found", "next step")
            for finding in findings:
                verdicts.add_row(
                    finding.check, finding.verdict, plain(finding.found), plain(finding.next_step)
                )
            console.print(verdicts)
        if any(finding.verdict == "failed" for finding in findings):
            raise CommandFailed("something needs mending; see the next steps above")


app.command()(simulate)
app.command()(compact)


show_examples(app)


def main() -> None:
    """Entry point."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    app(standalone_mode=True)


if __name__ == "__main__":
    main()
