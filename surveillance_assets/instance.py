"""Where the Dagster instance is: environment that every process of one system shares."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from surveillance_core.command_line import CommandFailed, open_lake
from surveillance_core.settings import DEFAULT_CONFIG, LoadedSettings

DAGSTER_FILE = "dagster.yaml"
WORKSPACE_FILE = "workspace.yaml"


def workspace_file(environment: Mapping[str, str]) -> str:
    """The workspace beside the instance's directory, which names the code location."""
    return str(Path(environment["DAGSTER_HOME"]).parent / WORKSPACE_FILE)


def instance_environment(loaded: LoadedSettings) -> dict[str, str]:
    """``DAGSTER_HOME``, ``SURVEILLANCE_STATE`` and the settings' place, as absolute paths.

    ``DAGSTER_HOME`` is the directory of the settings file, which holds ``dagster.yaml``; state goes
    beside the lake unless ``$SURVEILLANCE_STATE`` names another place.
    """
    path = (loaded.path or DEFAULT_CONFIG).absolute()
    home = Path(os.environ.get("DAGSTER_HOME", path.parent))
    if not (home / DAGSTER_FILE).is_file():
        raise CommandFailed(
            f"{home / DAGSTER_FILE}: no such file. Run from the project's root, or set "
            "DAGSTER_HOME to the directory that holds it."
        )
    store = open_lake(loaded.settings, write=False).store
    state = Path(os.environ.get("SURVEILLANCE_STATE") or store.state_dir() / "dagster")
    state.mkdir(parents=True, exist_ok=True)
    environment = {
        "DAGSTER_HOME": str(home.absolute()),
        "SURVEILLANCE_STATE": str(state.absolute()),
        # event writes of a long run: 13 s one by one, 0.12 s in batches (reference dagster.md, D12)
        "DAGSTER_EVENT_BATCH_SIZE": "1000",
    }
    if loaded.path is not None:
        environment["SURVEILLANCE_CONFIG"] = str(path)
    data_dir = loaded.settings.data_dir
    environment["SURVEILLANCE__DATA_DIR"] = (
        data_dir if "://" in data_dir else str(Path(data_dir).absolute())
    )
    return environment
