"""Coming back: waits stay below their ceilings, a venue's connections do not crowd it."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_collector.reconnection import (
    FAILING_SPACING_SECONDS,
    REFUSED_MOST_TIMES,
    RETRY_AFTER_MOST,
    Backoff,
    Ending,
    HandshakeBudget,
    Temper,
)

ENDINGS = st.builds(
    Ending,
    st.just("closed"),
    status=st.sampled_from([None, 200, 302, 401, 403, 418, 429, 500, 502, 503]),
    close_code=st.sampled_from([None, 1000, 1001, 1006, 1008, 1009, 1011, 1012, 1013]),
    retry_after=st.none() | st.floats(0, 5_000),
    healthy=st.booleans(),
)


@pytest.mark.parametrize(
    ("ending", "temper"),
    [
        (Ending("c", close_code=1000), Temper.GONE), (Ending("c", close_code=1001), Temper.GONE),
        (Ending("c", close_code=1006), Temper.GONE), (Ending("c", close_code=1011), Temper.GONE),
        (Ending("c", close_code=1009), Temper.GONE), (Ending("c", close_code=1008), Temper.REFUSED),
        (Ending("c", close_code=1012), Temper.BUSY), (Ending("c", close_code=1013), Temper.BUSY),
        (Ending("c", status=401), Temper.REFUSED), (Ending("c", status=403), Temper.REFUSED),
        (Ending("c", status=429), Temper.BUSY), (Ending("c", status=418), Temper.BUSY),
        (Ending("c", status=503), Temper.BUSY), (Ending("c", status=500), Temper.GONE),
        (Ending("c", status=302), Temper.GONE), (Ending("stalled"), Temper.GONE),
    ],
)  # fmt: skip
def test_every_ending_asks_for_what_the_failure_table_says(ending: Ending, temper: Temper) -> None:
    assert ending.temper is temper


@given(st.lists(ENDINGS, max_size=40), st.integers(), st.floats(0.1, 60.0))
def test_no_wait_is_below_zero_above_its_ceiling_or_shorter_than_asked(
    endings: list[Ending], seed: int, most: float
) -> None:
    backoff = Backoff(most, Random(seed).uniform)
    for ending in endings:
        wait = backoff.after(ending)
        if ending.temper is Temper.REFUSED:
            assert most <= wait <= REFUSED_MOST_TIMES * most
            continue
        asked = min(ending.retry_after or 0.0, RETRY_AFTER_MOST)
        assert asked <= wait <= max(most, asked)


def test_the_jitter_is_full_its_mean_half_the_exponential() -> None:
    draws = Random(7)
    for failures, ceiling in ((1, 1.0), (2, 2.0), (4, 8.0), (9, 30.0), (30, 30.0)):
        waits: list[float] = []
        for _ in range(4_000):
            backoff = Backoff(30.0, draws.uniform)
            for _ in range(failures - 1):
                backoff.after(Ending("closed_1006"))
            waits.append(backoff.after(Ending("closed_1006")))
        assert max(waits) <= ceiling
        assert min(waits) < 0.05 * ceiling
        assert sum(waits) / len(waits) == pytest.approx(ceiling / 2, rel=0.05)


def test_clients_that_were_dropped_together_do_not_come_back_together() -> None:
    waits = sorted(Backoff(30.0, Random(n).uniform).after(Ending("closed_1012")) for n in range(20))
    assert len(waits) == len(set(waits))
    assert waits[-1] - waits[0] > 0.5


def test_a_connection_that_was_healthy_begins_anew() -> None:
    backoff = Backoff(30.0, lambda low, high: high)
    for _ in range(10):
        backoff.after(Ending("closed_1006"))
    assert backoff.after(Ending("closed_1006", healthy=True)) == 1.0


@given(
    st.integers(1, 40),
    st.lists(st.sampled_from(["refused", "busy", "ok"]), min_size=1, max_size=60),
    st.floats(0.0, 30.0),
)
def test_a_failing_venue_is_asked_once_a_second_at_most_and_never_while_it_forbids(
    feeds: int, outcomes: list[str], asked: float
) -> None:
    """Every feed wants a connection at every moment; time moves in small steps."""
    budget = HandshakeBudget()
    attempts: list[tuple[float, bool]] = []
    forbidden_until = 0.0
    failing = False
    now, outcome = 0.0, iter(outcomes * 3)
    for _ in range(2_000):
        now += 0.05
        for _ in range(feeds):
            if budget.wait_seconds(now) > 0:
                break
            assert now >= forbidden_until - 1e-9
            budget.take(now)
            attempts.append((now, failing))
            what = next(outcome, "refused")
            if what == "ok":
                budget.succeeded()
            else:
                budget.failed(now, asked if what == "busy" else None)
                forbidden_until = max(forbidden_until, now + asked if what == "busy" else 0.0)
            failing = what != "ok"
    for (before, _), (after, was_failing) in pairwise(attempts):
        assert after - before >= (FAILING_SPACING_SECONDS if was_failing else 0.25) - 1e-6
