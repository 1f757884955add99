"""Statuses as a collector reports them, for tests of what is made of them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from surveillance_collector.health.readiness import Limits
from surveillance_core.status import ConnectionStatus, JournalStatus, ProcessStatus, VenueStatus

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
LIMITS = Limits(
    least_books_share=0.9,
    quiet_seconds=30.0,
    least_free_bytes=1024**3,
    universe_age_seconds=48 * 3_600.0,
)


def connection(name: str = "polymarket-0", **changed: Any) -> ConnectionStatus:
    """A connection that is well."""
    fields: dict[str, Any] = {
        "up": True,
        "assets": 20,
        "data_age_seconds": 0.2,
        "reconnects": {},
        "ping_seconds": 0.03,
        "silence_seconds": 12.0,
        "sentinel": "own",
    }
    return ConnectionStatus(name=name, **(fields | changed))


def venue(name: str = "polymarket", **changed: Any) -> VenueStatus:
    """A collection that is well, with something in every figure."""
    fields: dict[str, Any] = {
        "seconds": 60.0,
        "universe": date(2026, 9, 1),
        "universe_age_seconds": 3_600.0,
        "markets": 11,
        "books_expected": 10,
        "books": 10,
        "trusted": 10,
        "trust": {"verified": 8, "unverified": 2},
        "frames": 1_000,
        "messages": {"price_change": 900, "book": 100},
        "rejected": {"not_json": 1},
        "rejected_not_kept": 0,
        "ignored": {"asset_not_followed": 2},
        "counts": {"snapshots": 500, "trades": 20, "doubted_hash_mismatch": 1},
        "hashes": {"due": 100, "matched": 99, "mismatched": 1},
        "connections": (connection(reconnects={"closed_1006": 1}),),
        "rows_held": 50,
        "published": {"orderbook_snapshots": 400},
        "files": 3,
        "publish_failures": 0,
        "publish_failing": False,
        "engine_age_seconds": 0.05,
        "stalls": {"silence": 2, "witness": 1},
        "verdicts": {"right": 1, "wrong": 1},
        "witness": {"agreed": 90, "mismatched": 1},
        "journal": JournalStatus(free_share=0.5),
        "failed": "",
        "stopping": False,
    }
    return VenueStatus(venue=name, **(fields | changed))


def process(**changed: Any) -> ProcessStatus:
    """A process that is well."""
    fields: dict[str, Any] = {
        "pid": 4711,
        "version": "0.1.0",
        "origin": "simulated",
        "started": NOON,
        "disk_free_bytes": 50 * 1024**3,
        "loop_lag_seconds": 0.004,
    }
    return ProcessStatus(**(fields | changed))
