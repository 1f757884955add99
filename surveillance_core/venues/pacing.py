"""How fast a venue may be asked: a token bucket that learns from the venue. Pure, no clock.

Rate limits are token buckets at the venues too (reference kalshi.md 1): a request costs tokens, the
bucket refills at a rate up to a capacity. Where the venue still answers "too many requests", the
rate falls by half and grows back in a straight line: additive increase and multiplicative decrease
(Chiu and Jain, 1989), which shares a limit fairly with whoever else draws on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

DECREASE: Final = 0.5
"""Factor on the rate for each answer of "too many requests"."""

LOWEST_SHARE: Final = 1 / 32
"""The rate never falls below this share of the full one, so that no wait is endless."""

RECOVERY_SECONDS: Final = 120.0
"""Time in which the rate grows by one full rate."""

_PARAMETER: Final = re.compile(r"\{[^/{}]*\}|:[^/]+")


class EndpointCosts(msgspec.Struct, frozen=True):
    """Tokens a request costs, by method and route; a route may name parameters in braces."""

    default: float = 1.0
    exceptions: tuple[tuple[str, re.Pattern[str], float], ...] = ()

    def of(self, method: str, path: str) -> float:
        """Tokens of one request.

        Examples
        --------
        >>> costs = endpoint_costs(10, [("GET", "/orders/{order_id}", 2)])
        >>> costs.of("GET", "/orders/7"), costs.of("GET", "/events")
        (2, 10)
        """
        for exception, route, cost in self.exceptions:
            if exception == method and route.fullmatch(path):
                return cost
        return self.default


def endpoint_costs(
    default: float, exceptions: Iterable[tuple[str, str, float]] = ()
) -> EndpointCosts:
    """Costs from routes as the venue spells them."""
    return EndpointCosts(
        default, tuple((method.upper(), _route(path), cost) for method, path, cost in exceptions)
    )


def _route(path: str) -> re.Pattern[str]:
    """A route as a pattern: a parameter stands for one part of the path."""
    parts = ("[^/]+" if _PARAMETER.fullmatch(part) else re.escape(part) for part in path.split("/"))
    return re.compile("/".join(parts))


class Limits(msgspec.Struct, frozen=True):
    """What a venue says an account may do."""

    rate: float
    """Tokens a second."""
    capacity: float
    """Tokens the bucket holds at most."""
    costs: EndpointCosts = EndpointCosts()


class Pace:
    """When the next request may go.

    Parameters
    ----------
    requests_per_second
        Never exceeded in the long run, whatever the venue allows.
    burst
        Requests that may go at once after a rest.
    """

    def __init__(self, requests_per_second: float, burst: float = 1.0) -> None:
        self._configured = requests_per_second, max(1.0, burst)
        self._costs = EndpointCosts()
        self._full_rate, self._capacity = self._configured
        self._rate = self._full_rate
        self._tokens = self._capacity
        self._at: float | None = None

    @property
    def requests_per_second(self) -> float:
        """Requests of the default cost that may go in a second at present."""
        return self._rate / self._costs.default

    def adopt(self, limits: Limits) -> None:
        """Take the venue's costs, and its rate and capacity where they are below our own."""
        cost = limits.costs.default
        learnt = self._rate / self._full_rate
        rested = max(0.0, self._tokens) / self._capacity
        self._costs = limits.costs
        self._full_rate = min(limits.rate, self._configured[0] * cost)
        self._capacity = min(limits.capacity, self._configured[1] * cost)
        self._rate = learnt * self._full_rate
        self._tokens = rested * self._capacity

    def reserve(self, now: float, method: str = "GET", path: str = "") -> float:
        """Take a request's tokens; returns the seconds to wait before it may go.

        A request dearer than the whole bucket goes when the bucket is full, and is paid off after.
        """
        self._refill(now)
        cost = self._costs.of(method, path)
        missing = min(cost, self._capacity) - self._tokens
        self._tokens -= cost
        return max(0.0, missing / self._rate)

    def throttled(self, now: float) -> None:
        """The venue answered that this was too fast: half the rate, and nothing is saved up."""
        self._refill(now)
        self._rate = max(self._rate * DECREASE, self._full_rate * LOWEST_SHARE)
        self._tokens = min(self._tokens, 0.0)

    def _refill(self, now: float) -> None:
        if self._at is not None and now > self._at:
            elapsed = now - self._at
            self._tokens = min(self._capacity, self._tokens + elapsed * self._rate)
            self._rate = min(
                self._full_rate, self._rate + self._full_rate * elapsed / RECOVERY_SECONDS
            )
        self._at = now if self._at is None else max(self._at, now)
