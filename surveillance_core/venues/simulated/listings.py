"""What the simulated venue lists: events and markets, before anything has traded.

Pure values; ``families`` makes them and ``gamma`` spells them.
"""

from __future__ import annotations

import msgspec


class FeeListing(msgspec.Struct, frozen=True):
    """A taker fee as the venue lists it: ``rate * (p * (1 - p))`` dollars a contract."""

    kind: str
    rate: float
    rebate_rate: float


class RewardListing(msgspec.Struct, frozen=True):
    """Liquidity-reward terms: contracts, cents from the mid, dollars a day."""

    min_size: int
    max_spread_cents: float
    daily_rate: float


class MarketListing(msgspec.Struct, frozen=True, kw_only=True):
    """One market as listed; ``index`` is its place in ``World.markets``."""

    index: int
    gamma_id: str
    condition_id: str
    question_id: str
    yes_token: str
    no_token: str
    question: str
    slug: str
    description: str
    group_title: str | None
    position: int
    tick: int
    """Tick size when listed, in ticks of 0.0001 dollars."""
    neg_risk: bool
    other: bool
    active: bool
    closed: bool
    fees: FeeListing | None
    rewards: RewardListing | None
    atoms: tuple[int, ...]
    """The event's atoms in which Yes pays; empty for a placeholder."""

    @property
    def tradable(self) -> bool:
        """Whether the engine keeps a book for it."""
        return self.active and not self.closed


class EventListing(msgspec.Struct, frozen=True, kw_only=True):
    """One event with its markets."""

    event_id: str
    title: str
    slug: str
    description: str
    category: str
    neg_risk: bool
    augmented: bool
    neg_risk_market_id: str | None
    listed_ms: int
    deadline_ms: int
    """The true deadline, milliseconds; the listing's ``endDate`` is only near it."""
    closed: bool
    weights: tuple[float, ...]
    """Probability of each atom at the start; sums to 1."""
    markets: tuple[MarketListing, ...]
