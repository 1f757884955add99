"""A hand-made world: what a test says happens, happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

import msgspec

from surveillance_core.markets import Venue
from surveillance_core.venues.protocols import Side
from surveillance_core.venues.simulated.listings import (
    CENT,
    TAPERED,
    TENTH_CENT,
    EventListing,
    IncentiveListing,
    MarketListing,
    PriceGrid,
    SeriesListing,
    StrikeListing,
)

START_MS = 1_788_264_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

Levels = tuple[tuple[int, float], ...]


class LevelSet(msgspec.Struct, frozen=True):
    bid: bool
    tick: int
    size: float
    before: float


class TradeEvent(msgspec.Struct, frozen=True, kw_only=True):
    price: int
    size: float
    side: Side
    on_yes: bool = True
    transaction_hash: str
    informed: bool = False
    print_ms: int


class EngineEvent(msgspec.Struct, frozen=True, kw_only=True):
    market: int
    ts_ms: int
    changes: tuple[LevelSet, ...] = ()
    trade: TradeEvent | None = None
    old_grid: PriceGrid | None = None
    grid: PriceGrid
    last_trade_price: str = ""
    bids: Levels
    asks: Levels


class MarketAnnounced(msgspec.Struct, frozen=True):
    market: int
    ts_ms: int


class MarketOpened(msgspec.Struct, frozen=True):
    market: int
    ts_ms: int


class MarketClosed(msgspec.Struct, frozen=True):
    market: int
    ts_ms: int


class MarketResolved(msgspec.Struct, frozen=True):
    market: int
    ts_ms: int
    result: str
    value: float


class BookImage(msgspec.Struct, frozen=True):
    market: int
    ts_ms: int
    grid: PriceGrid
    bids: Levels
    asks: Levels
    last_trade_price: str = ""


class MarketQuote(msgspec.Struct, frozen=True):
    best_bid: float | None
    best_ask: float | None
    last_trade_price: float | None
    volume_24h: float
    liquidity: float
    tick: float


def market_listing(index: int, **members: object) -> MarketListing:
    ticker = f"KXDAY-{index // 3}-T{index % 3}"
    defaults: dict[str, object] = {
        "index": index,
        "venue": Venue.KALSHI,
        "market_id": ticker,
        "yes_id": ticker,
        "no_id": f"{ticker}:no",
        "title": f"Will the day's number {index} be high?",
        "label": f"{index % 3 + 70}° or above",
        "rules": f"If number {index} is high, then the market resolves to Yes.",
        "position": index % 3,
        "grid": (CENT, TENTH_CENT, TAPERED)[index % 3],
        "atoms": (0,),
        "opens_ms": START_MS - HOUR_MS,
        "closes_ms": START_MS + DAY_MS,
        "strike": _strike(index),
        "incentive": _incentive(index),
    }
    return MarketListing(**(defaults | members))  # type: ignore[arg-type]


def _strike(index: int) -> StrikeListing | None:
    return (
        StrikeListing(kind="greater", floor=87.0),
        StrikeListing(kind="between", floor=52_200.0, cap=52_299.99),
        StrikeListing(kind="custom", custom=(("Holder", "Somebody"),)),
        StrikeListing(kind="less", cap=81.0),
        StrikeListing(kind="functional", custom=(("form", "x > previous"),)),
        None,
    )[index % 6]


def _incentive(index: int) -> IncentiveListing | None:
    if index % 4:
        return None
    return IncentiveListing(
        programme_id=f"programme-{index}",
        kind="liquidity" if index % 8 else "volume",
        period_reward_centicents=2_000_000,
        target_size=300,
        discount_factor_bps=5_000,
        starts_ms=START_MS - DAY_MS,
        ends_ms=START_MS + (DAY_MS if index % 12 else -HOUR_MS),
    )


def event_listing(number: int, markets: Sequence[MarketListing], **members: object) -> EventListing:
    series = SeriesListing(
        series_id="KXDAY" if number % 2 else "KXNIGHT",
        title="Days" if number % 2 else "Nights",
        category="Weather" if number % 3 else "Crypto",
        frequency="daily",
        fee_multiplier=0.5 if number % 2 else 1.0,
    )
    defaults: dict[str, object] = {
        "venue": Venue.KALSHI,
        "event_id": f"KXDAY-{number}",
        "family": number,
        "title": f"Day {number}",
        "sub_title": "a day",
        "description": "",
        "category": series.category,
        "series": series,
        "exclusive": number % 2 == 0,
        "directional": number % 4 == 1,
        "augmented": False,
        "group_id": None,
        "listed_ms": START_MS - DAY_MS,
        "deadline_ms": START_MS + DAY_MS,
        "closed": False,
        "markets": tuple(markets),
    }
    return EventListing(**(defaults | members))  # type: ignore[arg-type]


class Stage:
    """A ``KalshiWorld`` of three markets an event, moved by the test."""

    def __init__(self, events: int = 4, *, seed: int = 7) -> None:
        self.seed = seed
        self.start_ms = self.now_ms = START_MS
        self.markets: list[MarketListing] = []
        self.events: list[EventListing] = []
        self.phases: dict[int, str] = {}
        self.results: dict[int, str] = {}
        self.books: dict[int, tuple[dict[int, float], dict[int, float]]] = {}
        self.grids: dict[int, PriceGrid] = {}
        self.images = 0
        self._rng = Random(seed)
        for number in range(events):
            self.add_event(number)

    def add_event(self, number: int, phase: str = "open", **members: object) -> EventListing:
        first = len(self.markets)
        listings = [market_listing(first + place) for place in range(3)]
        self.markets += listings
        event = event_listing(number, listings, **members)
        self.events.append(event)
        for market in listings:
            self.phases[market.index] = phase
            self.grids[market.index] = market.grid
            mid = 3_000 + 1_000 * (market.index % 4)
            self.books[market.index] = (
                {mid - 100 * n: 10.0 * n + 0.25 for n in range(1, 5)},
                {mid + 100 * n: 20.0 * n for n in range(1, 4)},
            )
        return event

    def ticker(self, index: int) -> str:
        return self.markets[index].market_id

    def phase(self, index: int) -> str:
        return self.phases[index]

    def result(self, index: int) -> str | None:
        return self.results.get(index)

    def image(self, index: int) -> BookImage:
        self.images += 1
        bids, asks = self.levels(index)
        return BookImage(index, self.now_ms, self.grids[index], bids, asks)

    def quotes(self, venue: Venue) -> Mapping[int, MarketQuote]:
        return {
            index: MarketQuote(0.4, 0.45, 0.42, 4_200.0, 100.0, 0.01)
            for index in self.books
            if index % 5
        }

    def levels(self, index: int) -> tuple[Levels, Levels]:
        bids, asks = self.books[index]
        return tuple(sorted(bids.items())), tuple(sorted(asks.items(), reverse=True))

    # ── what happens ─────────────────────────────────────────────────────────────────────────

    def batch(
        self, index: int, *sets: tuple[bool, int, float], trade: TradeEvent | None = None
    ) -> EngineEvent:
        """Set levels ``(bid, tick, size)`` in one batch, a millisecond later."""
        self.now_ms += 1
        changes: list[LevelSet] = []
        for bid, tick, size in sets:
            side = self.books[index][not bid]
            changes.append(LevelSet(bid, tick, size, side.get(tick, 0.0)))
            if size:
                side[tick] = size
            else:
                side.pop(tick, None)
        bids, asks = self.levels(index)
        return EngineEvent(
            market=index,
            ts_ms=self.now_ms,
            changes=tuple(changes),
            trade=trade,
            grid=self.grids[index],
            bids=bids,
            asks=asks,
        )

    def regrid(self, index: int, grid: PriceGrid) -> EngineEvent:
        self.now_ms += 1
        old, self.grids[index] = self.grids[index], grid
        bids, asks = self.levels(index)
        return EngineEvent(
            market=index, ts_ms=self.now_ms, old_grid=old, grid=grid, bids=bids, asks=asks
        )

    def fill(self, price: int = 3_100, size: float = 2.5, delay_ms: int = 50) -> TradeEvent:
        return TradeEvent(
            price=price,
            size=size,
            side=self._rng.choice((Side.BUY, Side.SELL)),
            transaction_hash=f"0x{self._rng.getrandbits(256):064x}",
            print_ms=self.now_ms + 1 + delay_ms,
        )

    def random_batch(self) -> EngineEvent:
        rng = self._rng
        index = rng.randrange(len(self.markets))
        sets = [
            (bid, tick, rng.choice((0.0, 0.01, 5.0, 12.34, 1_058_328.0)))
            for _ in range(rng.randint(1, 4))
            for bid in (rng.random() < 0.5,)
            for tick in (rng.randint(1, 49) * 100 + (0 if bid else 5_000),)
        ]
        trade = self.fill(rng.randint(1, 99) * 100) if rng.random() < 0.2 else None
        return self.batch(index, *sets, trade=trade)

    def close(self, index: int, ts_ms: int) -> MarketClosed:
        self.now_ms = ts_ms
        self.phases[index] = "closed"
        return MarketClosed(index, ts_ms)

    def resolve(self, index: int, result: str, value: float) -> MarketResolved:
        self.now_ms += 1
        self.phases[index] = "resolved"
        self.results[index] = result
        return MarketResolved(index, self.now_ms, result, value)
