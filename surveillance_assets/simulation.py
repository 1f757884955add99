"""The simulated venues as a process: served on loopback, or recorded as fast as can be."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import zstandard

from surveillance_core.books import SPELLING
from surveillance_core.command_line import CommandFailed
from surveillance_core.markets import Venue
from surveillance_core.settings import Settings
from surveillance_core.simulated_time import receive_time_ns
from surveillance_core.venues.kalshi.credentials import SIMULATED_KEY_ID, simulated_public_key
from surveillance_core.venues.simulated.fault_schedule import FaultScheduleError, read_schedule
from surveillance_core.venues.simulated.faults import Faults
from surveillance_core.venues.simulated.happenings import Phase
from surveillance_core.venues.simulated.kalshi.history import (
    record_history as record_kalshi_history,
)
from surveillance_core.venues.simulated.polymarket.history import record_history
from surveillance_core.venues.simulated.polymarket.replay import CaptureSource
from surveillance_core.venues.simulated.servers import (
    Endpoints,
    Ports,
    SimulatedPolymarket,
    SimulatedVenues,
)
from surveillance_core.venues.simulated.truth import TruthLog
from surveillance_core.venues.simulated.world import World

HISTORY_EVENTS_PER_SECOND = 0.5
"""Mean rate of a recorded day: enough for statistics, made in under a minute."""

Ready = Callable[[Mapping[Venue, Endpoints]], None]
"""Called once, when the venues listen."""


def simulated_world(
    settings: Settings, start_ms: int, *, events_per_second: float | None = None
) -> World:
    """The configured world as of a time of its own."""
    mock = settings.mock
    markets = min(mock.markets_per_venue, mock.universe_size)
    return World(
        mock.seed,
        mock.polymarket_markets or markets,
        kalshi_markets=mock.kalshi_markets or markets,
        start_ms=start_ms,
        events_per_second=events_per_second or mock.events_per_second,
        plants_an_hour=mock.plants_per_hour,
        windows=mock.windows,
    )


async def serve_simulation(
    settings: Settings,
    *,
    truth: Path | None,
    frames: bool,
    faults: Path | None,
    seconds: float | None,
    ready: Ready,
) -> None:
    """Serve until SIGTERM, SIGINT or ``seconds`` have passed; the truth log is closed on return."""
    mock = settings.mock
    stopping = _stopping()

    def clock() -> int:
        return receive_time_ns(mock, time.time_ns())

    start_ms = clock() // 1_000_000
    world = simulated_world(settings, start_ms)
    try:
        async with SimulatedVenues(
            world,
            public_keys={SIMULATED_KEY_ID: simulated_public_key(settings)},
            truth=TruthLog(truth, frames=frames),
            faults=_faults(faults, start_ms),
            clock=clock,
            ports=Ports(
                http=mock.http_port,
                ws=mock.ws_port,
                kalshi_http=mock.kalshi_http_port,
                kalshi_ws=mock.kalshi_ws_port,
            ),
        ) as venues:
            ready(venues.endpoints)
            await _until(stopping, seconds)
    except OSError as error:
        raise _cannot_listen(error) from error


async def serve_captures(
    settings: Settings, captures: Path, seconds: float | None, ready: Ready
) -> None:
    """Serve Polymarket's recordings until SIGTERM, SIGINT or ``seconds`` have passed."""
    stopping = _stopping()
    try:
        source = CaptureSource(captures, start_ms=time.time_ns() // 1_000_000)
    except FileNotFoundError as error:
        raise CommandFailed(str(error)) from error
    try:
        async with SimulatedPolymarket(
            source=source, http_port=settings.mock.http_port, ws_port=settings.mock.ws_port
        ) as venue:
            endpoints = Endpoints(http_url=venue.http_url, ws_url=venue.ws_url)
            ready({Venue.POLYMARKET: endpoints})
            await _until(stopping, seconds)
    except OSError as error:
        raise _cannot_listen(error) from error


def record_day(settings: Settings, venue: Venue, day: date, path: Path) -> int:
    """Write a simulated day's frames of a venue as a recording; returns how many it holds.

    The recording is what ``surveillance-collector replay`` takes: the same world as is served, from
    midnight to midnight UTC.
    """
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    start_ms = int(start.timestamp() * 1000)
    rate = min(settings.mock.events_per_second, HISTORY_EVENTS_PER_SECOND)
    world = simulated_world(settings, start_ms, events_per_second=rate)
    until_ms = int((start + timedelta(days=1)).timestamp() * 1000) - 1_000
    lines = _polymarket_lines(world, until_ms)
    if venue is Venue.KALSHI:
        lines = _kalshi_lines(world, until_ms)
    count = 0
    with (
        path.open("wb") as file,
        zstandard.ZstdCompressor(level=1).stream_writer(file) as stream,
    ):
        for line in lines:
            stream.write(line)
            count += 1
    return count


_encode = msgspec.json.Encoder().encode


def _polymarket_lines(world: World, until_ms: int) -> Iterator[bytes]:
    opened_ns = world.start_ms * 1_000_000
    yield _encode({"recv_ns": opened_ns, "conn": "c1", "event": "connected"}) + b"\n"
    for market in world.tradable:
        if market.venue is not Venue.POLYMARKET or world.phase(market.index) is not Phase.OPEN:
            continue
        for token in (market.yes_id, market.no_id):
            record = {
                "recv_ns": opened_ns,
                "conn": "c1",
                "event": "asset",
                "market": market.market_id,
                "asset_id": token,
                "min_order_size": "5",
                "tick_size": SPELLING[market.grid.finest],
                "neg_risk": world.event_of[market.index].exclusive,
            }
            yield _encode(record) + b"\n"
    for recv_ns, text in record_history(world, until_ms):
        yield _encode({"recv_ns": recv_ns, "conn": "c1", "frame": text}) + b"\n"


def _kalshi_lines(world: World, until_ms: int) -> Iterator[bytes]:
    opened_ns = world.start_ms * 1_000_000
    yield _encode({"recv_ns": opened_ns, "conn": "c1", "event": "connected"}) + b"\n"
    for recv_ns, text in record_kalshi_history(world, until_ms):
        yield _encode({"recv_ns": recv_ns, "conn": "c1", "frame": text}) + b"\n"


def _faults(path: Path | None, start_ms: int) -> dict[Venue, Faults]:
    if path is None:
        return {}
    try:
        return read_schedule(path.read_text(encoding="utf-8"), start_ms)
    except (OSError, UnicodeDecodeError, FaultScheduleError) as error:
        raise CommandFailed(f"{path}: {error}", 2) from error


def _stopping() -> asyncio.Event:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


async def _until(stopping: asyncio.Event, seconds: float | None) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()


def _cannot_listen(error: OSError) -> CommandFailed:
    return CommandFailed(
        f"the simulated venues cannot listen: {error}. Others may run; set the ports of [mock] to "
        "0 for any free ones."
    )
