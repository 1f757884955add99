"""A line between a client and a peer on which everything may vanish without a word."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from enum import StrEnum

_READ_BYTES = 65_536


class Vanishing(StrEnum):
    """What becomes of bytes on a connection that leads nowhere any more."""

    SWALLOWED = "acknowledged and thrown away"
    UNREAD = "left where they are until no more go in"


class _Line:
    """One connection; both directions."""

    def __init__(self, writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self._writers = writers
        self._way: Vanishing | None = None
        self.told_us = 0
        """When the client last got anything, µs of the epoch."""

    def vanish(self, way: Vanishing) -> None:
        """From now on nothing gets through, either way, and no end does."""
        self._way = way
        if way is Vanishing.UNREAD:
            for writer in self._writers:
                transport = writer.transport
                assert isinstance(transport, asyncio.ReadTransport)
                transport.pause_reading()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass everything on, then the end."""
        try:
            while data := await reader.read(_READ_BYTES):
                if self._way is None:
                    writer.write(data)
                    if writer is self._writers[0]:
                        self.told_us = time.time_ns() // 1_000
                    await writer.drain()
        except OSError:
            pass
        if self._way is None:
            writer.close()


class BlackHole:
    """The lines to a port."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._by_port: dict[int, _Line] = {}

    def vanish(self, client_port: int, way: Vanishing) -> int:
        """The connection that the client made from this port leads nowhere any more.

        Returns when it last told the client anything, µs of the epoch: what its peer has sent
        since is on its way, and vanishes too.
        """
        line = self._by_port[client_port]
        line.vanish(way)
        return line.told_us

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Lay a line to the peer."""
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        line = _Line((writer, far_writer))
        self._by_port[writer.get_extra_info("peername")[1]] = line
        try:
            await asyncio.gather(line.carry(reader, far_writer), line.carry(far_reader, writer))
        finally:
            for end in (writer, far_writer):
                end.transport.abort()


@asynccontextmanager
async def before(port: int) -> AsyncGenerator[tuple[BlackHole, int]]:
    """Put the line before a port of loopback; the port to connect to."""
    hole = BlackHole(port)
    server = await asyncio.start_server(hole.connect, "127.0.0.1", 0)
    try:
        yield hole, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
