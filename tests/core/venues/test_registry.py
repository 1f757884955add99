"""Which code speaks for which venue, and what a connection is told of a market."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from surveillance_core.markets import FeeTerms, Market, Outcome, Venue
from surveillance_core.settings import ConfigurationError
from surveillance_core.venues.registry import (
    adapter_of,
    asset_terms,
    live_adapter_of,
    supported_venues,
)

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


def test_a_venue_that_cannot_be_collected_says_which_key_to_change() -> None:
    assert live_adapter_of(Venue.POLYMARKET).live
    with pytest.raises(ConfigurationError, match=r"venues\.kalshi\.enabled.*does not collect"):
        live_adapter_of(Venue.KALSHI)


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


def test_no_subscribe_frame_holds_more_ids_than_the_venue_takes() -> None:
    ids = [str(number) for number in range(250)]
    adapter = adapter_of(Venue.POLYMARKET)
    frames = [msgspec.json.decode(f) for f in adapter.subscribe_frames(ids, first=True)]
    assert [len(frame["assets_ids"]) for frame in frames] == [100, 100, 50]
    assert [token for frame in frames for token in frame["assets_ids"]] == ids
    assert [frame.get("type") for frame in frames] == ["market", None, None]
    assert [frame.get("operation") for frame in frames] == [None, "subscribe", "subscribe"]
    later = [msgspec.json.decode(f) for f in adapter.subscribe_frames(ids[:1], first=False)]
    assert later[0]["operation"] == "subscribe"
    gone = [msgspec.json.decode(f) for f in adapter.unsubscribe_frames(ids)]
    assert [token for frame in gone for token in frame["assets_ids"]] == ids
    assert list(adapter.subscribe_frames([], first=True)) == []
