"""Several collectors share one universe: every group has exactly one, and few move."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_collector.share import Share
from surveillance_core.groups import subscription_groups

from .live import busy_venue, world_of
from .worlds import universe_of


@given(st.text(), st.integers(1, 12))
def test_every_group_has_exactly_one_shard(group_id: str, count: int) -> None:
    assert sum(Share(index, count).has(group_id) for index in range(count)) == 1


@given(st.text(), st.integers(1, 12))
def test_where_a_shard_is_added_a_group_stays_or_goes_to_it(group_id: str, count: int) -> None:
    before = next(index for index in range(count) if Share(index, count).has(group_id))
    after = next(index for index in range(count + 1) if Share(index, count + 1).has(group_id))
    assert after in (before, count)


def test_groups_are_spread_evenly() -> None:
    shards = Counter(
        next(index for index in range(4) if Share(index, 4).has(f"group {number}"))
        for number in range(4_000)
    )
    assert all(900 < count < 1_100 for count in shards.values())


async def test_no_group_is_divided_and_no_market_is_left_out_or_held_twice() -> None:
    async with busy_venue(markets=60) as venue:
        universe = universe_of(world_of(venue))
    parts = [Share(index, 3).of(universe) for index in range(3)]
    assert all(parts)
    held = Counter(market.market_id for part in parts for market in part)
    assert held == Counter({market.market_id: 1 for market in universe})
    for group in subscription_groups(universe):
        ids = {market.market_id for market in group.markets}
        assert sum(bool(ids & {m.market_id for m in part}) for part in parts) == 1
    assert Share().of(universe) == universe


@given(st.integers(1, 50), st.data())
def test_a_shard_is_known_by_its_name(count: int, data: st.DataObject) -> None:
    share = Share(data.draw(st.integers(0, count - 1)), count)
    assert Share.named(share.name) == share


@pytest.mark.parametrize("text", ["", "1", "2/2", "0/0", "-1/2", "a/b", "1/2/3", "0/ 2", "½/2"])
def test_what_is_no_shard_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"i/n|counted from 0"):
        Share.parse(text)
