"""Commands' way to Dagster: materialise in this process, and look up what was materialised.

Belongs here: what ``surveillance scan`` and the demo ask of an instance. Imported when a command
needs it, because importing Dagster takes seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import dagster as dg
from dagster._core.execution.execution_result import ExecutionResult  # no public name in 1.13
from dagster_shared.error import SerializableErrorInfo

from surveillance_assets.orchestration import day_key
from surveillance_core.command_line import CommandFailed
from surveillance_core.markets import Venue


@dataclass(frozen=True)
class Materialised:
    """What a materialisation reported of itself."""

    asset: str
    partition: str
    metadata: Mapping[str, object]


def materialise(
    asset: str, venue: Venue, day: date, config: Mapping[str, object] | None = None
) -> Materialised:
    """Materialise one asset's venue-day in process, on the instance of ``$DAGSTER_HOME``.

    Parameters
    ----------
    config
        The asset's own configuration.

    Raises
    ------
    CommandFailed
        With the cause that the asset or a blocking check gave.
    KeyboardInterrupt
        If the run was interrupted; Dagster has recorded it as failed.
    """
    # imported here: a module of the defs folder must not hold the definitions it is loaded into
    from surveillance_assets.definitions import defs

    key = day_key(venue, day)
    job = defs().resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.get() as instance:
        result = job.execute_in_process(
            partition_key=key,
            asset_selection=[dg.AssetKey(asset)],
            instance=instance,
            raise_on_error=False,
            # the command says what happened; the run's own log is in the UI
            run_config={
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                "ops": {asset: {"config": dict(config)}} if config else {},
            },
        )
        if not result.success:
            if _interrupted(result):
                raise KeyboardInterrupt
            raise CommandFailed(f"{asset} {key}: {_failure(result)}")
        event = result.asset_materializations_for_node(asset)[0]
    return Materialised(asset, key, {name: value.value for name, value in event.metadata.items()})


def current_instance() -> dg.DagsterInstance:
    """The instance of ``$DAGSTER_HOME``, as a context manager."""
    return dg.DagsterInstance.get()


def materialised_text(
    instance: dg.DagsterInstance, asset: str, venue: Venue, day: date, name: str
) -> str | None:
    """A metadata value of a venue-day's latest materialisation, as text; None without one."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[day_key(venue, day)]), limit=1
    ).records
    materialization = records[0].asset_materialization if records else None
    value = materialization.metadata.get(name) if materialization is not None else None
    return None if value is None else str(value.value)


def failed_run(instance: dg.DagsterInstance) -> str | None:
    """Why the latest failed run failed; None where none did."""
    runs = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]), limit=1)
    if not runs:
        return None
    for entry in instance.all_logs(runs[0].run_id):
        event = entry.dagster_event
        if event is not None and event.is_step_failure:
            return f"{event.step_key}: {_raised(event.step_failure_data.error)}"
    return f"run {runs[0].run_id} failed outside any step"


def _failure(result: ExecutionResult) -> str:
    for event in result.all_node_events:
        if event.is_step_failure:
            data = event.step_failure_data
            stated = data.user_failure_data.description if data.user_failure_data else None
            return stated or _raised(data.error)
    return "a blocking check did not pass; its evaluation is in the UI"


def _interrupted(result: ExecutionResult) -> bool:
    name = dg.DagsterExecutionInterruptedError.__name__
    return any(
        event.is_step_failure and name in str(event.step_failure_data.error)
        for event in result.all_node_events
    )


def _raised(error: SerializableErrorInfo | None) -> str:
    """What the asset itself raised, without Dagster's wrapping and without its own causes."""
    if error is None:
        return "no cause given"
    return (error.cause or error).message.strip()
