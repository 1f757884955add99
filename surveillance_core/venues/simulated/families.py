"""The listings of a simulated world: events, markets, rules text and identifiers.

Pure and deterministic. The rules texts are written for this project in the venue's manner
(reference polymarket.md 6): a condition, a deadline in Eastern time, the edge cases, the source.
Every family states its logic by *atoms*: the event's mutually exclusive and exhaustive worlds. A
market pays in a set of them, so prices of related markets cannot contradict each other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec

from surveillance_core.venues.simulated.listings import (
    EventListing,
    FeeListing,
    MarketListing,
    RewardListing,
)


class _Draft(msgspec.Struct, kw_only=True):
    question: str
    group_title: str | None
    description: str
    atoms: tuple[int, ...]
    other: bool = False
    active: bool = True


class _Family(msgspec.Struct, kw_only=True):
    title: str
    category: str
    description: str
    deadline: datetime
    weights: list[float]
    drafts: list[_Draft]
    neg_risk: bool = False
    augmented: bool = False


_FEES: dict[str, FeeListing | None] = {
    "Crypto": FeeListing("crypto_fees_v2", 0.07, 0.20),
    "Politics": FeeListing("politics_fees", 0.04, 0.25),
    "Economy": FeeListing("economics_fees", 0.05, 0.25),
    "Culture": FeeListing("general_fees", 0.05, 0.25),
    "Geopolitics": None,
}
_REPORTING = "however, a consensus of credible reporting will also be used."
_SUBJECTS = ("Astrolane", "Northmere", "Quillon", "Veridane", "Halcyon Rail", "Orbweave", "Lumenor")
_DEEDS = (
    ("announce a merger", "Culture", "an official announcement from the company"),
    ("file for an IPO", "Economy", "the registration statement as published by the regulator"),
    ("launch its public test network", "Crypto", "the project's own status page"),
    ("sign a ceasefire accord", "Geopolitics", "official statements of the parties"),
    ("call a snap election", "Politics", "the official gazette"),
)
_ASSETS = (
    ("Bitcoin", "BTC/USDT", 96_000, 4_000),
    ("Ethereum", "ETH/USDT", 3_600, 200),
    ("Solana", "SOL/USDT", 190, 10),
    ("Dogecoin", "DOGE/USDT", 40, 2),
)
_NAMES = (
    "Adler Finch", "Bea Okonski", "Carlo Venn", "Dina Marsh", "Eino Tarr", "Freya Lund",
    "Goro Halm", "Hana Brisk", "Ivo Castell", "Junia Pell",
)  # fmt: skip
_RACES = ("Port Avery mayoral election", "Calder leadership election", "Innes Bay governor race")
_AWARDS = ("Best Picture at the Meridian Awards", "Album of the Year at the Lyra Awards")
_CUTS = ("50+ bps decrease", "25 bps decrease", "No change", "25+ bps increase")


def list_events(seed: int, markets: int, start_ms: int) -> list[EventListing]:
    """Events with at least ``markets`` tradable markets between them, in listing order.

    Placeholders and closed markets come on top of ``markets``. The first families drawn are one of
    each kind, so that even a small world holds an augmented negRisk event.
    """
    rng = Random(f"listings:{seed}")
    start = datetime.fromtimestamp(start_ms / 1000, UTC)
    events: list[EventListing] = []
    index = tradable = 0
    for number, family in enumerate(_families(rng, start)):
        if tradable >= markets:
            return events
        closed = number % 20 == 7
        if not closed:
            _trim(family, max(2, markets - tradable))
        event = _listed(seed, number, index, family, start_ms, closed, rng)
        events.append(event)
        index += len(event.markets)
        tradable += sum(market.tradable for market in event.markets)
    return events


def _trim(family: _Family, room: int) -> None:
    """Cut an open-ended ladder that would overshoot the number of markets asked for."""
    if not family.neg_risk and len(family.drafts) > room:
        family.drafts = family.drafts[:room]


def _families(rng: Random, start: datetime) -> Iterator[_Family]:
    opening: list[Callable[[Random, datetime], _Family]] = [
        _award, _price_ladder, _single, _race, _single, _date_ladder, _decision, _single,
    ]  # fmt: skip
    for make in opening:
        yield make(rng, start)
    while True:
        make = rng.choices(
            (_single, _price_ladder, _date_ladder, _race, _award, _decision),
            (40, 20, 12, 14, 7, 7),
        )[0]
        yield make(rng, start)


def _deadline(rng: Random, start: datetime, least_days: int, most_days: int) -> datetime:
    day = (start + timedelta(days=rng.randint(least_days, most_days))).date()
    # 11:59 PM Eastern, winter time: 04:59 UTC of the next day
    return datetime(day.year, day.month, day.day, 4, 59, tzinfo=UTC) + timedelta(days=1)


def _day(deadline: datetime) -> str:
    day = deadline - timedelta(hours=5)
    return f"{day:%B} {day.day}, {day.year}"


def _single(rng: Random, start: datetime) -> _Family:
    subject = rng.choice(_SUBJECTS)
    deed, category, source = rng.choice(_DEEDS)
    deadline = _deadline(rng, start, 3, 200)
    question = f"Will {subject} {deed} by {_day(deadline)}?"
    text = (
        f'This market will resolve to "Yes" if {subject} is confirmed to {deed} between the '
        f"creation of this market and {_day(deadline)}, 11:59 PM ET. Otherwise, this market will "
        'resolve to "No".\n\nA statement of intent alone does not count.\n\nThe primary '
        f"resolution source for this market will be {source}; {_REPORTING}"
    )
    p = min(0.97, max(0.03, rng.betavariate(1.1, 1.1)))
    draft = _Draft(question=question, group_title=None, description=text, atoms=(0,))
    return _Family(
        title=question, category=category, description=text, deadline=deadline,
        weights=[p, 1.0 - p], drafts=[draft],
    )  # fmt: skip


def _price_ladder(rng: Random, start: datetime) -> _Family:
    name, pair, level, step = rng.choice(_ASSETS)
    deadline = _deadline(rng, start, 1, 14)
    strikes = [level + step * offset for offset in range(-3, 4)]
    day = _day(deadline)
    text = (
        f'This market will resolve to "Yes" if the one-minute candle of {pair} on Binance that '
        f'opens at 12:00 PM ET on {day} has a final "Close" strictly higher than the price in the '
        'title. Otherwise, this market will resolve to "No".\n\nPrices of other exchanges, other '
        "pairs or other times are not considered.\n\nThe resolution source for this market is "
        f"Binance, {pair}, one-minute candles."
    )
    drafts = [
        _Draft(
            question=f"Will {name} be above ${strike:,} on {day}?",
            group_title=f"{strike:,}",
            description=text,
            atoms=tuple(range(rung + 1, len(strikes) + 1)),
        )
        for rung, strike in enumerate(strikes)
    ]
    centre = len(strikes) / 2 + rng.uniform(-1, 1)
    bumps = [1.0 / (1.0 + (atom - centre) ** 2) for atom in range(len(strikes) + 1)]
    return _Family(
        title=f"{name} above ___ on {day}?", category="Crypto", description=text,
        deadline=deadline, weights=_normalised(bumps), drafts=drafts,
    )  # fmt: skip


def _date_ladder(rng: Random, start: datetime) -> _Family:
    subject = rng.choice(_SUBJECTS)
    deed, category, source = rng.choice(_DEEDS)
    first = _deadline(rng, start, 10, 40)
    dates = [first + timedelta(days=30 * rung) for rung in range(4)]
    drafts = [
        _Draft(
            question=f"Will {subject} {deed} by {_day(date)}?",
            group_title=_day(date),
            description=(
                f'This market will resolve to "Yes" if {subject} is confirmed to {deed} between '
                f"{_day(start)}, and {_day(date)}, 11:59 PM ET (inclusive). Otherwise, this market "
                f'will resolve to "No".\n\nThe resolution source will be {source}; {_REPORTING}'
            ),
            atoms=tuple(range(rung + 1)),
        )
        for rung, date in enumerate(dates)
    ]
    return _Family(
        title=f"{subject} to {deed} by...?", category=category,
        description=drafts[0].description, deadline=dates[-1],
        weights=_normalised([rng.uniform(0.5, 2.0) for _ in range(5)]), drafts=drafts,
    )  # fmt: skip


def _race(rng: Random, start: datetime) -> _Family:
    race = rng.choice(_RACES)
    names = rng.sample(_NAMES, rng.randint(3, 5))
    return _exclusive(
        rng, start, title=f"{race} winner?", category="Politics",
        outcomes=[(name, f"Will {name} win the {race}?") for name in names],
        rule=f"is declared the winner of the next {race}", source="the electoral authority",
    )  # fmt: skip


def _decision(rng: Random, start: datetime) -> _Family:
    month = f"{start + timedelta(days=30):%B}"
    return _exclusive(
        rng, start, title=f"Central bank decision in {month}?", category="Economy",
        outcomes=[
            (cut, f"Will the {month} central bank decision be: {cut}?") for cut in _CUTS
        ],
        rule="is the change of the policy rate announced after the meeting, rounded up to the "
        "nearest 25 basis points", source="the bank's own statement",
    )  # fmt: skip


def _award(rng: Random, start: datetime) -> _Family:
    award = rng.choice(_AWARDS)
    names = [f"“{title}”" for title in rng.sample(_SUBJECTS, 4)]
    family = _exclusive(
        rng, start, title=f"Who wins {award}?", category="Culture",
        outcomes=[(name, f"Will {name} win {award}?") for name in [*names, "Other"]],
        rule=f"is announced as the winner of {award}", source="the academy's announcement",
    )  # fmt: skip
    family.augmented = True
    family.drafts[-1].other = True
    family.drafts.append(
        _Draft(
            question=f"Will Title E win {award}?", group_title="Title E",
            description=family.description, atoms=(), active=False,
        )
    )  # fmt: skip
    return family


def _exclusive(
    rng: Random,
    start: datetime,
    *,
    title: str,
    category: str,
    outcomes: list[tuple[str, str]],
    rule: str,
    source: str,
) -> _Family:
    deadline = _deadline(rng, start, 20, 300)
    drafts = [
        _Draft(
            question=question,
            group_title=label,
            description=(
                f'This market will resolve to "Yes" if {label} {rule}. Otherwise, this market will '
                f'resolve to "No".\n\nIf no result is known by {_day(deadline)}, 11:59 PM ET, this '
                f'market will resolve to "No".\n\nThe primary resolution source will be {source}; '
                f"{_REPORTING}"
            ),
            atoms=(position,),
        )
        for position, (label, question) in enumerate(outcomes)
    ]
    weights = _normalised([rng.paretovariate(1.2) for _ in outcomes])
    return _Family(
        title=title, category=category, description=drafts[0].description, deadline=deadline,
        weights=weights, drafts=drafts, neg_risk=True,
    )  # fmt: skip


def _normalised(weights: list[float]) -> list[float]:
    total = sum(weights)
    return [max(0.004, weight / total) for weight in weights]


def _listed(
    seed: int,
    number: int,
    index: int,
    family: _Family,
    start_ms: int,
    closed: bool,
    rng: Random,
) -> EventListing:
    total = sum(family.weights)
    weights = tuple(weight / total for weight in family.weights)
    group = f"0x{_digest(seed, 'group', number)[:62]}00" if family.neg_risk else None
    markets: list[MarketListing] = []
    for position, draft in enumerate(family.drafts):
        place = index + position
        p = sum(weights[atom] for atom in draft.atoms)
        fine = family.neg_risk or not 0.04 < p < 0.96 or rng.random() < 0.2
        question_id = (
            f"{group[:-2]}{position:02x}" if group else f"0x{_digest(seed, 'question', place)}"
        )
        markets.append(
            MarketListing(
                index=place,
                gamma_id=str(500_000 + place),
                condition_id=f"0x{_digest(seed, 'condition', place)}",
                question_id=question_id,
                yes_token=_token(seed, "yes", place),
                no_token=_token(seed, "no", place),
                question=draft.question,
                slug=f"{_slug(draft.question)}-{place}",
                description=draft.description,
                group_title=draft.group_title,
                position=position,
                tick=10 if fine else 100,
                neg_risk=family.neg_risk,
                other=draft.other,
                active=draft.active,
                closed=closed,
                fees=_FEES[family.category],
                rewards=_rewards(rng),
                atoms=draft.atoms,
            )
        )
    return EventListing(
        event_id=str(40_000 + number),
        title=family.title,
        slug=f"{_slug(family.title)}-{number}",
        description=family.description,
        category=family.category,
        neg_risk=family.neg_risk,
        augmented=family.augmented,
        neg_risk_market_id=group,
        listed_ms=start_ms - rng.randint(5, 60) * 86_400_000,
        deadline_ms=round(family.deadline.timestamp() * 1000),
        closed=closed,
        weights=weights,
        markets=tuple(markets),
    )


def _rewards(rng: Random) -> RewardListing | None:
    if rng.random() < 0.4:
        return None
    return RewardListing(
        rng.choice((20, 50, 100, 200)), rng.choice((2.5, 3.5, 4.5)), float(rng.choice((5, 25, 100)))
    )


def _digest(seed: int, kind: str, number: int) -> str:
    return hashlib.sha256(f"{seed}:{kind}:{number}".encode()).hexdigest()


def _token(seed: int, kind: str, number: int) -> str:
    # the venue's ids are 256-bit numbers in decimal; 77 digits is the commonest length
    return str(10**76 + int(_digest(seed, kind, number), 16) % (9 * 10**76))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
