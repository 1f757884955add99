"""One simulated market's order book: makers around a latent probability, takers against them.

Pure: the random generator and the time come from the world. Sizes are integers in hundredths of a
contract, so that every size is spelled exactly on the wire; prices are ticks of 0.0001 dollars.
"""

from __future__ import annotations

from math import exp, log, sqrt
from random import Random
from typing import Final

import msgspec

from surveillance_core.books import TICKS_PER_DOLLAR
from surveillance_core.venues.protocols import Side
from surveillance_core.venues.simulated.listings import MarketListing

Levels = tuple[tuple[int, float], ...]
"""Levels in the venue's order, best last: (ticks, contracts)."""

FINE_TICK: Final = 10
COARSE_TICK: Final = 100
FINE_ABOVE: Final = 9_600
FINE_BELOW: Final = 400
"""Past 0.96 and 0.04 the venue refines the price grid (reference 3.5)."""

HOUR_MS: Final = 3_600_000
_LEAST_SIZE: Final = 500


class LevelSet(msgspec.Struct, frozen=True, gc=False):
    """New absolute size at one price of the Yes book; zero removes the level."""

    bid: bool
    tick: int
    size: float


class TradeEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A fill in Yes terms; it is printed later than the batch it happened in."""

    price: int
    size: float
    side: Side
    """The taker's side on Yes."""
    on_yes: bool
    """Whether the taker's order, and so the print, is on the Yes token."""
    transaction_hash: str
    informed: bool
    print_ms: int
    """The venue's time of the print."""

    @property
    def printed_price(self) -> int:
        """The price on the token the print is on."""
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
    old_tick: int | None
    """Tick size before, where this batch changes it; such a batch changes no level."""
    tick: int
    """Tick size after, in ticks of 0.0001 dollars."""
    last_trade_price: str
    """As the hash of this batch covers it."""
    bids: Levels
    """Ascending."""
    asks: Levels
    """Descending."""


class Latent:
    """Probabilities of an event's atoms; each moves as a martingale and they sum to 1."""

    __slots__ = ("weights",)

    def __init__(self, weights: tuple[float, ...]) -> None:
        self.weights = list(weights)

    def probability(self, atoms: tuple[int, ...]) -> float:
        """Probability that one of the atoms happens."""
        weights = self.weights
        return sum(weights[atom] for atom in atoms)

    def move(self, atoms: tuple[int, ...], target: float) -> None:
        """Give the atoms ``target`` together, scaling them and the others in proportion.

        In proportion every other set's probability moves as a martingale too, and nested sets
        stay nested.
        """
        p = self.probability(atoms)
        if not 0.0 < p < 1.0:
            return
        inside, outside = target / p, (1.0 - target) / (1.0 - p)
        members = frozenset(atoms)
        self.weights = [
            weight * (inside if atom in members else outside)
            for atom, weight in enumerate(self.weights)
        ]


def spell_last_trade(tick: int) -> str:
    """The last trade price as the venue spells it: three decimals, four where three cannot say."""
    price = tick / TICKS_PER_DOLLAR
    return f"{price:.4f}" if tick % 10 else f"{price:.3f}"


class MarketEngine:
    """The matching engine of one market and everybody who trades in it."""

    __slots__ = (
        "_due_price",
        "_jumps",
        "_late_hash_share",
        "_latent",
        "_moved_ms",
        "_rng",
        "_spread",
        "_volatility",
        "asks",
        "bids",
        "depth",
        "fragile",
        "grid",
        "last_price",
        "last_trade_price",
        "listing",
        "print_ms",
        "ts_ms",
        "volume",
    )  # fmt: skip

    def __init__(
        self,
        listing: MarketListing,
        latent: Latent,
        rng: Random,
        ts_ms: int,
        *,
        late_hash_share: float = 0.5,
    ) -> None:
        self.listing = listing
        self.ts_ms = ts_ms
        self.grid = listing.tick
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.last_price: int | None = None
        self.last_trade_price = ""
        self.print_ms = 0
        """When the print in flight is due; one is in flight at a time."""
        self.volume = 0.0
        """Dollars traded since the start."""
        self.fragile = rng.random() < 0.06
        self.depth = 3 if self.fragile else rng.randint(16, 30)
        self._due_price = ""
        self._late_hash_share = late_hash_share
        self._latent = latent
        self._moved_ms = ts_ms
        self._rng = rng
        self._spread = rng.choice((0.004, 0.006, 0.01))
        self._volatility = rng.uniform(0.15, 0.9)
        self._jumps = rng.uniform(0.05, 0.6)
        for _ in range(2 * self.depth):
            self._place(bid=True)
            self._place(bid=False)

    @property
    def probability(self) -> float:
        """The latent probability of Yes."""
        return self._latent.probability(self.listing.atoms)

    def step(self, ts_ms: int, trade_share: float, informed_share: float) -> EngineEvent | None:
        """Let one thing happen; None where nothing could."""
        self._evolve(ts_ms)
        if self._due_price and ts_ms >= self.print_ms:
            self.last_trade_price, self._due_price = self._due_price, ""
        if self.grid == COARSE_TICK and self._past_the_edge():
            self.grid = FINE_TICK
            return self._event(ts_ms, [], None, COARSE_TICK)
        rng = self._rng
        low, high = self._limits()
        stale_bids = sorted((tick for tick in self.bids if tick > low), reverse=True)
        stale_asks = sorted(tick for tick in self.asks if tick < high)
        free = ts_ms > self.print_ms
        changes: list[LevelSet] = []
        trade: TradeEvent | None = None
        if stale_bids or stale_asks:
            side = Side.SELL if stale_bids else Side.BUY
            if free and rng.random() < informed_share:
                trade = self._take(ts_ms, side, informed=True, changes=changes)
            else:
                # a price that moved is pulled by everybody who quoted it: one batch, k levels
                for tick in (stale_bids or stale_asks)[: rng.randint(1, 6)]:
                    self._set(bool(stale_bids), tick, 0, changes)
        elif free and rng.random() < trade_share:
            side = Side.BUY if rng.random() < 0.5 else Side.SELL
            informed = rng.random() < informed_share
            trade = self._take(ts_ms, side, informed=informed, changes=changes)
            if informed and trade is not None:
                self._reveal(side)
        if not changes:
            self._requote(changes)
        return self._event(ts_ms, changes, trade, None) if changes else None

    def levels(self) -> tuple[Levels, Levels]:
        """Bids ascending and asks descending, in contracts."""
        return (
            tuple((tick, size / 100) for tick, size in sorted(self.bids.items())),
            tuple((tick, size / 100) for tick, size in sorted(self.asks.items(), reverse=True)),
        )

    def _event(
        self, ts_ms: int, changes: list[LevelSet], trade: TradeEvent | None, old_tick: int | None
    ) -> EngineEvent:
        self.ts_ms = ts_ms
        bids, asks = self.levels()
        return EngineEvent(
            market=self.listing.index,
            ts_ms=ts_ms,
            changes=tuple(changes),
            trade=trade,
            old_tick=old_tick,
            tick=self.grid,
            last_trade_price=self.last_trade_price,
            bids=bids,
            asks=asks,
        )

    def _evolve(self, ts_ms: int) -> None:
        hours = (ts_ms - self._moved_ms) / HOUR_MS
        self._moved_ms = ts_ms
        p = self.probability
        if not 0.002 < p < 0.998:
            return
        rng = self._rng
        if rng.random() < self._jumps * hours:
            reach = min(p, 1.0 - p) * rng.uniform(0.3, 0.8)
            target = p + (reach if rng.random() < 0.5 else -reach)
        else:
            variance = self._volatility**2 * hours
            # the drift that makes p, not its log-odds, a martingale (Ito)
            odds = log(p / (1.0 - p)) + (p - 0.5) * variance + sqrt(variance) * rng.gauss(0, 1)
            target = 1.0 / (1.0 + exp(-odds))
        self._latent.move(self.listing.atoms, min(0.998, max(0.002, target)))

    def _reveal(self, side: Side) -> None:
        """What an informed taker knew comes out: the probability moves the way he traded."""
        p = self.probability
        reach = min(p, 1.0 - p) * self._rng.uniform(0.01, 0.06)
        self._latent.move(self.listing.atoms, p + reach if side is Side.BUY else p - reach)

    def _limits(self) -> tuple[int, int]:
        """Highest bid and lowest ask a maker wants."""
        fair, half = self.probability * TICKS_PER_DOLLAR, self._spread * TICKS_PER_DOLLAR / 2
        grid = self.grid
        low = int((fair - half) // grid) * grid
        high = -int(-(fair + half) // grid) * grid
        return low, max(high, low + grid)

    def _past_the_edge(self) -> bool:
        return bool(
            (self.bids and max(self.bids) >= FINE_ABOVE)
            or (self.asks and min(self.asks) <= FINE_BELOW)
        )

    def _requote(self, changes: list[LevelSet]) -> None:
        rng = self._rng
        if self.fragile and rng.random() < 0.03:
            bid = rng.random() < 0.5
            for tick in list(self.bids if bid else self.asks):
                self._set(bid, tick, 0, changes)
            if changes:
                return
        bid = rng.random() < 0.5
        side = self.bids if bid else self.asks
        if len(side) > 2 and rng.random() < 0.5 * len(side) / self.depth:
            count = 1 if rng.random() < 0.8 else rng.randint(2, 4)
            for tick in rng.sample(list(side), min(count, len(side) - 1)):
                self._set(bid, tick, 0, changes)
            return
        self._place(bid=bid, changes=changes)

    def _place(self, *, bid: bool, changes: list[LevelSet] | None = None) -> None:
        rng, grid = self._rng, self.grid
        low, high = self._limits()
        step = int(rng.expovariate(1.5 / self.depth)) * grid
        if bid:
            tick = low - step
            if self.asks:
                tick = min(tick, (min(self.asks) - 1) // grid * grid)
        else:
            tick = high + step
            if self.bids:
                tick = max(tick, max(self.bids) // grid * grid + grid)
        if not grid <= tick <= TICKS_PER_DOLLAR - grid:
            return
        size = round(exp(rng.gauss(4.6, 1.1)) * 100)
        if rng.random() < 0.6:
            size -= size % 100
        size = max(_LEAST_SIZE, size)
        side = self.bids if bid else self.asks
        if side.get(tick) == size:
            size += 100
        self._set(bid, tick, size, changes if changes is not None else [])

    def _take(
        self, ts_ms: int, side: Side, *, informed: bool, changes: list[LevelSet]
    ) -> TradeEvent | None:
        rng = self._rng
        hits_bid = side is Side.SELL
        book = self.bids if hits_bid else self.asks
        if not book:
            return None
        price = max(book) if hits_bid else min(book)
        resting = book[price]
        wanted = max(_LEAST_SIZE, round(exp(rng.gauss(4.2, 1.2))) * 100)
        if resting < wanted < resting + _LEAST_SIZE:
            wanted = resting
        if wanted > resting and rng.random() < 0.7:
            wanted = resting
        if wanted > resting:
            # the taker's rest is announced before the level it ate: crossed for a moment
            self._set(not hits_bid, price, wanted - resting, changes)
        self._set(hits_bid, price, max(0, resting - wanted), changes)
        size = min(wanted, resting)
        trade = TradeEvent(
            price=price,
            size=size / 100,
            side=side,
            on_yes=rng.random() < 0.6,
            transaction_hash=f"0x{rng.getrandbits(256):064x}",
            informed=informed,
            print_ms=ts_ms + rng.randint(30, 90),
        )
        self.print_ms = trade.print_ms
        self.last_price = price
        self.volume += size / 100 * price / TICKS_PER_DOLLAR
        spelling = spell_last_trade(trade.printed_price)
        # the open point of reference 3.6: the hash has the new price at once, or from the print on
        if rng.random() < self._late_hash_share:
            self._due_price = spelling
        else:
            self.last_trade_price = spelling
        return trade

    def _set(self, bid: bool, tick: int, size: int, changes: list[LevelSet]) -> None:
        side = self.bids if bid else self.asks
        if size:
            side[tick] = size
        else:
            side.pop(tick, None)
        changes.append(LevelSet(bid, tick, size / 100))
