"""A network between a client and a peer: it slices, lingers, and carries little at a time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

_READ_BYTES = 65_536
_SHORTEST_SLEEP = 0.002
"""What is owed for less is paid with what comes after."""


@dataclass(frozen=True)
class Network:
    """What happens to bytes on their way; the same in both directions.

    Parameters
    ----------
    most_slice
        Bytes written at once: 1 up to so many.
    jitter_seconds
        Longest pause, drawn evenly about every ``pause_every`` bytes.
    bytes_per_second
        What it carries in the long run.
    """

    most_slice: int
    jitter_seconds: float = 0.2
    bytes_per_second: float = 64_000.0
    pause_every: int = 4_000


class _Line:
    """One direction of one connection."""

    def __init__(self, network: Network, draws: Random) -> None:
        self._network = network
        self._draws = draws
        self._owed = 0.0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass everything on, then the end."""
        network, draws = self._network, self._draws
        try:
            while data := await reader.read(_READ_BYTES):
                at = 0
                while at < len(data):
                    size = draws.randint(1, network.most_slice)
                    writer.write(data[at : at + size])
                    at += size
                    self._owed += size / network.bytes_per_second
                    if draws.random() < size / network.pause_every:
                        self._owed += draws.uniform(0.0, network.jitter_seconds)
                    await self._pay(writer)
            writer.write_eof()
        except OSError:
            writer.close()

    async def _pay(self, writer: asyncio.StreamWriter) -> None:
        await writer.drain()
        if self._owed >= _SHORTEST_SLEEP:
            loop = asyncio.get_running_loop()
            began = loop.time()
            await asyncio.sleep(self._owed)
            self._owed -= loop.time() - began
        else:
            # each slice is read by itself
            await asyncio.sleep(0)


@asynccontextmanager
async def between(network: Network, port: int, draws: Random) -> AsyncGenerator[int]:
    """Put the network before a port of loopback; the port to connect to."""

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        for end in (writer, far_writer):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(
            _Line(network, draws).carry(reader, far_writer),
            _Line(network, draws).carry(far_reader, writer),
        )
        writer.close()
        far_writer.close()

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
