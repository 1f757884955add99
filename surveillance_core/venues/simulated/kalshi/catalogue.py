"""What the venue lists: its part of the world's events, in listing order, with their statuses.

The world may list more events as time goes on; they are taken in when something is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from surveillance_core.books import TICKS_PER_DOLLAR
from surveillance_core.markets import Venue
from surveillance_core.venues.simulated.kalshi.frames import JsonObject
from surveillance_core.venues.simulated.kalshi.ledger import Ledger, MarketRecord
from surveillance_core.venues.simulated.kalshi.objects import (
    event_object,
    market_object,
    series_ticker_of,
)
from surveillance_core.venues.simulated.kalshi.spelling import market_uuid
from surveillance_core.venues.simulated.kalshi.stage import KalshiWorld, Levels
from surveillance_core.venues.simulated.listings import EventListing, MarketListing, SeriesListing

_STATUS: Final = {"upcoming": "initialized", "open": "active", "closed": "closed"}


class Listed(msgspec.Struct, frozen=True, gc=False):
    """A market with its event and its record."""

    market: MarketListing
    event: EventListing
    record: MarketRecord


class Catalogue:
    """Events, markets and series by ticker.

    Parameters
    ----------
    world, ledger
        Whose listings, and what their markets have been through.
    """

    def __init__(self, world: KalshiWorld, ledger: Ledger) -> None:
        self._world = world
        self._ledger = ledger
        self._taken = 0
        self._events: list[EventListing] = []
        self._places: dict[str, int] = {}
        self._markets: list[Listed] = []
        self._market_places: dict[str, int] = {}
        self._series: dict[str, SeriesListing] = {}
        self._ids: dict[str, str] = {}
        self._announced: set[int] = set()
        self.take_in()

    def take_in(self) -> None:
        """Take in events the world has listed since."""
        events = self._world.events
        while self._taken < len(events):
            event = events[self._taken]
            self._taken += 1
            if event.venue is not Venue.KALSHI:
                continue
            self._places[event.event_id] = len(self._events)
            self._events.append(event)
            if event.series is not None:
                self._series.setdefault(event.series.series_id, event.series)
            for market in event.markets:
                record = self._ledger.of(market.index)
                if record is None:
                    raise ValueError(f"{market.market_id}: not one of the world's markets here")
                self._market_places[market.market_id] = len(self._markets)
                self._markets.append(Listed(market, event, record))

    def announce(self, index: int) -> Listed | None:
        """A market is listed from now on, whatever its event's listing time says."""
        self.take_in()
        self._announced.add(index)
        record = self._ledger.of(index)
        return None if record is None else self._markets[self._market_places[record.ticker]]

    @property
    def series(self) -> Sequence[SeriesListing]:
        """Series in the order their first events were listed."""
        self.take_in()
        return list(self._series.values())

    def events_after(self, event_ticker: str | None) -> Iterator[EventListing]:
        """Events that are listed by now, from after one of them or from the first."""
        self.take_in()
        start = self._places.get(event_ticker or "", -1) + 1
        for event in self._events[start:]:
            if self._is_listed(event):
                yield event

    def event(self, event_ticker: str) -> EventListing | None:
        """One event, None if there is none by now."""
        self.take_in()
        place = self._places.get(event_ticker)
        if place is None or not self._is_listed(self._events[place]):
            return None
        return self._events[place]

    def markets_after(self, ticker: str | None) -> Iterator[Listed]:
        """Markets that are listed by now, from after one of them or from the first."""
        self.take_in()
        start = self._market_places.get(ticker or "", -1) + 1
        for listed in self._markets[start:]:
            if self._is_listed(listed.event):
                yield listed

    def market(self, ticker: str) -> Listed | None:
        """One market, None if there is none by now."""
        self.take_in()
        place = self._market_places.get(ticker)
        if place is None or not self._is_listed(self._markets[place].event):
            return None
        return self._markets[place]

    def ticker_of(self, market_id: str) -> str | None:
        """The ticker of a market by its id."""
        self.take_in()
        if len(self._ids) != len(self._markets):
            self._ids = {
                market_uuid(listed.market.market_id): listed.market.market_id
                for listed in self._markets
            }
        return self._ids.get(market_id)

    def status(self, listed: Listed) -> str:
        """The market's status as the venue says it."""
        market, record = listed.market, listed.record
        if record.settled_ms is not None and record.settled_ms <= self._world.now_ms:
            return "finalized"
        if record.determined_ms is not None:
            return "determined"
        if not market.active:
            return "inactive"
        return _STATUS.get(self._world.phase(market.index), "closed")

    def market_object(self, listed: Listed) -> JsonObject:
        """The market as REST gives it now."""
        status = self.status(listed)
        book: tuple[Levels, Levels] = ((), ())
        if status == "active":
            book = self._ledger.book(listed.record)
        return market_object(
            listed.market, listed.event, listed.record, book, status, self._world.now_ms
        )

    def nested(self, event: EventListing) -> list[Listed]:
        """The event's markets."""
        return [self._markets[self._market_places[market.market_id]] for market in event.markets]

    def event_object(self, event: EventListing, *, with_markets: bool) -> JsonObject:
        """The event as REST gives it now, with or without its markets."""
        found = event_object(event)
        if with_markets:
            found["markets"] = [self.market_object(listed) for listed in self.nested(event)]
        return found

    def _is_listed(self, event: EventListing) -> bool:
        return event.listed_ms <= self._world.now_ms or any(
            market.index in self._announced for market in event.markets
        )


def in_series(event: EventListing, series_ticker: str) -> bool:
    """Whether the event belongs to the series; an empty name lets every event through."""
    return not series_ticker or series_ticker_of(event) == series_ticker


def thin_book(price: int, size: float) -> tuple[Levels, Levels]:
    """A book of one bid for No at ``price`` ticks, as combinations have."""
    return (), ((TICKS_PER_DOLLAR - price, size),)
