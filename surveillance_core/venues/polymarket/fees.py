"""Polymarket's taker fee and maker rebate. Pure: the market's own terms in, dollars out.

Money is dollars as ``Decimal``. A rate never comes from here: it is read from the market's
``feeSchedule``, which the venue changes without notice (reference polymarket.md 4.1). A price on
our grid is passed as ``Decimal(SPELLING[tick])``. Taker-rebate tiers and builder fees are not
modelled; both depend on the account.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal, localcontext
from enum import StrEnum
from typing import Final

from surveillance_core.markets import FeeSchedule, FeeTerms, Market

FEE_GRID: Final = Decimal("0.00001")
"""Dollars; every charged fee is a multiple of it, and it is the smallest fee charged."""

CASH_GRID: Final = Decimal("0.000001")
"""Dollars; the collateral token has six decimals, so no payment is finer."""

PAYOUT_MINIMUM: Final = Decimal(1)
"""Dollars a day under which a rebate or a reward is not paid."""

_PRECISE: Final = Context(prec=80)
"""Wide enough that products of wire figures are exact; only odd exponents are ever rounded."""


class FeeRounding(StrEnum):
    """How a fee reaches the five-decimal grid; the venue says "rounded" and not which way."""

    DOWN = "down"
    """Cut off, so that a fee under the grid is free: what a client reports the venue charges."""
    NEAREST = "nearest"
    """Half up: the plain reading of the venue's page. At most one grid step above ``DOWN``."""


class FeesUnknown(ValueError):
    """The venue's terms are missing or unreadable, so no figure can be given."""


def schedule_in_force(market: Market) -> FeeSchedule:
    """The schedule to charge a market's fills by; a zero one where the venue says it is free.

    Raises
    ------
    FeesUnknown
        If the market's terms are not known. They are never taken as free.
    """
    if market.fee_terms is FeeTerms.FREE:
        return FeeSchedule(rate=0.0, exponent=1.0, taker_only=True, rebate_share=0.0)
    if market.fee_terms is FeeTerms.UNKNOWN or market.fees is None:
        raise FeesUnknown(
            f"{market.market_id}: the venue lists no readable fee schedule; "
            "renew the universe or leave the market out"
        )
    return market.fees


def fee_equivalent(terms: FeeSchedule, price: Decimal, contracts: Decimal) -> Decimal:
    """What a fill would cost its taker, before rounding: the unit that rebates are shared by.

    ``contracts * rate * (price * (1 - price)) ** exponent`` (reference polymarket.md 4.1, 4.2). The
    page on rebates writes it without the exponent, which is 1 on every market seen; with another
    exponent the fee's own formula is kept, since the pool is made of those fees.

    Parameters
    ----------
    terms
        The market's schedule at the time of the fill.
    price
        Dollars per contract, in [0, 1].
    contracts
        Contracts filled, at least 0.

    Returns
    -------
    Decimal
        Dollars, unrounded.

    Raises
    ------
    ValueError
        If a figure is outside its range.
    FeesUnknown
        If the schedule's own figures make no sense (negative or not finite).

    Examples
    --------
    >>> terms = FeeSchedule(rate=0.05, exponent=1, taker_only=True)
    >>> fee_equivalent(terms, Decimal("0.5"), Decimal(100))
    Decimal('1.2500')
    """
    if not (price.is_finite() and 0 <= price <= 1):
        raise ValueError(f"price outside [0, 1]: {price}")
    if not (contracts.is_finite() and contracts >= 0):
        raise ValueError(f"contracts must be at least 0: {contracts}")
    rate, exponent = _exact(terms.rate), _exact(terms.exponent)
    if not (rate.is_finite() and exponent.is_finite() and rate >= 0 and exponent >= 0):
        raise FeesUnknown(f"not a fee schedule: rate {rate}, exponent {exponent}")
    with localcontext(_PRECISE):
        variance = price * (1 - price)
        if not variance:
            return Decimal(0)
        curve = variance ** int(exponent) if exponent == int(exponent) else variance**exponent
        return contracts * rate * curve


def taker_fee(
    terms: FeeSchedule,
    price: Decimal,
    contracts: Decimal,
    rounding: FeeRounding = FeeRounding.DOWN,
) -> Decimal:
    """Dollars the taker of one fill is charged, on the grid of 0.00001 dollars.

    The default direction follows the only account of what is really charged (reference
    polymarket.md 4.1: floored, "matching the venue's charge"); the direction is undocumented
    (mm_viability.md 3.2 and section 6, point 5), and the two readings differ by at most one step.
    A basket pays this on each leg it takes.

    Raises
    ------
    ValueError, FeesUnknown
        As ``fee_equivalent``.

    Examples
    --------
    >>> terms = FeeSchedule(rate=0.07, exponent=1, taker_only=True)
    >>> taker_fee(terms, Decimal("0.5"), Decimal(100))
    Decimal('1.75000')
    """
    exact = fee_equivalent(terms, price, contracts)
    mode = ROUND_FLOOR if rounding is FeeRounding.DOWN else ROUND_HALF_UP
    return exact.quantize(FEE_GRID, mode, _PRECISE)


def maker_fee(
    terms: FeeSchedule,
    price: Decimal,
    contracts: Decimal,
    rounding: FeeRounding = FeeRounding.DOWN,
) -> Decimal:
    """Dollars the maker of one fill is charged: none under a schedule that charges takers only.

    No market has been seen that charges makers. Should the venue list one, or leave the flag out,
    the maker is charged as the taker is, which overstates rather than understates a cost.

    Raises
    ------
    ValueError, FeesUnknown
        As ``fee_equivalent``.
    """
    if terms.taker_only:
        return Decimal(0).quantize(FEE_GRID)
    return taker_fee(terms, price, contracts, rounding)


def maker_rebate(
    own_equivalent: Decimal,
    all_equivalent: Decimal,
    share: Decimal,
    fees_collected: Decimal,
    minimum: Decimal = PAYOUT_MINIMUM,
) -> Decimal:
    """A maker's rebate of one market and day: own part of the equivalents, of the shared fees.

    ``own / all * share * fees_collected`` (reference polymarket.md 4.2), cut to six decimals. The
    venue does not say whether its minimum is a market's or an account's; taken a market at a time
    it can only understate what is paid.

    Parameters
    ----------
    own_equivalent, all_equivalent
        Summed ``fee_equivalent`` of own and of every maker's fills, dollars.
    share
        Share of the fees that goes back to makers, in [0, 1].
    fees_collected
        Dollars the takers paid.
    minimum
        Dollars under which nothing is paid.

    Raises
    ------
    ValueError
        If an amount is negative, the share is outside [0, 1], or own exceeds all.

    Examples
    --------
    >>> maker_rebate(Decimal(25), Decimal(100), Decimal("0.25"), Decimal(100))
    Decimal('6.250000')
    """
    if not 0 <= share <= 1:
        raise ValueError(f"rebate share outside [0, 1]: {share}")
    if not 0 <= own_equivalent <= all_equivalent:
        raise ValueError(f"own equivalent {own_equivalent} not in [0, {all_equivalent}]")
    if fees_collected < 0:
        raise ValueError(f"fees collected must be at least 0: {fees_collected}")
    if not all_equivalent:
        return pay(Decimal(0), minimum)
    with localcontext(_PRECISE):
        amount = own_equivalent * share * fees_collected / all_equivalent
    return pay(amount, minimum)


def estimate_rebate(
    terms: FeeSchedule, own_equivalent: Decimal, minimum: Decimal = PAYOUT_MINIMUM
) -> Decimal:
    """A maker's rebate of one market and day from own fills alone.

    Each fee-paying trade has as much maker as taker quantity, so that the fees collected equal all
    equivalents and the pool cancels: ``share * own`` (mm_viability.md 3.2). Slightly high where a
    sweep spans prices or outcomes are minted.

    Raises
    ------
    FeesUnknown
        If the schedule does not state its share.
    ValueError
        As ``maker_rebate``.

    Examples
    --------
    >>> terms = FeeSchedule(rate=0.05, exponent=1, taker_only=True, rebate_share=0.25)
    >>> estimate_rebate(terms, Decimal(8))
    Decimal('2.000000')
    """
    if terms.rebate_share is None:
        raise FeesUnknown("the fee schedule states no rebate share")
    share = _exact(terms.rebate_share)
    return maker_rebate(own_equivalent, own_equivalent, share, own_equivalent, minimum)


def pay(amount: Decimal, minimum: Decimal = PAYOUT_MINIMUM) -> Decimal:
    """Dollars really paid of an amount due: cut to six decimals, nothing under the minimum.

    Examples
    --------
    >>> pay(Decimal("1.23456789")), pay(Decimal("0.99"))
    (Decimal('1.234567'), Decimal('0.000000'))
    """
    paid = amount if amount >= minimum else Decimal(0)
    return paid.quantize(CASH_GRID, ROUND_FLOOR, _PRECISE)


def _exact(number: float) -> Decimal:
    """The decimal that a JSON number was written as, not its binary neighbour."""
    return Decimal(repr(number))
