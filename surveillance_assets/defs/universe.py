"""Discovery: which markets a venue lists today.

Belongs here: the universe asset and what a person wants to see of a sweep.
"""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from surveillance_assets.analytics.universe import UNIVERSE_SCHEMA, universe_frame
from surveillance_assets.defs.contracts import OWNERS
from surveillance_assets.defs.lake_io import WRITER, LakeResource
from surveillance_assets.defs.partitions import venue_day, venue_days
from surveillance_assets.presentation import markdown_table
from surveillance_core.lake.layout import UNIVERSE, universe_file
from surveillance_core.lake.publish import publish_universe
from surveillance_core.lake.read import read_universe
from surveillance_core.venues.registry import adapter_of
from surveillance_core.venues.rest import RestClient


class ScanReport(dg.Config):
    """How a scan shows its progress."""

    log_every_pages: int = 10


@dg.asset(
    name=UNIVERSE,
    partitions_def=venue_days,
    group_name="discovery",
    kinds={"json"},
    owners=OWNERS,
    tags={"domain": "markets"},
    io_manager_key="lake",
    pool="venue_rest",
    code_version="1",
    metadata={
        "dagster/column_schema": dg.TableSchema(
            columns=[dg.TableColumn(name, str(kind)) for name, kind in UNIVERSE_SCHEMA.items()]
        )
    },
)
def universe(
    context: dg.AssetExecutionContext, config: ScanReport, source: LakeResource
) -> dg.MaterializeResult[Any]:
    """Markets the venue lists, normalised: one line a market in ``universe.jsonl``.

    A venue lists the present only: past days keep what was found on them.
    """
    venue, day = venue_day(context.partition_key)
    now = datetime.now(UTC)
    if day != now.date():
        raise dg.Failure(
            f"{venue} lists its markets as of now ({now.date()}); the universe of {day} can only "
            "be found on that day",
            allow_retries=False,
        )
    table = source.settings.venues[venue]

    def report(pages: int, seen: int) -> None:
        if pages % config.log_every_pages == 0:
            context.log.info("%d pages, %d markets", pages, seen)

    with RestClient(
        source.settings.endpoints(venue).rest_url, requests_per_second=table.requests_per_second
    ) as client:
        found = adapter_of(venue).discover(
            client, now, page_size=table.page_size, max_pages=table.max_pages, on_page=report
        )
    entry = publish_universe(source.lake, venue, day, found.markets, writer=WRITER)
    frame = universe_frame(found.markets, day)
    top = frame.sort("volume_24h", descending=True, nulls_last=True).head(10).to_dicts()
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": len(found.markets),
            "markets": len(found.markets),
            "seen": found.seen,
            "set_aside": dg.MetadataValue.json(dict(found.set_aside)),
            "oddities": dg.MetadataValue.json(dict(found.oddities)),
            "pages": found.pages,
            "path": dg.MetadataValue.path(source.lake.store.scan_path(universe_file(venue, day))),
            "top_by_volume": dg.MetadataValue.md(
                markdown_table(top, ["title", "group", "volume_24h", "liquidity", "tick_size"])
            ),
        },
        data_version=dg.DataVersion(entry.digest[:16]),
    )


@dg.asset_check(
    asset=UNIVERSE,
    name="can_be_read",
    description="The published file reads back whole and holds at least one market.",
    blocking=True,
    partitions_def=venue_days,
)
def universe_can_be_read(
    context: dg.AssetCheckExecutionContext, source: LakeResource
) -> dg.AssetCheckResult:
    """Read it as the collector does."""
    venue, day = venue_day(str(context.op_execution_context.partition_key))
    markets = read_universe(source.lake, venue, day)
    return dg.AssetCheckResult(passed=bool(markets), metadata={"markets": len(markets or [])})
