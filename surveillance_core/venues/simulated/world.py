"""A small seeded world of related prediction markets: who trades what, when, at which price.

Pure: no clock, no I/O. The same arguments give the same events, whatever the steps in which the
world is advanced.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from random import Random

import msgspec

from surveillance_core.books import OrderBook
from surveillance_core.venues.simulated.families import list_events
from surveillance_core.venues.simulated.listings import EventListing, MarketListing
from surveillance_core.venues.simulated.makers import (
    EngineEvent,
    Latent,
    Levels,
    LevelSet,
    MarketEngine,
    TradeEvent,
)

__all__ = ["BookImage", "EngineEvent", "LevelSet", "Levels", "MarketQuote", "TradeEvent", "World"]

DEFAULT_MARKETS = 40
DEFAULT_EVENTS_PER_SECOND = 20.0


class BookImage(msgspec.Struct, frozen=True, kw_only=True):
    """A market's Yes book as it stands, with what the venue says beside it."""

    market: int
    ts_ms: int
    tick: int
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


class World:
    """Events, markets and their engines.

    Parameters
    ----------
    seed
        Decides everything together with the other arguments.
    markets
        Least number of tradable markets; placeholders and closed markets come on top.
    start_ms
        The venue's time at the start, milliseconds since the epoch.
    events_per_second
        Mean engine batches a second over all markets together. A market has at most one batch a
        millisecond; what would be more is left out.
    zipf_exponent
        How unevenly activity is spread: the k-th busiest market's share goes as k ** -exponent.
    trade_share, informed_share
        Share of batches that try to trade, and of takers that know something.
    late_hash_share
        Share of fills whose price enters the book hash only with the print, tens of ms after the
        batch; in the others the batch's own hash has it (reference polymarket.md 3.6, open point).
    """

    def __init__(
        self,
        seed: int,
        markets: int = DEFAULT_MARKETS,
        *,
        start_ms: int,
        events_per_second: float = DEFAULT_EVENTS_PER_SECOND,
        zipf_exponent: float = 1.1,
        trade_share: float = 0.08,
        informed_share: float = 0.25,
        late_hash_share: float = 0.5,
    ) -> None:
        if markets < 1 or events_per_second <= 0:
            raise ValueError(
                f"a world needs at least one market and a positive rate, not {markets} and "
                f"{events_per_second}"
            )
        self.start_ms = start_ms
        self.now_ms = start_ms
        self.events: Sequence[EventListing] = list_events(seed, markets, start_ms)
        self.markets: Sequence[MarketListing] = [
            market for event in self.events for market in event.markets
        ]
        self._rng = Random(f"world:{seed}")
        self._trade_share = trade_share
        self._informed_share = informed_share
        self.events_per_second = events_per_second
        self._rate_ms = events_per_second / 1000
        self._engines: dict[int, MarketEngine] = {}
        for event in self.events:
            latent = Latent(event.weights)
            for market in event.markets:
                if market.tradable:
                    opened = start_ms - 1 - self._rng.randrange(60_000)
                    self._engines[market.index] = MarketEngine(
                        market, latent, self._rng, opened, late_hash_share=late_hash_share
                    )
        self._ranked = list(self._engines.values())
        self._rng.shuffle(self._ranked)
        self._shares = list(
            accumulate((rank + 1) ** -zipf_exponent for rank in range(len(self._ranked)))
        )
        self._next_ms = start_ms + self._rng.expovariate(self._rate_ms)

    @property
    def tradable(self) -> list[MarketListing]:
        """The markets with a book, in listing order."""
        return [market for market in self.markets if market.tradable]

    def advance(self, to_ms: int) -> list[EngineEvent]:
        """Engine batches up to and including ``to_ms``, in time order."""
        rng, shares, ranked = self._rng, self._shares, self._ranked
        events: list[EngineEvent] = []
        while (ts_ms := int(self._next_ms)) <= to_ms:
            engine = ranked[min(bisect(shares, rng.random() * shares[-1]), len(ranked) - 1)]
            self._next_ms += rng.expovariate(self._rate_ms)
            if ts_ms <= engine.ts_ms:
                continue
            event = engine.step(ts_ms, self._trade_share, self._informed_share)
            if event is not None:
                events.append(event)
        self.now_ms = max(self.now_ms, to_ms)
        return events

    def image(self, market: int) -> BookImage:
        """The market's book now; raises ``KeyError`` for a market without an engine."""
        engine = self._engines[market]
        bids, asks = engine.levels()
        return BookImage(
            market=market,
            ts_ms=engine.ts_ms,
            tick=engine.grid,
            bids=bids,
            asks=asks,
            last_trade_price=engine.last_trade_price,
        )

    def book(self, market: int) -> OrderBook:
        """The market's Yes book now, as a copy."""
        image = self.image(market)
        return OrderBook(dict(image.bids), dict(image.asks))

    def probability(self, market: int) -> float:
        """The latent probability of Yes, which no trader sees."""
        return self._engines[market].probability

    def activity_share(self, market: int) -> float:
        """The market's share of all engine batches, in [0, 1]."""
        rank = next(
            rank for rank, engine in enumerate(self._ranked) if engine.listing.index == market
        )
        before = self._shares[rank - 1] if rank else 0.0
        return (self._shares[rank] - before) / self._shares[-1]

    def quotes(self) -> dict[int, MarketQuote]:
        """What the listing shows of each tradable market."""
        total = self._shares[-1]
        quotes: dict[int, MarketQuote] = {}
        previous = 0.0
        for engine, share in zip(self._ranked, self._shares, strict=True):
            bids, asks = engine.bids, engine.asks
            resting = sum(size * tick for tick, size in bids.items()) + sum(
                size * (10_000 - tick) for tick, size in asks.items()
            )
            quotes[engine.listing.index] = MarketQuote(
                best_bid=max(bids) / 10_000 if bids else None,
                best_ask=min(asks) / 10_000 if asks else None,
                last_trade_price=None if engine.last_price is None else engine.last_price / 10_000,
                # what was traded before the start, by the same unequal shares
                volume_24h=round(2e6 * (share - previous) / total + engine.volume, 2),
                liquidity=round(resting / 1e6, 5),
                tick=engine.grid / 10_000,
            )
            previous = share
        return quotes
