"""Publishing: what does not fit is refused by column, and a failure leaves nothing to see."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from surveillance_core.lake import publish as publish_module
from surveillance_core.lake.errors import LakeError, OriginError, PublishError, SchemaError
from surveillance_core.lake.layout import STAGING_SUFFIX
from surveillance_core.lake.manifest import ManifestEntry, read_manifest
from surveillance_core.lake.publish import (
    Lake,
    file_digest,
    publish_day,
    publish_rows,
    publish_universe,
    rows_to_table,
)
from surveillance_core.lake.read import read_universe, scan_table
from surveillance_core.lake.schemas import SNAPSHOTS, STATS, TABLES, TRADES, Table
from surveillance_core.markets import Market, Venue

POLYMARKET = Venue.POLYMARKET
TradeRow = tuple[object, ...]
MakeTrade = Callable[..., TradeRow]
PublishTrades = Callable[..., ManifestEntry]


def _frame(make_trade: MakeTrade, **columns: object) -> pl.DataFrame:
    frame = pl.DataFrame(rows_to_table(TRADES, [make_trade(0), make_trade(1)]))
    return frame.with_columns(**{name: pl.lit(value) for name, value in columns.items()})


def _publish(lake: Lake, day: date, rows: pa.Table | pl.DataFrame) -> ManifestEntry:
    return publish_rows(lake, TRADES, "trades/x.parquet", POLYMARKET, day, rows, writer="w")


def _files(lake: Lake) -> list[str]:
    root = Path(lake.store.root)
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def _staged(lake: Lake) -> list[Path]:
    return list(Path(lake.store.root + STAGING_SUFFIX).iterdir())


def test_a_published_file_is_whole_listed_and_described(
    lake: Lake, day: date, publish_trades: PublishTrades
) -> None:
    entry = publish_trades(lake, 3.0, 1.0)
    content = lake.store.read_bytes(entry.path)
    assert read_manifest(lake.store, POLYMARKET, day).entries == (entry,)
    assert (entry.bytes, entry.digest) == (len(content), file_digest(content))
    assert entry.rows == 2
    assert entry.first_us is not None
    assert entry.last_us is not None
    assert entry.last_us - entry.first_us == 2_000_000
    assert _staged(lake) == []


def test_rows_are_sorted_by_outcome_and_time(lake: Lake, day: date, make_trade: MakeTrade) -> None:
    rows = [make_trade(s, outcome) for s in (5, 1, 3) for outcome in ("b", "a")]
    entry = _publish(lake, day, rows_to_table(TRADES, rows))
    read = pq.read_table(lake.store.scan_path(entry.path)).select(["outcome_id", "ts_recv"])
    pairs = list(zip(*read.to_pydict().values(), strict=True))
    assert [outcome for outcome, _ in pairs] == ["a"] * 3 + ["b"] * 3
    assert pairs == sorted(pairs)


def test_pages_carry_checksums_and_ids_a_dictionary(
    lake: Lake, publish_trades: PublishTrades
) -> None:
    path = Path(lake.store.scan_path(publish_trades(lake, *range(1_000)).path))
    group = pq.read_metadata(path).row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert columns["outcome_id"].has_dictionary_page
    assert not columns["ts_recv"].has_dictionary_page
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    middle = columns["ts_recv"].data_page_offset + columns["ts_recv"].total_compressed_size // 2
    content = bytearray(path.read_bytes())
    content[middle] ^= 0xFF
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(
            pa.BufferReader(bytes(content)), columns=["ts_recv"], page_checksum_verification=True
        )


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_every_table_can_be_published_empty_and_read_with_its_types(
    lake: Lake, day: date, table: Table
) -> None:
    entry = publish_rows(
        lake, table, f"{table.name}/e.parquet", POLYMARKET, day, rows_to_table(table, []),
        writer="w", time_column=table.sort_by[-1] if table.sort_by[-1].startswith("ts") else None,
    )  # fmt: skip
    assert (entry.rows, entry.first_us, entry.last_us) == (0, None, None)
    scan = scan_table(lake, table, POLYMARKET, [day])
    assert scan.files == 1
    assert scan.frame.collect().schema == table.polars


def test_a_value_of_the_wrong_type_is_refused_by_its_column(make_trade: MakeTrade) -> None:
    row = list(make_trade(0))
    row[4] = "half"
    with pytest.raises(SchemaError, match=r"^trades\.price: "):
        rows_to_table(TRADES, [tuple(row)])
    row = list(make_trade(0))
    row[0] = 2**70
    with pytest.raises(SchemaError, match=r"^trades\.ts_recv: "):
        rows_to_table(TRADES, [tuple(row)])


def test_rows_of_the_wrong_width_are_refused(make_trade: MakeTrade) -> None:
    with pytest.raises(SchemaError, match="10 values a row, 11 columns"):
        rows_to_table(TRADES, [make_trade(0)[:-1]])
    with pytest.raises(SchemaError, match="10 values a row, 11 columns"):
        rows_to_table(TRADES, [make_trade(0), make_trade(0)[:-1]])


def test_missing_and_unknown_columns_are_named(
    lake: Lake, day: date, make_trade: MakeTrade
) -> None:
    frame = _frame(make_trade).drop("size").with_columns(colour=pl.lit("red"))
    with pytest.raises(SchemaError, match=r"trades: columns missing \['size'\], unknown \['colo"):
        _publish(lake, day, frame)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("price", float("nan"), r"trades\.price: NaN"),
        ("price", None, r"price"),
        ("market_id", None, r"market_id"),
        ("ts_recv", None, r"ts_recv"),
        ("price", "half", r"trades: .*half"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_leave_nothing(
    lake: Lake, day: date, make_trade: MakeTrade, column: str, value: object, message: str
) -> None:
    before = _files(lake)
    with pytest.raises(SchemaError, match=message):
        _publish(lake, day, _frame(make_trade, **{column: value}))
    assert _files(lake) == before


def test_one_nan_among_numbers_is_refused(lake: Lake, day: date, make_trade: MakeTrade) -> None:
    rows = [make_trade(0), make_trade(1, "yes-1", float("nan")), make_trade(2)]
    with pytest.raises(SchemaError, match=r"trades\.price: NaN"):
        _publish(lake, day, rows_to_table(TRADES, rows))


def test_a_nan_inside_a_books_levels_is_refused(lake: Lake, day: date) -> None:
    row: dict[str, Any] = dict.fromkeys(SNAPSHOTS.arrow.names)
    row |= {"ts_recv": 0, "market_id": "m", "outcome_id": "o", "seq": 1}
    row |= {"bid_px": [0.5], "bid_sz": [float("nan")], "ask_px": [], "ask_sz": []}
    row |= dict.fromkeys(("status", "trust", "reason"), "x")
    row |= {"tick": 0.01, "book_age_ms": 1}
    with pytest.raises(SchemaError, match=r"orderbook_snapshots\.bid_sz: NaN"):
        publish_rows(
            lake, SNAPSHOTS, "s.parquet", POLYMARKET, day,
            rows_to_table(SNAPSHOTS, [tuple(row.values())]), writer="w",
        )  # fmt: skip


def test_columns_in_another_order_are_put_right(
    lake: Lake, day: date, make_trade: MakeTrade
) -> None:
    frame = _frame(make_trade)
    entry = _publish(lake, day, frame.select(reversed(frame.columns)))
    assert pq.read_schema(lake.store.scan_path(entry.path)).names == TRADES.arrow.names


def _no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
def test_nothing_is_visible_when_the_write_fails(
    lake: Lake,
    day: date,
    publish_trades: PublishTrades,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    before = _files(lake)
    with monkeypatch.context() as patch:
        if step == "write":
            patch.setattr(publish_module.pq, "write_table", _no_space)
        elif step == "fsync":
            patch.setattr(os, "fsync", _no_space)
        else:
            patch.setattr(Path, "replace", _no_space)
        with pytest.raises(PublishError, match=r"trades_2026.*No space left"):
            publish_trades(lake, 1.0)
    assert _files(lake) == before
    assert _staged(lake) == []
    assert read_manifest(lake.store, POLYMARKET, day).entries == ()
    assert scan_table(lake, TRADES, POLYMARKET, [day]).files == 0
    publish_trades(lake, 1.0)
    assert scan_table(lake, TRADES, POLYMARKET, [day]).rows == 1


def test_a_file_that_reads_back_short_is_not_published(
    lake: Lake, day: date, publish_trades: PublishTrades, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = pq.write_table

    def write_half(table: pa.Table, where: Path, **options: Any) -> None:
        write(table.slice(0, table.num_rows // 2), where, **options)

    def write_torn(table: pa.Table, where: Path, **options: Any) -> None:
        write(table, where, **options)
        where.write_bytes(where.read_bytes()[:-20])

    for damage, message in ((write_half, "wrote 4 rows, the file holds 2"), (write_torn, "trades")):
        monkeypatch.setattr(publish_module.pq, "write_table", damage)
        with pytest.raises(PublishError, match=message):
            publish_trades(lake, 1, 2, 3, 4)
    assert read_manifest(lake.store, POLYMARKET, day).entries == ()
    assert _staged(lake) == []


def test_the_manifest_line_comes_after_the_rename(
    lake: Lake, day: date, publish_trades: PublishTrades, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    append = lake.store.append_line

    def append_line(path: str, line: bytes) -> None:
        seen.append(lake.store.size(json.loads(line)["path"]) == json.loads(line)["bytes"])
        append(path, line)

    monkeypatch.setattr(lake.store, "append_line", append_line)
    publish_trades(lake, 1.0)
    assert seen == [True]


def test_a_file_whose_line_could_not_be_written_is_never_seen_and_can_be_published_again(
    lake: Lake, day: date, publish_trades: PublishTrades, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(lake.store, "append_line", _no_space)
        with pytest.raises(PublishError, match="No space left"):
            publish_trades(lake, 1.0)
    assert scan_table(lake, TRADES, POLYMARKET, [day]).files == 0
    publish_trades(lake, 1.0)
    assert scan_table(lake, TRADES, POLYMARKET, [day]).frame.collect().height == 1


def test_staging_is_beside_the_lake_and_not_inside(lake: Lake) -> None:
    staging = lake.store.staging().resolve()
    root = Path(lake.store.root).resolve()
    assert staging.parent == root.parent
    assert root not in staging.parents


@pytest.mark.parametrize(("mine", "other"), [("real", "simulated"), ("simulated", "real")])
def test_a_lake_takes_one_kind_of_data_only(tmp_path: Path, mine: Any, other: Any) -> None:
    root = str(tmp_path / "lake")
    Lake(root, mine)
    Lake(root, mine)
    Lake(root)
    with pytest.raises(OriginError, match=rf"holds {mine} data and this process writes {other}"):
        Lake(root, other)


@pytest.mark.parametrize(
    ("record", "cause"),
    [
        (b"", "cannot be read"),
        (b"[]", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b'{"origin":"real"', "cannot be read"),
        (b"{}", "holds None data"),
        (b'{"origin":"real","schema_version":99}', "schema version 99"),
    ],
)
def test_a_lake_whose_record_is_not_ours_is_refused(
    tmp_path: Path, record: bytes, cause: str
) -> None:
    (tmp_path / "_lake.json").write_bytes(record)
    with pytest.raises(OriginError, match=cause):
        Lake(str(tmp_path), "real")


def test_a_place_that_cannot_hold_a_lake_is_an_error_of_the_lake(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LakeError, match="cannot be used as a lake"):
        Lake(str(tmp_path / "file"), "real")
    with pytest.raises(LakeError, match="not a store this version knows"):
        Lake("gs://bucket/prefix")
    with pytest.raises(LakeError, match="name a prefix"):
        Lake("s3://bucket")


def test_a_day_table_replaces_the_file_before_it(lake: Lake, day: date) -> None:
    required = {c.name: pa.scalar(0).cast(c.type) for c in STATS.columns if not c.nullable}
    row: dict[str, Any] = dict.fromkeys(STATS.arrow.names)
    row |= {name: value.as_py() for name, value in required.items()}
    for markets in (["a"], ["b", "c"]):
        rows = [tuple((row | {"market_id": m, "outcome_id": m}).values()) for m in markets]
        publish_day(
            lake, STATS, POLYMARKET, day, pl.DataFrame(rows_to_table(STATS, rows)), writer="w"
        )
    scan = scan_table(lake, STATS, POLYMARKET, [day])
    assert (scan.files, scan.rows, scan.damaged) == (1, 2, ())
    assert scan.frame.collect()["market_id"].to_list() == ["b", "c"]


def test_a_universe_is_published_whole_or_the_last_one_stands(
    lake: Lake, day: date, markets: list[Market], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_universe(lake, POLYMARKET, day) is None
    entry = publish_universe(lake, POLYMARKET, day, markets[:2], writer="w")
    assert entry.rows == 2
    for target, name in ((os, "fsync"), (Path, "write_bytes"), (Path, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, _no_space)
            with pytest.raises(PublishError, match=r"universe\.jsonl.*No space left"):
                publish_universe(lake, POLYMARKET, day, markets, writer="w")
        assert read_universe(lake, POLYMARKET, day) == markets[:2]
    publish_universe(lake, POLYMARKET, day, markets, writer="w")
    assert read_universe(lake, POLYMARKET, day) == markets
    assert _staged(lake) == []


@pytest.mark.parametrize("dies_at", range(1, 5))
def test_whoever_dies_while_replacing_a_universe_leaves_a_whole_one(
    lake: Lake, day: date, markets: list[Market], monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    """As kill -9 does: nothing after a step happens, not even the cleaning up."""
    publish_universe(lake, POLYMARKET, day, markets[:2], writer="w")
    steps = 0

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == dies_at:
                raise _Killed
            return call(*arguments)

        return step

    class Dying(type(lake.store)):  # type: ignore[misc]
        append_line = dying(type(lake.store).append_line)
        publish_file = dying(type(lake.store).publish_file)

    with monkeypatch.context() as patch:
        patch.setattr(lake, "store", Dying(Path(lake.store.root)))
        with contextlib.suppress(_Killed):
            publish_universe(lake, POLYMARKET, day, markets, writer="w")
    found = read_universe(lake, POLYMARKET, day)
    assert found in (markets[:2], markets)
    assert found == (markets[:2] if dies_at <= 2 else markets)
    publish_universe(lake, POLYMARKET, day, markets, writer="w")
    assert read_universe(lake, POLYMARKET, day) == markets


class _Killed(BaseException):
    pass


def test_a_path_is_a_function_of_its_rows(lake: Lake, publish_trades: PublishTrades) -> None:
    first, again = publish_trades(lake, 1.0, 2.0), publish_trades(lake, 1.0, 2.0)
    assert (first.path, first.digest) == (again.path, again.digest)


def test_a_disk_that_refuses_to_clear_up_as_well_fails_as_a_publication(
    lake: Lake, day: date, make_trade: MakeTrade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_module.pq, "write_table", _no_space)
    monkeypatch.setattr(Path, "unlink", _no_space)
    with pytest.raises(PublishError):
        publish_rows(
            lake, TRADES, "trades/x.parquet", Venue.POLYMARKET, day,
            rows_to_table(TRADES, [make_trade()]), writer="collector-0",
        )  # fmt: skip
