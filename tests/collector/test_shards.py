"""Which markets share a connection."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from surveillance_collector.sampling import Tier
from surveillance_collector.scheduler import SelectedMarket
from surveillance_collector.shards import assign_connections
from surveillance_core.venues.protocols import AssetTerms

from .worlds import listed_market


def _selected(number: int, assets: int) -> SelectedMarket:
    terms = [
        AssetTerms(market_id=f"m{number}", asset_id=f"m{number}-{k}", tick=100)
        for k in range(assets)
    ]
    return SelectedMarket(listed_market(f"m{number}"), tuple(terms), Tier.HOT)


def _assets(connection: list[SelectedMarket]) -> int:
    return sum(len(selected.assets) for selected in connection)


@given(st.lists(st.integers(1, 3), max_size=60), st.integers(3, 12))
def test_no_connection_holds_more_than_the_venue_allows(sizes: list[int], limit: int) -> None:
    markets = [_selected(number, assets) for number, assets in enumerate(sizes)]
    connections = assign_connections(markets, limit)
    assert [selected for connection in connections for selected in connection] == markets
    assert all(0 < _assets(connection) <= limit for connection in connections)
    for before, after in pairwise(connections):
        assert _assets(before) + len(after[0].assets) > limit, "a connection more than needed"


def test_a_market_larger_than_a_connection_is_not_split() -> None:
    markets = [_selected(0, 1), _selected(1, 5), _selected(2, 1)]
    assert [_assets(c) for c in assign_connections(markets, 3)] == [1, 5, 1]


def test_nothing_needs_no_connection() -> None:
    assert assign_connections([], 400) == []
