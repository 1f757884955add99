"""Independent readings of listings and frames: what an adapter may have made of them.

Written from the venues' formats with decimals and dictionaries, without any of the adapters' code.
A reading says nothing of what is malformed; whoever compares decides what must then have happened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from surveillance_core.books import OrderBook
from surveillance_core.markets import FeeTerms, Market, Outcome

Json = dict[str, Any]
Sides = tuple[dict[int, float], dict[int, float]]
"""Bids and asks: contracts by tick."""

_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
LARGEST = Decimal("1e15")
"""Contracts that nobody has: such a change cannot be used."""


def number(value: Any) -> Decimal | None:
    """A finite number, or the text of one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        return None
    read = Decimal(value) if isinstance(value, int) else Decimal(str(value))
    return read if read.is_finite() and abs(read) < Decimal("1.797e308") else None


def tick(price: Any) -> int | None:
    """A price in ticks of 0.0001 dollars; None if it is off the grid or outside [0, 1]."""
    read = number(price)
    if read is None or not 0 <= read <= 1 or read * 10_000 % 1:
        return None
    return int(read * 10_000)


def storable(text: str) -> bool:
    """Whether UTF-8 can hold it."""
    return not any(0xD800 <= ord(letter) <= 0xDFFF for letter in text)


# ── listings ─────────────────────────────────────────────────────────────────────────────────────


def check_number(kept: float | None, raw: Json, *names: str) -> None:
    """The first readable spelling is what was kept, and nothing was made of the unreadable."""
    read = next((found for name in names if (found := number(raw.get(name))) is not None), None)
    assert kept == (None if read is None else float(read)), (names, kept)


def check_moment(kept: datetime | None, stated: Any) -> None:
    """Kept in UTC, and only what is a time as text."""
    if kept is None:
        return
    assert kept.utcoffset() == timedelta(0)
    read = datetime.fromisoformat(stated)
    assert kept == (read if read.tzinfo else read.replace(tzinfo=UTC))


def check_text(kept: str | None, stated: Any) -> None:
    """Text is kept to the letter, but for what no file can hold."""
    if isinstance(stated, str) and storable(stated):
        assert (kept or "") == stated
    elif isinstance(stated, str):
        assert kept == "".join(letter if storable(letter) else "?" for letter in stated)
    else:
        assert not kept


def polymarket_market(market: Market, raw: Json, event: Json | None) -> None:
    """A Gamma market that was kept says what was listed."""
    assert raw["active"] is raw["enableOrderBook"] is raw["acceptingOrders"] is True
    assert not raw.get("closed")
    assert not raw.get("archived")
    assert market.market_id == raw["conditionId"] != ""
    tokens = raw["positionIds" if raw.get("version") == "v2" else "clobTokenIds"]
    labels = raw["outcomes"]
    tokens = json.loads(tokens) if isinstance(tokens, str) else tokens
    labels = json.loads(labels) if isinstance(labels, str) else labels
    assert market.outcomes == tuple(map(Outcome, tokens, labels))
    assert len(market.outcomes) == 2
    for outcome in market.outcomes:
        assert isinstance(outcome.outcome_id, str)
        assert outcome.outcome_id
    check_text(market.title, raw.get("question"))
    read = number(raw["orderPriceMinTickSize"])
    assert read is not None
    assert Decimal(str(market.tick_size)) == read
    assert market.tick_size > 0
    assert tick(market.tick_size) is not None
    assert raw.get("negRisk") in (None, market.neg_risk)
    check_number(market.min_order_size, raw, "orderMinSize")
    check_number(market.volume_24h, raw, "volume24hr")
    check_number(market.liquidity, raw, "liquidityNum", "liquidity")
    check_moment(market.close_hint, raw.get("endDate"))
    if market.fees is not None:
        assert market.fee_terms is FeeTerms.SCHEDULED
        terms = raw["feeSchedule"]
        check_number(market.fees.rate, terms, "rate")
        check_number(market.fees.exponent, terms, "exponent")
        assert terms.get("takerOnly") in (None, market.fees.taker_only)
    if market.rewards is not None:
        cents, rates = number(raw["rewardsMaxSpread"]), raw.get("clobRewards")
        check_number(market.rewards.min_size, raw, "rewardsMinSize")
        assert cents is not None
        assert market.rewards.min_size > 0 < market.rewards.max_spread
        assert market.rewards.max_spread == float(cents) / 100
        if market.rewards.daily_rate is not None:
            read = [number(pool.get("rewardsDailyRate")) for pool in _objects(rates)]
            assert market.rewards.daily_rate == sum(
                float(rate) for rate in read if rate is not None
            )
    for group in market.groups:
        named = [raw.get("negRiskMarketID")]
        named += [event.get("id"), event.get("negRiskMarketID")] if event else []
        if event and group.kind == "series":
            listed = list(_objects(event.get("series")))
            named = [item.get("slug") or item.get("id") for item in listed]
            named.append(event.get("seriesSlug"))
        assert group.group_id.partition(":")[2] in {
            str(name) for name in named if name not in (None, "")
        }


def kalshi_market(market: Market, raw: Json, event: Json | None) -> None:
    """A Kalshi market that was kept says what was listed."""
    ticker = raw["ticker"]
    assert raw["status"] == "active"
    assert raw["market_type"] == "binary"
    assert [outcome.outcome_id for outcome in market.outcomes] == [ticker, f"{ticker}:no"]
    assert market.market_id == ticker
    assert re.fullmatch(r"[\w.-]{1,200}", ticker, re.ASCII)
    stated = raw.get("title") or (event or {}).get("title")
    if isinstance(stated, str) and storable(stated):
        assert stated in market.title
    ranges = raw.get("price_ranges")
    if ranges:
        steps = [number(found["step"]) for found in ranges]
        assert Decimal(str(market.tick_size)) == min(step for step in steps if step is not None)
        assert len(market.price_ranges) == len(ranges)
        assert None not in steps
    assert tick(market.tick_size)
    check_number(market.volume_24h, raw, "volume_24h_fp", "volume_24h")
    check_moment(market.close_hint, raw.get("close_time"))
    check_moment(market.fee_waived_until, raw.get("fee_waiver_expiration_time"))
    assert market.fees is None
    assert market.rewards is None
    if market.named_fee is not None and event is not None:
        if event.get("fee_type_override") not in (None, ""):
            check_text(market.named_fee.kind, event["fee_type_override"])
        if event.get("fee_multiplier_override") not in (None, ""):
            check_number(market.named_fee.multiplier, event, "fee_multiplier_override")
    if market.strike is not None:
        check_number(market.strike.floor, raw, "floor_strike")
        check_number(market.strike.cap, raw, "cap_strike")
    for group in market.groups:
        assert event is not None
        name = "series_ticker" if group.kind == "series" else "event_ticker"
        assert group.group_id.partition(":")[2] == event[name]


# ── books ────────────────────────────────────────────────────────────────────────────────────────


def as_book(sides: Sides) -> OrderBook:
    """Sides as a book, empty levels left out."""
    bids, asks = ({tick: size for tick, size in side.items() if size} for side in sides)
    return OrderBook(bids, asks)


def elements(frame: bytes | str) -> list[Any] | None:
    """A frame's elements, None where it is not JSON.

    What is no UTF-8 spoils the text it stands in, not what is beside it.
    """
    try:
        text = frame.decode("utf-8", "replace") if isinstance(frame, bytes) else frame
        # any number of digits is JSON; what matters is that no member of ours can be as large
        parsed = json.loads(text, parse_int=lambda digits: int(digits[:400]))
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, list) else [parsed]


def polymarket_reading(before: dict[str, OrderBook], frame: bytes | str) -> dict[str, OrderBook]:
    """The books after a frame, by asset; what is malformed changes nothing."""
    books = dict(before)
    for message in elements(frame) or []:
        if not isinstance(message, dict):
            continue
        asset = message.get("asset_id")
        if message.get("event_type") == "book" and isinstance(asset, str) and asset in books:
            sides = _levels(message.get("bids")), _levels(message.get("asks"))
            if None not in sides:
                books[asset] = as_book((sides[0] or {}, sides[1] or {}))
        elif message.get("event_type") == "price_change":
            for change in _objects(message.get("price_changes")):
                asset = change.get("asset_id")
                at, size = tick(change.get("price")), number(change.get("size"))
                if (
                    not isinstance(asset, str)
                    or asset not in books
                    or at is None
                    or size is None
                    or size < 0
                ):
                    continue
                sides = dict(books[asset].bids), dict(books[asset].asks)
                sides[change.get("side") != "BUY"][at] = float(size)
                books[asset] = as_book(sides)
    return books


def kalshi_reading(before: dict[str, OrderBook], frame: bytes | str) -> dict[str, OrderBook]:
    """The books after a frame, by ticker; what is malformed changes nothing."""
    books = dict(before)
    for message in elements(frame) or []:
        body = message.get("msg") if isinstance(message, dict) else None
        ticker = body.get("market_ticker") if isinstance(body, dict) else None
        if not isinstance(ticker, str) or ticker not in books:
            continue
        if message.get("type") == "orderbook_snapshot":
            sides = _kalshi_side(body, "yes"), _kalshi_side(body, "no")
            if None not in sides:
                no = {10_000 - at: size for at, size in (sides[1] or {}).items()}
                books[ticker] = as_book((sides[0] or {}, no))
        elif message.get("type") == "orderbook_delta":
            at = tick(body.get("price_dollars"))
            if at is None and body.get("price_dollars") is None:
                at = _cents(body.get("price"))
            changed = number(body.get("delta_fp"))
            changed = number(body.get("delta")) if body.get("delta_fp") is None else changed
            changed = None if changed is None else round(min(max(changed, -LARGEST), LARGEST), 6)
            if at is None or changed is None or body.get("side") not in ("yes", "no"):
                continue
            sides = dict(books[ticker].bids), dict(books[ticker].asks)
            at = at if body["side"] == "yes" else 10_000 - at
            side = sides[body["side"] == "no"]
            side[at] = float(Decimal(str(side.get(at, 0))) + changed)
            if side[at] >= 0:
                books[ticker] = as_book(sides)
    return books


def _objects(value: Any) -> Iterator[Json]:
    yield from (item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def _cents(price: Any) -> int | None:
    read = number(price)
    return None if read is None or not 0 <= read <= 100 or read % 1 else int(read * 100)


def _levels(value: Any) -> dict[int, float] | None:
    if not isinstance(value, list):
        return None
    return _side((level.get("price"), level.get("size")) for level in _objects(value))


def _kalshi_side(body: Json, name: str) -> dict[int, float] | None:
    for suffix in ("_dollars_fp", "_dollars"):
        # the decoder takes the text for the value: a side that is absent either way
        if body.get(name + suffix) not in (None, "null"):
            return _pairs(body[name + suffix])
    cents = body.get(name)
    if not isinstance(cents, list):
        return {} if cents is None else None
    return _pairs([[price / 100, size] for price, size in cents])


def _pairs(value: Any) -> dict[int, float] | None:
    if not isinstance(value, list) or not all(isinstance(v, list) and len(v) == 2 for v in value):
        return None
    return _side(tuple(level) for level in value)


def _side(levels: Iterable[tuple[Any, Any]]) -> dict[int, float] | None:
    side: dict[int, float] = {}
    for price, size in levels:
        at, read = tick(price), number(size)
        if at is None or read is None or read < 0:
            return None
        if read:
            side[at] = float(read)
    return side
