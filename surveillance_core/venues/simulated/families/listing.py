"""Drafts become listings: ids in each venue's manner, price grids, fees, rewards, atoms. Pure."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from random import Random

import msgspec

from surveillance_core.markets import Venue
from surveillance_core.venues.simulated.families.drafts import (
    EventDraft,
    FamilyDraft,
    MarketDraft,
)
from surveillance_core.venues.simulated.listings import (
    CENT,
    TAPERED,
    TENTH_CENT,
    EventListing,
    FeeListing,
    IncentiveListing,
    MarketListing,
    PriceGrid,
    RewardListing,
)

ANNOUNCED_BEFORE = timedelta(minutes=45)
"""A market that opens later is listed this long before."""

_AHEAD_MS = int(ANNOUNCED_BEFORE.total_seconds() * 1000)
_DAY_MS = 86_400_000
_FEES: dict[str, FeeListing | None] = {
    "Crypto": FeeListing("crypto_fees_v2", 0.07, 0.20),
    "Sports": FeeListing("sports_fees_v3", 0.05, 0.15),
    "Politics": FeeListing("politics_fees", 0.04, 0.25),
    "Economy": FeeListing("economics_fees", 0.05, 0.25),
    "Weather": FeeListing("general_fees", 0.05, 0.25),
    "Culture": FeeListing("general_fees", 0.05, 0.25),
    "Science": FeeListing("general_fees", 0.05, 0.25),
    "Geopolitics": None,
}
"""What the simulated Polymarket charges by category; clients read it off each market."""


class FamilyListing(msgspec.Struct, frozen=True, kw_only=True):
    """A family with its events: worlds, their weights, and how the venues' rules differ."""

    index: int
    kind: str
    weights: tuple[float, ...]
    """Of each world. Twice as many as outcomes where the venues' clauses differ."""
    divergence: float
    clause: str
    events: tuple[EventListing, ...]


class Lister:
    """Numbers families, events and markets as they come.

    Parameters
    ----------
    rng
        Decides what a draft leaves open: price grids, rewards, days since the listing.
    """

    def __init__(self, seed: int, start_ms: int, rng: Random) -> None:
        self._seed = seed
        self._start_ms = start_ms
        self._rng = rng
        self._families = self._events = self._markets = 0
        self._tickers: dict[str, int] = {}

    def list_family(self, draft: FamilyDraft, *, closed: bool = False) -> FamilyListing:
        """The family with ids; ``closed`` where it was over before the world began."""
        index, self._families = self._families, self._families + 1
        total = sum(draft.weights)
        weights = [weight / total for weight in draft.weights]
        if draft.divergence:
            share = draft.divergence
            weights = [w * (1 - share) for w in weights] + [w * share for w in weights]
        return FamilyListing(
            index=index,
            kind=draft.kind,
            weights=tuple(weights),
            divergence=draft.divergence,
            clause=draft.clause,
            events=tuple(self._list_event(draft, event, index, closed) for event in draft.events),
        )

    def _list_event(
        self, family: FamilyDraft, event: EventDraft, index: int, closed: bool
    ) -> EventListing:
        number, self._events = self._events, self._events + 1
        kalshi = event.venue is Venue.KALSHI
        group = None
        if kalshi:
            event_id = self._event_ticker(event)
        else:
            event_id = str(40_000 + number)
            if event.exclusive:
                group = f"0x{self._digest('group', number)[:62]}00"
        listed_ms = self._start_ms - self._rng.randint(5, 60) * _DAY_MS
        codes: dict[str, int] = {}
        markets: list[MarketListing] = []
        for position, draft in enumerate(event.markets):
            code = draft.code
            codes[code] = codes.get(code, 0) + 1
            if codes[code] > 1:
                code = f"{code}{codes[code]}"
            markets.append(
                self._list_market(family, event, event_id, draft, code, position, closed, listed_ms)
            )
        opens = min((market.opens_ms for market in markets), default=listed_ms)
        return EventListing(
            venue=event.venue,
            event_id=event_id,
            family=index,
            title=event.title,
            sub_title=event.sub_title,
            description=event.description,
            category=event.category,
            series=event.series,
            exclusive=event.exclusive,
            directional=event.directional,
            augmented=event.augmented,
            group_id=group,
            listed_ms=_listed(listed_ms, opens, kalshi=kalshi),
            deadline_ms=_ms(event.deadline),
            closed=closed,
            markets=tuple(markets),
        )

    def _list_market(
        self,
        family: FamilyDraft,
        event: EventDraft,
        event_id: str,
        draft: MarketDraft,
        code: str,
        position: int,
        closed: bool,
        listed_ms: int,
    ) -> MarketListing:
        index, self._markets = self._markets, self._markets + 1
        kalshi = event.venue is Venue.KALSHI
        atoms = _atoms(family, draft, kalshi=kalshi)
        if kalshi:
            market_id = f"{event_id}-{code}" if code else event_id
            yes, no = market_id, f"{market_id}:no"
        else:
            market_id = f"0x{self._digest('condition', index)}"
            yes, no = self._token("yes", index), self._token("no", index)
        opens_ms = listed_ms if draft.opens is None else _ms(draft.opens)
        if draft.opens is not None and not kalshi:
            # Polymarket's windows trade from their listing on, Kalshi's from their beginning
            opens_ms -= _AHEAD_MS
        closes_ms = _ms(draft.closes or event.deadline)
        return MarketListing(
            index=index,
            venue=event.venue,
            market_id=market_id,
            yes_id=yes,
            no_id=no,
            title=draft.title,
            label=draft.label,
            outcomes=draft.outcomes,
            rules=draft.rules,
            rules_secondary=draft.rules_secondary,
            position=position,
            grid=self._grid(event, family, draft, kalshi=kalshi),
            atoms=atoms,
            opens_ms=opens_ms,
            closes_ms=closes_ms,
            active=draft.active,
            closed=closed or closes_ms <= self._start_ms,
            other=draft.other,
            strike=draft.strike,
            fees=None if kalshi else _FEES.get(event.category, _FEES["Culture"]),
            rewards=None if kalshi else self._rewards(),
            incentive=self._incentive(index) if kalshi else None,
        )

    def _grid(
        self, event: EventDraft, family: FamilyDraft, draft: MarketDraft, *, kalshi: bool
    ) -> PriceGrid:
        total = sum(family.weights)
        p = sum(family.weights[outcome] for outcome in draft.pays) / total
        edge = not 0.04 < p < 0.96
        draw = self._rng.random()
        if kalshi:
            if family.kind in ("up_down", "price_ladder") or draw < 0.2:
                return TAPERED
            return TENTH_CENT if draw > 0.95 else CENT
        return TENTH_CENT if event.exclusive or edge or draw < 0.2 else CENT

    def _rewards(self) -> RewardListing | None:
        rng = self._rng
        if rng.random() < 0.4:
            return None
        return RewardListing(
            rng.choice((20, 50, 100, 200)),
            rng.choice((2.5, 3.5, 4.5)),
            float(rng.choice((5, 25, 100))),
        )

    def _incentive(self, index: int) -> IncentiveListing | None:
        rng = self._rng
        if rng.random() < 0.7:
            return None
        kind = "liquidity" if rng.random() < 0.8 else "volume"
        return IncentiveListing(
            programme_id=_uuid(self._digest("programme", index)),
            kind=kind,
            period_reward_centicents=rng.choice((200_000, 500_000, 2_500_000)),
            target_size=rng.choice((100, 300, 1_000)),
            discount_factor_bps=5_000,
            starts_ms=self._start_ms - _DAY_MS,
            ends_ms=self._start_ms + 6 * _DAY_MS,
        )

    def _event_ticker(self, event: EventDraft) -> str:
        series = event.series.series_id if event.series is not None else "KX"
        ticker = f"{series}-{event.code}" if event.code else series
        self._tickers[ticker] = seen = self._tickers.get(ticker, 0) + 1
        return ticker if seen == 1 else f"{ticker}N{seen}"

    def _digest(self, kind: str, number: int) -> str:
        return hashlib.sha256(f"{self._seed}:{kind}:{number}".encode()).hexdigest()

    def _token(self, kind: str, number: int) -> str:
        # the venue's ids are 256-bit numbers in decimal; 77 digits is the commonest length
        return str(10**76 + int(self._digest(kind, number), 16) % (9 * 10**76))


def _atoms(family: FamilyDraft, draft: MarketDraft, *, kalshi: bool) -> tuple[int, ...]:
    """The worlds in which the market pays.

    Where clauses differ, the second half of the worlds are those in which Kalshi's rules see the
    outcome after the one that Polymarket's see.
    """
    if not family.divergence:
        return draft.pays
    count = len(family.weights)
    pays = frozenset(draft.pays)
    shift = 1 if kalshi else 0
    return (*draft.pays, *(count + o for o in range(count) if (o + shift) % count in pays))


def _listed(before_ms: int, opens_ms: int, *, kalshi: bool) -> int:
    """When an event was listed: long ago, or with its opening or ahead of it."""
    if opens_ms == before_ms:
        return before_ms
    return opens_ms - _AHEAD_MS if kalshi else opens_ms


def _uuid(digest: str) -> str:
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
