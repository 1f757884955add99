"""The code location: everything under ``defs``, with its resources and executor.

Concept: https://docs.dagster.io/guides/build/projects-and-components/organizing-dagster-projects
"""

import warnings
from pathlib import Path

import dagster as dg

# backfill_policy= is beta and partitions_def= of checks is preview in 1.13; both are pinned by
# tests/upstream, and a warning at every import teaches people to overlook warnings
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)


@dg.definitions
def defs() -> dg.Definitions:
    """Load the ``defs`` folder and bind what it needs."""
    from surveillance_assets.defs.lake_io import LakeIOManager, LakeResource

    source = LakeResource()
    return dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
        dg.Definitions(
            resources={"source": source, "lake": LakeIOManager(source=source)},
            # parallel by runs, not by steps: a process a step costs 70 s a run, this 2 s
            executor=dg.in_process_executor,
        ),
    )
