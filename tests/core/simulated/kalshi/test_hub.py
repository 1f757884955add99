"""Market data judged by the client's own channel: no gap, and the world's book at every batch."""

from __future__ import annotations

import json
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.books import OrderBook
from surveillance_core.venues.protocols import (
    Doubted,
    MarketListed,
    MarketResolved,
    TickSizeChanged,
    Trade,
)
from surveillance_core.venues.simulated.kalshi.hub import emptied_after_ms
from surveillance_core.venues.simulated.kalshi.spelling import trade_uuid
from surveillance_core.venues.simulated.listings import TENTH_CENT

from .line import Floor, Line
from .stage import (
    DAY_MS,
    START_MS,
    MarketAnnounced,
    MarketOpened,
    Stage,
)

Json = dict[str, Any]
ALL = ("orderbook_delta", "trade", "ticker")


@pytest.fixture
def floor() -> Floor:
    return Floor(Stage())


def _book(stage: Stage, index: int) -> OrderBook:
    bids, asks = stage.books[index]
    return OrderBook(dict(bids), dict(asks))


def _tickers(stage: Stage) -> list[str]:
    return [market.market_id for market in stage.markets]


def test_thousands_of_events_on_two_connections_leave_no_gap() -> None:
    floor = Floor(Stage())
    stage = floor.stage
    first, second = Line(floor), Line(floor, yes_price=True)
    first.subscribe(*_tickers(stage), channels=ALL)
    second.subscribe(*_tickers(stage)[::2], use_yes_price=True, channels=ALL)
    for number in range(5_000):
        event = stage.random_batch()
        floor.hub.publish(event)
        if number % 7 == 0:
            floor.hub.release()
        for line in (first, second):
            if line is first or event.market % 2 == 0:
                assert line.book(stage.ticker(event.market)) == _book(stage, event.market)
        if number % 500 == 250:
            second.update(1, "get_snapshot", *_tickers(stage)[::2])
        if number % 500 == 400:
            second.update(1, "delete_markets", _tickers(stage)[0])
            second.update(1, "add_markets", _tickers(stage)[0])
    for line in (first, second):
        assert line.channel.sequence.gaps == line.channel.sequence.duplicates == 0
        assert line.channel.sequence.out_of_order == 0
        assert line.channel.negative_levels == 0
        assert line.channel.messages["orderbook_delta"] > 3_000
        assert line.channel.messages["trade"] > 200
        assert line.channel.tickers.compared > 5
        assert line.channel.tickers.agreed == line.channel.tickers.compared
    assert first.channel.ignored == {}


@given(
    st.lists(
        st.lists(
            st.tuples(
                st.booleans(),
                st.integers(1, 9_999),
                st.integers(0, 10**9).map(lambda hundredths: hundredths / 100),
            ),
            min_size=1,
            max_size=6,
        ),
        max_size=20,
    ),
    st.booleans(),
)
def test_books_are_the_worlds_at_every_batch_end(
    batches: list[list[tuple[bool, int, float]]], yes_price: bool
) -> None:
    floor = Floor(Stage(1))
    line = Line(floor, yes_price=yes_price)
    line.subscribe(floor.stage.ticker(0), use_yes_price=yes_price)
    for sets in batches:
        line.taken()
        floor.hub.publish(floor.stage.batch(0, *sets))
        assert line.book(floor.stage.ticker(0)) == _book(floor.stage, 0)
        assert len({frame["msg"]["ts"] for frame in line.frames}) <= 1
    assert line.channel.sequence.gaps == line.channel.negative_levels == 0
    # whoever comes later is shown the same
    later = Line(floor, yes_price=yes_price)
    later.subscribe(floor.stage.ticker(0), use_yes_price=yes_price)
    assert later.book(floor.stage.ticker(0)) == _book(floor.stage, 0)


def test_changes_are_signed_in_the_batchs_order_and_spelled_as_the_venue_does(
    floor: Floor,
) -> None:
    line = Line(floor)
    line.subscribe(floor.stage.ticker(0))
    line.taken()
    # bids from 2900 down of 10.25, 20.25, ...; asks from 3100 up of 20, 40, 60
    floor.hub.publish(floor.stage.batch(0, (False, 3_100, 0.0), (True, 2_900, 4.0)))
    gone, less = line.taken()
    assert gone["msg"]["delta_fp"] == "-20.00"
    assert (gone["msg"]["side"], gone["msg"]["price_dollars"]) == ("no", "0.6900")
    assert less["msg"]["delta_fp"] == "-6.25"
    assert (less["msg"]["side"], less["msg"]["price_dollars"]) == ("yes", "0.2900")
    assert gone["msg"]["ts"] == less["msg"]["ts"]
    assert gone["msg"]["ts"].startswith("2026-09-01T12:00:00.001")
    assert len(gone["msg"]["ts"]) == len("2026-09-01T12:00:00.001234Z")
    assert gone["msg"]["ts_ms"] == START_MS + 1
    assert list(gone) == ["type", "sid", "seq", "msg", "sending_ts_ms"]


def test_members_are_those_of_recorded_frames(floor: Floor, shared: Any) -> None:
    path = shared / "fixtures" / "kalshi" / "ws" / "real_single_frames.jsonl"
    recorded: dict[str, set[str]] = {}
    for text in path.read_text().splitlines():
        frame = json.loads(text)["frame"]
        recorded.setdefault(frame["type"], set()).update(frame["msg"])
    line = Line(floor)
    line.subscribe(floor.stage.ticker(0), channels=ALL)
    line.subscribe(channels=("market_lifecycle_v2",))
    floor.hub.publish(floor.stage.batch(0, (True, 100, 5.0), trade=floor.stage.fill(delay_ms=0)))
    floor.hub.publish(floor.stage.resolve(0, "yes", 1.0))
    seen: dict[str, set[str]] = {}
    for frame in line.frames:
        seen.setdefault(frame["type"], set()).update(frame["msg"])
    for kind in ("orderbook_snapshot", "orderbook_delta", "trade", "ticker"):
        # the flag of block trades came in August 2026, after the recording
        assert seen[kind] - {"is_block_trade"} <= recorded[kind], kind
    assert seen["orderbook_delta"] == recorded["orderbook_delta"]
    assert seen["market_lifecycle_v2"] <= recorded["market_lifecycle_v2"]


def test_a_print_comes_when_it_is_due_with_the_takers_side_three_times(floor: Floor) -> None:
    line = Line(floor)
    line.subscribe(floor.stage.ticker(0), channels=("trade",))
    fill = floor.stage.fill(price=3_100, size=2.5, delay_ms=60)
    floor.hub.publish(floor.stage.batch(0, (True, 100, 5.0), trade=fill))
    floor.stage.now_ms = fill.print_ms - 1
    floor.hub.release()
    assert line.events == []
    floor.stage.now_ms = fill.print_ms
    floor.hub.release()
    (trade,) = line.events
    assert isinstance(trade, Trade)
    assert (trade.price, trade.size, trade.taker_side) == (3_100, 2.5, fill.side)
    assert trade.ts_venue_ms == fill.print_ms
    assert trade.transaction_id == trade_uuid(fill.transaction_hash)
    message = line.frames[-1]["msg"]
    assert (message["yes_price_dollars"], message["no_price_dollars"]) == ("0.3100", "0.6900")
    assert message["count_fp"] == "2.50"
    assert (message["taker_side"] == "yes") == (message["taker_book_side"] == "bid")


def test_a_subscription_of_no_market_hears_every_trade_and_ticker(floor: Floor) -> None:
    line = Line(floor)
    line.subscribe(channels=("trade", "ticker"))
    for index in (0, 5):
        fill = floor.stage.fill(delay_ms=0)
        floor.hub.publish(floor.stage.batch(index, (True, 2_950, 5.0), trade=fill))
    floor.hub.release()
    heard = [(f["type"], f["msg"]["market_ticker"]) for f in line.frames[2:]]
    for index in (0, 5):
        ticker = floor.stage.ticker(index)
        assert heard.count(("trade", ticker)) == 1
        assert heard.count(("ticker", ticker)) == 1


def test_a_ticker_comes_at_most_once_a_second_and_states_what_is_missing(floor: Floor) -> None:
    line = Line(floor)
    line.subscribe(floor.stage.ticker(0), channels=("ticker",))
    line.taken()
    sides = [(bid, t, 0.0) for bid in (True, False) for t in floor.stage.books[0][not bid]]
    for number in range(50):
        floor.hub.publish(floor.stage.batch(0, (True, 100 + number, 5.0), (True, 4_000, 1.0)))
        floor.hub.publish(floor.stage.batch(0, (True, 100 + number, 0.0), (True, 4_000, 0.0)))
    floor.hub.publish(floor.stage.batch(0, *sides))
    assert len(line.taken()) == 1
    floor.stage.now_ms += 1_000
    floor.hub.release()
    (ticker,) = line.taken()
    assert "seq" not in ticker
    message = ticker["msg"]
    assert (message["yes_bid_dollars"], message["yes_ask_dollars"]) == ("0.0000", "1.0000")
    assert (message["yes_bid_size_fp"], message["yes_ask_size_fp"]) == ("0.00", "0.00")
    assert message["price_dollars"] == "0.0000"


def test_an_empty_snapshot_comes_unasked_after_the_close(floor: Floor) -> None:
    line = Line(floor)
    stage, ticker = floor.stage, floor.stage.ticker(1)
    line.subscribe(ticker)
    line.taken()
    close = stage.close(1, START_MS + DAY_MS)
    floor.hub.publish(close)
    assert line.taken() == []
    stage.now_ms = close.ts_ms + emptied_after_ms(ticker)
    floor.hub.release()
    (empty,) = line.taken()
    assert (empty["type"], empty["sid"], empty["seq"]) == ("orderbook_snapshot", 1, 2)
    assert set(empty["msg"]) == {"market_ticker", "market_id"}
    assert line.book(ticker) == OrderBook({}, {})
    assert line.channel.ignored == {"book_emptied_by_venue": 1}
    assert "yes_dollars_fp" not in line.update(1, "get_snapshot", ticker)[0]["msg"]


def test_a_book_that_was_emptied_by_changes_gets_its_empty_snapshot_too(floor: Floor) -> None:
    # as recorded: the last orders went at the quarter hour, the snapshot came 5.6 s later
    line = Line(floor)
    stage, ticker = floor.stage, floor.stage.ticker(1)
    line.subscribe(ticker)
    sides = [(bid, t, 0.0) for bid in (True, False) for t in stage.books[1][not bid]]
    floor.hub.publish(stage.batch(1, *sides))
    floor.hub.publish(stage.close(1, START_MS + DAY_MS))
    stage.now_ms += 25_000
    floor.hub.release()
    assert line.frames[-1]["type"] == "orderbook_snapshot"
    assert line.channel.ignored == {}
    assert line.channel.sequence.gaps == 0


def test_books_are_taken_down_half_a_second_to_25_after_the_close() -> None:
    waits = [emptied_after_ms(f"KXDAY-{n}") for n in range(2_000)]
    assert min(waits) >= 500
    assert max(waits) <= 25_000
    assert 5_000 < median(waits) < 8_000


def test_a_life_is_told_as_the_venue_tells_it() -> None:
    floor = Floor(Stage(1))
    stage = floor.stage
    line = Line(floor)
    line.subscribe(channels=("market_lifecycle_v2",))
    event = stage.add_event(9, phase="upcoming", listed_ms=START_MS + 10)
    market = event.markets[1]
    stage.now_ms = START_MS + 10
    floor.hub.publish(MarketAnnounced(market.index, stage.now_ms))
    stage.phases[market.index] = "open"
    floor.hub.publish(MarketOpened(market.index, stage.now_ms))
    floor.hub.publish(stage.regrid(market.index, TENTH_CENT))
    floor.hub.publish(stage.close(market.index, START_MS + 60_000))
    floor.hub.publish(stage.resolve(market.index, "scalar", 0.375))
    stage.now_ms += 3_600_000
    floor.hub.release()
    told = [frame["msg"] for frame in line.frames if frame["type"] == "market_lifecycle_v2"]
    assert [m["event_type"] for m in told] == [
        "created",
        "price_level_structure_updated",
        "close_date_updated",
        "determined",
        "settled",
    ]
    created, regrid, moved, determined, settled = told
    assert created["additional_metadata"]["event_ticker"] == "KXDAY-9"
    assert created["additional_metadata"]["strike_type"] == "functional"
    assert created["price_ranges"][0] == {"start": "0.0000", "end": "1.0000", "step": "0.0010"}
    assert regrid["price_ranges"] == [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}]
    assert moved["close_ts"] == START_MS // 1000 + 60
    assert (determined["result"], determined["settlement_value"]) == ("scalar", "0.3750")
    # as many seconds after determination as the market's timer says
    assert settled["settled_ts"] - determined["determination_ts"] in (60, 300, 1_800)
    assert [f["type"] for f in line.frames].count("event_lifecycle") == 1
    assert [f["seq"] for f in line.frames[1:]] == list(range(1, 7))
    assert line.channel.sequence.gaps == 0
    listed = line.events[0]
    assert isinstance(listed, MarketListed)
    resolved = [event for event in line.events if isinstance(event, MarketResolved)]
    assert [event.winning_outcome_id for event in resolved] == [None]


def test_a_finer_grid_is_told_to_the_channel(floor: Floor) -> None:
    line = Line(floor)
    line.channel.states[floor.stage.ticker(0)].tick = 100
    line.subscribe(channels=("market_lifecycle_v2",))
    floor.hub.publish(floor.stage.regrid(0, TENTH_CENT))
    ticker = floor.stage.ticker(0)
    assert line.events == [TickSizeChanged(ticker, ticker, 100, 10, None)]


@pytest.mark.parametrize("batch_first", [True, False])
def test_who_waited_for_the_opening_gets_the_first_orders_as_changes(batch_first: bool) -> None:
    floor = Floor(Stage(1))
    stage = floor.stage
    market = stage.add_event(9, phase="upcoming").markets[0]
    waiting, late = Line(floor), Line(floor)
    assert set(waiting.subscribe(market.market_id)[1]["msg"]) == {"market_ticker", "market_id"}
    stage.phases[market.index] = "open"
    floor.hub.publish(MarketOpened(market.index, stage.now_ms))
    late.subscribe(market.market_id)
    if batch_first:
        floor.hub.publish(stage.batch(market.index, (True, 100, 1.0), (False, 9_900, 2.0)))
    floor.hub.release()
    for line in (waiting, late):
        assert line.book(market.market_id) == _book(stage, market.index)
        assert line.channel.sequence.gaps == 0
    assert waiting.channel.messages["orderbook_snapshot"] == 1


def test_a_snapshot_never_runs_ahead_of_what_is_published(floor: Floor) -> None:
    line = Line(floor)
    stage, ticker = floor.stage, floor.stage.ticker(0)
    floor.hub.publish(stage.batch(0, (True, 100, 1.0)))
    ahead = [stage.batch(0, (True, 200 + n, 3.0)) for n in range(3)]
    line.subscribe(ticker)
    for event in ahead:
        floor.hub.publish(event)
    assert line.book(ticker) == _book(stage, 0)
    assert not [event for event in line.events if isinstance(event, Doubted)]


def test_combinations_are_quoted_and_never_change(floor: Floor) -> None:
    line = Line(floor)
    combo = floor.answers.markets({"limit": "1"}).body["markets"][0]["ticker"]
    assert combo.startswith("KXMVE")
    book = line.subscribe(combo)[1]["msg"]
    assert "yes_dollars_fp" not in book
    assert len(book["no_dollars_fp"]) == 1
