"""What the collector writes, as external assets: Dagster sees the files, it does not make them.

Belongs here: the specs of the collected tables and the check that their writer is alive.
Concept: https://docs.dagster.io/guides/build/assets/external-assets
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from surveillance_assets.defs.contracts import OWNERS, table_metadata
from surveillance_assets.defs.lake_io import LakeResource
from surveillance_assets.defs.partitions import venue_days
from surveillance_core.lake.manifest import read_manifest
from surveillance_core.lake.schemas import COLLECTED, SNAPSHOTS

collected = [
    dg.AssetSpec(
        table.name,
        description=table.description,
        partitions_def=venue_days,
        group_name="collection",
        kinds={"parquet"},
        owners=OWNERS,
        tags={"domain": "books"},
        metadata=table_metadata(table),
        freshness_policy=dg.FreshnessPolicy.time_window(
            fail_window=timedelta(hours=1), warn_window=timedelta(minutes=20)
        ),
    ).with_io_manager_key("lake")
    for table in COLLECTED
]


@dg.asset_check(
    asset=SNAPSHOTS.name,
    name="collector_alive",
    description=(
        "Every enabled venue has published snapshots within orchestration.liveness_minutes. A "
        "freshness policy covers the asset as a whole, where one venue's files hide another's "
        "silence."
    ),
)
def collector_alive(source: LakeResource) -> dg.AssetCheckResult:
    """Ask the manifest of today and yesterday for each venue's newest row."""
    now = datetime.now(UTC)
    limit = source.settings.orchestration.liveness_minutes * 60
    silent: dict[str, float | None] = {}
    ages: dict[str, float | None] = {}
    for venue in source.settings.venues.enabled:
        newest = max(
            (
                entry.last_us or 0
                for day in (now.date(), now.date() - timedelta(days=1))
                for entry in read_manifest(source.lake.store, venue, day).files(SNAPSHOTS.name)
            ),
            default=None,
        )
        age = None if newest is None else now.timestamp() - newest / 1e6
        ages[venue.value] = age
        if age is None or age > limit:
            silent[venue.value] = age
    return dg.AssetCheckResult(
        passed=not silent,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "seconds_since_newest_row": dg.MetadataValue.json(ages),
            "silent": dg.MetadataValue.json(silent),
        },
    )


liveness = dg.define_asset_job(
    "liveness",
    selection=dg.AssetSelection.checks(collector_alive),
    description="Asks whether each venue's collector still publishes.",
)


@dg.schedule(
    job=liveness,
    cron_schedule="*/15 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def liveness_schedule() -> dg.RunRequest:
    """Every quarter of an hour."""
    return dg.RunRequest()
