"""Books over REST: batched, matched by token, sorted; what lacks is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.venues.polymarket.rest_books import LARGEST_BATCH, RestBooks, fetch_books
from surveillance_core.venues.rest import RestClient, VenueError

Json = dict[str, Any]


def _book(token: str, **members: object) -> Json:
    return {
        "market": "0xm", "asset_id": token, "timestamp": "1790000000000", "hash": "ab",
        "bids": [{"price": "0.1", "size": "5"}, {"price": "0.39", "size": "7.5"}],
        "asks": [{"price": "0.9", "size": "1"}, {"price": "0.41", "size": "2"}],
        "min_order_size": "5", "tick_size": "0.01", "neg_risk": False, "last_trade_price": "",
    } | members  # fmt: skip


def _fetch(
    tokens: list[str], answer: Callable[[list[str]], object], asked: list[list[str]] | None = None
) -> RestBooks:
    def serve(request: httpx.Request) -> httpx.Response:
        wanted = [item["token_id"] for item in json.loads(request.content)]
        if asked is not None:
            asked.append(wanted)
        return httpx.Response(200, json=answer(wanted))

    with RestClient(
        "https://clob.example", transport=httpx.MockTransport(serve), requests_per_second=1e9
    ) as clob:
        return fetch_books(clob, tokens)


def test_levels_come_out_best_first_whatever_their_order() -> None:
    found = _fetch(["1"], lambda _: [_book("1")])
    book = found.books["1"]
    assert book.bids == ((3900, 7.5), (1000, 5.0))
    assert book.asks == ((4100, 2.0), (9000, 1.0))
    assert (book.ts_venue_ms, book.hash, book.tick_size) == (1_790_000_000_000, "ab", "0.01")
    assert (book.neg_risk, book.last_trade_price) == (False, "")


@given(st.sets(st.integers(0, 2000), max_size=1200), st.randoms(use_true_random=False))
def test_each_token_asked_is_answered_once_or_named_as_missing(
    numbers: set[int], random: Any
) -> None:
    tokens = [str(number) for number in numbers]
    asked: list[list[str]] = []

    def answer(wanted: list[str]) -> object:
        known = [token for token in wanted if int(token) % 3]
        random.shuffle(known)
        return [_book(token) for token in known]

    found = _fetch(tokens + tokens[:5], answer, asked)
    assert [len(batch) for batch in asked[:-1]] == [LARGEST_BATCH] * (len(asked) - 1)
    assert sorted(t for batch in asked for t in batch) == sorted(tokens)
    assert set(found.books) == {t for t in tokens if int(t) % 3}
    assert set(found.missing) == {t for t in tokens if not int(t) % 3}
    assert (found.unreadable, found.oddities) == ({}, {})


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"bids": None}, "bids_not_a_list"),
        ({"asks": [{"price": "1.5", "size": "1"}]}, "asks_price_malformed"),
        ({"asks": [{"size": "1"}]}, "asks_price_malformed"),
        ({"bids": [None]}, "bids_price_malformed"),
        ({"bids": [{"price": "0.5", "size": "NaN"}]}, "bids_size_malformed"),
        ({"bids": [{"price": "0.5", "size": "-1"}]}, "bids_size_malformed"),
        ({"bids": [{"price": "0.5", "size": "1"}, {"price": "0.50", "size": "2"}]},
         "bids_price_repeats"),
    ],
    ids=str,
)  # fmt: skip
def test_a_book_that_cannot_be_read_is_neither_missing_nor_guessed(
    members: Json, reason: str
) -> None:
    found = _fetch(["1", "2"], lambda _: [_book("1", **members), _book("2")])
    assert found.unreadable == {"1": reason}
    assert set(found.books) == {"2"}
    assert found.missing == ()


def test_what_was_not_asked_is_counted_and_the_newest_of_two_stands() -> None:
    later = _book("1", timestamp="1790000000001", hash="new")
    found = _fetch(["1"], lambda _: [later, _book("1"), _book("9"), None, {"asset_id": 3}])
    assert found.books["1"].hash == "new"
    assert found.oddities == {"answered_twice": 1, "not_asked": 1, "no_asset_id": 2}


def test_an_answer_that_is_no_list_is_an_error() -> None:
    with pytest.raises(VenueError, match="no list of books"):
        _fetch(["1"], lambda _: {"error": "Invalid payload"})
