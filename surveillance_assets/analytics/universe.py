"""The universe as a frame, for joins and for looking at."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Final

import polars as pl

from surveillance_core.markets import Market

UNIVERSE_SCHEMA: Final = pl.Schema(
    {
        "venue": pl.String(),
        "date": pl.Date(),
        "market_id": pl.String(),
        "title": pl.String(),
        "category": pl.String(),
        "group": pl.String(),
        "neg_risk": pl.Boolean(),
        "tick_size": pl.Float64(),
        "volume_24h": pl.Float64(),
        "liquidity": pl.Float64(),
        "close_hint": pl.Datetime("us", "UTC"),
        "fee_rate": pl.Float64(),
        "reward_daily_rate": pl.Float64(),
    }
)
"""Prices in dollars; one row a market."""


def _reward_rate(market: Market) -> float | None:
    """Dollars a day of every reward the market's listing names; None where none says."""
    if market.rewards is not None:
        return market.rewards.daily_rate
    return sum(terms.daily_rate or 0.0 for terms in market.incentives) or None


def universe_frame(markets: Iterable[Market], day: date) -> pl.DataFrame:
    """One row a market with what joins and people need; the full record is in the JSONL file."""
    return pl.DataFrame(
        [
            (
                market.venue.value,
                day,
                market.market_id,
                market.title,
                market.category,
                market.groups[0].title if market.groups else None,
                market.neg_risk,
                market.tick_size,
                market.volume_24h,
                market.liquidity,
                market.close_hint,
                market.fees.rate if market.fees else None,
                _reward_rate(market),
            )
            for market in markets
        ],
        schema=UNIVERSE_SCHEMA,
        orient="row",
    )
