"""Priorities: what can be used of them, and what is said of what cannot."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from surveillance_core.lake.errors import SchemaError
from surveillance_core.lake.layout import priorities_file
from surveillance_core.lake.manifest import manifest_days
from surveillance_core.lake.priorities import (
    PrioritiesError,
    publish_priorities,
    read_priorities,
)
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.schemas import PRIORITIES
from surveillance_core.markets import Venue

VENUE = Venue.KALSHI
NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def _path(lake: Lake) -> Path:
    path = Path(lake.store.root) / priorities_file(VENUE)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write(lake: Lake, **columns: pa.Array[object]) -> None:
    """A file that the writer would refuse."""
    right = {
        "group_id": pa.array(["a", "b"]),
        "index": pa.array([1.0, 2.0]),
        "computed_at": pa.array([NOW, NOW], pa.timestamp("us", tz="UTC")),
    }
    pq.write_table(pa.table(right | columns), _path(lake))


def test_what_is_published_is_read_back_and_replaced_whole(lake: Lake) -> None:
    publish_priorities(lake, VENUE, {"event:1": 0.0, "market:2": 1.5}, NOW - HOUR)
    publish_priorities(lake, VENUE, {"event:1": 0.25}, NOW)
    read = read_priorities(lake, VENUE, NOW, HOUR)
    assert (read.index, read.computed_at, read.ignored) == ({"event:1": 0.25}, NOW, {})
    assert manifest_days(lake.store, VENUE) == [], "it belongs to no day"
    assert pq.read_schema(_path(lake)) == PRIORITIES.arrow


def test_a_nan_is_not_published_and_the_last_file_stays(lake: Lake) -> None:
    publish_priorities(lake, VENUE, {"a": 1.0}, NOW)
    with pytest.raises(SchemaError, match=r"priorities\.index: NaN"):
        publish_priorities(lake, VENUE, {"a": math.nan}, NOW)
    assert read_priorities(lake, VENUE, NOW, HOUR).index == {"a": 1.0}


def test_rows_that_mean_nothing_are_ignored_and_counted(lake: Lake) -> None:
    values = [1.0, math.nan, None, math.inf, -math.inf, -1.0, 2.0, 3.0, 0.0]
    names = ["good", "nan", "null", "inf", "-inf", "negative", "good", None, "zero"]
    _write(
        lake,
        group_id=pa.array(names),
        index=pa.array(values),
        computed_at=pa.array([NOW] * len(names), pa.timestamp("us", tz="UTC")),
    )
    read = read_priorities(lake, VENUE, NOW, HOUR)
    assert read.index == {"good": 1.0, "zero": 0.0}
    assert read.ignored == {
        "no_index": 2, "infinite": 2, "negative": 1, "repeated": 1, "no_group": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("at", "named"),
    [(NOW - HOUR - timedelta(seconds=1), "stale"), (NOW + timedelta(minutes=6), "future")],
)
def test_priorities_of_another_time_are_refused(lake: Lake, at: datetime, named: str) -> None:
    publish_priorities(lake, VENUE, {"a": 1.0}, at)
    with pytest.raises(PrioritiesError, match=named):
        read_priorities(lake, VENUE, NOW, HOUR)


def test_absent_damaged_and_wrong_files_are_refused_by_name(lake: Lake) -> None:
    def refused(named: str) -> None:
        with pytest.raises(PrioritiesError, match=named):
            read_priorities(lake, VENUE, NOW, HOUR)

    refused("absent")
    publish_priorities(lake, VENUE, {"a": 1.0}, NOW)
    content = _path(lake).read_bytes()
    for damaged in (b"", b"group_id,index\na,1\n", content[: len(content) // 2]):
        _path(lake).write_bytes(damaged)
        refused("cannot be decoded")
    _write(lake, index=pa.array(["1", "2"]))
    refused("column index is string, not double")
    _write(lake, group_id=pa.array([1, 2]))
    refused("column group_id is int64")
    _write(lake, computed_at=pa.array([NOW, NOW - HOUR], pa.timestamp("us", tz="UTC")))
    refused("not one moment")
    _write(lake, computed_at=pa.array([None, None], pa.timestamp("us", tz="UTC")))
    refused("not one moment")
    pq.write_table(pa.table({"group_id": ["a"]}), _path(lake))
    refused("column index is absent")
