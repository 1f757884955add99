"""Whether something happens by a date: single claims, and ladders of deadlines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import msgspec

from surveillance_core.markets import Venue
from surveillance_core.venues.simulated.families.drafts import (
    EASTERN,
    REPORTING,
    EventDraft,
    FamilyDraft,
    MarketDraft,
    deadline_between,
    end_of_day,
    long_day,
    normalised,
    short_day,
    ticker_day,
)
from surveillance_core.venues.simulated.listings import SeriesListing, StrikeListing

SUBJECTS = (
    "Astrolane", "Northmere", "Quillon", "Veridane", "Halcyon Rail", "Orbweave", "Lumenor",
    "Brightwater", "Cindermark", "Elmhurst Foods", "Ferrous Labs", "Glasswing",
)  # fmt: skip


class _Deed(msgspec.Struct, frozen=True):
    """Something a subject may do: infinitive, third person, category, who confirms it, code."""

    do: str
    does: str
    category: str
    source: str
    code: str


_DEEDS = (
    _Deed(
        "announce a merger",
        "announces a merger",
        "Culture",
        "an official announcement from the company",
        "MERGER",
    ),
    _Deed(
        "file for an IPO",
        "files for an IPO",
        "Economy",
        "the registration statement as published by the regulator",
        "IPO",
    ),
    _Deed(
        "launch its public test network",
        "launches its public test network",
        "Crypto",
        "the project's own status page",
        "TESTNET",
    ),
    _Deed(
        "sign a ceasefire accord",
        "signs a ceasefire accord",
        "Geopolitics",
        "official statements of the parties",
        "ACCORD",
    ),
    _Deed(
        "call a snap election", "calls a snap election", "Politics", "the official gazette", "SNAP"
    ),
)


def single_claim(rng: Random, start: datetime) -> FamilyDraft:
    """One deadline. The venues say the same, or one of them counts from another beginning."""
    subject = rng.choice(SUBJECTS)
    chosen = rng.choice(_DEEDS)
    deed, does, category, source = chosen.do, chosen.does, chosen.category, chosen.source
    deadline = deadline_between(rng, start, 3, 200)
    same = rng.random() < 0.6
    p = min(0.97, max(0.03, rng.betavariate(1.1, 1.1)))
    question = f"Will {subject} {deed} by {long_day(deadline)}?"
    text = (
        f'This market will resolve to "Yes" if {subject} is confirmed to {deed} between '
        f"{long_day(start)}, and {long_day(deadline)}, 11:59 PM ET. Otherwise, this market will "
        'resolve to "No".\n\nA statement of intent alone does not count.\n\nThe primary '
        f"resolution source for this market will be {source}; {REPORTING}"
    )
    following = _next_day(deadline)
    span = f"after {short_day(start)}" if same else "after Issuance"
    return FamilyDraft(
        kind="single_claim",
        weights=[p, 1.0 - p],
        divergence=0.0 if same else rng.uniform(0.02, 0.06),
        clause="" if same else "beginning of the period, and whether an intent counts",
        events=[
            EventDraft(
                venue=Venue.POLYMARKET,
                title=question,
                description=text,
                category=category,
                deadline=deadline,
                markets=[MarketDraft(title=question, label=None, rules=text, pays=(0,))],
            ),
            EventDraft(
                venue=Venue.KALSHI,
                title=f"Will {subject} {deed}?",
                sub_title=f"Before {short_day(following)}",
                description="",
                category=category,
                code=ticker_day(deadline),
                series=_series(subject, chosen.code, category),
                deadline=deadline,
                markets=[
                    MarketDraft(
                        title=f"Will {subject} {deed} before {short_day(following)}?",
                        label=f"Before {short_day(following)}",
                        rules=(
                            f"If {subject} {does} {span} and before {short_day(following)}, then "
                            "the market resolves to Yes."
                        ),
                        rules_secondary=(
                            "An announcement of intent does not count. "
                            if same
                            else "A public and binding announcement of intent is encompassed in "
                            "the Payout Criterion. "
                        )
                        + f"The source is {source}.",
                        pays=(0,),
                        code="YES",
                    )
                ],
            ),
        ],
    )


def date_ladder(rng: Random, start: datetime) -> FamilyDraft:
    """Four deadlines with one beginning: an earlier one implies the later ones."""
    subject = rng.choice(SUBJECTS)
    chosen = rng.choice(_DEEDS)
    deed, does, category, source = chosen.do, chosen.does, chosen.category, chosen.source
    first = deadline_between(rng, start, 10, 40)
    dates = [end_of_day(first + timedelta(days=30 * rung)) for rung in range(4)]
    same = rng.random() < 0.5
    polymarket = [
        MarketDraft(
            title=f"Will {subject} {deed} by {long_day(date)}?",
            label=long_day(date),
            rules=(
                f'This market will resolve to "Yes" if {subject} is confirmed to {deed} between '
                f"{long_day(start)}, and {long_day(date)}, 11:59 PM ET (inclusive). Otherwise, "
                f'this market will resolve to "No".\n\nThe resolution source will be {source}; '
                f"{REPORTING}"
            ),
            pays=tuple(range(rung + 1)),
            closes=date,
        )
        for rung, date in enumerate(dates)
    ]
    return FamilyDraft(
        kind="date_ladder",
        weights=normalised([rng.uniform(0.5, 2.0) for _ in range(len(dates) + 1)]),
        divergence=0.0 if same else rng.uniform(0.02, 0.05),
        clause="" if same else "who has to confirm it",
        trims=True,
        events=[
            EventDraft(
                venue=Venue.POLYMARKET,
                title=f"{subject} to {deed} by...?",
                description=polymarket[0].rules,
                category=category,
                deadline=dates[-1],
                markets=polymarket,
            ),
            EventDraft(
                venue=Venue.KALSHI,
                title=f"When will {subject} {deed}?",
                sub_title=f"Before {short_day(_next_day(dates[-1]))}",
                description="",
                category=category,
                code=ticker_day(dates[-1]),
                series=_series(subject, f"{chosen.code}DATE", category),
                directional=True,
                deadline=dates[-1],
                markets=[
                    MarketDraft(
                        title=f"Will {subject} {deed} before {short_day(_next_day(date))}?",
                        label=f"Before {short_day(_next_day(date))}",
                        rules=(
                            f"If {subject} {does} after {short_day(start)} and before "
                            f"{short_day(_next_day(date))}, then the market resolves to Yes."
                        ),
                        rules_secondary=(
                            f"The source is {source}; {REPORTING}"
                            if same
                            else f"The only source is {source}."
                        ),
                        pays=tuple(range(rung + 1)),
                        code=ticker_day(date),
                        strike=StrikeListing(
                            kind="custom",
                            custom=(("Date", f"Before {short_day(_next_day(date))}"),),
                        ),
                        closes=date,
                    )
                    for rung, date in enumerate(dates)
                ],
            ),
        ],
    )


def _next_day(deadline: datetime) -> datetime:
    return (deadline.astimezone(EASTERN) + timedelta(days=1)).astimezone(UTC)


def _series(subject: str, code: str, category: str) -> SeriesListing:
    letters = "".join(letter for letter in subject.upper() if letter.isalpha())[:8]
    return SeriesListing(
        series_id=f"KX{letters}{code}",
        title=f"{subject}: {code.lower()}",
        category=category,
        frequency="custom",
    )
