"""Kalshi's trading fees with the exchange's exact rounding. Pure: terms and a fill in, dollars out.

Money is dollars as ``Decimal``, and every step is exact: arithmetic that would round raises instead
of rounding. What a series or event charges (kind and multiplier) is read from the venue and passed
in; the coefficients that give a kind its meaning are in no listing, so they travel in the terms
with the published ones as defaults. Sources: reference kalshi.md 7, mm_viability.md 3.3, and the
exchange's page on fee rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, Inexact, localcontext
from enum import StrEnum
from typing import Final

import msgspec

from surveillance_core.markets import Market, NamedFee

CENTICENT: Final = Decimal("0.0001")
"""Dollars; trade fees are rounded up to it, and direct members' balances lie on it."""

CENT: Final = Decimal("0.01")
"""Dollars; other members' balances lie on it, and rebates are multiples of it."""

_EXACT: Final = Context(prec=80, traps=[Inexact])


class FeeKind(StrEnum):
    """The venue's ``fee_type`` values whose formula is known."""

    QUADRATIC = "quadratic"
    """Takers pay, makers do not."""
    MAKER = "quadratic_with_maker_fees"
    """Makers pay a part of the taker's coefficient."""
    COMBO_MAKER = "quadratic_with_combo_maker_fees"
    """As ``MAKER`` with a larger part; combinations since August 2026."""


_KINDS: Final = frozenset(kind.value for kind in FeeKind)


class Liquidity(StrEnum):
    """Which side of the match a fill was on."""

    TAKER = "taker"
    MAKER = "maker"


class Action(StrEnum):
    """Whether contracts were bought or sold; the sign of the revenue."""

    BUY = "buy"
    SELL = "sell"


class FeesUnknown(ValueError):
    """A fee type whose formula is not known, so no figure can be given."""


class TradingFees(msgspec.Struct, frozen=True, kw_only=True):
    """What one market's fills are charged by."""

    kind: str
    """``fee_type`` as listed; may be one that ``FeeKind`` does not know."""
    multiplier: Decimal
    """``fee_multiplier`` as listed. Taken to scale makers' fees too, which is not stated."""
    taker_coefficient: Decimal = Decimal("0.07")
    maker_part: Decimal = Decimal("0.25")
    """Part of the taker's coefficient under ``FeeKind.MAKER``."""
    combo_maker_part: Decimal = Decimal("0.5")
    """Part of the taker's coefficient under ``FeeKind.COMBO_MAKER``."""


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One match of an order."""

    price: Decimal
    """Dollars per contract of the side traded (a NO fill has the NO price)."""
    contracts: Decimal
    action: Action = Action.BUY
    liquidity: Liquidity = Liquidity.TAKER


class FillFee(msgspec.Struct, frozen=True, kw_only=True):
    """A fill's fee by component, dollars."""

    trade_fee: Decimal
    rounding_fee: Decimal
    rebate: Decimal
    accumulated: Decimal
    """Rounding overpaid by the order so far and not yet returned; pass it to the next fill."""

    @property
    def charged(self) -> Decimal:
        """Trade fee and rounding fee: the ``fee_cost`` that the venue's fills show."""
        return self.trade_fee + self.rounding_fee

    @property
    def net(self) -> Decimal:
        """What the fill costs after its rebate; never negative."""
        return self.charged - self.rebate


def read_fees(named: NamedFee | None) -> TradingFees:
    """Terms from a fee as discovery found it, event override before series (kalshi.md 7).

    Raises
    ------
    FeesUnknown
        If the venue said nothing, or no usable multiplier. Neither is taken as free.

    Examples
    --------
    >>> read_fees(NamedFee(kind="quadratic", multiplier=0.5, set_by="series")).multiplier
    Decimal('0.5')
    """
    if named is None or named.multiplier is None:
        raise FeesUnknown("the venue lists no fee type or no multiplier; leave the market out")
    multiplier = Decimal(repr(named.multiplier))
    if not (multiplier.is_finite() and multiplier >= 0):
        raise FeesUnknown(f"not a fee multiplier: {named.multiplier}")
    return TradingFees(kind=named.kind, multiplier=multiplier)


def fees_in_force(market: Market, at: datetime) -> TradingFees:
    """Terms of a market at a time: what discovery found, at no charge while fees are waived.

    Raises
    ------
    FeesUnknown
        As ``read_fees``.
    """
    terms = read_fees(market.named_fee)
    if market.fee_waived_until is not None and at < market.fee_waived_until:
        return msgspec.structs.replace(terms, multiplier=Decimal(0))
    return terms


def assume_maker_fees(terms: TradingFees) -> TradingFees:
    """The same terms, an unknown kind read as one that charges makers (mm_viability.md 3.3).

    The cautious estimate where a figure is wanted regardless; a report must say that it was made.
    """
    if terms.kind in _KINDS:
        return terms
    return msgspec.structs.replace(terms, kind=FeeKind.MAKER.value)


def coefficient(terms: TradingFees, liquidity: Liquidity) -> Decimal:
    """Dollars per contract and unit of ``price * (1 - price)``, multiplier included.

    Raises
    ------
    FeesUnknown
        If the kind's formula is not known: ``flat`` (a table that is in no listing) or a new one.
    """
    try:
        kind = FeeKind(terms.kind)
    except ValueError:
        raise FeesUnknown(
            f"no formula for fee type {terms.kind!r}; leave the market out or assume maker fees"
        ) from None
    with localcontext(_EXACT):
        taker = terms.multiplier * terms.taker_coefficient
        if liquidity is Liquidity.TAKER:
            return taker
        if kind is FeeKind.MAKER:
            return taker * terms.maker_part
        return taker * terms.combo_maker_part if kind is FeeKind.COMBO_MAKER else Decimal(0)


def model_fee(terms: TradingFees, fill: Fill) -> Decimal:
    """Fee of a fill before any rounding: ``coefficient * C * P * (1 - P)`` dollars (kalshi.md 7).

    Raises
    ------
    ValueError
        If the price is outside [0, 1] or the contracts are not at least 0.
    FeesUnknown
        As ``coefficient``.

    Examples
    --------
    >>> terms = TradingFees(kind="quadratic", multiplier=Decimal(1))
    >>> model_fee(terms, Fill(price=Decimal("0.5"), contracts=Decimal(100)))
    Decimal('1.7500')
    """
    if not (fill.price.is_finite() and 0 <= fill.price <= 1):
        raise ValueError(f"price outside [0, 1]: {fill.price}")
    if not (fill.contracts.is_finite() and fill.contracts >= 0):
        raise ValueError(f"contracts must be at least 0: {fill.contracts}")
    rate = coefficient(terms, fill.liquidity)
    with localcontext(_EXACT):
        return rate * fill.contracts * fill.price * (1 - fill.price)


def charge_fill(
    terms: TradingFees,
    fill: Fill,
    *,
    balance_grid: Decimal = CENTICENT,
    fee_grid: Decimal = CENTICENT,
    accumulated: Decimal = Decimal(0),
) -> FillFee:
    """Fee of one fill as the exchange rounds it.

    The trade fee is rounded up to ``fee_grid``; the balance change (revenue less trade fee) is
    floored to ``balance_grid``, and the difference is the rounding fee. Rounding fees add up over
    the order; above one cent whole cents are returned. A rebate that would make the fill's fee
    negative waits for a later fill: the page says that the net fee is never negative and that
    rebates are whole cents, and leaves open how the two meet.

    Parameters
    ----------
    terms
        The market's terms at the time of the fill.
    fill
        The match.
    balance_grid
        Dollars: ``CENTICENT`` for a direct member, ``CENT`` for others.
    fee_grid
        Dollars. A later reading of the page has 0.000001 (kalshi.md 7): one of the 33 fills of
        August 2026 contradicts it, and there are none since.
    accumulated
        ``FillFee.accumulated`` of the order's previous fill, taker or maker; 0 on the first.

    Raises
    ------
    ValueError, FeesUnknown
        As ``model_fee``.
    decimal.Inexact
        If a figure has so many digits that the sum would have to be rounded.

    Examples
    --------
    >>> fill = Fill(price=Decimal("0.055"), contracts=Decimal(1))
    >>> terms = TradingFees(kind="quadratic", multiplier=Decimal(1))
    >>> fee = charge_fill(terms, fill, balance_grid=CENT)
    >>> fee.trade_fee, fee.rounding_fee
    (Decimal('0.0037'), Decimal('0.0013'))
    """
    exact = model_fee(terms, fill)
    with localcontext(_EXACT):
        trade_fee = _to_grid(exact, fee_grid, ROUND_CEILING)
        revenue = fill.price * fill.contracts
        change = (revenue if fill.action is Action.SELL else -revenue) - trade_fee
        rounding_fee = change - _to_grid(change, balance_grid, ROUND_FLOOR)
        overpaid = accumulated + rounding_fee
        rebate = Decimal(0)
        if overpaid > CENT:
            rebate = _to_grid(min(overpaid, trade_fee + rounding_fee), CENT, ROUND_FLOOR)
        return FillFee(
            trade_fee=trade_fee,
            rounding_fee=rounding_fee,
            rebate=rebate,
            accumulated=overpaid - rebate,
        )


def charge_order(
    terms: TradingFees,
    fills: Iterable[Fill],
    *,
    balance_grid: Decimal = CENTICENT,
    fee_grid: Decimal = CENTICENT,
) -> list[FillFee]:
    """Fees of an order's fills in their order of execution, the accumulator carried through.

    Parameters and errors as ``charge_fill``.
    """
    fees: list[FillFee] = []
    accumulated = Decimal(0)
    for fill in fills:
        fee = charge_fill(
            terms, fill, balance_grid=balance_grid, fee_grid=fee_grid, accumulated=accumulated
        )
        accumulated = fee.accumulated
        fees.append(fee)
    return fees


def _to_grid(amount: Decimal, grid: Decimal, rounding: str) -> Decimal:
    return (amount / grid).to_integral_value(rounding) * grid
