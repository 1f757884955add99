"""A family of related markets before it has ids: outcomes, and what each venue lists about them.

Pure values and the spelling of days. The rules texts of the families are written for this project
in each venue's manner (reference arbitrage.md 4, polymarket.md 6, kalshi.md 8).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import msgspec

from surveillance_core.markets import Venue
from surveillance_core.venues.simulated.listings import SeriesListing, StrikeListing

EASTERN = ZoneInfo("America/New_York")
REPORTING = "however, a consensus of credible reporting will also be used."


class MarketDraft(msgspec.Struct, kw_only=True):
    """One market: what it says, and the outcomes of its family in which it pays."""

    title: str
    label: str | None
    rules: str
    rules_secondary: str = ""
    pays: tuple[int, ...]
    outcomes: tuple[str, str] = ("Yes", "No")
    code: str = ""
    """Tells a Kalshi ticker from its siblings."""
    strike: StrikeListing | None = None
    other: bool = False
    active: bool = True
    closes: datetime | None = None
    """When trading ends, where that is not the event's deadline."""
    opens: datetime | None = None


class EventDraft(msgspec.Struct, kw_only=True):
    """One event of one venue."""

    venue: Venue
    title: str
    sub_title: str = ""
    description: str
    category: str
    code: str = ""
    """Kalshi's event ticker after its series."""
    series: SeriesListing | None = None
    exclusive: bool = False
    directional: bool = False
    augmented: bool = False
    deadline: datetime
    markets: list[MarketDraft]


class FamilyDraft(msgspec.Struct, kw_only=True):
    """Outcomes of which exactly one comes true, and the events about them."""

    kind: str
    weights: list[float]
    """Probability of each outcome, up to a factor."""
    events: list[EventDraft]
    divergence: float = 0.0
    """Probability that the second venue's clause makes it see the next outcome instead."""
    clause: str = ""
    """In what the venues' rules differ; empty where they say the same."""
    trims: bool = False
    """Whether the family means the same with fewer of its markets."""


def deadline_between(rng: Random, start: datetime, least_days: int, most_days: int) -> datetime:
    """11:59 PM Eastern of a day some days away, in UTC."""
    day = (start.astimezone(EASTERN) + timedelta(days=rng.randint(least_days, most_days))).date()
    return end_of_day(datetime(day.year, day.month, day.day, tzinfo=EASTERN))


def end_of_day(moment: datetime) -> datetime:
    """11:59 PM Eastern of the moment's day, in UTC."""
    return moment.astimezone(EASTERN).replace(hour=23, minute=59, second=0).astimezone(UTC)


def at_hour(moment: datetime, hour: int) -> datetime:
    """An hour of the moment's Eastern day, in UTC."""
    local = moment.astimezone(EASTERN)
    return local.replace(hour=hour, minute=0, second=0, microsecond=0).astimezone(UTC)


def long_day(moment: datetime) -> str:
    """``December 31, 2026`` of the Eastern day."""
    day = moment.astimezone(EASTERN)
    return f"{day:%B} {day.day}, {day.year}"


def short_day(moment: datetime) -> str:
    """``Dec 31, 2026`` of the Eastern day."""
    day = moment.astimezone(EASTERN)
    return f"{day:%b} {day.day}, {day.year}"


def ticker_day(moment: datetime, *, hour: bool = False) -> str:
    """``26DEC31``, with the hour ``26DEC3117``, as Kalshi's tickers have it."""
    day = moment.astimezone(EASTERN)
    text = f"{day:%y%b%d}".upper()
    return f"{text}{day:%H}" if hour else text


def zone_of(moment: datetime) -> str:
    """``EST`` or ``EDT``."""
    return moment.astimezone(EASTERN).tzname() or "ET"


def normalised(weights: list[float]) -> list[float]:
    """Weights that sum to about 1, none of them negligible."""
    total = sum(weights)
    return [max(0.004, weight / total) for weight in weights]


def bumps(count: int, rng: Random) -> list[float]:
    """Weights of ordered outcomes, heaviest about the middle."""
    centre = (count - 1) / 2 + rng.uniform(-1, 1)
    return normalised([1.0 / (1.0 + (place - centre) ** 2) for place in range(count)])
