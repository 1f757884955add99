"""The bucket that paces requests: never above the limit, slower when told, back in time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.venues.pacing import (
    LOWEST_SHARE,
    RECOVERY_SECONDS,
    Limits,
    Pace,
    endpoint_costs,
)


def _go(pace: Pace, now: float, path: str = "/x") -> float:
    """When a request that is ready at ``now`` goes."""
    return now + pace.reserve(now, "GET", path)


@given(
    st.floats(0.5, 50),
    st.integers(1, 20),
    st.lists(st.floats(0, 3), min_size=2, max_size=60),
)
def test_no_span_of_time_holds_more_than_the_burst_and_the_rate_allow(
    rate: float, burst: int, pauses: list[float]
) -> None:
    pace, now, sent = Pace(rate, burst), 0.0, list[float]()
    for pause in pauses:
        now = _go(pace, now + pause)
        sent.append(now)
    for first, start in enumerate(sent):
        for last in range(first, len(sent)):
            assert last - first + 1 <= burst + rate * (sent[last] - start) + 1e-6


@given(st.lists(st.sampled_from(["ask", "throttled", "rest"]), max_size=80))
def test_no_wait_is_endless_and_the_rate_stays_between_its_bounds(steps: list[str]) -> None:
    pace, now = Pace(4.0, 4), 0.0
    for step in steps:
        if step == "throttled":
            pace.throttled(now)
        elif step == "rest":
            now += 10
        else:
            went = _go(pace, now)
            assert went - now <= 1 / (4.0 * LOWEST_SHARE) + 1e-9
            now = went
        assert 4.0 * LOWEST_SHARE <= pace.requests_per_second <= 4.0


def test_a_throttled_rate_halves_at_once_and_comes_back_slowly() -> None:
    pace = Pace(8.0, 8)
    pace.throttled(0.0)
    assert pace.requests_per_second == 4.0
    pace.throttled(0.0)
    assert pace.requests_per_second == 2.0
    assert pace.reserve(0.0) == pytest.approx(0.5), "what was saved up is gone"
    pace.reserve(RECOVERY_SECONDS / 2)
    assert pace.requests_per_second == pytest.approx(6.0)
    pace.reserve(RECOVERY_SECONDS)
    assert pace.requests_per_second == 8.0


def test_the_venues_limits_hold_where_they_are_below_our_own() -> None:
    costs = endpoint_costs(10, [("GET", "/markets/{ticker}/orderbook", 50), ("DELETE", "/x", 2)])
    pace = Pace(100.0, 100)
    pace.adopt(Limits(rate=200.0, capacity=400.0, costs=costs))
    assert pace.requests_per_second == 20.0
    waits = [pace.reserve(0.0, "GET", "/events") for _ in range(42)]
    assert waits[:40] == [0.0] * 40
    assert waits[40:] == pytest.approx([0.05, 0.1])
    pace.adopt(Limits(rate=1e9, capacity=1e9, costs=costs))
    assert pace.requests_per_second == 100.0, "what is configured is never exceeded"


def test_a_request_dearer_than_the_bucket_goes_and_is_paid_off() -> None:
    pace = Pace(1.0, 1)
    pace.adopt(Limits(10.0, 10.0, endpoint_costs(10, [("GET", "/all", 100)])))
    assert pace.reserve(0.0, "GET", "/all") == 0.0
    assert pace.reserve(0.0, "GET", "/x") == pytest.approx(10.0)


def test_costs_are_by_method_and_route() -> None:
    costs = endpoint_costs(10, [("get", "/a/{id}/b", 3), ("GET", "/v/:id", 4)])
    assert costs.of("GET", "/a/7/b") == 3
    assert costs.of("GET", "/a/7/8/b") == costs.of("POST", "/a/7/b") == 10
    assert costs.of("GET", "/v/1") == 4
    assert costs.of("GET", "/axb") == 10
