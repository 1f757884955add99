"""Listings as Gamma gives them, and its keyset paging.

Pure: values in, JSON-ready objects out. Facts: reference polymarket.md 1. Arrays of a market are
strings that hold JSON, optional members are absent rather than null, ``endDate`` is only near the
deadline that the rules text states.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from surveillance_core.venues.simulated.happenings import MarketQuote
from surveillance_core.venues.simulated.listings import EventListing, MarketListing

JsonObject = dict[str, object]

DEFAULT_LIMIT = 20
MOST_EVENTS_A_PAGE = 500
_DAY_MS = 86_400_000
REWARD_ASSET = "0x" + "c2" * 20


class Page(msgspec.Struct, frozen=True):
    """An answer: HTTP status and body."""

    status: int
    body: JsonObject


def event_object(
    event: EventListing,
    quotes: Mapping[int, MarketQuote],
    results: Mapping[int, tuple[str, float]],
) -> JsonObject:
    """One event with its markets nested, as ``/events/keyset`` and ``/events/{id}`` give it."""
    markets = [
        market_object(market, event, quotes.get(market.index), results.get(market.index))
        for market in event.markets
    ]
    slug = _slug(event.title, int(event.event_id))
    volumes = [quotes[m.index].volume_24h for m in event.markets if m.index in quotes]
    liquidity = sum(quotes[m.index].liquidity for m in event.markets if m.index in quotes)
    found: JsonObject = {
        "id": event.event_id,
        "ticker": slug,
        "slug": slug,
        "title": event.title,
        "description": event.description,
        "resolutionSource": "",
        "startDate": iso(event.listed_ms),
        "creationDate": iso(event.listed_ms),
        "endDate": _end_hint(event),
        "active": True,
        "closed": event_closed(event, results),
        "archived": False,
        "new": False,
        "featured": False,
        "restricted": True,
        "liquidity": round(liquidity, 5),
        "volume": round(9 * sum(volumes), 6),
        "openInterest": round(2 * sum(volumes), 6),
        "volume24hr": round(sum(volumes), 6),
        "volume1wk": round(5 * sum(volumes), 6),
        "liquidityClob": round(liquidity, 5),
        "competitive": 0.8,
        "enableOrderBook": True,
        "negRisk": event.exclusive,
        "cumulativeMarkets": False,
        "tags": _tags(event),
        "markets": markets,
    }
    if event.exclusive:
        found["enableNegRisk"] = True
        found["negRiskAugmented"] = event.augmented
        found["negRiskMarketID"] = event.group_id
    if event.series is not None:
        found["seriesSlug"] = event.series.series_id
        found["series"] = [
            {
                "id": str(10_000 + sum(map(ord, event.series.series_id))),
                "ticker": event.series.series_id,
                "slug": event.series.series_id,
                "title": event.series.title,
                "seriesType": "single",
                "recurrence": event.series.frequency,
            }
        ]
    return found


def market_object(
    market: MarketListing,
    event: EventListing,
    quote: MarketQuote | None,
    result: tuple[str, float] | None = None,
) -> JsonObject:
    """One market as nested in its event; ``quote`` is None where it does not trade.

    ``result`` is what it resolved to and what the first outcome pays, where that is known.
    """
    ends = _end_hint(event)
    price = _shown_price(quote) if result is None else result[1]
    volume = quote.volume_24h if quote is not None else 0.0
    gamma_id = str(500_000 + market.index)
    closed = market.closed or result is not None
    found: JsonObject = {
        "id": gamma_id,
        "question": market.title,
        "conditionId": market.market_id,
        "questionID": _question_id(market, event),
        "slug": _slug(market.title, market.index),
        "description": market.rules,
        "resolutionSource": "",
        "startDate": iso(event.listed_ms),
        "endDate": ends,
        "endDateIso": ends[:10],
        "startDateIso": iso(event.listed_ms)[:10],
        "createdAt": iso(event.listed_ms),
        "updatedAt": iso(event.listed_ms),
        "outcomes": json.dumps(list(market.outcomes)),
        "outcomePrices": json.dumps([f"{price:.4g}", f"{1.0 - price:.4g}"]),
        "clobTokenIds": json.dumps([market.yes_id, market.no_id]),
        "umaResolutionStatuses": "[]",
        "groupItemThreshold": str(market.position),
        "active": market.active,
        "closed": closed,
        "archived": False,
        "restricted": True,
        "ready": False,
        "funded": False,
        "acceptingOrders": not closed,
        "acceptingOrdersTimestamp": iso(event.listed_ms),
        "enableOrderBook": True,
        "orderPriceMinTickSize": quote.tick if quote is not None else market.grid.finest / 10_000,
        "orderMinSize": 5,
        "volume": f"{9 * volume:.6f}",
        "volumeNum": round(9 * volume, 6),
        "volume24hr": volume,
        "volume24hrClob": volume,
        "negRisk": event.exclusive,
        "negRiskOther": market.other,
        "rewardsMinSize": market.rewards.min_size if market.rewards else 0,
        "rewardsMaxSpread": market.rewards.max_spread_cents if market.rewards else 0,
        "feesEnabled": market.fees is not None,
        "feeType": market.fees.kind if market.fees else None,
        "umaBond": "500",
        "umaReward": "5",
        "customLiveness": 0,
        "holdingRewardsEnabled": False,
        "rfqEnabled": False,
        "pendingDeployment": False,
    }
    if market.label is not None:
        found["groupItemTitle"] = market.label
    if event.exclusive:
        found["negRiskMarketID"] = event.group_id
    if market.fees is not None:
        found["makerBaseFee"] = found["takerBaseFee"] = 1000
        found["feeSchedule"] = {
            "exponent": 1,
            "rate": market.fees.rate,
            "takerOnly": True,
            "rebateRate": market.fees.rebate_rate,
        }
    if market.rewards is not None:
        found["clobRewards"] = [
            {
                "id": gamma_id,
                "conditionId": market.market_id,
                "assetAddress": REWARD_ASSET,
                "rewardsAmount": 0,
                "rewardsDailyRate": market.rewards.daily_rate,
                "startDate": iso(event.listed_ms)[:10],
                "endDate": "2500-12-31",
            }
        ]
    if quote is not None:
        found["liquidity"] = f"{quote.liquidity:.5f}"
        found["liquidityNum"] = quote.liquidity
        if quote.best_bid is not None:
            found["bestBid"] = quote.best_bid
        if quote.best_ask is not None:
            found["bestAsk"] = quote.best_ask
        if quote.best_bid is not None and quote.best_ask is not None:
            found["spread"] = round(quote.best_ask - quote.best_bid, 4)
        if quote.last_trade_price is not None:
            found["lastTradePrice"] = quote.last_trade_price
    return found


def event_closed(event: EventListing, results: Mapping[int, object]) -> bool:
    """Whether nothing of the event trades any more: it was over, or every market has resolved."""
    live = [market for market in event.markets if market.tradable]
    return event.closed or not live or all(market.index in results for market in live)


def page_events(
    ids: Sequence[str],
    event_of: Callable[[str], JsonObject],
    params: Mapping[str, str],
) -> Page:
    """One page of ``/events/keyset`` over event ids already filtered by ``closed``.

    ``next_cursor`` is absent on the last page, ``offset`` is refused, and every parameter the venue
    does not know, ``cursor`` among them, is ignored.
    """
    if "offset" in params:
        return _invalid("offset is not supported, use after_cursor")
    try:
        limit = int(params.get("limit", DEFAULT_LIMIT))
    except ValueError:
        return _invalid("limit must be an integer")
    if not 1 <= limit <= MOST_EVENTS_A_PAGE:
        return _invalid(f"limit must be between 1 and {MOST_EVENTS_A_PAGE}")
    start = 0
    cursor = params.get("after_cursor", "")
    if cursor:
        position = _read_cursor(cursor)
        if position is None:
            return _invalid("after_cursor is invalid")
        start = position
    body: JsonObject = {"events": [event_of(event_id) for event_id in ids[start : start + limit]]}
    if start + limit < len(ids):
        body["next_cursor"] = spell_cursor(start + limit)
    return Page(200, body)


def spell_cursor(position: int) -> str:
    """An opaque cursor that resumes at a position."""
    return base64.urlsafe_b64encode(f"after:{position}".encode()).decode()


def _read_cursor(cursor: str) -> int | None:
    try:
        kind, _, position = base64.urlsafe_b64decode(cursor).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return int(position) if kind == "after" and position.isdecimal() else None


def _invalid(message: str) -> Page:
    return Page(422, {"type": "validation error", "error": message})


def _question_id(market: MarketListing, event: EventListing) -> str:
    """The set's id with the market's place as its last byte, in an exclusive event."""
    if event.group_id is not None:
        return f"{event.group_id[:-2]}{market.position:02x}"
    return f"0x{hashlib.sha256(market.market_id.encode()).hexdigest()}"


def _slug(text: str, number: int) -> str:
    return f"{re.sub(r'[^a-z0-9]+', '-', text.lower()).strip('-')}-{number}"


def _shown_price(quote: MarketQuote | None) -> float:
    if quote is None:
        return 0.0
    if quote.best_bid is not None and quote.best_ask is not None:
        return (quote.best_bid + quote.best_ask) / 2
    return quote.last_trade_price or 0.5


def _tags(event: EventListing) -> list[JsonObject]:
    number = 100 + sum(map(ord, event.category)) % 900
    return [
        {
            "id": str(number),
            "label": event.category,
            "slug": event.category.lower(),
            "forceShow": False,
        }
    ]


def _end_hint(event: EventListing) -> str:
    # as on the venue: noon or midnight UTC of the day, hours before the deadline in the text
    day = datetime.fromtimestamp((event.deadline_ms - _DAY_MS // 4) / 1000, UTC)
    hour = 12 if int(event.event_id) % 2 else 0
    return f"{day:%Y-%m-%d}T{hour:02d}:00:00Z"


def iso(ms: int) -> str:
    """The time as Gamma spells it, to the millisecond."""
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"
