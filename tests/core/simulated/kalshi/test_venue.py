"""The venue over loopback sockets: handshakes, heartbeats, faults as a client meets them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from surveillance_core.venues.kalshi.channel import KalshiChannel
from surveillance_core.venues.kalshi.rest import discover
from surveillance_core.venues.kalshi.signing import Signer
from surveillance_core.venues.protocols import AssetTerms, Discovery, Doubted
from surveillance_core.venues.rest import RestClient
from surveillance_core.venues.simulated.faults import (
    Duplicate,
    Fail,
    Fault,
    Faults,
    HalfOpen,
    Refuse,
    Reorder,
    Skip,
    Slow,
)
from surveillance_core.venues.simulated.kalshi.limits import KalshiLimits
from surveillance_core.venues.simulated.kalshi.serving import KalshiUrls, serve_kalshi
from surveillance_core.venues.simulated.kalshi.venue import KalshiVenue

from .stage import START_MS, Stage

Json = dict[str, Any]
PATIENCE_S = 10.0
KEY = ed25519.Ed25519PrivateKey.generate()
SIGNER = Signer("key", KEY)
A, B = "KXDAY-0-T0", "KXDAY-0-T1"


class Served:
    def __init__(self, venue: KalshiVenue, stage: Stage, urls: KalshiUrls) -> None:
        self.venue = venue
        self.stage = stage
        self.urls = urls
        self.level = 0

    def open(self, headers: dict[str, str] | None = None, **more: Any) -> connect:
        signed = SIGNER.handshake_headers(START_MS) if headers is None else headers
        return connect(
            self.urls.ws, additional_headers=signed, compression=None, close_timeout=0.2, **more
        )

    def change(self, index: int = 0) -> None:
        self.level += 1
        self.venue.publish(self.stage.batch(index, (True, self.level, 1.0)))

    def order(self, fault: Fault) -> None:
        self.venue.faults.order(fault)
        self.venue.meet_faults()


@asynccontextmanager
async def _served(
    limits: KalshiLimits | None = None, schedule: list[tuple[int, Fault]] | None = None
) -> AsyncIterator[Served]:
    stage = Stage()
    venue = KalshiVenue(
        stage,
        Faults(schedule or ()),
        public_keys={"key": KEY.public_key()},
        limits=limits,
        wall_ms=lambda: START_MS,
    )
    async with serve_kalshi(venue) as urls:
        yield Served(venue, stage, urls)


async def _receive(ws: ClientConnection) -> Json:
    frame = await asyncio.wait_for(ws.recv(), PATIENCE_S)
    return json.loads(frame)


async def _subscribe(ws: ClientConnection, *tickers: str, channel: str = "orderbook_delta") -> None:
    params = {"channels": [channel], "market_tickers": list(tickers)}
    await ws.send(json.dumps({"id": 1, "cmd": "subscribe", "params": params}))
    for _ in range(1 + len(tickers)):
        await _receive(ws)


async def _drain(ws: ClientConnection) -> list[Json]:
    """Frames until the connection ends."""
    frames: list[Json] = []
    try:
        while True:
            frames.append(await _receive(ws))
    except ConnectionClosed:
        return frames


class Judge:
    """Subscribes one market and reads with the client's channel."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws
        self.channel = KalshiChannel()
        self.channel.follow([AssetTerms(market_id=A, asset_id=A, tick=1, mirror_id=f"{A}:no")])
        self.events: list[object] = []
        self._now_ns = 0

    async def open(self) -> None:
        for text in self.channel.commands.subscribe([A]):
            await self.ws.send(text)
        await self.until(lambda: self.channel.states[A].opened)

    async def until(self, done: Callable[[], bool]) -> None:
        while not done():
            text = await asyncio.wait_for(self.ws.recv(), PATIENCE_S)
            self._now_ns += 1_000_000
            self.events += self.channel.receive(text, self._now_ns)


# ── handshakes ───────────────────────────────────────────────────────────────────────────────


async def test_a_handshake_wants_a_signature_of_its_own_path_and_time() -> None:
    async with _served() as served:
        for headers in (
            {},
            SIGNER.handshake_headers(START_MS - 60_000),
            SIGNER.handshake_headers(START_MS, "/trade-api/v2"),
            Signer("other", KEY).handshake_headers(START_MS),
            Signer("key", ed25519.Ed25519PrivateKey.generate()).handshake_headers(START_MS),
        ):
            with pytest.raises(InvalidStatus) as caught:
                await served.open(headers)
            assert caught.value.response.status_code == 401
            assert json.loads(caught.value.response.body)["error"]["code"] == "unauthorized"
        with pytest.raises(InvalidStatus) as caught:
            await connect(
                served.urls.ws.replace("ws/v2", "ws/v1"),
                additional_headers=SIGNER.handshake_headers(START_MS),
            )
        assert caught.value.response.status_code == 404
        assert served.venue.refused == {401: 5, 404: 1}
        async with served.open():
            assert served.venue.connections == 1


async def test_handshakes_are_refused_as_ordered_and_beyond_the_keys_connections() -> None:
    async with _served(KalshiLimits(connections=1)) as served:
        served.venue.faults.order(Refuse(503, 2))
        for _ in range(2):
            with pytest.raises(InvalidStatus) as caught:
                await served.open()
            assert caught.value.response.status_code == 503
        async with served.open():
            with pytest.raises(InvalidStatus) as caught:
                await served.open()
            assert caught.value.response.status_code == 429


# ── the connection ───────────────────────────────────────────────────────────────────────────


async def test_the_venue_pings_with_its_word_and_gives_up_who_never_answers() -> None:
    limits = KalshiLimits(heartbeat_s=0.02, missed_heartbeats=3)
    async with _served(limits) as served:
        host, port = served.urls.ws.split("/")[2].split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        lines = [
            "GET /trade-api/ws/v2 HTTP/1.1", "Host: venue", "Upgrade: websocket",
            "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            *(f"{n}: {v}" for n, v in SIGNER.handshake_headers(START_MS).items()), "", "",
        ]  # fmt: skip
        writer.write("\r\n".join(lines).encode())
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
        # FIN and ping, nine bytes, not masked; then silence, since no pong ever comes
        assert await asyncio.wait_for(reader.readexactly(11), PATIENCE_S) == b"\x89\x09heartbeat"
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await asyncio.wait_for(reader.readexactly(1), PATIENCE_S)
        writer.close()


async def test_a_reader_that_pongs_is_kept() -> None:
    limits = KalshiLimits(heartbeat_s=0.01, missed_heartbeats=2)
    async with _served(limits) as served, served.open(ping_interval=None) as ws:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ws.recv(), 0.3)
        await _subscribe(ws, A)
        assert served.venue.commands == {"subscribe": 1}


async def test_two_connections_have_sids_and_numbers_of_their_own() -> None:
    async with _served() as served, served.open() as first, served.open() as second:
        await _subscribe(first, A, B)
        await _subscribe(second, A)
        served.change()
        served.change(1)
        frames = [await _receive(first), await _receive(first), await _receive(second)]
        assert [(f["sid"], f["seq"]) for f in frames] == [(1, 3), (1, 4), (1, 2)]
        await asyncio.wait_for(first.close(), PATIENCE_S)
        served.change()
        assert (await _receive(second))["seq"] == 3
        assert served.venue.connections == 1
        assert served.venue.frames_sent == 9


async def test_some_frames_end_in_a_newline() -> None:
    async with _served() as served, served.open() as ws:
        await _subscribe(ws, A)
        endings = set()
        for _ in range(6):
            served.change()
            text = await asyncio.wait_for(ws.recv(), PATIENCE_S)
            endings.add(text[-1])
        assert endings == {"\n", "}"}


async def test_a_slow_reader_is_told_and_cut() -> None:
    async with _served(KalshiLimits(backlog_bytes=20_000)) as served, served.open() as ws:
        await _subscribe(ws, A)
        for _ in range(200):
            served.change()
        frames = await _drain(ws)
        assert frames[-1]["type"] == "error"
        assert frames[-1]["msg"] == {"code": 25, "msg": "Subscription buffer overflow"}
        assert frames[-1]["sid"] == 1


# ── faults in the channel's tally ────────────────────────────────────────────────────────────


async def test_a_skipped_frame_is_a_gap_and_a_snapshot_heals_it() -> None:
    async with _served() as served, served.open() as ws:
        judge = Judge(ws)
        await judge.open()
        served.order(Skip(3))
        for _ in range(5):
            served.change()
        await judge.until(lambda: judge.channel.sequence.gaps == 1)
        assert judge.channel.sequence.lost == 3
        assert isinstance(judge.events[-1], Doubted)
        for text in judge.channel.commands.resync([A]):
            await ws.send(text)
        await judge.until(lambda: judge.channel.states[A].opened)
        assert judge.channel.states[A].book.bids == served.stage.books[0][0]


async def test_repeated_and_swapped_frames_are_counted_as_such() -> None:
    async with _served() as served, served.open() as ws:
        judge = Judge(ws)
        await judge.open()
        served.order(Duplicate(2))
        for _ in range(3):
            served.change()
        await judge.until(lambda: judge.channel.states[A].seq == 4)
        assert judge.channel.sequence.duplicates == 2
        assert judge.channel.sequence.gaps == 0
        served.order(Reorder())
        for _ in range(3):
            served.change()
        await judge.until(lambda: judge.channel.sequence.out_of_order == 1)
        assert judge.channel.sequence.gaps == 1


async def test_faults_fall_due_by_the_venues_time() -> None:
    schedule: list[tuple[int, Fault]] = [(START_MS + 50, Skip(1)), (START_MS + 20, Duplicate(1))]
    async with _served(schedule=schedule) as served, served.open() as ws:
        await _subscribe(ws, A)
        for now_ms in (10, 30, 40, 60, 70):
            served.stage.now_ms = START_MS + now_ms
            served.venue.meet_faults()
            served.change()
        numbers = [(await _receive(ws))["seq"] for _ in range(5)]
        assert numbers == [2, 3, 3, 4, 6]


@pytest.mark.parametrize("code", [10, 25])
async def test_a_terminal_error_ends_the_stream(code: int) -> None:
    async with _served() as served, served.open() as ws:
        judge = Judge(ws)
        await judge.open()
        served.order(Fail(code))
        served.change()
        await judge.until(lambda: not judge.channel.states[A].opened)
        assert judge.channel.ignored[f"error_{code}"] >= 1
        if code == 10:
            # a new subscription is a new stream
            for text in judge.channel.commands.subscribe([A]):
                await ws.send(text)
            await judge.until(lambda: judge.channel.states[A].opened)
            assert judge.channel.states[A].book.bids == served.stage.books[0][0]
        else:
            assert {frame["msg"]["code"] for frame in await _drain(ws)} <= {25}


async def test_half_open_neither_sends_nor_answers_pings_until_it_is_cut() -> None:
    async with _served() as served, served.open() as ws:
        await _subscribe(ws, A)
        served.order(HalfOpen(0.3))
        served.change()
        pong = await ws.ping()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(pong), 0.1)
        assert await _drain(ws) == []
        pong.cancel()


async def test_slow_frames_come_late_and_in_order() -> None:
    async with _served() as served, served.open() as ws:
        await _subscribe(ws, A)
        served.order(Slow(0.05, 2))
        loop = asyncio.get_running_loop()
        started = loop.time()
        for _ in range(3):
            served.change()
        assert [(await _receive(ws))["seq"] for _ in range(3)] == [2, 3, 4]
        assert loop.time() - started >= 0.1


async def test_drops_stalls_and_injected_frames_are_as_on_the_other_venue() -> None:
    async with _served() as served, served.open() as ws:
        await _subscribe(ws, A)
        served.venue.faults.inject('{"type":"news"}')
        served.venue.meet_faults()
        assert await _receive(ws) == {"type": "news"}
        served.venue.faults.stall(0.1)
        served.venue.meet_faults()
        served.change()
        await asyncio.sleep(0.15)
        served.change()
        # what was withheld has used its number up
        assert (await _receive(ws))["seq"] == 3
        served.venue.faults.drop_connections(1001, "away")
        served.venue.meet_faults()
        with pytest.raises(ConnectionClosed) as caught:
            await _receive(ws)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1001


async def test_the_clients_sweep_reads_the_venue_as_served() -> None:
    def sweep(url: str) -> Discovery:
        with RestClient(url, requests_per_second=1e9) as client:
            return discover(client, datetime(2026, 9, 1, 12, tzinfo=UTC), page_size=2)

    async with _served() as served:
        found = await asyncio.to_thread(sweep, served.urls.rest)
    assert {m.market_id for m in found.markets} == {m.market_id for m in served.stage.markets}
    assert not found.oddities
    assert not found.set_aside
    assert found.pages == 2
    assert served.venue.requests["/events"] == 2


async def test_both_interfaces_are_served_side_by_side() -> None:
    async with _served() as served, httpx.AsyncClient(trust_env=False) as http:
        status = await http.get(served.urls.rest + "/exchange/status")
        assert status.json()["exchange_active"] is True
        signed = SIGNER.headers("GET", "/trade-api/v2/account/limits", START_MS)
        limits = await http.get(served.urls.rest + "/account/limits", headers=signed)
        assert limits.json()["usage_tier"] == "basic"
        elsewhere = await http.get(served.urls.rest.removesuffix("/trade-api/v2") + "/events")
        assert (elsewhere.status_code, elsewhere.text) == (404, "404 page not found")
