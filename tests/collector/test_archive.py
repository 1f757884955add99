"""Segments become files of the raw archive that give back what they held, and go when old."""

from __future__ import annotations

import asyncio
import errno
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from surveillance_collector import disposal
from surveillance_collector.journal.archive import SegmentArchive
from surveillance_collector.journal.files import LocalSegments
from surveillance_collector.journal.records import (
    Header,
    Kind,
    encode_payload,
    encode_record,
)
from surveillance_core.lake.compaction import compact_day
from surveillance_core.lake.layout import RAW
from surveillance_core.lake.manifest import ManifestEntry
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.raw import open_raw, retire_raw
from surveillance_core.lake.read import unlisted_files, verify_days
from surveillance_core.markets import Venue
from surveillance_core.settings import Settings
from surveillance_core.venues.captures import (
    Began,
    CaptureRecord,
    FrameRecord,
    Passed,
    capture_records,
)

from .archiving import (
    BEGIN_NS,
    DAY,
    SHARD,
    Collecting,
    collect,
    eventful,
    quick,
    raw_entries,
    rows_by_table,
)
from .live import until
from .worlds import SECOND, VENUE, opened_segments, sampled

KALSHI = Venue.KALSHI
HOURS_48 = 48 * 3_600 * SECOND


@pytest.fixture
def keeping(config: Path, tmp_path: Path) -> Settings:
    return quick(config, tmp_path / "lake")


def held(lake: Lake, venue: Venue = VENUE) -> list[list[CaptureRecord]]:
    """Lines of each file of the archive."""
    return [list(capture_records(open_raw(lake, entry))) for entry in raw_entries(lake, venue)]


# ── files ────────────────────────────────────────────────────────────────────────────────────


async def test_each_file_tells_what_stands_when_it_begins(keeping: Settings, lake: Lake) -> None:
    await collect(keeping, lake, VENUE, eventful(VENUE))
    files = held(lake)
    entries = raw_entries(lake, VENUE)
    assert len(files) > 5
    positions = [entry.journal for entry in entries]
    for number, (lines, entry) in enumerate(zip(files, entries, strict=True)):
        assert isinstance(lines[0], Began)
        assert len(lines) == entry.rows
        assert (entry.table, entry.first_us) == (RAW, lines[0].recv_ns // 1_000)
        assert entry.journal is not None
        assert lines[0].first == entry.journal[0]
        if number:
            before = positions[number - 1]
            assert before is not None
            assert before[1] + 1 == entry.journal[0], "none is missing"
            standing = [line for line in lines[:-1] if getattr(line, "standing", False)]
            assert standing
            assert standing == lines[1 : 1 + len(standing)]
            assert files[number - 1][-1] == Passed(recv_ns=lines[0].recv_ns, standing=True)
    assert {entry.path.split("/")[3] for entry in entries} == {"hour=14", "hour=15"}
    assert opened_segments(Path(f"{lake.store.root}.state/journal-polymarket-0")).names() == []


async def test_nothing_is_archived_where_nothing_is_to_be_kept(
    config: Path, tmp_path: Path, lake: Lake
) -> None:
    await collect(quick(config, tmp_path / "lake", 0.0), lake, VENUE, eventful(VENUE))
    assert raw_entries(lake, VENUE) == []
    assert opened_segments(Path(f"{lake.store.root}.state/journal-polymarket-0")).names() == []


async def test_who_reads_the_lake_bears_the_archive(keeping: Settings, lake: Lake) -> None:
    await collect(keeping, lake, VENUE, eventful(VENUE))
    entries, rows = raw_entries(lake, VENUE), rows_by_table(lake, VENUE)
    done = compact_day(lake, VENUE, DAY, margin=timedelta(0), grace=timedelta(0))
    assert (done.damaged, done.failed) == ([], [])
    assert done.merged
    assert rows_by_table(lake, VENUE) == rows
    assert raw_entries(lake, VENUE) == entries
    checked, damaged, lines = verify_days(lake, VENUE, [DAY], deep=True)
    assert checked >= len(entries)
    assert (damaged, lines) == ([], 0)
    assert unlisted_files(lake, VENUE, DAY) == []
    path = Path(lake.store.root, entries[0].path)
    _flip(path)
    _, damaged, _ = verify_days(lake, VENUE, [DAY], deep=True)
    assert [damage.entry.path for damage in damaged] == [entries[0].path]
    stray = path.with_name("frames_2026-09-21T14-00_0_1-2.zst")
    stray.write_bytes(b"")
    assert unlisted_files(lake, VENUE, DAY) == [str(stray.relative_to(lake.store.root))]


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# ── segments ─────────────────────────────────────────────────────────────────────────────────


def header_of(first: int, *, continues: bool = False, run: int = 100) -> bytes:
    header = Header(
        venue=VENUE, shard=SHARD, first=first, run=run, continues=continues, sampling=sampled()
    )
    return encode_record(
        Kind.HEADER, 0 if continues else BEGIN_NS + first, 0, encode_payload(header)
    )


def frames(first: int, last: int) -> list[bytes]:
    return [encode_record(Kind.FRAME, BEGIN_NS + n, 1, b"%d" % n) for n in range(first, last + 1)]


def written(directory: Path, **segments: list[bytes]) -> LocalSegments:
    """Segments by their names."""
    files = opened_segments(directory)
    for name, content in segments.items():
        (directory / _name(name)).write_bytes(b"".join(content))
    return files


def _name(short: str) -> str:
    return f"{int(short[1:]):016x}-0000.wal"


OPENED = encode_record(Kind.STANDING_CONNECTION, BEGIN_NS, 1, b"c1")


def numbers(lines: list[CaptureRecord]) -> list[int]:
    return [int(line.frame) for line in lines if isinstance(line, FrameRecord)]


def test_segments_that_go_on_are_one_file_and_nothing_is_there_twice(
    tmp_path: Path, lake: Lake
) -> None:
    files = written(
        tmp_path / "j",
        s100=[header_of(100), OPENED, *frames(100, 109)],
        # the last ones were not synced, and are there again
        s105=[header_of(105, continues=True), *frames(105, 114)],
        s115=[header_of(115), OPENED, *frames(115, 119)],
        s120=[header_of(120), OPENED],
    )
    archive = SegmentArchive(files, lake, VENUE, SHARD, keep=True)
    assert archive.put_away([_name("s100"), _name("s105"), _name("s115")]) == []
    assert files.names() == [_name("s120")]
    assert [numbers(lines) for lines in held(lake)] == [list(range(100, 115)), [*range(115, 120)]]
    assert [entry.journal for entry in raw_entries(lake, VENUE)] == [(100, 114), (115, 119)]


def test_damage_costs_what_is_damaged_and_is_reported(tmp_path: Path, lake: Lake) -> None:
    whole = b"".join([header_of(100), OPENED, *frames(100, 109)])
    files = written(
        tmp_path / "j",
        s100=[whole[:-5]],
        s110=[b"not a segment"],
        s120=[header_of(120, run=120), OPENED, b"", *frames(120, 121)],
        s122=[header_of(122, continues=True, run=120), *frames(122, 123)],
    )
    archive = SegmentArchive(files, lake, VENUE, SHARD, keep=True)
    with capture_logs() as logs:
        assert archive.put_away(files.names()) == []
    assert {entry["event"] for entry in logs} == {"segment_not_archived", "archived_with_damage"}
    assert [numbers(lines) for lines in held(lake)] == [[*range(100, 109)], [*range(120, 124)]]
    assert files.names() == []


def test_frames_whose_beginning_is_lost_are_kept_apart(tmp_path: Path, lake: Lake) -> None:
    files = written(tmp_path / "j", s105=[header_of(105, continues=True), *frames(105, 106)])
    assert SegmentArchive(files, lake, VENUE, SHARD, keep=True).put_away(files.names()) == []
    (lines,) = held(lake)
    assert {line.conn for line in lines if isinstance(line, FrameRecord)} == {"unnamed-1"}
    assert numbers(lines) == [105, 106]


def test_a_lake_that_is_full_keeps_the_segments_and_is_tried_again(
    tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = written(
        tmp_path / "j",
        s100=[header_of(100), OPENED, *frames(100, 109)],
        s110=[header_of(110), OPENED, *frames(110, 119)],
    )
    names = files.names()
    publish_file = lake.store.publish_file

    def full(staged: Path, path: str) -> None:
        if path.count("frames_") and len(raw_entries(lake, VENUE)) >= allowed:
            raise OSError(errno.ENOSPC, "No space left on device", str(staged))
        publish_file(staged, path)

    monkeypatch.setattr(lake.store, "publish_file", full)
    archive = SegmentArchive(files, lake, VENUE, SHARD, keep=True)
    allowed = 0
    with capture_logs() as logs:
        assert archive.put_away(names) == archive.put_away(names) == names
        allowed = 1
        assert archive.put_away(names) == names[1:]
    assert [entry["event"] for entry in logs] == ["journal_not_retired"]
    assert files.names() == names[1:]
    allowed = 2
    assert archive.put_away(names[1:]) == []
    assert [numbers(lines) for lines in held(lake)] == [[*range(100, 110)], [*range(110, 120)]]
    assert list(lake.store.staging().iterdir()) == []


def test_archiving_again_what_was_archived_and_not_deleted_adds_nothing(
    tmp_path: Path, lake: Lake
) -> None:
    content = [header_of(100), OPENED, *frames(100, 109)]
    files = written(tmp_path / "j", s100=content)
    archive = SegmentArchive(files, lake, VENUE, SHARD, keep=True)
    assert archive.put_away(files.names()) == []
    (before,) = raw_entries(lake, VENUE)
    written(tmp_path / "j", s100=content)
    assert archive.put_away(files.names()) == []
    (after,) = raw_entries(lake, VENUE)
    assert (after.path, after.digest) == (before.path, before.digest)


# ── retention ────────────────────────────────────────────────────────────────────────────────


async def test_what_is_older_than_it_is_kept_goes_once_an_hour(
    keeping: Settings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    await collect(keeping, lake, VENUE, eventful(VENUE))
    entries, rows = raw_entries(lake, VENUE), rows_by_table(lake, VENUE)
    looks: list[int] = []

    def looking(lake: Lake, venue: Venue, shard: str, before_us: int) -> list[ManifestEntry]:
        looks.append(before_us)
        return retire_raw(lake, venue, shard, before_us)

    monkeypatch.setattr(disposal, "retire_raw", looking)
    monkeypatch.setattr(disposal, "LOOK_SECONDS", 0.01)
    collecting = Collecting(keeping, lake, VENUE)
    collecting.now_ns = (entries[2].last_us or 0) * 1_000 + 24 * 3_600 * SECOND
    await collecting.recording.prepare()
    task = asyncio.create_task(collecting.recording.run())
    try:
        await until(lambda: looks, "a look at the archive")
        await until(lambda: raw_entries(lake, VENUE) == entries[2:], "what is too old retired")
        await until(lambda: lake.store.size(entries[1].path) is None, "and deleted")
        assert lake.store.size(entries[2].path)
        collecting.now_ns += 3_599 * SECOND
        asked = collecting.asked
        await until(lambda: collecting.asked > asked + 20, "time asked for, and asked for again")
        assert len(looks) == 1, "not before an hour has passed"
        collecting.now_ns += 2 * SECOND
        await until(lambda: not raw_entries(lake, VENUE), "the rest retired")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert len(looks) == 2
    assert rows_by_table(lake, VENUE) == rows
    assert verify_days(lake, VENUE, [DAY], deep=True)[1:] == ([], 0)


async def test_who_dies_while_deleting_leaves_nothing_that_stays(
    keeping: Settings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    await collect(keeping, lake, VENUE, eventful(VENUE))
    paths = [Path(lake.store.root, entry.path) for entry in raw_entries(lake, VENUE)]
    later_us = (BEGIN_NS + HOURS_48) // 1_000
    delete_files = lake.store.delete_files

    def dying(names: list[str]) -> None:
        delete_files(names[:2])
        raise OSError(errno.EIO, "died")

    monkeypatch.setattr(lake.store, "delete_files", dying)
    with pytest.raises(OSError, match="died"):
        retire_raw(lake, VENUE, SHARD, later_us)
    assert raw_entries(lake, VENUE) == []
    monkeypatch.undo()
    assert any(path.exists() for path in paths)
    assert retire_raw(lake, VENUE, SHARD, later_us) == []
    assert not any(path.exists() for path in paths)


async def test_a_run_goes_on_archiving_while_it_collects(keeping: Settings, lake: Lake) -> None:
    collecting = Collecting(keeping, lake, VENUE)
    await collecting.recording.prepare()
    task = asyncio.create_task(collecting.recording.run())
    try:
        await collecting.follow(eventful(VENUE))
        collecting.now_ns += 60 * SECOND
        await until(lambda: raw_entries(lake, VENUE), "a file of the archive")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await collecting.recording.stop()
    found = [n for lines in held(lake) for n in lines if isinstance(n, FrameRecord)]
    assert len(found) == sum(name == "take" for name, _ in eventful(VENUE))
