"""When things run: the manifest sensor, the daily scan, the close of the day.

Belongs here: triggers. What a tick decides is ``surveillance_assets.orchestration``, pure.
No declarative automation: an ``eager()`` condition discards an update that arrives in the tick of a
request or of its run's completion, and here files arrive every few minutes (dagster#33587).
Concept: https://docs.dagster.io/guides/automate/sensors
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from surveillance_assets.defs.lake_io import LakeResource
from surveillance_assets.defs.partitions import venue_days
from surveillance_assets.orchestration import (
    Report,
    day_key,
    plan_tick,
    read_cursor,
    watched,
    write_cursor,
)
from surveillance_core.lake.layout import UNIVERSE
from surveillance_core.lake.manifest import manifest_days, read_manifest
from surveillance_core.lake.schemas import STATS
from surveillance_core.markets import Venue
from surveillance_core.settings import load_settings
from surveillance_core.venues.registry import supported_venues

_orchestration = load_settings().settings.orchestration

venue_day_job = dg.define_asset_job(
    "venue_day",
    selection=dg.AssetSelection.assets(STATS.name),
    partitions_def=venue_days,
    description="Everything derived from one venue-day's files.",
)
scan_job = dg.define_asset_job(
    "scan",
    selection=dg.AssetSelection.assets(UNIVERSE),
    partitions_def=venue_days,
    description="A sweep of a venue's listing into today's universe.",
)


@dg.sensor(
    job=venue_day_job,
    minimum_interval_seconds=_orchestration.sensor_seconds,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def collected_files(context: dg.SensorEvaluationContext, source: LakeResource) -> dg.SensorResult:
    """Reports the collector's new files and asks for the statistics of the days they belong to."""
    now = datetime.now(UTC)
    orchestration = source.settings.orchestration
    store = source.lake.store
    manifests = [
        read_manifest(store, venue, day)
        for venue in Venue
        for day in manifest_days(store, venue)
        if watched(day, now)
    ]
    plan = plan_tick(
        now,
        read_cursor(context.cursor),
        manifests,
        open_day_refresh=timedelta(seconds=orchestration.open_day_refresh_seconds),
        limit=orchestration.run_requests_a_tick,
    )
    summary = (
        f"{len(plan.reports)} tables with new files, {len(plan.requests)} days requested, "
        f"{plan.waiting} waiting"
    )
    return dg.SensorResult(
        asset_events=[_materialization(report) for report in plan.reports],
        run_requests=[
            dg.RunRequest(
                run_key=request.run_key, partition_key=day_key(request.venue, request.day)
            )
            for request in plan.requests
        ],
        cursor=write_cursor(plan.cursor),
        skip_reason=None if plan.requests else dg.SkipReason(summary),
    )


def _materialization(report: Report) -> dg.AssetMaterialization:
    files = report.files
    newest = max(files, key=lambda entry: entry.published_us)
    return dg.AssetMaterialization(
        report.table,
        partition=day_key(report.venue, report.day),
        metadata={
            "dagster/partition_row_count": sum(entry.rows for entry in files),
            "files": len(files),
            "bytes": sum(entry.bytes for entry in files),
            "newest_file": newest.path,
            "newest_row": _moment(max(entry.last_us or 0 for entry in files)),
        },
        tags={"dagster/data_version": report.version},
    )


def _moment(time_us: int) -> dg.MetadataValue:
    return dg.MetadataValue.timestamp(datetime.fromtimestamp(time_us / 1e6, UTC))


@dg.schedule(
    job=scan_job,
    cron_schedule="2 0 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def daily_scan(
    context: dg.ScheduleEvaluationContext, source: LakeResource
) -> Iterator[dg.RunRequest]:
    """The universe of each enabled venue, as early in the day as its date is certain."""
    today = context.scheduled_execution_time.astimezone(UTC).date()
    for venue in _enabled(source):
        key = day_key(venue, today)
        yield dg.RunRequest(run_key=f"{key}@scan", partition_key=key)


@dg.schedule(
    job=venue_day_job,
    cron_schedule=f"{_orchestration.day_close_minute} 0 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def day_close(
    context: dg.ScheduleEvaluationContext, source: LakeResource
) -> Iterator[dg.RunRequest]:
    """Yesterday once more, per venue, when all its files are in: this makes a day final."""
    yesterday = context.scheduled_execution_time.astimezone(UTC).date() - timedelta(days=1)
    for venue in _enabled(source):
        key = day_key(venue, yesterday)
        yield dg.RunRequest(run_key=f"{key}@close", partition_key=key)


def _enabled(source: LakeResource) -> list[Venue]:
    supported = supported_venues()
    return [venue for venue in source.settings.venues.enabled if venue in supported]
