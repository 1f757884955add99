"""Scans of large simulated venues: complete, within the limits, and harmless where they fail."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx

from scorecard.figure import Figure, Finished, run
from surveillance_assets.demo import START_SECONDS, variables
from surveillance_assets.processes import ProcessGroup, free_port, module_command
from surveillance_core.markets import Venue
from surveillance_core.settings import Settings, load_settings

SUBJECT = "scan"
SIZES = {Venue.POLYMARKET: 20_000, Venue.KALSHI: 10_000}
MOST_MEGABYTES = 600.0


def measure() -> Iterator[Figure]:
    """One scan of both venues, held against a plain reading of their pages; one that breaks off."""
    with tempfile.TemporaryDirectory(prefix="surveillance-scan-") as directory:
        root = Path(directory)
        overrides = _overrides(root)
        settings = load_settings(Path("config/surveillance.toml"), overrides).settings
        environment = dict(variables(overrides))
        with ProcessGroup(environment, root / "logs") as group:
            words = ("surveillance_assets.cli", "simulate")
            venues = group.start("venues", module_command(*words))
            for port in (settings.mock.http_port, settings.mock.kalshi_http_port):
                group.wait_for_port(venues, port, START_SECONDS)
            listed = {venue: _listed(settings, venue) for venue in SIZES}
            yield from _complete(root, environment, listed)
            digests = _digests(root)
        faults = root / "faults.toml"
        faults.write_text(_BREAKS_OFF, encoding="utf-8")
        with ProcessGroup(environment, root / "logs") as group:
            broken = group.start("broken", module_command(*words, "--faults", str(faults)))
            for port in (settings.mock.http_port, settings.mock.kalshi_http_port):
                group.wait_for_port(broken, port, START_SECONDS)
            time.sleep(2.0)
            done = _scan(environment)
        yield Figure(
            SUBJECT,
            "venues that answer 500 half-way: exit code",
            str(done.code),
            "1",
            done.code == 1,
        )
        kept = digests == _digests(root)
        yield Figure(SUBJECT, "the last good universes after it", _said(kept), "as before", kept)


def _complete(
    root: Path, environment: dict[str, str], listed: dict[Venue, set[str]]
) -> Iterator[Figure]:
    done = _scan(environment)
    yield Figure(SUBJECT, "scan --all-venues: exit code", str(done.code), "0", done.code == 0)
    rows: list[dict[str, Any]] = json.loads(done.output) if done.code == 0 else []
    for row in rows:
        venue = Venue(row["venue"])
        held = _universe(root, venue)
        name = f"{venue}, {SIZES[venue]:,} markets"
        out = row["seen"] - row["markets"]
        reasons: dict[str, int] = {**row["set_aside"], **row["filtered"]}
        whole = held <= listed[venue] and len(listed[venue]) == row["seen"]
        whole = whole and len(held) == row["markets"] and sum(reasons.values()) == out
        yield Figure(
            SUBJECT,
            f"{name}: kept + set aside or filtered with a reason / listed",
            f"{row['markets']:,} + {out:,} / {len(listed[venue]):,} ({reasons or 'none left out'})",
            "equal",
            whole and row["markets"] >= SIZES[venue],
        )
        yield Figure(
            SUBJECT,
            f"{name}: requests refused by the venue's limits / made",
            f"{row['throttled']} / {row['requests']}",
            "0",
            row["throttled"] == 0,
        )
        yield Figure(
            SUBJECT,
            f"{name}: seconds, peak megabytes of the process",
            f"{row['seconds']:.1f} s, {row['peak_memory_mb']:.0f} MB",
            f"<= {MOST_MEGABYTES:.0f} MB",
            row["peak_memory_mb"] <= MOST_MEGABYTES,
        )


_BREAKS_OFF = """
[[fault]]
venue = "polymarket"
at_seconds = 0.5
kind = "rest_status"
path = "/events/keyset"
status = 500
times = 1000
after = 5

[[fault]]
venue = "kalshi"
at_seconds = 0.5
kind = "rest_status"
path = "/events"
status = 500
times = 1000
after = 7
"""


def _scan(environment: dict[str, str]) -> Finished:
    return run("surveillance", "scan", "--all-venues", "--json", environment=environment)


def _overrides(root: Path) -> dict[str, object]:
    enabled: dict[str, object] = {"enabled": True}
    return {
        "data_dir": str(root / "lake"),
        "venues": {"polymarket": enabled, "kalshi": enabled},
        "mock": {
            "enabled": True,
            "universe_size": 100_000,
            "polymarket_markets": SIZES[Venue.POLYMARKET],
            "kalshi_markets": SIZES[Venue.KALSHI],
            "http_port": free_port(),
            "ws_port": free_port(),
            "kalshi_http_port": free_port(),
            "kalshi_ws_port": free_port(),
        },
    }


def _listed(settings: Settings, venue: Venue) -> set[str]:
    """Ids on the venue's pages, read plainly."""
    polymarket = venue is Venue.POLYMARKET
    path, asks, says = (
        ("/events/keyset", "after_cursor", "next_cursor")
        if polymarket
        else ("/events", "cursor", "cursor")
    )
    params: dict[str, str | int] = (
        {"closed": "false", "limit": 500}
        if polymarket
        else {"status": "open", "with_nested_markets": "true", "limit": 200}
    )
    found: set[str] = set()
    with httpx.Client(base_url=settings.endpoints(venue).rest_url, timeout=60.0) as client:
        while True:
            page = cast("dict[str, Any]", client.get(path, params=params).raise_for_status().json())
            for event in page["events"]:
                for market in event["markets"]:
                    found.add(market["conditionId" if polymarket else "ticker"])
            if not page.get(says):
                return found
            params[asks] = page[says]


def _universe(root: Path, venue: Venue) -> set[str]:
    [path] = (root / "lake" / "metadata" / f"venue={venue}").glob("date=*/universe.jsonl")
    return {json.loads(line)["market_id"] for line in path.read_text("utf-8").splitlines()}


def _digests(root: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((root / "lake" / "metadata").rglob("universe.jsonl"))
    }


def _said(same: bool) -> str:
    return "as before" if same else "changed"
