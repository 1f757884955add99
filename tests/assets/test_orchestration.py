"""What a sensor tick plans: nothing forgotten, nothing asked twice, the open day not too often."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from surveillance_assets.orchestration import (
    STATS_INPUTS,
    DayMark,
    plan_tick,
    read_cursor,
    watched,
    write_cursor,
)
from surveillance_core.lake.manifest import ManifestDay, ManifestEntry, Operation
from surveillance_core.markets import Venue

TODAY = date(2026, 9, 2)
NOON = datetime(2026, 9, 2, 12, tzinfo=UTC)
REFRESH = timedelta(minutes=15)


def _entry(table: str, number: int) -> ManifestEntry:
    return ManifestEntry(
        operation=Operation.PUBLISH, table=table, path=f"{table}/{number}", bytes=1,
        digest=f"{number}", rows=1, first_us=0, last_us=1, schema_version=1, published_us=number,
    )  # fmt: skip


def _day(day: date, files: dict[str, int], venue: Venue = Venue.POLYMARKET) -> ManifestDay:
    entries = [_entry(table, n) for table, count in files.items() for n in range(count)]
    return ManifestDay(
        venue=venue, day=day, entries=tuple(entries), quarantined=(), damaged_lines=0
    )


def _tick(
    cursor: dict[str, DayMark], days: list[ManifestDay], now: datetime = NOON, limit: int = 50
):
    return plan_tick(now, cursor, days, open_day_refresh=REFRESH, limit=limit)


def test_new_files_are_reported_once_per_table_and_their_day_is_requested() -> None:
    days = [_day(TODAY, {"orderbook_snapshots": 2, "trades": 1})]
    plan = _tick({}, days)
    assert [r.table for r in plan.reports] == ["orderbook_snapshots", "trades"]
    assert [(r.venue, r.day) for r in plan.requests] == [(Venue.POLYMARKET, TODAY)]
    again = _tick(plan.cursor, days, NOON + timedelta(hours=1))
    assert (again.reports, again.requests, again.waiting) == ([], [], 0)


def test_the_open_day_waits_for_its_interval_and_is_then_requested() -> None:
    first = _tick({}, [_day(TODAY, {"orderbook_snapshots": 1})])
    grown = [_day(TODAY, {"orderbook_snapshots": 2})]
    early = _tick(first.cursor, grown, NOON + timedelta(minutes=5))
    assert [r.table for r in early.reports] == ["orderbook_snapshots"]
    assert (early.requests, early.waiting) == ([], 1)
    later = _tick(early.cursor, grown, NOON + REFRESH)
    assert [r.version for r in later.requests] == [grown[0].version(STATS_INPUTS)]


def test_late_files_reopen_a_past_day_at_once() -> None:
    past = TODAY - timedelta(days=3)
    first = _tick({}, [_day(past, {"orderbook_snapshots": 1})])
    late = _tick(
        first.cursor, [_day(past, {"orderbook_snapshots": 2})], NOON + timedelta(seconds=30)
    )
    assert [r.day for r in late.requests] == [past]
    assert late.requests[0].run_key != first.requests[0].run_key


def test_a_day_without_books_is_reported_but_not_computed() -> None:
    plan = _tick({}, [_day(TODAY, {"trades": 1})])
    assert [r.table for r in plan.reports] == ["trades"]
    assert plan.requests == []


def test_a_quarantined_file_changes_the_version() -> None:
    before = _day(TODAY, {"orderbook_snapshots": 1})
    taken = tuple(
        msgspec.structs.replace(entry, operation=Operation.QUARANTINE) for entry in before.entries
    )
    after = msgspec.structs.replace(before, entries=(), quarantined=taken)
    assert before.version(["orderbook_snapshots"]) != after.version(["orderbook_snapshots"])


growth = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 40)), min_size=1, max_size=15
)


@given(growth=growth, limit=st.integers(1, 3))
def test_however_files_arrive_every_final_version_is_requested_exactly_once(
    growth: list[tuple[int, int, int]], limit: int
) -> None:
    counts = dict.fromkeys(range(4), 0)
    cursor: dict[str, DayMark] = {}
    now, keys = NOON, list[str]()
    for day, files, minutes in growth:
        counts[day] += files
        now += timedelta(minutes=minutes)
        plan = _tick(cursor, _days(counts), now, limit)
        assert len(plan.requests) <= limit
        cursor, keys = (
            read_cursor(write_cursor(plan.cursor)),
            keys + [r.run_key for r in plan.requests],
        )
    for _ in range(20):
        now += REFRESH
        plan = _tick(cursor, _days(counts), now, limit)
        cursor, keys = plan.cursor, keys + [r.run_key for r in plan.requests]
    assert plan.waiting == 0
    assert len(keys) == len(set(keys)), "a run key was used twice"
    for manifest in _days(counts):
        version = manifest.version(STATS_INPUTS)
        assert any(key.endswith(version) for key in keys)


def _days(counts: dict[int, int]) -> list[ManifestDay]:
    return [
        _day(TODAY - timedelta(days=day), {"orderbook_snapshots": count})
        for day, count in counts.items()
        if count
    ]


def test_a_cursor_that_cannot_be_read_starts_anew() -> None:
    assert read_cursor("{") == {}
    assert read_cursor(None) == {}


def test_only_recent_days_are_watched() -> None:
    assert watched(TODAY - timedelta(days=30), NOON)
    assert not watched(TODAY - timedelta(days=31), NOON)
