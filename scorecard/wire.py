"""Real captures: every hash, every page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from scorecard.figure import Figure, captures, run
from surveillance_core.venues.polymarket.discovery import EventReader

SUBJECT = "real captures"
NOT_PAGES = ("forecastbench", "tags", "snapshot_")
"""Rules texts, a tag list, and descriptions of shapes: no market objects in them."""


def measure() -> Iterator[Figure]:
    """Replay with verification, and discovery over every captured page."""
    yield from _replay("polymarket")
    yield from _replay("kalshi")
    yield from _pages()


def _replay(venue: str) -> Iterator[Figure]:
    files = captures("captures", venue, "*.jsonl.gz")
    replay = f"replay --venue {venue} --verify"
    if not files:
        yield Figure(SUBJECT, replay, "captures absent", "exit code 0", None)
        return
    done = run(
        "surveillance-collector", "replay", *map(str, files), "--venue", venue, "--verify", "--json"
    )
    yield Figure(SUBJECT, f"{replay}: exit code", str(done.code), "0", done.code == 0)
    report = json.loads(done.output)
    tally, seq = report["hash"], report["seq"]
    if venue == "polymarket":
        yield Figure(
            SUBJECT,
            "Polymarket recordings: book hashes matched / due",
            f"{tally['matched']} / {tally['due']}",
            "all",
            tally["matched"] == tally["due"] > 0 and not tally["mismatched"],
        )
    else:
        yield Figure(
            SUBJECT,
            "Kalshi recordings: sequence gaps / streams",
            f"{seq['gaps']} / {seq['streams']}",
            "no gap",
            seq["streams"] > 0 and seq["gaps"] == 0,
        )
        negative = report["negative_levels"]
        yield Figure(
            SUBJECT, "Kalshi recordings: negative levels", str(negative), "0", negative == 0
        )
    bad = sum(report["rejected"].values()) + report["damaged_lines"]
    yield Figure(SUBJECT, f"{replay}: frames rejected or lines damaged", str(bad), "0", bad == 0)


def _pages() -> Iterator[Figure]:
    files = [
        path
        for path in captures("polymarket", "gamma", "*")
        if not any(part in path.name for part in NOT_PAGES)
    ]
    what = "Gamma pages: markets kept + set aside with a reason / seen"
    if not files:
        yield Figure(SUBJECT, what, "captures absent", "equal", None)
        return
    reader = EventReader(datetime.now(UTC))
    for path in files:
        for value in _values(path):
            _read(value, reader)
    found = reader.found
    kept, aside = len(found.markets), found.set_aside.total()
    yield Figure(
        SUBJECT,
        what,
        f"{kept:,} + {aside:,} / {found.seen:,}",
        "equal",
        kept + aside == found.seen > 0,
    )
    reasons = Counter(found.set_aside)
    shown = ", ".join(f"{name} {count}" for name, count in reasons.most_common())
    yield Figure(SUBJECT, "reasons of those set aside", shown, "each named", bool(reasons))


def _values(path: Path) -> list[object]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [json.loads(path.read_text(encoding="utf-8"))]


def _read(value: object, reader: EventReader) -> None:
    """Find events and bare markets wherever a capture holds them."""
    if isinstance(value, list):
        for item in cast("list[object]", value):
            _read(item, reader)
    elif isinstance(value, dict):
        members = cast("dict[str, object]", value)
        if isinstance(members.get("markets"), list):
            reader.read_event(members)
        elif "conditionId" in members:
            reader.read_market(members, None)
        else:
            for item in members.values():
                _read(item, reader)
