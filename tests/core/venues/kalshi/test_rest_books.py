"""Books as Kalshi's REST interface states them."""

from __future__ import annotations

import httpx
import pytest

from surveillance_core.venues.kalshi.rest_books import answer_for, read_book
from surveillance_core.venues.protocols import AssetTerms, BookAnswer
from surveillance_core.venues.rest import RestClient, VenueError

BOOK = {
    "orderbook_fp": {
        "yes_dollars": [["0.0800", "300.00"], ["0.4200", "13.00"]],
        "no_dollars": [["0.0100", "5.00"], ["0.5600", "17.50"]],
    }
}


def _terms(ticker: str) -> AssetTerms:
    return AssetTerms(market_id=ticker, asset_id=f"{ticker}:yes", tick=100)


def _client(answers: dict[str, tuple[int, object]], asked: list[str]) -> RestClient:
    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        status, body = answers[request.url.path]
        return httpx.Response(status, json=body)

    return RestClient(
        "https://kalshi.test/v2",
        requests_per_second=1_000.0,
        attempts=1,
        transport=httpx.MockTransport(answer),
    )


def test_a_no_bid_is_a_yes_ask_and_whole_books_are_asked_for() -> None:
    asked: list[str] = []
    client = _client(
        {
            "/v2/markets/KXA-1/orderbook": (200, BOOK),
            "/v2/markets/KXB-1/orderbook": (404, {"error": {"code": "not_found"}}),
        },
        asked,
    )
    found = answer_for(client, [_terms("KXA-1"), _terms("KXB-1")])
    book = BookAnswer(bids={800: 300.0, 4_200: 13.0}, asks={9_900: 5.0, 4_400: 17.5})
    assert found == {"KXA-1:yes": book}
    assert asked[0] == "https://kalshi.test/v2/markets/KXA-1/orderbook"


def test_an_answer_that_is_refused_is_an_error() -> None:
    client = _client({"/v2/markets/KXA-1/orderbook": (401, {})}, [])
    with pytest.raises(VenueError):
        answer_for(client, [_terms("KXA-1")])


@pytest.mark.parametrize("side", [[], None])
def test_an_empty_side_has_no_levels(side: object) -> None:
    book = {"orderbook_fp": {"yes_dollars": side, "no_dollars": [["0.5600", "1.00"]]}}
    assert read_book(book) == BookAnswer(bids={}, asks={4_400: 1.0})


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"orderbook_fp": []},
        {"orderbook_fp": {"yes_dollars": 1, "no_dollars": []}},
        {"orderbook_fp": {"yes_dollars": [["0.42"]], "no_dollars": []}},
        {"orderbook_fp": {"yes_dollars": [[None, "1.00"]], "no_dollars": []}},
        {"orderbook_fp": {"yes_dollars": [["0.42", "NaN"]], "no_dollars": []}},
        {"orderbook_fp": {"yes_dollars": [["1.42", "1.00"]], "no_dollars": []}},
    ],
)
def test_what_is_no_book_is_none(answer: object) -> None:
    assert read_book(answer) is None
