"""The servers over real loopback sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from surveillance_core.venues.simulated.servers import SimulatedPolymarket

pytestmark = pytest.mark.asyncio

PATIENCE_S = 10.0


def _venue(events_per_second: float = 200.0, speed: float = 1.0) -> SimulatedPolymarket:
    return SimulatedPolymarket(seed=5, markets=20, events_per_second=events_per_second, speed=speed)


def _socket(venue: SimulatedPolymarket) -> connect:
    return connect(venue.ws_url, compression=None, max_size=2**25, close_timeout=0.2)


def _tokens(venue: SimulatedPolymarket, count: int) -> list[str]:
    assert venue.world is not None
    listings = venue.world.tradable
    return [token for m in listings for token in (m.yes_id, m.no_id)][:count]


async def _open(ws: ClientConnection, tokens: list[str], **more: object) -> list[dict[str, Any]]:
    await ws.send(json.dumps({"assets_ids": tokens, "type": "market"} | more))
    return json.loads(await _receive(ws))


async def _receive(ws: ClientConnection) -> str:
    frame = await asyncio.wait_for(ws.recv(), PATIENCE_S)
    assert isinstance(frame, str)
    return frame


async def _until(ws: ClientConnection, wanted: str) -> str:
    async with asyncio.timeout(PATIENCE_S):
        while wanted not in (frame := await _receive(ws)):
            pass
    return frame


async def _closed(ws: ClientConnection) -> ConnectionClosed:
    with pytest.raises(ConnectionClosed) as caught:
        await asyncio.wait_for(_drain(ws), PATIENCE_S)
    return caught.value


async def _drain(ws: ClientConnection, silence_s: float | None = None) -> None:
    while True:
        await asyncio.wait_for(ws.recv(), silence_s)


@pytest_asyncio.fixture
async def gamma() -> AsyncIterator[tuple[SimulatedPolymarket, httpx.AsyncClient]]:
    async with (
        _venue() as venue,
        httpx.AsyncClient(base_url=venue.http_url, trust_env=False) as http,
    ):
        yield venue, http


async def test_a_subscription_gets_one_array_of_books_then_changes() -> None:
    async with _venue() as venue, _socket(venue) as ws:
        tokens = _tokens(venue, 40)
        books = await _open(ws, tokens)
        assert [book["asset_id"] for book in books] == tokens
        assert all(book["tick_size"] and "last_trade_price" in book for book in books)
        change = json.loads(await _until(ws, "price_change"))
        assert len(change["price_changes"]) == 2


async def test_ping_is_answered_after_a_subscription_and_closes_before() -> None:
    async with _venue() as venue:
        async with _socket(venue) as ws:
            await ws.send("PING")
            closed = await _closed(ws)
            assert closed.rcvd is not None
            assert (closed.rcvd.code, closed.rcvd.reason) == (1008, "invalid subscription payload")
        async with _socket(venue) as ws:
            await _open(ws, _tokens(venue, 2))
            await ws.send("PING")
            assert await _until(ws, "PONG") == "PONG"


async def test_operations_are_answered_as_the_venue_does() -> None:
    async with _venue() as venue, _socket(venue) as ws:
        tokens = _tokens(venue, 6)
        await _open(ws, tokens[:2])
        await ws.send(json.dumps({"assets_ids": tokens, "type": "market"}))
        await _until(ws, "INVALID OPERATION")
        await ws.send("no json")
        await _until(ws, "INVALID OPERATION")
        await ws.send(json.dumps({"operation": "subscribe", "assets_ids": tokens[:2]}))
        await _until(ws, "NO NEW ASSETS")
        await ws.send(json.dumps({"operation": "subscribe", "assets_ids": tokens[2:4]}))
        books = json.loads(await _until(ws, '"tick_size"'))
        assert {book["asset_id"] for book in books} == set(tokens[2:4])
        await ws.send(json.dumps({"operation": "unsubscribe", "assets_ids": tokens[2:4]}))
        await ws.send(json.dumps({"operation": "subscribe", "assets_ids": tokens[2:4]}))
        again = json.loads(await _until(ws, '"tick_size"'))
        assert {book["asset_id"] for book in again} == set(tokens[2:4])
        assert venue.sockets.received["unsubscribe"] == 1


async def test_an_unsubscribed_asset_is_silent() -> None:
    async with _venue() as venue, _socket(venue) as ws:
        tokens = _tokens(venue, 2)
        await _open(ws, tokens)
        await ws.send(json.dumps({"operation": "unsubscribe", "assets_ids": tokens}))
        await ws.send("PING")
        await _until(ws, "PONG")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ws.recv(), 0.3)


async def test_too_many_ids_in_one_frame_close_the_connection() -> None:
    async with _venue() as venue, _socket(venue) as ws:
        many = [str(number) for number in range(2_000)]
        await ws.send(json.dumps({"assets_ids": many, "type": "market"}))
        await _closed(ws)


async def test_custom_events_come_only_when_asked_for() -> None:
    async with _venue() as venue:
        tokens = _tokens(venue, 40)
        async with _socket(venue) as plain, _socket(venue) as custom:
            await _open(plain, tokens)
            await _open(custom, tokens, custom_feature_enabled=True)
            assert "best_bid_ask" in await _until(custom, "best_bid_ask")
            for _ in range(50):
                assert "best_bid_ask" not in await _receive(plain)


async def test_paging_reaches_the_end(
    gamma: tuple[SimulatedPolymarket, httpx.AsyncClient],
) -> None:
    venue, http = gamma
    assert venue.world is not None
    seen: list[str] = []
    params: dict[str, str] = {"limit": "3", "closed": "false"}
    while True:
        page = (await http.get("/events/keyset", params=params)).json()
        seen += [event["id"] for event in page["events"]]
        if "next_cursor" not in page:
            break
        params["after_cursor"] = page["next_cursor"]
    assert seen == [event.event_id for event in venue.world.events if not event.closed]
    assert venue.requests["/events"] == -(-len(seen) // 3)


async def test_gamma_keeps_the_venues_quirks(
    gamma: tuple[SimulatedPolymarket, httpx.AsyncClient],
) -> None:
    _, http = gamma
    assert (await http.get("/events/keyset?offset=1")).status_code == 422
    first = (await http.get("/events/keyset?limit=2")).json()
    ignored = await http.get(f"/events/keyset?limit=2&cursor={first['next_cursor']}")
    assert [e["id"] for e in ignored.json()["events"]] == [e["id"] for e in first["events"]]
    event = (await http.get(f"/events/{first['events'][0]['id']}")).json()
    market = event["markets"][0]
    assert json.loads(market["outcomes"]) == ["Yes", "No"]
    assert all(len(token) == 77 for token in json.loads(market["clobTokenIds"]))
    assert market["questionID"][:-2] == market["negRiskMarketID"][:-2]
    assert (await http.get("/events/0")).status_code == 404


async def test_the_clob_serves_books_and_terms(
    gamma: tuple[SimulatedPolymarket, httpx.AsyncClient],
) -> None:
    venue, http = gamma
    tokens = _tokens(venue, 4)
    book = (await http.get("/book", params={"token_id": tokens[0]})).json()
    assert book["min_order_size"] == "5"
    assert book["asset_id"] == tokens[0]
    missing = await http.get("/book", params={"token_id": "123"})
    assert missing.status_code == 404
    assert missing.json() == {"error": "No orderbook exists for the requested token id"}
    body = [{"token_id": token} for token in [*tokens, "123"]]
    books = (await http.post("/books", json=body)).json()
    assert {b["asset_id"] for b in books} == set(tokens)
    assert venue.world is not None
    listing = venue.world.tradable[0]
    terms = (await http.get(f"/clob-markets/{listing.market_id}")).json()
    assert [t["t"] for t in terms["t"]] == [listing.yes_id, listing.no_id]


async def test_rest_faults_happen_as_often_as_ordered(
    gamma: tuple[SimulatedPolymarket, httpx.AsyncClient],
) -> None:
    venue, http = gamma
    venue.faults.fail_requests("/events", 429, retry_after=2, times=2)
    for _ in range(2):
        answer = await http.get("/events/keyset")
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")
    venue.faults.malform_body("/events")
    with pytest.raises(json.JSONDecodeError):
        (await http.get("/events/keyset")).json()
    venue.faults.empty_page("/events")
    assert (await http.get("/events/keyset")).json() == {"events": []}
    venue.faults.endless_cursor("/events", times=2)
    pages = [(await http.get("/events/keyset?limit=2")).json() for _ in range(2)]
    assert pages[0]["next_cursor"] == pages[1]["next_cursor"]
    assert (await http.get("/events/keyset?limit=500")).json().keys() == {"events"}


async def test_socket_faults_are_met() -> None:
    async with _venue() as venue:
        async with _socket(venue) as ws:
            await _open(ws, _tokens(venue, 40))
            venue.faults.inject('{"event_type":"nonsense"}')
            await _until(ws, "nonsense")
            venue.faults.stall(0.5)
            with pytest.raises(TimeoutError):
                await _drain(ws, 0.3)
            await _until(ws, "price_change")
            venue.faults.drop_connections(1012, "restart")
            closed = await _closed(ws)
            assert closed.rcvd is not None
            assert closed.rcvd.code == 1012
        async with _socket(venue) as ws:
            await _open(ws, _tokens(venue, 2))
            venue.faults.drop_connections()
            assert (await _closed(ws)).rcvd is None


async def test_a_client_that_does_not_read_holds_up_nobody() -> None:
    async with _venue(events_per_second=3_000) as venue, _socket(venue) as slow:
        tokens = _tokens(venue, 40)
        await slow.send(json.dumps({"assets_ids": tokens, "type": "market"}))
        async with _socket(venue) as quick:
            await _open(quick, tokens)
            async with asyncio.timeout(PATIENCE_S):
                for _ in range(3_000):
                    await quick.recv()
        slow.transport.abort()


async def test_the_truth_is_kept_while_it_runs() -> None:
    async with _venue(speed=20.0) as venue, _socket(venue) as ws:
        await _open(ws, _tokens(venue, 40))
        await _until(ws, "last_trade_price")
        assert venue.truth.trades
        assert sum(map(len, venue.truth.batches.values())) > 10


async def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_running() -> None:
    async with _venue() as venue:
        taken = int(venue.ws_url.split(":")[2].split("/")[0])
        with pytest.raises(OSError, match="in use"):
            async with SimulatedPolymarket(seed=1, markets=2, ws_port=taken):
                pass
