"""Where files lie: names are made here alone and hold nothing that came from outside."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.lake.layout import (
    bucket_file,
    collector_health_file,
    collector_holder_file,
    collector_lock_file,
    compacted_file,
    day_file,
    is_compacted,
    manifest_segment,
    parse_collector_shard,
    parse_day,
    parse_hour,
    priorities_file,
    universe_file,
    visits_file,
)
from surveillance_core.lake.schemas import SNAPSHOTS, STATS, TRADES
from surveillance_core.markets import Venue

POLYMARKET = Venue.POLYMARKET
DAY = date(2026, 9, 1)
BUCKET = datetime(2026, 9, 1, 13, 5, tzinfo=UTC)


def test_the_paths_are_those_of_the_design() -> None:
    assert bucket_file(SNAPSHOTS, POLYMARKET, BUCKET, "s0", 10, 255) == (
        "orderbook_snapshots/venue=polymarket/date=2026-09-01/hour=13/"
        "snapshots_2026-09-01T13-05_s0_a-ff.parquet"
    )
    assert bucket_file(TRADES, Venue.KALSHI, BUCKET, "s0", 10, 255).startswith(
        "trades/venue=kalshi/date=2026-09-01/hour=13/trades_2026-09-01T13-05_"
    )
    assert day_file(STATS, POLYMARKET, DAY) == (
        "stats/venue=polymarket/date=2026-09-01/stats.parquet"
    )
    assert priorities_file(POLYMARKET) == "priorities/venue=polymarket/priorities.parquet"
    assert visits_file(POLYMARKET, "0") == "visits-polymarket-0.json"
    with pytest.raises(ValueError, match="not a writer"):
        visits_file(POLYMARKET, "../0")
    assert universe_file(POLYMARKET, DAY) == (
        "metadata/venue=polymarket/date=2026-09-01/universe.jsonl"
    )
    assert manifest_segment(POLYMARKET, DAY, "collector-0") == (
        "_manifest/venue=polymarket/date=2026-09-01/collector-0.jsonl"
    )


def test_date_and_hour_are_those_of_utc() -> None:
    tokyo = timezone(timedelta(hours=9))
    path = bucket_file(TRADES, POLYMARKET, datetime(2026, 9, 2, 8, 0, tzinfo=tokyo), "s", 0, 1)
    assert "/date=2026-09-01/hour=23/trades_2026-09-01T23-00_" in path


def test_a_table_is_not_written_in_the_others_way() -> None:
    with pytest.raises(ValueError, match="stats is not written in buckets"):
        bucket_file(STATS, POLYMARKET, BUCKET, "s0", 0, 1)
    with pytest.raises(ValueError, match="trades is not one file a day"):
        day_file(TRADES, POLYMARKET, DAY)


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "a/b", "A", "a b", "-a", "é", "a\n", "a" * 65, "a.b", "a\x00"]
)
def test_a_name_that_could_leave_its_directory_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a writer's or shard's name"):
        manifest_segment(POLYMARKET, DAY, name)
    with pytest.raises(ValueError, match="not a writer's or shard's name"):
        bucket_file(TRADES, POLYMARKET, BUCKET, name, 0, 1)


@given(st.integers(0, 2**52), st.integers(0, 2**52), st.integers(0, 2**52), st.integers(0, 2**52))
def test_another_time_range_is_another_file(first: int, last: int, other: int, end: int) -> None:
    one = bucket_file(TRADES, POLYMARKET, BUCKET, "s0", first, last)
    two = bucket_file(TRADES, POLYMARKET, BUCKET, "s0", other, end)
    assert (one == two) == ((first, last) == (other, end))


@given(st.dates())
def test_a_days_directory_reads_back(day: date) -> None:
    assert parse_day(f"stats/venue=polymarket/date={day.isoformat()}/") == day


@pytest.mark.parametrize("name", ["", "date=", "date=2026-13-01", "2026-09-01", "date=today"])
def test_what_is_no_days_directory_is_none(name: str) -> None:
    assert parse_day(name) is None


def test_a_shards_holder_is_told_from_its_other_files() -> None:
    names = [collector_lock_file("s0"), collector_holder_file("s0"), collector_health_file("s0")]
    assert len(set(names)) == 3
    assert [parse_collector_shard(name) for name in names] == [None, "s0", None]
    assert parse_collector_shard("collector-s0.json\n") is None
    for name_file in (collector_lock_file, collector_holder_file, collector_health_file):
        with pytest.raises(ValueError, match="not a writer's or shard's name"):
            name_file("../x")


def test_a_compacted_file_is_named_as_a_bucket_part_of_its_hour() -> None:
    hour = BUCKET.replace(minute=0)
    path = compacted_file(SNAPSHOTS, POLYMARKET, hour, "0123abcd", 10, 255)
    assert path == (
        "orderbook_snapshots/venue=polymarket/date=2026-09-01/hour=13/"
        "snapshots_2026-09-01T13-00_compacted-0123abcd_a-ff.parquet"
    )
    assert is_compacted(path)
    assert not is_compacted(bucket_file(SNAPSHOTS, POLYMARKET, BUCKET, "s0", 10, 255))


@given(st.datetimes(timezones=st.just(UTC)))
def test_the_hour_of_a_file_reads_back(moment: datetime) -> None:
    path = bucket_file(TRADES, POLYMARKET, moment, "s0", 0, 1)
    assert parse_hour(path) == moment.replace(minute=0, second=0, microsecond=0)


@pytest.mark.parametrize(
    "path",
    [
        "stats/venue=polymarket/date=2026-09-01/stats.parquet",
        "trades/venue=polymarket/date=2026-09-01/hour=24/a.parquet",
        "trades/venue=polymarket/date=2026-13-01/hour=01/a.parquet",
        "trades/venue=polymarket/date=2026-09-01/hour=01/",
        "trades/a.parquet",
        "",
    ],
)
def test_what_is_no_hours_file_has_no_hour(path: str) -> None:
    assert parse_hour(path) is None
