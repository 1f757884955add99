"""The market data: signed changes, numbered streams, prints, eras, and whatever else can come."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.books import BookState, OrderBook, Trust, seen_tick
from surveillance_core.venues.kalshi.channel import KalshiChannel
from surveillance_core.venues.kalshi.spelling import venue_ms
from surveillance_core.venues.protocols import (
    LATEST_MS,
    AssetTerms,
    ChannelEvent,
    Doubted,
    MarketChannel,
    MarketListed,
    MarketResolved,
    Opened,
    Rejected,
    SettledReader,
    Side,
    Status,
    StatusChanged,
    TickSizeChanged,
    Trade,
)
from surveillance_core.venues.recent import REMEMBERED

Json = dict[str, Any]
T0 = 1_788_264_000_000


def _terms(ticker: str) -> AssetTerms:
    return AssetTerms(market_id=ticker, asset_id=ticker, tick=100, mirror_id=f"{ticker}:no")


class Line:
    """A connection of two markets: what it sends is numbered and received."""

    def __init__(self, *, announce: bool = True, **options: Any) -> None:
        self.channel = KalshiChannel(**options)
        self.channel.follow([_terms("A"), _terms("B")])
        self.now_ns = T0 * 1_000_000
        self.seq = 0
        if announce:
            self.send(
                {"type": "subscribed", "id": 1, "msg": {"channel": "orderbook_delta", "sid": 1}}
            )

    def send(self, *frames: object) -> list[ChannelEvent]:
        events: list[ChannelEvent] = []
        for frame in frames:
            self.now_ns += 1_000_000_000
            text = frame if isinstance(frame, str | bytes) else json.dumps(frame)
            events += self.channel.receive(text, self.now_ns)
        return events

    def send_long_way(self, frame: Json) -> list[ChannelEvent]:
        """As ``send``, with the change read by the decoder of every type and spelling."""
        self.now_ns += 1_000_000_000
        return list(self.channel._receive_unread(json.dumps(frame), self.now_ns))  # pyright: ignore[reportPrivateUsage]

    def numbered(self, kind: str, **body: object) -> Json:
        self.seq += 1
        return {"type": kind, "sid": 1, "seq": self.seq, "msg": body}

    def book(self, ticker: str = "A", **levels: object) -> Json:
        return self.numbered("orderbook_snapshot", market_ticker=ticker, market_id="", **levels)

    def change(self, side: str, price: str, delta: str, ticker: str = "A", **more: object) -> Json:
        return self.numbered(
            "orderbook_delta", market_ticker=ticker, price_dollars=price, delta_fp=delta, side=side,
            **more,
        )  # fmt: skip

    def open(self) -> None:
        levels = {"yes_dollars_fp": [["0.4800", "10.00"]], "no_dollars_fp": [["0.5000", "7.50"]]}
        assert self.send(self.book("A", **levels), self.book("B", **levels)) == [
            Opened("A"), Opened("B"),
        ]  # fmt: skip

    def state(self, ticker: str = "A") -> BookState:
        return self.channel.states[ticker]


@pytest.fixture
def line() -> Line:
    opened = Line()
    opened.open()
    return opened


def _kinds(events: Sequence[ChannelEvent]) -> list[type]:
    return [type(event) for event in events]


def test_it_is_a_market_channel() -> None:
    channel: MarketChannel = KalshiChannel()
    assert channel.settle(0) == ()


# ── books ────────────────────────────────────────────────────────────────────────────────────


def test_bids_of_no_are_asks_of_yes(line: Line) -> None:
    assert line.state().book == OrderBook({4800: 10.0}, {5000: 7.5})
    assert line.state().trust is Trust.VERIFIED
    assert line.state().seq == 1


def test_changes_are_signed_and_an_emptied_level_vanishes(line: Line) -> None:
    line.send(
        line.change("yes", "0.4800", "0.10"),
        line.change("yes", "0.4800", "0.20"),
        line.change("no", "0.4990", "3.00", ts_ms=T0),
        line.change("yes", "0.4800", "-10.30"),
    )
    assert line.state().book == OrderBook({}, {5000: 7.5, 5010: 3.0})
    assert line.state().seq == line.seq
    assert line.state("B").book == OrderBook({4800: 10.0}, {5000: 7.5})


def test_levels_of_no_at_yes_prices_are_not_mirrored() -> None:
    line = Line(use_yes_price=True)
    line.send(line.book(no_dollars_fp=[["0.5200", "1.00"]]), line.change("no", "0.5300", "2.00"))
    assert line.state().book.asks == {5200: 1.0, 5300: 2.0}


@pytest.mark.parametrize(
    "levels",
    [
        {"yes": [[8, 300]], "no": [[54, 20]]},
        {"yes": [[8, 1]], "yes_dollars": [["0.080", 300]], "no_dollars": [["0.540", 20]]},
        {
            "yes": [[1, 1]],
            "yes_dollars_fp": [["0.0800", "300.00"]],
            "no_dollars_fp": [["0.5400", "20"]],
        },
    ],
)
def test_every_era_of_a_book_is_read(levels: Json) -> None:
    line = Line()
    line.send(line.book(**levels))
    assert line.state().book == OrderBook({800: 300.0}, {4600: 20.0})


def test_a_snapshots_only_time_is_when_it_was_sent() -> None:
    line = Line()
    line.send(line.book("A") | {"sending_ts_ms": T0 + 7, "id": 4}, line.book("B"))
    assert line.state("A").ts_venue_ms == T0 + 7
    assert line.state("B").ts_venue_ms is None
    change = line.change("yes", "0.4700", "1.00", ts="2026-09-01T12:00:00.008001Z", ts_ms=T0 + 8)
    line.send(change | {"sending_ts_ms": T0 + 9})
    assert line.state("A").ts_venue_ms == T0 + 8, "a change has the engine's own time"
    line.send(line.book("B") | {"sending_ts_ms": -1})
    assert line.state("B").ts_venue_ms is None


def test_every_era_of_a_change_is_read(line: Line) -> None:
    line.send(
        line.numbered("orderbook_delta", market_ticker="A", side="yes", price=47, delta=5),
        line.numbered(
            "orderbook_delta", market_ticker="A", side="yes", price=47, price_dollars="0.470",
            delta=-2, delta_fp="-2.50",
        ),
    )  # fmt: skip
    assert line.state().book.bids == {4800: 10.0, 4700: 2.5}


def test_a_book_without_levels_is_empty_and_one_in_a_new_spelling_is_not() -> None:
    line = Line()
    assert line.send(line.book()) == [Opened("A")]
    assert line.state().book == OrderBook()
    events = line.send(line.book("B", yes_levels=[["0.5", "1"]]))
    assert _kinds(events) == [Rejected, Doubted]
    assert not line.state("B").opened


def test_the_empty_book_at_the_close_empties_and_is_no_doubt(line: Line) -> None:
    assert line.send(line.book()) == []
    assert line.state().book == OrderBook()
    assert line.state().opened
    assert line.state().trust is Trust.VERIFIED
    assert line.channel.ignored["book_emptied_by_venue"] == 1


def test_a_whole_book_that_differs_proves_the_old_one_wrong(line: Line) -> None:
    proved = line.now_ns - 1_000_000_000
    line.send(line.change("yes", "0.4700", "1.00"))
    events = line.send(line.book(yes_dollars_fp=[["0.4800", "10.00"]]))
    assert events == [Doubted("A", "checkpoint_mismatch", proved), Opened("A")]
    assert line.state().book == OrderBook({4800: 10.0})
    assert line.send(line.book(yes_dollars_fp=[["0.4800", "10.00"]])) == []


def test_a_level_below_nothing_closes_the_book(line: Line) -> None:
    events = line.send(line.change("yes", "0.4800", "-10.01"))
    assert [(e.asset_id, e.cause) for e in events if isinstance(e, Doubted)] == [
        ("A", "negative_level")
    ]
    assert line.channel.negative_levels == 1
    assert not line.state().opened
    assert line.state().trust is Trust.DIVERGED
    assert line.send(line.change("yes", "0.4800", "-99.00")) == []
    assert line.channel.negative_levels == 1, "counted once: the rest is known to be wrong"
    assert line.send(line.book()) == [Opened("A")]


def test_a_cross_inside_one_engine_event_is_not_counted(line: Line) -> None:
    first, second = "2026-05-11T05:38:14.130090Z", "2026-05-11T05:38:14.130300Z"
    line.send(
        line.change("yes", "0.5000", "1.00", ts=first),
        line.change("no", "0.5000", "-7.50", ts=first),
        line.change("yes", "0.4700", "1.00", ts=second),
    )
    assert line.channel.crossed_at_batch_end == 0
    line.send(line.change("no", "0.5300", "1.00", ts=second))
    line.channel.settle(line.now_ns)
    assert line.channel.crossed_at_batch_end == 1


def test_a_waiting_reader_gets_the_book_before_the_next_engine_event() -> None:
    read: list[dict[int, float]] = []
    line = Line(on_settled=lambda state, _: read.append(dict(state.book.bids)))
    line.open()
    line.send(line.change("yes", "0.4700", "1.00", ts="2026-05-11T05:38:14.1Z"))
    line.state().read_when_settled = True
    line.send(line.change("yes", "0.4600", "1.00", ts="2026-05-11T05:38:14.1Z"))
    assert read == []
    line.send(line.change("yes", "0.4500", "1.00", ts="2026-05-11T05:38:14.2Z"))
    assert read == [{4800: 10.0, 4700: 1.0, 4600: 1.0}]


# ── streams ──────────────────────────────────────────────────────────────────────────────────


def test_a_hole_takes_every_book_of_the_stream_down_until_its_next_one(line: Line) -> None:
    line.send(line.change("yes", "0.4700", "1.00"))
    heard = line.now_ns
    line.seq += 1
    events = line.send(line.change("yes", "0.4600", "1.00"))
    assert events == [Doubted("A", "sequence_gap", heard), Doubted("B", "sequence_gap", heard)]
    assert (line.channel.sequence.gaps, line.channel.sequence.lost) == (1, 1)
    assert line.send(line.book("B")) == [Opened("B")]
    assert line.state("B").trust is Trust.VERIFIED
    assert line.state("A").trust is Trust.DIVERGED
    assert line.send(line.change("yes", "0.4500", "1.00")) == []
    assert line.channel.ignored["change_before_book"] == 2


def test_a_lost_first_book_is_found() -> None:
    line = Line()
    line.book("A")
    events = line.send(line.book("B"))
    assert [type(event) for event in events] == [Doubted, Doubted, Opened]


def test_repeats_and_late_frames_are_counted_and_left(line: Line) -> None:
    change = line.change("yes", "0.4800", "1.00")
    late = line.change("yes", "0.4800", "5.00")
    line.send(change, change)
    assert line.state().book.bids == {4800: 11.0}
    line.send(line.book("A"), late)
    assert line.state().book == OrderBook()
    assert line.channel.ignored["sequence_duplicate"] == 1
    assert line.channel.ignored["sequence_out_of_order"] == 1


def test_replies_take_numbers_and_announcements_do_not(line: Line) -> None:
    frames = [
        {
            "type": "ok",
            "id": 2,
            "sid": 1,
            "seq": line.seq + 1,
            "msg": {"market_tickers": ["A", "B"]},
        },
        {"type": "error", "id": 3, "sid": 1, "seq": line.seq + 2, "msg": {"code": 13, "msg": "no"}},
        {"type": "ok", "id": 3, "msg": [{"channel": "orderbook_delta", "sid": 1}]},
        {"type": "subscribed", "id": 4, "msg": {"channel": "trade", "sid": 2}},
        {"type": "new_thing", "sid": 1, "seq": line.seq + 3, "msg": {}},
        {"type": "event_fee_update", "sid": 1, "seq": line.seq + 4, "msg": {}},
    ]
    events = line.send(*frames)
    assert [(e.reason, e.detail) for e in events if isinstance(e, Rejected)] == [
        ("unknown_type", "new_thing")
    ]
    line.seq += 4
    assert line.send(line.change("yes", "0.4700", "1.00")) == []
    assert line.channel.sequence.gaps == 0
    assert line.channel.ignored["error_13"] == 1
    assert line.channel.messages["new_thing"] == 1


def test_streams_are_judged_apart(line: Line) -> None:
    line.send({"type": "subscribed", "id": 1, "msg": {"channel": "trade", "sid": 2}})
    trade = {"type": "trade", "sid": 2, "seq": 5, "msg": _print("x")}
    events = line.send(trade)
    assert _kinds(events) == [Trade], "a lost print makes no book wrong"
    assert line.channel.sequence.gaps == 1
    assert line.state().opened


def test_a_stream_that_ends_takes_its_books_with_it(line: Line) -> None:
    events = line.send({"type": "unsubscribed", "id": 9, "sid": 1, "seq": line.seq + 1})
    assert [e.cause for e in events if isinstance(e, Doubted)] == ["unsubscribed"] * 2
    line.send({"type": "subscribed", "id": 10, "msg": {"channel": "orderbook_delta", "sid": 3}})
    again = {"type": "orderbook_snapshot", "sid": 3, "seq": 1, "msg": {"market_ticker": "A"}}
    assert line.send(again) == [Opened("A")]
    assert line.channel.sequence.gaps == 0


def test_a_market_off_the_list_is_no_longer_trusted(line: Line) -> None:
    events = line.send(line.numbered("ok", market_tickers=["B"]))
    assert [(e.asset_id, e.cause) for e in events if isinstance(e, Doubted)] == [
        ("A", "not_subscribed")
    ]


@pytest.mark.parametrize(("code", "cause"), [(10, "channel_error"), (25, "buffer_overflow")])
def test_a_terminal_error_is_a_doubt(line: Line, code: int, cause: str) -> None:
    events = line.send({"type": "error", "msg": {"code": code, "msg": "bye"}})
    assert [e.cause for e in events if isinstance(e, Doubted)] == [cause] * 2


def test_commands_follow_what_the_venue_announced(line: Line) -> None:
    (asked,) = map(json.loads, line.channel.commands.resync(["A"]))
    assert asked["params"] == {"sids": [1], "market_tickers": ["A"], "action": "get_snapshot"}
    line.channel.forget(["A", "A:no"])
    (gone,) = map(json.loads, line.channel.commands.unsubscribe(["A", "A:no"]))
    assert gone["params"]["action"] == "delete_markets"
    assert gone["id"] > asked["id"]
    line.send(line.change("yes", "0.4700", "1.00"))
    assert line.channel.ignored["asset_not_followed"] == 1


# ── prints and the rest ──────────────────────────────────────────────────────────────────────


def _print(trade_id: str, **members: object) -> Json:
    body: Json = {
        "trade_id": trade_id, "market_ticker": "A", "yes_price_dollars": "0.3600",
        "no_price_dollars": "0.6400", "count_fp": "1.50", "taker_outcome_side": "no",
        "taker_book_side": "ask", "taker_side": "no", "ts": T0 // 1000, "ts_ms": T0,
    }  # fmt: skip
    return {name: value for name, value in (body | members).items() if value is not ...}


def _trade(line: Line, trade_id: str, **members: object) -> list[ChannelEvent]:
    return line.send({"type": "trade", "sid": 2, "msg": _print(trade_id, **members)})


def test_a_print_is_told_in_terms_of_yes(line: Line) -> None:
    assert _trade(line, "t1") == [
        Trade(
            market_id="A", outcome_id="A", price=3600, size=1.5, taker_side=Side.SELL,
            printed_outcome_id="A:no", printed_price=6400, ts_venue_ms=T0, transaction_id="t1",
            fee_rate_bps=None,
        )
    ]  # fmt: skip
    assert _trade(line, "t1") == []
    assert line.channel.ignored["repeated_trade"] == 1


@pytest.mark.parametrize(
    ("members", "side"),
    [
        ({"taker_outcome_side": "yes", "taker_side": "no"}, Side.BUY),
        ({"taker_outcome_side": ..., "taker_book_side": "bid"}, Side.BUY),
        ({"taker_outcome_side": ..., "taker_book_side": ...}, Side.SELL),
        ({"taker_outcome_side": ..., "taker_book_side": ..., "taker_side": ...}, None),
    ],
)
def test_the_taker_is_the_venues_own(line: Line, members: Json, side: Side | None) -> None:
    (trade,) = _trade(line, "t", **members)
    assert isinstance(trade, Trade)
    assert trade.taker_side is side


def test_a_print_of_the_old_era_is_read(line: Line) -> None:
    old = {
        "yes_price_dollars": ..., "no_price_dollars": ..., "count_fp": ..., "ts_ms": ...,
        "yes_price": 36, "no_price": 64, "count": 2,
    }  # fmt: skip
    (trade,) = _trade(line, "t", **old)
    assert isinstance(trade, Trade)
    assert (trade.price, trade.size, trade.ts_venue_ms) == (3600, 2.0, T0)
    (trade,) = _trade(line, "u", **old, is_block_trade=True)
    assert line.channel.ignored["block_trade"] == 1
    assert _kinds(_trade(line, "v", count_fp="0.00")) == [Rejected]
    assert _kinds(_trade(line, "w", yes_price_dollars="2", no_price_dollars=...)) == [Rejected]


def test_repeats_are_remembered_within_bounds(line: Line) -> None:
    for number in range(2 * REMEMBERED + 1):
        _trade(line, str(number))
    assert _kinds(_trade(line, "0")) == [Trade]
    assert _trade(line, str(2 * REMEMBERED)) == []
    assert _trade(line, str(REMEMBERED + 2)) == []


def test_the_ticker_is_a_witness_only(line: Line) -> None:
    top = {"market_ticker": "A", "yes_bid_dollars": "0.4800", "yes_ask_dollars": "0.5000"}
    for more in ({"yes_bid_size_fp": "10.00"}, {"yes_bid_size_fp": "11.00"}, {}):
        assert line.send({"type": "ticker", "sid": 9, "msg": top | more}) == []
    assert (line.channel.tickers.compared, line.channel.tickers.agreed) == (3, 2)
    line.send(line.book(), {"type": "ticker", "sid": 9, "msg": {
        "market_ticker": "A", "yes_bid_dollars": "0.0000", "yes_ask_dollars": "1.0000",
        "yes_bid_size_fp": "0.00",
    }})  # fmt: skip
    assert line.channel.tickers.agreed == 3


def test_a_new_grid_is_an_event_and_keeps_the_book(line: Line) -> None:
    body = {
        "market_ticker": "A", "event_type": "price_level_structure_updated",
        "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}],
    }  # fmt: skip
    frame = {"type": "market_lifecycle_v2", "sid": 5, "msg": body}
    assert line.send(frame) == [TickSizeChanged("A", "A", 100, 10, None)]
    assert line.send(frame) == []
    assert line.state().tick == 10
    assert line.state().opened


def test_a_grid_is_told_of_whoever_follows_and_taken_from_whoever_was_told(line: Line) -> None:
    def told(ticker: str, step: str) -> list[ChannelEvent]:
        body = {
            "market_ticker": ticker, "event_type": "price_level_structure_updated",
            "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": step}],
        }  # fmt: skip
        return line.send({"type": "market_lifecycle_v2", "sid": 5, "msg": body})

    assert told("Z", "0.0010") == [TickSizeChanged("Z", "Z", None, 10, None)]
    line.channel.regrid("Z", 10)
    line.channel.regrid("A", 10)
    assert (line.state("A").tick, line.state("B").tick) == (10, 100)
    assert told("A", "0.0010") == [], "it is no news here any more"


def test_what_else_happens_to_a_market_is_a_status_whoever_follows(line: Line) -> None:
    def happened(event_type: str, **members: object) -> list[ChannelEvent]:
        body = {"market_ticker": "Z", "event_type": event_type} | members
        return line.send({"type": "market_lifecycle_v2", "sid": 5, "msg": body})

    assert happened("activated", is_deactivated=False) == [
        StatusChanged("Z", Status.ACTIVATED, None, None)
    ]
    assert happened("deactivated", is_deactivated=True) == [
        StatusChanged("Z", Status.DEACTIVATED, None, None)
    ]
    assert happened("settled", settled_ts=T0 // 1000) == [
        StatusChanged("Z", Status.SETTLED, None, T0)
    ]
    assert happened("close_date_updated", close_ts=T0 // 1000) == [
        StatusChanged("Z", Status.CLOSE_DATE_UPDATED, "2026-09-01T12:00:00+00:00", None)
    ]
    assert happened("close_date_updated", close_ts=10**18) == [
        StatusChanged("Z", Status.CLOSE_DATE_UPDATED, None, None)
    ]
    assert happened("metadata_updated") == happened("invented") == []
    assert line.channel.ignored["lifecycle_not_kept"] == 2


def test_the_grid_is_the_finest_of_a_tapered_one_and_prices_on_it_are_taken(line: Line) -> None:
    def ranges(*steps: str) -> list[ChannelEvent]:
        body = {
            "market_ticker": "A", "event_type": "price_level_structure_updated",
            "price_ranges": [{"start": "0", "end": "1", "step": step} for step in steps],
        }  # fmt: skip
        return line.send({"type": "market_lifecycle_v2", "sid": 5, "msg": body})

    assert ranges("0.0010", "0.0100", "0.0001") == [TickSizeChanged("A", "A", 100, 1, None)]
    assert line.send(line.change("yes", "0.4801", "2.00"), line.change("no", "0.0001", "3")) == []
    assert line.state().book == OrderBook({4800: 10.0, 4801: 2.0}, {5000: 7.5, 9999: 3.0})
    assert ranges("0.0100") == [TickSizeChanged("A", "A", 1, 100, None)]
    for malformed in ((), ("0",), ("0.0100", "fine")):
        assert _kinds(ranges(*malformed)) == [Rejected]
    assert (line.state().tick, line.state().opened) == (100, True)
    assert line.state("B").tick == 100


def test_listings_and_results_are_events_whoever_follows(line: Line) -> None:
    def happened(event_type: str, **members: object) -> list[ChannelEvent]:
        body = {"market_ticker": "Z", "event_type": event_type} | members
        return line.send({"type": "market_lifecycle_v2", "sid": 5, "msg": body})

    listed = happened("created", open_ts=1, additional_metadata={"title": "Will it rain?"})
    assert listed == [MarketListed("Z", "Will it rain?", None)]
    determined = {"determination_ts": T0 // 1000, "settlement_value": "0.0000"}
    assert [
        happened("determined", result=result, **determined) for result in ("yes", "no", "scalar")
    ] == [
        [MarketResolved("Z", "Z", "Yes", T0)],
        [MarketResolved("Z", "Z:no", "No", T0)],
        [MarketResolved("Z", None, "scalar", T0)],
    ]


# ── invariants ───────────────────────────────────────────────────────────────────────────────

LEVELS = st.tuples(st.sampled_from(["yes", "no"]), st.integers(1, 9999))
SIZES = st.integers(0, 10**9).map(lambda hundredths: Decimal(hundredths) / 100)


@given(st.lists(st.tuples(LEVELS, SIZES), min_size=1, max_size=40))
def test_signed_changes_make_the_book_that_is_true(wanted: list[tuple[Any, Decimal]]) -> None:
    line = Line()
    line.send(line.book())
    truth: dict[tuple[str, int], Decimal] = {}
    for (side, tick), size in wanted:
        delta = size - truth.get((side, tick), Decimal(0))
        truth[side, tick] = size
        line.send(line.change(side, f"{tick / 10_000:.4f}", f"{delta:.2f}"))
    book = line.state().book
    assert book.bids == {t: float(s) for (side, t), s in truth.items() if s and side == "yes"}
    assert book.asks == {
        10_000 - t: float(s) for (side, t), s in truth.items() if s and side == "no"
    }
    assert line.channel.negative_levels == 0


def test_changes_in_todays_spelling_take_the_short_way() -> None:
    line = Line()
    line.open()
    stamp = {"ts": "2026-05-11T05:38:14.1Z"}
    line.send(line.change("yes", "0.4800", "1.00", **stamp))  # a spelling that no price has had yet
    before = line.channel._sequence.unobserved  # pyright: ignore[reportPrivateUsage]
    for side in ("yes", "no"):
        line.send(line.change(side, "0.4800", "1.00", **stamp))
    assert line.channel._sequence.unobserved == before + 2  # pyright: ignore[reportPrivateUsage]


def test_the_short_way_ends_an_engine_event_for_a_reader_and_for_the_judge() -> None:
    for price in ("0.4000", "0.4800", "0.7000"):
        seen_tick(price)
    read: list[tuple[int, dict[int, float]]] = []
    line = Line(on_settled=lambda state, _: read.append((state.seq, dict(state.book.bids))))
    line.open()
    stamps = (f"2026-05-11T05:38:14.{tenth}Z" for tenth in range(1, 9))
    line.send(line.change("yes", "0.4800", "1.00", ts=next(stamps)))
    state = line.state()
    waited_for = (state.seq, dict(state.book.bids))
    state.read_when_settled = True
    line.send(line.change("no", "0.4000", "1.00", ts=next(stamps)))
    assert read == [waited_for]
    state.read_when_settled = False

    line.send(line.change("yes", "0.7000", "1.00", ts=next(stamps)))
    assert line.channel.crossed_at_batch_end == 0
    line.send(line.change("yes", "0.7000", "-1.00", ts=next(stamps)))
    assert line.channel.crossed_at_batch_end == 1
    line.send(line.change("yes", "0.4800", "1.00", ts=next(stamps)))
    assert line.channel.crossed_at_batch_end == 1
    assert line.channel._sequence.unobserved == 5  # pyright: ignore[reportPrivateUsage]


PLAIN = st.tuples(
    st.sampled_from("ABZ"),
    st.sampled_from(["yes", "no"]),
    st.sampled_from(["0.4800", "0.4900", "0.50", ".51", "0.5200", "0.00005", "2"]),
    st.sampled_from(["1.00", "-1.00", "2.5", "-7.50", "0.00", "0.00001", "nan", "1e12", "10.01"]),
    st.sampled_from(["2026-05-11T05:38:14.1Z", "2026-05-11T05:38:14.2Z"]),
    st.sampled_from([T0, T0 + 1, -1, 1 << 60]),
    st.sampled_from([0, 0, 0, 0, 0, 1, -1]),
)


@given(st.lists(PLAIN, max_size=40), st.booleans())
def test_the_short_way_of_a_change_and_the_long_one_are_the_same(
    changes: list[tuple[str, str, str, str, str, int, int]], use_yes_price: bool
) -> None:
    read: list[list[tuple[int, int, dict[int, float], dict[int, float]]]] = [[], []]

    def reader(which: int) -> SettledReader:
        return lambda state, now_ns: read[which].append(
            (now_ns, state.seq, dict(state.book.bids), dict(state.book.asks))
        )

    short = Line(use_yes_price=use_yes_price, on_settled=reader(0))
    long = Line(use_yes_price=use_yes_price, on_settled=reader(1))
    for line in (short, long):
        line.open()
    for number, (ticker, side, price, delta, ts, ts_ms, skip) in enumerate(changes):
        short.seq += skip
        frame = short.change(side, price, delta, ticker, ts=ts, ts_ms=ts_ms)
        long.now_ns = short.now_ns
        if number % 3 == 0:
            for line in (short, long):
                line.state("A").read_when_settled = True
        assert short.send(frame) == long.send_long_way(frame)
        assert read[0] == read[1]
    for line in (short, long):
        line.channel.settle(line.now_ns)
    for name in ("A", "B"):
        one, other = short.state(name), long.state(name)
        slots = (slot for kind in type(one).__mro__ for slot in getattr(kind, "__slots__", ()))
        public = {slot for slot in slots if not slot.startswith("_")} | {"pending"}
        for slot in public - {
            "highest_bid",
            "lowest_ask",
            "end_matters",
            "terms",
            "carrier",
            "last_frame",
        } | {"batch_ts"}:
            assert getattr(one, slot) == getattr(other, slot), slot
        assert (one.carrier is None) == (other.carrier is None)
    assert short.channel.messages == long.channel.messages
    assert short.channel.ignored == long.channel.ignored
    assert short.channel.sequence == long.channel.sequence
    assert short.channel.negative_levels == long.channel.negative_levels
    assert short.channel.crossed_at_batch_end == long.channel.crossed_at_batch_end


@given(st.lists(PLAIN, max_size=40), st.integers(1, 40))
def test_frames_received_together_tell_what_they_tell_singly(
    changes: list[tuple[str, str, str, str, str, int, int]], stop: int
) -> None:
    singly, together = Line(), Line()
    for line in (singly, together):
        line.open()
    frames: list[tuple[bytes, int]] = []
    for number, (ticker, side, price, delta, ts, ts_ms, skip) in enumerate(changes):
        singly.seq += skip
        frame = singly.change(side, price, delta, ticker, ts=ts, ts_ms=ts_ms)
        if number % 7 == 3:
            frame = singly.book(ticker, yes_dollars_fp=[["0.4800", "10.00"]])
        if number % 7 == 5:
            frame = {"type": "ticker", "sid": 3, "msg": {"market_ticker": ticker}}
        frames.append((json.dumps(frame).encode(), singly.now_ns + number))
    told = [(at, events) for frame, at in frames if (events := singly.channel.receive(frame, at))]
    left = iter(frames)
    heard: list[tuple[int, Sequence[ChannelEvent]]] = []
    for at, events in together.channel.receive_all(left):
        heard.append((at, events))
        if len(heard) == stop:
            break
    heard += together.channel.receive_all(left)
    assert heard == told
    for name in ("A", "B"):
        assert singly.state(name).book == together.state(name).book
        assert singly.state(name).version == together.state(name).version
    assert singly.channel.messages == together.channel.messages
    assert singly.channel.sequence == together.channel.sequence
    assert singly.channel.ignored == together.channel.ignored


@given(st.integers(2, 30), st.data())
def test_any_frame_that_is_dropped_is_found(count: int, data: st.DataObject) -> None:
    line = Line()
    frames = [line.book("A"), line.book("B")]
    frames += [line.change("yes", "0.4800", "1.00", "AB"[n % 2]) for n in range(count)]
    lost = data.draw(st.integers(0, len(frames) - 2))
    events = line.send(*frames[:lost], *frames[lost + 1 :])
    assert line.channel.sequence.gaps == line.channel.sequence.lost == 1
    doubted = {event.asset_id for event in events if isinstance(event, Doubted)}
    assert doubted == {"A", "B"}
    opened_again = lost == 0
    assert line.state("A").opened is False
    assert line.state("B").opened is opened_again


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["yes", "no", "A", "0.5", "-1.00", "nan", "inf", "1e400"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["market_ticker", "sid", "code", "x"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
BODIES = st.dictionaries(
    st.sampled_from([
        "market_ticker", "side", "price_dollars", "delta_fp", "price", "delta", "ts", "ts_ms",
        "yes", "no", "yes_dollars_fp", "no_dollars", "count", "count_fp", "trade_id", "channel",
        "sid", "market_tickers", "event_type", "price_ranges", "code", "yes_price_dollars",
        "yes_bid_dollars", "yes_ask_dollars", "yes_bid_size_fp", "taker_side",
    ]),
    JSON_VALUES, max_size=8,
)  # fmt: skip
FRAMES = st.fixed_dictionaries(
    {"msg": BODIES.map(lambda body: {"market_ticker": "A"} | body) | JSON_VALUES},
    optional={
        "type": st.sampled_from([
            "orderbook_snapshot", "orderbook_delta", "trade", "ticker", "market_lifecycle_v2",
            "subscribed", "ok", "unsubscribed", "error", "event_lifecycle", "other",
        ]) | JSON_VALUES,
        "sid": st.integers(-1, 3) | JSON_VALUES,
        "seq": st.integers(-2, 12) | JSON_VALUES,
        "id": JSON_VALUES,
    },
)  # fmt: skip


@given(st.lists(FRAMES.map(json.dumps) | st.text() | st.binary() | JSON_VALUES.map(json.dumps)))
def test_nothing_that_comes_raises(frames: list[str | bytes]) -> None:
    line = Line()
    line.open()
    line.send(*frames)
    line.send("[" * 5_000, b"\xff\xfe", '{"type":"orderbook_delta"', "\ud800", "")
    line.channel.settle(line.now_ns)
    for state in line.channel.states.values():
        for side in (state.book.bids, state.book.asks):
            assert all(0 <= tick <= 10_000 and 0 < size < 1e12 for tick, size in side.items())


@pytest.mark.parametrize(
    "members",
    [{"price_dollars": "1.5"}, {"delta_fp": "nan"}, {"delta_fp": None}, {"side": "maybe"}],
)
def test_a_change_that_cannot_be_read_is_kept_and_doubted(line: Line, members: Json) -> None:
    frame = line.change("yes", "0.4800", "1.00")
    frame["msg"] |= members
    events = line.send(frame)
    assert _kinds(events) == [Rejected, Doubted]
    assert isinstance(events[0], Rejected)
    assert json.loads(events[0].payload) == frame
    assert line.state("B").opened, "its place in the stream is kept"
    assert line.send(line.change("yes", "0.4800", "1.00", "B")) == []
    assert line.channel.sequence.gaps == 0


@pytest.mark.parametrize("kind", ["orderbook_change", None, 5])
def test_a_frame_of_no_known_type_may_have_been_a_change(line: Line, kind: object) -> None:
    """It took a number on the stream of the books: no hole will tell that a change is missing."""
    frame = line.change("yes", "0.4800", "5.00") | {"type": kind}
    reason = "unknown_type" if isinstance(kind, str) else "no_type"
    events = line.send(frame)
    assert [event.reason for event in events if isinstance(event, Rejected)] == [reason]
    doubted = [event.asset_id for event in events if isinstance(event, Doubted)]
    assert doubted == ["A", "B"]
    assert line.channel.sequence.gaps == 0


def test_a_frame_of_no_known_type_elsewhere_is_no_doubt(line: Line) -> None:
    frame = {"type": "weather", "sid": 9, "seq": 1, "msg": {"market_ticker": "A"}}
    assert _kinds(line.send(frame)) == [Rejected]
    assert _kinds(line.send({"type": "weather", "msg": {}})) == [Rejected]
    assert line.state().trust is Trust.VERIFIED


@pytest.mark.parametrize("odd", [b'"\xff"', b"[" * 10_000 + b"]" * 10_000, b"1" * 5_000])
def test_damage_in_what_an_empty_book_brings_along_is_no_exception(line: Line, odd: bytes) -> None:
    text = json.dumps(line.book("A") | {"extra": 0}).encode()
    events = line.send(text.replace(b'"extra": 0', b'"x": ' + odd))
    assert _kinds(events)[0] is Rejected
    events += line.send(line.change("yes", "0.4800", "1.00", "B"))
    assert "A" in [event.asset_id for event in events if isinstance(event, Doubted)]


@pytest.mark.parametrize("seq", [2**63, -1, 10**30])
def test_a_number_that_no_row_can_hold_is_none(line: Line, seq: int) -> None:
    events = line.send(line.book("A") | {"seq": seq})
    assert _kinds(events) == [Rejected, Doubted]
    assert line.state().seq == 1
    assert line.channel.sequence.gaps == 0


def test_times_without_a_zone_are_utc_and_end_with_the_calendar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert venue_ms(None, "1970-01-01T00:00:01") == 1_000
    finally:
        monkeypatch.undo()
        time.tzset()
    assert venue_ms(LATEST_MS, None) == LATEST_MS
    assert venue_ms(LATEST_MS + 1, None) is None
    assert venue_ms(None, LATEST_MS) is None
    assert venue_ms(None, -1) is None
