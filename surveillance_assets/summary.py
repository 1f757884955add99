"""What a venue-day holds, from the manifest and the statistics: for people and for ``--json``."""

from __future__ import annotations

from datetime import date

import msgspec
import polars as pl

from surveillance_core.lake.layout import UNIVERSE
from surveillance_core.lake.manifest import read_manifest
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.read import damage_of, scan_table
from surveillance_core.lake.schemas import STATS, TABLES
from surveillance_core.markets import Venue


class TableSummary(msgspec.Struct):
    """Files in force of one table."""

    files: int
    rows: int
    bytes: int


class DaySummary(msgspec.Struct):
    """One venue-day."""

    venue: str
    date: str
    markets: int
    tables: dict[str, TableSummary]
    covered_hours: float | None
    top_markets: list[dict[str, object]]
    damaged: list[str]
    quarantined: list[str]
    damaged_manifest_lines: int


def summarize_day(lake: Lake, venue: Venue, day: date, top: int) -> DaySummary:
    """Read the day's manifest and statistics; nothing is computed anew."""
    manifest = read_manifest(lake.store, venue, day)
    tables: dict[str, TableSummary] = {}
    damaged: list[str] = []
    for name in TABLES:
        files = manifest.files(name)
        tables[name] = TableSummary(
            len(files), sum(e.rows for e in files), sum(e.bytes for e in files)
        )
        for entry in files:
            cause = damage_of(lake, entry)
            if cause is not None:
                damaged.append(f"{entry.path}: {cause}")
    stats = scan_table(lake, STATS, venue, [day]).frame.collect()
    columns = ["title", "market_id", "spread_mean", "two_sided_share", "trades", "volume"]
    ranked = stats.sort("volume", "updates", descending=True).head(top).select(columns)
    return DaySummary(
        venue=venue.value,
        date=day.isoformat(),
        markets=sum(entry.rows for entry in manifest.files(UNIVERSE)),
        tables=tables,
        covered_hours=_hours(stats),
        top_markets=ranked.to_dicts(),
        damaged=damaged,
        quarantined=[f"{e.path}: {e.cause}" for e in manifest.quarantined],
        damaged_manifest_lines=manifest.damaged_lines,
    )


def _hours(stats: pl.DataFrame) -> float | None:
    return float(stats["covered_seconds"].sum()) / 3600 if stats.height else None
