"""Repeats are recognised within a bound."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.venues.recent import RecentKeys


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
