"""The market channel's sockets: who is subscribed to what, and what each is sent.

Edge code on ``websockets``. Semantics: reference polymarket.md 3.1 to 3.3. Each connection has its
own outgoing queue and sender, so that a slow reader delays nobody else; one that falls too far
behind is cut off.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import cast

import msgspec
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from surveillance_core.venues.simulated.faults import Drop, Faults, Inject
from surveillance_core.venues.simulated.polymarket.frames import WireFrame
from surveillance_core.venues.simulated.polymarket.source import VenueSource

ABNORMAL_CLOSURE = 1006
POLICY_VIOLATION = 1008
_NOTHING_SUBSCRIBED = "invalid subscription payload"


class SocketLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Where the venue stops; see reference polymarket.md 3.2."""

    assets_a_frame: int = 500
    """Ids in one frame; more and the connection is closed."""
    assets_a_connection: int = 750
    """Ids on one connection; beyond it initial books silently never come."""
    backlog_bytes: int = 64 * 2**20
    """Unsent bytes after which a slow connection is cut off."""


class _Client:
    """One connection's subscriptions and outgoing queue."""

    def __init__(self, socket: ServerConnection, limits: SocketLimits) -> None:
        self.socket = socket
        self.assets: set[str] = set()
        self.opened = False
        """Whether a valid first subscription has been made."""
        self.custom = False
        self._limits = limits
        self._waiting: deque[str | bytes] = deque()
        self._backlog = 0
        self._ready = asyncio.Event()

    def queue(self, frame: str | bytes) -> None:
        """Send a frame in its turn."""
        self._waiting.append(frame)
        self._backlog += len(frame)
        if self._backlog > self._limits.backlog_bytes:
            self.abort()
        self._ready.set()

    def abort(self) -> None:
        """Cut the connection without a close frame."""
        self._waiting.clear()
        self._backlog = 0
        self.socket.transport.abort()

    async def send_queued(self) -> None:
        """Send what is queued until the connection ends."""
        try:
            while True:
                await self._ready.wait()
                self._ready.clear()
                while self._waiting:
                    frame = self._waiting.popleft()
                    self._backlog -= len(frame)
                    await self.socket.send(frame)
        except ConnectionClosed:
            return


class MarketSockets:
    """All connections of the market channel.

    Attributes
    ----------
    received
        Client frames by what they asked for.
    """

    def __init__(self, source: VenueSource, faults: Faults, limits: SocketLimits) -> None:
        self.received: Counter[str] = Counter()
        self.frames_sent = 0
        self.connections_made = 0
        self._source = source
        self._faults = faults
        self._limits = limits
        self._clients: set[_Client] = set()
        self._followers: dict[str, set[_Client]] = {}
        self._stalled_until = 0.0
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._clients)

    @property
    def subscribed(self) -> set[str]:
        """Tokens somebody is subscribed to."""
        return {token for token, clients in self._followers.items() if clients}

    async def serve(self, socket: ServerConnection) -> None:
        """Handle one connection until it ends."""
        client = _Client(socket, self._limits)
        self._clients.add(client)
        self.connections_made += 1
        sender = asyncio.create_task(client.send_queued())
        try:
            async for frame in socket:
                refusal = self._answer(client, frame)
                if refusal is not None:
                    await socket.close(POLICY_VIOLATION, refusal)
                    return
        except ConnectionClosed:
            pass
        finally:
            self._clients.discard(client)
            self._unsubscribe(client, list(client.assets))
            sender.cancel()

    def follows(self, token: str) -> bool:
        """Whether anybody is subscribed to the token."""
        return bool(self._followers.get(token))

    def send(self, frame: WireFrame) -> None:
        """Pass one of the venue's frames to everybody who follows it, or to all."""
        if self.stalled:
            return
        receivers: set[_Client] = set() if frame.assets else set(self._clients)
        for asset in frame.assets:
            receivers |= self._followers.get(asset, set())
        for client in receivers:
            if client.custom or not frame.custom:
                client.queue(frame.text)
                self.frames_sent += 1

    @property
    def stalled(self) -> bool:
        """Whether data is being withheld."""
        return asyncio.get_running_loop().time() < self._stalled_until

    def meet_faults(self) -> None:
        """Do what the ordered faults say."""
        self._faults.meet(self._source.now_ms)
        for fault in self._faults.take_socket():
            if isinstance(fault, Inject):
                for client in self._clients:
                    client.queue(fault.frame)
            elif isinstance(fault, Drop):
                for client in list(self._clients):
                    self._drop(client, fault)
            else:
                self._stalled_until = asyncio.get_running_loop().time() + fault.seconds

    def _drop(self, client: _Client, fault: Drop) -> None:
        if fault.code == ABNORMAL_CLOSURE:
            client.abort()
            return
        task = asyncio.create_task(client.socket.close(fault.code, fault.reason))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _answer(self, client: _Client, frame: str | bytes) -> str | None:
        """Act on a client's frame; a reason to close the connection, if there is one."""
        if frame in ("PING", b"PING"):
            self.received["PING"] += 1
            if not client.opened:
                return _NOTHING_SUBSCRIBED
            client.queue("PONG")
            return None
        try:
            parsed: object = msgspec.json.decode(frame)
        except msgspec.DecodeError:
            parsed = None
        request = cast("dict[str, object]", parsed) if isinstance(parsed, dict) else {}
        operation = request.get("operation")
        named = request.get("assets_ids")
        listed = cast("list[object]", named) if isinstance(named, list) else []
        tokens = list(dict.fromkeys(token for token in listed if isinstance(token, str)))
        if len(listed) > self._limits.assets_a_frame:
            self.received["oversized"] += 1
            return ""
        if operation is None and request.get("type") in ("market", "MARKET"):
            kind = "first"
        elif operation in ("subscribe", "unsubscribe"):
            kind = str(operation)
        else:
            kind = "invalid"
        self.received[kind] += 1
        if not client.opened and kind != "first":
            return _NOTHING_SUBSCRIBED
        custom = request.get("custom_feature_enabled")
        if isinstance(custom, bool):
            client.custom = custom
        if kind == "invalid" or (kind == "first" and client.opened):
            client.queue("INVALID OPERATION")
        elif kind == "unsubscribe":
            self._unsubscribe(client, tokens)
        elif kind == "subscribe" and client.assets.issuperset(tokens):
            client.queue("NO NEW ASSETS")
        else:
            client.opened = True
            self._subscribe(client, tokens, request.get("initial_dump") is not False)
        return None

    def _subscribe(self, client: _Client, tokens: list[str], dump: bool) -> None:
        client.assets.update(tokens)
        for token in tokens:
            self._followers.setdefault(token, set()).add(client)
        if dump and not self.stalled and len(client.assets) <= self._limits.assets_a_connection:
            client.queue(self._source.initial_books(tokens))
        self._source.subscribed(tokens)

    def _unsubscribe(self, client: _Client, tokens: list[str]) -> None:
        client.assets.difference_update(tokens)
        for token in tokens:
            followers = self._followers.get(token)
            if followers is not None:
                followers.discard(client)
                if not followers:
                    del self._followers[token]
