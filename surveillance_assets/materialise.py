"""One-shot commands as materialisations in this process, so that they stand in the UI too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from surveillance_assets.instance import instance_environment
from surveillance_assets.orchestration import day_key
from surveillance_core.command_line import CommandFailed
from surveillance_core.markets import Venue
from surveillance_core.settings import LoadedSettings


@dataclass(frozen=True)
class Materialised:
    """What a materialisation reported of itself."""

    asset: str
    partition: str
    metadata: Mapping[str, object]


def materialise(loaded: LoadedSettings, asset: str, venue: Venue, day: date) -> Materialised:
    """Materialise one asset's venue-day in process, on the configured instance.

    Raises
    ------
    CommandFailed
        With the cause that the asset or a blocking check gave.
    """
    # the code location reads its settings from the environment, as it does in every other process
    os.environ.update(instance_environment(loaded))
    import dagster as dg

    from surveillance_assets.definitions import defs

    key = day_key(venue, day)
    job = defs().resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.get() as instance:
        result = job.execute_in_process(
            partition_key=key,
            asset_selection=[dg.AssetKey(asset)],
            instance=instance,
            raise_on_error=False,
        )
    if not result.success:
        raise CommandFailed(f"{asset} {key}: {_cause(result)}")
    event = result.asset_materializations_for_node(asset)[0]
    return Materialised(asset, key, {k: v.value for k, v in event.metadata.items()})


def _cause(result: object) -> str:
    events = getattr(result, "all_node_events", [])
    for event in events:
        if event.is_failure:
            data = event.event_specific_data
            description = getattr(getattr(data, "user_failure_data", None), "description", None)
            error = getattr(data, "error", None)
            while error is not None and error.cause is not None:
                error = error.cause
            return description or (error.message.strip() if error is not None else "failed")
    return "a blocking check did not pass; see its evaluation in the UI"
