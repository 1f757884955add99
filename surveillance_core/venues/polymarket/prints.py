"""Prints as trades: in terms of the market's first outcome, each once. Pure."""

from __future__ import annotations

from surveillance_core.books import TICKS_PER_DOLLAR
from surveillance_core.venues.polymarket.wire import LastTradePrice
from surveillance_core.venues.protocols import AssetTerms, Side, Trade

_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL, "": None}
_OPPOSITE = {Side.BUY: Side.SELL, Side.SELL: Side.BUY, None: None}


def canonical_trade(message: LastTradePrice, tick: int, terms: AssetTerms) -> Trade:
    """The trade of a print at ``tick`` on the asset of ``terms``.

    Whoever buys the second outcome at p sells the first at 1 - p, so a print on the second is
    turned round where the first is known; what was printed is kept beside it.
    """
    outcome_id, price = message.asset_id, tick
    side = _SIDES[message.side]
    if not terms.primary and terms.mirror_id is not None:
        outcome_id, price = terms.mirror_id, TICKS_PER_DOLLAR - tick
        side = _OPPOSITE[side]
    return Trade(
        market_id=terms.market_id,
        outcome_id=outcome_id,
        price=price,
        size=message.size,
        taker_side=side,
        printed_outcome_id=message.asset_id,
        printed_price=tick,
        ts_venue_ms=message.timestamp,
        transaction_id=message.transaction_hash or None,
        fee_rate_bps=message.fee_rate_bps or None,
    )


def print_key(trade: Trade) -> tuple[object, ...] | None:
    """What makes a print the same print; None where the venue names no transaction."""
    if trade.transaction_id is None:
        return None
    return (trade.transaction_id, trade.outcome_id, trade.taker_side, trade.price, trade.size)
