"""Which asset would be missed on a connection, and when it is."""

from __future__ import annotations

from surveillance_collector.following import Followed
from surveillance_collector.sentinels import Changes, Choice, Sentinel, choose
from surveillance_collector.silence import Silence
from surveillance_core.books import BookState
from surveillance_core.venues.protocols import AssetTerms


def _followed(asset_id: str, conn: str = "c.1", *, primary: bool = True) -> Followed:
    state = BookState("m", asset_id, 100)
    state.opened = True
    terms = AssetTerms(market_id="m", asset_id=asset_id, tick=100, primary=primary)
    return Followed(terms, state, conn, 1, 0)


def test_each_connection_has_its_own_busiest_asset_else_the_busiest_of_all_else_none() -> None:
    changes = {"a": 25, "b": 40, "c": 3, "d": 19}
    held = {"one": ["a"], "two": ["b", "c"], "three": ["c"], "four": []}
    assert choose(changes, held, least=20) == {
        "one": Choice("a", own=True),
        "two": Choice("b", own=True),
        "three": Choice("b", own=False),
        "four": Choice("b", own=False),
    }
    assert choose({"c": 3, "d": 19}, held, least=20) == {}
    assert choose({}, {"one": []}, least=20) == {}


def test_changes_are_counted_on_one_connection_and_of_standing_books_alone() -> None:
    steady, moved, closed, resolved = (_followed(name) for name in "abcd")
    second = _followed("a2", primary=False)
    assets = [steady, moved, closed, resolved, second]
    changes = Changes()
    assert changes.take(assets) == {"a": 0, "b": 0, "c": 0, "d": 0}
    for asset in assets:
        asset.state.version += 7
    moved.conn = "c.2"
    closed.state.opened = False
    resolved.resolved = True
    assert changes.take(assets) == {"a": 7, "b": 0}


def test_a_sentinel_is_missed_once_for_each_silence() -> None:
    sentinel = Sentinel(Choice("a", own=True), Silence(10.0), 0.0)
    for second in range(6):
        sentinel.look("c.1", second, float(second))
    assert not sentinel.missed(14.9)
    assert sentinel.missed(15.1)
    assert not sentinel.missed(16.0)
    assert sentinel.missed(25.2), "as long again"


def test_a_sentinel_s_new_connection_begins_anew() -> None:
    sentinel = Sentinel(Choice("a", own=True), Silence(10.0), 0.0)
    sentinel.look("c.1", 5, 1.0)
    sentinel.look("c.2", 5, 9.0)
    assert not sentinel.missed(18.9)
    assert sentinel.missed(19.1)


def test_what_is_only_listened_to_is_missed_from_when_it_was_last_heard() -> None:
    sentinel = Sentinel(Choice("a", own=False), Silence(10.0), 0.0)
    sentinel.hear(4.0)
    sentinel.hear(3.0)
    assert not sentinel.missed(13.9)
    assert sentinel.missed(14.1)
