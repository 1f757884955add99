"""What each market has been through: its book as published, its prints, its end.

Pure state, fed by the venue. A book is known here from what was published, not from the world as it
stands, so that a snapshot never runs ahead of the changes that a subscriber is still to be sent.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from surveillance_core.books import TICKS_PER_DOLLAR
from surveillance_core.markets import Venue
from surveillance_core.venues.simulated.kalshi.spelling import market_uuid
from surveillance_core.venues.simulated.kalshi.stage import KalshiWorld, Levels, Quote
from surveillance_core.venues.simulated.listings import PriceGrid

if TYPE_CHECKING:
    from surveillance_core.venues.simulated.kalshi.subscriptions import Stream

PRINTS_KEPT: Final = 100_000
"""Prints that the venue still lists; older ones are historical."""

_DAY_MS: Final = 86_400_000
_OPEN_SHARE: Final = 0.43
"""Part of the contracts traded that is still held."""


class Print(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A trade as it became known."""

    serial: int
    trade_id: str
    ticker: str
    price: int
    """Ticks of Yes."""
    size: float
    taker_yes: bool
    ts_ms: int


class MarketRecord:
    """One market; who follows it stands here too, so that a batch finds both at once."""

    __slots__ = (
        "book_streams",
        "closed_ms",
        "determined_ms",
        "emptied",
        "grid",
        "index",
        "last_price",
        "last_size",
        "levels",
        "market_id",
        "previous",
        "prints",
        "prior_contracts",
        "result",
        "settled_ms",
        "ticker",
        "ticker_due",
        "ticker_ms",
        "ticker_streams",
        "top",
        "trade_streams",
        "traded",
        "unopened",
        "value",
    )  # fmt: skip

    def __init__(self, index: int, ticker: str, quote: Quote | None) -> None:
        self.index = index
        self.ticker = ticker
        self.market_id = market_uuid(ticker)
        self.levels: tuple[Levels, Levels] | None = None
        """Bids and asks as last published, best last; None before the first batch."""
        self.grid: PriceGrid | None = None
        self.emptied = False
        """Whether trading has ended and the book was taken down."""
        self.prints: deque[Print] = deque(maxlen=10_000)
        self.traded = 0.0
        """Contracts printed here."""
        self.last_price = _last_price(quote)
        """Ticks; zero where it never traded."""
        self.last_size = 0.0
        self.previous = _previous(quote, self.last_price)
        self.prior_contracts = 0.0
        """Contracts of the day before the venue was opened."""
        if quote is not None:
            price = self.last_price / TICKS_PER_DOLLAR or 0.5
            self.prior_contracts = round(quote.volume_24h / price, 2)
        self.closed_ms: int | None = None
        self.determined_ms: int | None = None
        self.settled_ms: int | None = None
        self.result = ""
        self.value: float | None = None
        """Dollars one Yes contract pays, once determined."""
        self.book_streams: list[Stream] = []
        self.ticker_streams: list[Stream] = []
        self.trade_streams: list[Stream] = []
        self.unopened: set[Stream] = set()
        """Streams that were shown an empty book because trading had not begun."""
        self.top: tuple[int, int] = (0, TICKS_PER_DOLLAR)
        self.ticker_ms = 0
        self.ticker_due = False

    @property
    def volume(self) -> float:
        """Contracts traded ever."""
        return 9 * self.prior_contracts + self.traded

    @property
    def open_interest(self) -> float:
        """Contracts held."""
        return round(self.volume * _OPEN_SHARE, 2)

    def volume_24h(self, now_ms: int) -> float:
        """Contracts of the last 24 hours."""
        recent = 0.0
        for found in reversed(self.prints):
            if found.ts_ms <= now_ms - _DAY_MS:
                break
            recent += found.size
        return self.prior_contracts + recent


class Ledger:
    """Records of every market of the venue, and the prints of all of them.

    Parameters
    ----------
    world
        Asked for the book of a market that was not published yet.
    """

    def __init__(self, world: KalshiWorld) -> None:
        self._world = world
        self._quotes = world.quotes(Venue.KALSHI)
        self._records: dict[int, MarketRecord] = {}
        self._by_ticker: dict[str, MarketRecord] = {}
        self._elsewhere: set[int] = set()
        self.prints: deque[Print] = deque(maxlen=PRINTS_KEPT)
        self._serial = 0

    def of(self, index: int) -> MarketRecord | None:
        """The record of a market by index, None for another venue's."""
        record = self._records.get(index)
        if record is not None or index in self._elsewhere:
            return record
        listing = self._world.markets[index]
        if listing.venue is not Venue.KALSHI:
            self._elsewhere.add(index)
            return None
        record = MarketRecord(index, listing.market_id, self._quotes.get(index))
        if self._world.phase(index) == "resolved":
            # it was over before the venue was opened, whatever its close was meant to be
            record.closed_ms = min(listing.closes_ms, self._world.now_ms)
            result = self._world.result(index)
            if result is not None:
                record.result = result
                record.value = {"yes": 1.0, "no": 0.0}.get(result)
                record.determined_ms = record.settled_ms = record.closed_ms
        self._records[index] = self._by_ticker[record.ticker] = record
        return record

    def named(self, ticker: str) -> MarketRecord | None:
        """A record by ticker, of markets that ``of`` was asked for."""
        return self._by_ticker.get(ticker)

    def book(self, record: MarketRecord) -> tuple[Levels, Levels]:
        """Bids and asks of Yes as published, best last; empty outside of trading."""
        if record.levels is None:
            index = record.index
            tradable = self._world.markets[index].tradable
            if not tradable or self._world.phase(index) != "open":
                return (), ()
            image = self._world.image(record.index)
            record.levels = (image.bids, image.asks)
            if record.grid is None:
                record.grid = image.grid
        return record.levels

    def add_print(
        self,
        record: MarketRecord,
        *,
        trade_id: str,
        price: int,
        size: float,
        taker_yes: bool,
        ts_ms: int,
    ) -> Print:
        """Take down a trade."""
        self._serial += 1
        found = Print(
            serial=self._serial,
            trade_id=trade_id,
            ticker=record.ticker,
            price=price,
            size=size,
            taker_yes=taker_yes,
            ts_ms=ts_ms,
        )
        self.prints.append(found)
        record.prints.append(found)
        record.traded += size
        record.last_price, record.last_size = price, size
        return found

    def page_of_prints(
        self, record: MarketRecord | None, before: int | None, since_ms: int, until_ms: int
    ) -> list[Print]:
        """Prints newest first, of one market or of all, from those before a serial number."""
        prints = self.prints if record is None else record.prints
        end = len(prints)
        if before is not None:
            end = bisect_left(prints, before, key=lambda found: found.serial)
        newest_first = islice(reversed(prints), len(prints) - end, None)
        return [found for found in newest_first if since_ms <= found.ts_ms <= until_ms]


def _last_price(quote: Quote | None) -> int:
    """The last price before the venue was opened: a market that has a volume traded at its bid."""
    if quote is None or not quote.volume_24h:
        return 0
    prices = (quote.last_trade_price, quote.best_bid, quote.best_ask)
    return next((round(price * TICKS_PER_DOLLAR) for price in prices if price), 0)


def _previous(quote: Quote | None, last_price: int) -> tuple[int, int, int]:
    """Last price, bid and ask of a day ago: what stood when the venue was opened."""
    if quote is None or quote.best_bid is None or quote.best_ask is None:
        return (last_price, 0, 0)
    bid, ask = (round(price * TICKS_PER_DOLLAR) for price in (quote.best_bid, quote.best_ask))
    return (last_price, bid, ask)
