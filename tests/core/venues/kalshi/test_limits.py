"""What the account may do, as Kalshi says it, and that the sweep keeps to it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from surveillance_core.markets import Venue
from surveillance_core.settings import load_settings
from surveillance_core.venues.clients import signed_by, venue_client
from surveillance_core.venues.kalshi.limits import read_account_limits
from surveillance_core.venues.kalshi.rest import discover
from surveillance_core.venues.kalshi.signing import Signer
from surveillance_core.venues.rest import RestClient

Json = dict[str, Any]
ACCOUNT = {
    "usage_tier": "basic",
    "read": {"refill_rate": 200, "bucket_capacity": 600},
    "write": {"refill_rate": 100, "bucket_capacity": 100},
    "grants": [],
}
COSTS = {
    "default_cost": 10,
    "endpoint_costs": [
        {"method": "DELETE", "path": "/portfolio/orders/{order_id}", "cost": 2},
        {"method": "GET", "path": "/trade-api/v2/markets/orderbooks", "cost": 1000},
        {"method": "GET", "path": None, "cost": 1},
        None,
    ],
}


def test_the_read_bucket_and_the_costs_are_read() -> None:
    limits = read_account_limits(ACCOUNT, COSTS)
    assert limits is not None
    assert (limits.rate, limits.capacity) == (200.0, 600.0)
    assert limits.costs.of("GET", "/events") == 10.0
    assert limits.costs.of("DELETE", "/portfolio/orders/7") == 2.0
    assert limits.costs.of("GET", "/markets/orderbooks") == 1000.0


def test_requests_a_second_of_before_the_buckets_are_read() -> None:
    limits = read_account_limits({"usage_tier": "basic", "read_limit": 20}, None)
    assert limits is not None
    assert (limits.rate, limits.capacity, limits.costs.default) == (200.0, 200.0, 10.0)


@pytest.mark.parametrize(
    "account", [None, [], {}, {"read": None}, {"read": {"refill_rate": 0}}, {"read_limit": -1}],
    ids=str,
)  # fmt: skip
def test_unreadable_limits_are_none(account: object) -> None:
    assert read_account_limits(account, COSTS) is None


def _answer(request: httpx.Request) -> httpx.Response:
    path = request.url.path.removeprefix("/trade-api/v2")
    bodies: dict[str, Json] = {
        "/account/limits": ACCOUNT, "/account/endpoint_costs": COSTS, "/series": {"series": []},
        "/exchange/status": {"exchange_active": True, "trading_active": True},
        "/incentive_programs": {"incentive_programs": []},
        "/events": {"events": [{"event_ticker": "KXA-1", "series_ticker": "KXA", "markets": [{
            "ticker": "KXA-1-T1", "event_ticker": "KXA-1", "market_type": "binary",
            "status": "active", "title": "A?", "price_ranges": [
                {"start": "0", "end": "1", "step": "0.01"}]}]}]},
    }  # fmt: skip
    return httpx.Response(200, json=bodies[path])


@pytest.mark.parametrize("status", [None, 401, 404, 200])
def test_a_signed_sweep_learns_the_limits_and_goes_on_without(status: int | None) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if status is not None and request.url.path.endswith("/account/limits"):
            return httpx.Response(status, json={"code": "x"})
        return _answer(request)

    signer = Signer("key-id", ed25519.Ed25519PrivateKey.generate())
    with RestClient(
        "https://kalshi.example/trade-api/v2", transport=httpx.MockTransport(answer),
        sign=signed_by(signer, lambda: 1_790_000_000_000), requests_per_second=1000, burst=1000,
        sleep=lambda _: None,
    ) as client:  # fmt: skip
        found = discover(client, datetime(2026, 9, 1, tzinfo=UTC))
        pace = client.requests_per_second
    assert len(found.markets) == 1
    assert all("kalshi-access-signature" in request.headers for request in seen)
    oddity = {
        None: None, 401: "account_limits_refused", 404: "account_limits_unavailable",
        200: "account_limits_unreadable",
    }[status]  # fmt: skip
    assert [name for name in found.oddities if name.startswith("account")] == (
        [oddity] if oddity else []
    )
    assert pace == (20.0 if status is None else 1000.0)


def test_a_client_without_a_key_asks_nothing_of_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        assert not any(name.startswith("kalshi-") for name in request.headers)
        return _answer(request)

    address = "https://kalshi.example/trade-api/v2"
    monkeypatch.setenv("SURVEILLANCE__VENUES__KALSHI__REST_URL", address)
    settings = load_settings().settings
    with venue_client(settings, Venue.KALSHI, transport=httpx.MockTransport(answer)) as client:
        discover(client, datetime(2026, 9, 1, tzinfo=UTC))
    assert not any("/account/" in path for path in seen)
