"""A world's frames as fast as they can be made, with receive times, and no socket in between.

Pure: for feeding an engine a day of history in seconds. One connection subscribed to both tokens of
every market, custom features enabled.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from surveillance_core.venues.simulated.frames import FrameEncoder, FrameQueue, WireFrame
from surveillance_core.venues.simulated.truth import TruthLog
from surveillance_core.venues.simulated.world import World

STEP_MS = 1_000


def record_history(
    world: World, until_ms: int, truth: TruthLog | None = None
) -> Iterator[tuple[int, str]]:
    """Frames of ``world`` from now until ``until_ms`` with their receive times in nanoseconds.

    The initial books come first, as one array frame. A frame is received 1 to 3 ms after the venue
    sent it, by the venue's clock, and never before the frame ahead of it. ``truth``, if given, gets
    every batch and print with the venue's time as its sending time; the caller closes it.
    """
    encoder, queue = FrameEncoder(world), FrameQueue()
    delays = Random(world.start_ms)
    recv_ns = world.now_ms * 1_000_000 + 1_000_000
    tokens = [token for m in world.tradable for token in (m.yes_token, m.no_token)]
    if truth is not None:
        truth.open_markets(world)
    yield recv_ns, encoder.initial_books(tokens, world.now_ms)

    def received(frame: WireFrame) -> tuple[int, str]:
        nonlocal recv_ns
        arrival = frame.due_ms * 1_000_000 + delays.randint(1_000_000, 3_000_000)
        recv_ns = max(recv_ns + 1, arrival)
        return recv_ns, frame.text

    while world.now_ms < until_ms:
        for event in world.advance(min(until_ms, world.now_ms + STEP_MS)):
            for frame in queue.before(event.ts_ms):
                yield received(frame)
            if truth is not None:
                truth.record(event, event.ts_ms * 1_000_000)
            for frame in queue.put(encoder.encode(event), event.ts_ms):
                yield received(frame)
        for frame in queue.before(world.now_ms):
            yield received(frame)
