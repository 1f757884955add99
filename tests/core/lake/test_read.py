"""Reading: listed files only, damage found and set aside, types that hold across schema changes."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl
import pyarrow as pa
import pytest

from surveillance_core.lake.layout import QUARANTINE_SUFFIX, manifest_segment, universe_file
from surveillance_core.lake.manifest import ManifestEntry, append_entry, read_manifest
from surveillance_core.lake.publish import (
    Lake,
    file_digest,
    publish_rows,
    publish_universe,
    rows_to_table,
)
from surveillance_core.lake.read import (
    QUARANTINED,
    Damage,
    damage_of,
    latest_universe_day,
    quarantine_file,
    read_universe,
    scan_table,
    unlisted_files,
    verify_days,
)
from surveillance_core.lake.schemas import COVERAGE, TRADES, Column, Table
from surveillance_core.markets import Market, UniverseError, Venue

POLYMARKET = Venue.POLYMARKET
MakeTrade = Callable[..., tuple[object, ...]]
PublishTrades = Callable[..., ManifestEntry]
Spoil = Callable[[Path], object]


def _path(lake: Lake, entry: ManifestEntry) -> Path:
    return Path(lake.store.root) / entry.path


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)


def _halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"PAR1")


CUTS: dict[str, Spoil] = {
    "halved": _halve,
    "emptied": _empty,
    "lengthened": _lengthen,
    "deleted": Path.unlink,
}


def test_files_that_are_not_listed_are_never_seen(
    lake: Lake, day: date, publish_trades: PublishTrades
) -> None:
    entry = publish_trades(lake, 1.0, 2.0)
    published = _path(lake, entry)
    folder = published.parent
    shutil.copy(published, folder / "trades_stray.parquet")
    (folder / "trades_zero.parquet").touch()
    (folder / "trades_half.parquet").write_bytes(published.read_bytes()[:100])
    (folder / "notes.txt").write_text("not a table")
    shutil.copy(published, lake.store.staging() / "staged.parquet")
    scan = scan_table(lake, TRADES, POLYMARKET, [day])
    assert (scan.files, scan.rows, scan.damaged) == (1, 2, ())
    assert scan.frame.collect().height == 2


def test_a_day_without_files_is_an_empty_table_of_the_right_types(lake: Lake, day: date) -> None:
    scan = scan_table(lake, TRADES, POLYMARKET, [day])
    assert scan.frame.collect().schema == TRADES.polars
    assert (scan.files, scan.rows) == (0, 0)


def test_days_and_parts_are_read_together(
    lake: Lake, day: date, publish_trades: PublishTrades, make_trade: MakeTrade
) -> None:
    publish_trades(lake, 1.0)
    publish_trades(lake, 2.0, writer="collector-1")
    tomorrow = day + timedelta(days=1)
    publish_rows(
        lake, TRADES, "trades/later.parquet", POLYMARKET, tomorrow,
        rows_to_table(TRADES, [make_trade(3)]), writer="w",
    )  # fmt: skip
    assert scan_table(lake, TRADES, POLYMARKET, [day]).frame.collect().height == 2
    both = scan_table(lake, TRADES, POLYMARKET, [tomorrow, day])
    assert both.frame.collect().height == both.rows == 3
    assert both.version == scan_table(lake, TRADES, POLYMARKET, [day, tomorrow]).version
    assert scan_table(lake, TRADES, Venue.KALSHI, [day]).files == 0


def test_a_lake_may_lie_in_a_folder_with_odd_characters(
    tmp_path: Path, day: date, publish_trades: PublishTrades
) -> None:
    lake = Lake(str(tmp_path / "a [b]* {c}? d=e % é"), "real")
    publish_trades(lake, 1.0)
    assert scan_table(lake, TRADES, POLYMARKET, [day]).frame.collect().height == 1


@pytest.mark.parametrize("spoil", CUTS.values(), ids=CUTS)
def test_a_file_of_another_size_is_left_out_and_named(
    lake: Lake, day: date, publish_trades: PublishTrades, spoil: Spoil
) -> None:
    bad, good = publish_trades(lake, 1.0, 2.0), publish_trades(lake, 3.0)
    spoil(_path(lake, bad))
    scan = scan_table(lake, TRADES, POLYMARKET, [day])
    assert [damage.entry for damage in scan.damaged] == [bad]
    assert bad.path in str(scan.damaged[0])
    assert (scan.files, scan.frame.collect().height) == (1, good.rows)
    assert read_manifest(lake.store, POLYMARKET, day).quarantined == ()


def test_flipped_bytes_pass_the_size_check_and_fail_the_deep_one(
    lake: Lake, day: date, publish_trades: PublishTrades
) -> None:
    entry = publish_trades(lake, *range(100))
    assert damage_of(lake, entry, deep=True) is None
    _flip(_path(lake, entry))
    assert damage_of(lake, entry) is None
    cause = damage_of(lake, entry, deep=True)
    assert cause is not None
    assert "digest differs" in cause
    assert verify_days(lake, POLYMARKET, [day], deep=False)[1] == []
    assert [d.entry for d in verify_days(lake, POLYMARKET, [day], deep=True)[1]] == [entry]


def test_the_deep_check_decodes_what_the_digest_cannot_judge(
    lake: Lake, publish_trades: PublishTrades
) -> None:
    """A writer that published and listed a bad file: the digest agrees, the content does not."""
    entry = publish_trades(lake, *range(100))
    _flip(_path(lake, entry))
    content = lake.store.read_bytes(entry.path)
    listed = {"digest": file_digest(content), "bytes": len(content)}
    lying = ManifestEntry(**{f: getattr(entry, f) for f in entry.__struct_fields__} | listed)
    cause = damage_of(lake, lying, deep=True)
    assert cause is not None
    assert "cannot be decoded" in cause
    short = ManifestEntry(**{f: getattr(entry, f) for f in entry.__struct_fields__} | {"rows": 7})
    other = publish_trades(lake, *range(100))
    assert other.path == short.path
    assert damage_of(lake, short, deep=True) == "100 rows where 7 were published"


def test_verification_counts_files_and_torn_lines(
    lake: Lake, day: date, publish_trades: PublishTrades
) -> None:
    publish_trades(lake, 1.0)
    publish_trades(lake, 2.0)
    segment = Path(lake.store.root) / manifest_segment(POLYMARKET, day, "collector-0")
    with segment.open("ab") as file:
        file.write(b'{"operation":')
    assert verify_days(lake, POLYMARKET, [day], deep=True) == (2, [], 1)


@pytest.mark.parametrize("spoil", [*CUTS.values(), _flip], ids=[*CUTS, "flipped"])
def test_quarantine_moves_the_file_and_withdraws_trust_from_its_time(
    lake: Lake, day: date, publish_trades: PublishTrades, spoil: Spoil
) -> None:
    bad, good = publish_trades(lake, 1.0, 2.0), publish_trades(lake, 3.0)
    spoil(_path(lake, bad))
    left = _path(lake, bad).read_bytes() if _path(lake, bad).exists() else None
    [damage] = verify_days(lake, POLYMARKET, [day], deep=True)[1]
    target = quarantine_file(lake, damage)
    assert not _path(lake, bad).exists()
    if left is None:
        assert target == ""
    else:
        assert Path(target).read_bytes() == left
        assert Path(target).is_relative_to(lake.store.root + QUARANTINE_SUFFIX)
    manifest = read_manifest(lake.store, POLYMARKET, day)
    assert [entry.path for entry in manifest.files("trades")] == [good.path]
    assert [(entry.path, entry.cause) for entry in manifest.quarantined] == [
        (bad.path, damage.cause)
    ]
    assert bad.first_us is not None
    assert bad.last_us is not None
    [row] = scan_table(lake, COVERAGE, POLYMARKET, [day]).frame.collect().to_dicts()
    assert row == {
        "market_id": None,
        "outcome_id": None,
        "ts_start": datetime.fromtimestamp(bad.first_us / 1e6, UTC),
        "ts_end": datetime.fromtimestamp((bad.last_us + 1) / 1e6, UTC),
        "state": "untrusted",
        "cause": QUARANTINED,
    }
    assert verify_days(lake, POLYMARKET, [day], deep=True)[1] == []


def test_a_writers_scan_quarantines_once(
    lake: Lake, day: date, publish_trades: PublishTrades
) -> None:
    _halve(_path(lake, publish_trades(lake, 1.0)))
    before = scan_table(lake, TRADES, POLYMARKET, [day]).version
    first = scan_table(lake, TRADES, POLYMARKET, [day], quarantine=True)
    assert len(first.damaged) == 1
    second = scan_table(lake, TRADES, POLYMARKET, [day], quarantine=True)
    assert second.damaged == ()
    assert second.version != before
    assert scan_table(lake, COVERAGE, POLYMARKET, [day]).rows == 1


def test_a_quarantined_file_can_be_published_again(
    lake: Lake, day: date, publish_trades: PublishTrades
) -> None:
    bad = publish_trades(lake, 1.0)
    _halve(_path(lake, bad))
    quarantine_file(lake, Damage(POLYMARKET, day, bad, "cut"))
    publish_trades(lake, 1.0)
    assert scan_table(lake, TRADES, POLYMARKET, [day]).frame.collect().height == 1


NEWER = dataclasses.replace(
    TRADES, columns=(*TRADES.columns, Column("venue_fee", pa.float64(), "A column of later."))
)


def _publish_as(lake: Lake, table: Table, name: str, day: date, row: tuple[object, ...]) -> None:
    publish_rows(
        lake, table, f"trades/{name}.parquet", POLYMARKET, day, rows_to_table(table, [row]),
        writer="w",
    )  # fmt: skip


def test_a_column_added_at_the_end_reads_both_ways(
    lake: Lake, day: date, make_trade: MakeTrade
) -> None:
    _publish_as(lake, TRADES, "old", day, make_trade(0))
    _publish_as(lake, NEWER, "new", day, (*make_trade(1), 0.25))
    newer = scan_table(lake, NEWER, POLYMARKET, [day]).frame.sort("ts_recv").collect()
    assert newer["venue_fee"].to_list() == [None, 0.25]
    assert newer.schema == NEWER.polars
    older = scan_table(lake, TRADES, POLYMARKET, [day]).frame.collect()
    assert older.schema == TRADES.polars
    assert older.height == 2


def test_types_are_pinned_whatever_the_rows_hold(
    lake: Lake, day: date, make_trade: MakeTrade
) -> None:
    row = list(make_trade(0))
    row[1] = row[6] = row[9] = row[10] = None
    _publish_as(lake, TRADES, "bare", day, tuple(row))
    frame = scan_table(lake, TRADES, POLYMARKET, [day]).frame.collect()
    assert frame.schema == TRADES.polars
    assert frame.schema["ts_recv"] == pl.Datetime("us", "UTC")
    assert frame["taker_side"].to_list() == [None]


@pytest.mark.parametrize("lines", [0, 1, 2])
def test_a_universe_cut_between_two_lines_is_refused(
    lake: Lake, day: date, markets: list[Market], lines: int
) -> None:
    path = _path(lake, publish_universe(lake, POLYMARKET, day, markets, writer="w"))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:lines]))
    with pytest.raises(UniverseError, match=r"universe\.jsonl: \d+ bytes where \d+ were publish"):
        read_universe(lake, POLYMARKET, day)


def test_a_universe_that_is_not_listed_is_not_read(
    lake: Lake, day: date, markets: list[Market]
) -> None:
    path = _path(lake, publish_universe(lake, POLYMARKET, day, markets, writer="w"))
    other = day + timedelta(days=1)
    stray = Path(str(path).replace(day.isoformat(), other.isoformat()))
    stray.parent.mkdir(parents=True)
    shutil.copy(path, stray)
    assert read_universe(lake, POLYMARKET, other) is None
    path.unlink()
    assert read_universe(lake, POLYMARKET, day) is None


def test_the_newest_universe_is_neither_of_tomorrow_nor_too_old(
    lake: Lake, day: date, markets: list[Market], publish_trades: PublishTrades
) -> None:
    two_days = timedelta(days=2)
    assert latest_universe_day(lake, POLYMARKET, day, two_days) is None
    publish_trades(lake, 1.0)
    for offset in (-3, -2, 1):
        moment = day + timedelta(days=offset)
        publish_universe(lake, POLYMARKET, moment, markets, writer="w")
    assert latest_universe_day(lake, POLYMARKET, day, two_days) == day - two_days
    assert latest_universe_day(lake, POLYMARKET, day, timedelta(days=1)) is None
    assert latest_universe_day(lake, Venue.KALSHI, day, two_days) is None


def test_a_quarantine_that_the_manifest_does_not_take_up_ends_all_the_same(
    lake: Lake, day: date, publish_trades: PublishTrades
) -> None:
    """A writer whose clock was ahead: its line stays the later one."""
    entry = publish_trades(lake, 1.0)
    ahead = msgspec.structs.replace(entry, published_us=2**60)
    append_entry(lake.store, POLYMARKET, day, "collector-0", ahead)
    _halve(_path(lake, entry))
    scan = scan_table(lake, TRADES, POLYMARKET, [day], quarantine=True)
    assert [damage.entry for damage in scan.damaged] == [ahead]
    assert scan.files == 0


def test_a_changed_byte_is_noticed_by_readers_who_ask_for_it(
    lake: Lake, day: date, publish_trades: PublishTrades
) -> None:
    bad, good = publish_trades(lake, 1.0, 2.0), publish_trades(lake, 3.0)
    _flip(_path(lake, bad))
    scan = scan_table(lake, TRADES, POLYMARKET, [day], deep=True)
    assert [damage.entry.path for damage in scan.damaged] == [bad.path]
    assert scan.frame.collect().height == good.rows == 1
    assert scan_table(lake, TRADES, POLYMARKET, [day]).files == 2, "its size is the same"


def test_files_that_no_line_names_are_told(
    lake: Lake, day: date, publish_trades: PublishTrades, markets: list[Market]
) -> None:
    entry = publish_trades(lake, 1.0)
    publish_universe(lake, POLYMARKET, day, markets, writer="universe")
    assert unlisted_files(lake, POLYMARKET, day) == []
    for writer in ("collector-0", "universe"):
        (Path(lake.store.root) / manifest_segment(POLYMARKET, day, writer)).unlink()
    assert unlisted_files(lake, POLYMARKET, day) == [
        entry.path, universe_file(POLYMARKET, day)
    ]  # fmt: skip
