"""What the WebSocket tells besides books: prints in terms of YES, listings, results. Pure.

Every spelling that the venue has had of a price, a size and a time is read.
"""

from __future__ import annotations

from datetime import UTC, datetime

from surveillance_core.books import COMPLEMENT, SEEN_TICK_OF, TICKS_PER_DOLLAR
from surveillance_core.venues.kalshi.discovery import NO_SUFFIX
from surveillance_core.venues.kalshi.spelling import UNITS, price_tick, size_units, venue_ms
from surveillance_core.venues.kalshi.wire import MOST_CONTRACTS, LifecycleBody, TradeBody
from surveillance_core.venues.protocols import (
    AssetTerms,
    MarketListed,
    MarketResolved,
    Side,
    Status,
    StatusChanged,
    Trade,
)

_BUY, _SELL = Side.BUY, Side.SELL
_TAKER_OF_OUTCOME = {"yes": _BUY, "no": _SELL}
_TAKER_OF_BOOK_SIDE = {"bid": _BUY, "ask": _SELL}


def trade_of(body: TradeBody, terms: AssetTerms) -> Trade | None:
    """A print in terms of YES, None if it has no price or no size.

    A taker that took NO printed on the other outcome, where its id is known.
    """
    yes = SEEN_TICK_OF.get(body.yes_price_dollars or "")
    if yes is None:
        yes = price_tick(body.yes_price_dollars, body.yes_price)
    if yes is None:
        no = price_tick(body.no_price_dollars, body.no_price)
        yes = None if no is None else COMPLEMENT[no]
    size = body.count_fp
    if size is None or not (size.is_integer() and size < MOST_CONTRACTS):
        units = size_units(size, body.count)
        size = None if units is None else units / UNITS
    if yes is None or size is None or size <= 0.0:
        return None
    taker = (
        _TAKER_OF_OUTCOME.get(body.taker_outcome_side or "")
        or _TAKER_OF_BOOK_SIDE.get(body.taker_book_side or "")
        or _TAKER_OF_OUTCOME.get(body.taker_side or "")
    )
    printed_id, printed_price = terms.asset_id, yes
    if taker is _SELL and terms.mirror_id is not None:
        printed_id, printed_price = terms.mirror_id, TICKS_PER_DOLLAR - yes
    return Trade(
        market_id=terms.market_id,
        outcome_id=terms.asset_id,
        price=yes,
        size=size,
        taker_side=taker,
        printed_outcome_id=printed_id,
        printed_price=printed_price,
        ts_venue_ms=venue_ms(body.ts_ms, body.ts),
        transaction_id=body.trade_id or None,
        fee_rate_bps=None,
    )


def announcement_of(body: LifecycleBody) -> MarketListed | MarketResolved | None:
    """A listing or a result, None for what else happens to a market.

    A scalar result pays both outcomes in part: it has a label and no winner.
    """
    ticker = body.market_ticker
    if body.event_type == "created":
        terms = body.additional_metadata
        return MarketListed(ticker, "" if terms is None else terms.title, None)
    if body.event_type != "determined":
        return None
    winners = {"yes": (ticker, "Yes"), "no": (ticker + NO_SUFFIX, "No")}
    winner, label = winners.get(body.result or "", (None, body.result or None))
    return MarketResolved(ticker, winner, label, venue_ms(None, body.determination_ts))


def status_of(body: LifecycleBody) -> StatusChanged | None:
    """What happened to a market besides listing and result, None where that is no status.

    All but a settlement come without a time of their own (reference kalshi.md 3).
    """
    try:
        status = Status(body.event_type)
    except ValueError:
        return None
    new = None
    if status is Status.CLOSE_DATE_UPDATED:
        closes_ms = venue_ms(None, body.close_ts)
        new = None if closes_ms is None else _spell_time(closes_ms)
    stated = body.settled_ts if status is Status.SETTLED else None
    return StatusChanged(body.market_ticker, status, new, venue_ms(None, stated))


def _spell_time(ms: int) -> str | None:
    try:
        return datetime.fromtimestamp(ms / 1_000, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None
