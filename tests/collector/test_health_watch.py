"""A watch over real sockets: the pages as served, and what systemd hears."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from surveillance_collector.health import server, watch
from surveillance_collector.health.notices import ServiceNotices
from surveillance_collector.health.pages import HEADERS, PATHS
from surveillance_collector.health.watch import HealthWatch
from surveillance_core.lake.publish import Lake
from surveillance_core.settings import Settings
from surveillance_core.status import VenueStatus

from .live import port_of, until
from .statuses import venue


class _Venue:
    """A collection whose state the test sets."""

    def __init__(self) -> None:
        self.status = venue()
        self.broken = False

    def read(self) -> VenueStatus:
        if self.broken:
            raise ArithmeticError("broken on purpose")
        return self.status


def _settings(**health: Any) -> Settings:
    quick: dict[str, Any] = {"port": 0, "least_free_gib": 0.0}
    return Settings.model_validate({"health": quick | health})


@asynccontextmanager
async def _watched(
    lake: Lake, venue: _Venue | None = None, settings: Settings | None = None, **more: Any
) -> AsyncGenerator[HealthWatch]:
    readers = [(venue or _Venue()).read]
    health = await HealthWatch(settings or _settings(), lake.store, readers, **more).start()
    try:
        yield health
    finally:
        await health.stop()


async def _raw(url: str, request: bytes) -> bytes:
    """Everything a server answers to bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
    try:
        writer.write(request)
        await writer.drain()
        return await asyncio.wait_for(reader.read(), 10.0)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "READ_SECONDS", 0.02)


async def test_pages_are_served_on_loopback_under_guarding_headers(lake: Lake) -> None:
    async with _watched(lake) as health, httpx.AsyncClient() as client:
        assert health.url is not None
        assert health.url.startswith("http://127.0.0.1:")
        for path in PATHS:
            page = await client.get(health.url + path)
            assert page.status_code == 200, path
            assert {name: page.headers[name] for name in HEADERS} == HEADERS
            assert not [name for name in page.headers if name.startswith("access-control")]
            assert "server" not in page.headers


async def test_a_page_of_another_site_is_refused(lake: Lake) -> None:
    async with _watched(lake) as health, httpx.AsyncClient() as client:
        for headers in ({"Host": "evil.example"}, {"Host": f"evil.example:{port_of(health.url)}"}):
            page = await client.get(f"{health.url}/status.json", headers=headers)
            assert page.status_code == 421
            assert "polymarket" not in page.text
        twice = b"GET /status.json HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
        assert b"421" in (await _raw(health.url, twice)).split(b"\r\n")[0]
        post = await client.post(f"{health.url}/status.json")
        assert post.status_code == 405


async def test_requests_are_bounded_in_size_and_time(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.3)
    async with _watched(lake) as health:
        assert health.url is not None
        long_line = b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert b"200" not in (await _raw(health.url, long_line)).split(b"\r\n")[0]
        many = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 1_000 + b"\r\n"
        assert b"200" not in (await _raw(health.url, many)).split(b"\r\n")[0]
        body = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n123456789"
        assert await _raw(health.url, body) == b""
        assert await _raw(health.url, b"\xff\xfe\r\n\r\n") == b""
        # half a request is given up, and with it nothing else
        assert await _raw(health.url, b"GET /healthz HTTP/1.1\r\n") == b""
        whole = await _raw(health.url, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert whole.startswith(b"HTTP/1.1 200")


async def test_what_changes_shows_within_a_reading(lake: Lake) -> None:
    collected = _Venue()
    async with _watched(lake, collected) as health:
        assert health.status.ready
        collected.status = venue(universe=None)
        await until(lambda: not health.status.ready, "a reason")
        since = health.status.reasons[0].since
        at = health.status.at
        await until(lambda: health.status.at > at, "another reading")
        assert health.status.reasons[0].since == since
        collected.status = venue()
        await until(lambda: health.status.ready, "ready again")


async def test_a_reading_that_fails_stops_nothing_and_leaves_the_verdict_old(lake: Lake) -> None:
    collected = _Venue()
    with capture_logs() as logs:
        async with _watched(lake, collected) as health:
            collected.broken = True
            await until(lambda: logs and logs[-1]["event"] == "health_failed", "the failure")
            at = health.status.at
            collected.broken = False
            await until(lambda: health.status.at > at, "readings again")
    assert sum(entry["event"] == "health_failed" for entry in logs) == 1


async def test_a_port_in_use_is_a_warning_with_a_next_step(lake: Lake) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with capture_logs() as logs:
            async with _watched(lake, settings=_settings(port=taken.getsockname()[1])) as health:
                assert health.url is None
                assert health.status.ready
    (warning,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert warning["event"] == "health_unavailable"
    assert "health.port" in warning["next_step"]


async def test_where_the_pages_are_is_known_while_they_are(lake: Lake) -> None:
    path = lake.store.state_dir() / "collector-0.health.json"
    async with _watched(lake) as health:
        assert json.loads(path.read_bytes())["url"] == health.url
    assert not path.exists()
    async with _watched(lake, settings=_settings(enabled=False)) as health:
        assert health.url is None
        assert not path.exists()


def _heard(manager: socket.socket) -> list[bytes]:
    """The datagrams that are there."""
    notices: list[bytes] = []
    with suppress(BlockingIOError):
        while True:
            notices.append(manager.recv(1024))
    return notices


async def test_systemd_hears_of_start_progress_and_stop(lake: Lake, tmp_path: Path) -> None:
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "40000"}

        def hear() -> list[bytes]:
            heard.extend(_heard(manager))
            return heard

        async with _watched(lake, notices=ServiceNotices(environment)) as health:
            await until(lambda: hear().count(b"WATCHDOG=1") > 2, "progress")
            health.announce_stop()
        hear()
    assert heard[0] == b"STATUS=ready: 10 of 10 books stand"
    assert b"READY=1" in heard
    assert heard.index(b"STOPPING=1") < heard.index(b"STATUS=not ready: the process is stopping")


async def test_systemd_hears_no_more_while_data_stands_still(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "GRACE_SECONDS", -1_000.0)  # stands still at once
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "40000"}
        with capture_logs() as logs:
            async with _watched(lake, notices=ServiceNotices(environment)):
                await until(lambda: sum(e["event"] == "data_stands_still" for e in logs) > 2, "it")
        heard = _heard(manager)
    assert b"WATCHDOG=1" not in heard
    assert b"READY=1" in heard
