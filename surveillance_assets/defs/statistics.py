"""Statistics of a venue-day.

Belongs here: the ``stats`` asset, its checks and its metadata. The arithmetic is
``surveillance_assets.analytics.liquidity``.
"""

import dagster as dg
import polars as pl

from surveillance_assets.analytics.liquidity import market_stats
from surveillance_assets.defs.contracts import OWNERS, table_checks, table_metadata
from surveillance_assets.defs.lake_io import LakeResource
from surveillance_assets.defs.partitions import venue_day, venue_days
from surveillance_assets.defs.runs import materialised_text
from surveillance_assets.orchestration import STATS_INPUTS
from surveillance_assets.presentation import markdown_table
from surveillance_core.lake.manifest import read_manifest
from surveillance_core.lake.schemas import STATS

_SHOWN = ["title", "spread_mean", "two_sided_share", "updates_per_hour", "trades", "volume"]


@dg.asset(
    name=STATS.name,
    description=STATS.description,
    partitions_def=venue_days,
    backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=14),
    group_name="statistics",
    kinds={"polars", "parquet"},
    owners=OWNERS,
    tags={"domain": "statistics"},
    io_manager_key="lake",
    code_version="1",
    metadata=table_metadata(STATS),
)
def stats(
    context: dg.AssetExecutionContext,
    source: LakeResource,
    universe: pl.LazyFrame,
    orderbook_snapshots: pl.LazyFrame,
    coverage: pl.LazyFrame,
    trades: pl.LazyFrame,
) -> pl.DataFrame:
    """One row a market and day."""
    # the versions are taken before the read: files that arrive meanwhile count as not yet used
    versions = {str(key): _inputs_version(source, str(key)) for key in context.partition_keys}
    titles = universe.select("venue", "date", "market_id", "title")
    frame = market_stats(orderbook_snapshots, coverage, trades, titles).collect(engine="streaming")
    for key, version in versions.items():
        venue, day = venue_day(key)
        rows = frame.filter((pl.col("venue") == venue.value) & (pl.col("date") == day))
        context.add_asset_metadata(_partition_metadata(rows, version), partition_key=key)
    return frame


def _inputs_version(source: LakeResource, key: str) -> str:
    venue, day = venue_day(key)
    return read_manifest(source.lake.store, venue, day).version(STATS_INPUTS)


def _partition_metadata(rows: pl.DataFrame, version: str) -> dict[str, object]:
    top = rows.sort("volume", "updates", descending=True).head(10).to_dicts()
    spread = rows.select(pl.col("spread_mean").median()).item()
    return {
        "dagster/partition_row_count": rows.height,
        "markets": rows.height,
        "snapshots": int(rows["snapshots"].sum()),
        "trades": int(rows["trades"].sum()),
        "covered_hours": float(rows["covered_seconds"].sum()) / 3600,
        "median_spread_cents": None if spread is None else float(spread) * 100,
        "inputs_version": version,
        "top_by_volume": dg.MetadataValue.md(markdown_table(top, _SHOWN)),
    }


stats_checks = table_checks(STATS)


@dg.asset_check(
    asset=STATS.name,
    name="up_to_date",
    description="The statistics were computed from the files that the manifest lists now.",
    partitions_def=venue_days,
)
def stats_up_to_date(
    context: dg.AssetCheckExecutionContext, source: LakeResource
) -> dg.AssetCheckResult:
    """Compare the version computed from with the manifest's."""
    stale: list[str] = []
    for key in sorted(str(k) for k in context.op_execution_context.partition_keys):
        venue, day = venue_day(key)
        used = materialised_text(context.instance, STATS.name, venue, day, "inputs_version")
        if used != _inputs_version(source, key):
            stale.append(key)
    return dg.AssetCheckResult(
        passed=not stale,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"stale": stale, "next_step": "the sensor requests them again by itself"},
    )
