"""A peer with one market that ends its connections in a given way and at a given moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.collector.worlds import OneMarket

BURST = 40
"""Changes sent at once."""
_TEXT_WITHOUT_END, _TEXT, _CLOSE = 0x01, 0x81, 0x88
_MEDIUM = 126


class Moment(StrEnum):
    """What the connection is doing as it ends."""

    IDLE = "idle"
    BURST = "mid-burst"
    FRAME = "mid-frame"


class Cut(StrEnum):
    """Ends without a close frame."""

    RESET = "reset"
    FIN = "no close frame"


@dataclass
class ClosingPeer:
    """What the peer does, and what it has done.

    Parameters
    ----------
    ending
        The close code, or how the connection is cut.
    closes
        Connections that end so; the one after them stays.
    """

    ending: int | Cut
    moment: Moment
    closes: int
    market: OneMarket = field(default_factory=OneMarket)
    attempts: list[float] = field(default_factory=list[float])
    """When connections were opened, on ``time.monotonic``."""
    ended: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    """When they were ended, on ``time.monotonic`` and in nanoseconds since the epoch."""
    whole_frames: int = 0

    async def serve(self, connection: ServerConnection) -> None:
        """One connection."""
        self.attempts.append(time.monotonic())
        try:
            await connection.recv()
            await self._send(connection, self.market.book_frame(self._now_ms))
            await asyncio.sleep(0.01)
            if len(self.ended) < self.closes:
                await self._end(connection)
            await connection.wait_closed()
        except ConnectionClosed:
            return

    async def _end(self, connection: ServerConnection) -> None:
        if self.moment is Moment.BURST:
            for frame in self._burst():
                await self._send(connection, frame)
        if self.moment is Moment.FRAME:
            (frame,) = self._change(1.0)
            text = frame.encode()
            half = text[: len(text) // 2]
            if isinstance(self.ending, Cut):
                # the header promises all of it
                head = bytes((_TEXT, _MEDIUM)) + len(text).to_bytes(2, "big")
            else:
                # a close frame may stand between the fragments of a message
                head = bytes((_TEXT_WITHOUT_END, _MEDIUM)) + len(half).to_bytes(2, "big")
            connection.transport.write(head + half)
        self.ended.append((time.monotonic(), time.time_ns()))
        if self.ending is Cut.RESET:
            connection.transport.abort()
        elif self.ending is Cut.FIN:
            connection.transport.close()
        elif self.moment is Moment.FRAME:
            connection.transport.write(bytes((_CLOSE, 2)) + self.ending.to_bytes(2, "big"))
            await connection.wait_closed()
        else:
            await connection.close(self.ending)

    async def _send(self, connection: ServerConnection, frame: str) -> None:
        await connection.send(frame)
        self.whole_frames += 1

    def _burst(self) -> list[str]:
        return [frame for number in range(BURST) for frame in self._change(1.0 + number)]

    def _change(self, size: float) -> list[str]:
        return self.market.change(self._now_ms, ("BUY", 4_000, size + len(self.ended)))

    @property
    def _now_ms(self) -> int:
        return time.time_ns() // 1_000_000


@asynccontextmanager
async def serving(peer: ClosingPeer) -> AsyncGenerator[str]:
    """Serve the peer on loopback; its address."""
    server = await serve(peer.serve, "127.0.0.1", 0, compression=None, close_timeout=0.5)
    port = next(iter(server.sockets)).getsockname()[1]
    try:
        yield f"ws://127.0.0.1:{port}"
    finally:
        server.close()
        await server.wait_closed()
