"""The simulated world: deterministic, coherent, never crossed, fair."""

from __future__ import annotations

from collections import Counter
from random import Random
from statistics import mean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.markets import Venue
from surveillance_core.venues.protocols import Side
from surveillance_core.venues.simulated.happenings import (
    EngineEvent,
    MarketAnnounced,
    MarketClosed,
    MarketOpened,
    MarketResolved,
    Phase,
    WorldEvent,
)
from surveillance_core.venues.simulated.latents import Latent
from surveillance_core.venues.simulated.makers import HOUR_MS
from surveillance_core.venues.simulated.world import World

START_MS = 1_790_000_000_000


def _world(seed: int = 3, markets: int = 40, rate: float = 300.0, kalshi: int = 40) -> World:
    return World(seed, markets, kalshi_markets=kalshi, start_ms=START_MS, events_per_second=rate)


def _batches(events: list[WorldEvent]) -> list[EngineEvent]:
    return [event for event in events if isinstance(event, EngineEvent)]


def test_same_seed_gives_the_same_events_whatever_the_steps_and_looks() -> None:
    whole, stepped = _world(), _world()
    expected = whole.advance(START_MS + 5_000)
    found: list[WorldEvent] = []
    for to_ms in range(START_MS, START_MS + 5_001, 7):
        found += stepped.advance(to_ms)
        # a book that is looked at before it trades is the one that would have been made later
        stepped.image(stepped.tradable[to_ms % len(stepped.tradable)].index)
    found += stepped.advance(START_MS + 5_000)
    assert found == expected
    assert len(expected) > 1_000


def test_another_seed_gives_other_listings_and_events() -> None:
    one, other = _world(1), _world(2)
    assert one.markets[0].market_id != other.markets[0].market_id
    assert one.advance(START_MS + 500) != other.advance(START_MS + 500)


@pytest.mark.parametrize("seed", range(5))
def test_books_are_never_crossed_and_times_strictly_increase(seed: int) -> None:
    last: dict[int, int] = {}
    previous_ms = START_MS
    for event in _batches(_world(seed).advance(START_MS + 20_000)):
        assert event.ts_ms >= previous_ms
        previous_ms = event.ts_ms
        assert event.ts_ms > last.get(event.market, 0)
        last[event.market] = event.ts_ms
        if event.bids and event.asks:
            assert event.bids[-1][0] < event.asks[-1][0]
        assert {tick for tick, _ in event.bids + event.asks} <= set(event.grid.prices)


def test_changes_lead_from_one_book_to_the_next_and_say_what_was_there() -> None:
    world = _world()
    books = {m.index: world.book(m.index) for m in world.tradable}
    for event in _batches(world.advance(START_MS + 5_000)):
        book = books[event.market]
        for change in event.changes:
            side = book.bids if change.bid else book.asks
            assert change.before == side.get(change.tick, 0.0)
            if change.size:
                side[change.tick] = change.size
            else:
                side.pop(change.tick, None)
        assert tuple(sorted(book.bids.items())) == event.bids
        assert tuple(sorted(book.asks.items(), reverse=True)) == event.asks


def test_the_world_holds_every_kind_of_event_on_both_venues() -> None:
    world = _world(markets=200, kalshi=200)
    kinds = {family.kind for family in world.families}
    assert kinds >= {
        "award", "price_ladder", "single_claim", "race", "temperature_buckets", "date_ladder",
        "decision", "fixture", "count_buckets", "price_buckets",
    }  # fmt: skip
    augmented = next(e for e in world.events if e.augmented)
    assert any(m.other for m in augmented.markets)
    assert any(not m.active and not m.tradable for m in augmented.markets)
    assert any(e.closed for e in world.events)
    assert any(e.directional for e in world.events if e.venue is Venue.KALSHI)
    twins = [f for f in world.families if len({e.venue for e in f.events}) == 2]
    assert any(f.clause for f in twins)
    assert any(not f.clause for f in twins)
    assert {m.grid.name for m in world.tradable if m.venue is Venue.KALSHI} == {
        "linear_cent", "deci_cent", "tapered_deci_cent",
    }  # fmt: skip
    for venue in Venue:
        assert sum(m.tradable for m in world.markets if m.venue is venue) >= 200
    tokens = [m.yes_id for m in world.markets if m.venue is Venue.POLYMARKET]
    assert all(len(token) == 77 and token.isdecimal() for token in tokens)
    assert len({m.market_id for m in world.markets}) == len(world.markets)


@pytest.mark.parametrize("seed", range(4))
def test_related_probabilities_stay_coherent(seed: int) -> None:
    world = _world(seed, 120, 500.0, 120)
    world.advance(START_MS + 20_000)
    for event in world.events:
        live = [m for m in event.markets if m.tradable]
        if event.exclusive and live:
            covered = {atom for m in live for atom in m.atoms}
            total = sum(world.probability(m.index) for m in live)
            assert total <= 1.0 + 1e-9
            if len(covered) == len(world.families[event.family].weights):
                assert total == pytest.approx(1.0)  # pyright: ignore[reportUnknownMemberType]
        for one in live:
            for other in live:
                if set(one.atoms) <= set(other.atoms):
                    assert world.probability(one.index) <= world.probability(other.index) + 1e-9


def test_twins_that_say_the_same_have_one_probability_and_others_nearly() -> None:
    world = _world(5, 300, 500.0, 300)
    world.advance(START_MS + 20_000)
    same, other = 0, 0
    for family in world.families:
        if family.kind != "single_claim" or len(family.events) != 2:
            continue
        p, q = (world.probability(event.markets[0].index) for event in family.events)
        if family.clause:
            other += p != q
            assert abs(p - q) < 0.2
        else:
            same += 1
            assert p == q
    assert same
    assert other


class _Scripted(Random):
    """Draws that are given, to walk both branches of a coin."""

    def __init__(self, *draws: float) -> None:
        super().__init__(0)
        self._draws = list(draws)

    def random(self) -> float:
        return self._draws.pop(0)

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


@given(
    weights=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=6),
    hours=st.floats(0.0, 50.0),
    jumps=st.booleans(),
)
def test_a_probability_moves_up_and_down_by_the_same_so_it_is_a_martingale(
    weights: list[float], hours: float, jumps: bool
) -> None:
    moves: list[float] = []
    for coin in (0.25, 0.75):
        latent = Latent(weights)
        before = latent.probability((0,))
        latent.diffuse(
            (0,),
            hours,
            volatility=0.5,
            jumps_an_hour=1.0 if jumps else 0.0,
            rng=_Scripted(0.0 if jumps and hours else 0.999, coin),
        )
        assert sum(latent.weights) == pytest.approx(1.0)  # pyright: ignore[reportUnknownMemberType]
        assert all(0.0 <= weight <= 1.0 for weight in latent.weights)
        moves.append(latent.probability((0,)) - before)
    assert abs(sum(moves)) < 1e-12
    assert moves[0] >= 0.0


def test_results_come_as_often_as_their_probability_says() -> None:
    surprises: list[float] = []
    for seed in range(12):
        world = World(
            seed, 10, kalshi_markets=0, start_ms=START_MS, events_per_second=0.5, windows=True
        )
        before = {m.index: world.probability(m.index) for m in world.tradable}
        surprises += [
            event.value - before[event.market]
            for event in world.advance(START_MS + 12 * HOUR_MS)
            if isinstance(event, MarketResolved) and event.result != "scalar"
        ]
    assert len(surprises) > 400
    # the mean of results less prior probabilities is zero within four standard errors
    assert abs(mean(surprises)) < 4 * stdev(surprises) / len(surprises) ** 0.5


def test_a_window_is_announced_opens_closes_empty_and_resolves() -> None:
    world = World(4, 20, kalshi_markets=20, start_ms=START_MS, events_per_second=5, windows=True)
    lives: dict[int, list[WorldEvent]] = {}
    for event in world.advance(START_MS + 2 * HOUR_MS):
        lives.setdefault(event.market, []).append(event)
    whole = 0
    for market, events in lives.items():
        order = [type(e) for e in events if not isinstance(e, EngineEvent)]
        if MarketResolved not in order or MarketOpened not in order:
            continue
        whole += 1
        assert order[-3:] == [MarketOpened, MarketClosed, MarketResolved]
        assert order[:-3] in ([], [MarketAnnounced])
        closed = next(e for e in events if isinstance(e, MarketClosed))
        batches = [e for e in events if isinstance(e, EngineEvent)]
        if batches:
            assert (batches[-1].bids, batches[-1].asks) == ((), ())
            assert all(e.ts_ms <= closed.ts_ms + 1 for e in batches)
        assert world.phase(market) is Phase.RESOLVED
        assert world.result(market) is not None
    assert {world.markets[m].venue for m in lives} == set(Venue)
    assert whole >= 10


def test_activity_is_unequal_and_some_things_are_rare_but_there() -> None:
    world = World(5, 60, start_ms=START_MS, events_per_second=400)
    events = _batches(world.advance(START_MS + 60_000))
    counts = sorted(Counter(e.market for e in events).values(), reverse=True)
    assert counts[0] > 10 * counts[len(counts) // 2]
    trades = [e.trade for e in events if e.trade is not None]
    assert 0.02 < len(trades) / len(events) < 0.3
    assert any(t.informed for t in trades)
    assert not all(t.informed for t in trades)
    assert {t.on_yes for t in trades} == {True, False}
    assert any(len(e.changes) > 3 for e in events)
    assert any(not e.bids or not e.asks for e in events)


def test_informed_takers_gain_on_makers_and_the_others_do_not() -> None:
    """Markout against the probability half an hour later: what a maker is afraid of."""
    informed: list[float] = []
    noise: list[float] = []
    for seed in range(4):
        world = World(
            seed, 12, start_ms=START_MS, events_per_second=3, trade_share=0.2, zipf_exponent=0.3
        )
        pending: list[tuple[int, int, Side, int, bool]] = []
        for minute in range(120):
            now_ms = START_MS + minute * 60_000
            for event in _batches(world.advance(now_ms)):
                if event.trade is not None:
                    trade = event.trade
                    pending.append(
                        (event.ts_ms, event.market, trade.side, trade.price, trade.informed)
                    )
            while pending and pending[0][0] < now_ms - 1_800_000:
                _, market, side, price, knew = pending.pop(0)
                gain = world.probability(market) - price / 10_000
                (informed if knew else noise).append(gain if side is Side.BUY else -gain)
    assert len(informed) > 300
    assert len(noise) > 300
    assert mean(informed) > 0
    assert mean(informed) > mean(noise)


def test_tens_of_thousands_of_markets_cost_what_is_traded() -> None:
    world = _world(markets=20_000, kalshi=10_000)
    assert len(world.tradable) >= 30_000
    events = _batches(world.advance(START_MS + 1_000))
    assert len(events) > 200
    quotes = world.quotes(Venue.POLYMARKET)
    assert len(quotes) == sum(m.venue is Venue.POLYMARKET for m in world.tradable)
    assert any(q.best_bid is not None and q.best_ask is not None for q in quotes.values())


def test_a_world_without_markets_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one market"):
        World(1, 0, start_ms=START_MS)
