"""Reward pools from the CLOB complete the listing and never fail it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from surveillance_core.markets import RewardTerms
from surveillance_core.venues.polymarket.discovery import EventReader
from surveillance_core.venues.polymarket.rewards import complete_rewards
from surveillance_core.venues.protocols import Discovery
from surveillance_core.venues.rest import RestClient

Json = dict[str, Any]
MakeMarket = Callable[..., Json]


def _reward(number: int, **members: object) -> Json:
    reward: Json = {
        "condition_id": f"0x{number:064x}", "rewards_max_spread": 4.5, "rewards_min_size": 100,
        "native_daily_rate": 10, "sponsored_daily_rate": 2.5, "total_daily_rate": 12.5,
        "rewards_config": [{"rate_per_day": 10}],
    } | members  # fmt: skip
    return {name: value for name, value in reward.items() if value is not ...}


def _complete(found: Discovery, *pages: object, status: int = 200) -> list[RewardTerms | None]:
    asked: list[str | None] = []

    def serve(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params.get("next_cursor"))
        return httpx.Response(status, json=pages[min(len(asked), len(pages)) - 1])

    with RestClient(
        "https://clob.example", transport=httpx.MockTransport(serve), requests_per_second=1e9,
        sleep=lambda _: None,
    ) as clob:  # fmt: skip
        complete_rewards(clob, found)
    return [market.rewards for market in found.markets]


def _listed(*markets: Json) -> Discovery:
    reader = EventReader(datetime(2026, 9, 1, tzinfo=UTC))
    reader.read_page([{"id": "7", "title": "Rain", "markets": list(markets)}])
    return reader.found


def test_what_the_listing_left_out_is_filled_in_and_its_own_word_stands(
    make_market: MakeMarket,
) -> None:
    terms = {"rewardsMinSize": 50, "rewardsMaxSpread": 3.5}
    found = _listed(
        make_market(1),
        make_market(2, **terms),
        make_market(3, **terms, clobRewards=[{"rewardsDailyRate": 7}]),
        make_market(4),
    )
    first = {"data": [_reward(1), _reward(2)], "next_cursor": "NTAw"}
    second = {"data": [_reward(3), None, {"condition_id": "0x"}], "next_cursor": "LTE="}
    assert _complete(found, first, second) == [
        RewardTerms(min_size=100, max_spread=0.045, daily_rate=12.5),
        RewardTerms(min_size=50, max_spread=0.035, daily_rate=12.5),
        RewardTerms(min_size=50, max_spread=0.035, daily_rate=7),
        None,
    ]
    assert found.oddities == {"reward_unreadable": 2}


@pytest.mark.parametrize(
    ("members", "rate"),
    [
        ({}, 12.5),
        ({"total_daily_rate": ...}, 12.5),
        ({"total_daily_rate": ..., "sponsored_daily_rate": None}, 10.0),
        ({"total_daily_rate": ..., "native_daily_rate": ..., "sponsored_daily_rate": ...}, 10.0),
    ],
    ids=str,
)
def test_the_pool_is_native_and_sponsored_together(
    make_market: MakeMarket, members: Json, rate: float
) -> None:
    page = {"data": [_reward(1, **members)], "next_cursor": "LTE="}
    [terms] = _complete(_listed(make_market(1)), page)
    assert terms is not None
    assert terms.daily_rate == rate


@pytest.mark.parametrize(("status", "body"), [(404, {}), (500, {}), (200, []), (200, {"data": 1})])
def test_without_the_pools_the_listing_stands(
    make_market: MakeMarket, status: int, body: object
) -> None:
    found = _listed(make_market(1))
    assert _complete(found, body, status=status) == [None]
    assert found.oddities == {"rewards_unavailable": 1}


def test_a_cursor_that_repeats_ends_it(make_market: MakeMarket) -> None:
    found = _listed(make_market(1))
    [terms] = _complete(found, {"data": [_reward(1)], "next_cursor": "again"})
    assert terms is not None
    assert found.oddities == {"rewards_cursor_repeats": 1}
