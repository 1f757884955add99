"""One connection over real sockets: what it tells its sink, and that it comes back."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from itertools import pairwise

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from surveillance_collector import dialling
from surveillance_collector import sending as sending_module
from surveillance_collector.feed import Feed
from surveillance_collector.receive_clock import ReceiveClock
from surveillance_collector.reconnection import HandshakeBudget
from surveillance_collector.sampling import Tier
from surveillance_collector.silence import Silence
from surveillance_core.venues.polymarket.subscriptions import Subscriptions
from surveillance_core.venues.protocols import AssetTerms, ConnectionCommands
from surveillance_core.venues.registry import adapter_of, asset_terms
from surveillance_core.venues.simulated.servers import SimulatedPolymarket

from .live import busy_venue, port_of, until, world_of
from .worlds import SECOND, VENUE, universe_of


class Sink:
    """Notes what it is told, in order."""

    crowded = False

    async def room(self) -> None:
        return

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, int]] = []
        self.followed: dict[str, Tier] = {}
        self.forgotten: list[str] = []
        self.frames: list[bytes | str] = []
        self.applied = 0
        self.causes: list[tuple[str, int | None]] = []

    def connect(self, conn: str, recv_ns: int) -> ConnectionCommands:
        self.calls.append(("connect", conn, recv_ns))
        return Subscriptions()

    def follow(self, conn: str, assets: Sequence[AssetTerms], tier: Tier, recv_ns: int) -> None:
        self.calls.append(("follow", conn, recv_ns))
        self.followed |= {terms.asset_id: tier for terms in assets}

    def forget(self, conn: str, asset_ids: Sequence[str], recv_ns: int) -> None:
        self.calls.append(("forget", conn, recv_ns))
        self.forgotten += asset_ids

    def take(self, conn: str, frame: bytes | str, recv_ns: int) -> None:
        self.calls.append(("receive", conn, recv_ns))
        self.frames.append(frame)

    def apply_taken(self) -> None:
        self.applied += 1

    def disconnect(self, conn: str, recv_ns: int, cause: str, since_ns: int | None = None) -> None:
        self.calls.append(("disconnect", conn, recv_ns))
        self.causes.append((cause, since_ns))

    def hold_up(self, conn: str, since_ns: int, recv_ns: int) -> None:
        self.calls.append(("hold_up", conn, recv_ns))

    def catch_up(self, conn: str, recv_ns: int) -> None:
        self.calls.append(("catch_up", conn, recv_ns))

    def doubt(self, conn: str, asset_id: str, cause: str, since_ns: int, recv_ns: int) -> None:
        raise AssertionError("a feed doubts no single book")

    @property
    def conns(self) -> list[str]:
        return [conn for kind, conn, _ in self.calls if kind == "connect"]

    def books(self, asset_id: str) -> int:
        wanted = f'"asset_id":"{asset_id}","timestamp"'.encode()
        return sum(bytes(f).count(wanted) for f in self.frames if isinstance(f, bytes))


def _feed(
    sink: Sink,
    url: str,
    *,
    stall_seconds: float = 60.0,
    half_open_seconds: float = 30.0,
    budget: HandshakeBudget | None = None,
) -> Feed:
    return Feed(
        "polymarket-0",
        url,
        sink,
        ReceiveClock(),
        handshake=lambda wall_ms: {},
        ping=adapter_of(VENUE).ping,
        echo=adapter_of(VENUE).echo,
        silence=Silence(stall_seconds),
        half_open_seconds=half_open_seconds,
        reconnect_max_seconds=0.1,
        budget=HandshakeBudget(0.0, 0.0) if budget is None else budget,
    )


@asynccontextmanager
async def _running(feed: Feed) -> AsyncGenerator[None]:
    task = asyncio.create_task(feed.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _terms(venue: SimulatedPolymarket) -> list[AssetTerms]:
    markets = universe_of(world_of(venue))
    return [terms for market in markets for terms in asset_terms(market, mirror=True)]


async def test_a_connection_is_announced_before_anything_comes_of_it() -> None:
    sink = Sink()
    async with busy_venue() as venue:
        feed, terms = _feed(sink, venue.ws_url), _terms(venue)
        await feed.add(terms[:2], Tier.HOT)
        await feed.add(terms[2:4], Tier.WARM)
        assert sink.calls == []
        async with _running(feed):
            await until(lambda: len(sink.frames) > 20, "frames")
            assert feed.connected
        assert venue.sockets.received["first"] == 1
    kinds = [kind for kind, _, _ in sink.calls]
    assert kinds[:4] == ["connect", "follow", "follow", "receive"]
    assert kinds[-1] == "disconnect"
    assert set(kinds[3:-1]) == {"receive"}
    assert sink.followed == {
        terms[0].asset_id: Tier.HOT, terms[1].asset_id: Tier.HOT,
        terms[2].asset_id: Tier.WARM, terms[3].asset_id: Tier.WARM,
    }  # fmt: skip
    assert sink.causes == [("stopped", None)]
    times = [recv_ns for kind, _, recv_ns in sink.calls if kind == "receive"]
    assert all(before < after for before, after in pairwise(times))
    assert not feed.connected


async def test_trust_ends_with_the_reading_and_not_with_the_close_handshake() -> None:
    sink = Sink()
    async with busy_venue() as venue:
        feed, terms = _feed(sink, venue.ws_url), _terms(venue)
        await feed.add(terms[:2], Tier.HOT)
        task = asyncio.create_task(feed.run())
        await until(lambda: len(sink.frames) > 20, "frames")
        task.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        assert not task.done()
        assert sink.causes == [("stopped", None)]
        with suppress(asyncio.CancelledError):
            await task
    assert sink.causes == [("stopped", None)]
    assert sink.calls[-1][0] == "disconnect"


async def test_assets_come_and_go_on_an_open_connection() -> None:
    sink = Sink()
    async with busy_venue() as venue:
        feed, terms = _feed(sink, venue.ws_url), _terms(venue)
        await feed.add(terms[:2], Tier.HOT)
        async with _running(feed):
            await until(lambda: sink.frames, "the first books")
            await feed.add(terms[2:4], Tier.WARM)
            await until(lambda: sink.books(terms[2].asset_id), "the added market's book")
            await feed.remove([terms[0].asset_id, "never followed"])
            await until(
                lambda: venue.sockets.subscribed == {t.asset_id for t in terms[1:4]},
                "the venue knows",
            )
            assert feed.assets == 3
    assert sink.forgotten == [terms[0].asset_id]
    assert sink.conns == ["polymarket-0.1"]


async def test_what_is_removed_while_the_connection_is_down_is_forgotten_too() -> None:
    sink = Sink()
    feed = _feed(sink, "ws://127.0.0.1:9/ws/market")
    async with busy_venue() as venue:
        terms = _terms(venue)
        await feed.add(terms[:2], Tier.HOT)
        await feed.remove([terms[0].asset_id])
    assert sink.forgotten == [terms[0].asset_id]
    assert feed.assets == 1


@pytest.mark.parametrize("code", [1006, 1012])
async def test_a_dropped_connection_is_replaced_under_a_name_of_its_own(code: int) -> None:
    sink = Sink()
    async with busy_venue() as venue:
        feed, terms = _feed(sink, venue.ws_url), _terms(venue)
        await feed.add(terms, Tier.HOT)
        async with _running(feed):
            for round_ in (1, 2):
                await until(lambda n=round_: len(sink.conns) == n and sink.frames, "connected")
                venue.faults.drop_connections(code)
            await until(lambda: len(sink.conns) == 3, "the third connection")
            assert feed.reconnects == 2
            assert feed.endings == {f"closed_{code}": 2}
            assert feed.heard is not None
    assert sink.conns == [f"polymarket-0.{n}" for n in (1, 2, 3)]
    assert sink.causes[:2] == [(f"closed_{code}", None)] * 2
    open_conns: set[str] = set()
    for kind, conn, _ in sink.calls:
        if kind == "connect":
            assert not open_conns
            open_conns.add(conn)
        elif kind == "disconnect":
            open_conns.remove(conn)
        else:
            assert conn in open_conns, f"{kind} on a connection that is not open"


async def test_silence_is_a_stall_and_dated_from_the_last_frame() -> None:
    sink = Sink()
    async with busy_venue() as venue:
        feed, terms = _feed(sink, venue.ws_url, stall_seconds=0.4), _terms(venue)
        await feed.add(terms, Tier.HOT)
        async with _running(feed):
            await until(lambda: len(sink.frames) > 20, "frames")
            venue.faults.stall(1.0)
            await until(lambda: sink.causes, "the stall is noticed")
            frames = len(sink.frames)
            await until(lambda: len(sink.frames) > frames + 20, "frames again")
    cause, since_ns = sink.causes[0]
    received = [ns for kind, conn, ns in sink.calls if (kind, conn) == ("receive", sink.conns[0])]
    lost = next(ns for kind, _, ns in sink.calls if kind == "disconnect")
    assert cause == "stalled"
    assert since_ns is not None
    assert since_ns == received[-1]
    assert lost - since_ns >= 0.4 * SECOND


async def test_answers_to_pings_do_not_hide_a_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending_module, "PING_SECONDS", 0.05)
    sink = Sink()
    async with busy_venue() as venue:
        feed, terms = _feed(sink, venue.ws_url, stall_seconds=0.4), _terms(venue)
        await feed.add(terms, Tier.HOT)
        async with _running(feed):
            await until(lambda: len(sink.frames) > 20, "frames")
            venue.faults.stall(2.0)
            await until(lambda: sink.causes, "the stall is noticed", seconds=5.0)
        assert venue.sockets.received["PING"] > 3
    assert b"PONG" in sink.frames
    assert sink.causes[0][0] == "stalled"


async def test_a_peer_that_answers_no_ping_is_given_up_and_dated_from_its_last_frame() -> None:
    sink = Sink()
    async with busy_venue() as venue:
        feed, terms = _feed(sink, venue.ws_url, half_open_seconds=0.6), _terms(venue)
        await feed.add(terms, Tier.HOT)
        async with _running(feed):
            await until(lambda: feed.ping_seconds is not None, "a ping was answered")
            (client,) = venue.sockets._clients
            client.socket.transport.pause_reading()
            venue.faults.stall(60.0)
            gone = asyncio.get_running_loop().time()
            await until(lambda: sink.causes, "it is given up", seconds=5.0)
            took = asyncio.get_running_loop().time() - gone
    cause, since_ns = sink.causes[0]
    received = [ns for kind, conn, ns in sink.calls if (kind, conn) == ("receive", sink.conns[0])]
    assert cause == "half_open"
    assert since_ns is not None
    assert since_ns <= received[-1]
    assert received[-1] - since_ns < 0.2 * SECOND
    assert took < 0.6 + 0.3


async def test_a_peer_too_busy_to_answer_a_ping_is_kept_while_it_sends() -> None:
    sink = Sink()
    async with busy_venue() as venue:
        feed, terms = _feed(sink, venue.ws_url, half_open_seconds=0.3), _terms(venue)
        await feed.add(terms, Tier.HOT)
        async with _running(feed):
            await until(lambda: sink.frames, "frames")
            (client,) = venue.sockets._clients
            client.socket.transport.pause_reading()
            await asyncio.sleep(1.5)
            assert feed.connected
            assert sink.causes == []


@pytest.mark.parametrize(("seconds", "kernel_ms"), [(30.0, 30_000), (1e9, 3_600_000)])
async def test_the_kernel_is_told_to_miss_a_dead_peer(seconds: float, kernel_ms: int) -> None:
    sink = Sink()
    async with busy_venue() as venue:
        feed, terms = _feed(sink, venue.ws_url, half_open_seconds=seconds), _terms(venue)
        await feed.add(terms, Tier.HOT)
        async with _running(feed):
            await until(lambda: sink.frames, "frames")
            assert feed._socket is not None
            found = feed._socket.transport.get_extra_info("socket")
            assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                option = socket.TCP_USER_TIMEOUT
                assert found.getsockopt(socket.IPPROTO_TCP, option) == kernel_ms


class Full(Sink):
    """Takes nothing more from the moment it is told to."""

    crowded = False

    def __init__(self) -> None:
        super().__init__()
        self.room_made = asyncio.Event()

    async def room(self) -> None:
        await self.room_made.wait()
        self.crowded = False

    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.calls if kind in ("hold_up", "catch_up")]


async def test_books_are_late_from_the_pause_on_until_what_waited_has_been_read() -> None:
    sink = Full()
    async with busy_venue(rate=200.0) as venue:
        feed, terms = _feed(sink, venue.ws_url), _terms(venue)
        await feed.add(terms, Tier.HOT)
        async with _running(feed):
            await until(lambda: len(sink.frames) > 20, "frames")
            sink.crowded = True
            await until(lambda: sink.kinds() == ["hold_up"], "it is late")
            assert feed.held_up
            taken = len(sink.frames)
            await asyncio.sleep(0.5)
            assert len(sink.frames) == taken
            sink.room_made.set()
            await until(lambda: sink.kinds() == ["hold_up", "catch_up"], "it has caught up")
            assert not feed.held_up
            kinds = [kind for kind, _, _ in sink.calls]
            waited = kinds[kinds.index("hold_up") : kinds.index("catch_up")].count("receive")
            assert waited > 100, "what waited was read before"
    assert len(sink.conns) == 1


async def test_a_held_up_loop_reads_what_has_come_before_it_calls_it_silence() -> None:
    sink = Sink()
    async with busy_venue(rate=200.0) as venue:
        feed, terms = _feed(sink, venue.ws_url, stall_seconds=0.5), _terms(venue)
        await feed.add(terms, Tier.HOT)
        async with _running(feed):
            await until(lambda: len(sink.frames) > 20, "frames")
            for _ in range(5):
                time.sleep(0.7)  # noqa: ASYNC251  # the loop is what is to be held up
                await asyncio.sleep(0.2)
    assert [cause for cause, _ in sink.causes] == ["stopped"]


async def test_books_are_had_anew_only_on_the_connection_that_was_meant() -> None:
    sink = Sink()
    async with busy_venue(rate=1.0) as venue:
        feed, terms = _feed(sink, venue.ws_url), _terms(venue)
        asset = terms[0].asset_id
        await feed.add(terms, Tier.HOT)
        await feed.resync("polymarket-0.1", [asset])
        async with _running(feed):
            await until(lambda: sink.books(asset), "the first book")
            before = sink.books(asset)
            await feed.resync("polymarket-0.7", [asset])
            await feed.resync("polymarket-0.1", ["not held"])
            await feed.resync("polymarket-0.1", [asset])
            await until(lambda: sink.books(asset) > before, "the book anew")
            assert venue.sockets.received["unsubscribe"] == 1
            assert venue.sockets.subscribed == {t.asset_id for t in terms}


async def test_a_venue_that_is_not_there_yet_is_tried_until_it_is() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sink = Sink()
    feed = _feed(sink, f"ws://127.0.0.1:{port}/ws/market")
    async with _running(feed):
        await feed.add([AssetTerms(market_id="m", asset_id="1", tick=100)], Tier.HOT)
        await until(lambda: feed.reconnects >= 2, "two attempts")
        assert sink.calls == [], "nobody was connected"
        async with SimulatedPolymarket(seed=5, markets=4, ws_port=port) as venue:
            assert port_of(venue.ws_url) == port
            await feed.add(_terms(venue), Tier.HOT)
            await until(lambda: sink.frames, "frames")


async def test_a_stop_does_not_wait_behind_what_still_comes() -> None:
    sink = Sink()
    loop = asyncio.get_running_loop()

    async def flood(connection: ServerConnection) -> None:
        await connection.recv()
        with suppress(ConnectionClosed):
            while True:
                for _ in range(100):
                    await connection.send("{}")
                await asyncio.sleep(0.001)

    async with serve(flood, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        feed = _feed(sink, f"ws://127.0.0.1:{port}")
        await feed.add(ONE, Tier.HOT)
        async with _running(feed):
            await until(lambda: len(sink.frames) > 200, "a flood")
            began = loop.time()
    assert loop.time() - began < dialling._CLOSE_SECONDS / 2
    assert sink.causes == [("stopped", None)]


async def test_a_peer_that_takes_no_commands_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending_module, "SEND_SECONDS", 0.05)
    sink, aborted = Sink(), asyncio.Event()
    connected: list[ClientConnection] = []

    async def deaf(self: ClientConnection, frame: str) -> None:
        connected.append(self)
        monkeypatch.setattr(self.transport, "abort", aborted.set)
        await asyncio.Event().wait()

    async with busy_venue() as venue:
        feed, terms = _feed(sink, venue.ws_url), _terms(venue)
        await feed.add(terms[:2], Tier.HOT)
        async with _running(feed):
            await until(lambda: sink.frames, "frames")
            monkeypatch.setattr(ClientConnection, "send", deaf)
            async with asyncio.timeout(5.0):
                await feed.add(terms[2:4], Tier.HOT)
                await aborted.wait()
            monkeypatch.undo()
    assert len(connected) == 1


def test_receive_times_never_repeat_and_never_go_back() -> None:
    readings = iter([5_000, 5_000, 3_000, 9_000, 9_001, 1_000, 20_001])
    clock = ReceiveClock(lambda: next(readings))
    # a microsecond apart: the names of files are made of microseconds
    assert [clock.now_ns() for _ in range(7)] == [
        5_000,
        6_000,
        7_000,
        9_000,
        10_000,
        11_000,
        20_001,
    ]


# ── refusals ─────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def _refusing(
    answers: list[tuple[int, dict[str, str]]], close_code: int | None = None
) -> AsyncGenerator[tuple[str, list[float]]]:
    """A peer that refuses handshakes as told, then closes what it accepts; times of attempts."""
    attempts: list[float] = []

    def refuse(connection: ServerConnection, request: Request) -> Response | None:
        attempts.append(asyncio.get_running_loop().time())
        if not answers:
            return None
        status, headers = answers.pop(0)
        response = connection.respond(HTTPStatus(status), "")
        for name, value in headers.items():
            if name in response.headers:
                del response.headers[name]
            response.headers[name] = value
        return response

    async def hold(connection: ServerConnection) -> None:
        if close_code is not None:
            await connection.close(close_code)
        await connection.wait_closed()

    async with serve(hold, "127.0.0.1", 0, process_request=refuse) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/ws/market", attempts


ONE = [AssetTerms(market_id="m", asset_id="1", tick=100)]


async def test_a_venue_that_asks_to_be_left_alone_is_by_all_its_connections() -> None:
    budget = HandshakeBudget(0.0, 0.0)
    async with _refusing([(429, {"Retry-After": "1"})]) as (url, attempts):
        first, second = (_feed(Sink(), url, budget=budget) for _ in range(2))
        await first.add(ONE, Tier.HOT)
        async with _running(first):
            await until(lambda: attempts, "the first attempt")
            await until(lambda: first.endings, "its refusal")
            await second.add(ONE, Tier.HOT)
            async with _running(second):
                await until(lambda: len(attempts) == 3, "both come back")
    assert first.endings == {"handshake_429": 1}
    assert not first.refused
    assert attempts[1] - attempts[0] >= 1.0
    assert attempts[2] - attempts[0] >= 1.0


async def test_a_key_that_is_refused_is_not_tried_again_soon_and_the_clock_is_named() -> None:
    long_ago = {"Date": "Tue, 01 Sep 2026 00:00:00 GMT"}
    with capture_logs() as logs:
        async with _refusing([(401, long_ago), (401, {})]) as (url, attempts):
            feed = _feed(Sink(), url)
            await feed.add(ONE, Tier.HOT)
            async with _running(feed):
                await until(lambda: len(attempts) == 3, "three attempts")
                await until(lambda: feed.connected, "accepted at last")
    assert feed.endings["handshake_401"] == 2
    # twice the longest wait of a plain failure, at least half of it, and doubled
    assert attempts[1] - attempts[0] >= 0.1
    assert attempts[2] - attempts[1] >= 0.2
    steps = [entry["next_step"] for entry in logs if entry["event"] == "handshake_refused"]
    assert "set this machine's clock" in steps[0]
    assert "check the key" in steps[1]


@pytest.mark.parametrize(("code", "refused"), [(1008, True), (1013, False), (1000, False)])
async def test_a_peer_that_closes_at_once_is_asked_less_and_less_often(
    code: int, refused: bool
) -> None:
    sink = Sink()
    async with _refusing([], close_code=code) as (url, attempts):
        feed = _feed(sink, url)
        await feed.add(ONE, Tier.HOT)
        async with _running(feed):
            await until(lambda: len(attempts) >= 4, "four attempts")
            assert feed.refused is refused
    assert {cause for cause, _ in sink.causes[:3]} == {f"closed_{code}"}
    if refused:
        gaps = [after - before for before, after in pairwise(attempts)]
        assert all(gap >= low for gap, low in zip(gaps, (0.1, 0.2, 0.4), strict=True))
