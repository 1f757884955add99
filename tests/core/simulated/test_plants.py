"""Planted violations: certain in every world, of the size the log says; decoys are not."""

from __future__ import annotations

import pytest

from surveillance_core.books import DOLLARS
from surveillance_core.markets import Venue
from surveillance_core.venues.simulated.happenings import EngineEvent
from surveillance_core.venues.simulated.makers import HOUR_MS
from surveillance_core.venues.simulated.plants import Plant, PlantKind
from surveillance_core.venues.simulated.truth import TruthLog
from surveillance_core.venues.simulated.world import World

START_MS = 1_790_000_000_000


@pytest.fixture(scope="module")
def world() -> World:
    return World(
        11, 150, kalshi_markets=150, start_ms=START_MS, events_per_second=2, plants_an_hour=60.0
    )


def _payoff(world: World, plant: Plant, atom: int) -> float:
    """What somebody gets who took every order, if this world comes true."""
    total = 0.0
    for leg in plant.legs:
        yes = atom in world.markets[leg.market].atoms
        # a bid is hit by buying No, an offer taken by buying Yes
        total += leg.size * (yes is not leg.bid)
    return total


def _cost(plant: Plant) -> float:
    return sum(
        leg.size * (1 - DOLLARS[leg.tick] if leg.bid else DOLLARS[leg.tick]) for leg in plant.legs
    )


def test_the_gain_is_the_least_over_all_worlds(world: World) -> None:
    assert len(world.plants) > 500
    for plant in world.plants:
        worlds = range(len(world.families[plant.family].weights))
        gross = min(_payoff(world, plant, atom) for atom in worlds) - _cost(plant)
        assert plant.gross_profit == pytest.approx(gross, abs=1e-5)  # pyright: ignore[reportUnknownMemberType]
        assert plant.net_profit <= plant.gross_profit
        assert plant.sound == (plant.net_profit > 0)
        assert bool(plant.reason) != plant.sound


def test_there_are_violations_and_decoys_of_every_kind(world: World) -> None:
    assert {plant.kind for plant in world.plants if plant.sound} == set(PlantKind)
    reasons = {plant.reason.partition(":")[0] for plant in world.plants}
    assert {"fees exceed the gain", "the rules differ", "the members leave a world out"} <= reasons
    across = [p for p in world.plants if p.kind is PlantKind.TWIN and p.sound]
    assert across
    for plant in across:
        assert {world.markets[leg.market].venue for leg in plant.legs} == set(Venue)


def test_no_market_is_in_two_plants_at_once(world: World) -> None:
    until: dict[int, int] = {}
    for plant in world.plants:
        for leg in plant.legs:
            assert until.get(leg.market, 0) < plant.from_ms
            until[leg.market] = plant.until_ms


def test_the_orders_stand_in_the_books_until_they_are_lifted() -> None:
    world = World(
        11, 60, kalshi_markets=60, start_ms=START_MS, events_per_second=40, plants_an_hour=60.0
    )
    log = TruthLog()
    log.watch(world)
    seen = 0
    for plant in world.plants:
        if plant.from_ms > START_MS + HOUR_MS // 2:
            break
        world.advance(plant.from_ms)
        placed = any(found.plant.number == plant.number for found in log.truth.plants)
        if not placed:
            continue
        world.advance((plant.from_ms + plant.until_ms) // 2)
        if world.now_ms >= plant.until_ms:
            continue
        for leg in plant.legs:
            image = world.image(leg.market)
            side = image.bids if leg.bid else image.asks
            assert side[-1] == (leg.tick, leg.size)
        seen += 1
    assert seen > 10


def test_planting_leaves_no_book_crossed() -> None:
    world = World(
        12, 60, kalshi_markets=60, start_ms=START_MS, events_per_second=40, plants_an_hour=120.0
    )
    for event in world.advance(START_MS + HOUR_MS // 4):
        if isinstance(event, EngineEvent) and event.bids and event.asks:
            assert event.bids[-1][0] < event.asks[-1][0]


def test_a_world_without_plants_has_none() -> None:
    assert not World(1, 10, start_ms=START_MS).plants
