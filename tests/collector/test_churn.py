"""How fast subscriptions may change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from surveillance_collector.churn import STEP_SECONDS, ChurnRate, ChurnShares, TokenBucket


@given(
    st.integers(1, 500),
    st.lists(st.tuples(st.floats(0.0, 90.0), st.integers(1, 300)), max_size=60),
)
def test_no_minute_holds_more_than_the_limit(limit: int, asked: list[tuple[float, int]]) -> None:
    bucket, now = TokenBucket(ChurnRate.of_limit(limit), 0.0), 0.0
    spent: list[tuple[float, int]] = []
    for pause, assets in asked:
        now += pause
        bucket.refill(now)
        if bucket.spend(assets):
            spent.append((now, assets))
    for start, _ in spent:
        assert sum(n for at, n in spent if start <= at < start + 60.0) <= limit


def test_the_shares_add_up_to_the_limit() -> None:
    shares = ChurnShares.of_limit(600.0)
    minute = sum(rate.burst + 60 * rate.per_second for rate in (shares.rotation, shares.rest))
    assert abs(minute - 600.0) < 1e-9


def test_the_largest_change_is_always_paid_for_in_the_end() -> None:
    rate = ChurnRate.of_limit(100.0)
    bucket, now = TokenBucket(rate, 0.0), 0.0
    for _ in range(50):
        while not bucket.spend(rate.largest):
            now += STEP_SECONDS
            bucket.refill(now)
        assert now <= 60 * 100


def test_a_clock_that_stands_still_gives_nothing() -> None:
    bucket = TokenBucket(ChurnRate.of_limit(60.0), 100.0)
    bucket.refill(100.0)
    bucket.refill(50.0)
    assert bucket.affordable == 0
    assert not bucket.spend(1)
    bucket.refill(110.0)
    assert bucket.affordable == 6
