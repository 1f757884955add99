"""What the shared captures hold, file by file: listings, series, books and frames of both venues.

Nothing here asks the adapters: the objects are told apart by their members alone, so that a test
which counts them does not count with the code it judges.
"""

from __future__ import annotations

import ast
import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from surveillance_core.venues.captures import AssetRecord, Connected, FrameRecord, read_capture

Json = dict[str, Any]
SHARED = Path(os.environ.get("SURVEILLANCE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
FIXTURES = SHARED / "fixtures"
FOLDERS = ("polymarket/gamma", "polymarket/clob", "polymarket/ws", "kalshi/rest", "kalshi/ws")
RECORDINGS = ("captures/polymarket", "captures/kalshi")

NEITHER_LISTING_NOR_FRAME = {
    "polymarket/gamma/forecastbench_*": "questions and rules texts without the venue's objects",
    "polymarket/gamma/nautilus_gamma_tags.json": "labels only",
    "polymarket/gamma/snapshot_*": "names the members of a shape, holds no page",
    "polymarket/clob/snapshot_*": "names the members of a shape, holds no page",
    "polymarket/clob/clob_markets_fed_*": "terms of trading under one-letter names, no listing",
    "kalshi/rest/candlesticks_mlb_*": "price history",
    "kalshi/rest/old_2026-01/*candlesticks*": "price history",
    "kalshi/rest/econ_ladders_normalised_*": "rewritten by who captured it",
    "kalshi/rest/error_bodies.json": "refusals; test_kalshi_pages reads each",
    "kalshi/rest/fills_fee_check_*": "own fills; test_kalshi_fills charges each",
    "kalshi/rest/multivariate_event_collections_*": "collections of combinations",
    "kalshi/rest/old_2026-01/event_metadata_*": "pictures of an event",
    "kalshi/rest/old_2026-01/exchange_schedule_*": "opening hours",
    "kalshi/rest/old_2026-01/filters_by_sport_*": "search filters",
    "kalshi/rest/old_2026-01/live_data_*": "scores",
    "kalshi/rest/old_2026-01/milestone*": "dates of real-world events",
    "kalshi/rest/old_2026-01/multivariate_event_collection*": "collections of combinations",
    "kalshi/rest/old_2026-01/series_fee_changes_*": "an empty list of changes",
    "kalshi/rest/old_2026-01/structured_target*": "teams and players",
    "kalshi/rest/old_2026-01/tags_by_categories_*": "labels only",
    "kalshi/rest/old_2026-01/trades_list_*": "prints by REST, which nothing reads",
    "kalshi/rest/occurrence_datetime_probe_*": "single members of markets",
    "kalshi/rest/price_grids_*": "price grids without their markets",
}
"""Captures that hold neither a listing, nor terms of one, nor a book, nor a frame, and why.

``kalshi/spec`` (the venue's own schemas) and ``polymarket/xvenue`` (verdicts on pairs) are no
captures of an interface and stay out as folders.
"""


def captured_files(*folders: str, containing: str = "") -> list[Any]:
    """Every file below the folders as test parameters; one that is skipped where there are none."""
    names = [
        str(path.relative_to(FIXTURES))
        for folder in folders
        for path in sorted((FIXTURES / folder).rglob("*"))
        if path.is_file() and containing in path.name
    ]
    if names:
        return names
    reason = f"no fixtures in {FIXTURES}; name their folder in SURVEILLANCE_SHARED"
    return [pytest.param("", marks=pytest.mark.skip(reason=reason))]


def why_left_out(name: str) -> str | None:
    """Why a file holds nothing for the adapters, None if it must."""
    reasons = (why for glob, why in NEITHER_LISTING_NOR_FRAME.items() if fnmatch(name, glob))
    return next(reasons, None)


def values(name: str) -> list[Any]:
    """The JSON values of a file: one, or one a line."""
    content = (FIXTURES / name).read_bytes()
    text = (gzip.decompress(content) if name.endswith(".gz") else content).decode()
    if name.endswith(".txt"):  # printed by Python, not as JSON
        return [ast.literal_eval(line) for line in text.splitlines() if line]
    if ".jsonl" in name:
        return [json.loads(line) for line in text.splitlines() if line]
    return [json.loads(text)]


@dataclass
class Held:
    """What a capture holds, in its order."""

    events: list[Json] = field(default_factory=list)
    markets: list[Json] = field(default_factory=list)
    """Markets that stand alone."""
    series: list[Json] = field(default_factory=list)
    programmes: list[Json] = field(default_factory=list)
    statuses: list[Json] = field(default_factory=list)
    books: list[Json] = field(default_factory=list)
    """REST books as the snapshot frames they would be."""
    connections: list[list[str]] = field(default_factory=list)
    """Frames as text by connection; a frame quoted alone has a connection of its own."""

    @property
    def frames(self) -> list[str]:
        """Every frame."""
        return [frame for connection in self.connections for frame in connection]

    @property
    def listed(self) -> list[Json]:
        """Every market, those of events first."""
        nested = [market for event in self.events for market in event.get("markets") or []]
        return nested + self.markets

    def count(self) -> int:
        """Objects and frames held."""
        terms = len(self.series) + len(self.programmes) + len(self.statuses)
        alone = sum("markets" not in event for event in self.events)
        return len(self.listed) + alone + terms + len(self.books) + len(self.frames)


@cache
def held(name: str) -> Held:
    """What one file holds."""
    found = Held()
    if name.startswith("captures/"):
        for record in read_capture(FIXTURES / name):
            if isinstance(record, Connected):
                found.connections.append([])
            elif isinstance(record, FrameRecord):
                found.connections[-1].append(record.frame)
    elif "/ws/" in name:
        found.connections = _connections(values(name))
    elif name.startswith("polymarket/"):
        for value in values(name):
            _walk_polymarket(value, found)
    else:
        for value in values(name):
            _walk_kalshi(value, found)
    return found


def recorded_assets(name: str) -> list[AssetRecord]:
    """What a recording says of its assets beside the frames."""
    return [record for record in read_capture(FIXTURES / name) if isinstance(record, AssetRecord)]


def _connections(rows: list[Any]) -> list[list[str]]:
    """The frames of a file: what was received in a row is one connection."""
    connections: list[list[str]] = []
    begun = False
    for row in rows:
        received = isinstance(row, dict) and bool(row.keys() & {"recv_ns", "recv_ms", "kind"})
        opened = (
            isinstance(row, dict)
            and isinstance(row.get("frame"), dict)
            and ("_meta" in row["frame"])
        )
        if opened or not received or not begun:
            connections.append([])
        begun = received
        connections[-1] += _frames(row)
    return [connection for connection in connections if connection]


def _frames(value: Any) -> Iterator[str]:
    """Frames as text, out of the wrapper of whoever recorded them; commands sent are none."""
    if isinstance(value, dict):
        for wrapper in ("raw", "data", "frame", "payload", "book"):
            if wrapper in value:
                if isinstance(value[wrapper], str):
                    yield value[wrapper]
                else:
                    yield from _frames(value[wrapper])
                return
        if "cmd" in value or "meta" in value or "_meta" in value:
            return
    yield json.dumps(value)


def _walk_polymarket(value: Any, found: Held) -> None:
    if isinstance(value, list):
        for item in value:
            _walk_polymarket(item, found)
    elif isinstance(value, dict):
        if isinstance(value.get("markets"), list):
            found.events.append(value)
        elif "conditionId" in value or {"condition_id", "tokens"} <= value.keys():
            found.markets.append(value)
        elif {"bids", "asks", "asset_id"} <= value.keys():
            found.books.append(value | {"event_type": "book"})
        else:
            for item in value.values():
                _walk_polymarket(item, found)


def _walk_kalshi(value: Any, found: Held, ticker: str = "") -> None:
    if isinstance(value, list):
        for item in value:
            _walk_kalshi(item, found, ticker)
        return
    if not isinstance(value, dict):
        return
    if "mutually_exclusive" in value:
        found.events.append(value)
        return
    named = value.get("ticker")
    ticker = named if isinstance(named, str) else ticker
    if {"ticker", "event_ticker", "close_time"} <= value.keys():
        found.markets.append(value)
    if "fee_type" in value:
        # rows on a series name it ``series``; the venue's own objects, ``ticker``
        found.series.append({"ticker": value.get("series_ticker") or value.get("series")} | value)
    if "incentive_type" in value:
        found.programmes.append(value)
    if {"exchange_active", "trading_active"} <= value.keys():
        found.statuses.append(value)
    for envelope in ("orderbook_fp", "orderbook"):
        if isinstance(book := value.get(envelope), dict) and not isinstance(
            book.get("orderbook_fp"), dict
        ):
            found.books.append(_snapshot(book, ticker or "UNNAMED", len(found.books) + 1))
            break
    for item in value.values():
        _walk_kalshi(item, found, ticker)


def _snapshot(book: Json, ticker: str, seq: int) -> Json:
    """A REST book as the frame that would carry it."""
    return {
        "type": "orderbook_snapshot",
        "sid": 1,
        "seq": seq,
        "msg": {"market_ticker": ticker} | {key: side for key, side in book.items() if side},
    }
