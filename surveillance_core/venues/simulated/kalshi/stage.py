"""What the simulated Kalshi needs of the world it serves; the world is another module's.

Prices are ticks of 0.0001 dollars of the Yes book, sizes contracts, times milliseconds since the
epoch by the venue's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from surveillance_core.markets import Venue
from surveillance_core.venues.protocols import Side
from surveillance_core.venues.simulated.listings import EventListing, MarketListing, PriceGrid

Levels = Sequence[tuple[int, float]]
"""Levels of one side, best last."""


class Change(Protocol):
    """New absolute size at one price of the Yes book."""

    @property
    def bid(self) -> bool: ...
    @property
    def tick(self) -> int: ...
    @property
    def size(self) -> float: ...
    @property
    def before(self) -> float:
        """What rested there."""
        ...


class Fill(Protocol):
    """A fill in Yes terms, which is printed some time after its batch."""

    @property
    def price(self) -> int: ...
    @property
    def size(self) -> float: ...
    @property
    def side(self) -> Side:
        """The taker's side on Yes."""
        ...

    @property
    def transaction_hash(self) -> str: ...
    @property
    def print_ms(self) -> int: ...


class Happening(Protocol):
    """Anything the world does to one market."""

    @property
    def market(self) -> int:
        """Its index in ``KalshiWorld.markets``."""
        ...

    @property
    def ts_ms(self) -> int: ...


class Batch(Happening, Protocol):
    """One batch of the matching engine, and the book it left."""

    @property
    def changes(self) -> Sequence[Change]: ...
    @property
    def trade(self) -> Fill | None: ...
    @property
    def old_grid(self) -> PriceGrid | None:
        """Set where the price grid changes; such a batch changes no level."""
        ...

    @property
    def grid(self) -> PriceGrid: ...
    @property
    def bids(self) -> Levels:
        """Ascending."""
        ...

    @property
    def asks(self) -> Levels:
        """Descending."""
        ...


class Resolution(Happening, Protocol):
    """A market's result: ``yes``, ``no`` or ``scalar``."""

    @property
    def result(self) -> str: ...
    @property
    def value(self) -> float:
        """Dollars that one Yes contract pays."""
        ...


class Image(Protocol):
    """A market's book as it stands."""

    @property
    def grid(self) -> PriceGrid: ...
    @property
    def bids(self) -> Levels: ...
    @property
    def asks(self) -> Levels: ...


class Quote(Protocol):
    """What a listing shows of a market."""

    @property
    def best_bid(self) -> float | None:
        """Dollars."""
        ...

    @property
    def best_ask(self) -> float | None: ...
    @property
    def last_trade_price(self) -> float | None: ...

    @property
    def volume_24h(self) -> float:
        """Dollars, contracts times price."""
        ...


class KalshiWorld(Protocol):
    """The world: listings, phases and books, both venues' together."""

    @property
    def now_ms(self) -> int: ...
    @property
    def events(self) -> Sequence[EventListing]: ...
    @property
    def markets(self) -> Sequence[MarketListing]: ...
    def image(self, index: int, /) -> Image: ...
    def phase(self, index: int, /) -> str:
        """``upcoming``, ``open``, ``closed`` or ``resolved``."""
        ...

    def result(self, index: int, /) -> str | None: ...
    def quotes(self, venue: Venue, /) -> Mapping[int, Quote]: ...
