"""Reward pools that the listing leaves out, completed from the CLOB.

``/rewards/markets/current`` lists the markets with a pool today, 500 a page, to the cursor ``LTE=``
(reference polymarket.md 2): the daily rate is the venue's own pool and what sponsors add to it. A
listing without them is still a listing, so every trouble here is an oddity and never an error.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from surveillance_core.markets import Market, RewardTerms
from surveillance_core.venues.listing import Json, MemberReader, as_list, as_object
from surveillance_core.venues.protocols import Discovery
from surveillance_core.venues.rest import RestClient, VenueError

REWARDS: Final = "/rewards/markets/current"
END: Final = "LTE="
"""The cursor after the last page: base64 of -1."""

MOST_PAGES: Final = 200


def complete_rewards(clob: RestClient, found: Discovery) -> None:
    """Give each market found the pool the CLOB states, where the listing stated none."""
    try:
        terms = fetch_rewards(clob, found.oddities)
    except VenueError:
        found.oddities["rewards_unavailable"] += 1
        return
    found.markets = [_completed(market, terms.get(market.market_id)) for market in found.markets]


def fetch_rewards(clob: RestClient, oddities: Counter[str]) -> dict[str, RewardTerms]:
    """Terms by market id, of all markets with a pool; raises ``VenueError``."""
    read = MemberReader(oddities)
    terms: dict[str, RewardTerms] = {}
    params: dict[str, str | int] = {}
    cursors: set[str] = set()
    for _ in range(MOST_PAGES):
        page = as_object(clob.get(REWARDS, params))
        listed = None if page is None else as_list(page.get("data"))
        if page is None or listed is None:
            raise VenueError(f"{REWARDS}: the answer has no list of rewards. Check clob_url.")
        for item in listed:
            reward = as_object(item)
            market_id = None if reward is None else read.text(reward, "condition_id")
            found = None if reward is None else read_rewards(reward, read)
            if market_id is None or found is None:
                oddities["reward_unreadable"] += 1
            else:
                terms[market_id] = found
        cursor = page.get("next_cursor")
        if not isinstance(cursor, str) or cursor in ("", END):
            return terms
        if cursor in cursors:
            oddities["rewards_cursor_repeats"] += 1
            return terms
        cursors.add(cursor)
        params["next_cursor"] = cursor
    oddities["rewards_cursor_endless"] += 1
    return terms


def read_rewards(reward: Json, read: MemberReader) -> RewardTerms | None:
    """One market's terms; None where spread or size cannot be read or leave nothing to score."""
    max_spread_cents = read.number(reward, "rewards_max_spread")
    min_size = read.number(reward, "rewards_min_size")
    if max_spread_cents is None or max_spread_cents <= 0 or min_size is None or min_size < 0:
        return None
    rate = read.number(reward, "total_daily_rate")
    if rate is None:
        parts = [read.number(reward, f"{by}_daily_rate") for by in ("native", "sponsored")]
        known = [part for part in parts if part is not None]
        rate = sum(known) if known else None
    if rate is None:
        pools = [as_object(pool) or {} for pool in as_list(reward.get("rewards_config")) or []]
        rates = [read.number(pool, "rate_per_day") for pool in pools]
        known = [part for part in rates if part is not None]
        rate = sum(known) if known else None
    return RewardTerms(min_size=min_size, max_spread=max_spread_cents / 100, daily_rate=rate)


def _completed(market: Market, terms: RewardTerms | None) -> Market:
    """The listing's word stands; only what it left out is filled in."""
    listed = market.rewards
    if terms is None or (listed is not None and listed.daily_rate is not None):
        return market
    if listed is not None:
        terms = msgspec.structs.replace(listed, daily_rate=terms.daily_rate)
    return msgspec.structs.replace(market, rewards=terms)
