"""The market channel: batches, proofs, prints, epochs, and whatever else a socket can bring."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from decimal import Decimal
from math import isfinite
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surveillance_core.books import TICKS_PER_DOLLAR, BookState, OrderBook, Trust, tick_of
from surveillance_core.venues.polymarket.channel import (
    BATCH_GAP_NS,
    LATE_MESSAGES,
    TYPES_NAMED,
    PolymarketChannel,
)
from surveillance_core.venues.polymarket.judging import PATIENCE_GAPS
from surveillance_core.venues.protocols import (
    LATEST_MS,
    AssetTerms,
    ChannelEvent,
    Doubted,
    MarketListed,
    MarketResolved,
    Opened,
    Rejected,
    Side,
    TickSizeChanged,
    Trade,
)

MARKET, YES, NO = "0xm", "111", "222"
T0 = 1_788_264_000_000
Json = dict[str, Any]
Change = tuple[str, str, str]


class Token:
    """The venue's side of one asset: a book, its hash by definition, the messages it sends."""

    def __init__(self, asset_id: str = YES, tick_size: str = "0.01") -> None:
        self.asset_id = asset_id
        self.tick_size = tick_size
        self.last = "0.500"
        self.bids = {"0.48": "100", "0.49": "25.5"}
        self.asks = {"0.51": "30", "0.52": "7"}

    def hash(self, timestamp: int) -> str:
        return hashlib.sha1(
            json.dumps(
                {
                    "market": MARKET, "asset_id": self.asset_id, "timestamp": str(timestamp),
                    "hash": "", **self.levels(), "min_order_size": "5",
                    "tick_size": self.tick_size, "neg_risk": False,
                    "last_trade_price": self.last,
                },
                separators=(",", ":"),
            ).encode(),
            usedforsecurity=False,
        ).hexdigest()  # fmt: skip

    def levels(self) -> dict[str, list[dict[str, str]]]:
        def spelled(side: dict[str, str], *, reverse: bool) -> list[dict[str, str]]:
            prices = sorted(side, key=Decimal, reverse=reverse)
            return [{"price": price, "size": side[price]} for price in prices]

        return {
            "bids": spelled(self.bids, reverse=False),
            "asks": spelled(self.asks, reverse=True),
        }

    @property
    def book(self) -> OrderBook:
        return OrderBook(
            {tick_of(price): float(size) for price, size in self.bids.items()},
            {tick_of(price): float(size) for price, size in self.asks.items()},
        )

    def snapshot(self, timestamp: int) -> Json:
        return {
            "event_type": "book", "market": MARKET, "asset_id": self.asset_id,
            "timestamp": str(timestamp), "hash": self.hash(timestamp), **self.levels(),
            "tick_size": self.tick_size, "last_trade_price": self.last,
        }  # fmt: skip

    def batch(self, timestamp: int, *changes: Change) -> list[Json]:
        """Apply the changes and return one message a change, all with the batch's hash."""
        for side, price, size in changes:
            levels = self.bids if side == "BUY" else self.asks
            levels.pop(price, None)
            if Decimal(size):
                levels[price] = size
        final = self.hash(timestamp)
        best_bid = max(self.bids, key=Decimal, default="0")
        best_ask = min(self.asks, key=Decimal, default="1")
        return [
            {
                "event_type": "price_change", "market": MARKET, "timestamp": str(timestamp),
                "price_changes": [
                    {
                        "asset_id": self.asset_id, "price": price, "size": size, "side": side,
                        "hash": final, "best_bid": best_bid, "best_ask": best_ask,
                    }
                ],
            }
            for side, price, size in changes
        ]  # fmt: skip


def _terms(asset_id: str = YES, **members: Any) -> AssetTerms:
    given_terms: Json = {
        "market_id": MARKET, "asset_id": asset_id, "tick": 100, "primary": asset_id == YES,
        "mirror_id": NO if asset_id == YES else YES, "min_order_size": "5", "neg_risk": False,
    }  # fmt: skip
    return AssetTerms(**(given_terms | members))


class Line:
    """A connection: what it sends is received, events are kept."""

    def __init__(self, *terms: AssetTerms, **options: Any) -> None:
        self.channel = PolymarketChannel(**options)
        self.channel.follow(terms or [_terms(YES), _terms(NO)])
        self.now_ns = T0 * 1_000_000
        self.events: list[ChannelEvent] = []

    def send(self, *messages: object) -> Sequence[ChannelEvent]:
        """Each as a frame of its own, a second apart; the events of all."""
        start = len(self.events)
        for message in messages:
            self.now_ns += 1_000_000_000
            frame = message if isinstance(message, str | bytes) else json.dumps(message)
            self.events += self.channel.receive(frame, self.now_ns)
        return self.events[start:]

    def settle(self) -> Sequence[ChannelEvent]:
        return self.channel.settle(self.now_ns)

    def __getitem__(self, asset_id: str) -> BookState:
        return self.channel.states[asset_id]


@pytest.fixture
def token() -> Token:
    return Token()


@pytest.fixture
def line(token: Token) -> Line:
    """A connection on which the token's book has arrived and is proved."""
    opened = Line()
    assert opened.send(token.snapshot(T0)) == [Opened(YES)]
    return opened


def _kinds(events: Sequence[ChannelEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


def _reasons(events: Sequence[ChannelEvent]) -> list[str]:
    return [event.reason for event in events if isinstance(event, Rejected)]


def test_a_book_frame_opens_and_proves_a_book(line: Line, token: Token) -> None:
    assert line[YES].opened
    assert line[YES].book == token.book
    assert line[YES].trust is Trust.VERIFIED
    assert line[YES].ts_venue_ms == T0
    assert not line[NO].opened
    assert (line.channel.hashes.due, line.channel.hashes.matched) == (1, 1)


def test_sizes_are_absolute_and_zero_removes(line: Line, token: Token) -> None:
    line.send(
        *token.batch(T0 + 1, ("BUY", "0.49", "3"), ("SELL", "0.52", "0"), ("BUY", "0.1", "1"))
    )
    line.settle()
    assert line[YES].book.bids == {4800: 100.0, 4900: 3.0, 1000: 1.0}
    assert line[YES].book.asks == {5100: 30.0}
    assert line[YES].trust is Trust.VERIFIED


def test_a_hash_is_judged_once_its_batch_is_whole(line: Line, token: Token) -> None:
    messages = token.batch(
        T0 + 1, ("BUY", "0.48", "1"), ("BUY", "0.49", "2"), ("SELL", "0.51", "3")
    )
    for message in messages:
        assert line.send(message) == []
        assert line.channel.hashes.due == 1
    line.send(*token.batch(T0 + 2, ("BUY", "0.48", "9")))
    assert (line.channel.hashes.due, line.channel.hashes.matched) == (2, 2)
    assert line.settle() == []
    assert (line.channel.hashes.due, line.channel.hashes.matched) == (3, 3)
    assert line.settle() == []
    assert line.channel.hashes.due == 3


def test_a_book_is_not_read_half_way_through_a_batch(token: Token) -> None:
    read: list[OrderBook] = []
    line = Line(on_settled=lambda state, _: read.append(OrderBook(dict(state.book.bids), {})))
    line.send(token.snapshot(T0))
    first, second = token.batch(T0 + 1, ("BUY", "0.48", "1"), ("BUY", "0.49", "2"))
    line.send(first)
    line[YES].read_when_settled = True
    line.send(second)
    assert read == []
    line.send(*token.batch(T0 + 2, ("BUY", "0.49", "50")))
    assert read == [OrderBook({4800: 1.0, 4900: 2.0}, {})]


def test_a_batch_is_whole_after_its_silence(line: Line, token: Token) -> None:
    line.send(*token.batch(T0 + 1, ("BUY", "0.48", "1")))
    assert line.channel.settle_asset(YES, line.now_ns + BATCH_GAP_NS - 1) == []
    assert line.channel.hashes.due == 1
    line.channel.settle_asset(YES, line.now_ns + BATCH_GAP_NS)
    assert line.channel.hashes.due == 2


def test_a_batch_torn_apart_is_waited_for_because_its_hash_says_so(
    line: Line, token: Token
) -> None:
    first, second = token.batch(T0 + 1, ("BUY", "0.48", "1"), ("BUY", "0.47", "9"))
    line.send(first)
    judged = line.channel.hashes.due
    at_ns = line.now_ns + BATCH_GAP_NS
    while at_ns < line.now_ns + PATIENCE_GAPS * BATCH_GAP_NS:
        # silent for long enough, and yet half of it: not to be read, and no mismatch
        line.channel.settle_asset(YES, at_ns)
        assert at_ns < line[YES].settles_ns <= at_ns + BATCH_GAP_NS
        at_ns = line[YES].settles_ns
    assert line.channel.hashes.due == judged
    line.channel.receive(json.dumps(second), line.now_ns + 300_000_000)
    line.channel.settle_asset(YES, line[YES].settles_ns)
    assert line[YES].book == token.book
    assert (line.channel.hashes.due, line.channel.hashes.mismatched) == (judged + 1, 0)
    assert line[YES].trust is Trust.VERIFIED


def test_patience_with_a_batch_ends_and_a_loss_is_called_one(line: Line, token: Token) -> None:
    first, _ = token.batch(T0 + 1, ("BUY", "0.48", "1"), ("BUY", "0.47", "9"))
    line.send(first)
    line.channel.settle_asset(YES, line.now_ns + PATIENCE_GAPS * BATCH_GAP_NS)
    assert line.channel.hashes.mismatched == 1
    assert line[YES].settles_ns <= line.now_ns + PATIENCE_GAPS * BATCH_GAP_NS


def test_a_book_crossed_inside_a_batch_is_not_a_crossed_book(line: Line, token: Token) -> None:
    fill, rest = token.batch(T0 + 1, ("BUY", "0.51", "5"), ("SELL", "0.51", "0"))
    line.send(fill)
    assert line[YES].book.status == "crossed"
    line.send(rest)
    line.settle()
    assert line.channel.crossed_at_batch_end == 0


@pytest.mark.parametrize(
    ("change", "back"),
    [
        (("BUY", "0.53", "5"), ("BUY", "0.53", "0")),
        (("BUY", "0.51", "5"), ("BUY", "0.51", "0")),
        (("SELL", "0.47", "5"), ("SELL", "0.47", "0")),
        (("SELL", "0.49", "5"), ("SELL", "0.49", "0")),
    ],
    ids=str,
)
def test_a_book_crossed_when_its_batch_is_whole_is_counted(
    line: Line, token: Token, change: Change, back: Change
) -> None:
    line.send(*token.batch(T0 + 1, ("BUY", "0.4", "1"), ("SELL", "0.6", "1")))
    line.send(*token.batch(T0 + 2, ("BUY", "0.4", "2")))
    assert line.channel.crossed_at_batch_end == 0
    for step in range(3, 9, 2):
        line.send(*token.batch(T0 + step, change), *token.batch(T0 + step + 1, back))
    line.settle()
    assert line.channel.crossed_at_batch_end == 3


def test_checks_are_no_closer_than_asked(token: Token) -> None:
    line = Line(hash_interval_ns=10_000_000_000)
    line.send(token.snapshot(T0))
    for step in range(1, 21):
        line.send(*token.batch(T0 + step, ("BUY", "0.48", str(step))))
    assert line.channel.hashes.due == line.channel.hashes.matched == 3


def test_one_mismatch_is_doubt_and_two_are_divergence(line: Line, token: Token) -> None:
    proved_ns = line.now_ns
    token.bids["0.2"] = "1"  # a change that was never received
    line.send(*token.batch(T0 + 1, ("BUY", "0.48", "1")))
    assert line.settle() == []
    assert line[YES].trust is Trust.UNVERIFIED
    line.send(*token.batch(T0 + 2, ("BUY", "0.48", "2")))
    assert line.settle() == [Doubted(YES, "hash_mismatch", proved_ns)]
    assert line[YES].trust is Trust.DIVERGED
    assert line.channel.hashes.mismatched == 2


def test_a_match_between_two_mismatches_restores_trust(line: Line, token: Token) -> None:
    for step, hidden in enumerate(["1", "", "1"], start=1):
        if hidden:
            token.bids["0.2"] = hidden
        else:
            token.bids.pop("0.2")
        line.send(*token.batch(T0 + step, ("BUY", "0.48", str(step))))
        assert line.settle() == []
    assert line[YES].trust is Trust.UNVERIFIED
    assert (line.channel.hashes.matched, line.channel.hashes.mismatched) == (2, 2)


def _of_a_fill(snapshot: Json) -> Json:
    """The same book as it comes with a fill: without the tick and the last trade."""
    return {k: v for k, v in snapshot.items() if k not in ("tick_size", "last_trade_price")}


def test_a_fill_s_book_does_not_end_a_doubt_in_which_terms_of_its_hash_were_missed(
    line: Line, token: Token
) -> None:
    line.channel.doubt(YES, "witness_mismatch", line.now_ns)
    token.last = "0.505"  # said while nothing came
    told = line.send(_of_a_fill(token.snapshot(T0 + 1)))
    assert told == [Doubted(YES, "hash_mismatch", line.now_ns)], "asked for once more"
    assert line[YES].trust is Trust.DIVERGED
    assert line.send(_of_a_fill(token.snapshot(T0 + 2))) == []
    assert line.send(token.snapshot(T0 + 3)) == [Opened(YES)]
    for step in (4, 5, 6):
        line.send(*token.batch(T0 + step, ("BUY", "0.48", str(step))))
    assert line.settle() == []
    assert line[YES].trust is Trust.VERIFIED


def test_a_grid_that_nothing_has_told_is_told_by_the_hash(line: Line, token: Token) -> None:
    token.tick_size = "0.001"
    for step in (1, 2, 3):
        line.send(*token.batch(T0 + step, ("BUY", "0.485", str(step))))
    assert line.settle() == []
    assert line[YES].trust is Trust.VERIFIED
    assert line[YES].tick == 10
    token.bids["0.2"] = "1"  # a change that was never received
    for step in (4, 5):
        line.send(*token.batch(T0 + step, ("BUY", "0.485", str(step))))
    assert line.settle() != [], "no grid explains a level that is missing"
    assert line[YES].tick == 10


def test_a_fill_s_book_ends_a_doubt_where_its_hash_fits(line: Line, token: Token) -> None:
    line.channel.doubt(YES, "witness_mismatch", line.now_ns)
    token.bids["0.2"] = "1"
    assert line.send(_of_a_fill(token.snapshot(T0 + 1))) == [Opened(YES)]
    assert line[YES].trust is Trust.VERIFIED


def test_only_a_full_book_ends_divergence(line: Line, token: Token) -> None:
    token.bids["0.2"] = "1"
    for step in (1, 2):
        line.send(*token.batch(T0 + step, ("BUY", "0.48", str(step))))
    line.settle()
    token.bids.pop("0.2")
    line.send(*token.batch(T0 + 3, ("BUY", "0.48", "7")))
    line.settle()
    assert line[YES].trust is Trust.DIVERGED
    token.bids["0.2"] = "1"
    assert line.send(token.snapshot(T0 + 4)) == [Opened(YES)]
    assert line[YES].trust is Trust.VERIFIED
    assert line[YES].book == token.book


def test_a_book_frame_that_differs_shows_a_loss(line: Line, token: Token) -> None:
    proved_ns = line.now_ns
    token.bids["0.2"] = "1"
    assert line.send(token.snapshot(T0 + 9)) == [
        Doubted(YES, "checkpoint_mismatch", proved_ns), Opened(YES),
    ]  # fmt: skip
    assert line[YES].book == token.book
    assert line[YES].trust is Trust.VERIFIED


def test_a_book_frame_that_agrees_changes_nothing(line: Line, token: Token) -> None:
    version = line[YES].version
    assert line.send(token.snapshot(T0 + 9)) == []
    assert line[YES].version == version


def test_a_book_frame_that_overtakes_its_batch_is_no_loss(line: Line, token: Token) -> None:
    first, second = token.batch(T0 + 1, ("BUY", "0.48", "1"), ("BUY", "0.49", "2"))
    line.send(first)
    assert line.send(token.snapshot(T0 + 1)) == []
    line.send(second)
    line.settle()
    assert line[YES].book == token.book
    assert line.channel.hashes.mismatched == 0


def test_without_the_hashs_members_the_stated_top_is_judged(token: Token) -> None:
    line = Line(_terms(min_order_size=None))
    line.send(token.snapshot(T0))
    assert line[YES].trust is Trust.UNVERIFIED
    line.send(*token.batch(T0 + 1, ("BUY", "0.48", "1")))
    assert line.settle() == []
    token.bids["0.5"] = "1"
    for step in (2, 3):
        line.send(*token.batch(T0 + step, ("BUY", "0.48", str(step))))
    assert [event.cause for event in line.settle() if isinstance(event, Doubted)] == [
        "top_mismatch"
    ]
    assert line.channel.hashes.due == 0


def test_a_hash_may_hold_the_price_of_a_print_still_on_the_way(line: Line, token: Token) -> None:
    token.last = "0.510"
    line.send(*token.batch(T0 + 1, ("SELL", "0.51", "10")))
    line.settle()
    assert line[YES].trust is Trust.VERIFIED
    assert line.channel.hashes.mismatched == 0


def test_a_hash_may_hold_the_price_before_a_print_already_seen(line: Line, token: Token) -> None:
    messages = token.batch(T0 + 1, ("BUY", "0.48", "1"))
    line.send(*messages, _print(YES, "0.51", "BUY"))
    line.settle()
    assert line[YES].trust is Trust.VERIFIED


@pytest.mark.parametrize("size", ["-1", "nan", "inf", "-inf", "1e999"])
def test_a_size_that_is_none_is_kept_aside_and_doubted(line: Line, token: Token, size: str) -> None:
    [message] = token.batch(T0 + 1, ("BUY", "0.48", "1"))
    message["price_changes"][0]["size"] = size
    events = line.send(message)
    assert _kinds(events) == ["Rejected", "Doubted"]
    assert line[YES].book.bids == {4800: 100.0, 4900: 25.5}
    assert line[YES].trust is Trust.DIVERGED


@pytest.mark.parametrize("price", ["", "1.5", "-0.1", "0.48001", "nan", "half"])
def test_a_price_off_the_grid_is_kept_aside_and_doubted(
    line: Line, token: Token, price: str
) -> None:
    [message] = token.batch(T0 + 1, ("BUY", "0.48", "1"))
    message["price_changes"][0]["price"] = price
    events = line.send(message)
    assert _reasons(events) == ["malformed_change"]
    assert events[1:] == [Doubted(YES, "malformed_change", line.now_ns)]


@pytest.mark.parametrize("member", ["asset_id", "price", "size", "side"])
@pytest.mark.parametrize("value", [None, "sideways", 7, [], {}], ids=repr)
def test_a_change_with_a_wrong_member_never_changes_a_book_in_silence(
    line: Line, token: Token, member: str, value: object
) -> None:
    [message] = token.batch(T0 + 1, ("BUY", "0.48", "1"))
    message["price_changes"][0][member] = value
    before = OrderBook(dict(line[YES].book.bids), dict(line[YES].book.asks))
    events = line.send(message)
    if member == "size" and value == 7:  # a number where the wire has its spelling
        assert line[YES].book.bids[4800] == 7.0
        return
    assert line[YES].book == before
    if member == "asset_id":
        assert _reasons(events) or line.channel.ignored["asset_not_followed"]
    else:
        assert _kinds(events) == ["Rejected", "Doubted"]


@pytest.mark.parametrize(
    "members",
    [
        {"bids": None}, {"asks": "none"}, {"bids": [{"price": "0.5"}]}, {"timestamp": "now"},
        {"bids": [{"price": "0.5", "size": "-1"}]}, {"asks": [{"price": "2", "size": "1"}]},
        {"tick_size": "0"}, {"tick_size": "fine"},
    ],
    ids=str,
)  # fmt: skip
def test_a_malformed_book_is_kept_aside_and_the_one_held_is_doubted(
    line: Line, token: Token, members: Json
) -> None:
    before = token.book
    events = line.send(token.snapshot(T0 + 1) | members)
    assert _reasons(events) == ["malformed_book"]
    assert line[YES].book == before
    assert line[YES].trust is Trust.DIVERGED


def test_an_unknown_type_is_kept_under_its_name(line: Line) -> None:
    frame = '{"event_type":"market_paused","market":"0xm"}'
    assert line.send(frame) == [Rejected("unknown_event_type", "market_paused", frame.encode())]
    assert line.channel.messages["market_paused"] == 1
    long = line.send({"event_type": "x" * 10_000})
    assert isinstance(long[0], Rejected)
    assert len(long[0].detail) == 64


@pytest.mark.parametrize("text", ["PONG", "PONG\n", "PING", "INVALID OPERATION", "NO NEW ASSETS"])
@pytest.mark.parametrize("kind", [str, str.encode], ids=["text", "bytes"])
def test_control_texts_are_messages_and_mean_no_harm(line: Line, text: str, kind: Any) -> None:
    assert line.send(kind(text)) == []
    assert line.channel.messages[text.strip()] == 1


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("", "not_json"),
        ("hello", "not_json"),
        ("<html>", "not_json"),
        ('{"event_type":"book"', "not_json"),
        ("[" * 100_000 + "]" * 100_000, "not_json"),
        ('{"event_type":"book","bids":' + "[" * 100_000, "not_json"),
        ('{"more":' + "[" * 100_000 + "]" * 100_000 + ',"event_type":"new_market"}', "not_json"),
        (b"\xff\xfe\x00", "not_utf8"),
        (b'{"event_type":"book","asset_id":"\xff"}', "not_utf8"),
        ("null", "no_event_type"),
        ("7", "no_event_type"),
        ('"book"', "no_event_type"),
        ("{}", "no_event_type"),
        ('{"event_type":7}', "no_event_type"),
        ("[[]]", "no_event_type"),
    ],
    ids=lambda value: repr(value[:16]),
)
def test_what_is_no_message_is_kept_aside(line: Line, frame: str | bytes, reason: str) -> None:
    before = OrderBook(dict(line[YES].book.bids), dict(line[YES].book.asks))
    [event] = line.send(frame)
    assert isinstance(event, Rejected)
    assert event.reason == reason
    assert event.payload == (frame.encode() if isinstance(frame, str) else frame)
    assert line[YES].book == before


@pytest.mark.parametrize("kind", [str, str.encode], ids=["text", "bytes"])
def test_messages_in_one_array_do_what_they_do_in_frames_of_their_own(kind: Any) -> None:
    apart, together, token = Line(), Line(), Token()
    messages = [
        token.snapshot(T0),
        *token.batch(T0 + 1, ("BUY", "0.48", "1"), ("SELL", "0.51", "0")),
        *token.batch(T0 + 2, ("BUY", "0.47", "1")),
    ]
    events = apart.send(*(kind(json.dumps(message)) for message in messages))
    assert together.send(kind(json.dumps(messages))) == events
    for line in (apart, together):
        line.settle()
        assert line[YES].book == token.book
        assert (line.channel.hashes.due, line.channel.hashes.matched) == (3, 3)
    assert apart.channel.messages == together.channel.messages


def test_one_message_on_three_assets_begins_each_ones_batch_once() -> None:
    tokens = [Token(name) for name in (YES, NO, "333")]
    line = Line(*(_terms(token.asset_id) for token in tokens))
    line.send(*(token.snapshot(T0) for token in tokens))
    sent = [
        token.batch(T0 + 1, ("BUY", "0.48", "1"), ("BUY", "0.47", "2"), ("BUY", "0.48", "3"))
        for token in tokens
    ]
    changes = [message["price_changes"][0] for row in zip(*sent, strict=True) for message in row]
    line.send(sent[0][0] | {"price_changes": changes})
    line.settle()
    for token in tokens:
        assert line[token.asset_id].book == token.book
        assert line[token.asset_id].seq == 1
    assert line.channel.hashes.mismatched == 0


def test_an_empty_array_is_counted(line: Line) -> None:
    assert line.send("[]") == []
    assert line.channel.ignored == {"empty_frame": 1}


def test_an_array_with_one_bad_element_loses_only_that_one(line: Line, token: Token) -> None:
    good = token.batch(T0 + 1, ("BUY", "0.48", "1"))
    after = token.batch(T0 + 2, ("BUY", "0.49", "2"))
    other = Token(NO).snapshot(T0) | {"bids": "none"}
    events = line.send([*good, other, {"event_type": "odd"}, 7, *after])
    assert _reasons(events) == ["malformed_book", "unknown_event_type", "no_event_type"]
    assert [event.asset_id for event in events if isinstance(event, Doubted)] == [NO]
    line.settle()
    assert line[YES].book == token.book
    assert line[YES].trust is Trust.VERIFIED


def test_a_duplicate_frame_changes_nothing(line: Line, token: Token) -> None:
    frames = token.batch(T0 + 1, ("BUY", "0.48", "1"), ("SELL", "0.52", "0"))
    line.send(*frames)
    version = line[YES].version
    assert line.send(*frames, token.snapshot(T0 + 1), token.snapshot(T0 + 1)) == []
    line.settle()
    assert line[YES].version == version
    assert line[YES].book == token.book
    assert line.channel.hashes.mismatched == 0


def test_a_change_from_before_the_book_is_not_applied(line: Line, token: Token) -> None:
    old = token.batch(T0 - 5, ("BUY", "0.48", "1"))
    version = line[YES].version
    assert line.send(*old) == []
    assert line[YES].version == version
    assert line.channel.ignored == {"change_older_than_book": 1}


def test_a_book_from_before_the_changes_is_not_taken(line: Line, token: Token) -> None:
    stale = token.snapshot(T0 + 1)
    line.send(*token.batch(T0 + 2, ("BUY", "0.48", "1")))
    assert line.send(stale) == []
    assert line[YES].book == token.book
    assert line.channel.ignored == {"book_older_than_changes": 1}


def test_a_change_before_any_book_waits_for_one(token: Token) -> None:
    line = Line()
    assert line.send(*token.batch(T0, ("BUY", "0.48", "1"))) == []
    assert line.channel.ignored == {"change_before_book": 1}
    assert line[YES].book == OrderBook()
    assert line.send(token.snapshot(T0 + 1)) == [Opened(YES)]


def test_assets_that_are_not_followed_are_counted_and_left_alone(line: Line) -> None:
    stranger = Token("999")
    events = line.send(
        stranger.snapshot(T0),
        *stranger.batch(T0 + 1, ("BUY", "0.48", "1")),
        _print("999", "0.5", "BUY"),
        _tick_change("999"),
    )
    assert events == []
    assert line.channel.ignored == {"asset_not_followed": 4}
    assert set(line.channel.states) == {YES, NO}


def test_a_forgotten_asset_is_followed_no_more(line: Line, token: Token) -> None:
    line.channel.forget([YES, "999"])
    assert line.send(token.snapshot(T0 + 1)) == []
    assert set(line.channel.states) == {NO}


def _print(
    asset_id: str, price: str, side: str, *, size: str = "10", transaction: str | None = "0xt"
) -> Json:
    return {
        "event_type": "last_trade_price", "market": MARKET, "asset_id": asset_id, "price": price,
        "size": size, "side": side, "timestamp": str(T0), "fee_rate_bps": "0",
        "transaction_hash": transaction,
    }  # fmt: skip


def test_a_print_on_the_first_token_is_taken_as_it_is(line: Line) -> None:
    assert line.send(_print(YES, "0.51", "BUY")) == [
        Trade(
            market_id=MARKET, outcome_id=YES, price=5100, size=10.0, taker_side=Side.BUY,
            printed_outcome_id=YES, printed_price=5100, ts_venue_ms=T0, transaction_id="0xt",
            fee_rate_bps="0",
        )
    ]  # fmt: skip


@pytest.mark.parametrize(("side", "turned"), [("BUY", Side.SELL), ("SELL", Side.BUY), ("", None)])
def test_a_print_on_the_second_token_is_told_of_the_first(
    line: Line, side: str, turned: Side | None
) -> None:
    [trade] = line.send(_print(NO, "0.4", side))
    assert isinstance(trade, Trade)
    assert (trade.outcome_id, trade.price, trade.taker_side) == (YES, 6000, turned)
    assert (trade.printed_outcome_id, trade.printed_price) == (NO, 4000)


def test_one_match_printed_twice_or_on_both_tokens_is_one_trade(line: Line) -> None:
    once = _print(YES, "0.6", "BUY")
    assert len(line.send(once, once, _print(NO, "0.4", "SELL"), once)) == 1
    assert line.channel.ignored == {"repeated_trade": 3}


def test_fills_of_one_transaction_that_differ_are_all_trades(line: Line) -> None:
    fills = [
        _print(YES, "0.6", "BUY"), _print(YES, "0.61", "BUY"), _print(YES, "0.6", "SELL"),
        _print(YES, "0.6", "BUY", size="11"), _print(YES, "0.6", "BUY", transaction="0xu"),
    ]  # fmt: skip
    assert len(line.send(*fills)) == 5


def test_prints_without_a_transaction_are_never_taken_for_repeats(line: Line) -> None:
    bare = _print(YES, "0.6", "BUY", transaction=None)
    trades = line.send(bare, bare)
    assert len(trades) == 2
    assert all(isinstance(t, Trade) and t.transaction_id is None for t in trades)


@pytest.mark.parametrize(
    ("price", "size"), [("2", "1"), ("0.5", "0"), ("0.5", "-1"), ("0.5", "nan"), ("0.5", "inf")]
)
def test_a_malformed_print_is_kept_aside_and_the_book_stands(
    line: Line, price: str, size: str
) -> None:
    assert _reasons(line.send(_print(YES, price, "BUY", size=size))) == ["malformed_trade"]
    assert line[YES].trust is Trust.VERIFIED


def _tick_change(asset_id: str, new: str = "0.001") -> Json:
    return {
        "event_type": "tick_size_change", "market": MARKET, "asset_id": asset_id,
        "old_tick_size": "0.01", "new_tick_size": new, "timestamp": str(T0 + 5),
    }  # fmt: skip


def test_a_new_tick_size_is_a_new_epoch(line: Line, token: Token) -> None:
    assert line.send(_tick_change(YES)) == [
        TickSizeChanged(MARKET, YES, 100, 10, T0 + 5),
        Doubted(YES, "tick_size_change", line.now_ns),
    ]
    assert line[YES].tick == 10
    assert not line[YES].opened
    token.tick_size = "0.001"
    line.send(*token.batch(T0 + 6, ("BUY", "0.485", "1")))
    assert line.channel.ignored == {"change_before_book": 1}
    assert line.send(token.snapshot(T0 + 7)) == [Opened(YES)]
    assert line[YES].trust is Trust.VERIFIED
    assert line[YES].book == token.book


def test_a_markets_tick_change_is_told_once_though_both_tokens_say_it(line: Line) -> None:
    events = line.send(_tick_change(YES), _tick_change(NO))
    assert _kinds(events) == ["TickSizeChanged", "Doubted", "Doubted"]


@pytest.mark.parametrize("new", ["0", "", "fine", "2"])
def test_a_malformed_tick_size_changes_nothing(line: Line, new: str) -> None:
    assert _reasons(line.send(_tick_change(YES, new))) == ["malformed_tick_size"]
    assert (line[YES].tick, line[YES].opened) == (100, True)


def test_listings_and_results_are_told_and_change_no_book(line: Line) -> None:
    before = line[YES].book
    listed = {"event_type": "new_market", "market": "0xn", "question": "Q?", "timestamp": str(T0)}
    resolved = {"event_type": "market_resolved", "market": MARKET, "timestamp": str(T0),
                "winning_asset_id": NO, "winning_outcome": "No"}  # fmt: skip
    assert line.send(listed, resolved) == [
        MarketListed("0xn", "Q?", T0),
        MarketResolved(MARKET, NO, "No", T0),
    ]
    assert line.send({"event_type": "best_bid_ask", "market": MARKET, "anything": [1]}) == []
    assert line[YES].book is before
    assert _reasons(line.send({"event_type": "market_resolved"})) == ["malformed_market_resolved"]
    assert line.channel.messages["market_resolved"] == 2


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["nan", "-1", "1e999", "0.5", YES, NO, "book", "price_change", "BUY"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["event_type", "asset_id", "price", "size", "bids"]), inner, max_size=2
        )
    ),
    max_leaves=4,
)


def _heals(line: Line, token: Token) -> None:
    """Whatever came before, the books are sound and a full book puts them right."""
    line.settle()
    for state in line.channel.states.values():
        for side in (state.book.bids, state.book.asks):
            assert all(0 <= tick <= TICKS_PER_DOLLAR for tick in side)
            assert all(isfinite(size) and size > 0 for size in side.values())
    line.send(token.snapshot(LATEST_MS))
    assert line[YES].book == token.book
    assert line[YES].trust is not Trust.DIVERGED


def _accounted(line: Line, frame: object) -> None:
    channel = line.channel
    before = channel.messages.total() + channel.ignored.total()
    events = line.send(frame)
    after = channel.messages.total() + channel.ignored.total()
    assert after > before or _reasons(events), frame


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=40) | st.text(max_size=40), max_size=5))
def test_arbitrary_frames_never_raise_and_are_accounted_for(frames: list[bytes | str]) -> None:
    line, token = Line(), Token()
    for frame in frames:
        _accounted(line, frame)
    _heals(line, token)


def _members(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    places: list[tuple[Any, ...]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value)  # type: ignore[arg-type]
    for key, inner in items:
        places.append((*path, key))
        if isinstance(inner, dict | list):
            places += _members(inner, (*path, key))
    return places


@settings(max_examples=400)
@given(st.data())
def test_spoiled_frames_never_raise_and_are_accounted_for(data: st.DataObject) -> None:
    token, mirror = Token(), Token(NO)
    frames: list[Any] = [
        [token.snapshot(T0), mirror.snapshot(T0)],
        *token.batch(T0 + 1, ("BUY", "0.48", "1"), ("SELL", "0.51", "0")),
        _print(NO, "0.4", "BUY"),
        _tick_change(YES),
        token.snapshot(T0 + 9),
        *mirror.batch(T0 + 10, ("BUY", "0.47", "3")),
    ]
    line = Line()
    for frame in data.draw(st.permutations(frames)):
        spoiled = json.loads(json.dumps(frame))
        for _ in range(data.draw(st.integers(0, 2))):
            places = _members(spoiled)
            if not places:
                break
            *parents, last = data.draw(st.sampled_from(places))
            holder = spoiled
            for key in parents:
                holder = holder[key]
            if data.draw(st.booleans()):
                holder[last] = data.draw(ANYTHING)
            else:
                del holder[last]
        text = json.dumps(spoiled).encode()
        if data.draw(st.integers(0, 3)) == 0 and text:
            place = data.draw(st.integers(0, len(text) - 1))
            text = text[:place] + data.draw(st.binary(max_size=2)) + text[place + 1 :]
        _accounted(line, text)
    _heals(line, token)


def test_a_snapshot_that_overtakes_its_batch_never_hands_out_half_of_it() -> None:
    read: list[OrderBook] = []

    def reader(state: BookState, recv_ns: int) -> None:
        read.append(OrderBook(dict(state.book.bids), dict(state.book.asks)))

    line, token = Line(on_settled=reader), Token()
    line.send(token.snapshot(T0))
    crossing, eating = token.batch(T0 + 10, ("BUY", "0.51", "5"), ("SELL", "0.51", "0"))
    overtaking = token.snapshot(T0 + 10)
    line.send(crossing)
    line[YES].read_when_settled = True
    line.send(overtaking)
    assert read == [], "a crossed half of a batch was handed to a reader"
    line.send(eating)
    assert line[YES].book == token.book
    assert line.channel.crossed_at_batch_end == 0


def test_a_snapshot_from_the_future_does_not_freeze_its_book_for_ever() -> None:
    line, token = Line(), Token()
    line.send(token.snapshot(T0 + 10**9))
    for step in range(LATE_MESSAGES):
        line.send(*token.batch(T0 + step, ("BUY", "0.47", str(step + 1))))
    assert [e.cause for e in line.events if isinstance(e, Doubted)] == ["venue_clock"]
    line.send(token.snapshot(T0 + 100))
    assert line[YES].book == token.book
    assert line[YES].trust is Trust.VERIFIED


def test_invented_message_types_cannot_grow_the_counts_without_end() -> None:
    line = Line()
    line.send(*({"event_type": f"invented_{n}"} for n in range(1_000)))
    assert len(line.channel.messages) <= TYPES_NAMED + 1
    assert line.channel.messages.total() == 1_000


@pytest.mark.parametrize("timestamp", [LATEST_MS + 1, 2**63, 10**30, -1])
def test_a_time_that_no_row_can_hold_is_malformed(timestamp: int) -> None:
    line, token = Line(), Token()
    assert _reasons(line.send(token.snapshot(timestamp))) == ["malformed_book"]
    assert not line[YES].opened


@pytest.mark.parametrize("size", [1e12, 1.7e308])
def test_a_size_that_nobody_has_is_malformed(size: float) -> None:
    line, token = Line(), Token()
    line.send(token.snapshot(T0))
    change = token.batch(T0 + 1, ("BUY", "0.47", "5"))[0]
    change["price_changes"][0]["size"] = size
    assert _reasons(line.send(change)) == ["malformed_change"]
    assert line[YES].trust is Trust.DIVERGED


@pytest.mark.parametrize("depth", [500, 900, 960])
def test_a_book_nested_without_end_is_doubted(depth: int) -> None:
    line, token = Line(), Token()
    line.send(token.snapshot(T0))
    text = json.dumps(token.snapshot(T0 + 1) | {"tick_size": "deep"})
    deep = text.replace('"deep"', "[" * depth + "]" * depth)
    assert _reasons(line.send(deep)) in (["malformed_book"], ["not_json"])
