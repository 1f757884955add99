"""Compaction as a job: no asset, because no row changes.

Belongs here: when the lake is compacted. What that does is ``surveillance_core.lake.compaction``.
Concept: https://docs.dagster.io/guides/build/jobs/op-jobs
"""

from datetime import timedelta

import dagster as dg
import msgspec

from surveillance_assets.compacting import compact_venues, failures
from surveillance_assets.defs.lake_io import LakeResource
from surveillance_core.command_line import CommandFailed
from surveillance_core.markets import Venue


class CompactionConfig(dg.Config):
    """What a run does: everything, or only the deleting."""

    delete_only: bool = False


@dg.op
def compact_lake(
    context: dg.OpExecutionContext, config: CompactionConfig, source: LakeResource
) -> None:
    """Compact every closed hour and delete what was replaced long enough ago."""
    settings = source.settings.compaction
    try:
        rows = compact_venues(
            source.lake,
            list(Venue),
            None,
            margin=timedelta(minutes=settings.margin_minutes),
            grace=timedelta(hours=settings.grace_hours),
            delete_only=config.delete_only,
        )
    except CommandFailed as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    for row in rows:
        context.log.info("%s", msgspec.json.encode(row).decode())
        for line in row.damaged:
            context.log.warning("left as it is: %s", line)
    failed = failures(rows)
    if failed:
        raise dg.Failure(
            "not compacted; these hours are as they were and the next run tries again: "
            + "; ".join(failed),
            allow_retries=False,
        )


@dg.job(
    name="compaction",
    description="One file an hour and table for every closed hour; the same rows in fewer bytes.",
)
def compaction_job() -> None:
    """One op over the whole lake, since only one compaction may work on it."""
    compact_lake()


_SUNDAY, _MONDAY = "17 3 * * 0", "47 3 * * 1"


@dg.schedule(
    job=compaction_job,
    cron_schedule=[_SUNDAY, _MONDAY],
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def weekly_compaction(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """On Sundays; on Mondays what Sunday's run replaced is deleted.

    A reader of bare globs sees replaced rows twice as long as they are there: a day, not a week.
    """
    monday = context.scheduled_execution_time.isoweekday() == 1
    config = CompactionConfig(delete_only=monday)
    return dg.RunRequest(run_config=dg.RunConfig(ops={compact_lake.name: config}))
