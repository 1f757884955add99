"""Request limits: never more than the limit in any window, however the requests come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.venues.simulated.polymarket.pacing import (
    WINDOW_S,
    RequestLimits,
    RequestPacing,
)


@given(
    gaps=st.lists(st.floats(0.0, 4.0), min_size=1, max_size=60),
    limit=st.integers(1, 5),
)
def test_no_window_admits_more_than_its_limit(gaps: list[float], limit: int) -> None:
    pacing = RequestPacing(RequestLimits(total=100, by_path={"/events": limit}))
    now, admitted, refused = 0.0, [], 0
    for gap in gaps:
        now += gap
        if pacing.admits("/events", now):
            admitted.append(now)
        else:
            refused += 1
    for moment in admitted:
        within = [other for other in admitted if moment - WINDOW_S < other <= moment]
        assert len(within) <= limit
    assert pacing.refused["/events"] == refused


def test_the_venue_as_a_whole_has_a_limit_too() -> None:
    pacing = RequestPacing(RequestLimits(total=3, by_path={"/book": 2, "/books": 2}))
    answers = [pacing.admits(path, 1.0) for path in ("/book", "/books", "/book", "/books")]
    assert answers == [True, True, True, False]
