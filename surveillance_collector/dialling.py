"""Asking a venue for a connection, when it may be asked, and why there was none."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import cast

import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from surveillance_collector.arriving import ArrivingConnection
from surveillance_collector.handshakes import Connect, advice_after, ending_of
from surveillance_collector.reconnection import Ending, HandshakeBudget
from surveillance_core.venues.registry import HandshakeHeaders

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""Polymarket's initial dump of 400 assets is one frame of several MB (reference polymarket.md 3.2);
Kalshi's messages may have 64 MiB (kalshi.md 3)."""

_CLOSE_SECONDS = 2.0

log = structlog.get_logger()

# at its debug level the library logs the headers of handshakes, which may be signed
_library_log = logging.getLogger("surveillance_collector.websocket")
_library_log.setLevel(logging.WARNING)


class Dialling:
    """Opens the connections of one place in the plan, one after the other.

    Parameters
    ----------
    name
        The place in the plan, for the log.
    handshake
        Headers of each handshake, made afresh from the wall's time.
    budget
        The venue's, shared by all its connections.
    wall_ms
        The wall's time in milliseconds since the epoch, which is never the simulated one.
    """

    def __init__(
        self,
        name: str,
        url: str,
        handshake: HandshakeHeaders,
        budget: HandshakeBudget,
        wall_ms: Callable[[], int],
    ) -> None:
        self._name = name
        self._url = url
        self._handshake = handshake
        self._budget = budget
        self._wall_ms = wall_ms
        self._draining: asyncio.Task[None] | None = None
        """Reads what nobody wants any more, until the connection has closed."""

    async def turn(self) -> None:
        """Wait until the venue may be asked for a connection."""
        while (wait := self._budget.wait_seconds(time.monotonic())) > 0:  # noqa: ASYNC110  # a time
            await asyncio.sleep(wait)
        self._budget.take(time.monotonic())

    async def attempt(self, hold: Callable[[ArrivingConnection], Awaitable[Ending]]) -> Ending:
        """Open a connection and have it held; how the attempt or the connection ended."""
        try:
            async with Connect(
                self._url,
                create_connection=ArrivingConnection,
                # signed anew for each attempt: a signature is good for seconds
                additional_headers=self._handshake(self._wall_ms()),
                logger=_library_log,
                compression=None,
                proxy=None,
                max_size=MAX_FRAME_BYTES,
                # pings are sent by the holder, where the time of the last data is known
                ping_interval=None,
                close_timeout=_CLOSE_SECONDS,
            ) as socket:
                self._budget.succeeded()
                try:
                    return await hold(cast("ArrivingConnection", socket))
                finally:
                    # what still comes would fill the buffer, behind which the peer's answer to
                    # the close waits until the handshake is given up
                    self._draining = asyncio.create_task(_drain(socket))
        except InvalidStatus as refusal:
            ending, advice = ending_of(refusal), advice_after(refusal, self._wall_ms())
            log.warning("handshake_refused", conn=self._name, cause=ending.cause, **advice)
        except (OSError, WebSocketException, TimeoutError) as error:
            ending = Ending(f"connection_{type(error).__name__}".lower())
            log.warning(
                "feed_failed", conn=self._name, address=self._url, cause=ending.cause,
                error=str(error)[:200],
            )  # fmt: skip
        self._budget.failed(time.monotonic(), ending.retry_after)
        return ending


async def _drain(socket: ClientConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await socket.recv(decode=False)
