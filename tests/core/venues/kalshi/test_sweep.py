"""The sweep of the listing: paging, loops, parts that fail, error bodies."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from surveillance_core.markets import FeeTerms
from surveillance_core.venues.answers import describe_error
from surveillance_core.venues.kalshi.rest import LARGEST_PAGE, STALE_PAGES, discover
from surveillance_core.venues.protocols import Discovery
from surveillance_core.venues.rest import RestClient, VenueError

Json = dict[str, Any]
NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
ROOT = "/trade-api/v2"


def _event(number: int, **members: object) -> Json:
    market = {
        "ticker": f"KXDAY-{number}-T1",
        "event_ticker": f"KXDAY-{number}",
        "market_type": "binary",
        "status": "active",
        "title": f"Day {number}?",
        "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}],
    } | members
    return {
        "event_ticker": f"KXDAY-{number}",
        "series_ticker": "KXDAY",
        "title": f"Day {number}",
        "mutually_exclusive": False,
        "collateral_return_type": "",
        "markets": [market],
    }


class Listing:
    """A venue of numbered events, whose answers by path can be replaced."""

    def __init__(self, events: int = 7) -> None:
        self.events = [_event(number) for number in range(events)]
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.replaced: dict[str, Callable[[httpx.Request], httpx.Response]] = {}
        self.headers: set[str] = set()

    @property
    def requests(self) -> Counter[str]:
        return Counter(path for path, _ in self.asked)

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix(ROOT)
        params = dict(request.url.params)
        self.asked.append((path, params))
        self.headers |= set(request.headers)
        if path in self.replaced:
            return self.replaced[path](request)
        return httpx.Response(200, json=self._body(path, params))

    def _body(self, path: str, params: dict[str, str]) -> Json:
        if path == "/exchange/status":
            return {"exchange_active": True, "trading_active": True}
        if path == "/series":
            terms = {"fee_type": "quadratic", "fee_multiplier": 0.5, "category": "Days"}
            return {"series": [{"ticker": "KXDAY", "title": "Days"} | terms]}
        if path == "/incentive_programs":
            second = params.get("cursor") == "more"
            programme = {
                "id": "p2" if second else "p1", "market_ticker": f"KXDAY-{int(second)}-T1",
                "incentive_type": "liquidity", "period_reward": 10_000,
            }  # fmt: skip
            return {"incentive_programs": [programme], "next_cursor": "" if second else "more"}
        assert path == "/events"
        start, size = int(params.get("cursor", "0")), int(params["limit"])
        page = self.events[start : start + size]
        end = start + size >= len(self.events)
        return {"events": page, "cursor": "" if end else str(start + size), "milestones": []}


def _sweep(listing: Listing, **options: Any) -> Discovery:
    transport = httpx.MockTransport(listing.answer)
    with RestClient(
        "https://kalshi.example/trade-api/v2", transport=transport, requests_per_second=1e9,
        attempts=2, sleep=lambda _: None,
    ) as client:  # fmt: skip
        found = discover(client, NOW, **({"page_size": 3} | options))
    assert len(found.markets) + found.set_aside.total() == found.seen
    return found


def test_the_whole_listing_is_found_without_a_key() -> None:
    listing = Listing()
    pages: list[tuple[int, int]] = []
    found = _sweep(listing, on_page=lambda *seen: pages.append(seen))
    assert pages == [(1, 3), (2, 6), (3, 7)]
    assert (found.pages, found.seen, len(found.markets)) == (3, 7, 7)
    assert found.oddities == {}
    assert [market.named_fee.multiplier for market in found.markets if market.named_fee] == [
        0.5
    ] * 7
    assert {market.category for market in found.markets} == {"Days"}
    assert [len(market.incentives) for market in found.markets] == [1, 1, 0, 0, 0, 0, 0]
    assert found.markets[0].groups[-1].members == 7
    assert listing.requests == {
        "/events": 3, "/series": 1, "/incentive_programs": 2, "/exchange/status": 1,
    }  # fmt: skip
    assert not any(name.startswith("kalshi-") for name in listing.headers)
    assert "accept-language" not in listing.headers
    events = [params for path, params in listing.asked if path == "/events"]
    assert events[1] == {
        "status": "open", "with_nested_markets": "true", "limit": "3", "cursor": "3",
    }  # fmt: skip
    assert "cursor" not in events[0]


def test_no_larger_pages_are_asked_for_than_the_venue_gives() -> None:
    listing = Listing()
    _sweep(listing, page_size=500)
    assert listing.asked[-1][1]["limit"] == str(LARGEST_PAGE)


def test_a_cursor_that_repeats_ends_the_sweep() -> None:
    listing = Listing()
    listing.replaced["/events"] = lambda _: httpx.Response(
        200, json={"events": listing.events[:3], "cursor": "again"}
    )
    found = _sweep(listing)
    assert listing.requests["/events"] == found.pages == 2
    assert found.oddities == {"cursor_repeats": 1}
    assert found.set_aside == {"listed_twice": 3}
    assert len(found.markets) == 3


def test_an_endless_fresh_cursor_ends_the_sweep() -> None:
    listing = Listing()
    listing.replaced["/events"] = lambda _: httpx.Response(
        200, json={"events": listing.events[:3], "cursor": f"c{len(listing.asked)}"}
    )
    listing.replaced["/incentive_programs"] = lambda _: httpx.Response(
        200, json={"incentive_programs": [], "next_cursor": f"c{len(listing.asked)}"}
    )
    found = _sweep(listing)
    assert listing.requests["/events"] == 1 + STALE_PAGES
    assert listing.requests["/incentive_programs"] == STALE_PAGES
    assert found.oddities == {"cursor_endless": 1, "incentives_cursor_endless": 1}


def test_no_more_pages_are_asked_for_than_allowed() -> None:
    listing = Listing()
    found = _sweep(listing, page_size=1, max_pages=2)
    assert listing.requests["/events"] == 2
    assert found.oddities == {"cursor_endless": 1}


def test_an_empty_page_and_an_odd_cursor_are_counted() -> None:
    listing = Listing()
    answers = iter([{"events": listing.events, "cursor": "x"}, {"events": [], "cursor": 7}])
    listing.replaced["/events"] = lambda _: httpx.Response(200, json=next(answers))
    assert _sweep(listing).oddities == {"empty_page": 1, "cursor_not_text": 1}


@pytest.mark.parametrize(
    ("path", "oddity"),
    [
        ("/series", "series_unavailable"),
        ("/incentive_programs", "incentives_unavailable"),
        ("/exchange/status", "exchange_status_unavailable"),
    ],
)
@pytest.mark.parametrize("status", [400, 404, 429, 503])
def test_a_part_that_cannot_be_had_is_counted_and_the_sweep_goes_on(
    path: str, oddity: str, status: int
) -> None:
    listing = Listing()
    listing.replaced[path] = lambda _: httpx.Response(status, text="404 page not found")
    found = _sweep(listing)
    assert len(found.markets) == 7
    assert found.oddities[oddity] == 1
    unknown = [market for market in found.markets if market.fee_terms is FeeTerms.UNKNOWN]
    assert len(unknown) == (7 if path == "/series" else 0)


def test_an_empty_listing_does_not_replace_the_last_one() -> None:
    with pytest.raises(VenueError, match="listing is empty"):
        _sweep(Listing(events=0))


def test_a_listing_of_closed_markets_does_not_replace_the_last_one() -> None:
    listing = Listing(events=0)
    listing.events = [_event(number, status="inactive") for number in range(4)]
    with pytest.raises(VenueError, match=r"none of 4 markets .*inactive 4.*exchange's status"):
        _sweep(listing)


@pytest.mark.parametrize(
    "body", [[], None, "maintenance", {}, {"events": None}, {"events": {}}, {"markets": []}],
    ids=str,
)  # fmt: skip
def test_an_answer_that_is_no_listing_fails_the_sweep(body: object) -> None:
    listing = Listing()
    listing.replaced["/events"] = lambda _: httpx.Response(200, content=json.dumps(body))
    with pytest.raises(VenueError, match=r"/events: no list of events; not a listing"):
        _sweep(listing)


ERRORS: list[tuple[int, Json, str]] = [
    (400, {"error": {"code": "bad_request", "message": "bad", "details": "no such status"}},
     "no such status"),
    (404, {"code": "not_found", "message": "not found", "details": "gone"}, "not_found"),
    (429, {"error": "too many requests"}, "too many requests"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "said"), ERRORS, ids=lambda part: str(part)[:12])
def test_an_error_body_is_named_under_any_status(status: int, body: Json, said: str) -> None:
    listing = Listing()
    listing.replaced["/events"] = lambda _: httpx.Response(200, json=body)
    with pytest.raises(VenueError, match=rf"/events: the venue answered an error: .*{said}"):
        _sweep(listing)
    listing.replaced["/events"] = lambda _: httpx.Response(status, json=body)
    with pytest.raises(VenueError, match=f"/events: status {status}"):
        _sweep(listing)


@pytest.mark.parametrize(
    "body",
    [None, [], "x", {}, {"events": []}, {"error": None}, {"error": []}, {"code": None}],
    ids=str,
)
def test_what_is_no_error_body_is_not_taken_for_one(body: object) -> None:
    assert describe_error(body) is None


def test_an_error_is_quoted_and_cut() -> None:
    said = describe_error({"code": "x\x1b[31m", "message": "y" * 10_000, "details": None})
    assert said is not None
    assert "\x1b" not in said
    assert len(said) < 300


def test_trouble_in_the_middle_is_tried_again() -> None:
    listing = Listing()
    failed: list[str] = []

    def flaky(request: httpx.Request) -> httpx.Response:
        cursor = request.url.params.get("cursor", "0")
        if cursor == "3" and not failed:
            failed.append(cursor)
            return httpx.Response(500)
        del listing.replaced["/events"]
        answer = listing.answer(request)
        listing.replaced["/events"] = flaky
        return answer

    listing.replaced["/events"] = flaky
    assert len(_sweep(listing).markets) == 7
    assert failed == ["3"]
