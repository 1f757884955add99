"""Kalshi's incentive programmes: a maker's share of a snapshot, and what a period pays.

Scores and shares are floats without unit, prices ticks of ``surveillance_core.books``, sizes
contracts, payments dollars as ``Decimal``. Pure; the programme's terms are read from the venue.

The sources on the liquidity programme disagree (mm_viability.md 3.4): on the price that distances
are measured from, on whether orders beyond the target size count, and on the step of the discount
where ticks are finer than a cent. No reading is taken for true; each is a ``Reading``, and
``share_range`` gives the least and the most of all of them. A decision that changes between the two
must be flagged.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from itertools import product
from typing import Final, NamedTuple

from surveillance_core.books import TICKS_PER_DOLLAR
from surveillance_core.markets import IncentiveTerms

Levels = dict[int, float]
"""Contracts bid by price in ticks, for one side (yes or no)."""

CENT_TICKS: Final = TICKS_PER_DOLLAR // 100
"""Ticks in a cent."""

REFERENCE_PART: Final = 0.2
"""Part of the target size that fixes the reference price, by the help centre."""

PAYOUT_MINIMUM: Final = Decimal(1)
"""Dollars under which a period's liquidity reward is not paid."""

_CENT: Final = Decimal("0.01")


class Reference(StrEnum):
    """What an order's distance is measured from."""

    BEST_BID = "best_bid"
    FIFTH_OF_TARGET = "fifth_of_target"


class CutOff(StrEnum):
    """Which orders of a side score at all."""

    NONE = "none"
    """Every order."""
    LEVEL = "level"
    """Levels down to the one at which the cumulative size reaches the target, that one whole."""
    TARGET = "target"
    """As ``LEVEL``, the last level only as far as the target needs it, shared pro rata."""


class Reading(NamedTuple):
    """One way to understand the programme's score."""

    reference: Reference
    cut_off: CutOff
    step: int
    """Ticks that cost one discount factor: the market's tick size, or ``CENT_TICKS``."""


class SideOrders(NamedTuple):
    """One side of a snapshot: everybody's bids, own ones included, and the own ones among them."""

    levels: Levels
    own: Levels


class ShareRange(NamedTuple):
    """Least and most of the readings."""

    lower: float
    upper: float


def readings(tick: int) -> tuple[Reading, ...]:
    """Every reading that differs in a market of this tick size (ticks of 0.0001 dollars)."""
    steps = (tick,) if tick == CENT_TICKS else (tick, CENT_TICKS)
    return tuple(Reading(*parts) for parts in product(Reference, CutOff, steps))


def find_best_bid(levels: Levels) -> int | None:
    """Reference price by the regulatory filing of February 2026: the best bid (mm_viability 3.4).

    None where the side is empty.
    """
    return max(levels, default=None)


def find_fifth_of_target(levels: Levels, target_size: float) -> int | None:
    """Reference price by the help centre of autumn 2026 (mm_viability.md 3.4).

    The first level from the best down at which the cumulative size reaches a fifth of the target;
    None where the side never reaches it.

    Examples
    --------
    >>> find_fifth_of_target({9500: 2.0, 9400: 29.0, 9300: 2040.0}, 300)
    9300
    """
    reached = 0.0
    for tick in sorted(levels, reverse=True):
        reached += levels[tick]
        if reached >= REFERENCE_PART * target_size:
            return tick
    return None


def side_share_from_best_bid(
    side: SideOrders, terms: IncentiveTerms, cut_off: CutOff, step: int
) -> float:
    """Own share of a side's score, from the best bid (the filing's reading).

    Parameters, result and errors as ``side_share``.
    """
    return side_share(side, terms, Reading(Reference.BEST_BID, cut_off, step))


def side_share_from_fifth_of_target(
    side: SideOrders, terms: IncentiveTerms, cut_off: CutOff, step: int
) -> float:
    """Own share of a side's score, from a fifth of the target (the help centre's reading).

    Parameters, result and errors as ``side_share``.
    """
    return side_share(side, terms, Reading(Reference.FIFTH_OF_TARGET, cut_off, step))


def side_share(side: SideOrders, terms: IncentiveTerms, reading: Reading) -> float:
    """Own share of one side's score in a snapshot, in [0, 1].

    An order scores ``size * discount ** ((reference - price) / step)``, its whole size at or above
    the reference (mm_viability.md 3.4). A side that does not reach the target size gives nothing.

    Parameters
    ----------
    side
        Bids of the side; the own ones are part of the levels.
    terms
        A liquidity programme with its target size and discount factor.
    reading
        How to understand the score.

    Raises
    ------
    ValueError
        If the terms lack a usable target size or discount factor, the step is not above 0, or own
        orders are not among the levels.
    """
    target, discount = _liquidity_terms(terms)
    if reading.step <= 0:
        raise ValueError(f"step must be above 0: {reading.step}")
    for tick, size in side.own.items():
        if not 0.0 <= size <= side.levels.get(tick, 0.0):
            raise ValueError(f"own {size} contracts at tick {tick} are not among the levels")
    if sum(side.levels.values()) < target:
        return 0.0
    reference = (
        find_best_bid(side.levels)
        if reading.reference is Reference.BEST_BID
        else find_fifth_of_target(side.levels, target)
    )
    if reference is None:
        return 0.0
    everybody = mine = reached = 0.0
    for tick in sorted(side.levels, reverse=True):
        if reading.cut_off is not CutOff.NONE and reached >= target:
            break
        size = side.levels[tick]
        counted = size
        if reading.cut_off is CutOff.TARGET:
            counted = min(size, target - reached)
        weight = discount ** (max(0, reference - tick) / reading.step)
        everybody += weight * counted
        if size:
            mine += weight * counted * (side.own.get(tick, 0.0) / size)
        reached += size
    return min(1.0, mine / everybody) if everybody else 0.0


def snapshot_share(
    yes: SideOrders, no: SideOrders, terms: IncentiveTerms, reading: Reading
) -> float:
    """Own share of a snapshot's reward, in [0, 1]: the mean of both sides' shares.

    0 for a snapshot that does not count: both sides of the whole book must reach the target size
    (mm_viability.md 3.4). That the market is open is the caller's to know.

    Raises
    ------
    ValueError
        As ``side_share``.
    """
    target, _ = _liquidity_terms(terms)
    if min(sum(yes.levels.values()), sum(no.levels.values())) < target:
        return 0.0
    return (side_share(yes, terms, reading) + side_share(no, terms, reading)) / 2


def share_range(yes: SideOrders, no: SideOrders, terms: IncentiveTerms, tick: int) -> ShareRange:
    """Least and most of ``snapshot_share`` over all readings; decide on the least.

    Parameters
    ----------
    yes, no, terms
        As for ``snapshot_share``.
    tick
        The market's tick size in ticks of 0.0001 dollars.

    Raises
    ------
    ValueError
        As ``side_share``.
    """
    shares = [snapshot_share(yes, no, terms, reading) for reading in readings(tick)]
    return ShareRange(min(shares), max(shares))


def liquidity_reward(
    mean_share: float, terms: IncentiveTerms, minimum: Decimal = PAYOUT_MINIMUM
) -> Decimal:
    """Dollars one period pays: pool times mean share, floored to the cent, none under the minimum.

    Parameters
    ----------
    mean_share
        Mean of ``snapshot_share`` over *all* snapshots of the period, those that do not count as 0.
    terms
        The programme; its pool is for the whole period (mm_viability.md 3.4).
    minimum
        Dollars under which nothing is paid.

    Raises
    ------
    ValueError
        If the share is outside [0, 1] or the pool is not a non-negative amount.
    """
    if not 0.0 <= mean_share <= 1.0:
        raise ValueError(f"share outside [0, 1]: {mean_share}")
    due = (Decimal(repr(mean_share)) * _pool(terms)).quantize(_CENT, ROUND_FLOOR)
    return due if due >= minimum else Decimal("0.00")


def volume_reward(
    own_contracts: Decimal,
    all_contracts: Decimal,
    terms: IncentiveTerms,
    cap_per_contract: Decimal,
) -> Decimal:
    """Dollars one period of a volume programme pays: pro rata, capped for each contract.

    Only contracts traded within the programme's price window belong in the counts (3 to 97 cents in
    the text of September 2025; mm_viability.md 3.4). The window and the cap are in the programme's
    text, not in its listing, hence passed in. Floored to the cent, as for liquidity (our reading).

    Parameters
    ----------
    own_contracts, all_contracts
        Eligible contracts, both sides of each trade counted.
    terms
        The programme.
    cap_per_contract
        Dollars.

    Raises
    ------
    ValueError
        If the counts are not ``0 <= own <= all``, or the pool is not a non-negative amount.
    """
    if not 0 <= own_contracts <= all_contracts:
        raise ValueError(f"own contracts {own_contracts} not in [0, {all_contracts}]")
    if not own_contracts:
        return Decimal("0.00")
    due = min(_pool(terms) * own_contracts / all_contracts, cap_per_contract * own_contracts)
    return due.quantize(_CENT, ROUND_FLOOR)


def _liquidity_terms(terms: IncentiveTerms) -> tuple[float, float]:
    target, discount = terms.target_size, terms.discount_factor
    if target is None or not target > 0:
        raise ValueError(f"programme {terms.programme_id}: no usable target size: {target}")
    if discount is None or not 0.0 <= discount <= 1.0:
        raise ValueError(f"programme {terms.programme_id}: no usable discount factor: {discount}")
    return target, discount


def _pool(terms: IncentiveTerms) -> Decimal:
    pool = Decimal(repr(terms.reward))
    if not (pool.is_finite() and pool >= 0):
        raise ValueError(f"programme {terms.programme_id}: not a pool: {terms.reward}")
    return pool
