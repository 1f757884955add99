"""A world's Kalshi frames as fast as they can be made, with receive times and no socket.

Pure: for feeding an engine a day of history in seconds. One connection subscribed to the books and
the trades of every market that is open at the start, and to what happens to all markets.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from surveillance_core.markets import Venue
from surveillance_core.venues.kalshi.wire import Commands
from surveillance_core.venues.simulated.faults import Faults
from surveillance_core.venues.simulated.happenings import Phase
from surveillance_core.venues.simulated.kalshi.frames import frame
from surveillance_core.venues.simulated.kalshi.subscriptions import Channel, Stream
from surveillance_core.venues.simulated.kalshi.venue import KalshiVenue
from surveillance_core.venues.simulated.truth import TruthLog
from surveillance_core.venues.simulated.world import World


class _Collected:
    """Takes what one connection is sent, numbered as on a socket."""

    def __init__(self) -> None:
        self.frames: list[str] = []

    def data(self, stream: Stream, kind: str, body: str, now_ms: int) -> None:
        number = None if kind == Channel.TICKER else stream.number()
        self.frames.append(frame(kind, stream.sid, number, body, now_ms))


def record_history(
    world: World, until_ms: int, truth: TruthLog | None = None
) -> Iterator[tuple[int, str]]:
    """Frames of ``world`` from now until ``until_ms`` with their receive times in nanoseconds.

    The answers to the subscriptions come first. A frame is received 1 to 3 ms after the venue sent
    it, by the venue's clock, and never before the frame ahead of it. ``truth``, if given, gets
    every batch and print with the venue's time as its sending time; the caller closes it.
    """
    venue = KalshiVenue(world, Faults(), public_keys={})
    collected = _Collected()
    session = venue.open_session(collected)
    delays = Random(world.start_ms)
    recv_ns = world.now_ms * 1_000_000 + 1_000_000
    if truth is not None:
        truth.watch(world)

    def received(frames: list[str]) -> Iterator[tuple[int, str]]:
        nonlocal recv_ns
        for text in frames:
            arrival = world.now_ms * 1_000_000 + delays.randint(1_000_000, 3_000_000)
            recv_ns = max(recv_ns + 1, arrival)
            yield recv_ns, text

    commands = Commands()
    tickers = [
        market.market_id
        for market in world.tradable
        if market.venue is Venue.KALSHI and world.phase(market.index) is Phase.OPEN
    ]
    for command in (*commands.subscribe(tickers), *commands.subscribe_lifecycle()):
        yield from received(session.command(command, world.now_ms)[1])
    while world.now_ms < until_ms:
        events = world.advance(min(until_ms, world.next_ms, venue.next_due_ms(until_ms)))
        for event in events:
            if truth is not None:
                truth.record(event, event.ts_ms * 1_000_000)
            if world.markets[event.market].venue is Venue.KALSHI:
                venue.publish(event)
        venue.meet_faults()
        yield from received(collected.frames)
        collected.frames.clear()
