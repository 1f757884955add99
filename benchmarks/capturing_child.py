"""The receiving processes of ``capturing``: the whole collector, and a bare receiver."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from surveillance_collector.service import VenueCollector
from surveillance_core.lake.publish import Lake, publish_universe
from surveillance_core.markets import FeeTerms, Market, Outcome, Venue
from surveillance_core.settings import Settings
from surveillance_core.venues.polymarket.wire import decode_frame


async def receive(work: dict[str, Any], _directory: Path) -> float:
    """Receive and decode every frame; CPU-seconds."""
    url = f"ws://127.0.0.1:{work['port']}/ws/market"
    began = time.process_time()
    async with connect(url, compression=None, proxy=None, max_size=1 << 24) as socket:
        await socket.send("{}")
        for _ in range(work["frames"]):
            decode_frame(await socket.recv(decode=False))
    return time.process_time() - began


async def collect(work: dict[str, Any], directory: Path) -> float:
    """Collect every frame and publish what comes of them; CPU-seconds."""
    now_ms = time.time_ns() // 1_000_000
    settings = Settings.model_validate(
        {
            "data_dir": str(directory / "lake"),
            "venues": {
                "polymarket": {
                    "enabled": True,
                    "max_subs": 700,
                    "assets_per_connection": 700,
                    "hot_count": 100,
                }
            },
            "journal": {"reserve_mb": 0.0},
            "mock": {
                "enabled": True,
                "ws_port": work["port"],
                "epoch_ms": now_ms,
                "start_ms": now_ms,
                "speed": work["speed"],
            },
        }
    )
    lake = Lake(str(directory / "lake"), "simulated")
    today = datetime.now(UTC)
    markets = [_market(*asset) for asset in work["assets"]]
    publish_universe(lake, Venue.POLYMARKET, today.date(), markets, writer="universe")
    collector = VenueCollector(settings, lake, Venue.POLYMARKET)
    began = time.process_time()
    task = asyncio.create_task(collector.run())
    while collector.report().frames < work["frames"]:
        if task.done():
            task.result()
        await asyncio.sleep(0.05)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    spent = time.process_time() - began
    report = collector.report()
    assert not report.rows_held
    assert report.published["orderbook_snapshots"] >= len(markets)
    assert not report.rejected
    return spent


def _market(market_id: str, asset_id: str, mirror_id: str, tick: int) -> Market:
    return Market(
        venue=Venue.POLYMARKET,
        market_id=market_id,
        title="A market",
        outcomes=(Outcome(asset_id, "Yes"), Outcome(mirror_id, "No")),
        tick_size=tick / 10_000,
        min_order_size=5.0,
        neg_risk=False,
        groups=(),
        fee_terms=FeeTerms.UNKNOWN,
        fees=None,
        rewards=None,
        close_hint=None,
        volume_24h=1.0,
        liquidity=None,
        category=None,
        rules_hash="00",
        fetched_at=datetime.now(UTC),
    )
