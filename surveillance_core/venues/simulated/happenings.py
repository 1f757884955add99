"""What happens in the simulated world, and what can be seen of it: values without behaviour."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from surveillance_core.books import TICKS_PER_DOLLAR
from surveillance_core.venues.protocols import Side
from surveillance_core.venues.simulated.listings import PriceGrid
from surveillance_core.venues.simulated.plants import Plant

Levels = tuple[tuple[int, float], ...]
"""Levels in Polymarket's order, best last: (ticks, contracts)."""


class LevelSet(msgspec.Struct, frozen=True, gc=False):
    """New absolute size at one price of the Yes book; zero removes the level."""

    bid: bool
    tick: int
    size: float
    before: float
    """Contracts that rested there."""


class TradeEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A fill in Yes terms; it is printed later than the batch it happened in."""

    price: int
    size: float
    side: Side
    """The taker's side on Yes."""
    on_yes: bool
    """Whether the taker's order, and so the print, is on the Yes outcome."""
    transaction_hash: str
    informed: bool
    print_ms: int
    """The venue's time of the print."""

    @property
    def printed_price(self) -> int:
        """The price on the outcome the print is on."""
        return self.price if self.on_yes else TICKS_PER_DOLLAR - self.price


class EngineEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One batch of the matching engine on one market, and the book it left.

    ``ts_ms`` is strictly increasing within a market: (market, ts_ms) names the book.
    """

    market: int
    ts_ms: int
    changes: tuple[LevelSet, ...]
    """In the order sent; the first may cross the book, the last never leaves it crossed."""
    trade: TradeEvent | None
    old_grid: PriceGrid | None
    """Price grid before, where this batch changes it; such a batch changes no level."""
    grid: PriceGrid
    last_trade_price: str
    """As Polymarket's hash of this batch covers it."""
    bids: Levels
    """Ascending."""
    asks: Levels
    """Descending."""


class Phase(StrEnum):
    """Where a market is in its life."""

    UPCOMING = "upcoming"
    OPEN = "open"
    CLOSED = "closed"
    RESOLVED = "resolved"


class MarketAnnounced(msgspec.Struct, frozen=True):
    """A market that was not there before is listed; it cannot be traded yet."""

    market: int
    ts_ms: int


class MarketOpened(msgspec.Struct, frozen=True):
    """Trading starts."""

    market: int
    ts_ms: int


class MarketClosed(msgspec.Struct, frozen=True):
    """Trading has ended; the book was emptied before."""

    market: int
    ts_ms: int


class MarketResolved(msgspec.Struct, frozen=True):
    """The result is known: ``yes``, ``no``, or ``scalar`` with what Yes pays."""

    market: int
    ts_ms: int
    result: str
    value: float


class PlantPlaced(msgspec.Struct, frozen=True):
    """A planned violation or decoy stands in the books from now on."""

    plant: Plant
    ts_ms: int


WorldEvent = EngineEvent | MarketAnnounced | MarketOpened | MarketClosed | MarketResolved


class BookImage(msgspec.Struct, frozen=True, kw_only=True):
    """A market's Yes book as it stands, with what the venue says beside it."""

    market: int
    ts_ms: int
    grid: PriceGrid
    bids: Levels
    asks: Levels
    last_trade_price: str


class MarketQuote(msgspec.Struct, frozen=True, kw_only=True):
    """What a listing shows of a market's trading, in dollars; None where there is none."""

    best_bid: float | None
    best_ask: float | None
    last_trade_price: float | None
    volume_24h: float
    liquidity: float
    tick: float
