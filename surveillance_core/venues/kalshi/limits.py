"""What Kalshi says an account may ask for. Pure: parsed JSON in, limits out.

``/account/limits`` gives a bucket of tokens for reading, ``/account/endpoint_costs`` what a request
costs where it is not the default (reference kalshi.md 1). Before token buckets, until about April
2026, the first gave requests a second as ``read_limit``.
"""

from __future__ import annotations

from typing import Final

from surveillance_core.venues.listing import as_list, as_number, as_object
from surveillance_core.venues.pacing import EndpointCosts, Limits, endpoint_costs

DEFAULT_COST: Final = 10.0
"""Tokens of a request that the list of exceptions does not name."""

ROOT: Final = "/trade-api/v2"
"""Where the interface begins; routes are listed with or without it."""


def read_account_limits(limits: object, costs: object) -> Limits | None:
    """The bucket that reading draws on, None where it cannot be read."""
    prices = read_endpoint_costs(costs)
    account = as_object(limits) or {}
    bucket = as_object(account.get("read")) or {}
    rate = as_number(bucket.get("refill_rate"))
    capacity = as_number(bucket.get("bucket_capacity"))
    if rate is None:
        requests = as_number(account.get("read_limit"))
        rate = None if requests is None else requests * prices.default
    if rate is None or rate <= 0:
        return None
    return Limits(rate, capacity if capacity is not None and capacity > 0 else rate, prices)


def read_endpoint_costs(body: object) -> EndpointCosts:
    """Tokens by method and route; the default where the list cannot be read."""
    listed = as_object(body) or {}
    default = as_number(listed.get("default_cost"))
    exceptions: list[tuple[str, str, float]] = []
    for item in as_list(listed.get("endpoint_costs")) or []:
        endpoint = as_object(item) or {}
        method, path, cost = (endpoint.get(name) for name in ("method", "path", "cost"))
        tokens = as_number(cost)
        if isinstance(method, str) and isinstance(path, str) and tokens is not None and tokens >= 0:
            exceptions.append((method, path.removeprefix(ROOT), tokens))
    return endpoint_costs(
        default if default is not None and default > 0 else DEFAULT_COST, exceptions
    )
