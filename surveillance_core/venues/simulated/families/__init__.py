"""Which families a simulated world is made of, and how many markets of each venue they give.

Pure and deterministic. A module a kind of family; ``listing`` gives the drafts their ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from random import Random

from surveillance_core.markets import Venue
from surveillance_core.venues.simulated.families.contests import award, decision, fixture, race
from surveillance_core.venues.simulated.families.dates import date_ladder, single_claim
from surveillance_core.venues.simulated.families.drafts import EventDraft, FamilyDraft
from surveillance_core.venues.simulated.families.ladders import (
    ASSETS,
    price_ladder,
    up_down_windows,
)
from surveillance_core.venues.simulated.families.listing import FamilyListing, Lister
from surveillance_core.venues.simulated.families.partitions import (
    count_buckets,
    price_buckets,
    temperature_buckets,
)

Make = Callable[[Random, datetime], FamilyDraft]

WINDOWS_AHEAD = timedelta(hours=26)
"""How far ahead up-or-down windows are made; a world that runs longer has no more of them."""

TWIN_SHARE = 0.35
"""Share of families that both venues list."""

CLOSED_EVERY = 20
"""One family in so many was over before the world began."""

_OPENING: tuple[Make, ...] = (
    award, price_ladder, single_claim, race, temperature_buckets, date_ladder, decision, fixture,
)  # fmt: skip
_MIX: tuple[tuple[Make, int], ...] = (
    (single_claim, 38), (price_ladder, 16), (date_ladder, 12), (race, 9), (award, 5),
    (decision, 3), (temperature_buckets, 8), (count_buckets, 3), (price_buckets, 3), (fixture, 8),
)  # fmt: skip


def list_families(
    seed: int, wanted: Mapping[Venue, int], start_ms: int, *, windows: bool = True
) -> list[FamilyListing]:
    """Families with at least the wanted number of tradable markets of each venue.

    Placeholders, closed markets and up-or-down windows come on top. The first families are one of
    each kind, so that even a small world holds an augmented event and a twin.

    Parameters
    ----------
    windows
        Whether the first asset's up-or-down windows are listed too.
    """
    rng = Random(f"listings:{seed}")
    start = datetime.fromtimestamp(start_ms / 1000, UTC)
    lister = Lister(seed, start_ms, rng)
    missing = {venue: count for venue, count in wanted.items() if count > 0}
    families: list[FamilyListing] = []
    if windows:
        for draft in up_down_windows(ASSETS[0], rng, start, start + WINDOWS_AHEAD):
            draft.events = [event for event in draft.events if event.venue in missing]
            families.append(lister.list_family(draft))
    for number, make in enumerate(_kinds(rng)):
        if not missing:
            return families
        draft = make(rng, start)
        draft.events = [event for event in _offered(draft, rng) if event.venue in missing]
        if not draft.events:
            continue
        closed = number % CLOSED_EVERY == CLOSED_EVERY - 1
        if draft.trims and not closed:
            for event in draft.events:
                # an open-ended ladder must not overshoot the number of markets asked for
                event.markets = event.markets[: max(2, missing[event.venue])]
        family = lister.list_family(draft, closed=closed)
        families.append(family)
        for event in family.events:
            left = missing.get(event.venue, 0) - sum(m.tradable for m in event.markets)
            if left > 0:
                missing[event.venue] = left
            else:
                missing.pop(event.venue, None)
    return families


def _kinds(rng: Random) -> Iterator[Make]:
    yield from _OPENING
    makes, shares = [make for make, _ in _MIX], [share for _, share in _MIX]
    while True:
        yield rng.choices(makes, shares)[0]


def _offered(draft: FamilyDraft, rng: Random) -> list[EventDraft]:
    """The events that are listed: now and then on both venues, mostly on one."""
    venues = sorted({event.venue for event in draft.events})
    if len(venues) == 1 or rng.random() < TWIN_SHARE:
        return draft.events
    chosen = rng.choice(venues)
    return [event for event in draft.events if event.venue is chosen]
