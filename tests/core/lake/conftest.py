"""Rows to put into lakes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest

from surveillance_core.lake.layout import bucket_file
from surveillance_core.lake.manifest import ManifestEntry
from surveillance_core.lake.publish import Lake, publish_rows, rows_to_table
from surveillance_core.lake.schemas import TRADES
from surveillance_core.markets import FeeTerms, Market, Outcome, Venue

BUCKET = datetime(2026, 9, 1, 13, 5, tzinfo=UTC)
START_US = int(BUCKET.timestamp() * 1_000_000)

TradeRow = tuple[object, ...]
MakeTrade = Callable[..., TradeRow]
PublishTrades = Callable[..., ManifestEntry]


@pytest.fixture
def day() -> date:
    return BUCKET.date()


@pytest.fixture
def make_trade() -> MakeTrade:
    """A row of ``trades`` so many seconds after the bucket's start."""

    def make(seconds: float = 0.0, outcome: str = "yes-1", price: float = 0.5) -> TradeRow:
        at_us = START_US + int(seconds * 1_000_000)
        return (
            at_us, at_us // 1_000, "market-1", outcome, price, 10.0, "buy", outcome, price,
            "0", None,
        )  # fmt: skip

    return make


@pytest.fixture
def publish_trades(make_trade: MakeTrade) -> PublishTrades:
    """Publish one bucket part of trades at the given seconds; returns its manifest entry."""

    def publish(lake: Lake, *seconds: float, writer: str = "collector-0") -> ManifestEntry:
        rows = [make_trade(second) for second in seconds]
        first, last = (START_US + int(s * 1_000_000) for s in (min(seconds), max(seconds)))
        path = bucket_file(TRADES, Venue.POLYMARKET, BUCKET, "s0", first, last)
        return publish_rows(
            lake,
            TRADES,
            path,
            Venue.POLYMARKET,
            BUCKET.date(),
            rows_to_table(TRADES, rows),
            writer=writer,
            time_column="ts_recv",
        )

    return publish


@pytest.fixture
def markets() -> list[Market]:
    return [
        Market(
            venue=Venue.POLYMARKET,
            market_id=f"market-{number}",
            title=f"Will it rain on day {number}?",
            outcomes=(Outcome(f"yes-{number}", "Yes"), Outcome(f"no-{number}", "No")),
            tick_size=0.01,
            min_order_size=5.0,
            neg_risk=False,
            groups=(),
            fee_terms=FeeTerms.FREE,
            fees=None,
            rewards=None,
            close_hint=None,
            volume_24h=None,
            liquidity=None,
            category=None,
            rules_hash="",
            fetched_at=BUCKET,
        )
        for number in range(3)
    ]
