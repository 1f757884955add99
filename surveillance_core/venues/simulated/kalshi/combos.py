"""Combinations of markets (``KXMVE...``): listed before every other market, quoted thinly.

Pure. Facts: reference kalshi.md 0 (11) and 6: rules are empty, the legs are the rule, the book has
a bid for No at most, trading happens elsewhere. They are no part of the world and never change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from surveillance_core.venues.simulated.kalshi.catalogue import Listed, thin_book
from surveillance_core.venues.simulated.kalshi.frames import JsonObject, price_ranges
from surveillance_core.venues.simulated.kalshi.objects import quotes_of
from surveillance_core.venues.simulated.kalshi.spelling import PRICES, spell_moment
from surveillance_core.venues.simulated.kalshi.stage import Levels
from surveillance_core.venues.simulated.listings import TENTH_CENT

COLLECTION: Final = "KXMVECROSSCATEGORY"
COMBOS: Final = 12
_LEGS: Final = 2
_DAY_MS: Final = 86_400_000


class Combo(msgspec.Struct, frozen=True):
    """One combination: its ticker, its object and its book."""

    ticker: str
    event_ticker: str
    body: JsonObject
    book: tuple[Levels, Levels]


def make_combos(open_markets: Sequence[Listed], now_ms: int) -> list[Combo]:
    """A few combinations of markets of different events."""
    firsts: dict[str, Listed] = {}
    for listed in open_markets:
        firsts.setdefault(listed.event.event_id, listed)
    legs = list(firsts.values())
    pairs = [legs[place : place + _LEGS] for place in range(len(legs) - _LEGS + 1)]
    return [_combo(pair, now_ms) for pair in pairs[:COMBOS]]


def _combo(legs: Sequence[Listed], now_ms: int) -> Combo:
    named = ",".join(leg.market.market_id for leg in legs)
    digest = hashlib.sha256(named.encode()).hexdigest().upper()
    event_ticker = f"{COLLECTION}-S2026{digest[:11]}"
    ticker = f"{event_ticker}-{digest[11:22]}"
    price = 5_000 + int(digest[:8], 16) % 499 * 10
    book = thin_book(price, 1.0 + int(digest[8:12], 16) % 500)
    closes_ms = min(leg.market.closes_ms for leg in legs)
    title = ",".join(f"yes {leg.market.label or leg.market.title}" for leg in legs)
    latest = spell_moment(closes_ms + 2 * _DAY_MS)
    body: JsonObject = {
        "ticker": ticker,
        "event_ticker": event_ticker,
        "market_type": "binary",
        "title": title,
        "yes_sub_title": title,
        "no_sub_title": title,
        "created_time": spell_moment(now_ms),
        "updated_time": spell_moment(now_ms),
        "open_time": spell_moment(now_ms),
        "close_time": spell_moment(closes_ms),
        "expected_expiration_time": spell_moment(closes_ms),
        "expiration_time": latest,
        "latest_expiration_time": latest,
        "settlement_timer_seconds": 5,
        "status": "active",
        "notional_value_dollars": "1.0000",
        "can_close_early": True,
        "rules_primary": "",
        "rules_secondary": "",
        "price_level_structure": TENTH_CENT.name,
        "price_ranges": price_ranges(TENTH_CENT),
        "exchange_index": 1,
        "result": "",
        "expiration_value": "",
        "is_provisional": True,
        "mve_collection_ticker": f"{COLLECTION}-R",
        "mve_selected_legs": [
            {
                "event_ticker": leg.event.event_id,
                "market_ticker": leg.market.market_id,
                "side": "yes",
            }
            for leg in legs
        ],
        "strike_type": "custom",
        "custom_strike": {
            "Associated Events": ",".join(leg.event.event_id for leg in legs),
            "Associated Market Sides": ",".join("yes" for _ in legs),
            "Associated Markets": named,
            "Multivariate Event Ticker": event_ticker,
        },
        "last_price_dollars": PRICES[0],
        "previous_price_dollars": PRICES[0],
        "previous_yes_bid_dollars": PRICES[0],
        "previous_yes_ask_dollars": PRICES[0],
        "volume_fp": "0.00",
        "volume_24h_fp": "0.00",
        "open_interest_fp": "0.00",
    }
    body.update(quotes_of(book))
    return Combo(ticker, event_ticker, body, book)
