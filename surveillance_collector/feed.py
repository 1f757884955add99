"""One market-data connection: connect, subscribe, keep alive, notice silence, come back.

The thin edge under the engine. It stamps each frame with its receive time and hands it over at
once, in the event loop's own thread; it decides nothing about what a frame means.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from surveillance_collector.engine import Tier
from surveillance_core.venues.protocols import AssetTerms
from surveillance_core.venues.registry import VenueAdapter

MAX_FRAME_BYTES = 32 * 1024 * 1024
"""The initial dump of 400 assets is one frame of several MB (reference polymarket.md 3.2)."""

PING_SECONDS = 10.0
_CLOSE_SECONDS = 2.0

log = structlog.get_logger()


class ReceiveClock:
    """Nanoseconds since the epoch that never repeat and never go back."""

    def __init__(self, source: Callable[[], int] = time.time_ns) -> None:
        self._source = source
        self._last = 0

    def now_ns(self) -> int:
        """The time, at least one nanosecond after the last one given."""
        self._last = max(self._source(), self._last + 1)
        return self._last


class FeedSink(Protocol):
    """Who takes what a connection brings; the engine, in the collector."""

    def connect(self, conn: str, recv_ns: int) -> None: ...

    def follow(self, conn: str, assets: Sequence[AssetTerms], tier: Tier, recv_ns: int) -> None: ...

    def forget(self, conn: str, asset_ids: Sequence[str], recv_ns: int) -> None: ...

    def receive(self, conn: str, frame: bytes | str, recv_ns: int) -> None: ...

    def disconnect(
        self, conn: str, recv_ns: int, cause: str, since_ns: int | None = None
    ) -> None: ...


class Feed:
    """Keeps one connection up for a set of assets until cancelled.

    Parameters
    ----------
    name
        The connection's place in the plan; each reconnection gets an id of its own after it.
    stall_seconds
        Silence on data, pings aside, after which the connection is replaced.
    """

    def __init__(
        self,
        name: str,
        url: str,
        adapter: VenueAdapter,
        sink: FeedSink,
        clock: ReceiveClock,
        *,
        stall_seconds: float,
        reconnect_max_seconds: float,
    ) -> None:
        self.name = name
        self._url = url
        self._adapter = adapter
        self._sink = sink
        self._clock = clock
        self._stall_seconds = stall_seconds
        self._reconnect_max_seconds = reconnect_max_seconds
        self._assets: dict[str, tuple[AssetTerms, Tier]] = {}
        self._wanted = asyncio.Event()
        self._socket: ClientConnection | None = None
        self._conn = ""
        self._attempt = 0
        self._last_data_ns = 0
        self.reconnects = 0

    @property
    def connected(self) -> bool:
        """Whether a socket is open."""
        return self._socket is not None

    @property
    def assets(self) -> int:
        """Assets this connection holds."""
        return len(self._assets)

    async def run(self) -> None:
        """Hold the connection until cancelled; every failure is a reason to come back."""
        failures = 0
        while True:
            await self._wanted.wait()
            cause = "connect_failed"
            try:
                async with connect(
                    self._url,
                    compression=None,
                    proxy=None,
                    max_size=MAX_FRAME_BYTES,
                    ping_interval=20,
                    close_timeout=_CLOSE_SECONDS,
                ) as socket:
                    failures = 0
                    cause = await self._hold(socket)
            except (OSError, WebSocketException, TimeoutError) as error:
                cause = f"connection_{type(error).__name__}".lower()
                log.warning("feed_failed", conn=self.name, cause=cause, error=str(error)[:200])
            except asyncio.CancelledError:
                cause = "stopped"
                raise
            finally:
                self._socket = None
                if self._conn:
                    # what a stalled peer withheld is missing from its last frame on
                    since_ns = self._last_data_ns if cause == "stalled" else None
                    self._sink.disconnect(self._conn, self._clock.now_ns(), cause, since_ns)
                    self._conn = ""
            failures += 1
            self.reconnects += 1
            # full jitter: a venue that drops everybody must not get everybody back at once
            ceiling = min(self._reconnect_max_seconds, 0.5 * 2 ** min(failures, 16))
            wait = random.uniform(0, ceiling)  # noqa: S311
            log.info("feed_reconnecting", conn=self.name, cause=cause, seconds=round(wait, 3))
            await asyncio.sleep(wait)

    async def add(self, assets: Sequence[AssetTerms], tier: Tier) -> None:
        """Subscribe more assets, now or when the connection next opens."""
        self._assets |= {terms.asset_id: (terms, tier) for terms in assets}
        self._wanted.set()
        if self._socket is not None:
            self._sink.follow(self._conn, assets, tier, self._clock.now_ns())
            ids = [terms.asset_id for terms in assets]
            await self._send_all(self._adapter.subscribe_frames(ids, first=False))

    async def remove(self, asset_ids: Sequence[str]) -> None:
        """Unsubscribe assets."""
        held = [asset_id for asset_id in asset_ids if self._assets.pop(asset_id, None)]
        if held:
            self._sink.forget(self._conn, held, self._clock.now_ns())
            if self._assets:
                await self._send_all(self._adapter.unsubscribe_frames(held))
                return
            # nothing left to hear: silence would pass for a stall, so let the connection go
            self._wanted.clear()
            if self._socket is not None:
                await self._socket.close()

    async def resubscribe(self, conn: str, asset_ids: Sequence[str]) -> None:
        """Ask for the assets' books anew, if the connection is still the one that was meant."""
        held = [asset_id for asset_id in asset_ids if asset_id in self._assets]
        if self._socket is None or conn != self._conn or not held:
            return
        await self._send_all(self._adapter.unsubscribe_frames(held))
        await self._send_all(self._adapter.subscribe_frames(held, first=False))

    async def _hold(self, socket: ClientConnection) -> str:
        self._attempt += 1
        self._conn = f"{self.name}.{self._attempt}"
        self._socket = socket
        opened_ns = self._last_data_ns = self._clock.now_ns()
        self._sink.connect(self._conn, opened_ns)
        for tier in Tier:
            assets = [terms for terms, held in self._assets.values() if held is tier]
            if assets:
                self._sink.follow(self._conn, assets, tier, opened_ns)
        await self._send_all(self._adapter.subscribe_frames(list(self._assets), first=True))
        log.info("feed_open", conn=self._conn, assets=len(self._assets))
        keep_alive = asyncio.create_task(self._keep_alive(socket))
        try:
            return await self._receive(socket)
        finally:
            keep_alive.cancel()

    async def _receive(self, socket: ClientConnection) -> str:
        last_data = time.monotonic()
        while True:
            silent = time.monotonic() - last_data
            if silent >= self._stall_seconds:
                # a stalled peer may never answer a close handshake
                socket.transport.abort()
                return "stalled"
            try:
                async with asyncio.timeout(self._stall_seconds - silent):
                    frame = await socket.recv(decode=False)
            except TimeoutError:
                continue
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd is not None else 1006
                return f"closed_{code}"
            recv_ns = self._clock.now_ns()
            self._sink.receive(self._conn, frame, recv_ns)
            if frame[:1] in (b"{", b"["):
                last_data, self._last_data_ns = time.monotonic(), recv_ns

    async def _keep_alive(self, socket: ClientConnection) -> None:
        if self._adapter.ping is None:
            return
        while True:
            await asyncio.sleep(PING_SECONDS)
            try:
                await socket.send(self._adapter.ping)
            except ConnectionClosed:
                return

    async def _send_all(self, frames: Iterable[str]) -> None:
        socket = self._socket
        if socket is None:
            return
        try:
            for frame in frames:
                await socket.send(frame)
        except ConnectionClosed:
            log.info("feed_send_after_close", conn=self._conn)
