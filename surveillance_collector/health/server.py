"""The socket under the health pages.

A WebSocket server that opens no WebSocket: the library that the feeds stand on answers plain HTTP
before a handshake, bounds the request line, the headers and the time, and refuses bodies. That
spares the always-on process a web framework.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from typing import cast

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from surveillance_collector.health.pages import HEADERS, Page

REQUEST_SECONDS = 5.0
"""Within which a request must have come in and its answer gone out."""
_STOP_SECONDS = 2.0
_BACKLOG = 16

# the library notes every plain request as a handshake that was rejected
_library_log = logging.getLogger("surveillance_collector.health")
_library_log.setLevel(logging.ERROR)


@contextlib.asynccontextmanager
async def serve_pages(
    host: str, port: int, answer: Callable[[Request], Page]
) -> AsyncGenerator[str]:
    """Answer requests until the block ends; gives the address. Port zero takes any free one.

    Raises
    ------
    OSError
        If the port is taken or the host is not this machine's.
    """

    def respond(connection: ServerConnection, request: Request) -> Response:
        page = answer(request)
        headers = Headers(HEADERS)
        headers["Content-Type"] = page.content_type
        headers["Content-Length"] = str(len(page.body))
        headers["Connection"] = "close"
        return Response(page.status.value, page.status.phrase, headers, page.body)

    async with serve(
        _never_reached,
        host,
        port,
        process_request=respond,
        compression=None,
        server_header=None,
        open_timeout=REQUEST_SECONDS,
        close_timeout=_STOP_SECONDS,
        ping_interval=None,
        logger=_library_log,
        backlog=_BACKLOG,
    ) as server:
        bound = cast("int", next(iter(server.sockets)).getsockname()[1])
        yield f"http://{_name_of(host)}:{bound}"


def _name_of(host: str) -> str:
    """What this machine asks under: an address that means all of its own is none to ask."""
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{name}]" if ":" in name else name


async def _never_reached(connection: ServerConnection) -> None:
    del connection
