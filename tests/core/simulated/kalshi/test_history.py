"""A recorded Kalshi history is what the client's channel reads, to the last book and print."""

from __future__ import annotations

import pytest

from surveillance_core.books import OrderBook
from surveillance_core.markets import Venue
from surveillance_core.venues.kalshi.channel import KalshiChannel
from surveillance_core.venues.protocols import AssetTerms, MarketResolved, Trade
from surveillance_core.venues.simulated.happenings import Phase
from surveillance_core.venues.simulated.kalshi.history import record_history
from surveillance_core.venues.simulated.kalshi.spelling import trade_uuid
from surveillance_core.venues.simulated.truth import TruthLog
from surveillance_core.venues.simulated.world import World

START_MS = 1_790_000_000_000


@pytest.mark.parametrize("seed", [1, 2])
def test_the_channel_ends_with_the_true_books_and_every_print(seed: int) -> None:
    world = World(
        seed, 10, kalshi_markets=40, start_ms=START_MS, events_per_second=20, windows=True,
        trade_share=0.2, plants_an_hour=30.0,
    )  # fmt: skip
    followed = [
        market
        for market in world.tradable
        if market.venue is Venue.KALSHI and world.phase(market.index) is Phase.OPEN
    ]
    channel = KalshiChannel()
    channel.follow(
        AssetTerms(market_id=m.market_id, asset_id=m.yes_id, tick=m.grid.finest) for m in followed
    )
    truth = TruthLog()
    prints: dict[str | None, int] = {}
    results: set[str] = set()
    last_ns = 0
    for recv_ns, text in record_history(world, START_MS + 20 * 60_000, truth):
        assert recv_ns > last_ns
        last_ns = recv_ns
        for event in channel.receive(text, recv_ns):
            if isinstance(event, Trade):
                prints[event.transaction_id] = prints.get(event.transaction_id, 0) + 1
            elif isinstance(event, MarketResolved):
                results.add(event.market_id)
    assert channel.sequence.gaps == channel.sequence.duplicates == 0
    assert channel.negative_levels == 0
    by_index = {market.index: market for market in followed}
    fills = {
        trade_uuid(fill.transaction_hash)
        for fill in truth.truth.trades
        if fill.market in by_index and fill.print_ms <= world.now_ms
    }
    assert len(fills) > 100
    assert prints == dict.fromkeys(fills, 1)
    assert results == {
        world.markets[m].market_id
        for m in truth.truth.results
        if world.markets[m].venue is Venue.KALSHI
    }
    assert results
    for market in followed:
        image = world.image(market.index)
        state = channel.states[market.yes_id]
        assert state.book == OrderBook(dict(image.bids), dict(image.asks))
