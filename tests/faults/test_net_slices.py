"""NET-06: a network that slices frames to the byte, pauses, and carries little."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from random import Random

import pytest
from websockets.asyncio.server import ServerConnection, serve

from surveillance_collector.feed import Feed
from surveillance_collector.receive_clock import ReceiveClock
from surveillance_collector.reconnection import HandshakeBudget
from surveillance_collector.sampling import Tier as ReadTier
from surveillance_collector.silence import Silence
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.registry import adapter_of
from tests.collector.live import until
from tests.collector.worlds import VENUE, Recording, UnjournaledEngine, recorded, sampled

from .bad_network import Network, between
from .matrix import Trial

NETWORKS = (
    Network(1), Network(1, 0.05, 20_000.0), Network(3), Network(7, 0.2, 32_000.0), Network(64),
    Network(125), Network(1_400, 0.2, 64_000.0, 1_400), Network(2, 0.01), Network(16, 0.5),
    Network(5_000, 1.0, 64_000.0, 20_000),
)  # fmt: skip
"""The worst of them first."""
SENT_BYTES = 120_000
MOST_SECONDS = 90.0


class NotingEngine(UnjournaledEngine):
    """Keeps every frame in the order in which it came."""

    def __init__(self) -> None:
        super().__init__(PolymarketChannel, sampled())
        self.noted: list[bytes | str] = []

    def take(self, conn: str, frame: bytes | str, recv_ns: int) -> None:
        self.noted.append(frame)
        super().take(conn, frame, recv_ns)


def _frames(recording: Recording) -> list[str]:
    """The first frames of a recording, until they are as long as is wanted."""
    frames: list[str] = []
    length = 0
    for _, frame in recording.frames:
        frames.append(frame)
        length += len(frame)
        if length > SENT_BYTES:
            return frames
    raise AssertionError("the recording is too short")


async def _sent_through(
    network: Network, recording: Recording, frames: Sequence[str], draws: Random
) -> NotingEngine:
    async def send_all(connection: ServerConnection) -> None:
        await connection.recv()
        for frame in frames:
            await connection.send(frame)
        await connection.wait_closed()

    engine = NotingEngine()
    async with serve(send_all, "127.0.0.1", 0, compression=None, close_timeout=0.5) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with between(network, port, draws) as near:
            feed = Feed(
                "polymarket-0", f"ws://127.0.0.1:{near}", engine, ReceiveClock(),
                handshake=lambda wall_ms: {}, ping=adapter_of(VENUE).ping,
                echo=adapter_of(VENUE).echo,
                silence=Silence(MOST_SECONDS), half_open_seconds=MOST_SECONDS,
                reconnect_max_seconds=60.0,
                budget=HandshakeBudget(),
            )  # fmt: skip
            await feed.add(recording.terms, ReadTier.HOT)
            task = asyncio.create_task(feed.run())
            try:
                await until(
                    lambda: len(engine.noted) >= len(frames) or feed.endings,
                    "every frame",
                    MOST_SECONDS,
                )
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
    return engine


@pytest.mark.fault("NET-06")
async def test_nothing_is_lost_and_order_is_kept(trial: Trial) -> None:
    recording = recorded(trial.seed % 1_000, markets=3, seconds=60, rate=20.0)
    frames = _frames(recording)
    networks = NETWORKS[: trial.quantity]
    engines = await asyncio.gather(
        *(
            _sent_through(network, recording, frames, Random(trial.seed + n))
            for n, network in enumerate(networks)
        )
    )
    for network, engine in zip(networks, engines, strict=True):
        with trial.case(str(network)):
            lost = len(frames) - len(engine.noted)
            trial.rows_lost += max(0, lost)
            assert engine.noted == [frame.encode() for frame in frames], f"{lost} lost"
            assert engine.frames == len(frames)
            assert not engine.rejected
            hashes = engine.tallies.hashes
            assert hashes.due == hashes.matched > 100
    trial.notes.append(
        f"{len(frames)} frames, {sum(map(len, frames)) / 1e3:.0f} kB, over each network"
    )
