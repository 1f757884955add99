"""The venue-neutral market model: what discovery finds and everything else starts from.

Plain frozen values, serialised one market a line into ``universe.jsonl``. Prices and tick sizes are
dollars per contract, sizes contracts, times UTC. None means the venue did not say.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

import msgspec


class Venue(StrEnum):
    """The venues the system knows. The value is the partition key and the folder's name."""

    KALSHI = "kalshi"
    POLYMARKET = "polymarket"


class GroupKind(StrEnum):
    """Why markets belong together."""

    EVENT = "event"
    """Listed by the venue under one event; says nothing about logic by itself."""
    NEG_RISK = "neg_risk"
    """Mutually exclusive by the venue's contract: at most one market pays."""
    EXCLUSIVE = "exclusive"
    """Mutually exclusive by the venue's word: at most one market pays, and it may be none."""
    DIRECTIONAL = "directional"
    """A nested ladder by the venue's word: one market paying implies the next one pays too."""
    SERIES = "series"
    """Events of one template, one after the other; the size is what one sweep listed."""
    MARKET = "market"
    """The tokens of one market: together they pay one dollar. Never listed, every market has it."""


class FeeTerms(StrEnum):
    """What is known of a market's fees."""

    SCHEDULED = "scheduled"
    """The venue states the fee: a formula in ``fees``, or a known schedule in ``named_fee``."""
    FREE = "free"
    UNKNOWN = "unknown"


class FeeSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """Taker fee ``contracts * rate * (p * (1 - p)) ** exponent`` dollars, as the venue says."""

    rate: float
    exponent: float
    taker_only: bool
    rebate_share: float | None = None
    """Share of the fee returned to the makers filled, in [0, 1]."""
    kind: str | None = None
    """The venue's own name for the schedule."""


class NamedFee(msgspec.Struct, frozen=True, kw_only=True):
    """A fee stated as the name of a schedule and a multiplier; the rate is the schedule's own."""

    kind: str
    """The venue's own name for the schedule."""
    multiplier: float | None
    set_by: str
    """Where it was read: ``series``, ``event``, or ``event+series`` where the event sets a part."""


class RewardTerms(msgspec.Struct, frozen=True, kw_only=True):
    """Liquidity-reward terms in force when the market was read."""

    min_size: float
    """Contracts an order needs to score."""
    max_spread: float
    """Dollars from the adjusted mid within which an order scores."""
    daily_rate: float | None = None
    """Pool in dollars a day, summed over the programmes listed; None where only terms are given."""


class IncentiveTerms(msgspec.Struct, frozen=True, kw_only=True):
    """One incentive programme that pays for activity on the market."""

    programme_id: str
    kind: str
    """The venue's own name: ``liquidity`` for resting orders, ``volume`` for trades."""
    reward: float
    """Pool in dollars for the whole period."""
    starts: datetime | None
    ends: datetime | None
    target_size: float | None = None
    """Contracts counted from the best price down."""
    discount_factor: float | None = None
    """Factor on an order's score for each tick it is away from the best price, in [0, 1]."""

    @property
    def daily_rate(self) -> float | None:
        """Pool in dollars a day, None where the period is not known.

        Examples
        --------
        >>> from datetime import UTC
        >>> IncentiveTerms(
        ...     programme_id="1", kind="liquidity", reward=30.0,
        ...     starts=datetime(2026, 9, 1, tzinfo=UTC), ends=datetime(2026, 9, 4, tzinfo=UTC),
        ... ).daily_rate
        10.0
        """
        if self.starts is None or self.ends is None or self.ends <= self.starts:
            return None
        return self.reward * 86_400.0 / (self.ends - self.starts).total_seconds()


class PriceRange(msgspec.Struct, frozen=True, kw_only=True):
    """Prices from ``start`` to ``end`` move by ``step``; dollars."""

    start: float
    end: float
    step: float


class StrikeTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What the market is measured against, in the venue's own words; never read off an id."""

    kind: str | None
    """The venue's name of the comparison (``greater``, ``between`` ...), None if it gave none."""
    floor: float | None = None
    cap: float | None = None
    functional: str | None = None
    custom: tuple[tuple[str, str], ...] = ()
    """Named values, sorted by name; what was not text is spelled as JSON."""


class Outcome(msgspec.Struct, frozen=True):
    """One side that can be bought. The book stored is the one of a market's first outcome."""

    outcome_id: str
    label: str


class GroupRef(msgspec.Struct, frozen=True, kw_only=True):
    """Membership of one group, repeated on each member so that a line stands alone."""

    group_id: str
    kind: GroupKind
    title: str
    members: int
    """Markets the venue lists in the group, tradable or not."""
    augmented: bool = False
    """Outcomes may still be added: the listed ones are not exhaustive."""
    collateral: str | None = None
    """The venue's own name for how collateral is netted within the group."""


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """One tradable market as normalised from a venue's listing."""

    venue: Venue
    market_id: str
    title: str
    outcomes: tuple[Outcome, ...]
    tick_size: float
    min_order_size: float | None
    neg_risk: bool
    groups: tuple[GroupRef, ...]
    fee_terms: FeeTerms
    fees: FeeSchedule | None
    rewards: RewardTerms | None
    close_hint: datetime | None
    """The venue's end date: a hint, the deadline is in the rules text."""
    volume_24h: float | None
    liquidity: float | None
    category: str | None
    rules_hash: str
    """BLAKE2b-128 of the rules text as fetched, hexadecimal."""
    fetched_at: datetime
    named_fee: NamedFee | None = None
    fee_waived_until: datetime | None = None
    incentives: tuple[IncentiveTerms, ...] = ()
    price_ranges: tuple[PriceRange, ...] = ()
    """The price grid as the venue gives it, ascending; ``tick_size`` is its smallest step."""
    strike: StrikeTerms | None = None

    @property
    def primary(self) -> Outcome:
        """The outcome whose book stands for the market; the other mirrors it."""
        return self.outcomes[0]


class MarketGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A set of markets that is subscribed whole and that logic starts from."""

    group_id: str
    kind: GroupKind
    title: str
    augmented: bool
    listed_members: int
    markets: tuple[Market, ...]
    collateral: str | None = None
    """The venue's own name for how collateral is netted within the group."""

    @property
    def complete(self) -> bool:
        """Whether every member the venue lists is in the universe."""
        return len(self.markets) == self.listed_members

    @property
    def missing(self) -> int:
        """Members the venue lists that are not in the universe: not tradable, or filtered."""
        return self.listed_members - len(self.markets)


def group_markets(markets: Iterable[Market], kind: GroupKind) -> list[MarketGroup]:
    """Gather markets by their groups of one kind, in order of first appearance."""
    found: dict[str, tuple[GroupRef, list[Market]]] = {}
    for market in markets:
        for ref in market.groups:
            if ref.kind is kind:
                found.setdefault(ref.group_id, (ref, []))[1].append(market)
    return [
        MarketGroup(
            group_id=ref.group_id,
            kind=ref.kind,
            title=ref.title,
            augmented=ref.augmented,
            listed_members=ref.members,
            markets=tuple(members),
            collateral=ref.collateral,
        )
        for ref, members in found.values()
    ]


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Market)


def encode_universe(markets: Iterable[Market]) -> bytes:
    """Universe file content: one JSON object a line, sorted by market id, newline at the end."""
    ordered = sorted(markets, key=lambda market: market.market_id)
    return b"".join(_ENCODER.encode(market) + b"\n" for market in ordered)


class UniverseError(ValueError):
    """A universe file that cannot be read whole; names the line and the cause."""


def decode_universe(content: bytes, source: str) -> list[Market]:
    """Markets of a universe file.

    Raises
    ------
    UniverseError
        If any line is not a market, or the last line is cut off. A universe is published whole,
        so a damaged one is refused rather than half used; the caller keeps the last good one.
    """
    if content and not content.endswith(b"\n"):
        raise UniverseError(
            f"{source}: the last line is cut off; the file was not published whole. "
            "Materialise the universe again."
        )
    markets: list[Market] = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            markets.append(_DECODER.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UniverseError(
                f"{source}: line {number}: {error}. Materialise the universe again."
            ) from error
    return markets
