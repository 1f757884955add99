"""Compaction: the same rows in fewer files and bytes, whatever is broken, late or being read."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surveillance_core.lake import read
from surveillance_core.lake.compaction import CompactedDay, compact_day, refuse_other_rows
from surveillance_core.lake.errors import PublishError
from surveillance_core.lake.layout import bucket_file, is_compacted
from surveillance_core.lake.manifest import ManifestEntry, read_manifest
from surveillance_core.lake.publish import Lake, publish_rows, rows_to_table
from surveillance_core.lake.read import quarantine_file, scan_table, verify_days
from surveillance_core.lake.schemas import COVERAGE, SNAPSHOTS, Table
from surveillance_core.markets import Venue

POLYMARKET = Venue.POLYMARKET
NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
DAY = NOON.date()
HOUR = timedelta(hours=1)
LATER = datetime(2126, 9, 1, tzinfo=UTC)
"""When every hour is closed and every grace period over."""
Row = tuple[object, ...]


def _us(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


def _book(at_us: int, outcome: str, rng: Random, levels: int = 8) -> Row:
    """A snapshot row with the shape, though not the sense, of a real one."""
    mid = rng.randrange(2_000, 8_000, 100)
    bid_px = [(mid - 100 * step) / 10_000 for step in range(1, levels + 1)]
    ask_px = [(mid + 100 * step) / 10_000 for step in range(1, levels + 1)]
    bid_sz, ask_sz = ([float(rng.randint(1, 9_999)) for _ in range(levels)] for _ in "ba")
    depths = [rng.choice([None, float(rng.randint(1, 99))]) for _ in range(6)]
    return (
        at_us, rng.choice([None, at_us // 1_000]), f"m-{outcome}", outcome, rng.randint(0, 9),
        bid_px[0], bid_sz[0], ask_px[0], ask_sz[0], mid / 10_000, 0.02, bid_px, bid_sz, ask_px,
        ask_sz, *depths, 0.01, rng.randint(0, 900), "ok", "verified", "change",
    )  # fmt: skip


def _publish(
    lake: Lake, table: Table, moment: datetime, rows: list[Row], shard: str = "0"
) -> ManifestEntry:
    return publish_rows(
        lake, table, bucket_file(table, POLYMARKET, moment, shard, 0, 1), POLYMARKET, DAY,
        rows_to_table(table, rows), writer=f"collector-{shard}", time_column=table.sort_by[-1],
    )  # fmt: skip


def _collect(lake: Lake, *, hours: int = 1, buckets: int = 3, rows: int = 12) -> None:
    """Publish as a collector does: a file of each table every five minutes."""
    rng = Random(5)
    for hour, bucket in itertools.product(range(hours), range(buckets)):
        moment = NOON + hour * HOUR + bucket * timedelta(minutes=5)
        start = _us(moment)
        books = [
            _book(start + rng.randrange(300_000_000), f"o{rng.randrange(3)}", rng)
            for _ in range(rows)
        ]
        _publish(lake, SNAPSHOTS, moment, [*books, books[0]])
        span = (start, start + 300_000_000, "trusted", None)
        _publish(lake, COVERAGE, moment, [(f"m-o{n}", f"o{n}", *span) for n in range(3)])


def _compact(
    lake: Lake, *, now: datetime = LATER, grace: timedelta = 24 * HOUR, **options: Any
) -> CompactedDay:
    return compact_day(
        lake, POLYMARKET, DAY, margin=HOUR, grace=grace, clock=lambda: now, **options
    )


def _soon() -> datetime:
    """A moment at which what is replaced now is within its grace period."""
    return datetime.now(UTC)


def _counted(frame: pl.DataFrame) -> Counter[Row]:
    return Counter(
        tuple(tuple(v) if isinstance(v, list) else v for v in row) for row in frame.rows()
    )


def _read(lake: Lake, table: Table = SNAPSHOTS, **options: Any) -> Counter[Row]:
    return _counted(scan_table(lake, table, POLYMARKET, [DAY], **options).frame.collect())


def _files(lake: Lake) -> set[str]:
    """Every Parquet file in the lake, listed or not."""
    root = Path(lake.store.root)
    return {path.relative_to(root).as_posix() for path in root.rglob("*.parquet")}


def _in_force(lake: Lake) -> set[str]:
    return {entry.path for entry in read_manifest(lake.store, POLYMARKET, DAY).entries}


def test_an_hours_files_become_one_sorted_one_with_the_same_rows(lake: Lake) -> None:
    _collect(lake, hours=2)
    before = _read(lake), _read(lake, COVERAGE)
    done = _compact(lake, now=_soon())
    assert (_read(lake), _read(lake, COVERAGE)) == before
    assert [(m.merge.table.name, m.merge.hour.hour, len(m.replaced)) for m in done.merged] == [
        ("orderbook_snapshots", 12, 3), ("orderbook_snapshots", 13, 3),
        ("coverage", 12, 3), ("coverage", 13, 3),
    ]  # fmt: skip
    entries = read_manifest(lake.store, POLYMARKET, DAY).files(SNAPSHOTS.name)
    assert len(entries) == 2
    for entry in entries:
        frame = pl.read_parquet(lake.store.scan_path(entry.path))
        assert frame.select("outcome_id", "ts_recv").equals(
            frame.select("outcome_id", "ts_recv").sort("outcome_id", "ts_recv")
        )
        assert (entry.rows, entry.first_us, entry.last_us) == (
            frame.height, _us(frame["ts_recv"].min()), _us(frame["ts_recv"].max())  # type: ignore[arg-type]
        )  # fmt: skip
    assert verify_days(lake, POLYMARKET, [DAY], deep=True)[1:] == ([], 0)
    assert not list(lake.store.staging().iterdir())


def test_a_compacted_file_has_checksums_zstd_and_dictionaries_on_ids_alone(lake: Lake) -> None:
    _collect(lake)
    _compact(lake)
    [entry] = read_manifest(lake.store, POLYMARKET, DAY).files(SNAPSHOTS.name)
    group = pq.read_metadata(lake.store.scan_path(entry.path)).row_group(0)
    for index in range(group.num_columns):
        column = group.column(index)
        assert column.compression == "ZSTD"
        name = column.path_in_schema.split(".")[0]
        assert column.has_dictionary_page == (name in SNAPSHOTS.ids), name
    path = Path(lake.store.scan_path(entry.path))
    content = bytearray(path.read_bytes())
    last = group.column(5).data_page_offset + group.column(5).total_compressed_size - 1
    content[last] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"CRC|checksum"):
        pq.read_table(path, page_checksum_verification=True)


def test_many_small_files_take_fewer_bytes_a_row_as_one(lake: Lake) -> None:
    _collect(lake, buckets=12, rows=60)
    [snapshots, _] = _compact(lake).merged
    assert snapshots.file is not None
    before = sum(entry.bytes for entry in snapshots.replaced)
    assert snapshots.file.rows == sum(entry.rows for entry in snapshots.replaced)
    assert snapshots.file.bytes < before


def test_the_second_run_does_nothing(lake: Lake) -> None:
    _collect(lake, hours=2)
    _compact(lake)
    files, rows, version = _files(lake), _read(lake), _version(lake)
    manifest = _manifest_bytes(lake)
    again = _compact(lake)
    assert (again.merged, again.removed, again.damaged, again.failed) == ([], [], [], [])
    assert (_files(lake), _read(lake), _version(lake)) == (files, rows, version)
    assert _manifest_bytes(lake) == manifest


def _manifest_bytes(lake: Lake) -> dict[str, bytes]:
    root = Path(lake.store.root) / "_manifest"
    return {path.name: path.read_bytes() for path in root.rglob("*.jsonl")}


def _version(lake: Lake) -> str:
    return read_manifest(lake.store, POLYMARKET, DAY).version([SNAPSHOTS.name, COVERAGE.name])


def test_the_open_hour_is_left_to_the_collector(lake: Lake) -> None:
    _collect(lake, hours=2)
    done = _compact(lake, now=NOON + 2 * HOUR + timedelta(minutes=1))
    assert {merged.merge.hour for merged in done.merged} == {NOON}


def test_replaced_files_stay_for_the_grace_period_and_then_go(lake: Lake) -> None:
    _collect(lake)
    before, version = _files(lake), _version(lake)
    lazily = scan_table(lake, SNAPSHOTS, POLYMARKET, [DAY]).frame
    rows = _read(lake)
    done = _compact(lake, now=_soon())
    assert before < _files(lake)
    assert (done.removed, {entry.path for entry in done.waiting}) == ([], before)
    assert _counted(lazily.collect()) == rows, "a reader that began before goes on"
    done = _compact(lake, now=_soon() + timedelta(hours=25))
    assert ({entry.path for entry in done.removed}, done.waiting) == (before, [])
    assert _files(lake) == _in_force(lake)
    assert (_read(lake), _version(lake)) == (rows, version)


def test_without_grace_one_run_replaces_and_deletes(lake: Lake) -> None:
    _collect(lake)
    rows = _read(lake)
    done = compact_day(lake, POLYMARKET, DAY, margin=HOUR, grace=timedelta())
    assert len(done.removed) == 6
    assert (_files(lake), _read(lake)) == (_in_force(lake), rows)


def test_a_run_that_only_deletes_merges_nothing(lake: Lake) -> None:
    _collect(lake)
    assert _compact(lake, delete_only=True).merged == []
    _compact(lake, now=_soon())
    assert len(_compact(lake, delete_only=True).removed) == 6


def test_a_late_file_is_merged_with_what_was_compacted(lake: Lake) -> None:
    _collect(lake)
    version = _version(lake)
    _compact(lake, now=_soon())
    assert _version(lake) == version
    late = [_book(_us(NOON) + n, "o1", Random(n)) for n in range(4)]
    _publish(lake, SNAPSHOTS, NOON, late, shard="late")
    assert _version(lake) != version, "new rows are news"
    rows, version = _read(lake), _version(lake)
    [merged] = _compact(lake, now=_soon()).merged
    assert len(merged.replaced) == 2
    assert (_read(lake), _version(lake)) == (rows, version)
    _compact(lake)
    assert (_files(lake), _read(lake), _version(lake)) == (_in_force(lake), rows, version)


def test_what_a_collector_publishes_during_a_merge_is_neither_lost_nor_read_twice(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    _collect(lake)
    late = [_book(_us(NOON) + n, "o1", Random(n)) for n in range(4)]
    write_table, calls = pq.ParquetWriter.write_table, itertools.count()

    def meanwhile(*arguments: Any, **options: Any) -> None:
        if next(calls) == 0:
            _publish(lake, SNAPSHOTS, NOON, late, shard="late")
        write_table(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", meanwhile)
        _compact(lake)
    assert sum(_read(lake).values()) == 3 * 13 + 4
    assert len(read_manifest(lake.store, POLYMARKET, DAY).files(SNAPSHOTS.name)) == 2
    _compact(lake)
    assert len(read_manifest(lake.store, POLYMARKET, DAY).files(SNAPSHOTS.name)) == 1
    assert sum(_read(lake).values()) == 3 * 13 + 4


def _halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [_halve, _flip, Path.unlink])
@pytest.mark.parametrize("when", ["first", "second"])
def test_a_bad_file_is_left_alone_and_named_and_the_others_are_merged(
    lake: Lake, spoil: Callable[[Path], object], when: str
) -> None:
    if when == "second":
        _collect(lake, buckets=1)
        _compact(lake)
    bad = _publish(lake, SNAPSHOTS, NOON, [_book(_us(NOON), "o9", Random(1))], shard="bad")
    _publish(lake, SNAPSHOTS, NOON, [_book(_us(NOON), "o8", Random(1))], shard="good")
    _publish(lake, SNAPSHOTS, NOON, [_book(_us(NOON), "o7", Random(1))], shard="too")
    path = Path(lake.store.root) / bad.path
    spoil(path)
    left = path.read_bytes() if path.exists() else None
    done = _compact(lake)
    assert [damage.entry for damage in done.damaged] == [bad]
    assert bad.path in str(done.damaged[0])
    assert done.failed == []
    [merged] = [m for m in done.merged if m.merge.table is SNAPSHOTS]
    assert len(merged.replaced) == (3 if when == "second" else 2)
    assert (path.read_bytes() if path.exists() else None) == left
    files = read_manifest(lake.store, POLYMARKET, DAY).files(SNAPSHOTS.name)
    assert {entry.path for entry in files} == {bad.path, merged.file.path}  # type: ignore[union-attr]
    again = _compact(lake)
    assert (again.merged, [damage.entry for damage in again.damaged]) == ([], [bad])


def test_a_file_of_another_shape_is_left_alone(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_to_table(SNAPSHOTS, [_book(_us(NOON), "o1", Random(1))])
    odd = {
        "unknown": rows.append_column("venue_fee", pa.array([0.5])),
        "lacking": rows.drop_columns(["tick"]),
        "retyped": rows.set_column(4, "seq", pa.array([1], pa.int32())),
    }
    write_table = pq.write_table
    for shard, table in odd.items():
        with monkeypatch.context() as patch:
            patch.setattr(pq, "write_table", lambda _, *a, t=table, **o: write_table(t, *a, **o))
            _publish(lake, SNAPSHOTS, NOON, [_book(_us(NOON), "o1", Random(1))], shard=shard)
    _collect(lake)
    done = _compact(lake)
    causes = {damage.entry.path.split("_")[-2]: damage.cause for damage in done.damaged}
    assert set(causes) == set(odd)
    assert "does not know: ['venue_fee']" in causes["unknown"]
    assert "lacks tick" in causes["lacking"]
    assert "seq as int32, not int64" in causes["retyped"]
    assert {len(merged.replaced) for merged in done.merged} == {3}


def test_a_column_that_did_not_exist_yet_is_null(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table = pq.write_table

    def older(rows: pa.Table, *arguments: Any, **options: Any) -> None:
        write_table(rows.drop_columns(["bid_depth_5c"]), *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", older)
        _publish(lake, SNAPSHOTS, NOON, [_book(_us(NOON), "o1", Random(1))])
    rows = _read(lake)
    assert len(_compact(lake).merged) == 1
    assert _read(lake) == rows


def _corrupting(change: Callable[[pa.Table], pa.Table]) -> Callable[..., None]:
    write_table = pq.ParquetWriter.write_table

    def writing(file: pq.ParquetWriter, rows: pa.Table, *arguments: Any) -> None:
        snapshots = "best_bid_px" in rows.column_names
        write_table(file, change(rows) if snapshots else rows, *arguments)

    return writing


def _one_price_off(rows: pa.Table) -> pa.Table:
    prices = rows.column("best_bid_px").to_pylist()
    index = rows.schema.get_field_index("best_bid_px")
    return rows.set_column(index, "best_bid_px", pa.array([prices[0] + 1e-15, *prices[1:]]))


CHANGES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "one price": _one_price_off,
    "a row lost": lambda rows: rows.slice(1),
    "a row twice": lambda rows: pa.concat_tables([rows.slice(0, 1), rows]),
    "one for another": lambda rows: pa.concat_tables([rows.slice(0, 1), rows.slice(0, 1),
                                                      rows.slice(2)]),
    "columns exchanged": lambda rows: rows.set_column(
        rows.schema.get_field_index("bid_sz"), rows.schema.field("bid_sz"), rows.column("ask_sz")
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_with_other_rows_never_becomes_visible(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, change: Callable[[pa.Table], pa.Table]
) -> None:
    _collect(lake)
    files, rows = _files(lake), _read(lake)
    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", _corrupting(change))
        done = _compact(lake)
    assert done.failed
    assert "orderbook_snapshots polymarket 2026-09-01 12:00" in done.failed[0]
    assert {path for path in _files(lake) - files if path.startswith(SNAPSHOTS.name)} == set()
    assert _read(lake) == rows
    assert not list(lake.store.staging().iterdir())
    assert _compact(lake).failed == []
    assert _read(lake) == rows


SMALL_ROWS = st.lists(
    st.tuples(
        st.sampled_from([0, 1]), st.sampled_from(["a", "b"]), st.sampled_from(["x", None])
    ),
    max_size=5,
)  # fmt: skip


def _coverage(rows: list[tuple[int, str, str | None]]) -> pa.Table:
    return rows_to_table(COVERAGE, [("m", o, at, 9, "trusted", cause) for at, o, cause in rows])


def _order(rows: list[tuple[int, str, str | None]]) -> Any:
    keys = [(name, "ascending") for name in COVERAGE.sort_by]
    return pc.sort_indices(_coverage(rows), sort_keys=keys)


@given(SMALL_ROWS, SMALL_ROWS)
def test_no_file_passes_that_holds_other_rows(
    tmp_path_factory: pytest.TempPathFactory,
    one: list[tuple[int, str, str | None]],
    two: list[tuple[int, str, str | None]],
) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.parquet"
    pq.write_table(_coverage(one).take(_order(one)), path)
    refuse_other_rows(COVERAGE, _coverage(one), _order(one), path)
    if Counter(one) != Counter(two):
        for order in (_order(one), _order(two)):
            with pytest.raises((PublishError, pa.ArrowInvalid)):
                refuse_other_rows(COVERAGE, _coverage(two), order, path)


def test_an_order_that_names_a_row_twice_proves_nothing(tmp_path: Path) -> None:
    rows: list[tuple[int, str, str | None]] = [(0, "a", "x"), (0, "a", "x")]
    pq.write_table(_coverage(rows), tmp_path / "rows.parquet")
    with pytest.raises(PublishError):
        refuse_other_rows(COVERAGE, _coverage(rows), pa.array([0]), tmp_path / "rows.parquet")


FLOATS = st.none() | st.floats(allow_nan=False, width=64)
LISTS = st.lists(st.floats(allow_nan=False), max_size=4)
IDS = st.text(st.characters(codec="utf-8"), max_size=3)
BOOKS = st.tuples(
    st.integers(0, 3_599_999_999), st.none() | st.integers(0, 2**40), IDS, IDS,
    st.integers(-(2**63), 2**63 - 1), *[FLOATS] * 6, *[LISTS] * 4, *[FLOATS] * 6,
    st.floats(allow_nan=False), st.integers(0, 9), *[st.sampled_from(["ok", "crossed"])] * 3,
)  # fmt: skip


@settings(max_examples=25)
@given(st.lists(st.lists(BOOKS, max_size=6), min_size=1, max_size=4), st.booleans())
def test_any_rows_in_any_files_come_out_the_same(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[Row]], repeat: bool
) -> None:
    lake = Lake(str(tmp_path_factory.mktemp("any") / "lake"), "simulated")
    for number, books in enumerate([*files, files[0]] if repeat else files):
        rows = [(_us(NOON) + int(book[0]), *book[1:]) for book in books]  # type: ignore[call-overload]
        _publish(lake, SNAPSHOTS, NOON, rows, shard=f"s{number}")
    before = _read(lake)
    done = _compact(lake)
    assert (done.failed, done.damaged) == ([], [])
    assert _read(lake) == before
    assert len(_files(lake)) == 1
    assert _compact(lake).merged == []


def test_readers_that_read_a_list_just_before_its_files_go_read_it_again(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    _collect(lake)
    rows = _read(lake)
    outdated, calls = read_manifest(lake.store, POLYMARKET, DAY), itertools.count()
    _compact(lake)

    def slow(*arguments: Any) -> object:
        return outdated if next(calls) == 0 else read_manifest(*arguments)

    monkeypatch.setattr(read, "read_manifest", slow)
    scan = scan_table(lake, SNAPSHOTS, POLYMARKET, [DAY], quarantine=True)
    assert (scan.damaged, _counted(scan.frame.collect())) == ((), rows)
    calls = itertools.count()
    assert verify_days(lake, POLYMARKET, [DAY], deep=True)[1] == []
    assert read_manifest(lake.store, POLYMARKET, DAY).quarantined == ()


def test_a_compacted_file_that_is_damaged_within_the_grace_period_costs_nothing(
    lake: Lake,
) -> None:
    _collect(lake)
    rows, coverage, version = _read(lake), _read(lake, COVERAGE), _version(lake)
    _compact(lake, now=_soon())
    [entry] = read_manifest(lake.store, POLYMARKET, DAY).files(SNAPSHOTS.name)
    _halve(Path(lake.store.root) / entry.path)
    assert [d.entry for d in _compact(lake).damaged] == [entry], "its inputs are all there is"
    scan = scan_table(lake, SNAPSHOTS, POLYMARKET, [DAY], quarantine=True)
    assert [damage.entry for damage in scan.damaged] == [entry]
    assert (_counted(scan.frame.collect()), scan.files) == (rows, 3)
    assert _read(lake, COVERAGE) == coverage, "no trust was lost"
    [merged] = _compact(lake).merged
    assert merged.file is not None
    assert merged.file.path == entry.path
    assert (_read(lake), _version(lake), _files(lake)) == (rows, version, _in_force(lake))


def test_a_compacted_file_that_is_damaged_later_withdraws_trust_as_any_other(lake: Lake) -> None:
    _collect(lake)
    _compact(lake)
    [entry] = read_manifest(lake.store, POLYMARKET, DAY).files(SNAPSHOTS.name)
    _flip(Path(lake.store.root) / entry.path)
    [damage] = verify_days(lake, POLYMARKET, [DAY], deep=True)[1]
    quarantine_file(lake, damage)
    assert _read(lake) == Counter()
    lost = scan_table(lake, COVERAGE, POLYMARKET, [DAY]).frame.filter(pl.col("cause").is_not_null())
    assert lost.collect().height == 1


def test_files_of_a_compaction_that_died_are_cleared_away_where_the_manifest_is_whole(
    lake: Lake,
) -> None:
    _collect(lake)
    directory = Path(lake.store.root) / bucket_file(SNAPSHOTS, POLYMARKET, NOON, "0", 0, 1)
    stray = directory.parent / "snapshots_2026-09-01T12-00_compacted-00ff_0-1.parquet"
    foreign = directory.parent / "snapshots_2026-09-01T12-00_mine_0-1.parquet"
    stray.touch()
    foreign.touch()
    segment = Path(lake.store.root) / "_manifest/venue=polymarket/date=2026-09-01/torn.jsonl"
    segment.write_bytes(b'{"operation":"publish","pa')
    _compact(lake, now=_soon())
    assert stray.exists(), "the damaged line might be the one that lists it"
    segment.unlink()
    _publish(lake, SNAPSHOTS, NOON, [_book(_us(NOON), "o1", Random(1))], shard="late")
    _compact(lake, now=_soon())
    assert not stray.exists()
    assert foreign.exists()
    assert sum(is_compacted(path) for path in _files(lake)) == 3
