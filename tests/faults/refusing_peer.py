"""A peer that refuses handshakes, for as long as its script says, and notes when it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from surveillance_collector.feed import Feed
from surveillance_collector.receive_clock import ReceiveClock
from surveillance_collector.reconnection import HandshakeBudget
from surveillance_collector.sampling import Tier
from surveillance_collector.silence import Silence
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.registry import adapter_of
from tests.collector.worlds import VENUE, OneMarket, UnjournaledEngine, sampled

Answer = tuple[int, Mapping[str, str]]
"""A status and headers; 101 accepts."""
ACCEPTED = HTTPStatus.SWITCHING_PROTOCOLS


class RefusingPeer:
    """Asks its script for each answer.

    Parameters
    ----------
    answer
        Called with the loop's time of each handshake.
    close_code
        What an accepted connection is closed with at once; None keeps it.
    """

    def __init__(self, answer: Callable[[float], Answer], close_code: int | None = None) -> None:
        self._answer = answer
        self._close_code = close_code
        self.attempts: list[float] = []

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a handshake; see ``websockets``."""
        del request
        now = asyncio.get_running_loop().time()
        self.attempts.append(now)
        status, headers = self._answer(now)
        if status == ACCEPTED:
            return None
        response = connection.respond(HTTPStatus(status), "")
        for name, value in headers.items():
            response.headers[name] = value
        return response

    async def serve(self, connection: ServerConnection) -> None:
        """Hold what was accepted, or close it."""
        if self._close_code is not None:
            await connection.close(self._close_code)
        await connection.wait_closed()


@asynccontextmanager
async def asked_by_feeds(
    peer: RefusingPeer, feeds: int, *, most_seconds: float = 30.0
) -> AsyncGenerator[Sequence[Feed]]:
    """Serve the peer, and have so many connections of one venue ask for it."""
    budget, clock = HandshakeBudget(), ReceiveClock()
    engine = UnjournaledEngine(lambda reader: PolymarketChannel(reader), sampled())
    server = await serve(
        peer.serve, "127.0.0.1", 0, process_request=peer.check, close_timeout=0.5,
        ping_interval=None,
    )  # fmt: skip
    port = next(iter(server.sockets)).getsockname()[1]
    asking: list[Feed] = []
    tasks: list[asyncio.Task[None]] = []
    for number in range(feeds):
        feed = Feed(
            f"polymarket-{number}", f"ws://127.0.0.1:{port}", engine, clock,
            handshake=lambda wall_ms: {}, ping=adapter_of(VENUE).ping, echo=adapter_of(VENUE).echo,
            silence=Silence(1e9), half_open_seconds=1e9,
            reconnect_max_seconds=most_seconds, budget=budget,
        )  # fmt: skip
        await feed.add([OneMarket().terms], Tier.HOT)
        asking.append(feed)
        tasks.append(asyncio.create_task(feed.run()))
    try:
        yield asking
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        server.close()
        await server.wait_closed()
