"""The manifest: torn lines, who wins, and a version that changes with the files alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.lake.layout import manifest_segment
from surveillance_core.lake.manifest import (
    ManifestDay,
    ManifestEntry,
    Operation,
    append_entry,
    manifest_days,
    manifest_marks,
    read_manifest,
)
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.read import verify_days
from surveillance_core.markets import Venue

POLYMARKET = Venue.POLYMARKET
DAY = date(2026, 9, 1)
Append = Callable[..., ManifestEntry]


def _entry(
    path: str = "trades/a.parquet",
    *,
    at: int = 1,
    operation: Operation = Operation.PUBLISH,
    table: str = "trades",
    digest: str = "d",
) -> ManifestEntry:
    return ManifestEntry(
        operation=operation,
        table=table,
        path=path,
        bytes=10,
        digest=digest,
        rows=1,
        first_us=0,
        last_us=1,
        schema_version=1,
        published_us=at,
    )


@pytest.fixture
def append(lake: Lake) -> Append:
    def appended(*args: object, writer: str = "w", **options: object) -> ManifestEntry:
        entry = _entry(*args, **options)  # type: ignore[arg-type]
        append_entry(lake.store, POLYMARKET, DAY, writer, entry)
        return entry

    return appended


def _segment(lake: Lake, writer: str = "w") -> Path:
    return Path(lake.store.root) / manifest_segment(POLYMARKET, DAY, writer)


def _read(lake: Lake) -> ManifestDay:
    return read_manifest(lake.store, POLYMARKET, DAY)


def test_nothing_published_is_an_empty_manifest(lake: Lake) -> None:
    manifest = _read(lake)
    assert (manifest.entries, manifest.damaged_lines) == ((), 0)
    assert manifest_days(lake.store, POLYMARKET) == []
    assert manifest_marks(lake.store, POLYMARKET, DAY) == {}


@pytest.mark.parametrize("kept", [1, 20, -2])
def test_a_torn_last_line_is_skipped_and_counted(lake: Lake, append: Append, kept: int) -> None:
    whole = append("trades/a.parquet")
    before = _segment(lake).stat().st_size
    append("trades/b.parquet")
    torn = _segment(lake).read_bytes()
    cut = before + kept if kept > 0 else len(torn) + kept
    _segment(lake).write_bytes(torn[:cut])
    manifest = _read(lake)
    assert manifest.entries == (whole,)
    assert manifest.damaged_lines == 1


def test_a_last_line_that_only_lost_its_end_holds_and_verify_counts_it(
    lake: Lake, append: Append
) -> None:
    whole = append("trades/a.parquet")
    content = _segment(lake).read_bytes()
    assert verify_days(lake, POLYMARKET, [DAY], deep=False)[2] == 0
    _segment(lake).write_bytes(content.removesuffix(b"\n"))
    manifest = _read(lake)
    assert (manifest.entries, manifest.damaged_lines, manifest.unended) == ((whole,), 0, 1)
    assert verify_days(lake, POLYMARKET, [DAY], deep=False)[2] == 1
    append("trades/b.parquet")
    assert verify_days(lake, POLYMARKET, [DAY], deep=False)[2] == 0


def test_the_next_line_after_a_torn_one_loses_only_the_torn_one(lake: Lake, append: Append) -> None:
    first = append("trades/a.parquet")
    append("trades/b.parquet")
    content = _segment(lake).read_bytes()
    _segment(lake).write_bytes(content[:-15])
    third = append("trades/c.parquet")
    manifest = _read(lake)
    assert manifest.entries == (first, third)
    assert manifest.damaged_lines == 1


@pytest.mark.parametrize(
    "garbage",
    [b"\x00" * 64, b"\xff\xfe{}", b"{", b"[]", b"{}", b"[" * 200_000, b'{"path":"\xff"}', b"\r"],
    ids=lambda garbage: repr(garbage[:8]),
)
def test_garbage_between_lines_costs_one_line(lake: Lake, append: Append, garbage: bytes) -> None:
    first = append("trades/a.parquet")
    with _segment(lake).open("ab") as file:
        file.write(garbage + b"\n")
    second = append("trades/b.parquet")
    manifest = _read(lake)
    assert manifest.entries == (first, second)
    assert manifest.damaged_lines == 1


def test_a_later_line_about_a_path_wins(lake: Lake, append: Append) -> None:
    append(at=1, digest="old")
    newer = append(at=2, digest="new")
    assert _read(lake).entries == (newer,)


def test_the_later_of_two_writers_wins_whatever_their_names(lake: Lake, append: Append) -> None:
    newer = append(at=2, digest="new", writer="a")
    append(at=1, digest="old", writer="z")
    assert _read(lake).entries == (newer,)


def test_a_writers_last_line_wins_though_its_clock_was_set_back(lake: Lake, append: Append) -> None:
    append(at=1_000, digest="old")
    newer = append(at=1, digest="new")
    assert _read(lake).entries == (newer,)


def test_what_is_taken_out_is_no_longer_a_file(lake: Lake, append: Append) -> None:
    append("trades/a.parquet", at=1)
    append("trades/b.parquet", at=1)
    taken = append("trades/a.parquet", at=2, operation=Operation.QUARANTINE)
    append("trades/b.parquet", at=2, operation=Operation.RETIRE, writer="compaction")
    manifest = _read(lake)
    assert manifest.files("trades") == []
    assert manifest.quarantined == (taken,)


def test_only_segments_are_read(lake: Lake, append: Append) -> None:
    kept = append()
    _segment(lake).with_suffix(".jsonl.tmp").write_bytes(b"nonsense\n")
    assert (_read(lake).entries, _read(lake).damaged_lines) == ((kept,), 0)


def test_days_are_listed_oldest_first_and_strays_are_not_days(lake: Lake) -> None:
    for day in (date(2026, 9, 2), date(2025, 12, 31), date(2026, 9, 1)):
        append_entry(lake.store, POLYMARKET, day, "w", _entry())
    (Path(lake.store.root) / "_manifest/venue=polymarket/date=soon").mkdir()
    assert manifest_days(lake.store, POLYMARKET) == [
        date(2025, 12, 31), date(2026, 9, 1), date(2026, 9, 2),
    ]  # fmt: skip
    assert manifest_days(lake.store, Venue.KALSHI) == []


def test_a_mark_moves_with_every_line(lake: Lake, append: Append) -> None:
    append()
    one = manifest_marks(lake.store, POLYMARKET, DAY)
    append("trades/b.parquet")
    append(writer="other")
    two = manifest_marks(lake.store, POLYMARKET, DAY)
    assert set(two) == {"w.jsonl", "other.jsonl"}
    assert two["w.jsonl"] > one["w.jsonl"]


def _day(*entries: ManifestEntry) -> ManifestDay:
    return ManifestDay(
        venue=POLYMARKET,
        day=DAY,
        entries=tuple(e for e in entries if e.operation is Operation.PUBLISH),
        quarantined=tuple(e for e in entries if e.operation is Operation.QUARANTINE),
        damaged_lines=0,
    )


FILES = st.dictionaries(
    st.sampled_from(["trades/a", "trades/b", "trades/c"]), st.sampled_from(["1", "2"])
)


@given(FILES, FILES)
def test_the_version_changes_exactly_when_the_files_do(
    one: dict[str, str], two: dict[str, str]
) -> None:
    versions = [
        _day(*(_entry(path, digest=files[path]) for path in sorted(files))).version(["trades"])
        for files in (one, two)
    ]
    assert (versions[0] == versions[1]) == (one == two)


def test_the_version_is_of_the_tables_asked_for_and_not_of_the_time(
    lake: Lake, append: Append
) -> None:
    entry = append("trades/a.parquet", at=1)
    before = _read(lake).version(["trades"])
    append("coverage/a.parquet", table="coverage", at=2)
    append_entry(lake.store, POLYMARKET, DAY, "w", msgspec.structs.replace(entry, published_us=3))
    assert _read(lake).version(["trades"]) == before
    assert _read(lake).version(["trades", "coverage"]) != before
    append("trades/a.parquet", at=4, operation=Operation.QUARANTINE)
    assert _read(lake).version(["trades"]) != before


def _replacing(path: str, *replaces: str, **options: object) -> ManifestEntry:
    return msgspec.structs.replace(_entry(path, **options), replaces=replaces)  # type: ignore[arg-type]


def _append(lake: Lake, entry: ManifestEntry, writer: str = "compaction") -> ManifestEntry:
    append_entry(lake.store, POLYMARKET, DAY, writer, entry)
    return entry


def test_one_line_puts_a_file_in_force_and_takes_out_those_it_replaces(
    lake: Lake, append: Append
) -> None:
    parts = [append(f"trades/{name}.parquet", writer="z") for name in "ab"]
    other = append("trades/c.parquet")
    # whatever its clock says and whatever its segment is called
    whole = _append(lake, _replacing("trades/ab.parquet", *(e.path for e in parts), at=-5))
    assert _read(lake).entries == (whole, other)
    assert _read(lake).former == tuple(parts)
    append("trades/a.parquet", at=9, writer="z")
    assert _read(lake).entries == (whole, other), "a writer that repeats itself adds no row twice"


@pytest.mark.parametrize("kept", [0, 1, 40, -2])
def test_of_a_torn_replacement_nothing_counts(lake: Lake, append: Append, kept: int) -> None:
    parts = tuple(append(f"trades/{name}.parquet") for name in "ab")
    _append(lake, _replacing("trades/ab.parquet", *(e.path for e in parts)))
    segment = _segment(lake, "compaction")
    segment.write_bytes(segment.read_bytes()[:kept])
    assert (_read(lake).entries, _read(lake).former) == (parts, ())


def test_what_a_quarantined_file_replaced_is_in_force_again_unless_it_was_deleted(
    lake: Lake, append: Append
) -> None:
    kept, gone = append("trades/a.parquet"), append("trades/b.parquet")
    whole = _append(lake, _replacing("trades/ab.parquet", kept.path, gone.path))
    retired = msgspec.structs.replace(gone, operation=Operation.RETIRE)
    append_entry(lake.store, POLYMARKET, DAY, "w", retired)
    assert _read(lake).entries == (whole,)
    _append(lake, msgspec.structs.replace(whole, operation=Operation.QUARANTINE))
    assert _read(lake).entries == (kept,)
    assert _read(lake).former == (retired,)


def test_a_retired_file_still_keeps_out_what_it_replaced(lake: Lake, append: Append) -> None:
    part = append("trades/a.parquet")
    first = _append(lake, _replacing("trades/first.parquet", part.path))
    second = _append(lake, _replacing("trades/second.parquet", first.path))
    _append(lake, msgspec.structs.replace(first, operation=Operation.RETIRE))
    assert _read(lake).entries == (second,)


def test_the_version_is_of_the_rows_and_not_of_the_files_that_hold_them(
    lake: Lake, append: Append
) -> None:
    def version() -> str:
        return _read(lake).version(["trades"])

    parts = [append(f"trades/{name}.parquet", digest=name).path for name in "xbz"]
    before = version()
    first = _append(lake, _replacing("trades/m.parquet", *parts[:2], digest="m"))
    assert version() == before
    second = _append(lake, _replacing("trades/a.parquet", first.path, parts[2], digest="n"))
    assert version() == before
    for path in (*parts, first.path):
        entry = next(e for e in _read(lake).former if e.path == path)
        append_entry(
            lake.store, POLYMARKET, DAY, "w",
            msgspec.structs.replace(entry, operation=Operation.RETIRE),
        )  # fmt: skip
    assert version() == before
    append("trades/late.parquet", digest="late")
    assert version() != before
    late = version()
    _append(lake, msgspec.structs.replace(second, operation=Operation.QUARANTINE))
    assert version() not in (before, late)


def test_a_line_of_which_any_bit_is_changed_is_counted_and_not_believed(
    lake: Lake, append: Append
) -> None:
    append()
    segment = Path(lake.store.root) / manifest_segment(POLYMARKET, DAY, "w")
    line = segment.read_bytes()
    for at in range(len(line)):
        segment.write_bytes(line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :])
        manifest = read_manifest(lake.store, POLYMARKET, DAY)
        assert (manifest.entries, manifest.damaged_lines > 0) == ((), True), line[at:]


def test_a_line_of_before_there_were_checksums_is_read(lake: Lake, append: Append) -> None:
    entry = append()
    segment = Path(lake.store.root) / manifest_segment(POLYMARKET, DAY, "w")
    segment.write_bytes(msgspec.json.encode(entry) + b"\n")
    manifest = read_manifest(lake.store, POLYMARKET, DAY)
    assert [found.path for found in manifest.entries] == [entry.path]
    assert manifest.damaged_lines == 0
