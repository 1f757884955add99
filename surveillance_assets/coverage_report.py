"""``surveillance coverage``: how well a day was watched, a grade a market, gaps by cause."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
import polars as pl
from rich.console import Console
from rich.table import Table as RichTable

from surveillance_assets.analytics.grades import causes, gaps, graded
from surveillance_core.command_line import CommandFailed, plain
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.read import read_universe, scan_table
from surveillance_core.lake.schemas import COVERAGE
from surveillance_core.markets import UniverseError, Venue


class CoverageReport(msgspec.Struct, kw_only=True):
    """A venue's day; see ``analytics.grades`` for the members of the rows."""

    venue: str
    date: date
    grades: dict[str, int]
    """Markets by grade."""
    subscribed_s: float
    """Market-seconds subscribed."""
    trusted_s: float
    """Market-seconds trusted."""
    files: int
    damaged: int
    """Files that could not be read and are missing here."""
    markets: list[dict[str, Any]]
    """The worst first."""
    causes: list[dict[str, Any]]
    gaps: list[dict[str, Any]]
    """Every gap, where they were asked for."""


def report(
    lake: Lake, venue: Venue, day: date, *, market: str | None = None, every_gap: bool = False
) -> CoverageReport:
    """Read a day's ledger and grade it.

    Parameters
    ----------
    market
        Only the market of this id, or whose outcome has it.

    Raises
    ------
    CommandFailed
        If the day has no ledger, or none of the market.
    """
    scan = scan_table(lake, COVERAGE, venue, [day])
    if not scan.files:
        raise CommandFailed(
            f"no coverage of {venue.value} on {day}; collect some with: surveillance collect"
        )
    rows = scan.frame.with_columns(pl.lit(venue.value).alias("venue"), pl.lit(day).alias("date"))
    if market is not None:
        rows = rows.filter(
            pl.col("market_id").is_null()
            | (pl.col("market_id") == market)
            | (pl.col("outcome_id") == market)
        )
    rows = rows.collect().lazy()
    found = graded(rows).collect()
    if market is not None and found.is_empty():
        raise CommandFailed(
            f"no coverage of {market!r} on {day}; "
            f"list what there is with: surveillance coverage --venue {venue.value} --date {day}"
        )
    titles = _titles(lake, venue, day)
    counted = found.group_by("grade").len().sort("grade").iter_rows()
    return CoverageReport(
        venue=venue.value,
        date=day,
        grades=dict(counted),
        subscribed_s=round(float(found["subscribed_s"].sum()), 6),
        trusted_s=round(float(found["trusted_s"].sum()), 6),
        files=scan.files,
        damaged=len(scan.damaged),
        markets=[
            {**row, "title": titles.get(row["market_id"])}
            for row in found.drop("venue", "date").iter_rows(named=True)
        ],
        causes=causes(rows).drop("venue", "date").collect().to_dicts(),
        gaps=gaps(rows).drop("venue", "date").collect().to_dicts() if every_gap else [],
    )


def show(found: CoverageReport, console: Console, top: int) -> None:
    """Print a report in tables that fit a hundred columns."""
    share = found.trusted_s / found.subscribed_s if found.subscribed_s else 0.0
    grades = "  ".join(f"{grade} {count:,}" for grade, count in found.grades.items())
    console.print(
        f"{found.venue} {found.date}: {len(found.markets):,} markets, {_length(found.trusted_s)} "
        f"of {_length(found.subscribed_s)} market time trusted ({share:.3%}); {grades}",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    if found.damaged:
        console.print(f"{found.damaged} damaged files are left out", markup=False)
    markets = RichTable("grade", "market", "trusted", "subscribed", "gaps", "longest", "main cause")
    for row in found.markets[:top]:
        markets.add_row(
            row["grade"],
            plain(str(row["title"] or row["market_id"])[:40]),
            f"{row['trusted_share']:.3%}",
            _length(row["subscribed_s"]),
            f"{row['gaps']:,}",
            _length(row["longest_gap_s"]),
            plain(row["main_cause"] or "–"),
        )
    console.print(markets)
    if len(found.markets) > top:
        console.print(f"the worst {top} of {len(found.markets):,}; more with --top", markup=False)
    lost = RichTable("cause", "markets", "gaps", "market time", "longest")
    for row in found.causes:
        lost.add_row(
            plain(row["cause"] or "–"), f"{row['markets']:,}", f"{row['gaps']:,}",
            _length(row["market_seconds"]), _length(row["longest_s"]),
        )  # fmt: skip
    console.print(lost)
    if found.gaps:
        every = RichTable("market", "cause", "from (UTC)", "to (UTC)", "seconds")
        for row in found.gaps:
            every.add_row(
                plain(row["outcome_id"][:40]), plain(row["cause"] or "–"),
                f"{row['start']:%H:%M:%S.%f}", f"{row['end']:%H:%M:%S.%f}",
                f"{(row['end'] - row['start']).total_seconds():.3f}",
            )  # fmt: skip
        console.print(every)


def _titles(lake: Lake, venue: Venue, day: date) -> dict[str, str]:
    try:
        markets = read_universe(lake, venue, day)
    except UniverseError:
        markets = None
    return {market.market_id: market.title for market in markets or ()}


def _length(seconds: float) -> str:
    """A span as people read it: ``1:02:03`` from an hour on, else seconds.

    Examples
    --------
    >>> _length(3723.4), _length(0.25)
    ('1:02:03', '0.25 s')
    """
    if seconds < 3_600:
        return f"{seconds:,.4g} s" if seconds < 1_000 else f"{seconds:,.0f} s"
    whole = round(seconds)
    return f"{whole // 3_600:,}:{whole // 60 % 60:02d}:{whole % 60:02d}"
