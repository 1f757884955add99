"""A venue whose markets come and go: it sends a book for each subscription, and what it is told."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager

from websockets.asyncio.server import ServerConnection, serve

from surveillance_core.markets import Market

A_FRAME = 100
"""Books in one frame."""


class ChurningPeer:
    """Holds what is subscribed on each connection."""

    def __init__(self) -> None:
        self._held: dict[ServerConnection, set[str]] = {}
        self.url = ""

    @property
    def subscribed(self) -> set[str]:
        """Assets that somebody is subscribed to."""
        return set[str]().union(*self._held.values())

    async def serve(self, connection: ServerConnection) -> None:
        """One connection."""
        held = self._held[connection] = set()
        try:
            async for frame in connection:
                if frame == "PING":
                    await connection.send("PONG")
                    continue
                command = json.loads(frame)
                if command.get("operation") == "unsubscribe":
                    held.difference_update(command["assets_ids"])
                    continue
                held.update(command["assets_ids"])
                await self._send_books(connection, command["assets_ids"])
        finally:
            del self._held[connection]

    async def announce(self, markets: Iterable[Market]) -> None:
        """Say on every connection that markets are listed."""
        await self._say(
            {"event_type": "new_market", "market": m.market_id, "question": m.title}
            for m in markets
        )

    async def resolve(self, markets: Iterable[Market]) -> None:
        """Say on every connection that markets have a result."""
        await self._say(
            {
                "event_type": "market_resolved",
                "market": market.market_id,
                "winning_asset_id": market.outcomes[0].outcome_id,
                "winning_outcome": "Yes",
            }
            for market in markets
        )

    async def _say(self, messages: Iterable[dict[str, str]]) -> None:
        moment = {"timestamp": str(time.time_ns() // 1_000_000)}
        frames = [json.dumps(message | moment) for message in messages]
        for connection in list(self._held):
            for frame in frames:
                await connection.send(frame)

    async def _send_books(self, connection: ServerConnection, assets: Sequence[str]) -> None:
        moment = str(time.time_ns() // 1_000_000)
        for at in range(0, len(assets), A_FRAME):
            books = [
                {
                    "event_type": "book", "market": "", "asset_id": asset, "timestamp": moment,
                    "hash": "", "bids": _levels(10, 49), "asks": _levels(51, 90),
                }
                for asset in assets[at : at + A_FRAME]
            ]  # fmt: skip
            await connection.send(json.dumps(books))


def _levels(low: int, high: int) -> list[dict[str, str]]:
    return [{"price": f"0.{cents}", "size": "10"} for cents in range(low, high + 1)]


@asynccontextmanager
async def churning_peer() -> AsyncGenerator[ChurningPeer]:
    """Serve the peer on loopback."""
    peer = ChurningPeer()
    async with serve(peer.serve, "127.0.0.1", 0, compression=None, close_timeout=0.5) as server:
        peer.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield peer
