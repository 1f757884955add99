"""Series, events, markets, programmes and trades as REST spells them (reference kalshi.md 4, 6).

Pure: values in, JSON-ready objects out. Every number of the market is a decimal text, a missing
quote is ``0.0000`` or ``1.0000`` with the size ``0.00``, an empty text means absent, and a market
does not say which series it belongs to.
"""

from __future__ import annotations

from typing import Final

from surveillance_core.books import TICKS_PER_DOLLAR
from surveillance_core.venues.simulated.kalshi.frames import JsonObject, price_ranges
from surveillance_core.venues.simulated.kalshi.ledger import MarketRecord, Print
from surveillance_core.venues.simulated.kalshi.spelling import (
    PRICES,
    market_uuid,
    spell_moment,
    spell_size,
)
from surveillance_core.venues.simulated.kalshi.stage import Levels
from surveillance_core.venues.simulated.listings import (
    EventListing,
    MarketListing,
    SeriesListing,
    StrikeListing,
)

NO_QUOTE: Final = (0, TICKS_PER_DOLLAR)
SHARDS: Final = {"Crypto": 2}
"""Exchange shard by category; the default is 0."""

_DAY_MS: Final = 86_400_000
_SETTLING_S: Final = {"Crypto": 60, "Sports": 300}
_SOURCES: Final = [{"name": "official sources of the event", "url": "https://kalshi.com/"}]
_PROHIBITIONS: Final = [
    "Persons who are employed by any of the Source Agencies may not trade on the Contract.",
]


def settlement_timer_s(event: EventListing) -> int:
    """Seconds from determination to settlement."""
    return _SETTLING_S.get(event.category, 1800)


def series_ticker_of(event: EventListing) -> str:
    """The event's series; one of its own name where it has none."""
    return event.series.series_id if event.series else event.event_id.partition("-")[0]


def series_object(series: SeriesListing, updated_ms: int) -> JsonObject:
    """A series, which says what its events' fees are."""
    return {
        "ticker": series.series_id,
        "title": series.title,
        "category": series.category,
        "tags": None,
        "frequency": series.frequency,
        "settlement_sources": _SOURCES,
        "contract_url": f"https://kalshi.com/contracts/{series.series_id}.pdf",
        "contract_terms_url": f"https://kalshi.com/terms/{series.series_id}.pdf",
        "fee_type": series.fee_type,
        "fee_multiplier": _number(series.fee_multiplier),
        "additional_prohibitions": _PROHIBITIONS,
        "exchange_index": SHARDS.get(series.category, 0),
        "last_updated_ts": spell_moment(updated_ms),
    }


def event_object(event: EventListing) -> JsonObject:
    """An event without its markets."""
    collateral = "MECNET" if event.exclusive else "DIRECNET" if event.directional else ""
    return {
        "event_ticker": event.event_id,
        "series_ticker": series_ticker_of(event),
        "title": event.title,
        "sub_title": event.sub_title,
        "mutually_exclusive": event.exclusive,
        "collateral_return_type": collateral,
        "category": event.category,
        "strike_period": "",
        "settlement_sources": _SOURCES,
        "last_updated_ts": spell_moment(event.listed_ms),
        "exchange_index": SHARDS.get(event.category, 0),
        "available_on_brokers": False,
    }


def market_object(
    market: MarketListing,
    event: EventListing,
    record: MarketRecord,
    book: tuple[Levels, Levels],
    status: str,
    now_ms: int,
) -> JsonObject:
    """A market, alone or nested in its event.

    Parameters
    ----------
    book
        Bids and asks of Yes, best last; both empty where nothing is quoted.
    status
        As the venue says it: ``initialized``, ``active``, ...
    """
    label = market.label or ""
    closes_ms = market.closes_ms if record.closed_ms is None else record.closed_ms
    expected_ms = event.deadline_ms + 300_000
    latest = spell_moment(closes_ms + 7 * _DAY_MS)
    grid = record.grid or market.grid
    found: JsonObject = {
        "ticker": market.market_id,
        "event_ticker": event.event_id,
        "market_type": "binary",
        "title": market.title,
        "yes_sub_title": label,
        "no_sub_title": label,
        "created_time": spell_moment(event.listed_ms),
        "updated_time": spell_moment(event.listed_ms + 7),
        "open_time": spell_moment(market.opens_ms),
        "close_time": spell_moment(closes_ms),
        "expected_expiration_time": spell_moment(expected_ms),
        "expiration_time": latest,
        "latest_expiration_time": latest,
        "occurrence_datetime": spell_moment(expected_ms),
        "settlement_timer_seconds": settlement_timer_s(event),
        "status": status,
        "notional_value_dollars": "1.0000",
        "can_close_early": True,
        "early_close_condition": "This market closes early once its outcome is known.",
        "rules_primary": market.rules,
        "rules_secondary": market.rules_secondary,
        "price_level_structure": grid.name,
        "price_ranges": price_ranges(grid),
        "exchange_index": SHARDS.get(event.category, 0),
        "result": record.result,
        "expiration_value": "",
    }
    found.update(quotes_of(book))
    found.update(_totals(record, now_ms))
    if market.strike is not None:
        found.update(strike_members(market.strike))
    if record.value is not None:
        found["settlement_value_dollars"] = PRICES[round(record.value * TICKS_PER_DOLLAR)]
    if record.settled_ms is not None and status == "finalized":
        found["settlement_ts"] = spell_moment(record.settled_ms)
    return found


def quotes_of(book: tuple[Levels, Levels]) -> JsonObject:
    """Best prices of both sides and the sizes behind those of Yes."""
    bids, asks = book
    bid, bid_size = bids[-1] if bids else (NO_QUOTE[0], 0.0)
    ask, ask_size = asks[-1] if asks else (NO_QUOTE[1], 0.0)
    return {
        "yes_bid_dollars": PRICES[bid],
        "yes_ask_dollars": PRICES[ask],
        "no_bid_dollars": PRICES[TICKS_PER_DOLLAR - ask],
        "no_ask_dollars": PRICES[TICKS_PER_DOLLAR - bid],
        "yes_bid_size_fp": spell_size(bid_size),
        "yes_ask_size_fp": spell_size(ask_size),
    }


def _totals(record: MarketRecord, now_ms: int) -> JsonObject:
    last, bid, ask = record.previous
    return {
        "last_price_dollars": PRICES[record.last_price],
        "previous_price_dollars": PRICES[last],
        "previous_yes_bid_dollars": PRICES[bid],
        "previous_yes_ask_dollars": PRICES[ask],
        "volume_fp": spell_size(record.volume),
        "volume_24h_fp": spell_size(record.volume_24h(now_ms)),
        "open_interest_fp": spell_size(record.open_interest),
    }


def strike_members(strike: StrikeListing) -> JsonObject:
    """A typed strike; bounds are JSON numbers, whole where they are whole."""
    found: JsonObject = {"strike_type": strike.kind}
    if strike.floor is not None:
        found["floor_strike"] = _number(strike.floor)
    if strike.cap is not None:
        found["cap_strike"] = _number(strike.cap)
    if strike.kind == "functional" and strike.custom:
        found["functional_strike"] = strike.custom[0][1]
    elif strike.custom:
        found["custom_strike"] = dict(strike.custom)
    return found


def orderbook_object(book: tuple[Levels, Levels], depth: int = 0) -> JsonObject:
    """A book: bids of both sides, worst to best; the best ``depth`` levels, zero for all."""
    yes = [[PRICES[tick], spell_size(size)] for tick, size in book[0][-depth:]]
    no = [[PRICES[TICKS_PER_DOLLAR - tick], spell_size(size)] for tick, size in book[1][-depth:]]
    return {"yes_dollars": yes, "no_dollars": no}


def trade_object(found: Print) -> JsonObject:
    """A print."""
    outcome, side = ("yes", "bid") if found.taker_yes else ("no", "ask")
    return {
        "trade_id": found.trade_id,
        "ticker": found.ticker,
        "count_fp": spell_size(found.size),
        "yes_price_dollars": PRICES[found.price],
        "no_price_dollars": PRICES[TICKS_PER_DOLLAR - found.price],
        "taker_side": outcome,
        "taker_outcome_side": outcome,
        "taker_book_side": side,
        "is_block_trade": False,
        "created_time": spell_moment(found.ts_ms),
    }


def programme_object(market: MarketListing, now_ms: int) -> JsonObject | None:
    """An incentive programme on the market; the reward is in hundredths of a cent."""
    terms = market.incentive
    if terms is None:
        return None
    found: JsonObject = {
        "id": terms.programme_id,
        "market_id": market_uuid(market.market_id),
        "market_ticker": market.market_id,
        "incentive_type": terms.kind,
        "incentive_description": f"{terms.kind.capitalize()} incentive of {market.market_id}",
        "start_date": spell_moment(terms.starts_ms),
        "end_date": spell_moment(terms.ends_ms),
        "period_reward": terms.period_reward_centicents,
        "paid_out": now_ms > terms.ends_ms + _DAY_MS,
    }
    if terms.kind == "liquidity":
        found["discount_factor_bps"] = terms.discount_factor_bps
        found["target_size_fp"] = spell_size(terms.target_size)
    return found


def _number(value: float) -> int | float:
    return int(value) if value == int(value) else value
