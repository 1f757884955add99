"""Discovery: which markets a venue lists today.

Belongs here: the universe asset and what a person wants to see of a sweep.
"""

from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from surveillance_assets.analytics.universe import (
    HALF_TO_DOUBLE,
    UNIVERSE_SCHEMA,
    count_groups,
    incomplete_contracts,
    universe_frame,
)
from surveillance_assets.defs.contracts import OWNERS
from surveillance_assets.defs.lake_io import WRITER, LakeResource
from surveillance_assets.defs.partitions import venue_day, venue_days
from surveillance_assets.presentation import markdown_table
from surveillance_assets.progress import tell_page
from surveillance_core.lake.layout import UNIVERSE, universe_file
from surveillance_core.lake.publish import publish_universe
from surveillance_core.lake.read import last_universe_size, read_universe
from surveillance_core.markets import Venue
from surveillance_core.venues.sweep import (
    ShrunkenUniverse,
    Sweep,
    peak_memory_bytes,
    refuse_shrunken,
    sweep_venue,
)

if TYPE_CHECKING:
    ScanResult = dg.MaterializeResult[Any]
else:
    # with checks among its outputs, Dagster takes the class itself for an annotation and no other
    ScanResult = dg.MaterializeResult

CHECKS = {
    "counts_against_yesterday": "Between half and double the markets of the day before.",
    "groups_complete": "Every member that the venue lists of an exclusive group was kept.",
    "drift": "The listing holds what this version knows, and everything it reads.",
    "share_filtered": "The filters left enough of the tradable markets.",
}
"""Checks that the scan makes with its findings in hand; none of them stops what follows."""


class ScanConfig(dg.Config):
    """How a scan shows its progress, and whether it may shrink the universe."""

    log_every_pages: int = 10
    force: bool = False


@dg.asset(
    name=UNIVERSE,
    partitions_def=venue_days,
    group_name="discovery",
    kinds={"json"},
    owners=OWNERS,
    tags={"domain": "markets"},
    io_manager_key="lake",
    pool="venue_rest",
    code_version="2",
    metadata={
        "dagster/column_schema": dg.TableSchema(
            columns=[dg.TableColumn(name, str(kind)) for name, kind in UNIVERSE_SCHEMA.items()]
        )
    },
    check_specs=[
        dg.AssetCheckSpec(name, asset=UNIVERSE, description=said, partitions_def=venue_days)
        for name, said in CHECKS.items()
    ],
)
def universe(
    context: dg.AssetExecutionContext, config: ScanConfig, source: LakeResource
) -> ScanResult:
    """Markets the venue lists, normalised and filtered: one line a market in ``universe.jsonl``.

    A venue lists the present only: past days keep what was found on them. A scan that fails, is
    interrupted or finds a fraction of what there was leaves the last universe as it is.
    """
    venue, day = venue_day(context.partition_key)
    now = datetime.now(UTC)
    if day != now.date():
        raise dg.Failure(
            f"{venue} lists its markets as of now ({now.date()}); the universe of {day} can only "
            "be found on that day",
            allow_retries=False,
        )

    def report(pages: int, seen: int) -> None:
        tell_page(pages, seen)
        if pages % config.log_every_pages == 0:
            context.log.info("%d pages, %d markets", pages, seen)

    settings = source.settings
    sweep = sweep_venue(settings, venue, now, on_page=report)
    last = last_universe_size(source.lake, venue, day)
    if last is not None and not config.force:
        try:
            refuse_shrunken(sweep, last[1], settings.universe.least_share_of_last)
        except ShrunkenUniverse as error:
            raise dg.Failure(f"{venue}: {error}", allow_retries=False) from error
    checks = _checks(source, venue, day, sweep)
    entry = publish_universe(source.lake, venue, day, sweep.markets, writer=WRITER)
    frame = universe_frame(sweep.markets, day)
    top = frame.sort("volume_24h", descending=True, nulls_last=True).head(10).to_dicts()
    path = source.lake.store.scan_path(universe_file(venue, day))
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": len(sweep.markets),
            **_figures(sweep),
            "path": dg.MetadataValue.path(path),
            "top_by_volume": dg.MetadataValue.md(
                markdown_table(top, ["title", "group", "volume_24h", "liquidity", "tick_size"])
            ),
        },
        data_version=dg.DataVersion(entry.digest[:16]),
        check_results=checks,
    )


def _figures(sweep: Sweep) -> dict[str, Any]:
    """What the scan found and what it cost, as metadata."""
    found, traffic = sweep.found, sweep.traffic
    return {
        "markets": len(sweep.markets),
        "seen": found.seen,
        "tradable": sweep.tradable,
        "set_aside": dg.MetadataValue.json(dict(found.set_aside)),
        "filtered": dg.MetadataValue.json(dict(sweep.filtered)),
        "oddities": dg.MetadataValue.json(dict(found.oddities)),
        "pages": found.pages,
        "requests": traffic.requests,
        "retries": traffic.retries,
        "waits": traffic.waits,
        "waited_seconds": round(traffic.waited_seconds, 3),
        "throttled": traffic.throttled,
        "seconds": round(sweep.seconds, 3),
        "peak_memory_mb": round(peak_memory_bytes() / 1e6, 1),
    }


def _checks(
    source: LakeResource, venue: Venue, day: date, sweep: Sweep
) -> list[dg.AssetCheckResult]:
    """The checks of ``CHECKS``, of what is about to be published."""
    kept = len(sweep.markets)
    before = last_universe_size(source.lake, venue, day - timedelta(days=1))
    low, high = HALF_TO_DOUBLE
    usual = before is None or low * before[1] <= kept <= high * before[1]
    lacking = incomplete_contracts(sweep.markets)
    drift = sweep.drift
    most = source.settings.universe.max_filtered_share
    found: dict[str, tuple[bool, dict[str, Any]]] = {
        "counts_against_yesterday": (
            usual,
            {
                "markets": kept,
                "before": before[1] if before else "no earlier universe",
                "day before": before[0].isoformat() if before else "none",
            },
        ),
        "groups_complete": (
            not lacking,
            {
                "groups": dg.MetadataValue.json([asdict(c) for c in count_groups(sweep.markets)]),
                "incomplete": dg.MetadataValue.md(
                    markdown_table(lacking, list(lacking[0])) if lacking else "none"
                ),
            },
        ),
        "drift": (not drift, {"drift": dg.MetadataValue.json(drift)}),
        "share_filtered": (
            sweep.filtered_share <= most,
            {
                "share": sweep.filtered_share,
                "most": most,
                "filtered": dg.MetadataValue.json(dict(sweep.filtered)),
            },
        ),
    }
    return [
        dg.AssetCheckResult(
            check_name=name,
            passed=passed,
            severity=dg.AssetCheckSeverity.WARN,
            metadata=metadata,
        )
        for name, (passed, metadata) in found.items()
    ]


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
