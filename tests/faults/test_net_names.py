"""NET-08: names that do not resolve and peers that are not to be trusted, by socket and by REST."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import certifi
import pytest
from structlog.testing import capture_logs
from websockets.asyncio.server import ServerConnection, serve

from surveillance_collector import dialling, sending
from surveillance_collector import feed as feed_module
from surveillance_collector.feed import Feed
from surveillance_collector.receive_clock import ReceiveClock
from surveillance_collector.reconnection import HandshakeBudget
from surveillance_collector.sampling import Tier as ReadTier
from surveillance_collector.silence import Silence
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.registry import adapter_of
from surveillance_core.venues.rest import RestClient, VenueError
from tests.collector.worlds import VENUE, OneMarket, UnjournaledEngine, sampled

from .certificates import SAYS, Authority, Flaw, new_authority, server_context
from .matrix import Tier, Trial
from .virtual_time import VirtualTimeLoop, clock_of

ROOT = Path(__file__).resolve().parents[2]
WATCHED_SECONDS = 120.0
"""Of virtual time, in which a socket that cannot be had is tried."""
HOST = "ws.venue.example"
ATTEMPTS = 3
PLAIN = "not TLS at all"
HANGS_UP = "hanging up in the handshake"


@dataclass(frozen=True)
class Unresolved:
    """How a name does not resolve: after how long, and with which error; None never answers."""

    what: str
    says: str
    error: int | None
    after_seconds: float = 0.0


NAMES = (
    Unresolved("no such name", "Name or service not known", socket.EAI_NONAME),
    Unresolved("a resolver in trouble", "Temporary failure in name resolution", socket.EAI_AGAIN),
    Unresolved("a name without addresses", "No address associated", socket.EAI_NODATA),
    Unresolved("no such name, said late", "not known", socket.EAI_NONAME, 5.0),
    Unresolved("a resolver that is silent", "timed out", None),
)
FLAWS = tuple(flaw for flaw in Flaw if flaw is not Flaw.NONE)


class _Resolving(VirtualTimeLoop):
    """Resolves one name, in its own way."""

    way: Unresolved | None = None

    async def getaddrinfo(self, host: Any, *args: Any, **more: Any) -> Any:
        if host != HOST or self.way is None:
            return await super().getaddrinfo(host, *args, **more)
        if self.way.error is None:
            await asyncio.Event().wait()
        await asyncio.sleep(self.way.after_seconds)
        raise _error_of(self.way)


def _error_of(way: Unresolved) -> socket.gaierror:
    said = {
        socket.EAI_NONAME: "Name or service not known",
        socket.EAI_AGAIN: "Temporary failure in name resolution",
        socket.EAI_NODATA: "No address associated with hostname",
    }
    error = way.error or 0
    return socket.gaierror(error, said[error])


# ── market data ──────────────────────────────────────────────────────────────────────────────


def _watch_feed(
    monkeypatch: pytest.MonkeyPatch,
    start: Callable[[], Awaitable[Any]] | None,
    way: Unresolved | None = None,
) -> tuple[list[str], bool]:
    """What a feed logs of its failures in two virtual minutes, and whether it is up then."""

    async def watch() -> tuple[list[str], bool]:
        server = None if start is None else await start()
        port = 1 if server is None else next(iter(server.sockets)).getsockname()[1]
        url = f"wss://{HOST}:1" if server is None else f"wss://127.0.0.1:{port}"
        engine = UnjournaledEngine(lambda reader: PolymarketChannel(reader), sampled())
        feed = Feed(
            "polymarket-0", url, engine, ReceiveClock(), handshake=lambda wall_ms: {},
            ping=adapter_of(VENUE).ping, echo=adapter_of(VENUE).echo,
            silence=Silence(1e9), half_open_seconds=1e9, reconnect_max_seconds=30.0,
            budget=HandshakeBudget(),
        )  # fmt: skip
        await feed.add([OneMarket().terms], ReadTier.HOT)
        with capture_logs() as logs:
            task = asyncio.create_task(feed.run())
            await asyncio.sleep(WATCHED_SECONDS)
            up = feed.connected
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if server is not None:
            server.close()
        failed = [entry for entry in logs if entry["event"] == "feed_failed"]
        return [f"{e['address']}: {e['cause']}: {e['error']}" for e in failed], up

    with asyncio.Runner(loop_factory=_Resolving) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, _Resolving)
        loop.way = way
        for module in (dialling, feed_module, sending):
            monkeypatch.setattr(module, "time", clock_of(loop))
        return runner.run(watch())


def _judge_feed(failures: list[str], up: bool, says: str) -> None:
    assert not up, "it connected"
    assert failures
    # the back-off soon reaches 30 s with full jitter: some ten attempts, and never one a second
    assert len(failures) <= WATCHED_SECONDS / 4, f"{len(failures)} attempts"
    assert all(says in failure for failure in failures), f"{failures[0]!r} does not say {says!r}"


async def _hold(connection: ServerConnection) -> None:
    await connection.wait_closed()


def _tls(context: ssl.SSLContext) -> Callable[[], Awaitable[Any]]:
    return lambda: serve(_hold, "127.0.0.1", 0, ssl=context)


async def _answer_in_plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    writer.close()


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.transport.abort()


# ── REST ─────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _https(context: ssl.SSLContext | None) -> Generator[tuple[str, list[int]]]:
    """A server in a thread that answers an empty object; None answers without TLS."""
    made: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            made.append(1)
            with suppress(OSError), client:
                client.settimeout(5.0)
                if context is None:
                    client.recv(1)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                    continue
                with context.wrap_socket(client, server_side=True) as wrapped:
                    wrapped.recv(65_536)
                    wrapped.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", made
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5.0)


def _judge_rest(url: str, says: str, made: list[int] | None) -> None:
    waits: list[float] = []
    with (
        RestClient(url, attempts=ATTEMPTS, sleep=waits.append) as client,
        pytest.raises(VenueError) as caught,
    ):
        client.get("/events")
    assert says in str(caught.value), f"{caught.value} does not say {says!r}"
    assert url in str(caught.value)
    # paced, and backed off
    assert len([wait for wait in waits if wait > 0.1]) >= ATTEMPTS - 1
    assert made is None or len(made) == ATTEMPTS


# ── the row ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Setting:
    """What every case needs."""

    folder: Path
    trusted: Authority
    monkeypatch: pytest.MonkeyPatch


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    """An authority that both clients trust."""
    trusted = new_authority("the authority")
    path = str(trusted.write(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", path)
    monkeypatch.setattr(certifi, "where", lambda: path)
    return Setting(tmp_path, trusted, monkeypatch)


def _feed_flaw(setting: Setting, flaw: Flaw) -> None:
    context = server_context(flaw, setting.trusted, setting.folder)
    failures, up = _watch_feed(setting.monkeypatch, _tls(context))
    _judge_feed(failures, up, SAYS[flaw])


def _feed_name(setting: Setting, way: Unresolved) -> None:
    failures, up = _watch_feed(setting.monkeypatch, None, way)
    _judge_feed(failures, up, way.says)
    assert all(HOST in failure for failure in failures)


def _feed_peer(setting: Setting, what: str) -> None:
    handler, says = {
        PLAIN: (_answer_in_plain, "SSL"),
        HANGS_UP: (_hang_up, "connectionreset"),
    }[what]
    start = lambda: asyncio.start_server(handler, "127.0.0.1", 0)  # noqa: E731
    failures, up = _watch_feed(setting.monkeypatch, start)
    _judge_feed(failures, up, says)


def _rest_flaw(setting: Setting, flaw: Flaw) -> None:
    with _https(server_context(flaw, setting.trusted, setting.folder)) as (url, made):
        _judge_rest(url, SAYS[flaw], made)


def _rest_name(setting: Setting, way: Unresolved) -> None:
    def resolve(*args: object, **more: object) -> NoReturn:
        raise _error_of(way)

    with setting.monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolve)
        _judge_rest(f"https://{HOST}", way.says, None)


Case = tuple[str, Callable[[Setting], None]]


def _cases() -> list[Case]:
    """Those of the quick tier first."""
    feeds: list[Case] = [(f"feed, {flaw}", partial(_feed_flaw, flaw=flaw)) for flaw in FLAWS]
    names: list[Case] = [(f"feed, {way.what}", partial(_feed_name, way=way)) for way in NAMES]
    rests: list[Case] = [(f"REST, {flaw}", partial(_rest_flaw, flaw=flaw)) for flaw in FLAWS]
    unresolved: list[Case] = [
        (f"REST, {way.what}", partial(_rest_name, way=way)) for way in NAMES[:1]
    ]
    peers: list[Case] = [
        (f"feed, {what}", partial(_feed_peer, what=what)) for what in (PLAIN, HANGS_UP)
    ]
    first: list[Case] = [feeds[0], feeds[2], feeds[3], names[0], rests[3], unresolved[0]]
    every: list[Case] = [*feeds, *names, *rests, *unresolved, *peers]
    return first + [case for case in every if case not in first]


@pytest.mark.fault("NET-08")
def test_what_is_not_to_be_trusted_is_refused_and_named(trial: Trial, setting: Setting) -> None:
    cases = _cases()
    assert len(cases) == trial.quantity or trial.tier is Tier.QUICK
    for name, check in cases[: trial.quantity]:
        with trial.case(name):
            check(setting)


def test_a_sound_certificate_is_taken(setting: Setting) -> None:
    context = server_context(Flaw.NONE, setting.trusted, setting.folder)
    failures, up = _watch_feed(setting.monkeypatch, _tls(context))
    assert up
    assert not failures
    with _https(context) as (url, _), RestClient(url) as client:
        assert client.get("/events") == {}


def test_nothing_switches_the_verification_off() -> None:
    switches = re.compile(r"CERT_NONE|check_hostname|_create_unverified|verify\s*=|verify_mode")
    for package in ("surveillance_core", "surveillance_collector", "surveillance_assets"):
        for path in (ROOT / package).rglob("*.py"):
            assert not switches.search(path.read_text()), path
