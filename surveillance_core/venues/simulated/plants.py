"""Violations planted in the books, of known size, and decoys that only look like them. Pure.

Everything follows from the worlds in which markets pay. A *violation* is a set of orders on which
somebody who takes them all gains in every world; its guaranteed profit is exact, before and after
the venues' taker fees. A *decoy* looks the same by title or by price and loses in some world, or
gains less than its fees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from random import Random

import msgspec

from surveillance_core.books import DOLLARS, SPELLING, TICKS_PER_DOLLAR
from surveillance_core.markets import FeeSchedule, Venue
from surveillance_core.venues.kalshi import fees as kalshi_fees
from surveillance_core.venues.polymarket import fees as polymarket_fees
from surveillance_core.venues.simulated.families.listing import FamilyListing
from surveillance_core.venues.simulated.listings import EventListing, MarketListing


class PlantKind(StrEnum):
    """What is wrong, or seems so."""

    NESTED = "nested"
    """The market that implies another is bid above where the other is offered."""
    PARTITION_YES = "partition_yes"
    """Every Yes of an event that leaves nothing out is offered for less than a dollar together."""
    PARTITION_NO = "partition_no"
    """The Yes bids of an exclusive event add up to more than a dollar."""
    TWIN = "twin"
    """The same claim is bid on one venue above where it is offered on the other."""


class PlantLeg(msgspec.Struct, frozen=True):
    """One imposed order: the maker's side of what a taker would do."""

    market: int
    bid: bool
    """True for a bid, into which the taker sells Yes (buys No)."""
    tick: int
    size: float
    """Contracts."""


class Plant(msgspec.Struct, frozen=True, kw_only=True):
    """Orders that stand from ``from_ms`` to ``until_ms``."""

    number: int
    kind: PlantKind
    sound: bool
    """Whether the gain is certain; otherwise it is a decoy."""
    reason: str
    """Why a decoy is none; empty for a violation."""
    family: int
    legs: tuple[PlantLeg, ...]
    from_ms: int
    until_ms: int
    payoff: float
    """Least payoff over all worlds, dollars for the whole size."""
    gross_profit: float
    """Least payoff less the prices paid, dollars."""
    net_profit: float
    """The same after every leg's taker fee, dollars; ``sound`` needs it to be positive."""


_HOUR_MS = 3_600_000
_LEAST_MS, _MOST_MS = 20_000, 180_000


def plan_plants(
    families: Sequence[FamilyListing],
    seed: int,
    start_ms: int,
    an_hour: float,
    horizon_ms: int,
) -> list[Plant]:
    """Plants over time, no market in two at once; in order of their beginning."""
    if an_hour <= 0:
        return []
    rng = Random(f"plants:{seed}")
    candidates = list(_candidates(families))
    if not candidates:
        return []
    plants: list[Plant] = []
    busy_until: dict[int, int] = {}
    at_ms = start_ms + 60_000.0
    while (at_ms := at_ms + rng.expovariate(an_hour) * _HOUR_MS) < start_ms + horizon_ms:
        from_ms = int(at_ms)
        until_ms = from_ms + rng.randint(_LEAST_MS, _MOST_MS)
        kind, members, family = rng.choice(candidates)
        if any(
            busy_until.get(m.index, 0) >= from_ms or m.closes_ms <= until_ms or m.opens_ms > from_ms
            for m in members
        ):
            continue
        plant = _plant(rng, kind, members, family, len(plants), from_ms, until_ms)
        if plant is not None:
            plants.append(plant)
            busy_until |= {m.index: until_ms for m in members}
    return plants


Candidate = tuple[PlantKind, tuple[MarketListing, ...], FamilyListing]


def _candidates(families: Sequence[FamilyListing]) -> Iterator[Candidate]:
    for family in families:
        if family.kind == "up_down":
            continue
        for event in family.events:
            if event.closed:
                continue
            yield from _within(event, family)
        yield from _across(family)


def _within(event: EventListing, family: FamilyListing) -> Iterator[Candidate]:
    open_markets = tuple(market for market in event.markets if market.tradable)
    if event.exclusive and len(open_markets) > 1:
        yield PlantKind.PARTITION_YES, open_markets, family
        yield PlantKind.PARTITION_NO, open_markets, family
        return
    for one, other in pairwise(open_markets):
        wide, narrow = (one, other) if len(one.atoms) > len(other.atoms) else (other, one)
        if set(narrow.atoms) < set(wide.atoms):
            yield PlantKind.NESTED, (wide, narrow), family


def _across(family: FamilyListing) -> Iterator[Candidate]:
    by_venue: dict[Venue, list[MarketListing]] = {}
    for event in family.events:
        if not event.closed:
            by_venue.setdefault(event.venue, []).extend(m for m in event.markets if m.tradable)
    half = len(family.weights) // (2 if family.divergence else 1)
    for mine in by_venue.get(Venue.POLYMARKET, ()):
        for theirs in by_venue.get(Venue.KALSHI, ()):
            if {a for a in mine.atoms if a < half} == {a for a in theirs.atoms if a < half}:
                yield PlantKind.TWIN, (mine, theirs), family


def _plant(
    rng: Random,
    kind: PlantKind,
    members: tuple[MarketListing, ...],
    family: FamilyListing,
    number: int,
    from_ms: int,
    until_ms: int,
) -> Plant | None:
    edge = rng.choice((0.004, 0.02, 0.04, 0.08))
    size = float(rng.choice((10, 25, 50, 120)))
    chances = [sum(family.weights[a] for a in m.atoms) for m in members]
    if kind in (PlantKind.NESTED, PlantKind.TWIN):
        middle = sum(chances) / 2
        wanted = [(middle - edge / 2, False), (middle + edge / 2, True)]
        if kind is PlantKind.TWIN and rng.random() < 0.5:
            wanted.reverse()
    elif kind is PlantKind.PARTITION_YES:
        wanted = [(p / sum(chances) * (1 - edge), False) for p in chances]
    else:
        wanted = [(p / sum(chances) * (1 + edge), True) for p in chances]
    legs = [
        _leg(market, price, bid=bid, size=size)
        for market, (price, bid) in zip(members, wanted, strict=True)
    ]
    if any(leg is None for leg in legs):
        return None
    placed = tuple(leg for leg in legs if leg is not None)
    payoff = min(
        sum(_pays(leg, atom in m.atoms) for leg, m in zip(placed, members, strict=True))
        for atom in range(len(family.weights))
    )
    cost = sum(_cost(leg) for leg in placed)
    fees = sum(_fee(leg, m, family) for leg, m in zip(placed, members, strict=True))
    gross, net = payoff - cost, payoff - cost - fees
    looks = _looks(kind, placed)
    if looks <= 0:
        return None
    sound = net > 0
    return Plant(
        number=number,
        kind=kind,
        sound=sound,
        reason="" if sound else _why_not(kind, gross, family),
        family=family.index,
        legs=placed,
        from_ms=from_ms,
        until_ms=until_ms,
        payoff=round(payoff, 6),
        gross_profit=round(gross, 6),
        net_profit=round(net, 6),
    )


def _leg(market: MarketListing, price: float, *, bid: bool, size: float) -> PlantLeg | None:
    """The order at the nearest price of the grid that keeps the edge; None off the grid's ends."""
    prices = market.grid.prices
    wanted = price * TICKS_PER_DOLLAR
    if bid:
        tick = next((p for p in prices if p >= wanted), None)
    else:
        tick = next((p for p in reversed(prices) if p <= wanted), None)
    return None if tick is None else PlantLeg(market.index, bid, tick, size)


def _cost(leg: PlantLeg) -> float:
    """Dollars that taking the order costs: Yes at an ask, No at a bid."""
    return leg.size * (1.0 - DOLLARS[leg.tick] if leg.bid else DOLLARS[leg.tick])


def _pays(leg: PlantLeg, yes: bool) -> float:
    return leg.size if yes is not leg.bid else 0.0


def _looks(kind: PlantKind, legs: Sequence[PlantLeg]) -> float:
    """Dollars a contract that somebody would see who reads the prices and not the rules."""
    if kind is PlantKind.PARTITION_YES:
        return 1.0 - sum(DOLLARS[leg.tick] for leg in legs)
    if kind is PlantKind.PARTITION_NO:
        return sum(DOLLARS[leg.tick] for leg in legs) - 1.0
    return sum(DOLLARS[leg.tick] * (1 if leg.bid else -1) for leg in legs)


def _fee(leg: PlantLeg, market: MarketListing, family: FamilyListing) -> float:
    price = Decimal(SPELLING[leg.tick])
    contracts = Decimal(str(leg.size))
    if market.venue is Venue.POLYMARKET:
        if market.fees is None:
            return 0.0
        terms = FeeSchedule(rate=market.fees.rate, exponent=1.0, taker_only=True, rebate_share=None)
        return float(polymarket_fees.taker_fee(terms, price, contracts))
    series = next(
        event.series
        for event in family.events
        if any(member.index == market.index for member in event.markets)
    )
    kind = series.fee_type if series is not None else "quadratic"
    multiplier = series.fee_multiplier if series is not None else 1.0
    terms = kalshi_fees.TradingFees(kind=kind, multiplier=Decimal(str(multiplier)))
    paid = 1 - price if leg.bid else price
    fill = kalshi_fees.Fill(
        price=paid,
        contracts=contracts,
        action=kalshi_fees.Action.BUY,
        liquidity=kalshi_fees.Liquidity.TAKER,
    )
    return float(kalshi_fees.charge_fill(terms, fill).charged)


def _why_not(kind: PlantKind, gross: float, family: FamilyListing) -> str:
    if gross > 0:
        return "fees exceed the gain"
    if kind is PlantKind.PARTITION_YES:
        return "the members leave a world out"
    if kind is PlantKind.TWIN and family.clause:
        return f"the rules differ: {family.clause}"
    return "a world exists in which it loses"
