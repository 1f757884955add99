"""A world's Polymarket frames as fast as they can be made, with receive times and no socket.

Pure: for feeding an engine a day of history in seconds. One connection subscribed to both tokens of
every market that is open at the start, custom features enabled.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from surveillance_core.markets import Venue
from surveillance_core.venues.simulated.happenings import Phase
from surveillance_core.venues.simulated.polymarket.frames import WireFrame
from surveillance_core.venues.simulated.polymarket.source import WorldSource
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
    tokens = {
        token
        for market in world.tradable
        if market.venue is Venue.POLYMARKET and world.phase(market.index) is Phase.OPEN
        for token in (market.yes_id, market.no_id)
    }
    source = WorldSource(world, tokens.__contains__)
    delays = Random(world.start_ms)
    recv_ns = world.now_ms * 1_000_000 + 1_000_000
    if truth is not None:
        truth.watch(world)
    ordered = [t for m in world.tradable for t in (m.yes_id, m.no_id) if t in tokens]
    yield recv_ns, source.initial_books(ordered)

    def received(frame: WireFrame) -> tuple[int, str]:
        nonlocal recv_ns
        arrival = frame.due_ms * 1_000_000 + delays.randint(1_000_000, 3_000_000)
        recv_ns = max(recv_ns + 1, arrival)
        return recv_ns, frame.text

    while world.now_ms < until_ms:
        events = world.advance(min(until_ms, world.now_ms + STEP_MS))
        if truth is not None:
            for event in events:
                truth.record(event, event.ts_ms * 1_000_000)
        for frame in source.frames_of(events, world.now_ms):
            yield received(frame)
