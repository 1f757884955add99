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


def quick_settings(
    folder: Path,
    ws_url: str,
    *,
    heartbeat_seconds: float = 1.0,
    http_url: str | None = None,
    **polymarket: Any,
) -> Settings:
    """Settings with a lake in the folder; ``polymarket`` changes the venue's table."""
    mock: dict[str, Any] = {"enabled": True, "ws_port": urlsplit(ws_url).port}
    if http_url is not None:
        mock["http_port"] = urlsplit(http_url).port
    config = folder / "surveillance.toml"
    config.touch()
    overrides = {
        "data_dir": str(folder / "lake"),
        "venues": {"polymarket": _QUICK | polymarket},
        "storage": {
            "bucket_minutes": 0.05,
            "flush_seconds": 0.0,
            "heartbeat_seconds": heartbeat_seconds,
        },
        "universe": {"poll_seconds": 0.1},
        "health": {"port": 0, "least_free_gib": 0.0},
        "mock": mock,
    }
    return load_settings(config, overrides).settings
