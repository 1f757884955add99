"""The wire: what the world does is what the protocol's own state machine reads, hash by hash."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from surveillance_core.books import OrderBook
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.polymarket.integrity import HashTerms, hash_book
from surveillance_core.venues.protocols import AssetTerms, Trade
from surveillance_core.venues.simulated.happenings import EngineEvent
from surveillance_core.venues.simulated.polymarket.frames import FrameEncoder, FrameQueue, WireFrame
from surveillance_core.venues.simulated.polymarket.history import record_history
from surveillance_core.venues.simulated.world import World

START_MS = 1_790_000_000_000


def _terms(world: World) -> list[AssetTerms]:
    return [
        AssetTerms(
            market_id=m.market_id,
            asset_id=token,
            tick=m.grid.finest,
            primary=token == m.yes_id,
            mirror_id=mirror,
            min_order_size="5",
            neg_risk=world.event_of[m.index].exclusive,
        )
        for m in world.tradable
        for token, mirror in ((m.yes_id, m.no_id), (m.no_id, m.yes_id))
    ]


def _world(seed: int, late_hash_share: float, seconds_rate: float = 200.0) -> World:
    return World(
        seed, 12, start_ms=START_MS, events_per_second=seconds_rate, trade_share=0.2,
        late_hash_share=late_hash_share,
    )  # fmt: skip


def _verify(world: World, seconds: int) -> None:
    encoder, queue, channel = FrameEncoder(world), FrameQueue(), PolymarketChannel()
    channel.follow(_terms(world))
    tokens = [terms.asset_id for terms in _terms(world)]
    channel.receive(encoder.initial_books(tokens), 0)
    prints: list[Trade] = []
    fills = 0

    def receive(frame: WireFrame) -> None:
        events = channel.receive(frame.text, frame.due_ms * 1_000_000)
        prints.extend(event for event in events if isinstance(event, Trade))

    for to_ms in range(START_MS, START_MS + seconds * 1_000):
        for event in world.advance(to_ms):
            assert isinstance(event, EngineEvent)
            for frame in queue.before(event.ts_ms):
                receive(frame)
            for frame in queue.put(encoder.encode(event), event.ts_ms):
                receive(frame)
            fills += event.trade is not None
            listing = world.markets[event.market]
            pair = [listing.yes_id, listing.no_id]
            yes, no = (channel.states[token] for token in pair)
            if not yes.opened:
                # a change of the price grid that no book followed: the client asks again
                channel.receive(encoder.initial_books(pair), to_ms * 1_000_000)
            assert yes.book == OrderBook(dict(event.bids), dict(event.asks))
            assert no.book == yes.book.mirrored()
            assert yes.ts_venue_ms == event.ts_ms
    for frame in queue.before(START_MS + seconds * 2_000):
        receive(frame)
    channel.settle(START_MS * 1_000_000)
    assert len(prints) == fills
    assert channel.crossed_at_batch_end == 0
    assert channel.hashes.due > 100
    assert channel.hashes.matched == channel.hashes.due


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_channel_verifies_every_hash(seed: int) -> None:
    _verify(_world(seed, late_hash_share=0.0), 4)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_channel_verifies_hashes_that_learn_of_the_fill_late(seed: int) -> None:
    _verify(_world(seed, late_hash_share=0.5), 4)


def test_a_fill_comes_as_changes_then_books_then_its_print() -> None:
    world = _world(4, 0.5)
    encoder = FrameEncoder(world)
    crossing = 0
    for event in world.advance(START_MS + 20_000):
        assert isinstance(event, EngineEvent)
        frames = encoder.encode(event)
        if event.trade is None:
            continue
        kinds = [json.loads(frame.text)["event_type"] for frame in frames if not frame.custom]
        assert kinds[-3:] == ["book", "book", "last_trade_price"]
        assert set(kinds[:-3]) == {"price_change"}
        books = [json.loads(frame.text) for frame in frames[-3:-1]]
        change = json.loads(next(f.text for f in frames if "price_changes" in f.text))
        hashes = {c["asset_id"]: c["hash"] for c in change["price_changes"]}
        for book in books:
            assert book["timestamp"] == change["timestamp"] == str(event.ts_ms)
            assert book["hash"] == hashes[book["asset_id"]]
            assert "tick_size" not in book
            assert "last_trade_price" not in book
        printed = json.loads(frames[-1].text)
        assert 30 <= int(printed["timestamp"]) - event.ts_ms <= 90
        assert frames[-1].due_ms == int(printed["timestamp"])
        crossing += len(event.changes) == 2
    assert crossing


def test_books_are_spelled_as_the_venue_does() -> None:
    world = _world(9, 0.0)
    world.advance(START_MS + 3_000)
    encoder = FrameEncoder(world)
    for listing in world.tradable:
        image = world.image(listing.index)
        found = json.loads(encoder.initial_books([listing.yes_id]))[0]
        prices = [float(level["price"]) for level in found["bids"]]
        assert prices == sorted(prices)
        asks = [float(level["price"]) for level in found["asks"]]
        assert asks == sorted(asks, reverse=True)
        terms = HashTerms(
            market_id=listing.market_id, asset_id=listing.yes_id, min_order_size="5",
            neg_risk=world.event_of[listing.index].exclusive, tick_size=found["tick_size"],
            last_trade_price=found["last_trade_price"],
        )  # fmt: skip
        assert found["hash"] == hash_book(terms, image.ts_ms, world.book(listing.index))
        assert not any(
            level["size"].endswith(".0") or "e" in level["size"]
            for level in found["bids"] + found["asks"]
        )


def test_history_is_ordered_and_starts_with_the_books() -> None:
    world = _world(2, 0.5)
    history = list(record_history(world, START_MS + 3_000))
    times = [recv_ns for recv_ns, _ in history]
    assert times == sorted(set(times))
    first = json.loads(history[0][1])
    assert len(first) == 2 * len(world.tradable)
    assert {message["event_type"] for message in first} == {"book"}
    kinds = {json.loads(text)["event_type"] for _, text in history[1:]}
    assert {"price_change", "book", "last_trade_price", "best_bid_ask"} <= kinds


def test_a_change_of_the_price_grid_is_announced() -> None:
    world = World(1, 200, start_ms=START_MS, events_per_second=10)
    encoder = FrameEncoder(world)
    changed = None
    while changed is None:
        for event in world.advance(world.now_ms + 60_000):
            if isinstance(event, EngineEvent) and event.old_grid is not None:
                changed = event
        assert world.now_ms < START_MS + 4 * 3_600_000
    message = json.loads(encoder.encode(changed)[0].text)
    assert message["event_type"] == "tick_size_change"
    assert (message["old_tick_size"], message["new_tick_size"]) == ("0.01", "0.001")
