"""Settings of a collector in a hurry, in a directory of a test's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surveillance_core.settings import Settings, load_settings
from surveillance_core.venues.simulated.servers import SimulatedPolymarket
from tests.collector.live import port_of


def hurried(root: Path, venue: SimulatedPolymarket | None = None, **polymarket: Any) -> Settings:
    """Settings with the lake at ``root/lake``, pointed at a simulated venue where one is given."""
    root.mkdir(exist_ok=True)
    config = root / "surveillance.toml"
    config.write_text("")
    mock: dict[str, Any] = {"enabled": True}
    if venue is not None:
        mock |= {"http_port": port_of(venue.http_url), "ws_port": port_of(venue.ws_url)}
    quick = {
        "enabled": True,
        "snapshot_interval_ms_hot": 100,
        "snapshot_interval_ms_warm": 200,
        "hash_check_interval_ms": 0,
        "reconnect_max_seconds": 0.2,
    }
    overrides: Mapping[str, Any] = {
        "data_dir": str(root / "lake"),
        "venues": {"polymarket": quick | polymarket},
        "storage": {"bucket_minutes": 0.05, "flush_seconds": 0.0, "heartbeat_seconds": 1.0},
        "universe": {"poll_seconds": 0.1},
        "health": {"port": 0, "least_free_gib": 0.0},
        "mock": mock,
    }
    return load_settings(config, overrides).settings
