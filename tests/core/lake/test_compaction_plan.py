"""Which hours are compacted and which files deleted, from manifests alone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from surveillance_core.lake.compaction_plan import plan_merges, plan_removals, replaced_files
from surveillance_core.lake.layout import bucket_file, compacted_file
from surveillance_core.lake.manifest import ManifestEntry, Operation, append_entry, read_manifest
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.schemas import SCHEMA_VERSION, SNAPSHOTS, STATS, TRADES
from surveillance_core.markets import Venue

POLYMARKET = Venue.POLYMARKET
DAY = date(2026, 9, 1)
NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def _us(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


def _list(
    lake: Lake,
    path: str,
    *replaces: str,
    operation: Operation = Operation.PUBLISH,
    at: datetime = NOON,
    table: str = "trades",
    schema_version: int = SCHEMA_VERSION,
) -> str:
    entry = ManifestEntry(
        operation=operation, table=table, path=path, bytes=10, digest=path, rows=1, first_us=0,
        last_us=1, schema_version=schema_version, published_us=_us(at), replaces=replaces,
    )  # fmt: skip
    append_entry(lake.store, POLYMARKET, DAY, "w", entry)
    return path


def _part(moment: datetime, shard: str = "0") -> str:
    return bucket_file(TRADES, POLYMARKET, moment, shard, 0, 1)


def _whole(moment: datetime, inputs: str) -> str:
    return compacted_file(TRADES, POLYMARKET, moment, inputs, 0, 1)


def _hours(lake: Lake, now: datetime, margin: timedelta = HOUR) -> list[tuple[str, int, int]]:
    merges = plan_merges(read_manifest(lake.store, POLYMARKET, DAY), now, margin)
    return [(merge.table.name, merge.hour.hour, len(merge.inputs)) for merge in merges]


@pytest.mark.parametrize(
    ("minutes", "closed"), [(0, False), (59, False), (119, False), (120, True), (6_000, True)]
)
def test_an_hour_is_closed_once_it_ended_the_margin_ago(
    lake: Lake, minutes: int, closed: bool
) -> None:
    _list(lake, _part(NOON))
    hours = _hours(lake, NOON + timedelta(minutes=minutes))
    assert hours == ([("trades", 12, 1)] if closed else [])


def test_hours_and_tables_are_merged_apart_and_oldest_first(lake: Lake) -> None:
    for minutes in (5, 0, 60, 65, 70):
        _list(lake, _part(NOON + timedelta(minutes=minutes)))
    _list(lake, bucket_file(SNAPSHOTS, POLYMARKET, NOON, "0", 0, 1), table=SNAPSHOTS.name)
    assert _hours(lake, NOON + 9 * HOUR) == [
        ("orderbook_snapshots", 12, 1), ("trades", 12, 2), ("trades", 13, 3),
    ]  # fmt: skip


def test_one_compacted_file_is_done_and_a_late_one_beside_it_is_not(lake: Lake) -> None:
    parts = [_list(lake, _part(NOON, shard)) for shard in ("0", "1")]
    _list(lake, _whole(NOON, "aa"), *parts)
    assert _hours(lake, NOON + 9 * HOUR) == []
    _list(lake, _part(NOON + timedelta(minutes=55)))
    assert _hours(lake, NOON + 9 * HOUR) == [("trades", 12, 2)]


def test_what_is_not_an_hours_file_of_this_version_is_never_merged(lake: Lake) -> None:
    _list(lake, "trades/loose.parquet")
    _list(lake, _part(NOON).replace("venue=polymarket", "venue=kalshi"))
    _list(lake, _part(NOON).replace("hour=12", "hour=99"))
    _list(lake, "stats/venue=polymarket/date=2026-09-01/stats.parquet", table=STATS.name)
    _list(lake, _part(NOON), schema_version=SCHEMA_VERSION + 1)
    assert _hours(lake, NOON + 99 * HOUR) == []


def _removals(lake: Lake, now: datetime) -> dict[str, list[str]]:
    manifest = read_manifest(lake.store, POLYMARKET, DAY)
    return {
        removal.holder.path: [entry.path for entry in removal.files]
        for removal in plan_removals(manifest, now, 24 * HOUR)
    }


def test_a_replaced_file_is_deleted_after_its_grace_and_not_before(lake: Lake) -> None:
    parts = [_list(lake, _part(NOON, shard), at=NOON - 90 * HOUR) for shard in ("0", "1")]
    whole = _list(lake, _whole(NOON, "aa"), *parts, at=NOON)
    assert _removals(lake, NOON + 23 * HOUR) == {}
    assert _removals(lake, NOON - 99 * HOUR) == {}, "a clock that was set back"
    assert _removals(lake, NOON + 24 * HOUR) == {whole: parts}
    _list(lake, parts[0], operation=Operation.RETIRE, at=NOON + HOUR)
    assert _removals(lake, NOON + 24 * HOUR) == {whole: parts[1:]}
    assert [e.path for e in replaced_files(read_manifest(lake.store, POLYMARKET, DAY))] == parts[1:]


def test_rows_that_moved_twice_are_held_by_the_last_file(lake: Lake) -> None:
    part, late = _list(lake, _part(NOON)), _part(NOON, "late")
    first = _list(lake, _whole(NOON, "aa"), part)
    second = _list(lake, _whole(NOON, "bb"), first, _list(lake, late), at=NOON + 5 * HOUR)
    assert _removals(lake, NOON + 24 * HOUR) == {second: [part]}, "the others' grace is not over"
    assert _removals(lake, NOON + 29 * HOUR) == {second: sorted([part, first, late])}


def test_nothing_is_deleted_whose_holder_is_quarantined(lake: Lake) -> None:
    parts = [_list(lake, _part(NOON, shard)) for shard in ("0", "1")]
    first = _list(lake, _whole(NOON, "aa"), *parts)
    late = _list(lake, _part(NOON, "late"))
    second = _list(lake, _whole(NOON, "bb"), first, late)
    _list(lake, second, first, late, operation=Operation.QUARANTINE, at=NOON + HOUR)
    manifest = read_manifest(lake.store, POLYMARKET, DAY)
    assert [entry.path for entry in manifest.files("trades")] == sorted([first, late])
    assert _removals(lake, NOON + 99 * HOUR) == {first: parts}
    _list(lake, first, *parts, operation=Operation.QUARANTINE, at=NOON + HOUR)
    manifest = read_manifest(lake.store, POLYMARKET, DAY)
    assert [entry.path for entry in manifest.files("trades")] == sorted([*parts, late])
    assert _removals(lake, NOON + 99 * HOUR) == {}
