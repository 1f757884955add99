"""Gamma objects made by hand, in the wire's own spellings."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Json = dict[str, Any]
MakeMarket = Callable[..., Json]


@pytest.fixture(scope="session")
def make_market() -> MakeMarket:
    """A tradable binary market; members given replace its own, ``...`` leaves one out."""

    def make(number: int = 1, **members: object) -> Json:
        market: Json = {
            "id": str(number),
            "question": f"Will it rain on day {number}?",
            "conditionId": f"0x{number:064x}",
            "description": "This market resolves to Yes if it rains.",
            "outcomes": '["Yes", "No"]',
            "clobTokenIds": json.dumps([str(1000 + number), str(2000 + number)]),
            "active": True,
            "closed": False,
            "archived": False,
            "enableOrderBook": True,
            "acceptingOrders": True,
            "orderPriceMinTickSize": 0.01,
            "orderMinSize": 5,
            "negRisk": False,
            "endDate": "2026-10-01T00:00:00Z",
            "volume24hr": 12.5,
            "liquidity": "100.25",
            "feesEnabled": False,
        }
        market |= members
        return {name: value for name, value in market.items() if value is not ...}

    return make
