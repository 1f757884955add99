"""The simulated world: deterministic, coherent, never crossed."""

from __future__ import annotations

import pytest

from surveillance_core.venues.simulated.world import EngineEvent, World

START_MS = 1_790_000_000_000


def _world(seed: int = 3, markets: int = 40, rate: float = 300.0) -> World:
    return World(seed, markets, start_ms=START_MS, events_per_second=rate)


def test_same_seed_gives_the_same_events_whatever_the_steps() -> None:
    whole, stepped = _world(), _world()
    expected = whole.advance(START_MS + 5_000)
    found: list[EngineEvent] = []
    for to_ms in range(START_MS, START_MS + 5_001, 7):
        found += stepped.advance(to_ms)
    found += stepped.advance(START_MS + 5_000)
    assert found == expected
    assert len(expected) > 1_000


def test_another_seed_gives_other_listings_and_events() -> None:
    one, other = _world(1), _world(2)
    assert one.markets[0].condition_id != other.markets[0].condition_id
    assert one.advance(START_MS + 500) != other.advance(START_MS + 500)


@pytest.mark.parametrize("seed", range(5))
def test_books_are_never_crossed_and_times_strictly_increase(seed: int) -> None:
    last: dict[int, int] = {}
    previous_ms = START_MS
    for event in _world(seed).advance(START_MS + 20_000):
        assert event.ts_ms >= previous_ms
        previous_ms = event.ts_ms
        assert event.ts_ms > last.get(event.market, 0)
        last[event.market] = event.ts_ms
        if event.bids and event.asks:
            assert event.bids[-1][0] < event.asks[-1][0]
        assert all(tick % event.tick == 0 for tick, _ in event.bids + event.asks)


def test_changes_lead_from_one_book_to_the_next() -> None:
    world = _world()
    books = {m.index: world.book(m.index) for m in world.tradable}
    for event in world.advance(START_MS + 5_000):
        book = books[event.market]
        for change in event.changes:
            side = book.bids if change.bid else book.asks
            if change.size:
                side[change.tick] = change.size
            else:
                side.pop(change.tick, None)
        assert tuple(sorted(book.bids.items())) == event.bids
        assert tuple(sorted(book.asks.items(), reverse=True)) == event.asks


def test_the_world_holds_every_kind_of_event() -> None:
    world = _world()
    assert any(e.augmented for e in world.events)
    augmented = next(e for e in world.events if e.augmented)
    assert any(m.other for m in augmented.markets)
    assert any(not m.active and not m.tradable for m in augmented.markets)
    assert any(len(e.markets) > 2 and not e.neg_risk for e in world.events)
    assert any(len(e.markets) == 1 for e in world.events)
    assert any(e.closed for e in world.events)
    assert {m.tick for m in world.tradable} == {10, 100}
    assert len(world.tradable) >= 40
    assert all(len(m.yes_token) == 77 and m.yes_token.isdecimal() for m in world.markets)
    assert all(len(m.condition_id) == 66 for m in world.markets)


def test_related_probabilities_stay_coherent() -> None:
    world = _world()
    world.advance(START_MS + 20_000)
    for event in world.events:
        if event.closed:
            continue
        live = [m for m in event.markets if m.tradable]
        p = [world.probability(m.index) for m in live]
        if event.neg_risk:
            assert sum(p) == pytest.approx(1.0)  # pyright: ignore[reportUnknownMemberType]
        elif len(live) > 1:
            rising = live[0].atoms < live[1].atoms and len(live[0].atoms) < len(live[1].atoms)
            assert p == sorted(p, reverse=not rising)


def test_activity_is_unequal_and_some_things_are_rare_but_there() -> None:
    world = World(5, 60, start_ms=START_MS, events_per_second=400)
    events = world.advance(START_MS + 60_000)
    counts = sorted(
        (sum(e.market == m.index for e in events) for m in world.tradable),
        reverse=True,
    )
    assert counts[0] > 10 * counts[len(counts) // 2]
    trades = [e.trade for e in events if e.trade is not None]
    assert 0.02 < len(trades) / len(events) < 0.3
    assert any(t.informed for t in trades)
    assert not all(t.informed for t in trades)
    assert {t.on_yes for t in trades} == {True, False}
    assert any(len(e.changes) > 3 for e in events)
    assert any(not e.bids or not e.asks for e in events)


def test_thousands_of_markets_can_be_made() -> None:
    world = _world(markets=3_000)
    assert len(world.tradable) >= 3_000
    assert len(world.advance(START_MS + 1_000)) > 200
    tokens = {token for m in world.markets for token in (m.yes_token, m.no_token)}
    assert len(tokens) == 2 * len(world.markets)


def test_a_world_without_markets_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one market"):
        World(1, 0, start_ms=START_MS)
