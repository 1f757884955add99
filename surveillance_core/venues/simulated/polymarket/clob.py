"""What the CLOB's REST interface says of markets, beside their books. Pure.

Facts: reference polymarket.md 2. False members of the short form are left out.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

from surveillance_core.venues.simulated.listings import EventListing, MarketListing
from surveillance_core.venues.simulated.polymarket.gamma import REWARD_ASSET, JsonObject, iso

FIRST_CURSOR: Final = "MA=="
LAST_CURSOR: Final = "LTE="
PAGE: Final = 500


def clob_market_object(
    market: MarketListing, event: EventListing, tick: float, *, closed: bool
) -> JsonObject:
    """The short form, ``/clob-markets/{condition_id}``."""
    found: JsonObject = {}
    if market.rewards is not None:
        found["r"] = {
            "mi": market.rewards.min_size,
            "ma": market.rewards.max_spread_cents,
            "moas": 4,
        }
    found |= {
        "t": [
            {"t": token, "o": label}
            for token, label in zip((market.yes_id, market.no_id), market.outcomes, strict=True)
        ],
        "c": market.market_id,
        "mos": 5,
        "mts": tick,
        "mbf": 1000,
        "tbf": 1000,
        "aot": iso(event.listed_ms),
    }
    if not closed:
        found["ao"] = True
    if event.exclusive:
        found["nr"] = True
    if market.fees is not None:
        found["fd"] = {"r": market.fees.rate, "e": 1, "to": True}
    return found


def rewards_page(markets: Sequence[MarketListing], cursor: str) -> JsonObject:
    """A page of ``/rewards/markets/current``: markets with a pool, 500 at a time."""
    start = _position(cursor)
    page = markets[start : start + PAGE]
    following = start + len(page)
    return {
        "limit": PAGE,
        "count": len(page),
        "next_cursor": LAST_CURSOR if following >= len(markets) else _spell(following),
        "data": [_reward_object(market) for market in page],
    }


def _reward_object(market: MarketListing) -> JsonObject:
    rewards = market.rewards
    if rewards is None:
        raise ValueError(f"{market.market_id} has no rewards")
    return {
        "condition_id": market.market_id,
        "rewards_max_spread": rewards.max_spread_cents,
        "rewards_min_size": rewards.min_size,
        "rewards_config": [
            {
                "asset_address": REWARD_ASSET,
                "start_date": iso(market.opens_ms)[:10],
                "end_date": "2500-12-31",
                "rate_per_day": rewards.daily_rate,
                "total_rewards": 0,
            }
        ],
        "native_daily_rate": rewards.daily_rate,
        "sponsored_daily_rate": 0,
        "total_daily_rate": rewards.daily_rate,
        "sponsors_count": 0,
    }


def _position(cursor: str) -> int:
    try:
        return max(0, int(base64.b64decode(cursor or FIRST_CURSOR)))
    except ValueError:
        return 0


def _spell(position: int) -> str:
    return base64.b64encode(str(position).encode()).decode()
