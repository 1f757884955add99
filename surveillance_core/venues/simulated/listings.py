"""What the simulated venues list: events and markets, before anything has traded.

Pure values. ``families`` makes them, each venue's folder spells them. A market's logic is its
*atoms*: the worlds of its family in which Yes pays; markets of one family, on either venue, share
those worlds and so cannot contradict each other.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from surveillance_core.books import TICKS_PER_DOLLAR
from surveillance_core.markets import Venue


class PriceBand(msgspec.Struct, frozen=True):
    """Prices from ``start`` to ``end`` move by ``step``; ticks of 0.0001 dollars."""

    start: int
    end: int
    step: int


class PriceGrid(msgspec.Struct, frozen=True):
    """The prices a market can be quoted at."""

    name: str
    """The venue's name of the structure (Kalshi's ``price_level_structure``)."""
    bands: tuple[PriceBand, ...]

    @property
    def finest(self) -> int:
        """The smallest step, in ticks."""
        return min(band.step for band in self.bands)

    @property
    def prices(self) -> tuple[int, ...]:
        """Every price an order can have, ascending, in ticks: 0 and 1 dollar are none."""
        return _prices(self)


@lru_cache(maxsize=64)
def _prices(grid: PriceGrid) -> tuple[int, ...]:
    found = {
        price for band in grid.bands for price in range(band.start, band.end + 1, band.step)
    } - {0, TICKS_PER_DOLLAR}
    return tuple(sorted(found))


CENT = PriceGrid("linear_cent", (PriceBand(0, 10_000, 100),))
TENTH_CENT = PriceGrid("deci_cent", (PriceBand(0, 10_000, 10),))
TAPERED = PriceGrid(
    "tapered_deci_cent",
    (PriceBand(0, 1_000, 10), PriceBand(1_000, 9_000, 100), PriceBand(9_000, 10_000, 10)),
)
"""A tenth of a cent under 0.10 and over 0.90, a cent between (reference kalshi.md 4)."""


class FeeListing(msgspec.Struct, frozen=True):
    """A taker fee as Polymarket lists it: ``rate * (p * (1 - p))`` dollars a contract."""

    kind: str
    rate: float
    rebate_rate: float


class RewardListing(msgspec.Struct, frozen=True):
    """Polymarket's liquidity-reward terms: contracts, cents from the mid, dollars a day."""

    min_size: int
    max_spread_cents: float
    daily_rate: float


class IncentiveListing(msgspec.Struct, frozen=True, kw_only=True):
    """A Kalshi incentive programme on one market."""

    programme_id: str
    kind: str
    """``liquidity`` or ``volume``."""
    period_reward_centicents: int
    target_size: int
    discount_factor_bps: int
    starts_ms: int
    ends_ms: int


class StrikeListing(msgspec.Struct, frozen=True, kw_only=True):
    """Kalshi's typed strike: ``strike_type``, bounds, and free members."""

    kind: str
    floor: float | None = None
    cap: float | None = None
    custom: tuple[tuple[str, str], ...] = ()


class SeriesListing(msgspec.Struct, frozen=True, kw_only=True):
    """The template that events of one kind follow."""

    series_id: str
    """Kalshi's series ticker, Polymarket's slug."""
    title: str
    category: str
    frequency: str
    fee_type: str = "quadratic"
    """Kalshi's fee schedule by name."""
    fee_multiplier: float = 1.0


class MarketListing(msgspec.Struct, frozen=True, kw_only=True):
    """One market as listed; ``index`` is its place in ``World.markets``, over both venues."""

    index: int
    venue: Venue
    market_id: str
    """Polymarket's condition id, Kalshi's ticker."""
    yes_id: str
    """Outcome id of Yes: a token, or the ticker."""
    no_id: str
    """Outcome id of No: a token, or the ticker with ``:no``."""
    title: str
    """The question."""
    label: str | None
    """What tells it from its siblings: ``groupItemTitle``, ``yes_sub_title``."""
    outcomes: tuple[str, str] = ("Yes", "No")
    rules: str
    """Polymarket's description, Kalshi's primary rules."""
    rules_secondary: str = ""
    position: int
    """Place within its event."""
    grid: PriceGrid
    """When listed."""
    atoms: tuple[int, ...]
    """The family's worlds in which Yes pays; empty for a placeholder."""
    opens_ms: int
    """When trading starts, milliseconds since the epoch."""
    closes_ms: int
    """When trading ends."""
    active: bool = True
    """False for a placeholder that is listed and cannot be traded."""
    closed: bool = False
    """Whether it was over before the world began."""
    other: bool = False
    """The residual outcome of an exclusive event."""
    strike: StrikeListing | None = None
    fees: FeeListing | None = None
    rewards: RewardListing | None = None
    incentive: IncentiveListing | None = None

    @property
    def tradable(self) -> bool:
        """Whether an engine keeps a book for it at some time."""
        return self.active and not self.closed


class EventListing(msgspec.Struct, frozen=True, kw_only=True):
    """One event of one venue with its markets."""

    venue: Venue
    event_id: str
    """Gamma's id, Kalshi's event ticker."""
    family: int
    """Index of the worlds its markets are about, in ``World.latents``."""
    title: str
    sub_title: str = ""
    description: str
    category: str
    series: SeriesListing | None
    exclusive: bool
    """At most one market pays: negRisk, mutually exclusive with ``MECNET``."""
    directional: bool
    """Nested markets: Kalshi's ``DIRECNET``."""
    augmented: bool
    """Outcomes may still be added."""
    group_id: str | None
    """Polymarket's ``negRiskMarketID``."""
    listed_ms: int
    deadline_ms: int
    """The true deadline, milliseconds; the listing's end date is only near it."""
    closed: bool
    markets: tuple[MarketListing, ...]
