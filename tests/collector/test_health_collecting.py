"""The health of a collector that collects from a simulated venue, asked over its own pages."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from surveillance_collector.health import watch
from surveillance_collector.health.pages import PATHS
from surveillance_collector.service import collect
from surveillance_core.lake.publish import Lake
from surveillance_core.settings import Settings
from surveillance_core.status import Status
from surveillance_core.venues.polymarket.channel import PolymarketChannel

from .conftest import MakeSettings
from .live import PATIENCE_S, busy_venue, publish_world
from .worlds import VENUE

CANARY = "canary-5f1d2c"


@dataclass
class _Pages:
    """The pages of a running collector."""

    client: httpx.AsyncClient
    url: str

    async def status(self) -> Status:
        page = await self.client.get(f"{self.url}/status.json")
        return msgspec.json.decode(page.content, type=Status)

    async def readiness(self) -> tuple[int, dict[str, Any]]:
        page = await self.client.get(f"{self.url}/readyz")
        return page.status_code, page.json()

    async def until(self, condition: Callable[[Status], object], what: str) -> Status:
        """Wait for a status that nothing announces."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                status = await self.status()
                if condition(status):
                    return status
                await asyncio.sleep(0.02)
        raise AssertionError(what)


def _codes(status: Status) -> set[str]:
    return {reason.code for reason in status.reasons}


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "READ_SECONDS", 0.05)


@asynccontextmanager
async def _collecting(settings: Settings, lake: Lake) -> AsyncGenerator[_Pages]:
    task = asyncio.create_task(collect(settings, lake, [VENUE], None))
    record = lake.store.state_dir() / "collector-0.health.json"
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not record.exists():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        async with httpx.AsyncClient() as client:
            yield _Pages(client, json.loads(record.read_bytes())["url"])
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, ExceptionGroup):
            await task


async def test_ready_only_after_books_stand(make_settings: MakeSettings, lake: Lake) -> None:
    async with busy_venue() as venue, _collecting(make_settings(venue), lake) as pages:
        waiting = await pages.until(lambda s: s.venues, "a first reading")
        assert _codes(waiting) == {"universe_missing"}
        code, told = await pages.readiness()
        assert code == 503
        assert "surveillance scan" in told["reasons"][0]["next_step"]
        markets = publish_world(lake, venue)
        ready = await pages.until(lambda s: s.ready, "ready")
        assert (await pages.readiness())[0] == 200
    (found,) = ready.venues
    assert found.books == found.books_expected == found.markets == len(markets)
    assert found.trusted == found.books
    assert sum(found.trust.values()) == found.books
    assert found.frames > 0
    assert found.universe_age_seconds is not None
    assert found.universe_age_seconds < 60
    assert all(connection.up for connection in found.connections)


async def test_a_venue_that_stalls_makes_it_unready_with_the_reason(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue() as venue:
        publish_world(lake, venue)
        settings = make_settings(venue, stall_seconds=2.0, first_book_seconds=0.5)
        health = settings.health.model_copy(update={"quiet_seconds": 0.5})
        settings = settings.model_copy(update={"health": health})
        async with _collecting(settings, lake) as pages:
            await pages.until(lambda s: s.ready, "ready")
            venue.faults.stall(2.5)
            silent = await pages.until(lambda s: "no_data" in _codes(s), "the silence")
            assert "polymarket-0" in silent.reasons[0].what
            assert silent.reasons[0].since <= silent.at
            replaced = await pages.until(
                lambda s: any(c.reconnects.get("stalled") for c in s.venues[0].connections),
                "the connection is replaced",
            )
            assert not replaced.ready
            await pages.until(lambda s: s.ready, "ready again")


async def test_a_venue_that_goes_away_makes_it_unready(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue() as venue:
        publish_world(lake, venue)
        async with _collecting(make_settings(venue), lake) as pages:
            await pages.until(lambda s: s.ready, "ready")
            venue.faults.drop_connections(1012)
            await pages.until(
                lambda s: s.venues[0].connections[0].reconnects == {"closed_1012": 1}, "the cause"
            )
            await pages.until(lambda s: s.ready, "ready again")
            figures = await pages.client.get(f"{pages.url}/metrics")
    families = {f.name: f for f in text_string_to_metric_families(figures.text)}
    (reconnects,) = families["surveillance_reconnects"].samples
    assert reconnects.labels == {"venue": "polymarket", "cause": "closed_1012"}
    assert families["surveillance_frames"].samples[0].value > 0
    ids = {market.yes_id for market in venue.world.tradable} if venue.world else set[str]()
    assert not [token for token in ids if token in figures.text]


async def test_a_part_that_dies_makes_it_unready_while_the_rest_is_published(
    make_settings: MakeSettings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with busy_venue() as venue:
        publish_world(lake, venue)
        async with _collecting(make_settings(venue), lake) as pages:
            await pages.until(lambda s: s.ready, "ready")
            publishing = asyncio.Event()
            to_thread = asyncio.to_thread

            async def slow(function: Callable[..., Any], *arguments: Any) -> Any:
                if getattr(function, "__name__", "") == "publish":
                    await publishing.wait()
                return await to_thread(function, *arguments)

            def broken(*_: object) -> Any:
                raise ArithmeticError(f"broken on purpose {CANARY}")

            monkeypatch.setattr("surveillance_collector.service.asyncio.to_thread", slow)
            monkeypatch.setattr(PolymarketChannel, "receive_all", broken)
            failed = await pages.until(lambda s: "task_failed" in _codes(s), "the failure")
            assert not failed.ready
            (reason,) = [r for r in failed.reasons if r.code == "task_failed"]
            assert "ArithmeticError" in reason.what
            assert CANARY not in reason.what, "a message may say what is nobody else's to read"
            publishing.set()


async def test_no_secret_is_on_any_page(
    make_settings: MakeSettings,
    lake: Lake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KALSHI_API_KEY_ID", CANARY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    key = tmp_path / f"{CANARY}.pem"
    async with busy_venue() as venue:
        publish_world(lake, venue)
        settings = make_settings(venue)
        kalshi = settings.venues.kalshi.model_copy(
            update={"api_key_id_env": "KALSHI_API_KEY_ID", "private_key_path": str(key)}
        )
        venues = settings.venues.model_copy(update={"kalshi": kalshi})
        async with _collecting(settings.model_copy(update={"venues": venues}), lake) as pages:
            await pages.until(lambda s: s.ready, "ready")
            venue.faults.inject(f'{{"event_type":"{CANARY}","market":"<script>"}}')
            found = await pages.until(lambda s: s.venues[0].rejected, "a rejection")
            assert found.venues[0].messages["other"] >= 1, "its type is the venue's own word"
            texts = [(await pages.client.get(pages.url + path)).text for path in (*PATHS, "/x")]
    assert len(texts) == 5
    for text in texts:
        assert CANARY not in text
        assert "<script>" not in text
        assert str(tmp_path) not in text


async def test_figures_are_small_and_name_no_market(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue() as venue:
        markets = publish_world(lake, venue)
        async with _collecting(make_settings(venue), lake) as pages:
            await pages.until(lambda s: s.ready, "ready")
            figures = (await pages.client.get(f"{pages.url}/metrics")).text
    assert len(figures) < 50_000
    for market in markets:
        assert market.market_id not in figures
    labels = set(re.findall(r'(\w+)="', figures))
    assert labels <= {
        "venue", "reason", "version", "origin", "connection", "trust", "type", "cause", "verdict",
        "table", "tier",
    }  # fmt: skip
