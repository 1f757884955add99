"""Prices at a moment: ladders of thresholds, and windows that end up or down."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random

import msgspec

from surveillance_core.markets import Venue
from surveillance_core.venues.simulated.families.drafts import (
    EASTERN,
    EventDraft,
    FamilyDraft,
    MarketDraft,
    at_hour,
    bumps,
    long_day,
    short_day,
    ticker_day,
    zone_of,
)
from surveillance_core.venues.simulated.listings import SeriesListing, StrikeListing

RUNGS = 7
WINDOW = timedelta(minutes=15)


class Asset(msgspec.Struct, frozen=True):
    """Something with a price: its names on the venues, and where its ladder stands."""

    name: str
    pair: str
    index: str
    """The benchmark index that Kalshi's rules name."""
    code: str
    level: float
    step: float


ASSETS = tuple(
    Asset(name, f"{code}/USDT", f"CF Benchmarks' {index}", code, level, step)
    for name, code, index, level, step in (
        ("Bitcoin", "BTC", "Bitcoin Real-Time Index (BRTI)", 96_000, 4_000),
        ("Ethereum", "ETH", "Ether Real-Time Index (ERTI)", 3_600, 200),
        ("Solana", "SOL", "Solana Real-Time Index (SOLUSD_RTI)", 190, 10),
        ("Dogecoin", "DOGE", "Dogecoin Real-Time Index (DOGEUSD_RTI)", 40, 2),
    )
)


def price_ladder(rng: Random, start: datetime) -> FamilyDraft:
    """Above each of several strikes: another instant and another source on each venue."""
    asset = rng.choice(ASSETS)
    noon = at_hour(start + timedelta(days=rng.randint(1, 14)), 12)
    strikes = [asset.level + asset.step * offset for offset in range(-(RUNGS // 2), RUNGS // 2 + 1)]
    return FamilyDraft(
        kind="price_ladder",
        weights=bumps(RUNGS + 1, rng),
        divergence=rng.uniform(0.02, 0.05),
        clause="instant and source of the price",
        trims=True,
        events=[_above_on_polymarket(asset, noon, strikes), _above_on_kalshi(asset, noon, strikes)],
    )


def _above_on_polymarket(asset: Asset, noon: datetime, strikes: list[float]) -> EventDraft:
    day = long_day(noon)
    text = (
        f'This market will resolve to "Yes" if the one-minute candle of {asset.pair} on Binance '
        f'that opens at 12:00 PM ET on {day} has a final "Close" strictly higher than the price in '
        'the title. Otherwise, this market will resolve to "No".\n\nPrices of other exchanges, '
        "other pairs or other times are not considered.\n\nThe resolution source for this market "
        f"is Binance, {asset.pair}, one-minute candles."
    )
    return EventDraft(
        venue=Venue.POLYMARKET,
        title=f"{asset.name} above ___ on {day}?",
        description=text,
        category="Crypto",
        deadline=noon,
        markets=[
            MarketDraft(
                title=f"Will {asset.name} be above ${strike:,.0f} on {day}?",
                label=f"{strike:,.0f}",
                rules=text,
                pays=tuple(range(rung + 1, len(strikes) + 1)),
            )
            for rung, strike in enumerate(strikes)
        ],
    )


def _above_on_kalshi(asset: Asset, noon: datetime, strikes: list[float]) -> EventDraft:
    closes = at_hour(noon, 17)
    when = f"5 PM {zone_of(closes)} on {short_day(closes)}"
    secondary = (
        "The value is not rounded. If the index is not published for that minute, the last value "
        "published before it is used."
    )
    return EventDraft(
        venue=Venue.KALSHI,
        title=f"{asset.name} price on {short_day(closes)} at 5pm {zone_of(closes)}?",
        sub_title=f"{short_day(closes)}, 5pm",
        description="",
        category="Crypto",
        code=ticker_day(closes, hour=True),
        series=SeriesListing(
            series_id=f"KX{asset.code}D",
            title=f"{asset.name} price, above or below",
            category="Crypto",
            frequency="hourly",
        ),
        directional=True,
        deadline=closes,
        markets=[
            MarketDraft(
                title=f"{asset.name} price on {short_day(closes)}?",
                label=f"${strike:,.0f} or above",
                rules=(
                    f"If the simple average of the sixty seconds of {asset.index} before {when} is "
                    f"above {strike - 0.01:.2f}, then the market resolves to Yes."
                ),
                rules_secondary=secondary,
                pays=tuple(range(rung + 1, len(strikes) + 1)),
                code=f"T{strike - 0.01:.2f}",
                strike=StrikeListing(kind="greater", floor=round(strike - 0.01, 2)),
            )
            for rung, strike in enumerate(strikes)
        ],
    )


def up_down_windows(
    asset: Asset, rng: Random, start: datetime, end: datetime
) -> Iterator[FamilyDraft]:
    """Quarters of an hour, one after the other, each up or down; both venues list each."""
    opens = start.replace(minute=start.minute - start.minute % 15, second=0, microsecond=0)
    while opens < end:
        yield _window(asset, rng, opens)
        opens += WINDOW


def _window(asset: Asset, rng: Random, opens: datetime) -> FamilyDraft:
    closes = opens + WINDOW
    local, until = opens.astimezone(EASTERN), closes.astimezone(EASTERN)
    span = f"{local:%B} {local.day}, {_clock(local)}-{_clock(until)} ET"
    text = (
        f'This market will resolve to "Up" if the price of {asset.name} at the end of the time '
        "range in the title is greater than or equal to the price at its beginning. Otherwise, it "
        'will resolve to "Down".\n\nThe resolution source for this market is the Chainlink data '
        f"stream of {asset.code}/USD; prices of other sources are not considered."
    )
    moment = f"{_clock(until)} {zone_of(closes)} on {short_day(closes)}"
    return FamilyDraft(
        kind="up_down",
        weights=[0.5, 0.5],
        divergence=rng.uniform(0.01, 0.03),
        clause="source of the price",
        events=[
            EventDraft(
                venue=Venue.POLYMARKET,
                title=f"{asset.name} Up or Down - {span}",
                description=text,
                category="Crypto",
                series=SeriesListing(
                    series_id=f"{asset.code.lower()}-up-or-down-15m",
                    title=f"{asset.name} up or down, 15 minutes",
                    category="Crypto",
                    frequency="15m",
                ),
                deadline=closes,
                markets=[
                    MarketDraft(
                        title=f"{asset.name} Up or Down - {span}",
                        label=None,
                        rules=text,
                        pays=(0,),
                        outcomes=("Up", "Down"),
                        opens=opens,
                        closes=closes,
                    )
                ],
            ),
            EventDraft(
                venue=Venue.KALSHI,
                title=f"{asset.code} 15 min price up or down?",
                sub_title=f"{short_day(closes)} - {_clock(until)} {zone_of(closes)}",
                description="",
                category="Crypto",
                code=f"{ticker_day(closes, hour=True)}{until:%M}",
                series=SeriesListing(
                    series_id=f"KX{asset.code}15M",
                    title=f"{asset.name} price up down 15 minutes",
                    category="Crypto",
                    frequency="fifteen_min",
                ),
                deadline=closes,
                markets=[
                    MarketDraft(
                        title=f"{asset.name} price up in next 15 mins?",
                        label="Price up in next 15 mins",
                        rules=(
                            f"If the simple average of the sixty seconds of {asset.index} before "
                            f"{moment} is at least the average of the sixty seconds before the "
                            "window opened, then the market resolves to Yes."
                        ),
                        rules_secondary=(
                            "Both averages are rounded to the nearest 2 decimal places."
                        ),
                        pays=(0,),
                        code=f"{until:%M}",
                        strike=StrikeListing(kind="greater_or_equal", floor=asset.level),
                        opens=opens,
                        closes=closes,
                    )
                ],
            ),
        ],
    )


def _clock(moment: datetime) -> str:
    return f"{moment.hour % 12 or 12}:{moment:%M}{'AM' if moment.hour < 12 else 'PM'}"
