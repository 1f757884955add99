"""HTTP and WebSocket servers inside a process that keeps its own signals.

They bind 127.0.0.1 and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import cast

import uvicorn
from starlette.applications import Starlette
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0


class QuietServer(uvicorn.Server):
    """A uvicorn server that leaves the process's signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@contextlib.asynccontextmanager
async def serve_http(application: Starlette, port: int = 0) -> AsyncGenerator[str]:
    """Serve an application until the block ends; gives its address. Port zero takes any free one.

    Raises
    ------
    OSError
        If the port is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
    except OSError:
        listener.close()
        raise
    url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
    config = uvicorn.Config(application, log_config=None, access_log=False, lifespan="off")
    server = QuietServer(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while not server.started:  # noqa: ASYNC110 (uvicorn has no event to await)
                await asyncio.sleep(0.005)
        yield url
    finally:
        server.should_exit = True
        await asyncio.wait([task], timeout=STOP_TIMEOUT_S)
        task.cancel()


@contextlib.asynccontextmanager
async def serve_sockets(
    handler: Callable[[ServerConnection], Awaitable[None]],
    check_handshake: Callable[[ServerConnection, Request], Response | None],
    port: int = 0,
) -> AsyncGenerator[str]:
    """Serve WebSockets until the block ends; gives the address without a path.

    Raises
    ------
    OSError
        If the port is taken.
    """
    server = await serve(
        handler,
        LOOPBACK,
        port,
        compression=None,
        ping_interval=None,
        process_request=check_handshake,
        close_timeout=1,
    )
    bound = cast("int", next(iter(server.sockets)).getsockname()[1])
    try:
        yield f"ws://{LOOPBACK}:{bound}"
    finally:
        server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await server.wait_closed()
