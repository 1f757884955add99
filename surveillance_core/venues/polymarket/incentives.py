"""Polymarket's liquidity rewards: order scores, and what a public book says of a maker's share.

Scores and shares are floats without unit, prices are ticks of ``surveillance_core.books``, rewards
are dollars as ``Decimal``. Pure; the terms are read from the market. Formulas: the venue's page on
liquidity rewards as kept in reference polymarket.md 4.3, the bounds from mm_viability.md 3.1.

Only one book is needed. A bid on one outcome is shown as an ask on the other, so the venue's Q_one
(bids on m and asks on m') is the bid side of m's book, and Q_two its ask side.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, NamedTuple

from surveillance_core.books import TICKS_PER_DOLLAR, OrderBook
from surveillance_core.markets import RewardTerms
from surveillance_core.venues.polymarket.fees import PAYOUT_MINIMUM, pay

SINGLE_SIDED_DIVISOR: Final = 3.0
"""c: a side without a counterpart counts a third; the same on all markets."""

MID_BAND: Final = (1_000, 9_000)
"""Ticks, both ends included: the mids at which one-sided quoting scores at all."""


class SideScores(NamedTuple):
    """Q_one and Q_two: summed order scores of the bid side and of the ask side."""

    bid: float
    ask: float


class Bounds(NamedTuple):
    """An interval that contains the true value, both ends included."""

    lower: float
    upper: float


def score_order(max_spread: float, distance: float, boost: float = 1.0) -> float:
    """S(v, s): score of one contract resting at a distance from the adjusted mid.

    ``((v - s) / v) ** 2 * b``, 0 beyond v (reference polymarket.md 4.3).

    Parameters
    ----------
    max_spread, distance
        v and s, in the same unit.
    boost
        b, the multiplier during play; the venue does not publish it.

    Raises
    ------
    ValueError
        If ``max_spread`` is not above 0 or ``distance`` is negative.

    Examples
    --------
    >>> score_order(3.0, 1.5)
    0.25
    """
    if not max_spread > 0:
        raise ValueError(f"max spread must be above 0: {max_spread}")
    if not distance >= 0:
        raise ValueError(f"distance must be at least 0: {distance}")
    if distance >= max_spread:
        return 0.0
    return ((max_spread - distance) / max_spread) ** 2 * boost


def midpoint_by_level(book: OrderBook, min_size: float) -> float | None:
    """Size-cutoff-adjusted midpoint, first reading: levels smaller than ``min_size`` are ignored.

    The venue does not define its adjusted midpoint; both readings are to be reported
    (mm_viability.md 3.1). Ticks, a multiple of one half; None where a side has no such level.

    Examples
    --------
    >>> midpoint_by_level(OrderBook({4900: 5.0, 4800: 50.0}, {5000: 60.0}), 50)
    4900.0
    """
    bid = max((tick for tick, size in book.bids.items() if size >= min_size), default=None)
    ask = min((tick for tick, size in book.asks.items() if size >= min_size), default=None)
    return None if bid is None or ask is None else (bid + ask) / 2


def midpoint_by_depth(book: OrderBook, min_size: float) -> float | None:
    """Size-cutoff-adjusted midpoint, second reading: sizes add up from the best price.

    The side's price is the first at which the cumulative size reaches ``min_size``. Ticks, a
    multiple of one half; None where a side never reaches it (mm_viability.md 3.1).

    Examples
    --------
    >>> midpoint_by_depth(OrderBook({4900: 5.0, 4800: 45.0}, {5000: 60.0}), 50)
    4900.0
    """
    bid = _first_deep_enough(sorted(book.bids.items(), reverse=True), min_size)
    ask = _first_deep_enough(sorted(book.asks.items()), min_size)
    return None if bid is None or ask is None else (bid + ask) / 2


def score_sides(book: OrderBook, mid: float, terms: RewardTerms, boost: float = 1.0) -> SideScores:
    """Q_one and Q_two of the orders in a book, one maker's own or everybody's.

    A level below the minimum size holds no order that scores and is left out. A larger level of a
    public book may still be made of orders that are each too small: everybody's scores are then
    overstated.

    Parameters
    ----------
    book
        Resting orders of the market's first outcome.
    mid
        Adjusted midpoint in ticks.
    terms
        Minimum size in contracts, maximum spread in dollars.
    boost
        As for ``score_order``.

    Raises
    ------
    ValueError
        As ``score_order``.
    """
    reach = terms.max_spread * TICKS_PER_DOLLAR

    def total(levels: Iterable[tuple[int, float]], direction: int) -> float:
        # an order through the mid (possible, as small levels do not move it) is at no distance
        return sum(
            size * score_order(reach, max(0.0, direction * (mid - tick)), boost)
            for tick, size in levels
            if size >= terms.min_size
        )

    return SideScores(total(book.bids.items(), 1), total(book.asks.items(), -1))


def combine_sides(scores: SideScores, mid: float, divisor: float = SINGLE_SIDED_DIVISOR) -> float:
    """Q_min: one maker's score of a sample (reference polymarket.md 4.3).

    Inside the band the larger of the weaker side and of the stronger one divided by ``divisor``;
    outside it the weaker side alone.

    Examples
    --------
    >>> combine_sides(SideScores(90.0, 0.0), 5000), combine_sides(SideScores(90.0, 0.0), 500)
    (30.0, 0.0)
    """
    weak, strong = min(scores), max(scores)
    return max(weak, strong / divisor) if in_band(mid) else weak


def in_band(mid: float) -> bool:
    """Whether one-sided quoting scores at this adjusted midpoint (ticks)."""
    return MID_BAND[0] <= mid <= MID_BAND[1]


def bound_denominator(
    totals: SideScores, mid: float, divisor: float = SINGLE_SIDED_DIVISOR
) -> Bounds:
    """What the sum of Q_min over unknown makers can be, given only their summed side scores.

    With A and B the totals and c the divisor, inside the band ``[max((A + B) / (1 + c),
    max(A, B) / c), min(A, B) + |A - B| / c]``, outside it ``[0, min(A, B)]``; every end is
    attained (mm_viability.md section 0 point 5 and 3.1; proof there for c = 3, which carries over
    to any c >= 1). Totals that count orders too small to score keep the upper end true and may
    put the lower end too high.

    Raises
    ------
    ValueError
        If a total is negative or ``divisor`` is below 1.

    Examples
    --------
    >>> bound_denominator(SideScores(120.0, 60.0), 5000)
    Bounds(lower=45.0, upper=80.0)
    """
    weak, strong = min(totals), max(totals)
    if not (weak >= 0 and divisor >= 1):
        raise ValueError(f"side scores {totals} or divisor {divisor} out of range")
    if not in_band(mid):
        return Bounds(0.0, weak)
    lower = max((weak + strong) / (1 + divisor), strong / divisor)
    return Bounds(lower, max(lower, weak + (strong - weak) / divisor))


def bound_share(own_score: float, others: Bounds) -> Bounds:
    """Share of one sample that a maker's Q_min earns beside unknown others.

    ``own / (own + others)`` at both ends; a maker without score has no share.

    Raises
    ------
    ValueError
        If the own score is negative.

    Examples
    --------
    >>> bound_share(20.0, Bounds(60.0, 80.0))
    Bounds(lower=0.2, upper=0.25)
    """
    if not own_score >= 0:
        raise ValueError(f"own score must be at least 0: {own_score}")
    if not own_score:
        return Bounds(0.0, 0.0)
    return Bounds(own_score / (own_score + others.upper), own_score / (own_score + others.lower))


def insert_orders(public: OrderBook, own: OrderBook) -> OrderBook:
    """A new book with own orders resting beside the public ones."""
    merged = OrderBook(dict(public.bids), dict(public.asks))
    for levels, added in ((merged.bids, own.bids), (merged.asks, own.asks)):
        for tick, size in added.items():
            levels[tick] = levels.get(tick, 0.0) + size
    return merged


def bound_quote_share(public: OrderBook, own: OrderBook, mid: float, terms: RewardTerms) -> Bounds:
    """Share of a sample that own orders would earn in a public book that does not hold them yet.

    Parameters
    ----------
    public
        The venue's book without the own orders.
    own
        The orders to rest, each level one order.
    mid
        Adjusted midpoint in ticks of the book *with* the own orders (``insert_orders``, then one of
        the two midpoint readings): own orders can move it.
    terms
        The market's reward terms.

    Returns
    -------
    Bounds
        The lower end holds whatever the makers are. The upper end holds where the public levels
        that reach the minimum size are made of orders that do too (``bound_denominator``).
    """
    own_score = combine_sides(score_sides(own, mid, terms), mid)
    return bound_share(own_score, bound_denominator(score_sides(public, mid, terms), mid))


def daily_reward(
    mean_share: float, terms: RewardTerms, minimum: Decimal = PAYOUT_MINIMUM
) -> Decimal:
    """Dollars a day that a mean share of the samples earns, after the venue's minimum.

    ``share * pool`` (mm_viability.md 3.1): a lower bound, as samples in which nobody qualifies are
    renormalised away. Pass each end of a ``Bounds`` for a range.

    Raises
    ------
    ValueError
        If the share is outside [0, 1] or the terms state no pool.
    """
    if terms.daily_rate is None:
        raise ValueError("the reward terms state no daily pool")
    if not 0.0 <= mean_share <= 1.0:
        raise ValueError(f"share outside [0, 1]: {mean_share}")
    return pay(Decimal(repr(mean_share)) * Decimal(repr(terms.daily_rate)), minimum)


def _first_deep_enough(levels: list[tuple[int, float]], size: float) -> int | None:
    reached = 0.0
    for tick, resting in levels:
        reached += resting
        if reached >= size:
            return tick
    return None
