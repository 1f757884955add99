"""The WebSocket's data frames as text (reference kalshi.md 3).

Pure. A body is spelled once for everybody; the frame around it belongs to one stream.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from surveillance_core.books import TICKS_PER_DOLLAR
from surveillance_core.venues.protocols import Side
from surveillance_core.venues.simulated.kalshi.ledger import MarketRecord, Print
from surveillance_core.venues.simulated.kalshi.spelling import (
    PRICES,
    spell_batch_moment,
    spell_moment,
    spell_size,
)
from surveillance_core.venues.simulated.kalshi.stage import Change, Fill, Levels
from surveillance_core.venues.simulated.listings import EventListing, MarketListing, PriceGrid

JsonObject = dict[str, object]


def frame(kind: str, sid: int, seq: int | None, body: str, now_ms: int, ident: int = 0) -> str:
    """A stream's frame; ``seq`` is None on the ticker channel, ``ident`` echoes a command."""
    number = "" if seq is None else f'"seq":{seq},'
    echo = f'"id":{ident},' if ident else ""
    return f'{{"type":"{kind}",{echo}"sid":{sid},{number}"msg":{body},"sending_ts_ms":{now_ms}}}'


def delta_bodies(
    record: MarketRecord, changes: Iterable[Change], ts_ms: int
) -> list[tuple[str, str]]:
    """Each change of a batch in its order: with NO levels at NO prices, and at YES prices.

    A change is signed, the size now less the size before, so a level ends at exactly zero.
    """
    head = f'{{"market_ticker":"{record.ticker}","market_id":"{record.market_id}","price_dollars":"'
    tail = f'","ts":"{spell_batch_moment(ts_ms, record.index)}","ts_ms":{ts_ms}}}'
    bodies: list[tuple[str, str]] = []
    for change in changes:
        hundredths = round(change.size * 100) - round(change.before * 100)
        if not hundredths:
            continue
        size = f'","delta_fp":"{hundredths / 100:.2f}","side":"'
        if change.bid:
            text = f"{head}{PRICES[change.tick]}{size}yes{tail}"
            bodies.append((text, text))
        else:
            bodies.append(
                (
                    f"{head}{PRICES[TICKS_PER_DOLLAR - change.tick]}{size}no{tail}",
                    f"{head}{PRICES[change.tick]}{size}no{tail}",
                )
            )
    return bodies


def snapshot_body(
    ticker: str, market_id: str, book: tuple[Levels, Levels], *, yes_price: bool
) -> str:
    """A whole book, worst to best; a side without levels is absent, and both may be."""
    bids, asks = book
    sides = ""
    if bids:
        sides += f',"yes_dollars_fp":[{_levels(bids, mirrored=False)}]'
    if asks:
        # ascending in the prices that are spelled, whichever they are
        levels = asks[::-1] if yes_price else asks
        sides += f',"no_dollars_fp":[{_levels(levels, mirrored=not yes_price)}]'
    return f'{{"market_ticker":"{ticker}","market_id":"{market_id}"{sides}}}'


def _levels(levels: Levels, *, mirrored: bool) -> str:
    return ",".join(
        [
            f'["{PRICES[TICKS_PER_DOLLAR - tick if mirrored else tick]}","{spell_size(size)}"]'
            for tick, size in levels
        ]
    )


def trade_body(found: Print) -> str:
    """A print, with the taker's side three times."""
    outcome, side = ("yes", "bid") if found.taker_yes else ("no", "ask")
    return (
        f'{{"trade_id":"{found.trade_id}","market_ticker":"{found.ticker}",'
        f'"yes_price_dollars":"{PRICES[found.price]}",'
        f'"no_price_dollars":"{PRICES[TICKS_PER_DOLLAR - found.price]}",'
        f'"count_fp":"{spell_size(found.size)}","taker_side":"{outcome}",'
        f'"taker_outcome_side":"{outcome}","taker_book_side":"{side}","is_block_trade":false,'
        f'"ts":{found.ts_ms // 1000},"ts_ms":{found.ts_ms}}}'
    )


def takes_yes(fill: Fill) -> bool:
    """Whether the taker bought Yes, or what is the same sold No."""
    return fill.side is Side.BUY


def ticker_body(record: MarketRecord, book: tuple[Levels, Levels], ts_ms: int) -> str:
    """Top of book and totals; no bid is 0, no ask is 1, a market that never traded is at 0."""
    bids, asks = book
    bid, bid_size = bids[-1] if bids else (0, 0.0)
    ask, ask_size = asks[-1] if asks else (TICKS_PER_DOLLAR, 0.0)
    volume, held = record.volume, record.open_interest
    return (
        f'{{"market_id":"{record.market_id}","market_ticker":"{record.ticker}",'
        f'"price_dollars":"{PRICES[record.last_price]}","yes_bid_dollars":"{PRICES[bid]}",'
        f'"yes_ask_dollars":"{PRICES[ask]}","volume_fp":"{spell_size(volume)}",'
        f'"open_interest_fp":"{spell_size(held)}","dollar_volume":{int(volume / 2)},'
        f'"dollar_open_interest":{int(held / 2)},"yes_bid_size_fp":"{spell_size(bid_size)}",'
        f'"yes_ask_size_fp":"{spell_size(ask_size)}",'
        f'"last_trade_size_fp":"{spell_size(record.last_size)}","ts":{ts_ms // 1000},'
        f'"ts_ms":{ts_ms},"time":"{spell_moment(ts_ms)}"}}'
    )


def price_ranges(grid: PriceGrid) -> list[JsonObject]:
    """A grid as the venue lists it."""
    return [
        {"start": PRICES[band.start], "end": PRICES[band.end], "step": PRICES[band.step]}
        for band in grid.bands
    ]


def grid_body(ticker: str, grid: PriceGrid) -> str:
    """A market's prices move by other steps from now on."""
    return _lifecycle(
        ticker,
        "price_level_structure_updated",
        price_level_structure=grid.name,
        price_ranges=price_ranges(grid),
    )


def created_body(market: MarketListing, event: EventListing, terms: JsonObject) -> str:
    """A market was listed.

    Parameters
    ----------
    terms
        The market's object as REST lists it; what the frame repeats is taken from there.
    """
    metadata: JsonObject = {
        "name": terms["yes_sub_title"],
        "event_ticker": event.event_id,
        "expected_expiration_ts": event.deadline_ms // 1000,
    }
    for name in (
        "title", "yes_sub_title", "no_sub_title", "rules_primary", "rules_secondary",
        "can_close_early", "strike_type", "floor_strike", "cap_strike", "functional_strike",
        "custom_strike",
    ):  # fmt: skip
        if name in terms:
            metadata[name] = terms[name]
    return _lifecycle(
        market.market_id,
        "created",
        exchange_index=terms["exchange_index"],
        open_ts=market.opens_ms // 1000,
        close_ts=market.closes_ms // 1000,
        price_level_structure=market.grid.name,
        price_ranges=price_ranges(market.grid),
        additional_metadata=metadata,
    )


def event_body(event: EventListing, terms: JsonObject) -> str:
    """An event was listed; rides on the channel of its markets."""
    return msgspec.json.encode(
        {
            "event_ticker": event.event_id,
            "exchange_index": terms["exchange_index"],
            "title": event.title,
            "subtitle": event.sub_title,
            "collateral_return_type": terms["collateral_return_type"],
            "series_ticker": terms["series_ticker"],
        }
    ).decode()


def close_date_body(ticker: str, closed_ms: int) -> str:
    """Trading ends at another time than was listed."""
    return _lifecycle(ticker, "close_date_updated", close_ts=closed_ms // 1000)


def determined_body(record: MarketRecord, ts_ms: int) -> str:
    """The result is known."""
    value = round((record.value or 0.0) * TICKS_PER_DOLLAR)
    return _lifecycle(
        record.ticker,
        "determined",
        determination_ts=ts_ms // 1000,
        result=record.result,
        settlement_value=PRICES[value],
    )


def settled_body(ticker: str, ts_ms: int) -> str:
    """Positions were paid."""
    return _lifecycle(ticker, "settled", settled_ts=ts_ms // 1000)


def _lifecycle(ticker: str, event_type: str, **members: object) -> str:
    body = {"market_ticker": ticker} | members | {"event_type": event_type}
    return msgspec.json.encode(body).decode()
