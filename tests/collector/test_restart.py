"""Taking up what earlier processes left, while this one goes on."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from surveillance_collector.left_behind import clear_left_staging, recover_left_behind
from surveillance_collector.recording import journal_directory
from surveillance_collector.share import Share
from surveillance_core.lake.layout import collector_lock_file, damaged_segment_file
from surveillance_core.lake.publish import Lake
from tests.faults.journaled import (
    Clock,
    difference,
    driven,
    listed_rows,
    opened,
    rows_of,
    settings_of,
    short_history,
)

from .worlds import SECOND, START_NS, VENUE, opened_segments


async def test_rows_of_a_new_run_do_not_pass_for_those_of_the_run_before_it(
    tmp_path: Path,
) -> None:
    """A process publishes rows of the bucket in which the one before it died, and dies as well."""
    settings = settings_of(tmp_path, bucket_s=10.0, cadence_ms=500, sync_ms=100.0)
    lake = Lake(settings.data_dir, "simulated")
    clock = Clock(START_NS)
    frames = short_history(40, 250)
    first, first_inputs = opened(settings, lake, clock, clock.wall_ns)
    await first.prepare()
    await driven(first, frames, "c1", clock, range(16))
    await first.journal.close()

    second, second_inputs = opened(settings, lake, clock, clock.wall_ns)
    await second.prepare()
    await driven(second, frames, "c1", clock, range(16, 40))
    clock.ns += 10_000_000_000
    assert not await second.publish_due()
    assert second.recorder.files, "it has published before it has recovered"
    await second.journal.close()

    third, _ = opened(settings, lake, clock, clock.wall_ns)
    await third.prepare()
    await third.recover()
    expected = rows_of(settings, first.sampling, first_inputs.records)
    expected += rows_of(settings, second.sampling, second_inputs.records)
    missing, extra, example = difference(listed_rows(lake), expected)
    assert (missing, extra) == (0, 0), example


async def test_a_row_that_time_alone_made_at_a_buckets_edge_keeps_its_segment(
    tmp_path: Path,
) -> None:
    """The segment that begins there has a checkpoint of after the row."""
    settings = settings_of(tmp_path, bucket_s=2.0, cadence_ms=500, sync_ms=100.0)
    lake = Lake(settings.data_dir, "simulated")
    clock = Clock(START_NS)
    history = short_history(10, 200)
    first, inputs = opened(settings, lake, clock, clock.wall_ns)
    await first.prepare()
    await driven(first, history, "c1", clock, range(10))
    clock.ns = START_NS + 2 * SECOND + 100
    first.take(clock())
    assert not await first.publish_due()
    await first.let_go()
    assert first.recorder.files
    assert first.recorder.held, "the edge's row waits for its bucket's end"
    await first.journal.close()

    second, _ = opened(settings, lake, clock, clock.wall_ns)
    await second.prepare()
    await second.recover()
    expected = rows_of(settings, first.sampling, inputs.records)
    missing, extra, example = difference(listed_rows(lake), expected)
    assert (missing, extra) == (0, 0), example


async def test_what_could_not_be_read_of_a_journal_is_kept_beside_the_lake(
    tmp_path: Path,
) -> None:
    settings = settings_of(tmp_path, bucket_s=60.0, cadence_ms=500, sync_ms=100.0)
    lake = Lake(settings.data_dir, "simulated")
    clock = Clock(START_NS)
    first, _ = opened(settings, lake, clock, clock.wall_ns)
    await first.prepare()
    await driven(first, short_history(16, 250), "c1", clock, range(16))
    await first.journal.close()
    directory = journal_directory(settings, lake, VENUE, "0")
    files = opened_segments(directory)
    names = files.names()
    for place, name in zip((600, 3), names, strict=True):
        content = bytearray(files.read(name))
        content[place] ^= 1
        (directory / name).write_bytes(content)
    damaged = {name: files.read(name) for name in names}

    second, _ = opened(settings, lake, clock, clock.wall_ns)
    await second.prepare()
    await second.recover()
    await second.disposal.put_away()
    assert second.state.recovered is not None
    assert sorted(second.state.recovered.damaged) == names
    assert not set(files.names()) & set(names)
    for name, content in damaged.items():
        assert lake.store.read_aside(damaged_segment_file(VENUE, "0", name)) == content


async def test_a_journal_of_a_shard_that_there_is_not_any_more_is_taken_up(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, bucket_s=10.0, cadence_ms=500, sync_ms=100.0)
    lake = Lake(settings.data_dir, "simulated")
    clock = Clock(START_NS)
    before, inputs = opened(settings, lake, clock, clock.wall_ns, shard="1of2")
    await before.prepare()
    await driven(before, short_history(16, 250), "c1", clock, range(16))
    await before.journal.close()
    clock.ns += SECOND

    own = await recover_left_behind(settings, lake, Share(1, 2), [VENUE], clock.ns)
    assert own == [], "its own is taken up by the collector itself"
    with FileLock(lake.store.state_dir() / collector_lock_file("1of2")):
        held = await recover_left_behind(settings, lake, Share(), [VENUE], clock.ns)
        assert held == [], "whoever holds the lock is at work"
    assert await recover_left_behind(settings, lake, Share(), [VENUE], clock.ns) == [
        "journal-polymarket-1of2"
    ]
    expected = rows_of(settings, before.sampling, inputs.records)
    missing, _, example = difference(listed_rows(lake), expected)
    assert missing == 0, example
    assert await recover_left_behind(settings, lake, Share(), [VENUE], clock.ns) == []


def test_what_a_collector_that_died_was_staging_is_gone_at_the_next_start(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"), "simulated")
    own = lake.store.staging() / "collector-0_1234.parquet"
    other = lake.store.staging() / "collector-1of2_1234.parquet"
    for path in (own, other):
        path.write_bytes(b"half")
    clear_left_staging(lake.store, "0")
    assert (own.exists(), other.exists()) == (False, True)
