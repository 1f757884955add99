"""The simulated Kalshi's edge: routes, handshakes, connections, and faults as they fall due."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final
from weakref import WeakKeyDictionary

import msgspec
from starlette.routing import BaseRoute
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from surveillance_core.venues.simulated.faults import Drop, Faults, Inject, SocketFault
from surveillance_core.venues.simulated.kalshi.answers import Answers, nested_error
from surveillance_core.venues.simulated.kalshi.catalogue import Catalogue
from surveillance_core.venues.simulated.kalshi.connection import Connection
from surveillance_core.venues.simulated.kalshi.hub import Hub
from surveillance_core.venues.simulated.kalshi.ledger import Ledger
from surveillance_core.venues.simulated.kalshi.limits import KalshiLimits
from surveillance_core.venues.simulated.kalshi.rest import UNKNOWN_PATH, Rest
from surveillance_core.venues.simulated.kalshi.signatures import PublicKey, Verifier
from surveillance_core.venues.simulated.kalshi.stage import Happening, KalshiWorld
from surveillance_core.venues.simulated.kalshi.subscriptions import Outlet, Session

WS_PATH: Final = "/trade-api/ws/v2"
ABNORMAL_CLOSURE: Final = 1006


def read_wall_ms() -> int:
    """The wall clock, milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class KalshiVenue:
    """Kalshi over a world.

    Parameters
    ----------
    world
        Read, never advanced. Whoever advances it publishes every event of a step before anything
        else runs, then calls ``meet_faults``, which also sends what fell due in the meantime.
    faults
        What to do wrong; may be ordered while the venue runs.
    public_keys
        Keys of the account by their ids; without one nobody can open a socket.
    wall_ms
        The clock that signatures and budgets are judged by.

    Attributes
    ----------
    refused
        Handshakes refused, by HTTP status.
    commands
        Client frames by command, ``invalid`` and ``unknown`` ones too.
    """

    def __init__(
        self,
        world: KalshiWorld,
        faults: Faults,
        *,
        public_keys: Mapping[str, PublicKey],
        limits: KalshiLimits | None = None,
        wall_ms: Callable[[], int] = read_wall_ms,
    ) -> None:
        self.refused: Counter[int] = Counter()
        self.commands: Counter[str] = Counter()
        self.connections_made = 0
        self.faults = faults
        self._world = world
        self._limits = limits if limits is not None else KalshiLimits()
        self._wall_ms = wall_ms
        self._verifier = Verifier(public_keys, self._limits.skew_ms)
        ledger = Ledger(world)
        catalogue = Catalogue(world, ledger)
        answers = Answers(world, catalogue, ledger, self._limits)
        self._hub = Hub(world, catalogue, ledger, answers)
        self._rest = Rest(answers, self._verifier, self._limits, faults, wall_ms)
        self._connections: dict[Connection, str] = {}
        self._admitted: WeakKeyDictionary[ServerConnection, str] = WeakKeyDictionary()
        self._closing: set[asyncio.Task[None]] = set()
        self._sent_by_ended = 0

    @property
    def routes(self) -> list[BaseRoute]:
        """The REST interface."""
        return self._rest.routes

    @property
    def requests(self) -> Counter[str]:
        """REST requests by path below the root."""
        return self._rest.requests

    @property
    def limited(self) -> int:
        """REST requests answered with 429."""
        return self._rest.limited

    @property
    def connections(self) -> int:
        """Sockets that are open."""
        return len(self._connections)

    @property
    def frames_sent(self) -> int:
        """Frames sent on all connections."""
        return self._sent_by_ended + sum(found.frames_sent for found in self._connections)

    def check_handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse a handshake: another path, an ordered refusal, no signature, too many sockets."""
        path = request.path.partition("?")[0]
        if path != WS_PATH:
            return self._turn_away(connection, HTTPStatus.NOT_FOUND, UNKNOWN_PATH)
        ordered = self.faults.take_handshake()
        if ordered is not None:
            return self._turn_away(connection, HTTPStatus(ordered), "")
        caller = self._verifier.identify(request.headers, "GET", path, self._wall_ms())
        if caller.key_id is None:
            details = caller.refusal or "missing header"
            body = nested_error(401, "unauthorized", "unauthorized", details).body
            return self._turn_away(
                connection, HTTPStatus.UNAUTHORIZED, msgspec.json.encode(body).decode()
            )
        held = sum(key_id == caller.key_id for key_id in self._connections.values())
        if held >= self._limits.connections:
            return self._turn_away(connection, HTTPStatus.TOO_MANY_REQUESTS, "")
        self._admitted[connection] = caller.key_id
        return None

    async def serve(self, socket: ServerConnection) -> None:
        """Handle one connection until it ends."""
        connection = Connection(socket, self._hub, self._limits, self._wall_ms)
        self._connections[connection] = self._admitted.pop(socket, "")
        self.connections_made += 1
        try:
            await connection.serve(self.commands)
        finally:
            del self._connections[connection]
            self._sent_by_ended += connection.frames_sent

    def open_session(self, outlet: Outlet) -> Session:
        """A connection without a socket: its commands, and who takes what it is sent."""
        return Session(self._hub, self._limits, outlet, self._wall_ms())

    def next_due_ms(self, default_ms: int) -> int:
        """When the venue has next something to send by itself, in its own time."""
        return self._hub.next_due_ms(default_ms)

    def publish(self, event: Happening) -> None:
        """Send one of the world's events to whoever follows it; another venue's is left alone."""
        self._hub.publish(event)

    def meet_faults(self) -> None:
        """Send what is due and do what the ordered faults say."""
        self._hub.release()
        self.faults.meet(self._world.now_ms)
        for fault in self.faults.take_socket():
            self._disturb(fault)
        for fault in self.faults.take_stream():
            for connection in list(self._connections):
                connection.meet(fault)

    def _disturb(self, fault: SocketFault) -> None:
        for connection in list(self._connections):
            if isinstance(fault, Inject):
                connection.inject(fault.frame)
            elif not isinstance(fault, Drop):
                until = asyncio.get_running_loop().time() + fault.seconds
                connection.stalled_until = until
            elif fault.code == ABNORMAL_CLOSURE:
                connection.abort()
            else:
                task = asyncio.create_task(connection.socket.close(fault.code, fault.reason))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    def _turn_away(self, connection: ServerConnection, status: HTTPStatus, text: str) -> Response:
        self.refused[status.value] += 1
        return connection.respond(status, text)
