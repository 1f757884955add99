"""Where the simulated Polymarket gets what it serves: a world, or recordings.

Pure: the venue's edge owns the clock and the sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from surveillance_core.markets import Venue
from surveillance_core.venues.simulated.happenings import (
    EngineEvent,
    MarketAnnounced,
    MarketQuote,
    MarketResolved,
    WorldEvent,
)
from surveillance_core.venues.simulated.polymarket.clob import clob_market_object, rewards_page
from surveillance_core.venues.simulated.polymarket.frames import FrameEncoder, FrameQueue, WireFrame
from surveillance_core.venues.simulated.polymarket.gamma import (
    JsonObject,
    event_closed,
    event_object,
)
from surveillance_core.venues.simulated.world import World

LISTING_AGE_MS = 300_000
"""The venue's listing is cached that long: prices in it can be five minutes old."""


class VenueSource(Protocol):
    """What a venue serves."""

    @property
    def now_ms(self) -> int:
        """The venue's time."""
        ...

    def event_ids(self, closed: bool | None) -> Sequence[str]:
        """Ids of the events listed, in listing order; None for open and closed ones."""
        ...

    def event(self, event_id: str) -> JsonObject | None:
        """One event as Gamma gives it."""
        ...

    def clob_market(self, condition_id: str) -> JsonObject | None:
        """One market in the CLOB's short form."""
        ...

    def rewards(self, cursor: str) -> JsonObject:
        """A page of the markets with a reward pool."""
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


class WorldSource:
    """Serves a simulated world's Polymarket side; the world is advanced by whoever owns it.

    Parameters
    ----------
    is_followed
        Whether anybody follows a token: what nobody follows is not spelled. None spells all.
    """

    def __init__(self, world: World, is_followed: Callable[[str], bool] | None = None) -> None:
        self.world = world
        self._is_followed = is_followed
        self._encoder = FrameEncoder(world)
        self._queue = FrameQueue()
        mine = [event for event in world.events if event.venue is Venue.POLYMARKET]
        self._events = {event.event_id: event for event in mine}
        self._by_condition = {
            market.market_id: (event, market) for event in mine for market in event.markets
        }
        self._results: dict[int, tuple[str, float]] = {}
        self._quotes: dict[int, MarketQuote] = {}
        self._quoted_ms = world.start_ms - LISTING_AGE_MS

    @property
    def now_ms(self) -> int:
        return self.world.now_ms

    def event_ids(self, closed: bool | None) -> Sequence[str]:
        return [
            event.event_id
            for event in self.world.listed(Venue.POLYMARKET)
            if closed is None or event_closed(event, self._results) == closed
        ]

    def event(self, event_id: str) -> JsonObject | None:
        event = self._events.get(event_id)
        if event is None:
            return None
        return event_object(event, self._listing_quotes(), self._results)

    def clob_market(self, condition_id: str) -> JsonObject | None:
        found = self._by_condition.get(condition_id)
        if found is None:
            return None
        event, market = found
        tick = self.world.grid(market.index).finest / 10_000
        closed = market.closed or market.index in self._results
        return clob_market_object(market, event, tick, closed=closed)

    def rewards(self, cursor: str) -> JsonObject:
        markets = [
            market
            for _, market in self._by_condition.values()
            if market.rewards is not None and market.tradable
        ]
        return rewards_page(markets, cursor)

    def rest_book(self, token: str) -> str | None:
        return self._encoder.rest_book(token)

    def initial_books(self, tokens: Sequence[str]) -> str:
        return self._encoder.initial_books(tokens)

    def subscribed(self, tokens: Sequence[str]) -> None:
        """Nothing depends on who listens: the world goes its way."""

    def frames_of(self, events: Iterable[WorldEvent], to_ms: int) -> Iterator[WireFrame]:
        """The frames of what has happened until ``to_ms``, in order, due ones only."""
        for event in events:
            if self.world.markets[event.market].venue is not Venue.POLYMARKET:
                continue
            yield from self._queue.before(event.ts_ms)
            if isinstance(event, EngineEvent):
                if self._wants(event.market):
                    yield from self._queue.put(self._encoder.encode(event), event.ts_ms)
                elif event.trade is not None:
                    # somebody may subscribe before it is printed
                    yield from self._queue.put([self._encoder.print_of(event)], event.ts_ms)
            elif isinstance(event, MarketAnnounced):
                yield self._encoder.announce(event.market, event.ts_ms)
            elif isinstance(event, MarketResolved):
                self._results[event.market] = (event.result, event.value)
                yield self._encoder.resolve(event.market, event.ts_ms, event.value)
        yield from self._queue.before(to_ms)

    def _wants(self, market: int) -> bool:
        if self._is_followed is None:
            return True
        listing = self.world.markets[market]
        return self._is_followed(listing.yes_id) or self._is_followed(listing.no_id)

    def _listing_quotes(self) -> dict[int, MarketQuote]:
        if self.now_ms - self._quoted_ms >= LISTING_AGE_MS:
            self._quotes = self.world.quotes(Venue.POLYMARKET)
            self._quoted_ms = self.now_ms
        return self._quotes
