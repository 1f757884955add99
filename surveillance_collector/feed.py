"""One market-data connection: connect, subscribe, keep alive, notice silence, come back.

The thin edge under the engine. It stamps each frame with its receive time and hands it over at
once, in the event loop's own thread, and has what one read of the socket held applied together; it
decides nothing about what a frame means.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from typing import Protocol

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from surveillance_collector.reconnection import Backoff, Ending, HandshakeBudget, Temper
from surveillance_collector.sampling import Tier
from surveillance_core.venues.protocols import AssetTerms, ConnectionCommands
from surveillance_core.venues.registry import HandshakeHeaders
from surveillance_core.venues.rest import retry_after

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""Polymarket's initial dump of 400 assets is one frame of several MB (reference polymarket.md 3.2);
Kalshi's messages may have 64 MiB (kalshi.md 3)."""

PING_SECONDS = 10.0
SEND_SECONDS = 10.0
"""A peer that takes no commands for this long is given up."""
HEALTHY_SECONDS = 10.0
"""A connection that has brought data for this long owes nothing to the failures before it."""
_CLOSE_SECONDS = 2.0
_CLOCK_SECONDS = 5
"""A signature made on a clock that is off by more is likely to be refused."""
_TOO_BIG = 1009
_REFUSED_BY_KEY = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}

log = structlog.get_logger()

# at its debug level the library logs the headers of handshakes, which may be signed
_library_log = logging.getLogger("surveillance_collector.websocket")
_library_log.setLevel(logging.WARNING)


class _Connect(connect):
    """A handshake that is made with the host it was signed for and with no other."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class ReceiveClock:
    """Nanoseconds since the epoch that never go back, each in a microsecond of its own.

    Microseconds name the files: parts of a bucket must differ in them even while the wall's clock,
    having been set back, is behind.
    """

    def __init__(self, source: Callable[[], int] = time.time_ns) -> None:
        self._source = source
        self._last = 0

    def now_ns(self) -> int:
        """The time, at least one microsecond after the last one given."""
        self._last = max(self._source(), self._last + 1_000)
        return self._last


class FeedSink(Protocol):
    """Who takes what a connection brings; the engine, in the collector."""

    def connect(self, conn: str, recv_ns: int) -> ConnectionCommands: ...

    def follow(self, conn: str, assets: Sequence[AssetTerms], tier: Tier, recv_ns: int) -> None: ...

    def forget(self, conn: str, asset_ids: Sequence[str], recv_ns: int) -> None: ...

    def take(self, conn: str, frame: bytes | str, recv_ns: int) -> None: ...

    def apply_taken(self) -> None: ...

    @property
    def crowded(self) -> bool: ...

    async def room(self) -> None: ...

    def disconnect(
        self, conn: str, recv_ns: int, cause: str, since_ns: int | None = None
    ) -> None: ...


class Feed:
    """Keeps one connection up for a set of assets until cancelled.

    Parameters
    ----------
    name
        The connection's place in the plan; each reconnection gets an id of its own after it.
    sink
        Is told what comes, and gives each connection the commands it may send.
    handshake
        Headers of each handshake, made afresh from the wall's time.
    ping
        Text frame sent to keep the connection alive, None for none.
    stall_seconds
        Silence on data, pings aside, after which the connection is replaced.
    reconnect_max_seconds
        Longest wait after a plain failure.
    budget
        The venue's, shared by all its connections.
    attempts
        Connections that were opened under this name before, by one that this one replaces.
    wall_ms
        The wall's time in milliseconds since the epoch, which is never the simulated one.
    """

    def __init__(
        self,
        name: str,
        url: str,
        sink: FeedSink,
        clock: ReceiveClock,
        *,
        handshake: HandshakeHeaders,
        ping: str | None,
        stall_seconds: float,
        reconnect_max_seconds: float,
        budget: HandshakeBudget,
        attempts: int = 0,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.name = name
        self._url = url
        self._sink = sink
        self._clock = clock
        self._handshake = handshake
        self._ping = ping
        self._wall_ms = wall_ms
        self._stall_seconds = stall_seconds
        self._backoff = Backoff(reconnect_max_seconds, random.uniform)
        self._budget = budget
        self._assets: dict[str, tuple[AssetTerms, Tier]] = {}
        self._wanted = asyncio.Event()
        self._socket: ClientConnection | None = None
        self._commands: ConnectionCommands | None = None
        self._sending = asyncio.Lock()
        self._announces = False
        self._conn = ""
        self._attempt = attempts
        self._last_data_ns = 0
        self._heard = 0.0
        """When data last came, on the clock that silence is measured by; 0 before any has."""
        self.endings: Counter[str] = Counter()
        """Connections and attempts that ended, by cause."""
        self.refused = False
        """Whether the venue refused the last attempt, which coming back does not mend."""

    @property
    def reconnects(self) -> int:
        """Connections and attempts that ended."""
        return self.endings.total()

    @property
    def connected(self) -> bool:
        """Whether a socket is open."""
        return self._socket is not None

    @property
    def announces(self) -> bool:
        """Whether the connection also hears what the venue announces of every market."""
        return self._announces

    @property
    def conn(self) -> str:
        """The open connection's id, empty while there is none."""
        return self._conn

    @property
    def attempts(self) -> int:
        """Connections opened under this name, before this object too."""
        return self._attempt

    @property
    def held(self) -> dict[Tier, list[AssetTerms]]:
        """The assets by how often they are read."""
        return {
            tier: [terms for terms, own in self._assets.values() if own is tier]
            for tier in dict.fromkeys(tier for _, tier in self._assets.values())
        }

    @property
    def assets(self) -> int:
        """Assets this connection holds."""
        return len(self._assets)

    @property
    def heard(self) -> float | None:
        """When data last came, on ``time.monotonic``; None before any has."""
        return self._heard or None

    async def run(self) -> None:
        """Hold the connection until cancelled; every failure is a reason to come back."""
        while True:
            await self._wanted.wait()
            await self._turn()
            try:
                ending = await self._attempt_once()
            except BaseException as error:
                stopped = isinstance(error, asyncio.CancelledError)
                self._stop_hearing("stopped" if stopped else "failed")
                raise
            self._stop_hearing(ending.cause)
            self.endings[ending.cause] += 1
            self.refused = ending.temper is Temper.REFUSED
            wait = self._backoff.after(ending)
            log.info(
                "feed_reconnecting", conn=self.name, cause=ending.cause, seconds=round(wait, 3)
            )
            await asyncio.sleep(wait)

    async def _turn(self) -> None:
        """Wait until the venue may be asked for a connection."""
        while (wait := self._budget.wait_seconds(time.monotonic())) > 0:  # noqa: ASYNC110  # a time
            await asyncio.sleep(wait)
        self._budget.take(time.monotonic())

    async def _attempt_once(self) -> Ending:
        try:
            async with _Connect(
                self._url,
                # signed anew for each attempt: a signature is good for seconds
                additional_headers=self._handshake(self._wall_ms()),
                logger=_library_log,
                compression=None,
                proxy=None,
                max_size=MAX_FRAME_BYTES,
                ping_interval=20,
                close_timeout=_CLOSE_SECONDS,
            ) as socket:
                self._budget.succeeded()
                return await self._hold(socket)
        except InvalidStatus as refusal:
            ending = _refused(refusal)
            advice = _advice(refusal, self._wall_ms())
            log.warning("handshake_refused", conn=self.name, cause=ending.cause, **advice)
        except (OSError, WebSocketException, TimeoutError) as error:
            ending = Ending(f"connection_{type(error).__name__}".lower())
            log.warning(
                "feed_failed", conn=self.name, address=self._url, cause=ending.cause,
                error=str(error)[:200],
            )  # fmt: skip
        self._budget.failed(time.monotonic(), ending.retry_after)
        return ending

    async def add(self, assets: Sequence[AssetTerms], tier: Tier) -> None:
        """Subscribe more assets, now or when the connection next opens."""
        self._assets |= {terms.asset_id: (terms, tier) for terms in assets}
        self._wanted.set()
        if self._commands is not None:
            self._sink.follow(self._conn, assets, tier, self._clock.now_ns())
            await self._send_all(self._commands.subscribe([terms.asset_id for terms in assets]))

    async def remove(self, asset_ids: Sequence[str], *, others_follow: bool = False) -> None:
        """Unsubscribe assets; without any left the connection is let go, unless others follow."""
        held = [asset_id for asset_id in asset_ids if self._assets.pop(asset_id, None)]
        if held:
            self._sink.forget(self._conn, held, self._clock.now_ns())
            if self._assets or others_follow:
                if self._commands is not None:
                    await self._send_all(self._commands.unsubscribe(held))
                return
            # nothing left to hear: silence would pass for a stall, so let the connection go
            self._wanted.clear()
            self._announces = False
            if self._socket is not None:
                await self._socket.close()

    async def announce(self) -> None:
        """Hear what the venue announces of every market too, now or when it next opens."""
        if not self._announces:
            self._announces = True
            if self._commands is not None:
                await self._send_all(self._commands.opening())

    async def resync(self, conn: str, asset_ids: Sequence[str]) -> None:
        """Ask for the assets' books anew, if the connection is still the one that was meant."""
        held = [asset_id for asset_id in asset_ids if asset_id in self._assets]
        if self._commands is not None and conn == self._conn and held:
            await self._send_all(self._commands.resync(held))

    async def _hold(self, socket: ClientConnection) -> Ending:
        self._attempt += 1
        self._conn = f"{self.name}.{self._attempt}"
        self._socket = socket
        opened, opened_ns = time.monotonic(), self._clock.now_ns()
        self._last_data_ns = opened_ns
        commands = self._commands = self._sink.connect(self._conn, opened_ns)
        for tier in Tier:
            assets = [terms for terms, held in self._assets.values() if held is tier]
            if assets:
                self._sink.follow(self._conn, assets, tier, opened_ns)
        frames = commands.subscribe(list(self._assets))
        if self._announces:
            frames += commands.opening()
        await self._send_all(frames)
        log.info("feed_open", conn=self._conn, assets=len(self._assets))
        keep_alive = asyncio.create_task(self._keep_alive(socket))
        keep_alive.add_done_callback(partial(self._end_with, socket))
        try:
            ending = await self._receive(socket, commands)
        except asyncio.CancelledError:
            self._stop_hearing("stopped")
            raise
        finally:
            keep_alive.cancel()
        self._stop_hearing(ending.cause)
        return replace(ending, healthy=self._heard - opened >= HEALTHY_SECONDS)

    def _stop_hearing(self, cause: str) -> None:
        """Tell the sink, before the close handshake: what comes in while it lasts is not read."""
        self._socket = self._commands = None
        if self._conn:
            # what a stalled peer withheld is missing from its last frame on
            since_ns = self._last_data_ns if cause == "stalled" else None
            self._sink.disconnect(self._conn, self._clock.now_ns(), cause, since_ns)
            self._conn = ""

    async def _receive(self, socket: ClientConnection, commands: ConnectionCommands) -> Ending:
        """Have what comes applied until the connection ends or stalls."""
        arrived = asyncio.Event()
        reader = asyncio.create_task(self._read(socket, arrived))
        opened = time.monotonic()
        try:
            while not reader.done():
                silent = time.monotonic() - max(self._heard, opened)
                if silent >= self._stall_seconds:
                    # a stalled peer may never answer a close handshake
                    socket.transport.abort()
                    return Ending("stalled")
                try:
                    async with asyncio.timeout(self._stall_seconds - silent):
                        await arrived.wait()
                except TimeoutError:
                    continue
                arrived.clear()
                self._sink.apply_taken()
                if commands.outbox:
                    called_for, commands.outbox = commands.outbox, []
                    await self._send_all(called_for)
            return reader.result()
        finally:
            reader.cancel()

    async def _read(self, socket: ClientConnection, arrived: asyncio.Event) -> Ending:
        """Hand over each frame with its time; why there are no more.

        Frames that are there already are read without a pause, so whoever waits for ``arrived``
        finds all of them taken.
        """
        conn = self._conn
        try:
            while True:
                if self._sink.crowded:
                    # the peer waits, as far as its buffers and ours go: nothing is left out
                    await self._sink.room()
                frame = await socket.recv(decode=False)
                recv_ns = self._clock.now_ns()
                self._sink.take(conn, frame, recv_ns)
                arrived.set()
                if frame[:1] in (b"{", b"["):
                    self._heard, self._last_data_ns = time.monotonic(), recv_ns
        except ConnectionClosed as closed:
            # ours, where it was we who could not take a frame
            close = closed.rcvd or closed.sent
            code = close.code if close is not None else 1006
            if code == _TOO_BIG:
                log.warning("frame_too_big", conn=conn, next_step="fewer assets_per_connection")
            return Ending(f"closed_{code}", close_code=code)
        finally:
            arrived.set()

    async def _keep_alive(self, socket: ClientConnection) -> None:
        if self._ping is None:
            return
        while True:
            await asyncio.sleep(PING_SECONDS)
            try:
                await socket.send(self._ping)
            except ConnectionClosed:
                return

    def _end_with(self, socket: ClientConnection, keep_alive: asyncio.Task[None]) -> None:
        """A connection that nothing keeps alive any more is replaced by one that is."""
        if not keep_alive.cancelled() and keep_alive.exception() is not None:
            log.error("feed_keep_alive_failed", conn=self._conn, cause=repr(keep_alive.exception()))
            socket.transport.abort()

    async def _send_all(self, frames: Iterable[str]) -> None:
        """Send frames in the order of the calls; a peer that does not take them is given up."""
        socket = self._socket
        if socket is None:
            return
        async with self._sending:
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    for frame in frames:
                        await socket.send(frame)
            except ConnectionClosed:
                log.info("feed_send_after_close", conn=self._conn)
            except TimeoutError:
                log.warning("feed_send_stuck", conn=self._conn)
                socket.transport.abort()


def _refused(refusal: InvalidStatus) -> Ending:
    status = refusal.response.status_code
    asked = retry_after(refusal.response.headers.get("retry-after"))
    return Ending(f"handshake_{status}", status=status, retry_after=asked)


def _advice(refusal: InvalidStatus, wall_ms: int) -> dict[str, str]:
    """The next step after a refused handshake, where it is known."""
    if refusal.response.status_code not in _REFUSED_BY_KEY:
        return {}
    try:
        told = parsedate_to_datetime(refusal.response.headers.get("date", "")).timestamp()
    except (ValueError, OverflowError):
        told = wall_ms / 1e3
    off_seconds = round(wall_ms / 1e3 - told)
    if abs(off_seconds) > _CLOCK_SECONDS:
        return {"next_step": f"set this machine's clock: it is {off_seconds:+d} s off the venue's"}
    return {"next_step": "check the key, that it is this host's, and this machine's clock"}
