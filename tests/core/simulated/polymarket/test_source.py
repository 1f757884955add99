"""What the simulated Polymarket says of a market's life, and of the pools it pays from."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from surveillance_core.markets import Venue
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.protocols import MarketListed, MarketResolved
from surveillance_core.venues.simulated.happenings import MarketAnnounced
from surveillance_core.venues.simulated.happenings import MarketResolved as Resolution
from surveillance_core.venues.simulated.makers import HOUR_MS
from surveillance_core.venues.simulated.polymarket.frames import WireFrame
from surveillance_core.venues.simulated.polymarket.source import WorldSource
from surveillance_core.venues.simulated.world import World

START_MS = 1_790_000_000_000


@pytest.fixture(scope="module")
def lived() -> tuple[World, WorldSource, list[WireFrame], list[Any]]:
    """Two hours of a world with windows that open and resolve."""
    world = World(3, 30, kalshi_markets=10, start_ms=START_MS, events_per_second=2, windows=True)
    source = WorldSource(world)
    events = world.advance(START_MS + 2 * HOUR_MS)
    return world, source, list(source.frames_of(events, world.now_ms)), list(events)


def test_listings_and_results_are_read_by_the_channel(
    lived: tuple[World, WorldSource, list[WireFrame], list[Any]],
) -> None:
    world, _, frames, events = lived
    channel = PolymarketChannel()
    found = [e for f in frames for e in channel.receive(f.text, f.due_ms * 1_000_000)]
    mine = [e for e in events if world.markets[e.market].venue is Venue.POLYMARKET]
    listed = {e.market_id for e in found if isinstance(e, MarketListed)}
    assert listed == {
        world.markets[e.market].market_id for e in mine if isinstance(e, MarketAnnounced)
    }
    assert len(listed) >= 8
    resolved = {e.market_id: e for e in found if isinstance(e, MarketResolved)}
    results = [e for e in mine if isinstance(e, Resolution)]
    assert len(results) >= 7
    for result in results:
        listing = world.markets[result.market]
        winner = {"yes": listing.yes_id, "no": listing.no_id}[result.result]
        assert resolved[listing.market_id].winning_outcome_id == winner


def test_frames_without_assets_are_for_everybody_with_custom_features(
    lived: tuple[World, WorldSource, list[WireFrame], list[Any]],
) -> None:
    _, _, frames, _ = lived
    for frame in frames:
        kind = json.loads(frame.text)["event_type"]
        assert (not frame.assets) == (kind in ("new_market", "market_resolved"))
        assert frame.custom == (kind in ("new_market", "market_resolved", "best_bid_ask"))


def test_a_resolved_market_is_closed_in_the_listing_and_has_no_book(
    lived: tuple[World, WorldSource, list[WireFrame], list[Any]],
) -> None:
    world, source, _, events = lived
    result = next(
        e
        for e in events
        if isinstance(e, Resolution) and world.markets[e.market].venue is Venue.POLYMARKET
    )
    listing, event = world.markets[result.market], world.event_of[result.market]
    assert event.event_id not in source.event_ids(closed=False)
    assert event.event_id in source.event_ids(closed=True)
    shown = cast("dict[str, Any]", source.event(event.event_id))["markets"][0]
    assert (shown["closed"], shown["acceptingOrders"]) == (True, False)
    prices = [float(price) for price in json.loads(shown["outcomePrices"])]
    assert prices == [result.value, 1 - result.value]
    assert source.rest_book(listing.yes_id) is None


def test_windows_still_to_come_are_not_listed(
    lived: tuple[World, WorldSource, list[WireFrame], list[Any]],
) -> None:
    world, source, _, _ = lived
    listed = set(source.event_ids(closed=None))
    later = [e for e in world.events if e.venue is Venue.POLYMARKET and e.listed_ms > world.now_ms]
    assert later
    assert not listed & {event.event_id for event in later}


def test_reward_pools_are_paged_to_their_end() -> None:
    world = World(3, 1_500, start_ms=START_MS)
    source = WorldSource(world)
    cursor, seen, pages = "", [], 0
    while cursor != "LTE=":
        page = cast("dict[str, Any]", source.rewards(cursor))
        seen += [row["condition_id"] for row in page["data"]]
        assert len(page["data"]) <= 500
        cursor, pages = page["next_cursor"], pages + 1
    with_pool = [m.market_id for m in world.tradable if m.rewards is not None]
    assert seen == with_pool
    assert pages == -(-len(with_pool) // 500) > 1


def test_a_fill_that_nobody_followed_is_printed_for_whoever_subscribes_in_time() -> None:
    followed: set[str] = set()
    world = World(3, 10, start_ms=START_MS, events_per_second=50, trade_share=0.3)
    source = WorldSource(world, followed.__contains__)
    fills, printed = 0, 0
    for to_ms in range(START_MS, START_MS + 20_000, 20):
        events = world.advance(to_ms)
        fills += sum(getattr(event, "trade", None) is not None for event in events)
        for frame in source.frames_of(events, to_ms):
            assert json.loads(frame.text)["event_type"] == "last_trade_price"
            printed += 1
    assert fills - 5 <= printed <= fills
    assert fills > 50
