"""The sweep of the listing, against the venue served on loopback."""

from __future__ import annotations

import json
from asyncio import to_thread
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from surveillance_core.venues.polymarket.rest import STALE_PAGES, discover
from surveillance_core.venues.protocols import Discovery
from surveillance_core.venues.rest import RestClient, VenueError
from surveillance_core.venues.simulated.servers import SimulatedPolymarket

pytestmark = pytest.mark.asyncio

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
MakeMarket = Callable[..., dict[str, Any]]
START_MS = 1_790_000_000_000
PATH = "/events/keyset"


def _no_waiting(_: float) -> None:
    """In place of sleep."""


def _venue() -> SimulatedPolymarket:
    return SimulatedPolymarket(seed=5, markets=80, start_ms=START_MS, events_per_second=1)


async def _sweep(venue: SimulatedPolymarket, **options: Any) -> Discovery:
    settings: dict[str, Any] = {"page_size": 3} | options
    with RestClient(venue.http_url, requests_per_second=1e9, sleep=_no_waiting) as client:
        found = await to_thread(lambda: discover(client, NOW, **settings))
    assert len(found.markets) + found.set_aside.total() == found.seen
    return found


def _tradable(venue: SimulatedPolymarket) -> list[str]:
    assert venue.world is not None
    return sorted(
        market.market_id
        for event in venue.world.events
        if not event.closed
        for market in event.markets
        if market.tradable
    )


async def test_the_whole_listing_is_found() -> None:
    pages: list[tuple[int, int]] = []
    async with _venue() as venue:
        found = await _sweep(venue, on_page=lambda *seen: pages.append(seen))
        assert sorted(market.market_id for market in found.markets) == _tradable(venue)
        assert venue.requests["/events"] == found.pages == len(pages) > 2
        assert found.seen == pages[-1][1]
        assert found.oddities == {}
        again = await _sweep(venue, page_size=500)
        assert again.pages == 1
        assert again.markets == found.markets


async def test_what_is_found_is_what_the_world_lists() -> None:
    async with _venue() as venue:
        found = {market.market_id: market for market in (await _sweep(venue)).markets}
        assert venue.world is not None
        for event in venue.world.events:
            for listing in event.markets:
                market = found.get(listing.market_id)
                if market is None:
                    continue
                assert market.title == listing.title
                assert [o.outcome_id for o in market.outcomes] == [
                    listing.yes_id, listing.no_id,
                ]  # fmt: skip
                assert market.tick_size == listing.grid.finest / 10_000
                assert market.neg_risk == event.exclusive
                assert (market.fees is not None) == (listing.fees is not None)
                assert market.groups[0].members == len(event.markets)


async def test_trouble_in_the_middle_is_tried_again() -> None:
    async with _venue() as venue:
        whole = await _sweep(venue)
        fault = venue.faults.fail_requests
        found = await _sweep(
            venue, on_page=lambda page, _: fault(PATH, 500, times=2) if page == 2 else None
        )
    assert found.markets == whole.markets


async def test_a_page_that_cannot_be_had_fails_the_sweep() -> None:
    async with _venue() as venue:

        def break_it(page: int, _: int) -> None:
            if page == 2:
                venue.faults.fail_requests(PATH, 500, times=1_000)

        with pytest.raises(VenueError, match=r"status 500: .*, 6 times in a row"):
            await _sweep(venue, on_page=break_it)


async def test_an_empty_page_is_counted_and_what_was_found_stands() -> None:
    async with _venue() as venue:
        found = await _sweep(
            venue, on_page=lambda page, _: venue.faults.empty_page(PATH) if page == 2 else None
        )
    assert found.pages == 3
    assert found.oddities["empty_page"] == 1
    assert found.markets


async def test_an_empty_listing_does_not_replace_the_last_one() -> None:
    async with _venue() as venue:
        venue.faults.empty_page(PATH)
        with pytest.raises(VenueError, match="listing is empty"):
            await _sweep(venue)


async def test_a_cursor_that_repeats_ends_the_sweep() -> None:
    async with _venue() as venue:
        venue.faults.endless_cursor(PATH, times=1_000)
        found = await _sweep(venue)
        assert venue.requests["/events"] == found.pages == 2
    assert found.oddities == {"cursor_repeats": 1}
    assert found.set_aside["listed_twice"] > 0


async def test_an_endless_fresh_cursor_ends_the_sweep() -> None:
    async with _venue() as venue:
        venue.faults.endless_cursor(PATH, fresh=True, times=1_000)
        found = await _sweep(venue)
        assert venue.requests["/events"] == found.pages == 1 + STALE_PAGES
    assert found.oddities == {"cursor_endless": 1}


async def test_no_more_pages_are_asked_for_than_allowed() -> None:
    async with _venue() as venue:
        found = await _sweep(venue, max_pages=2, page_size=1)
        assert venue.requests["/events"] == 2
    assert found.oddities["cursor_endless"] == 1


@pytest.mark.parametrize(
    "body", [[], None, "maintenance", {}, {"events": None}, {"events": {}}, {"error": "x"}], ids=str
)
async def test_an_answer_that_is_no_listing_fails_the_sweep(body: object) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=json.dumps(body)))
    with (
        RestClient("https://gamma.example", transport=transport) as client,
        pytest.raises(VenueError, match="not a listing"),
    ):
        discover(client, NOW)


async def test_the_cursor_is_passed_on_and_closed_events_are_not_asked_for(
    make_market: MakeMarket,
) -> None:
    asked: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(dict(request.url.params))
        events = [{"id": str(len(asked)), "markets": [make_market(len(asked)), {}]}]
        cursor = {"next_cursor": "a+b/c="} if len(asked) == 1 else {"next_cursor": ""}
        return httpx.Response(200, json={"events": events} | cursor)

    transport = httpx.MockTransport(answer)
    with RestClient("https://g.example", transport=transport, requests_per_second=1e9) as client:
        found = discover(client, NOW, page_size=7)
    assert asked == [
        {"closed": "false", "limit": "7"},
        {"closed": "false", "limit": "7", "after_cursor": "a+b/c="},
    ]
    assert (found.seen, found.pages, len(found.markets)) == (4, 2, 2)


async def test_a_listing_of_which_nothing_can_be_followed_does_not_replace_the_last_one() -> None:
    body = {"events": [{"id": "1", "markets": [{"active": False}, {}]}]}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=body))
    with (
        RestClient("https://gamma.example", transport=transport) as client,
        pytest.raises(VenueError, match=r"none of 2 markets .*inactive"),
    ):
        discover(client, NOW)
