"""What the configuration keeps out, and why."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.markets import FeeTerms, GroupKind, GroupRef, Market, Outcome, Venue
from surveillance_core.settings_tables import VenueSettings
from surveillance_core.venues.filters import Filters, filter_markets, filters_of

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
MARKET = Market(
    venue=Venue.POLYMARKET, market_id="0xm", title="Will it rain?",
    outcomes=(Outcome("1", "Yes"), Outcome("2", "No")), tick_size=0.01, min_order_size=5.0,
    neg_risk=False, fee_terms=FeeTerms.FREE, fees=None, rewards=None,
    groups=(GroupRef(group_id="event:7", kind=GroupKind.EVENT, title="Rain", members=1),),
    close_hint=NOW + timedelta(hours=5), volume_24h=100.0, liquidity=50.0, category="Weather",
    rules_hash="", fetched_at=NOW,
)  # fmt: skip


@pytest.mark.parametrize(
    ("filters", "members", "reason"),
    [
        (Filters(), {}, None),
        (Filters(exclude_title_patterns=("RAIN",)), {}, "title_pattern"),
        (Filters(min_hours_until_close=6), {}, "closes_soon"),
        (Filters(min_hours_until_close=5), {}, None),
        (Filters(min_hours_until_close=6), {"close_hint": None}, None),
        (Filters(min_volume_24h=101), {}, "volume_24h_low"),
        (Filters(min_volume_24h=100), {}, None),
        (Filters(min_volume_24h=1), {"volume_24h": None}, "volume_24h_unknown"),
        (Filters(min_liquidity=51), {}, "liquidity_low"),
        (Filters(min_liquidity=1), {"liquidity": None}, "liquidity_unknown"),
        (Filters(categories=("weather", "Sports")), {}, None),
        (Filters(categories=("Sports",)), {}, "category"),
        (Filters(categories=("Sports",)), {"category": None}, "category_unknown"),
        (Filters(exclude_categories=("WEATHER",)), {}, "category_excluded"),
        (Filters(exclude_categories=("Weather",)), {"category": None}, None),
        (Filters(allow=("0xm",), min_volume_24h=1e9, categories=("x",)), {}, None),
        (Filters(allow=("7",), exclude_title_patterns=("rain",)), {}, None),
        (Filters(allow=("event:7",), exclude_title_patterns=("rain",)), {}, None),
        (Filters(allow=("8",), exclude_title_patterns=("rain",)), {}, "title_pattern"),
        (Filters(deny=("0xm",)), {}, "denied"),
        (Filters(deny=("event:7",), allow=("0xm",)), {}, "denied"),
    ],
    ids=str,
)
def test_a_market_is_kept_out_for_the_first_reason_that_holds(
    filters: Filters, members: dict[str, object], reason: str | None
) -> None:
    assert filters.reason(msgspec.structs.replace(MARKET, **members), NOW) == reason


def test_every_filter_is_a_key_of_the_configuration() -> None:
    keys = {name: getattr(Filters(), name) for name in Filters.__dataclass_fields__}
    assert keys.items() <= VenueSettings().model_dump().items()
    named = VenueSettings(allow=("a",), deny=("b",), categories=("c",), min_liquidity=2)
    assert filters_of(named) == Filters(
        allow=("a",), deny=("b",), categories=("c",), min_liquidity=2
    )


@given(
    st.lists(st.tuples(st.none() | st.floats(0, 9), st.sampled_from(["Will", "Up"])), max_size=30),
    st.floats(0, 9),
)
def test_kept_and_filtered_make_up_what_was_given_and_filtering_again_takes_nothing(
    drawn: list[tuple[float | None, str]], least: float
) -> None:
    markets = [
        msgspec.structs.replace(MARKET, market_id=str(n), volume_24h=volume, title=title)
        for n, (volume, title) in enumerate(drawn)
    ]
    filters = Filters(exclude_title_patterns=("up",), min_volume_24h=least)
    kept, filtered = filter_markets(markets, filters, NOW)
    assert len(kept) + filtered.total() == len(markets)
    assert filter_markets(kept, filters, NOW) == (kept, Counter())
