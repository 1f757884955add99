"""The simulated Polymarket on loopback: Gamma and CLOB over HTTP, the market channel over sockets.

Edge code: owns the clock, the ports and the tasks. What is served comes from a ``VenueSource``.
It binds 127.0.0.1 and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import Counter
from collections.abc import Generator
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request as HandshakeRequest
from websockets.http11 import Response as HandshakeResponse

from surveillance_core.venues.simulated.faults import Faults, RestFault, RestKind
from surveillance_core.venues.simulated.gamma import page_events, spell_cursor
from surveillance_core.venues.simulated.market_socket import MarketSockets, SocketLimits
from surveillance_core.venues.simulated.source import VenueSource, WorldSource
from surveillance_core.venues.simulated.truth import Truth, TruthLog
from surveillance_core.venues.simulated.world import (
    DEFAULT_EVENTS_PER_SECOND,
    DEFAULT_MARKETS,
    World,
)

LOOPBACK = "127.0.0.1"
PUMP_S = 0.02
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
SOCKET_PATH = "/ws/market"
_NO_BOOK = "No orderbook exists for the requested token id"


class _QuietServer(uvicorn.Server):
    """A uvicorn server that leaves the process's signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class SimulatedPolymarket:
    """The venue as an async context manager.

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
        source: VenueSource | None = None,
        faults: Faults | None = None,
        limits: SocketLimits | None = None,
        http_port: int = 0,
        ws_port: int = 0,
    ) -> None:
        self._started: float | None = None
        log = TruthLog(truth_path if source is None else None)
        if source is None:
            if world is None:
                if start_ms is None:
                    start_ms = time.time_ns() // 1_000_000
                    # the venue's time runs from here, or it would lag by the making of the world
                    self._started = time.monotonic()
                world = World(seed, markets, start_ms=start_ms, events_per_second=events_per_second)
            source = WorldSource(world, log)
        self.world = world
        self.source: VenueSource = source
        self.truth: Truth = log.truth
        self.faults = faults if faults is not None else Faults()
        self.sockets = MarketSockets(
            source, self.faults, limits if limits is not None else SocketLimits()
        )
        self.requests: Counter[str] = Counter()
        """Requests by the path's first part, as ``/events``, ``/book``."""
        self.http_url = ""
        self.ws_url = ""
        self._speed = speed
        self._ports = (http_port, ws_port)
        self._http: _QuietServer | None = None
        self._ws: Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            # a port that is taken must not leave the other one served
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()
        for task in self._tasks:
            if error is None and task.done() and not task.cancelled():
                task.result()

    async def _start(self) -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, self._ports[0]))
        self.http_url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            self._application(), log_config=None, access_log=False, lifespan="off"
        )
        self._http = _QuietServer(config)
        self._tasks.append(asyncio.create_task(self._http.serve(sockets=[listener])))
        async with asyncio.timeout(START_TIMEOUT_S):
            while not self._http.started:  # noqa: ASYNC110 (uvicorn has no event to await)
                await asyncio.sleep(0.005)
        self._ws = await serve(
            self.sockets.serve,
            LOOPBACK,
            self._ports[1],
            compression=None,
            ping_interval=None,
            process_request=_check_path,
            close_timeout=1,
        )
        port = cast("int", next(iter(self._ws.sockets)).getsockname()[1])
        self.ws_url = f"ws://{LOOPBACK}:{port}{SOCKET_PATH}"
        self._tasks.append(asyncio.create_task(self._pump()))

    async def _stop(self) -> None:
        if self._http is not None:
            self._http.should_exit = True
        if self._ws is not None:
            self._ws.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await self._ws.wait_closed()
        # the first task is the HTTP server, which ends by itself
        for task in self._tasks[1:]:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_TIMEOUT_S)
        for task in self._tasks:
            task.cancel()
        self.source.close()

    async def _pump(self) -> None:
        """Advance the venue's time with the wall's and send what falls due."""
        source = self.source
        start_ms = source.now_ms
        started = time.monotonic() if self._started is None else self._started
        while True:
            self.sockets.meet_faults()
            target = start_ms + int((time.monotonic() - started) * 1000 * self._speed)
            while source.now_ms < target:
                step = min(target, source.now_ms + source.step_ms)
                for frame in source.advance(step, time.time_ns()):
                    self.sockets.send(frame)
                # a venue that is behind its time must still let its connections send
                await asyncio.sleep(0)
            await asyncio.sleep(PUMP_S)

    def _application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/events/keyset", self._events),
                Route("/events/{event_id}", self._event),
                Route("/book", self._book),
                Route("/books", self._books, methods=["POST"]),
                Route("/clob-markets/{condition_id}", self._clob_market),
            ],
            exception_handlers={404: _unknown_path},
        )

    async def _events(self, request: Request) -> Response:
        fault = self._count(request)
        if fault is not None and fault.kind is RestKind.EMPTY_PAGE:
            return _json({"events": []})
        params = dict(request.query_params)
        if fault is not None and fault.kind is RestKind.ENDLESS_CURSOR:
            params.pop("after_cursor", None)
        wanted = {"true": True, "false": False}.get(params.get("closed", ""))
        source = self.source

        def event_of(event_id: str) -> dict[str, object]:
            return source.event(event_id) or {}

        page = page_events(source.event_ids(wanted), event_of, params)
        if fault is not None and fault.kind is RestKind.ENDLESS_CURSOR:
            place = self.requests["/events"] if fault.fresh_cursor else 1
            page.body["next_cursor"] = spell_cursor(place)
        return self._spoil(fault, _json(page.body, page.status))

    async def _event(self, request: Request) -> Response:
        fault = self._count(request)
        event = self.source.event(request.path_params["event_id"])
        if event is None:
            answer = _json({"type": "not found error", "error": "id not found"}, 404)
        else:
            answer = _json(event)
        return self._spoil(fault, answer)

    async def _book(self, request: Request) -> Response:
        fault = self._count(request)
        token = request.query_params.get("token_id", "")
        if not token:
            return self._spoil(fault, _json({"error": "Invalid token id"}, 400))
        book = self.source.rest_book(token)
        answer = _json({"error": _NO_BOOK}, 404) if book is None else _text(book)
        return self._spoil(fault, answer)

    async def _books(self, request: Request) -> Response:
        fault = self._count(request)
        try:
            asked: object = msgspec.json.decode(await request.body())
        except msgspec.DecodeError:
            asked = None
        if not isinstance(asked, list):
            return self._spoil(fault, _json({"error": "Invalid payload"}, 400))
        members = [
            cast("dict[str, object]", member)
            for member in cast("list[object]", asked)
            if isinstance(member, dict)
        ]
        tokens = dict.fromkeys(str(member.get("token_id", "")) for member in members)
        books = [book for token in tokens if (book := self.source.rest_book(token)) is not None]
        # the venue promises no order; sorted by content is none that a client could rely on
        return self._spoil(fault, _text(f"[{','.join(sorted(books))}]"))

    async def _clob_market(self, request: Request) -> Response:
        fault = self._count(request)
        market = self.source.clob_market(request.path_params["condition_id"])
        answer = _json({"error": "market not found"}, 404) if market is None else _json(market)
        return self._spoil(fault, answer)

    def _count(self, request: Request) -> RestFault | None:
        self.requests["/" + request.url.path.split("/")[1]] += 1
        return self.faults.take_rest(request.url.path)

    def _spoil(self, fault: RestFault | None, answer: Response) -> Response:
        if fault is None:
            return answer
        if fault.kind is RestKind.STATUS:
            spoiled = _json({"error": HTTPStatus(fault.status).phrase.lower()}, fault.status)
            if fault.retry_after is not None:
                spoiled.headers["Retry-After"] = f"{fault.retry_after:g}"
            return spoiled
        if fault.kind is RestKind.MALFORMED:
            return _text(bytes(answer.body)[: max(1, len(answer.body) // 2)])
        return answer


def _json(body: object, status: int = 200) -> Response:
    return _text(msgspec.json.encode(body), status)


def _text(body: str | bytes, status: int = 200) -> Response:
    return Response(body, status_code=status, media_type="application/json")


async def _unknown_path(request: Request, error: Exception) -> Response:
    return _json({"error": "not found"}, 404)


def _check_path(
    connection: ServerConnection, request: HandshakeRequest
) -> HandshakeResponse | None:
    if request.path.partition("?")[0] == SOCKET_PATH:
        return None
    return connection.respond(HTTPStatus.NOT_FOUND, "not found\n")
