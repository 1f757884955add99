"""Repeats are recognised within a bound."""

from __future__ import annotations

from time import process_time

from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.venues.recent import REMEMBERED, RecentKeys


@given(keys=st.lists(st.integers(0, 9), max_size=60), limit=st.integers(1, 6))
def test_a_key_is_new_unless_it_is_among_the_last_distinct_ones(
    keys: list[int], limit: int
) -> None:
    recent, kept = RecentKeys(limit), list[int]()
    for key in keys:
        assert recent.is_new(key) == (key not in kept)
        if key not in kept:
            kept = [*kept, key][-limit:]
        assert len(recent) == len(kept) <= limit


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
