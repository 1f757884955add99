"""What a connection sends against a venue that merges subscriptions and numbers its streams."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.venues.kalshi.subscriptions import Subscriptions
from surveillance_core.venues.kalshi.wire import MARKETS_A_COMMAND
from surveillance_core.venues.protocols import AssetTerms

BOOKS, TRADES, LIFECYCLE = "orderbook_delta", "trade", "market_lifecycle_v2"


class Venue:
    """The venue's side, by the rules of reference kalshi.md 0 and 3: streams, markets, books sent.

    A market added to a stream of books gets a book if the stream did not have it; ``get_snapshot``
    sends one of a market that it has. Nothing is sent on a stream that has failed.
    """

    def __init__(self) -> None:
        self.markets: dict[str, set[str]] = {}
        self.sids: dict[str, int] = {}
        self.failed: set[int] = set()
        self.books: list[str] = []
        self.errors: list[str] = []
        self.unannounced: list[tuple[int, str]] = []
        self._next_sid = 1
        self._last_id = 0

    def take(self, frames: Iterable[str]) -> None:
        for frame in frames:
            command: dict[str, Any] = json.loads(frame)
            assert command["id"] > self._last_id
            self._last_id = command["id"]
            params = command["params"]
            tickers = params.get("market_tickers", [])
            assert len(tickers) <= MARKETS_A_COMMAND
            assert not any(ticker.endswith(":no") for ticker in tickers)
            match command["cmd"]:
                case "subscribe":
                    for channel in params["channels"]:
                        self._subscribe(channel, tickers)
                case "unsubscribe":
                    for sid in params["sids"]:
                        self._end(sid)
                case _:
                    (sid,) = params["sids"]
                    self._update(sid, params["action"], tickers)

    def announce(self, subscriptions: Subscriptions) -> None:
        """Tell the streams begun since, and do what is sent for it."""
        while self.unannounced:
            sid, channel = self.unannounced.pop(0)
            subscriptions.announced(sid, channel)
            frames, subscriptions.outbox = subscriptions.outbox, []
            self.take(frames)

    def _subscribe(self, channel: str, tickers: list[str]) -> None:
        if channel not in self.sids:
            self.sids[channel] = self._next_sid
            self.markets[channel] = set()
            self.unannounced.append((self._next_sid, channel))
            self._next_sid += 1
        new = [ticker for ticker in tickers if ticker not in self.markets[channel]]
        self.markets[channel] |= set(new)
        if channel == BOOKS and self.sids[channel] not in self.failed:
            self.books += new

    def _end(self, sid: int) -> None:
        for channel, known in list(self.sids.items()):
            if known == sid:
                del self.sids[channel], self.markets[channel]

    def _update(self, sid: int, action: str, tickers: list[str]) -> None:
        channel = next((name for name, known in self.sids.items() if known == sid), None)
        if channel is None:
            self.errors.append("unknown sid")
        elif action == "delete_markets":
            self.markets[channel] -= set(tickers)
        elif channel != BOOKS:
            self.errors.append("unsupported action")
        elif sid not in self.failed:
            self.books += [ticker for ticker in tickers if ticker in self.markets[channel]]


def _terms(asset_id: str) -> AssetTerms:
    ticker = asset_id.removesuffix(":no")
    return AssetTerms(market_id=ticker, asset_id=asset_id, tick=100, primary=asset_id == ticker)


def _followed(*asset_ids: str) -> Subscriptions:
    subscriptions = Subscriptions()
    for asset_id in asset_ids:
        subscriptions.follow(_terms(asset_id))
    return subscriptions


def _line(*asset_ids: str) -> tuple[Subscriptions, Venue]:
    """A connection with these assets, whose streams the venue has announced and books sent."""
    subscriptions, venue = _followed(*asset_ids), Venue()
    venue.take(subscriptions.subscribe(asset_ids))
    venue.announce(subscriptions)
    for ticker in venue.books:
        subscriptions.book_came(ticker)
    venue.books.clear()
    return subscriptions, venue


def test_markets_are_named_once_whatever_outcomes_are_asked_for() -> None:
    subscriptions = _followed("M", "M:no", "N")
    (frame,) = map(json.loads, subscriptions.subscribe(["M", "M:no", "unknown", "N"]))
    assert frame["params"]["market_tickers"] == ["M", "N"]
    assert subscriptions.subscribe([]) == []


def test_many_markets_are_spread_over_commands() -> None:
    names = [f"T{number}" for number in range(2 * MARKETS_A_COMMAND + 1)]
    subscriptions, venue = _line(*names)
    assert venue.markets == {BOOKS: set(names), TRADES: set(names)}
    venue.take(subscriptions.resync(names))
    assert venue.books == names
    venue.take(subscriptions.unsubscribe(names[:-1]))
    assert venue.markets == {BOOKS: {names[-1]}, TRADES: {names[-1]}}
    assert venue.errors == []


def test_a_market_leaves_both_streams() -> None:
    subscriptions, venue = _line("A", "B")
    venue.take(subscriptions.unsubscribe(["A"]))
    assert venue.markets == {BOOKS: {"B"}, TRADES: {"B"}}
    assert subscriptions.unsubscribe(["A"]) == []


def test_a_market_stays_while_one_of_its_outcomes_is_followed() -> None:
    subscriptions, venue = _line("A", "A:no")
    assert subscriptions.unsubscribe(["A:no"]) == []
    venue.take(subscriptions.unsubscribe(["A"]))
    assert venue.markets == {BOOKS: set(), TRADES: set()}


def test_what_is_unsubscribed_before_a_stream_is_announced_leaves_it_then() -> None:
    subscriptions, venue = _followed("A", "B"), Venue()
    venue.take(subscriptions.subscribe(["A", "B"]))
    assert subscriptions.unsubscribe(["A"]) == [], "the venue has not told the streams' numbers"
    assert venue.markets[BOOKS] == {"A", "B"}
    venue.announce(subscriptions)
    assert venue.markets == {BOOKS: {"B"}, TRADES: {"B"}}
    assert subscriptions.outbox == []


def test_what_comes_back_before_a_stream_is_announced_gets_its_book() -> None:
    subscriptions, venue = _followed("A"), Venue()
    venue.take(subscriptions.subscribe(["A"]))
    subscriptions.unsubscribe(["A"])
    venue.books.clear()  # it came while nobody followed the market
    subscriptions.follow(_terms("A"))
    venue.take(subscriptions.subscribe(["A"]))
    assert venue.books == [], "the venue sends none of a market that it has"
    venue.announce(subscriptions)
    assert venue.books == ["A"]
    assert venue.markets == {BOOKS: {"A"}, TRADES: {"A"}}
    assert venue.errors == []


def test_a_book_is_asked_for_within_its_stream() -> None:
    subscriptions, venue = _line("A", "B")
    (frame,) = map(json.loads, frames := subscriptions.resync(["A"]))
    assert frame["params"] == {
        "sids": [venue.sids[BOOKS]], "market_tickers": ["A"], "action": "get_snapshot",
    }  # fmt: skip
    venue.take(frames)
    assert venue.books == ["A"]
    assert subscriptions.resync(["unknown"]) == []


def test_a_request_in_vain_is_followed_by_a_new_subscription_of_that_market_alone() -> None:
    subscriptions, venue = _line("A", "B")
    subscriptions.resync(["A"])  # lost
    venue.take(subscriptions.resync(["A", "B"]))
    assert venue.books == ["B", "A"], "B was asked for the first time"
    assert venue.markets == {BOOKS: {"A", "B"}, TRADES: {"A", "B"}}
    subscriptions.book_came("A")
    (frame,) = map(json.loads, subscriptions.resync(["A"]))
    assert frame["params"]["action"] == "get_snapshot"


def test_before_any_stream_is_announced_a_book_is_asked_for_by_subscribing() -> None:
    subscriptions, venue = _followed("A"), Venue()
    subscriptions.subscribe(["A"])  # lost
    venue.take(subscriptions.resync(["A"]))
    assert venue.books == ["A"]


@pytest.mark.parametrize("named", [True, False])
def test_a_failed_stream_of_books_is_replaced_with_all_its_markets(named: bool) -> None:
    subscriptions, venue = _line("A", "B", "C")
    subscriptions.resync(["C"])
    dead = venue.sids[BOOKS]
    venue.failed.add(dead)
    subscriptions.failed(dead if named else None)
    venue.take(subscriptions.outbox)
    subscriptions.outbox = []
    # C waits for a book that the failed stream will not send: it must not be forgotten
    venue.take(subscriptions.resync(["A", "B"]))
    assert venue.sids[BOOKS] != dead
    assert sorted(venue.books) == ["A", "B", "C"]
    venue.announce(subscriptions)
    assert not subscriptions.carries_books(dead)
    assert subscriptions.carries_books(venue.sids[BOOKS])
    venue.take(subscriptions.resync(["A"]))
    assert venue.books[-1] == "A"
    assert venue.markets[TRADES] == {"A", "B", "C"}
    assert venue.errors == []


def test_a_failed_stream_of_prints_is_replaced_at_once() -> None:
    subscriptions, venue = _line("A", "B")
    books, dead = venue.sids[BOOKS], venue.sids[TRADES]
    subscriptions.failed(dead)
    venue.take(subscriptions.outbox)
    assert venue.sids[TRADES] != dead
    assert venue.markets[TRADES] == {"A", "B"}
    assert venue.sids[BOOKS] == books
    assert venue.books == []


def test_announcements_are_subscribed_once_and_again_where_they_fail() -> None:
    subscriptions, venue = _line("A")
    venue.take(subscriptions.opening())
    venue.announce(subscriptions)
    dead = venue.sids[LIFECYCLE]
    subscriptions.failed(dead)
    venue.take(subscriptions.outbox)
    assert venue.sids[LIFECYCLE] != dead


_TICKERS = st.sampled_from("ABCD")
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), _TICKERS),
        st.tuples(st.just("remove"), _TICKERS),
        st.tuples(st.just("resync"), _TICKERS),
        st.tuples(st.sampled_from(["announce", "fail"]), st.just("")),
    ),
    max_size=30,
)


@given(_STEPS)
def test_whatever_happens_the_venue_has_the_markets_that_are_followed(
    steps: list[tuple[str, str]],
) -> None:
    subscriptions, venue = Subscriptions(), Venue()
    held: set[str] = set()
    for step, ticker in steps:
        if step == "add" and ticker not in held:
            held.add(ticker)
            subscriptions.follow(_terms(ticker))
            venue.take(subscriptions.subscribe([ticker]))
        elif step == "remove" and ticker in held:
            held.remove(ticker)
            venue.take(subscriptions.unsubscribe([ticker]))
        elif step == "resync" and ticker in held:
            venue.take(subscriptions.resync([ticker]))
        elif step == "announce":
            venue.announce(subscriptions)
        elif step == "fail" and venue.sids.get(BOOKS) in subscriptions.channels:
            dead = venue.sids[BOOKS]
            venue.failed.add(dead)
            subscriptions.failed(dead)
            venue.take(subscriptions.resync(sorted(held)))
    venue.announce(subscriptions)
    if held:
        venue.take(subscriptions.resync(sorted(held)))
        venue.announce(subscriptions)
        assert venue.markets[BOOKS] == venue.markets[TRADES] == held
        assert venue.sids[BOOKS] not in venue.failed
    venue.books.clear()
    # at the second time of asking at the latest every book comes
    for _ in range(2):
        venue.take(subscriptions.resync(sorted(held)))
    assert set(venue.books) >= held
