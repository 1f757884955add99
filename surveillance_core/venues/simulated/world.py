"""A seeded world of related prediction markets on two venues: who trades what, when, for how much.

Pure: no clock, no I/O. The same arguments give the same events, whatever the steps in which the
world is advanced and whichever books are looked at in between. Books are made when they are first
needed, so that a world of tens of thousands of markets costs what is traded in it.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import accumulate
from random import Random

from surveillance_core.books import DOLLARS, TICKS_PER_DOLLAR, OrderBook
from surveillance_core.markets import Venue
from surveillance_core.venues.simulated.families import list_families
from surveillance_core.venues.simulated.happenings import (
    BookImage,
    EngineEvent,
    MarketAnnounced,
    MarketClosed,
    MarketOpened,
    MarketQuote,
    MarketResolved,
    Phase,
    PlantPlaced,
    WorldEvent,
)
from surveillance_core.venues.simulated.latents import Latent
from surveillance_core.venues.simulated.listings import (
    TAPERED,
    TENTH_CENT,
    EventListing,
    MarketListing,
    PriceGrid,
)
from surveillance_core.venues.simulated.makers import MarketEngine, finer_grid, opening_quote
from surveillance_core.venues.simulated.plants import Plant, PlantLeg, plan_plants

DEFAULT_MARKETS = 40
DEFAULT_EVENTS_PER_SECOND = 20.0

RESOLVES_AFTER_MS = 90_000
"""From the end of trading to the announcement of the result."""

CALENDAR_MS = 8 * 86_400_000
"""How far ahead openings, closings and results are scheduled; what lies beyond never happens."""

_VOID_SHARE = 0.01
_VOIDABLE = frozenset({"fixture"})


class World:
    """Families, their events on each venue, and the engines of their markets.

    Parameters
    ----------
    seed
        Decides everything together with the other arguments.
    markets, kalshi_markets
        Least number of tradable markets on Polymarket and on Kalshi; placeholders, closed markets
        and up-or-down windows come on top.
    start_ms
        The venues' time at the start, milliseconds since the epoch.
    events_per_second
        Mean engine batches a second over all markets together. A market has at most one batch a
        millisecond; what would be more is left out.
    zipf_exponent
        How unevenly activity is spread: the k-th busiest market's share goes as k ** -exponent.
    trade_share, informed_share
        Share of batches that try to trade, and of takers that know something.
    late_hash_share
        Share of fills whose price enters Polymarket's book hash only with the print, tens of ms
        after the batch; in the others the batch's own hash has it (polymarket.md 3.6, open point).
    plants_an_hour
        Planned violations and decoys an hour; see ``plants``.
    windows
        Whether a series of up-or-down windows is listed, which open, close and resolve.
    """

    def __init__(
        self,
        seed: int,
        markets: int = DEFAULT_MARKETS,
        *,
        kalshi_markets: int = 0,
        start_ms: int,
        events_per_second: float = DEFAULT_EVENTS_PER_SECOND,
        zipf_exponent: float = 1.1,
        trade_share: float = 0.08,
        informed_share: float = 0.25,
        late_hash_share: float = 0.5,
        plants_an_hour: float = 0.0,
        windows: bool = False,
    ) -> None:
        if markets + kalshi_markets < 1 or min(markets, kalshi_markets) < 0:
            raise ValueError(f"a world needs at least one market, not {markets}+{kalshi_markets}")
        if events_per_second <= 0:
            raise ValueError(f"a world needs a positive rate, not {events_per_second}")
        self.seed = seed
        self.start_ms = start_ms
        self.now_ms = start_ms
        self.families = list_families(
            seed,
            {Venue.POLYMARKET: markets, Venue.KALSHI: kalshi_markets},
            start_ms,
            windows=windows,
        )
        self.latents = [Latent(family.weights) for family in self.families]
        self.events: Sequence[EventListing] = [
            event for family in self.families for event in family.events
        ]
        self.markets: Sequence[MarketListing] = [m for e in self.events for m in e.markets]
        self.event_of: Sequence[EventListing] = [e for e in self.events for _ in e.markets]
        self.on_book: Callable[[MarketListing, BookImage], None] | None = None
        """Called with each book when it is made, before anything happens in it."""
        self.on_plant: Callable[[PlantPlaced], None] | None = None
        self._rng = Random(f"world:{seed}")
        self._trade_share = trade_share
        self._informed_share = informed_share
        self._late_hash_share = late_hash_share
        self.events_per_second = events_per_second
        self._rate_ms = events_per_second / 1000
        self._engines: dict[int, MarketEngine] = {}
        self._phases: dict[int, Phase] = {}
        self._results: dict[int, tuple[str, float]] = {}
        self._ranked = self._places()
        self._rng.shuffle(self._ranked)
        self._shares = list(
            accumulate((rank + 1) ** -zipf_exponent for rank in range(len(self._ranked)))
        )
        self._calendar: list[tuple[int, int, int, Callable[[int], list[WorldEvent]]]] = []
        self._entries = 0
        self._placed: set[int] = set()
        self._schedule_lives()
        self.plants: Sequence[Plant] = plan_plants(
            self.families, seed, start_ms, plants_an_hour, CALENDAR_MS
        )
        for plant in self.plants:
            self._enter(plant.from_ms, lambda ts_ms, plant=plant: self._place(plant, ts_ms))
            self._enter(plant.until_ms, lambda ts_ms, plant=plant: self._lift(plant, ts_ms))
        self._next_ms = start_ms + self._rng.expovariate(self._rate_ms)

    @property
    def tradable(self) -> list[MarketListing]:
        """The markets that have a book at some time, in listing order."""
        return [market for market in self.markets if market.tradable]

    @property
    def next_ms(self) -> int:
        """When the next thing happens or is tried; later than now."""
        planned_ms = self._calendar[0][0] if self._calendar else int(self._next_ms)
        return max(self.now_ms + 1, min(int(self._next_ms), planned_ms))

    def listed(self, venue: Venue) -> list[EventListing]:
        """A venue's events that are listed by now, in listing order."""
        return [e for e in self.events if e.venue is venue and e.listed_ms <= self.now_ms]

    def phase(self, market: int) -> Phase:
        """Where the market is in its life."""
        known = self._phases.get(market)
        if known is not None:
            return known
        listing = self.markets[market]
        if listing.closed:
            return Phase.RESOLVED
        return Phase.OPEN if listing.opens_ms <= self.start_ms else Phase.UPCOMING

    def result(self, market: int) -> str | None:
        """``yes``, ``no`` or ``scalar``; None while it is not announced."""
        found = self._results.get(market)
        return None if found is None else found[0]

    def payout(self, market: int) -> float | None:
        """Dollars that Yes pays; None while the result is not announced."""
        found = self._results.get(market)
        return None if found is None else found[1]

    def advance(self, to_ms: int) -> list[WorldEvent]:
        """What happens up to and including ``to_ms``, in time order."""
        rng, shares, ranked = self._rng, self._shares, self._ranked
        events: list[WorldEvent] = []
        while True:
            arrival_ms = int(self._next_ms)
            planned_ms = self._calendar[0][0] if self._calendar else to_ms + 1
            if planned_ms <= min(arrival_ms, to_ms):
                events += heappop(self._calendar)[3](planned_ms)
                continue
            if arrival_ms > to_ms:
                break
            place = ranked[min(bisect(shares, rng.random() * shares[-1]), len(ranked) - 1)]
            self._next_ms += rng.expovariate(self._rate_ms)
            index = place[0] if len(place) == 1 else self._trading(place, arrival_ms)
            if self.phase(index) is not Phase.OPEN:
                continue
            engine = self._engine(index)
            if arrival_ms <= engine.ts_ms:
                continue
            event = engine.step(arrival_ms, self._trade_share, self._informed_share)
            if event is not None:
                events.append(event)
        self.now_ms = max(self.now_ms, to_ms)
        return events

    def image(self, market: int) -> BookImage:
        """The market's book now; raises ``KeyError`` for a market that is never traded."""
        if not self.markets[market].tradable:
            raise KeyError(market)
        engine = self._engine(market)
        bids, asks = engine.levels()
        return BookImage(
            market=market,
            ts_ms=engine.ts_ms,
            grid=engine.grid,
            bids=bids,
            asks=asks,
            last_trade_price=engine.last_trade_at(self.now_ms),
        )

    def book(self, market: int) -> OrderBook:
        """The market's Yes book now, as a copy."""
        image = self.image(market)
        return OrderBook(dict(image.bids), dict(image.asks))

    def grid(self, market: int) -> PriceGrid:
        """The price grid in force."""
        engine = self._engines.get(market)
        return self.markets[market].grid if engine is None else engine.grid

    def probability(self, market: int) -> float:
        """The latent probability of Yes, which no trader sees."""
        return self._latent(market).probability(self.markets[market].atoms)

    def activity_share(self, market: int) -> float:
        """The market's share of all engine batches, in [0, 1]."""
        rank = next(rank for rank, place in enumerate(self._ranked) if market in place)
        before = self._shares[rank - 1] if rank else 0.0
        return (self._shares[rank] - before) / self._shares[-1]

    def quotes(self, venue: Venue) -> dict[int, MarketQuote]:
        """What the venue's listing shows of each of its tradable markets."""
        total = self._shares[-1] if self._shares else 1.0
        quotes: dict[int, MarketQuote] = {}
        previous = 0.0
        for place, share in zip(self._ranked, self._shares, strict=True):
            # what was traded before the start, by the same unequal shares
            volume = 2e6 * (share - previous) / total
            previous = share
            for index in place:
                if self.markets[index].venue is venue:
                    quotes[index] = self._quote(index, volume / len(place))
        return quotes

    def _places(self) -> list[tuple[int, ...]]:
        """What shares the activity: markets, and series of windows, one of which trades."""
        windows: dict[tuple[Venue, str], list[int]] = {}
        places: list[tuple[int, ...]] = []
        for event, listing in zip(self.event_of, self.markets, strict=True):
            if not listing.tradable:
                continue
            series = event.series
            if self.families[event.family].kind == "up_down" and series is not None:
                windows.setdefault((event.venue, series.series_id), []).append(listing.index)
            else:
                places.append((listing.index,))
        return [*places, *(tuple(found) for found in windows.values())]

    def _trading(self, place: tuple[int, ...], at_ms: int) -> int:
        """The window of a series that a time is in, or the nearest to it."""
        over = bisect(place, at_ms, key=lambda index: self.markets[index].closes_ms)
        return place[min(over, len(place) - 1)]

    # ── what happens ─────────────────────────────────────────────────────────────────────────

    def _latent(self, market: int) -> Latent:
        return self.latents[self.event_of[market].family]

    def _engine(self, market: int) -> MarketEngine:
        engine = self._engines.get(market)
        if engine is None:
            listing = self.markets[market]
            kalshi = listing.venue is Venue.KALSHI
            opened_ms = max(
                listing.opens_ms, self.start_ms - 1 - (market * 7_919 + self.seed) % 60_000
            )
            engine = self._engines[market] = MarketEngine(
                listing,
                self._latent(market),
                self._rng,
                opened_ms,
                seed=f"book:{self.seed}:{market}",
                finer=finer_grid(listing.grid, TAPERED if kalshi else TENTH_CENT),
                late_hash_share=self._late_hash_share,
            )
            if self.on_book is not None:
                self.on_book(listing, self.image(market))
        return engine

    def _quote(self, market: int, volume: float) -> MarketQuote:
        engine = self._engines.get(market)
        listing = self.markets[market]
        if engine is None:
            opening = self._latent(market).initial_probability(listing.atoms)
            bid, ask = opening_quote(listing, opening)
            return MarketQuote(
                best_bid=DOLLARS[bid] if bid else None,
                best_ask=DOLLARS[ask] if ask < TICKS_PER_DOLLAR else None,
                last_trade_price=None,
                volume_24h=round(volume, 2),
                liquidity=round(volume / 20 + 500, 5),
                tick=DOLLARS[listing.grid.finest],
            )
        bids, asks = engine.bids, engine.asks
        resting = sum(size * tick for tick, size in bids.items()) + sum(
            size * (TICKS_PER_DOLLAR - tick) for tick, size in asks.items()
        )
        return MarketQuote(
            best_bid=DOLLARS[max(bids)] if bids else None,
            best_ask=DOLLARS[min(asks)] if asks else None,
            last_trade_price=None if engine.last_price is None else DOLLARS[engine.last_price],
            volume_24h=round(volume + engine.volume, 2),
            liquidity=round(resting / 1e6, 5),
            tick=DOLLARS[engine.grid.finest],
        )

    def _enter(self, ts_ms: int, happen: Callable[[int], list[WorldEvent]]) -> None:
        self._entries += 1
        heappush(self._calendar, (ts_ms, self._entries, 0, happen))

    def _schedule_lives(self) -> None:
        horizon_ms = self.start_ms + CALENDAR_MS
        for event, listing in zip(self.event_of, self.markets, strict=True):
            if not listing.tradable:
                continue
            index = listing.index
            if self.start_ms < event.listed_ms <= horizon_ms:
                self._enter(event.listed_ms, lambda ts, i=index: [MarketAnnounced(i, ts)])
            if self.start_ms < listing.opens_ms <= horizon_ms:
                self._enter(listing.opens_ms, lambda ts, i=index: self._open(i, ts))
            if listing.closes_ms <= horizon_ms:
                self._enter(listing.closes_ms, lambda ts, i=index: self._close(i, ts))

    def _open(self, market: int, ts_ms: int) -> list[WorldEvent]:
        self._phases[market] = Phase.OPEN
        return [MarketOpened(market, ts_ms)]

    def _close(self, market: int, ts_ms: int) -> list[WorldEvent]:
        """Trading ends and the result is drawn; it is announced later."""
        self._phases[market] = Phase.CLOSED
        events: list[WorldEvent] = []
        emptied = self._engine(market).clear(ts_ms)
        if emptied is not None:
            events.append(emptied)
        events.append(MarketClosed(market, ts_ms))
        listing, event = self.markets[market], self.event_of[market]
        family = self.families[event.family]
        latent = self.latents[event.family]
        void = Random(f"void:{self.seed}:{event.family}").random() < _VOID_SHARE
        if family.kind in _VOIDABLE and void:
            result, value = "scalar", 0.5
        else:
            happened = latent.settle(listing.atoms, self._rng)
            result, value = ("yes", 1.0) if happened else ("no", 0.0)
        self._enter(
            ts_ms + RESOLVES_AFTER_MS,
            lambda ts, found=(result, value): self._resolve(market, ts, *found),
        )
        return events

    def _resolve(self, market: int, ts_ms: int, result: str, value: float) -> list[WorldEvent]:
        self._phases[market] = Phase.RESOLVED
        self._results[market] = (result, value)
        return [MarketResolved(market, ts_ms, result, value)]

    # ── plants ───────────────────────────────────────────────────────────────────────────────

    def _place(self, plant: Plant, ts_ms: int) -> list[WorldEvent]:
        """Put the plant's orders, if all its markets are open; nobody moves them until it ends."""
        if any(self.phase(leg.market) is not Phase.OPEN for leg in plant.legs):
            return []
        events: list[WorldEvent] = [self._impose(leg, plant, ts_ms) for leg in plant.legs]
        self._placed.add(plant.number)
        if self.on_plant is not None:
            self.on_plant(PlantPlaced(plant, ts_ms))
        return events

    def _impose(self, leg: PlantLeg, plant: Plant, ts_ms: int) -> EngineEvent:
        return self._engine(leg.market).impose(
            ts_ms, plant.until_ms, bid=leg.bid, tick=leg.tick, size=round(leg.size * 100)
        )

    def _lift(self, plant: Plant, ts_ms: int) -> list[WorldEvent]:
        if plant.number not in self._placed:
            return []
        released = [
            self._engine(leg.market).release(ts_ms, bid=leg.bid, tick=leg.tick)
            for leg in plant.legs
            if self.phase(leg.market) is Phase.OPEN
        ]
        return [event for event in released if event is not None]
