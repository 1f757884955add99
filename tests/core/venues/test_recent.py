"""Repeats are recognised within a bound."""

from __future__ import annotations

from time import process_time

from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.venues.recent import REMEMBERED, RecentKeys


@given(keys=st.lists(st.integers(0, 20), max_size=80), limit=st.integers(1, 6))
def test_a_key_is_known_among_the_last_distinct_ones_and_new_after_twice_as_many(
    keys: list[int], limit: int
) -> None:
    recent, order = RecentKeys(limit), list[int]()
    for key in keys:
        new = recent.is_new(key)
        assert not (new and key in order[-limit:])
        assert new or key in order[-2 * limit :]
        if new:
            order.append(key)
        assert len(recent) <= 2 * limit


def test_a_key_costs_no_more_once_others_are_forgotten_for_it() -> None:
    recent, seconds = RecentKeys(), list[float]()
    for begin in (0, 3 * REMEMBERED):
        for number in range(begin, begin + REMEMBERED):
            recent.is_new(number)
        began = process_time()
        for number in range(begin + REMEMBERED, begin + 3 * REMEMBERED):
            recent.is_new(number)
        seconds.append(process_time() - began)
    # a few times a tenth of a second; looking for the oldest one made it ten seconds
    assert max(seconds) < 2.0
