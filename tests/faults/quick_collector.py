"""Settings of a collector in a hurry, pointed at a venue on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from surveillance_core.settings import Settings, load_settings

_QUICK: dict[str, Any] = {
    "enabled": True,
    "snapshot_interval_ms_hot": 100,
    "snapshot_interval_ms_warm": 200,
    "hash_check_interval_ms": 0,
    "reconnect_max_seconds": 0.2,
}


def quick_settings(folder: Path, ws_url: str, **polymarket: Any) -> Settings:
    """Settings with a lake in the folder; ``polymarket`` changes the venue's table."""
    config = folder / "surveillance.toml"
    config.touch()
    overrides = {
        "data_dir": str(folder / "lake"),
        "venues": {"polymarket": _QUICK | polymarket},
        "storage": {"bucket_minutes": 0.05, "flush_seconds": 0.0, "heartbeat_seconds": 1.0},
        "universe": {"poll_seconds": 0.1},
        "health": {"port": 0, "least_free_gib": 0.0},
        "mock": {"enabled": True, "ws_port": urlsplit(ws_url).port},
    }
    return load_settings(config, overrides).settings
