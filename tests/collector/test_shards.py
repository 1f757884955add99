"""Which markets share a connection."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from surveillance_collector.shards import place_group


@given(
    st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=12), max_size=12), st.integers(3, 12)
)
def test_no_connection_holds_more_than_the_venue_allows(
    groups: list[list[int]], limit: int
) -> None:
    rooms: list[int] = []
    for sizes in groups:
        before = list(rooms)
        places = place_group(sizes, rooms, limit)
        for size, place in zip(sizes, places, strict=True):
            assert place <= len(rooms), "connections are opened one after the other"
            if place == len(rooms):
                rooms.append(limit)
            rooms[place] -= size
            assert rooms[place] >= 0
        if sum(sizes) <= limit:
            assert len(set(places)) == 1, "a group that fits is together"
            if any(sum(sizes) <= room for room in before):
                assert len(rooms) == len(before), "a connection more than needed"


def test_a_group_larger_than_a_connection_fills_what_is_free() -> None:
    assert place_group([2, 2, 2], rooms=[1, 3], limit=4) == [1, 2, 2]


def test_a_market_larger_than_a_connection_is_not_split() -> None:
    assert place_group([1, 5, 1], rooms=[], limit=3) == [0, 1, 0]
