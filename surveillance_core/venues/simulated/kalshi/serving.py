"""A venue served alone on loopback, for tests of it; it advances nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from surveillance_core.venues.simulated.kalshi.rest import REST_ROOT, unknown_path
from surveillance_core.venues.simulated.kalshi.venue import WS_PATH, KalshiVenue
from surveillance_core.venues.simulated.loopback import serve_http, serve_sockets


class KalshiUrls(msgspec.Struct, frozen=True):
    """Where the venue is served."""

    rest: str
    """With the interface's root, as a client is configured."""
    ws: str


@asynccontextmanager
async def serve_kalshi(
    venue: KalshiVenue, http_port: int = 0, ws_port: int = 0
) -> AsyncGenerator[KalshiUrls]:
    """Serve both interfaces until the block ends; port zero takes any free one."""
    application = Starlette(routes=venue.routes, exception_handlers={404: _unknown})
    async with (
        serve_http(application, http_port) as http_url,
        serve_sockets(venue.serve, venue.check_handshake, ws_port) as ws_url,
    ):
        yield KalshiUrls(http_url + REST_ROOT, ws_url + WS_PATH)


async def _unknown(request: Request, error: Exception) -> Response:
    return await unknown_path(request)
