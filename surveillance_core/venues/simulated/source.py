"""Where the servers get what they serve: a world that is simulated, or recordings.

Pure: the servers own the clock and the sockets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from surveillance_core.venues.simulated.frames import FrameEncoder, FrameQueue, WireFrame
from surveillance_core.venues.simulated.gamma import (
    JsonObject,
    clob_market_object,
    event_object,
)
from surveillance_core.venues.simulated.truth import TruthLog
from surveillance_core.venues.simulated.world import MarketQuote, World

LISTING_AGE_MS = 300_000
"""The venue's listing is cached that long: prices in it can be five minutes old."""

EVENTS_A_STEP = 100


class VenueSource(Protocol):
    """What a venue serves."""

    now_ms: int
    """The venue's time."""
    step_ms: int
    """How far to advance at once, so that a step stays short."""

    def event_ids(self, closed: bool | None) -> Sequence[str]:
        """Ids of the events listed, in listing order; None for open and closed ones."""
        ...

    def event(self, event_id: str) -> JsonObject | None:
        """One event as Gamma gives it."""
        ...

    def clob_market(self, condition_id: str) -> JsonObject | None:
        """One market in the CLOB's short form."""
        ...

    def rest_book(self, token: str) -> str | None:
        """The CLOB's book of a token as JSON text."""
        ...

    def initial_books(self, tokens: Sequence[str]) -> str:
        """The array frame a subscription of these tokens is answered with."""
        ...

    def subscribed(self, tokens: Sequence[str]) -> None:
        """Somebody has subscribed these tokens."""
        ...

    def advance(self, to_ms: int, sent_ns: int) -> Iterator[WireFrame]:
        """Frames due until ``to_ms``, in order; ``sent_ns`` is the wall time of their sending."""
        ...

    def close(self) -> None:
        """Finish what is written."""
        ...


class WorldSource:
    """Serves a simulated world and logs the truth."""

    def __init__(self, world: World, truth: TruthLog) -> None:
        self.now_ms = world.now_ms
        self.step_ms = max(1, int(EVENTS_A_STEP * 1000 / world.events_per_second))
        self.truth = truth
        self.world = world
        self._encoder = FrameEncoder(world)
        self._queue = FrameQueue()
        self._events = {event.event_id: event for event in world.events}
        self._by_condition = {
            market.condition_id: (event, market)
            for event in world.events
            for market in event.markets
        }
        self._quotes: dict[int, MarketQuote] = {}
        self._quoted_ms = -LISTING_AGE_MS
        truth.open_markets(world)

    def event_ids(self, closed: bool | None) -> Sequence[str]:
        return [
            event.event_id
            for event in self._events.values()
            if closed is None or event.closed == closed
        ]

    def event(self, event_id: str) -> JsonObject | None:
        event = self._events.get(event_id)
        return None if event is None else event_object(event, self._listing_quotes())

    def clob_market(self, condition_id: str) -> JsonObject | None:
        found = self._by_condition.get(condition_id)
        if found is None:
            return None
        event, market = found
        tick = self.world.image(market.index).tick if market.tradable else market.tick
        return clob_market_object(market, tick / 10_000, event.listed_ms)

    def rest_book(self, token: str) -> str | None:
        return self._encoder.rest_book(token, self.now_ms)

    def initial_books(self, tokens: Sequence[str]) -> str:
        return self._encoder.initial_books(tokens, self.now_ms)

    def subscribed(self, tokens: Sequence[str]) -> None:
        """Nothing depends on who listens: the world goes its way."""

    def advance(self, to_ms: int, sent_ns: int) -> Iterator[WireFrame]:
        for event in self.world.advance(to_ms):
            yield from self._queue.before(event.ts_ms)
            self.truth.record(event, sent_ns)
            yield from self._queue.put(self._encoder.encode(event), event.ts_ms)
        yield from self._queue.before(to_ms)
        self.now_ms = to_ms

    def close(self) -> None:
        self.truth.close()

    def _listing_quotes(self) -> dict[int, MarketQuote]:
        if self.now_ms - self._quoted_ms >= LISTING_AGE_MS:
            self._quotes = self.world.quotes()
            self._quoted_ms = self.now_ms
        return self._quotes
