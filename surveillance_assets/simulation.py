"""The simulated venue as a process: served on loopback, or recorded as fast as it can be made."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import zstandard

from surveillance_core.books import SPELLING
from surveillance_core.command_line import CommandFailed
from surveillance_core.settings import Settings
from surveillance_core.venues.simulated.polymarket.history import record_history
from surveillance_core.venues.simulated.polymarket.replay import CaptureSource
from surveillance_core.venues.simulated.servers import SimulatedPolymarket
from surveillance_core.venues.simulated.world import World

HISTORY_EVENTS_PER_SECOND = 0.5
"""Mean rate of a recorded day: enough for statistics, made in under a minute."""


async def serve_simulation(
    settings: Settings,
    truth: Path | None,
    captures: Path | None,
    seconds: float | None,
    ready: Callable[[str, str], None],
) -> None:
    """Serve until SIGTERM, SIGINT or ``seconds`` have passed; the truth log is closed on return."""
    mock = settings.mock
    source = None
    if captures is not None:
        try:
            source = CaptureSource(captures, start_ms=time.time_ns() // 1_000_000)
        except FileNotFoundError as error:
            raise CommandFailed(str(error)) from error
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    try:
        async with SimulatedPolymarket(
            seed=mock.seed,
            markets=min(mock.markets_per_venue, mock.universe_size),
            events_per_second=mock.events_per_second,
            truth_path=truth,
            source=source,
            http_port=mock.http_port,
            ws_port=mock.ws_port,
        ) as venue:
            ready(venue.http_url, venue.ws_url)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await stopping.wait()
    except OSError as error:
        raise CommandFailed(
            f"the simulated venue cannot listen: {error}. "
            "Another one may run; set mock.http_port and mock.ws_port to 0 for any free ports."
        ) from error


def record_day(settings: Settings, day: date, path: Path) -> int:
    """Write a simulated day's frames as a recording; returns how many frames it holds.

    The recording is what ``surveillance-collector replay`` takes: the same world as is served, from
    midnight to midnight UTC.
    """
    mock = settings.mock
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    start_ms = int(start.timestamp() * 1000)
    world = World(
        mock.seed,
        min(mock.markets_per_venue, mock.universe_size),
        start_ms=start_ms,
        events_per_second=min(mock.events_per_second, HISTORY_EVENTS_PER_SECOND),
    )
    until_ms = int((start + timedelta(days=1)).timestamp() * 1000) - 1_000
    frames = 0
    with (
        path.open("wb") as file,
        zstandard.ZstdCompressor(level=1).stream_writer(file) as stream,
    ):
        for line in _capture_lines(world, until_ms):
            stream.write(line)
            frames += 1
    return frames


def _capture_lines(world: World, until_ms: int) -> Iterator[bytes]:
    encode = msgspec.json.Encoder().encode
    opened_ns = world.start_ms * 1_000_000
    yield encode({"recv_ns": opened_ns, "conn": "c1", "event": "connected"}) + b"\n"
    for market in world.tradable:
        for token in (market.yes_id, market.no_id):
            yield (
                encode(
                    {
                        "recv_ns": opened_ns,
                        "conn": "c1",
                        "event": "asset",
                        "market": market.market_id,
                        "asset_id": token,
                        "min_order_size": "5",
                        "tick_size": SPELLING[market.grid.finest],
                        "neg_risk": world.event_of[market.index].exclusive,
                    }
                )
                + b"\n"
            )
    for recv_ns, text in record_history(world, until_ms):
        yield encode({"recv_ns": recv_ns, "conn": "c1", "frame": text}) + b"\n"
