"""Which code speaks for which venue, and what a connection is told of a market."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from surveillance_core.markets import FeeTerms, Market, Outcome, Venue
from surveillance_core.venues.registry import adapter_of, asset_terms, supported_venues

MARKET = Market(
    venue=Venue.POLYMARKET,
    market_id="0xm",
    title="Will it rain?",
    outcomes=(Outcome("11", "Yes"), Outcome("22", "No")),
    tick_size=0.0025,
    min_order_size=5.0,
    neg_risk=True,
    groups=(),
    fee_terms=FeeTerms.FREE,
    fees=None,
    rewards=None,
    close_hint=None,
    volume_24h=None,
    liquidity=None,
    category=None,
    rules_hash="",
    fetched_at=datetime(2026, 9, 1, tzinfo=UTC),
)


def test_every_supported_venue_has_an_adapter_of_its_own_name() -> None:
    assert [adapter_of(venue).venue for venue in supported_venues()] == supported_venues()


def test_the_first_outcome_is_the_market_and_the_second_its_mirror() -> None:
    yes, no = asset_terms(MARKET, mirror=True)
    assert (yes.asset_id, yes.primary, yes.mirror_id) == ("11", True, "22")
    assert (no.asset_id, no.primary, no.mirror_id) == ("22", False, "11")
    assert {(t.market_id, t.tick, t.neg_risk) for t in (yes, no)} == {("0xm", 25, True)}
    assert asset_terms(MARKET, mirror=False) == [yes]


@pytest.mark.parametrize(
    ("size", "spelled"), [(5.0, "5"), (0.5, "0.5"), (1_234_567.0, "1234567"), (None, None)]
)
def test_the_least_order_is_spelled_as_in_the_book_hash(
    size: float | None, spelled: str | None
) -> None:
    [terms] = asset_terms(msgspec.structs.replace(MARKET, min_order_size=size), mirror=False)
    assert terms.min_order_size == spelled


def test_a_venue_with_one_book_a_market_has_no_mirror_to_follow() -> None:
    market = msgspec.structs.replace(MARKET, venue=Venue.KALSHI)
    [terms] = asset_terms(market, mirror=True)
    assert (terms.asset_id, terms.primary, terms.mirror_id) == ("11", True, "22")
