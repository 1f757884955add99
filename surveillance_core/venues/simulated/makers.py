"""One simulated market's order book: makers who learn, takers of whom some know more.

Pure: the random generator and the time come from the world. Sizes are integers in hundredths of a
contract, so that every size is spelled exactly on the wire; prices are ticks of 0.0001 dollars.

Makers do not see the probability. They quote around an estimate that news moves towards it, that
each trade moves the taker's way, and whose spread widens with the losses of their fills. Informed
takers see the probability and trade where a quote is wrong by more than they pay.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from math import exp
from random import Random
from typing import Final

from surveillance_core.books import TICKS_PER_DOLLAR
from surveillance_core.venues.protocols import Side
from surveillance_core.venues.simulated.happenings import EngineEvent, Levels, LevelSet, TradeEvent
from surveillance_core.venues.simulated.latents import Latent
from surveillance_core.venues.simulated.listings import CENT, MarketListing, PriceGrid

FINE_ABOVE: Final = 9_600
FINE_BELOW: Final = 400
"""Past 0.96 and 0.04 Polymarket refines the price grid (reference polymarket.md 3.5)."""

HOUR_MS: Final = 3_600_000
_LEAST_SIZE: Final = 500
_NEWS_AN_HOUR: Final = 8.0
"""How fast makers' estimate follows the probability without any trade."""
_LEARNED: Final = 0.1
"""Weight of the last fill in makers' running loss."""


def spell_last_trade(tick: int) -> str:
    """The last trade price as Polymarket spells it: three decimals, four where they are needed."""
    price = tick / TICKS_PER_DOLLAR
    return f"{price:.4f}" if tick % 10 else f"{price:.3f}"


class MarketEngine:
    """The matching engine of one market and everybody who trades in it.

    Parameters
    ----------
    rng
        Shared with the world: what happens after the opening.
    ts_ms
        When the book opened.
    seed
        Decides the opening book alone, so that it does not matter when the engine is made.
    finer
        The grid that Polymarket goes over to at the edges; None where it never does.
    """

    __slots__ = (
        "_due_price",
        "_jumps",
        "_late_hash_share",
        "_latent",
        "_loss",
        "_moved_ms",
        "_rng",
        "_signed_price",
        "_spread",
        "_volatility",
        "asks",
        "bids",
        "depth",
        "estimate",
        "finer",
        "fragile",
        "grid",
        "held_until_ms",
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
        seed: str,
        finer: PriceGrid | None = None,
        late_hash_share: float = 0.5,
    ) -> None:
        opening = Random(seed)
        self.listing = listing
        self.ts_ms = ts_ms
        self.grid = listing.grid
        self.finer = finer
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.last_price: int | None = None
        self.last_trade_price = ""
        self.print_ms = 0
        """When the print in flight is due; one is in flight at a time."""
        self.volume = 0.0
        """Dollars traded since the start."""
        self.held_until_ms = 0
        """Until then nobody moves: the book is as it was imposed."""
        self.estimate = latent.initial_probability(listing.atoms)
        """What makers take the probability for."""
        self.fragile = opening.random() < 0.06
        self.depth = 3 if self.fragile else opening.randint(16, 30)
        self._due_price = ""
        self._late_hash_share = late_hash_share
        self._latent = latent
        self._moved_ms = ts_ms
        self._rng = opening
        self._spread = opening.choice((0.004, 0.006, 0.01))
        self._volatility = opening.uniform(0.15, 0.9)
        self._jumps = opening.uniform(0.05, 0.6)
        self._loss = 0.0
        self._signed_price: tuple[int, float] | None = None
        for _ in range(2 * self.depth):
            self._place(bid=True)
            self._place(bid=False)
        self._rng = rng

    @property
    def probability(self) -> float:
        """The latent probability of Yes."""
        return self._latent.probability(self.listing.atoms)

    def step(self, ts_ms: int, trade_share: float, informed_share: float) -> EngineEvent | None:
        """Let one thing happen; None where nothing could."""
        if ts_ms < self.held_until_ms:
            return None
        self._evolve(ts_ms)
        if self.finer is not None and self.grid is not self.finer and self._past_the_edge():
            old, self.grid = self.grid, self.finer
            return self._event(ts_ms, [], None, old)
        rng = self._rng
        free = ts_ms > self.print_ms
        changes: list[LevelSet] = []
        trade: TradeEvent | None = None
        side = self._mispriced()
        if side is not None and free and rng.random() < informed_share:
            trade = self._take(ts_ms, side, informed=True, changes=changes)
        if not changes:
            low, high = self._limits()
            stale_bids = sorted((tick for tick in self.bids if tick > low), reverse=True)
            stale_asks = sorted(tick for tick in self.asks if tick < high)
            if stale_bids or stale_asks:
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

    def clear(self, ts_ms: int) -> EngineEvent | None:
        """Everybody leaves: trading has ended."""
        changes: list[LevelSet] = []
        for bid, side in ((True, self.bids), (False, self.asks)):
            for tick in list(side):
                self._set(bid, tick, 0, changes)
        self.held_until_ms = 0
        return self._event(self._next_ms(ts_ms), changes, None, None) if changes else None

    def impose(self, ts_ms: int, until_ms: int, *, bid: bool, tick: int, size: int) -> EngineEvent:
        """Put an order at a price, taking what stands against it away, and let nobody move.

        ``size`` is in hundredths of a contract.
        """
        changes: list[LevelSet] = []
        against = self.asks if bid else self.bids
        for other in [t for t in against if (t <= tick if bid else t >= tick)]:
            self._set(not bid, other, 0, changes)
        mine = self.bids if bid else self.asks
        for other in [t for t in mine if (t > tick if bid else t < tick)]:
            self._set(bid, other, 0, changes)
        self._set(bid, tick, size, changes)
        self.held_until_ms = until_ms
        return self._event(self._next_ms(ts_ms), changes, None, None)

    def release(self, ts_ms: int, *, bid: bool, tick: int) -> EngineEvent | None:
        """Take an imposed order away."""
        self.held_until_ms = 0
        changes: list[LevelSet] = []
        if tick in (self.bids if bid else self.asks):
            self._set(bid, tick, 0, changes)
        return self._event(self._next_ms(ts_ms), changes, None, None) if changes else None

    def last_trade_at(self, now_ms: int) -> str:
        """The last trade price that a book given out now has: a print's from its time on."""
        if self._due_price and now_ms >= self.print_ms:
            return self._due_price
        return self.last_trade_price

    def levels(self) -> tuple[Levels, Levels]:
        """Bids ascending and asks descending, in contracts."""
        return (
            tuple([(tick, size / 100) for tick, size in sorted(self.bids.items())]),
            tuple([(tick, size / 100) for tick, size in sorted(self.asks.items(), reverse=True)]),
        )

    def _next_ms(self, ts_ms: int) -> int:
        return max(ts_ms, self.ts_ms + 1)

    def _event(
        self,
        ts_ms: int,
        changes: list[LevelSet],
        trade: TradeEvent | None,
        old_grid: PriceGrid | None,
    ) -> EngineEvent:
        if self._due_price and trade is None and ts_ms >= self.print_ms:
            self.last_trade_price, self._due_price = self._due_price, ""
        self.ts_ms = ts_ms
        bids, asks = self.levels()
        return EngineEvent(
            market=self.listing.index,
            ts_ms=ts_ms,
            changes=tuple(changes),
            trade=trade,
            old_grid=old_grid,
            grid=self.grid,
            last_trade_price=self.last_trade_price,
            bids=bids,
            asks=asks,
        )

    def _evolve(self, ts_ms: int) -> None:
        hours = (ts_ms - self._moved_ms) / HOUR_MS
        self._moved_ms = ts_ms
        self._latent.diffuse(
            self.listing.atoms,
            hours,
            volatility=self._volatility,
            jumps_an_hour=self._jumps,
            rng=self._rng,
        )
        self.estimate += (self.probability - self.estimate) * (1.0 - exp(-_NEWS_AN_HOUR * hours))
        if self._due_price and ts_ms >= self.print_ms:
            self.last_trade_price, self._due_price = self._due_price, ""

    def _reveal(self, side: Side) -> None:
        """What an informed taker knew comes out: the probability moves the way he traded."""
        p = self.probability
        reach = min(p, 1.0 - p) * self._rng.uniform(0.01, 0.06)
        self._latent.move(self.listing.atoms, p + reach if side is Side.BUY else p - reach)

    def _mispriced(self) -> Side | None:
        """The side on which an informed taker gains, if either is."""
        fair = self.probability * TICKS_PER_DOLLAR
        margin = self._spread * TICKS_PER_DOLLAR / 2
        if self.bids and max(self.bids) > fair + margin:
            return Side.SELL
        if self.asks and min(self.asks) < fair - margin:
            return Side.BUY
        return None

    def _limits(self) -> tuple[int, int]:
        """Highest bid and lowest ask a maker wants, on the grid; 0 and 1 dollar stand for none."""
        prices = self.grid.prices
        fair = self.estimate * TICKS_PER_DOLLAR
        half = (self._spread / 2 + self._loss) * TICKS_PER_DOLLAR
        below = bisect_right(prices, fair - half) - 1
        above = max(bisect_left(prices, fair + half), below + 1)
        low = prices[below] if below >= 0 else 0
        high = prices[above] if above < len(prices) else TICKS_PER_DOLLAR
        return low, high

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
        rng, prices = self._rng, self.grid.prices
        low, high = self._limits()
        step = int(rng.expovariate(1.5 / self.depth))
        if bid:
            if self.asks:
                low = min(low, min(self.asks) - 1)
            place = bisect_right(prices, low) - 1 - step
        else:
            if self.bids:
                high = max(high, max(self.bids) + 1)
            place = bisect_left(prices, high) + step
        if not 0 <= place < len(prices):
            return
        tick = prices[place]
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
        self._learn(side, price / TICKS_PER_DOLLAR)
        spelling = spell_last_trade(trade.printed_price)
        # the open point of polymarket.md 3.6: the hash has the new price at once, or with the print
        if rng.random() < self._late_hash_share:
            self._due_price = spelling
        else:
            self.last_trade_price = spelling
        return trade

    def _learn(self, side: Side, price: float) -> None:
        """Makers move with the taker, and widen by what their last fill has cost them since."""
        if self._signed_price is not None:
            sign, filled = self._signed_price
            loss = max(0.0, sign * (self.estimate - filled))
            self._loss = min(0.05, (1.0 - _LEARNED) * self._loss + _LEARNED * loss)
        sign = 1 if side is Side.BUY else -1
        self._signed_price = (sign, price)
        room = min(self.estimate, 1.0 - self.estimate)
        self.estimate += sign * 0.03 * room

    def _set(self, bid: bool, tick: int, size: int, changes: list[LevelSet]) -> None:
        side = self.bids if bid else self.asks
        before = side.get(tick, 0)
        if size:
            side[tick] = size
        else:
            side.pop(tick, None)
        changes.append(LevelSet(bid, tick, size / 100, before / 100))


def opening_quote(listing: MarketListing, probability: float) -> tuple[int, int]:
    """Best bid and ask about where a book opens, without making it; 0 and 10,000 stand for none."""
    prices = listing.grid.prices
    fair = probability * TICKS_PER_DOLLAR
    below = bisect_right(prices, fair - 50) - 1
    above = max(bisect_left(prices, fair + 50), below + 1)
    return (
        prices[below] if below >= 0 else 0,
        prices[above] if above < len(prices) else TICKS_PER_DOLLAR,
    )


def finer_grid(grid: PriceGrid, finer: PriceGrid) -> PriceGrid | None:
    """The grid a market goes over to at the edges, None where it has it already."""
    return finer if grid is CENT or grid == CENT else None
