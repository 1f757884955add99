"""One WebSocket connection: its session, its outgoing queue, its heartbeat and its faults.

Edge code on ``websockets``. A slow reader delays nobody else; one that falls too far behind is told
error 25 and cut. Facts: reference kalshi.md 3.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConcurrencyError, ConnectionClosed

from surveillance_core.venues.simulated.faults import Fail, HalfOpen, Slow, StreamFault
from surveillance_core.venues.simulated.kalshi.commands import Channel
from surveillance_core.venues.simulated.kalshi.disturbance import Disturbance
from surveillance_core.venues.simulated.kalshi.frames import frame
from surveillance_core.venues.simulated.kalshi.limits import KalshiLimits
from surveillance_core.venues.simulated.kalshi.subscriptions import Floor, Session, Stream

HEARTBEAT = b"heartbeat"
_NEWLINE_EVERY = 3
"""Every third frame ends in a newline: the venue's sometimes do."""

_OVERFLOW = 25
_LAST_WORDS_S = 1.0
_SLOW_READER = 1008


class Connection:
    """One client; an ``Outlet`` of its session."""

    def __init__(
        self,
        socket: ServerConnection,
        floor: Floor,
        limits: KalshiLimits,
        wall_ms: Callable[[], int],
    ) -> None:
        self.socket = socket
        self.session = Session(floor, limits, self, wall_ms())
        self.disturbance = Disturbance()
        self.frames_sent = 0
        self.stalled_until = 0.0
        """Loop time until which nothing is sent; what would have been is lost."""
        self._limits = limits
        self._wall_ms = wall_ms
        self._waiting: deque[str | bytes] = deque()
        self._backlog = 0
        self._ready = asyncio.Event()
        self._frozen = False
        self._cut = False
        self._slow = Slow(0.0, 0)
        self._counted = 0

    def data(self, stream: Stream, kind: str, body: str, now_ms: int) -> None:
        """Number and send what the venue publishes; the ticker alone has no numbers."""
        if kind == Channel.TICKER:
            self.queue(frame(kind, stream.sid, None, body, now_ms))
            return
        text = frame(kind, stream.sid, stream.number(), body, now_ms)
        if self.disturbance.quiet:
            self.queue(text)
            return
        for passed in self.disturbance.pass_on(text):
            self.queue(passed)

    def queue(self, text: str) -> None:
        """Send one of the venue's own frames in its turn."""
        self._counted += 1
        self.inject(text if self._counted % _NEWLINE_EVERY else f"{text}\n")

    def inject(self, text: str | bytes) -> None:
        """Send a frame in its turn, as it is."""
        if self._cut or (self.stalled_until and self._stalled()):
            return
        self._waiting.append(text)
        self._backlog += len(text)
        if self._backlog > self._limits.backlog_bytes:
            self._overflow()
        self._ready.set()

    def meet(self, fault: StreamFault) -> None:
        """Do what a fault says."""
        if isinstance(fault, Fail):
            if fault.code == _OVERFLOW:
                self._overflow()
                return
            for stream in list(self.session.streams.values()):
                if stream.channel == Channel.BOOK:
                    self.queue(self.session.fail(stream, fault.code))
        elif isinstance(fault, HalfOpen):
            self._freeze(fault.seconds)
        elif isinstance(fault, Slow):
            self._slow = fault
        else:
            self.disturbance.order(fault)

    def abort(self) -> None:
        """Cut the connection without a close frame."""
        self._waiting.clear()
        self._backlog = 0
        self.socket.transport.abort()

    async def serve(self, commands: Counter[str]) -> None:
        """Answer commands, and count them by kind, until the connection ends."""
        tasks = [
            asyncio.create_task(self._send_queued()),
            asyncio.create_task(self._beat()),
        ]
        try:
            async for text in self.socket:
                kind, answers = self.session.command(text, self._wall_ms())
                commands[kind] += 1
                for answer in answers:
                    self.queue(answer)
        except ConnectionClosed:
            pass
        finally:
            self.session.end_all()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_queued(self) -> None:
        try:
            while True:
                await self._ready.wait()
                self._ready.clear()
                while self._waiting and not self._frozen:
                    if self._slow.frames:
                        self._slow = Slow(self._slow.seconds, self._slow.frames - 1)
                        await asyncio.sleep(self._slow.seconds)
                        if not self._waiting:
                            # emptied by a cut in the meantime
                            break
                    text = self._waiting.popleft()
                    self._backlog -= len(text)
                    await self.socket.send(text)
                    self.frames_sent += 1
                if self._cut:
                    await self.socket.close(_SLOW_READER, "")
        except ConnectionClosed:
            return

    async def _beat(self) -> None:
        missed = 0
        try:
            while missed < self._limits.missed_heartbeats:
                await asyncio.sleep(self._limits.heartbeat_s)
                if self._frozen:
                    continue
                try:
                    await self.socket.ping(HEARTBEAT)
                    missed = 0
                except ConcurrencyError:
                    # the last one is still unanswered, and this one would look the same
                    missed += 1
        except ConnectionClosed:
            return
        self.abort()

    def _stalled(self) -> bool:
        if asyncio.get_running_loop().time() < self.stalled_until:
            return True
        self.stalled_until = 0.0
        return False

    def _overflow(self) -> None:
        if self._cut:
            return
        self._waiting.clear()
        for stream in list(self.session.streams.values()):
            self._waiting.append(self.session.fail(stream, _OVERFLOW))
        self._backlog = sum(map(len, self._waiting))
        self._cut = True
        self._ready.set()
        asyncio.get_running_loop().call_later(_LAST_WORDS_S, self.abort)

    def _freeze(self, seconds: float) -> None:
        """Half-open: nothing is sent, nothing is read, so neither pings nor pongs are answered."""
        self._frozen = True
        self.socket.transport.pause_reading()
        asyncio.get_running_loop().call_later(seconds, self.abort)
