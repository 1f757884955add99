"""Running a collector and waiting for what it does, with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import pairwise
from urllib.parse import urlsplit

import polars as pl

from surveillance_collector.service import VenueCollector
from surveillance_collector.share import WHOLE, Share
from surveillance_core.lake.publish import Lake, publish_universe
from surveillance_core.lake.schemas import COVERAGE, SNAPSHOTS, TRADES
from surveillance_core.markets import Market
from surveillance_core.settings import Settings
from surveillance_core.venues.simulated.judge import compare_books, compare_trades
from surveillance_core.venues.simulated.servers import SimulatedPolymarket
from surveillance_core.venues.simulated.world import World

from .worlds import VENUE, lake_rows, universe_of

PATIENCE_S = 15.0
PRINT_LAG_NS = 300_000_000
"""A print follows its batch by up to 90 ms; the rest is for a busy machine."""


def busy_venue(*, markets: int = 6, rate: float = 80.0) -> SimulatedPolymarket:
    """A simulated venue on which something happens all the time."""
    return SimulatedPolymarket(seed=5, markets=markets, events_per_second=rate)


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def world_of(venue: SimulatedPolymarket) -> World:
    assert venue.world is not None
    return venue.world


def publish(lake: Lake, markets: list[Market]) -> None:
    """Publish today's universe."""
    publish_universe(lake, VENUE, datetime.now(UTC).date(), markets, writer="universe")


def publish_world(lake: Lake, venue: SimulatedPolymarket) -> list[Market]:
    """Publish everything the venue lists."""
    markets = universe_of(world_of(venue))
    publish(lake, markets)
    return markets


async def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> None:
    """Wait for a condition that nothing announces."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        if condition():
            return
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def collecting(
    settings: Settings, lake: Lake, share: Share = WHOLE
) -> AsyncGenerator[VenueCollector]:
    """A collector that runs inside the block; everything it held is published after it."""
    collector = VenueCollector(settings, lake, VENUE, share)
    task = asyncio.create_task(collector.run())
    try:
        yield collector
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def judge(lake: Lake, venue: SimulatedPolymarket, *, rows: int = 1) -> None:
    """Every row is true, and no trade is missing from a trusted interval."""
    books = compare_books(lake_rows(lake, SNAPSHOTS), venue.truth)
    assert books.compared >= rows, f"{books.compared} rows, not {rows}"
    assert not books.different, f"{books.different} rows not true: {books.examples[:1]}"
    trades = compare_trades(
        lake_rows(lake, TRADES), venue.truth, windows=trusted_windows(lake, venue)
    )
    assert not trades.missing, f"{trades.missing} trades missing: {trades.examples[:1]}"
    assert not trades.extra, f"{trades.extra} trades too many: {trades.examples[:1]}"


def trusted_windows(
    lake: Lake, venue: SimulatedPolymarket, lag_ns: int = PRINT_LAG_NS
) -> dict[str, list[tuple[int, int]]]:
    """When each token was followed and trusted, nanoseconds, less what may have been on its way."""
    other = {m.yes_id: m.no_id for m in world_of(venue).tradable}
    windows: dict[str, list[tuple[int, int]]] = {}
    for row in trust(lake).iter_rows(named=True):
        if row["state"] == "trusted":
            window = (row["start_us"] * 1_000, row["end_us"] * 1_000 - lag_ns)
            for token in (row["outcome_id"], other[row["outcome_id"]]):
                windows.setdefault(token, []).append(window)
    return windows


def trust(lake: Lake) -> pl.DataFrame:
    """Coverage with neighbouring rows of one state joined and what a doubt took back cut off.

    Columns outcome_id, start_us, end_us, state, cause.
    """
    rows = lake_rows(lake, COVERAGE).select(
        "outcome_id",
        pl.col("ts_start").dt.epoch("us").alias("start_us"),
        pl.col("ts_end").dt.epoch("us").alias("end_us"),
        "state",
        "cause",
    )
    joined: list[dict[str, object]] = []
    for (_,), line in rows.group_by("outcome_id", maintain_order=True):
        events = line.rows(named=True)
        edges = sorted({row[key] for row in events for key in ("start_us", "end_us")})
        before: dict[str, object] | None = None
        for start, end in pairwise(edges):
            over = [row for row in events if row["start_us"] <= start and row["end_us"] >= end]
            # where a trusted and an untrusted row overlap, the untrusted one holds
            row = max(over, key=lambda row: row["state"] == "untrusted", default=None)
            if row is None:
                continue
            same = ("outcome_id", "state", "cause")
            if (
                before is not None
                and before["end_us"] == start
                and all(before[key] == row[key] for key in same)
            ):
                before["end_us"] = end
            else:
                before = row | {"start_us": start, "end_us": end}
                joined.append(before)
    return pl.DataFrame(joined, schema=rows.schema)
