"""A venue that sends recorded frames over a loopback socket, in a process of its own.

It speaks just enough of the WebSocket protocol to be connected to; frames are made beforehand, so
that sending them costs the machine little and the receiver nothing.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import multiprocessing
import struct
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CHUNK = 64
"""Frames that are given to the socket at once when they are sent as fast as they are taken."""


@contextmanager
def sending(
    opening: Sequence[bytes], frames: Sequence[bytes], rate: float | None = None
) -> Generator[int]:
    """A server that sends both to whoever subscribes; its port.

    Parameters
    ----------
    rate
        Frames a second, None for as fast as they are taken.
    """
    told, tells = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("fork")
    server = context.Process(target=_serve, args=(opening, frames, rate, tells), daemon=True)
    server.start()
    try:
        yield told.recv()
    finally:
        server.kill()
        server.join()


def _serve(
    opening: Sequence[bytes], frames: Sequence[bytes], rate: float | None, tells: Connection
) -> None:
    first = [_framed(payload) for payload in opening]
    rest = [_framed(payload) for payload in frames]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            request = await reader.readuntil(b"\r\n\r\n")
            key = next(
                line.split(b":", 1)[1].strip()
                for line in request.split(b"\r\n")
                if line.lower().startswith(b"sec-websocket-key:")
            )
            accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            # the subscription, whatever it says
            await reader.read(65_536)
            writer.writelines(first)
            await writer.drain()
            await (_flood(writer, rest) if rate is None else _pace(writer, rest, rate))
            await reader.read()

    async def serve() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        tells.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


async def _flood(writer: asyncio.StreamWriter, frames: Sequence[bytes]) -> None:
    for start in range(0, len(frames), _CHUNK):
        writer.write(b"".join(frames[start : start + _CHUNK]))
        await writer.drain()


async def _pace(writer: asyncio.StreamWriter, frames: Sequence[bytes], rate: float) -> None:
    began = time.monotonic()
    for number, frame in enumerate(frames):
        ahead = began + number / rate - time.monotonic()
        if ahead > 0.0005:
            await asyncio.sleep(ahead)
        writer.write(frame)
        if not number % 100:
            await writer.drain()


def _framed(payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x81, size)
    elif size < 65_536:
        head = struct.pack("!BBH", 0x81, 126, size)
    else:
        head = struct.pack("!BBQ", 0x81, 127, size)
    return head + payload
