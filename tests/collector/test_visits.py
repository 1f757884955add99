"""Visits that outlive the run, and files that cannot be trusted with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from surveillance_collector.visit_store import VisitStore
from surveillance_collector.visits import (
    KEPT_GONE,
    Visit,
    VisitsError,
    decode_visits,
    encode_visits,
    without_long_gone,
)
from surveillance_core.lake.publish import Lake
from surveillance_core.markets import Venue

NOW = 1_800_000_000.0
_TIMES = st.floats(NOW - 80_000.0, NOW)
VISITS = {"event:1": Visit(NOW - 60.0, NOW - 60.0), "market:é": Visit(NOW - 5.0, None)}


@given(st.dictionaries(st.text(max_size=20), st.builds(Visit, _TIMES, st.none() | _TIMES)))
def test_visits_come_back_as_they_were(visits: dict[str, Visit]) -> None:
    kept = encode_visits(Venue.KALSHI, visits, NOW)
    assert decode_visits(Venue.KALSHI, kept, NOW) == visits


def test_what_left_the_venue_long_ago_is_forgotten() -> None:
    visits = {"old": Visit(NOW - 8 * 86_400.0, None), **VISITS}
    assert decode_visits(Venue.KALSHI, encode_visits(Venue.KALSHI, visits, NOW), NOW) == VISITS


def test_of_groups_that_are_gone_the_last_visited_are_remembered_and_no_more() -> None:
    listed = {f"listed-{n}": Visit(NOW - 80_000.0, None) for n in range(100)}
    gone = {f"gone-{n}": Visit(NOW - n, None) for n in range(KEPT_GONE + 100)}
    kept = without_long_gone(listed | gone, listed.keys(), NOW)
    assert kept == listed | {f"gone-{n}": gone[f"gone-{n}"] for n in range(KEPT_GONE)}
    week_later = NOW + 7 * 86_400.0
    assert without_long_gone(kept, listed.keys(), week_later) == listed


def _kept(**other: object) -> bytes:
    record: dict[str, object] = json.loads(encode_visits(Venue.POLYMARKET, VISITS, NOW))
    return json.dumps(record | other).encode()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "truncated"),
        (_kept()[:40], "truncated"),
        (b"\xff\xfe", ""),
        (_kept(version=2), "version 2"),
        (_kept(venue="kalshi"), "visits of kalshi"),
        (_kept(extra=1), "extra"),
        (_kept(visits={"g": {"ended": "yesterday", "completed": None}}), "ended"),
        (_kept(visits={"g": {"ended": NOW + 10.0, "completed": None}}), "not in the past"),
        (_kept(visits={"g": {"ended": 1.0, "completed": 1e400}}), ""),
    ],
)
def test_a_file_that_cannot_be_used_is_set_aside(lake: Lake, content: bytes, named: str) -> None:
    with pytest.raises(VisitsError, match=named):
        decode_visits(Venue.POLYMARKET, content, NOW)
    store = VisitStore(lake.store, Venue.POLYMARKET, "0")
    store.save(VISITS, NOW)
    (path,) = lake.store.state_dir().glob("visits-*")
    path.write_bytes(content)
    with capture_logs() as logs:
        assert store.load(NOW) == {}
    assert logs[0]["event"] == "visits_set_aside"
    assert Path(logs[0]["moved_to"]).read_bytes() == content
    store.save(VISITS, NOW)
    assert store.load(NOW) == VISITS


def test_a_first_run_knows_nothing_and_says_nothing(lake: Lake) -> None:
    with capture_logs() as logs:
        assert VisitStore(lake.store, Venue.POLYMARKET, "0").load(NOW) == {}
    assert not logs


def test_visits_are_replaced_whole(lake: Lake) -> None:
    store = VisitStore(lake.store, Venue.POLYMARKET, "0")
    for ended in (NOW - 2.0, NOW - 1.0):
        store.save({"g": Visit(ended, None)}, NOW)
    assert store.load(NOW) == {"g": Visit(NOW - 1.0, None)}
    names = [path.name for path in lake.store.state_dir().iterdir()]
    assert names == ["visits-polymarket-0.json"]
