"""The simulated venues on loopback: one world, Polymarket and Kalshi, one clock.

Edge code: owns the clock, the ports and the pump that lets the world happen. What is served comes
from each venue's own folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from surveillance_core.markets import Venue
from surveillance_core.venues.simulated.faults import Faults
from surveillance_core.venues.simulated.kalshi.limits import KalshiLimits
from surveillance_core.venues.simulated.kalshi.rest import REST_ROOT, unknown_path
from surveillance_core.venues.simulated.kalshi.signatures import PublicKey
from surveillance_core.venues.simulated.kalshi.venue import WS_PATH, KalshiVenue
from surveillance_core.venues.simulated.loopback import serve_http, serve_sockets
from surveillance_core.venues.simulated.polymarket.frames import WireFrame
from surveillance_core.venues.simulated.polymarket.market_socket import MarketSockets, SocketLimits
from surveillance_core.venues.simulated.polymarket.pacing import RequestLimits
from surveillance_core.venues.simulated.polymarket.source import VenueSource, WorldSource
from surveillance_core.venues.simulated.polymarket.venue import SOCKET_PATH, PolymarketVenue
from surveillance_core.venues.simulated.truth import Truth, TruthLog
from surveillance_core.venues.simulated.world import (
    DEFAULT_EVENTS_PER_SECOND,
    DEFAULT_MARKETS,
    World,
)

PUMP_S = 0.02
EVENTS_A_STEP = 100

Clock = Callable[[], int]
"""The venues' time, nanoseconds since the epoch."""


class PlayedSource(VenueSource, Protocol):
    """A source with frames of its own, as recordings have."""

    step_ms: int
    """How far to advance at once, so that a step stays short."""

    def advance(self, to_ms: int, sent_ns: int) -> Iterator[WireFrame]:
        """Frames due until ``to_ms``, in order; ``sent_ns`` is the wall time of their sending."""
        ...


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen; zero takes any free port."""

    http: int = 0
    ws: int = 0
    kalshi_http: int = 0
    kalshi_ws: int = 0


class Endpoints(msgspec.Struct, kw_only=True):
    """Where a venue listens."""

    http_url: str = ""
    ws_url: str = ""


def steady_clock(start_ms: int, speed: float = 1.0) -> Clock:
    """A clock that shows ``start_ms`` now and runs ``speed`` times as fast as the wall's."""
    started = time.monotonic_ns()
    return lambda: start_ms * 1_000_000 + int((time.monotonic_ns() - started) * speed)


class SimulatedVenues:
    """Both venues of one world, as an async context manager.

    Parameters
    ----------
    world
        What happens; advanced here alone.
    public_keys
        Keys by id that Kalshi's signatures are checked with.
    truth
        Where the truth goes; kept in memory by default.
    faults
        What to do wrong, by venue; may be ordered while the venues run.
    clock
        The venues' time; by default it shows the world's start now and runs with the wall's.
    """

    def __init__(
        self,
        world: World,
        *,
        public_keys: Mapping[str, PublicKey] | None = None,
        truth: TruthLog | None = None,
        faults: Mapping[Venue, Faults] | None = None,
        clock: Clock | None = None,
        socket_limits: SocketLimits | None = None,
        request_limits: RequestLimits | None = None,
        kalshi_limits: KalshiLimits | None = None,
        ports: Ports | None = None,
    ) -> None:
        self.world = world
        self.truth_log = truth if truth is not None else TruthLog()
        self.faults = {venue: (faults or {}).get(venue) or Faults() for venue in Venue}
        source = WorldSource(world, lambda token: self.polymarket.sockets.follows(token))
        self.polymarket = PolymarketVenue(
            source, self.faults[Venue.POLYMARKET], socket_limits, request_limits
        )
        self.kalshi = KalshiVenue(
            world,
            self.faults[Venue.KALSHI],
            public_keys=public_keys or {},
            limits=kalshi_limits or KalshiLimits(),
        )
        self.endpoints = {venue: Endpoints() for venue in Venue}
        self._source = source
        self._clock = clock
        self._ports = ports or Ports()
        self._step_ms = max(1, int(EVENTS_A_STEP * 1000 / world.events_per_second))
        self._servers = contextlib.AsyncExitStack()
        self._pumping: asyncio.Task[None] | None = None
        self.truth_log.watch(world)

    @property
    def truth(self) -> Truth:
        """What has really happened, where it is kept in memory."""
        return self.truth_log.truth

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            # a port that is taken must not leave the others served
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pumping = self._pumping
        await self._stop()
        if error is None and pumping is not None and pumping.done() and not pumping.cancelled():
            pumping.result()

    def advance(self, to_ms: int, sent_ns: int) -> None:
        """Let the world happen until ``to_ms`` and send what falls due."""
        events = self.world.advance(to_ms)
        for event in events:
            self.truth_log.record(event, sent_ns)
        for frame in self._source.frames_of(events, to_ms):
            self.polymarket.sockets.send(frame)
        markets = self.world.markets
        for event in events:
            if markets[event.market].venue is Venue.KALSHI:
                self.kalshi.publish(event)
        self.kalshi.meet_faults()

    async def _start(self) -> None:
        enter, ports = self._servers.enter_async_context, self._ports
        polymarket, kalshi = self.polymarket, self.kalshi
        http = await enter(serve_http(_application(polymarket), ports.http))
        ws = await enter(
            serve_sockets(polymarket.sockets.serve, polymarket.check_handshake, ports.ws)
        )
        self.endpoints[Venue.POLYMARKET] = Endpoints(http_url=http, ws_url=ws + SOCKET_PATH)
        http = await enter(serve_http(_kalshi_application(kalshi), ports.kalshi_http))
        ws = await enter(serve_sockets(kalshi.serve, kalshi.check_handshake, ports.kalshi_ws))
        self.endpoints[Venue.KALSHI] = Endpoints(http_url=http + REST_ROOT, ws_url=ws + WS_PATH)
        if self._clock is None:
            self._clock = steady_clock(self.world.now_ms)
        self._pumping = asyncio.create_task(self._pump(self._clock))

    async def _stop(self) -> None:
        await self._servers.aclose()
        if self._pumping is not None:
            self._pumping.cancel()
            await asyncio.wait([self._pumping])
        self.truth_log.close()

    async def _pump(self, clock: Clock) -> None:
        """Advance the world's time with the clock's."""
        world = self.world
        while True:
            self.polymarket.sockets.meet_faults()
            self.kalshi.meet_faults()
            target_ms = clock() // 1_000_000
            while world.now_ms < target_ms:
                self.advance(min(target_ms, world.now_ms + self._step_ms), clock())
                # venues that are behind their time must still let their connections send
                await asyncio.sleep(0)
            await asyncio.sleep(PUMP_S)


class SimulatedPolymarket:
    """Polymarket alone, on a world or on recordings, as an async context manager.

    Parameters
    ----------
    seed, markets, events_per_second
        The world; see ``World``. Ignored where ``world`` or ``source`` is given.
    start_ms
        The venue's time at the start, milliseconds; the present by default.
    speed
        Venue milliseconds in a wall millisecond.
    truth_path
        Where to log the truth; without it the truth is kept in memory as ``truth``.
    world, source
        A world made by the caller, or another source (recordings, see ``replay.CaptureSource``).
    faults
        What to do wrong; may be ordered while the venue runs.
    http_port, ws_port
        Zero takes any free port; see ``http_url`` and ``ws_url``.
    """

    def __init__(
        self,
        *,
        seed: int = 7,
        markets: int = DEFAULT_MARKETS,
        events_per_second: float = DEFAULT_EVENTS_PER_SECOND,
        start_ms: int | None = None,
        speed: float = 1.0,
        truth_path: Path | None = None,
        world: World | None = None,
        source: PlayedSource | None = None,
        faults: Faults | None = None,
        limits: SocketLimits | None = None,
        http_port: int = 0,
        ws_port: int = 0,
    ) -> None:
        self.truth_log = TruthLog(truth_path if source is None else None)
        self._played = source
        now_ms = time.time_ns() // 1_000_000
        self._clock: Clock | None = None
        if source is None:
            if world is None:
                if start_ms is None:
                    # the venue's time runs from here, or it would lag by the making of the world
                    self._clock = steady_clock(now_ms, speed)
                world = World(
                    seed, markets, start_ms=start_ms or now_ms, events_per_second=events_per_second
                )
            self.truth_log.watch(world)
        self.world = world
        self.faults = faults if faults is not None else Faults()
        self._source = None if world is None else WorldSource(world)
        serving = source or self._source
        if serving is None:
            raise ValueError("a venue needs a world or a source")
        self.venue = PolymarketVenue(serving, self.faults, limits)
        self.http_url = ""
        self.ws_url = ""
        self._speed = speed
        self._ports = (http_port, ws_port)
        self._servers = contextlib.AsyncExitStack()
        self._pumping: asyncio.Task[None] | None = None

    @property
    def source(self) -> VenueSource:
        """What is served."""
        return self.venue.source

    @property
    def sockets(self) -> MarketSockets:
        """The market channel's connections."""
        return self.venue.sockets

    @property
    def requests(self) -> Counter[str]:
        """Requests by the path's first part."""
        return self.venue.requests

    @property
    def truth(self) -> Truth:
        """What has really happened, where it is kept in memory."""
        return self.truth_log.truth

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pumping = self._pumping
        await self._stop()
        if error is None and pumping is not None and pumping.done() and not pumping.cancelled():
            pumping.result()

    async def _start(self) -> None:
        enter = self._servers.enter_async_context
        self.http_url = await enter(serve_http(_application(self.venue), self._ports[0]))
        ws = await enter(
            serve_sockets(self.sockets.serve, self.venue.check_handshake, self._ports[1])
        )
        self.ws_url = ws + SOCKET_PATH
        clock = self._clock or steady_clock(self.source.now_ms, self._speed)
        self._pumping = asyncio.create_task(self._pump(clock))

    async def _stop(self) -> None:
        await self._servers.aclose()
        if self._pumping is not None:
            self._pumping.cancel()
            await asyncio.wait([self._pumping])
        self.truth_log.close()

    async def _pump(self, clock: Clock) -> None:
        """Advance the venue's time with the clock's and send what falls due."""
        if self._played is not None:
            step_ms = self._played.step_ms
        else:
            rate = self.world.events_per_second if self.world is not None else EVENTS_A_STEP
            step_ms = max(1, int(EVENTS_A_STEP * 1000 / rate))
        while True:
            self.sockets.meet_faults()
            target_ms = clock() // 1_000_000
            while self.source.now_ms < target_ms:
                for frame in self._advance(min(target_ms, self.source.now_ms + step_ms)):
                    self.sockets.send(frame)
                # a venue that is behind its time must still let its connections send
                await asyncio.sleep(0)
            await asyncio.sleep(PUMP_S)

    def _advance(self, to_ms: int) -> Iterator[WireFrame]:
        if self._played is not None:
            return self._played.advance(to_ms, time.time_ns())
        if self.world is None or self._source is None:
            raise AssertionError("a venue without recordings has a world")
        events = self.world.advance(to_ms)
        sent_ns = time.time_ns()
        for event in events:
            self.truth_log.record(event, sent_ns)
        return self._source.frames_of(events, to_ms)


def _application(venue: PolymarketVenue) -> Starlette:
    return Starlette(routes=venue.routes, exception_handlers={404: venue.not_found})


def _kalshi_application(venue: KalshiVenue) -> Starlette:
    return Starlette(routes=venue.routes, exception_handlers={404: _unknown_on_kalshi})


async def _unknown_on_kalshi(request: Request, error: Exception) -> Response:
    del error
    return await unknown_path(request)
