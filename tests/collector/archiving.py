"""Histories journaled, published and archived as a collector does it, by a clock in hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from surveillance_collector.configured import new_engine
from surveillance_collector.recording import Recording
from surveillance_collector.sampling import Tier
from surveillance_core.lake.layout import RAW
from surveillance_core.lake.manifest import ManifestEntry, manifest_days, read_manifest
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.read import scan_table
from surveillance_core.lake.schemas import COLLECTED, Table
from surveillance_core.markets import Venue
from surveillance_core.settings import Settings, load_settings
from surveillance_core.venues.protocols import AssetTerms
from surveillance_core.venues.registry import asset_terms
from surveillance_core.venues.simulated.happenings import Phase
from surveillance_core.venues.simulated.kalshi.history import record_history as kalshi_history
from surveillance_core.venues.simulated.polymarket.history import record_history as pm_history
from surveillance_core.venues.simulated.world import World

from .cutting import Step
from .worlds import MS, SECOND, universe_of

HOUR_NS = 3_600 * SECOND
TURN_NS = int(datetime(2026, 9, 21, 15, tzinfo=UTC).timestamp()) * SECOND
"""An hour begins, in the middle of every history here."""
SPAN_S = 20
"""Of a history, before and after that."""
BEGIN_NS = TURN_NS - SPAN_S * SECOND
END_NS = TURN_NS + SPAN_S * SECOND
DAY = datetime(2026, 9, 21, tzinfo=UTC).date()
SHARD = "0"

History = tuple[tuple[AssetTerms, ...], tuple[tuple[int, str], ...]]


@lru_cache(maxsize=2)
def history(venue: Venue) -> History:
    """What is followed, and frames by the time they are received."""
    start_ms = BEGIN_NS // MS
    if venue is Venue.POLYMARKET:
        world = World(3, 4, start_ms=start_ms, events_per_second=10, trade_share=0.2)
        terms = [t for market in universe_of(world) for t in asset_terms(market, mirror=True)]
        return tuple(terms), tuple(pm_history(world, END_NS // MS))
    world = World(1, 2, kalshi_markets=6, start_ms=start_ms, events_per_second=10, trade_share=0.2)
    followed = tuple(
        AssetTerms(market_id=m.market_id, asset_id=m.yes_id, tick=m.grid.finest)
        for m in world.tradable
        if m.venue is Venue.KALSHI and world.phase(m.index) is Phase.OPEN
    )
    return followed, tuple(kalshi_history(world, END_NS // MS))


_PRINTS = ('"event_type":"last_trade_price"', '"type":"trade"')


def eventful(venue: Venue) -> list[Step]:
    """The history with a connection that another relieves, a market forgotten, frames late
    and lost.

    A book that lost something is doubted. The last frames come after a cut, and one is no text.
    """
    terms, frames = history(venue)
    renewed, cut = len(frames) // 3, 4 * len(frames) // 5
    lost = set(range(cut + 8, cut + 12))
    conn, half = "c1", len(terms) // 2
    steps: list[Step] = []

    def relieve(name: str, followed: Sequence[AssetTerms], number: int) -> None:
        ns = frames[number][0] if number else BEGIN_NS
        steps.append(("connect", (name, ns)))
        steps.append(("follow", (name, followed[:half], Tier.HOT, ns)))
        steps.append(("follow", (name, followed[half:], Tier.WARM, ns)))
        # in the place of an answer with whole books: all that makes the books what they are
        books = (f for _, f in frames[:number] if not any(kind in f for kind in _PRINTS))
        steps.extend(("take", (name, frame.encode(), ns)) for frame in books)

    relieve("c1", terms, 0)
    for number, (ns, frame) in enumerate(frames):
        if number == renewed:
            relieve("c2", terms, number)
            steps.append(("disconnect", ("c1", ns, "renewed")))
            conn = "c2"
        if number == renewed + 20:
            steps.append(("hold_up", (conn, ns - SECOND, ns)))
        if number == renewed + 40:
            steps.append(("catch_up", (conn, ns)))
        if number == (renewed + cut) // 2:
            steps.append(("shed", ([terms[-1].asset_id], ns)))
            steps.append(("forget", (conn, [terms[-1].asset_id], ns)))
        if number == cut:
            steps.append(("take", (conn, b"\xff\xfe", ns)))
            steps.append(("disconnect", (conn, ns, "closed_1006", ns - SECOND)))
            steps.append(("forget", (conn, [terms[-2].asset_id], ns)))
            relieve("c3", terms[:-2], number)
            conn = "c3"
        if number == cut + 20 and venue is Venue.POLYMARKET:
            steps.append(("take", (conn, _resolved(terms[0]), ns)))
        if number not in lost:
            steps.append(("take", (conn, frame.encode(), ns)))
    return steps


def _resolved(terms: AssetTerms) -> bytes:
    told = {
        "event_type": "market_resolved", "id": "7", "market": terms.market_id,
        "assets_ids": [terms.asset_id], "winning_asset_id": terms.asset_id,
        "winning_outcome": "Yes", "timestamp": str(TURN_NS // MS), "tags": [],
    }  # fmt: skip
    return json.dumps(told).encode()


def quick(config: Path, data_dir: Path, keep_days: float = 1.0, **storage: Any) -> Settings:
    """Settings with short buckets."""
    venue = {
        "enabled": True,
        "snapshot_interval_ms_hot": 200,
        "snapshot_interval_ms_warm": 1_000,
        "hash_check_interval_ms": 100,
    }
    overrides = {
        "data_dir": str(data_dir),
        "venues": {"polymarket": venue, "kalshi": venue | {"hash_check_interval_ms": 0}},
        "storage": {
            "bucket_minutes": 0.1,
            "heartbeat_seconds": 2.0,
            "raw": {"keep_days": keep_days},
        }
        | storage,
        "mock": {"enabled": True},
    }
    return load_settings(config, overrides).settings


class Collecting:
    """A collector's recording that is told what happens and what time it is."""

    def __init__(self, settings: Settings, lake: Lake, venue: Venue) -> None:
        self.now_ns = BEGIN_NS
        self.asked = 0
        """How often the time was asked for."""
        self.recording = Recording(
            settings,
            lake,
            venue,
            SHARD,
            new_engine(settings, venue),
            now_ns=self._now,
            wall_ns=lambda: self.now_ns,
        )

    def _now(self) -> int:
        self.asked += 1
        return self.now_ns

    async def follow(self, steps: Iterable[Step], tick_ns: int = 500 * MS) -> None:
        """Do the steps, letting time pass between them as often as ``tick_ns``."""
        for name, arguments in steps:
            ns = arguments[_TIME_AT[name]]
            while self.now_ns + tick_ns <= ns:
                self.now_ns += tick_ns
                self.recording.take(self.now_ns)
            self.now_ns = max(self.now_ns, ns)
            getattr(self.recording.sink, name)(*arguments)

    async def die(self) -> None:
        """Everything is synced, and nothing more is done."""
        assert await self.recording.journal.sync()
        await self.recording.journal.close()


_TIME_AT = {
    "connect": 1,
    "follow": 3,
    "take": 2,
    "disconnect": 1,
    "forget": 2,
    "hold_up": 2,
    "shed": 1,
    "catch_up": 1,
}


async def collect(settings: Settings, lake: Lake, venue: Venue, steps: Sequence[Step]) -> None:
    """A run from beginning to end, everything of it published and put away."""
    collecting = Collecting(settings, lake, venue)
    await collecting.recording.prepare()
    await collecting.follow(steps)
    collecting.now_ns += SECOND
    await collecting.recording.stop()


def raw_entries(lake: Lake, venue: Venue) -> list[ManifestEntry]:
    """Files of the archive that are listed, the first received first."""
    days = manifest_days(lake.store, venue)
    found = [e for day in days for e in read_manifest(lake.store, venue, day).files(RAW)]
    return sorted(found, key=lambda entry: entry.journal or (0, 0))


def rows_by_table(
    lake: Lake,
    venue: Venue,
    hours: Iterable[int] | None = None,
    tables: Sequence[Table] = COLLECTED,
) -> dict[str, list[tuple[object, ...]]]:
    """Every row of the collected tables, of some hours, sorted."""
    found: dict[str, list[tuple[object, ...]]] = {}
    for table in tables:
        time = "ts_start" if table.name == "coverage" else "ts_recv"
        frame = scan_table(lake, table, venue, manifest_days(lake.store, venue)).frame
        if hours is not None:
            frame = frame.filter(pl.col(time).dt.hour().is_in(list(hours)))
        found[table.name] = sorted(frame.collect().rows(), key=repr)
    return found
