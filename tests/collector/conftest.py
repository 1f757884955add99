"""Settings, lakes and isolation for the collector's tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import structlog

from surveillance_core.lake.publish import Lake
from surveillance_core.settings import ENVIRONMENT_PREFIX, Settings, load_settings
from surveillance_core.venues.simulated.servers import SimulatedPolymarket

MakeSettings = Callable[..., Settings]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of the machine's configuration gets in; no logger is left on a closed stream."""
    for name in list(os.environ):
        if name.startswith(ENVIRONMENT_PREFIX) or name == "SURVEILLANCE_CONFIG":
            monkeypatch.delenv(name)
    yield
    structlog.reset_defaults()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """An empty settings file: every key at its default."""
    path = tmp_path / "surveillance.toml"
    path.write_text("")
    return path


@pytest.fixture
def make_settings(tmp_path: Path, config: Path) -> MakeSettings:
    """Settings of a collector in a hurry, pointed at a simulated venue where one is given."""

    def make(venue: SimulatedPolymarket | None = None, **polymarket: Any) -> Settings:
        mock: dict[str, Any] = {"enabled": True}
        if venue is not None:
            mock["http_port"] = urlsplit(venue.http_url).port
            mock["ws_port"] = urlsplit(venue.ws_url).port
        quick = {
            "enabled": True,
            "snapshot_interval_ms_hot": 100,
            "snapshot_interval_ms_warm": 200,
            "hash_check_interval_ms": 0,
            "reconnect_max_seconds": 0.2,
        }
        overrides = {
            "data_dir": str(tmp_path / "lake"),
            "venues": {"polymarket": quick | polymarket},
            "storage": {"bucket_minutes": 0.05, "flush_seconds": 0.0, "heartbeat_seconds": 1.0},
            "universe": {"poll_seconds": 0.1},
            "health": {"port": 0, "least_free_gib": 0.0},
            "mock": mock,
        }
        return load_settings(config, overrides).settings

    return make


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake for simulated data."""
    return Lake(str(tmp_path / "lake"), "simulated")
