"""A way into a port of loopback that can be closed: refused at once, or nothing comes through."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Self

_READ_BYTES = 65_536


class Way(Enum):
    """What becomes of bytes and of new connections."""

    OPEN = "open"
    REFUSED = "refused"
    """Connections are cut, and new ones as soon as they are made."""
    HOLE = "hole"
    """Nothing is carried either way and nothing is ended."""


class Gate:
    """Listens on a port of its own and carries to another one; an async context manager.

    What a hole has swallowed is gone: its connections are cut when the way is opened again, as
    packets are not kept for minutes either.
    """

    def __init__(self, port: int) -> None:
        self._far_port = port
        self._way = Way.OPEN
        self._writers: set[asyncio.StreamWriter] = set()
        self._lines: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._enter, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        self._cut()
        for line in list(self._lines):
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    def turn(self, way: Way) -> None:
        """Open or close it, from this moment on."""
        self._way = way
        if way is not Way.HOLE:
            self._cut()

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._way is Way.REFUSED:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far_port)
        ends = {writer, far_writer}
        self._writers |= ends
        lines = [
            asyncio.create_task(self._carry(reader, far_writer)),
            asyncio.create_task(self._carry(far_reader, writer)),
        ]
        self._lines.update(lines)
        try:
            await asyncio.gather(*lines, return_exceptions=True)
        finally:
            self._lines.difference_update(lines)
            self._writers -= ends
            for end in ends:
                end.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_READ_BYTES):
                if self._way is Way.HOLE:
                    continue
                writer.write(data)
                await writer.drain()
        # the end too is swallowed by a hole
        if self._way is not Way.HOLE:
            writer.close()
