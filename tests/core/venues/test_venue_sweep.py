"""One scan of a venue: swept, completed, filtered, and refused where it found too little."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from surveillance_core.markets import Venue
from surveillance_core.settings import load_settings
from surveillance_core.venues.rest import VenueError
from surveillance_core.venues.sweep import ShrunkenUniverse, Sweep, refuse_shrunken, sweep_venue

NOW = datetime(2026, 9, 1, tzinfo=UTC)
Json = dict[str, Any]


def _market(number: int) -> Json:
    return {
        "conditionId": f"0x{number:064x}", "question": f"Rain on day {number}?",
        "outcomes": '["Yes", "No"]', "clobTokenIds": json.dumps([f"{number}1", f"{number}2"]),
        "active": True, "closed": False, "enableOrderBook": True, "acceptingOrders": number % 5 > 0,
        "orderPriceMinTickSize": 0.01, "volume24hr": number, "feeType": None,
    }  # fmt: skip


def _sweep(polymarket: Json, markets: int = 10) -> tuple[Sweep, Counter[str]]:
    asked: Counter[str] = Counter()

    def answer(request: httpx.Request) -> httpx.Response:
        asked[request.url.host + request.url.path] += 1
        if request.url.host == "clob.example":
            return httpx.Response(404, json={"error": "not found"})
        listed = [_market(number) for number in range(markets)]
        return httpx.Response(200, json={"events": [{"id": "1", "markets": listed}]})

    settings = load_settings(
        overrides={
            "venues": {
                "polymarket": {
                    "rest_url": "https://gamma.example",
                    "clob_url": "https://clob.example",
                }
                | polymarket
            }
        }
    ).settings
    sweep = sweep_venue(settings, Venue.POLYMARKET, NOW, transport=httpx.MockTransport(answer))
    return sweep, asked


def test_what_is_listed_is_kept_filtered_or_set_aside() -> None:
    sweep, asked = _sweep({"min_volume_24h": 4, "deny": ["event:2"], "categories": []})
    assert len(sweep.markets) + sweep.filtered.total() == sweep.tradable == 8
    assert sweep.tradable + sweep.found.set_aside.total() == sweep.found.seen == 10
    assert sweep.filtered == {"volume_24h_low": 3}
    assert sweep.filtered_share == 3 / 8
    assert sweep.found.set_aside == {"not_accepting_orders": 2}
    assert sweep.found.oddities["rewards_unavailable"] == 1
    assert asked == {
        "gamma.example/events/keyset": 1, "clob.example/rewards/markets/current": 1
    }  # fmt: skip
    assert sweep.traffic.requests == 2


def test_rewards_are_not_asked_for_where_they_are_not_wanted() -> None:
    sweep, asked = _sweep({"complete_rewards": False})
    assert list(asked) == ["gamma.example/events/keyset"]
    assert sweep.drift == {}


def test_filters_that_let_nothing_pass_are_an_error_that_names_them() -> None:
    with pytest.raises(VenueError, match=r"none of 8 markets passes.*venues\.polymarket.*category"):
        _sweep({"categories": ["Politics"]})


@pytest.mark.parametrize(
    ("last", "share", "refused"),
    [(40, 0.2, False), (41, 0.2, True), (10_000, 0.0, False), (8, 1.0, False), (9, 1.0, True)],
)
def test_a_listing_that_shrank_to_less_than_the_share_is_refused(
    last: int, share: float, refused: bool
) -> None:
    sweep, _ = _sweep({})
    if refused:
        with pytest.raises(ShrunkenUniverse, match=r"8 markets where .* --force"):
            refuse_shrunken(sweep, last, share)
    else:
        refuse_shrunken(sweep, last, share)
