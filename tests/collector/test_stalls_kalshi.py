"""A quiet Kalshi connection is left alone; what it silently leaves out is found by REST."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import msgspec
import polars as pl
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from surveillance_collector.service import VenueCollector
from surveillance_core.books import SPELLING, TICKS_PER_DOLLAR
from surveillance_core.lake.manifest import manifest_days
from surveillance_core.lake.publish import Lake, publish_universe
from surveillance_core.lake.read import scan_table
from surveillance_core.lake.schemas import COVERAGE
from surveillance_core.markets import Venue
from surveillance_core.settings import Settings
from surveillance_core.venues.kalshi.credentials import simulated_public_key
from surveillance_core.venues.simulated.loopback import serve_http

from .conftest import MakeSettings
from .live import port_of, until
from .signed_venue import SignedVenue
from .worlds import listed_market

TICKERS = ["A", "B", "C"]


def _settings(make: MakeSettings, http_port: int = 0, ws_port: int = 0) -> Settings:
    tree = make().model_dump()
    tree["venues"]["kalshi"] |= {
        "enabled": True, "snapshot_interval_ms_hot": 100, "reconnect_max_seconds": 0.2,
        "stall_seconds": 1.0, "witness_seconds": 0.4, "witness_again_seconds": 0.2,
        "witness_quiet_seconds": 0.3, "requests_per_second": 100.0, "connection_minutes": 0.0,
    }  # fmt: skip
    tree["mock"] |= {"kalshi_ws_port": ws_port, "kalshi_http_port": http_port}
    return Settings.model_validate(tree)


def _rest_of(venue: SignedVenue) -> Starlette:
    """The venue's books by REST."""

    async def orderbook(request: Request) -> JSONResponse:
        book = venue.book(str(request.path_params["ticker"]))
        yes = [[SPELLING[tick], f"{size:.2f}"] for tick, size in sorted(book.bids.items())]
        no = [
            [SPELLING[TICKS_PER_DOLLAR - tick], f"{size:.2f}"]
            for tick, size in sorted(book.asks.items(), reverse=True)
        ]
        return JSONResponse({"orderbook_fp": {"yes_dollars": yes, "no_dollars": no}})

    return Starlette(routes=[Route("/trade-api/v2/markets/{ticker}/orderbook", orderbook)])


@asynccontextmanager
async def _collecting(
    make: MakeSettings, lake: Lake
) -> AsyncGenerator[tuple[VenueCollector, SignedVenue]]:
    markets = [
        msgspec.structs.replace(
            listed_market(ticker, tokens=(ticker, f"{ticker}:no")),
            venue=Venue.KALSHI,
        )
        for ticker in TICKERS
    ]
    publish_universe(lake, Venue.KALSHI, datetime.now(UTC).date(), markets, writer="universe")
    async with (
        SignedVenue(simulated_public_key(_settings(make)), TICKERS) as venue,
        serve_http(_rest_of(venue)) as url,
    ):
        collector = VenueCollector(_settings(make, port_of(url), venue.port), lake, Venue.KALSHI)
        task = asyncio.create_task(collector.run())
        try:
            await until(lambda: collector._engine.books == len(TICKERS), "every book")
            yield collector, venue
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_a_quiet_connection_is_not_reconnected(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with _collecting(make_settings, lake) as (collector, _):
        watch, witness = collector._subscriptions.watch, collector._subscriptions.witness
        await until(lambda: watch.vouched >= 2, "two silences vouched for")
        assert collector.report().reconnects == 0
        assert witness.counts["agreed"] > len(TICKERS)
        assert witness.counts["mismatched"] == witness.counts["failed"] == 0


async def test_a_market_that_changes_in_silence_is_had_anew(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with _collecting(make_settings, lake) as (collector, venue):
        # no frame and no number is used up for it
        venue._levels["B"]["yes"]["0.4900"] = 4.0
        witness = collector._subscriptions.witness
        await until(lambda: witness.counts["stalls"], "REST contradicts the book")
        await until(lambda: collector._engine.books == len(TICKERS), "every book")
        book = next(f for f in collector._engine.assets if f.terms.asset_id == "B").state.book
        assert book == venue.book("B")
        assert collector.report().reconnects == 0
    days = manifest_days(lake.store, Venue.KALSHI)
    rows = scan_table(lake, COVERAGE, Venue.KALSHI, days).frame.collect()
    doubted = rows.filter(pl.col("cause") == "witness_mismatch")
    assert doubted["outcome_id"].unique().to_list() == ["B"]
