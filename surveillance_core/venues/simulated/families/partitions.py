"""A number that falls into one of several buckets: temperatures, counts, prices."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from random import Random

from surveillance_core.markets import Venue
from surveillance_core.venues.simulated.families.drafts import (
    EventDraft,
    FamilyDraft,
    MarketDraft,
    at_hour,
    bumps,
    deadline_between,
    end_of_day,
    long_day,
    short_day,
    ticker_day,
    zone_of,
)
from surveillance_core.venues.simulated.families.ladders import ASSETS
from surveillance_core.venues.simulated.listings import SeriesListing, StrikeListing

_CITIES = (
    ("Harborview", "HARB", "Harborview Municipal Airport Station", "Old Quay Park"),
    ("Stonebridge", "STON", "Stonebridge International Airport Station", "Mill Green"),
    ("Lakeport", "LAKE", "Lakeport Field Station", "Lakeport Field"),
)
_COUNTED = (
    ("posts by the mayor of Port Avery", "Culture", "the account's public post counter"),
    ("orbital launches by Orbweave", "Science", "the regulator's list of licensed launches"),
    ("named storms in the Calder Sea", "Weather", "the marine service's season summary"),
)


def temperature_buckets(rng: Random, start: datetime) -> FamilyDraft:
    """The day's high on whole degrees; the venues read another station, except in one city."""
    city, code, airport, park = rng.choice(_CITIES)
    same = park in airport
    day = end_of_day(start + timedelta(days=rng.randint(1, 4)))
    low = rng.randint(55, 80)
    inner = [(low + 2 * place, low + 2 * place + 1) for place in range(4)]
    return FamilyDraft(
        kind="temperature_buckets",
        weights=bumps(len(inner) + 2, rng),
        divergence=0.0 if same else rng.uniform(0.03, 0.06),
        clause="" if same else "station of the reading",
        events=[
            _high_on_polymarket(city, airport, day, inner),
            _high_on_kalshi(city, code, park, day, inner),
        ],
    )


def _high_on_polymarket(
    city: str, station: str, day: datetime, inner: list[tuple[int, int]]
) -> EventDraft:
    date = long_day(day)
    labels = [
        f"{inner[0][0] - 1}°F or below",
        *(f"{low}-{high}°F" for low, high in inner),
        f"{inner[-1][1] + 1}°F or higher",
    ]
    text = (
        "This market will resolve to the temperature range that contains the highest temperature "
        f"recorded at the {station} in degrees Fahrenheit on {date}.\n\nThe resolution source "
        "measures temperatures to whole degrees Fahrenheit, so this is the precision at which the "
        "market will be resolved. Revisions made after the first complete publication for the day "
        f"will not be considered.\n\nThe resolution source will be the daily history of the "
        f"{station}."
    )
    return EventDraft(
        venue=Venue.POLYMARKET,
        title=f"Highest temperature in {city} on {date}?",
        description=text,
        category="Weather",
        exclusive=True,
        deadline=day,
        markets=[
            MarketDraft(
                title=f"Will the highest temperature in {city} be {_between(label)} on {date}?",
                label=label,
                rules=text,
                pays=(place,),
            )
            for place, label in enumerate(labels)
        ],
    )


def _between(label: str) -> str:
    return f"between {label}" if "-" in label else label


def _high_on_kalshi(
    city: str, code: str, station: str, day: datetime, inner: list[tuple[int, int]]
) -> EventDraft:
    date = short_day(day)
    bottom, top = inner[0][0], inner[-1][1]

    def rules(condition: str) -> str:
        return (
            f"If the highest temperature recorded at {station}, {city} for {date} as reported by "
            f"the National Weather Service's Climatological Report (Daily), is {condition}, then "
            "the market resolves to Yes."
        )

    markets = [
        MarketDraft(
            title=f"Will the high temp in {city} be <{bottom}° on {date}?",
            label=f"{bottom - 1}° or below",
            rules=rules(f"less than {bottom}°"),
            pays=(0,),
            code=f"T{bottom}",
            strike=StrikeListing(kind="less", cap=float(bottom)),
        ),
        *(
            MarketDraft(
                title=f"Will the high temp in {city} be {low}-{high}° on {date}?",
                label=f"{low}° to {high}°",
                rules=rules(f"between {low}-{high}°"),
                pays=(place,),
                code=f"B{low + 0.5}",
                strike=StrikeListing(kind="between", floor=float(low), cap=float(high)),
            )
            for place, (low, high) in enumerate(inner, start=1)
        ),
        MarketDraft(
            title=f"Will the high temp in {city} be >{top}° on {date}?",
            label=f"{top + 1}° or above",
            rules=rules(f"greater than {top}°"),
            pays=(len(inner) + 1,),
            code=f"T{top}",
            strike=StrikeListing(kind="greater", floor=float(top)),
        ),
    ]
    return EventDraft(
        venue=Venue.KALSHI,
        title=f"Highest temperature in {city} on {date}?",
        sub_title=f"On {date}",
        description="",
        category="Climate and Weather",
        code=ticker_day(day),
        series=SeriesListing(
            series_id=f"KXHIGH{code}",
            title=f"Highest temperature in {city}",
            category="Climate and Weather",
            frequency="daily",
        ),
        exclusive=True,
        deadline=day,
        markets=markets,
    )


def count_buckets(rng: Random, start: datetime) -> FamilyDraft:
    """How many by a day, in ranges whose ends are included; one venue lists it."""
    what, category, source = rng.choice(_COUNTED)
    deadline = deadline_between(rng, start, 5, 60)
    date = long_day(deadline)
    width, first = rng.choice((5, 10, 20)), rng.choice((20, 40, 100))
    spans = [(first + width * place, first + width * (place + 1) - 1) for place in range(5)]
    labels = [f"<{first}", *(f"{low}-{high}" for low, high in spans), f"{spans[-1][1] + 1}+"]
    conditions = [
        f"fewer than {first}",
        *(f"between {low} (inclusive) and {high} (inclusive)" for low, high in spans),
        f"{spans[-1][1] + 1} or more",
    ]
    markets = [
        MarketDraft(
            title=f"Will there be {label} {what} by {date}?",
            label=label,
            rules=(
                f'This market will resolve to "Yes" if the number of {what} between '
                f"{long_day(start)}, 12:00 PM ET and {date}, 11:59 PM ET is {condition}. Otherwise "
                f'this market will resolve to "No".\n\nThe resolution source will be {source}.'
            ),
            pays=(place,),
        )
        for place, (label, condition) in enumerate(zip(labels, conditions, strict=True))
    ]
    return FamilyDraft(
        kind="count_buckets",
        weights=bumps(len(labels), rng),
        events=[
            EventDraft(
                venue=Venue.POLYMARKET,
                title=f"Number of {what} by {date}?",
                description=markets[0].rules,
                category=category,
                exclusive=True,
                deadline=deadline,
                markets=markets,
            )
        ],
    )


def price_buckets(rng: Random, start: datetime) -> FamilyDraft:
    """A price between two-decimal ends, with tails; one venue lists it."""
    asset = rng.choice(ASSETS)
    closes = at_hour(start + timedelta(days=rng.randint(1, 6)), 17)
    count = 8
    low = asset.level - asset.step * count / 8
    width = asset.step / 4
    edges = [low + width * place for place in range(count + 1)]
    when = f"5 PM {zone_of(closes)} on {short_day(closes)}"

    def rules(condition: str) -> str:
        return (
            f"If the simple average of the sixty seconds of {asset.index} before {when} is "
            f"{condition}, then the market resolves to Yes."
        )

    title = f"{asset.name} price range on {short_day(closes)}?"
    inner = [
        MarketDraft(
            title=title,
            label=f"${left:,.2f} to {right - 0.01:,.2f}",
            rules=rules(f"between {left:.2f}-{right - 0.01:.2f}"),
            pays=(place,),
            code=f"B{(left + right) / 2:.2f}",
            strike=StrikeListing(kind="between", floor=round(left, 2), cap=round(right - 0.01, 2)),
        )
        for place, (left, right) in enumerate(pairwise(edges), start=1)
    ]
    tails = [
        MarketDraft(
            title=title,
            label=f"${edges[0] - 0.01:,.2f} or below",
            rules=rules(f"below {edges[0]:.2f}"),
            pays=(0,),
            code=f"T{edges[0]:.2f}",
            strike=StrikeListing(kind="less", cap=round(edges[0], 2)),
        ),
        MarketDraft(
            title=title,
            label=f"${edges[-1]:,.2f} or above",
            rules=rules(f"above {edges[-1] - 0.01:.2f}"),
            pays=(count + 1,),
            code=f"T{edges[-1] - 0.01:.2f}",
            strike=StrikeListing(kind="greater", floor=round(edges[-1] - 0.01, 2)),
        ),
    ]
    return FamilyDraft(
        kind="price_buckets",
        weights=bumps(count + 2, rng),
        events=[
            EventDraft(
                venue=Venue.KALSHI,
                title=title,
                sub_title=f"{short_day(closes)}, 5pm",
                description="",
                category="Crypto",
                code=ticker_day(closes, hour=True),
                series=SeriesListing(
                    series_id=f"KX{asset.code}",
                    title=f"{asset.name} range",
                    category="Crypto",
                    frequency="hourly",
                ),
                exclusive=True,
                deadline=closes,
                markets=[tails[0], *inner, tails[1]],
            )
        ],
    )
