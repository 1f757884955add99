"""Prices, sizes, times and levels of Kalshi's messages, from every spelling the venue has had.

Pure values, in terms of YES: a NO bid at n is a YES ask at 1 - n (reference kalshi.md 5). Sizes are
counted in integer units, so that a level which the venue has emptied is empty here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import inf

from surveillance_core.books import (
    COMPLEMENT,
    SEEN_COMPLEMENT_OF,
    SEEN_TICK_OF,
    TICKS_PER_DOLLAR,
    OrderBook,
    seen_tick,
    tick_of,
)
from surveillance_core.venues.kalshi.discovery import NO_SUFFIX
from surveillance_core.venues.kalshi.wire import (
    MOST_CONTRACTS,
    UNREAD,
    CentLevel,
    DollarLevel,
    PriceRange,
    Snapshot,
    SnapshotBody,
    decode_frame,
)
from surveillance_core.venues.protocols import LATEST_MS, AssetTerms

UNITS = 10_000
"""Integer units in one contract: sizes are summed exactly, whatever decimals the venue sends."""

_TICKS_PER_CENT = TICKS_PER_DOLLAR // 100
FLOAT_UNITS = float(UNITS)
MOST_UNITS = MOST_CONTRACTS * FLOAT_UNITS
TO_WHOLE = 1.5 * 2.0**52
"""Added to the units of up to ``MOST_CONTRACTS`` and taken away again, it leaves the nearest whole
number of them: floats beside it are a unit apart. The same as ``round``, without a call."""


def price_tick(dollars: str | None, cents: int | None) -> int | None:
    """Tick of a price in whichever spelling is there, None where neither is a price.

    Examples
    --------
    >>> price_tick("0.960", 96), price_tick(None, 8), price_tick("1.2", None)
    (9600, 800, None)
    """
    if dollars is not None:
        tick = SEEN_TICK_OF.get(dollars)
        if tick is None:
            tick = seen_tick(dollars)
        if tick is not None:
            return tick
        try:
            return tick_of(float(dollars))
        except ValueError:
            return None
    if cents is None or not 0 <= cents <= 100:
        return None
    return cents * _TICKS_PER_CENT


def units_of(contracts: float | None) -> int | None:
    """A size or a signed change in integer units, None if it is not one.

    Examples
    --------
    >>> units_of(-54.0), units_of(0.01), units_of(float("nan"))
    (-540000, 100, None)
    """
    if contracts is None or not -MOST_CONTRACTS < contracts < MOST_CONTRACTS:
        return None
    units = contracts * FLOAT_UNITS
    whole = units + TO_WHOLE - TO_WHOLE
    return int(whole) if -0.01 < units - whole < 0.01 else None


def size_units(contracts_fp: float | None, contracts: int | None) -> int | None:
    """A size in integer units from whichever spelling is there, the newest first."""
    if contracts_fp is not None or contracts is None:
        return units_of(contracts_fp)
    return contracts * UNITS if abs(contracts) < MOST_CONTRACTS else None


def venue_ms(ts_ms: int | None, ts: str | int | None) -> int | None:
    """The venue's time in milliseconds, from the newest spelling that can be read.

    Text without a zone is UTC, as everything the venue says.
    """
    if ts_ms is None and isinstance(ts, str):
        try:
            moment = datetime.fromisoformat(ts)
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            ts_ms = int(moment.timestamp() * 1_000)
        except (ValueError, OverflowError, OSError):
            return None
    elif ts_ms is None and ts is not None:
        ts_ms = int(ts) * 1_000
    return ts_ms if ts_ms is not None and 0 <= ts_ms <= LATEST_MS else None


def finest_step(ranges: Sequence[PriceRange]) -> int | None:
    """The smallest step of a market's grid in ticks, None if any range's step is not one."""
    steps = [price_tick(found.step, None) for found in ranges]
    known = [step for step in steps if step]
    return min(known) if known and len(known) == len(steps) else None


def level_units(
    dollars_fp: list[DollarLevel] | None,
    dollars: list[DollarLevel] | None,
    cents: list[CentLevel] | None,
) -> dict[int, int] | None:
    """One side's sizes in units by tick, from the newest spelling; None if a level is not one."""
    side: dict[int, int] = {}
    levels = dollars_fp if dollars_fp is not None else dollars
    priced = (
        [(price_tick(price, None), size) for price, size in levels]
        if levels is not None
        else [(price_tick(None, price), size) for price, size in cents or ()]
    )
    for tick, size in priced:
        units = units_of(size) if size < inf else None
        if tick is None or units is None or units < 0:
            return None
        if units:
            side[tick] = units
    return side


def yes_level(side: str, tick: int, *, use_yes_price: bool) -> tuple[str, int]:
    """Side and price of YES of a level as the venue spells it.

    Examples
    --------
    >>> yes_level("no", 3000, use_yes_price=False), yes_level("no", 7000, use_yes_price=True)
    (('ask', 7000), ('ask', 7000))
    """
    if side == "yes":
        return "bid", tick
    return "ask", tick if use_yes_price else COMPLEMENT[tick]


def book_of(body: SnapshotBody, *, use_yes_price: bool) -> OrderBook | None:
    """The whole book a snapshot states, None if any level of it is not a level."""
    bids = _plain_side(body.yes_dollars_fp, turned=False)
    if bids is None:
        yes = level_units(body.yes_dollars_fp, body.yes_dollars, body.yes)
        bids = None if yes is None else {tick: units / UNITS for tick, units in yes.items()}
    asks = _plain_side(body.no_dollars_fp, turned=not use_yes_price)
    if asks is None:
        no = level_units(body.no_dollars_fp, body.no_dollars, body.no)
        asks = (
            None
            if no is None
            else {
                yes_level("no", tick, use_yes_price=use_yes_price)[1]: units / UNITS
                for tick, units in no.items()
            }
        )
    return None if bids is None or asks is None else OrderBook(bids, asks)


def _plain_side(levels: list[DollarLevel] | None, *, turned: bool) -> dict[int, float] | None:
    """One side in today's spelling at prices of YES; None where it has to be looked at closely."""
    if levels is None:
        return None
    side: dict[int, float] = {}
    tick_of_price = SEEN_COMPLEMENT_OF if turned else SEEN_TICK_OF
    try:
        for price, size in levels:
            tick = tick_of_price[price]
            units = size * FLOAT_UNITS
            whole = units + TO_WHOLE - TO_WHOLE
            if 0.0 < whole == units < MOST_UNITS:
                side[tick] = size
            elif not 0.0 <= whole < MOST_UNITS or not -0.01 < units - whole < 0.01:
                return None
            elif whole:
                side[tick] = whole / FLOAT_UNITS
    except KeyError:
        return None
    return side


_BOOK_MARK = '"orderbook_snapshot"'


def markets_named(frame: str) -> list[AssetTerms]:
    """Markets whose book a recorded frame begins, for recordings without REST's terms.

    The grid is the coarsest of 0.01, 0.001 and 0.0001 that holds every level of the frame.
    """
    if _BOOK_MARK not in frame:
        return []
    try:
        message = decode_frame(frame)
    except UNREAD:
        return []
    if not isinstance(message, Snapshot):
        return []
    body = message.msg
    ticks = [
        price_tick(price, None)
        for side in (body.yes_dollars_fp, body.no_dollars_fp, body.yes_dollars, body.no_dollars)
        for price, _ in side or ()
    ]
    step = next(s for s in (100, 10, 1) if all((tick or 0) % s == 0 for tick in ticks))
    return [
        AssetTerms(
            market_id=body.market_ticker,
            asset_id=body.market_ticker,
            tick=step,
            mirror_id=body.market_ticker + NO_SUFFIX,
        )
    ]
