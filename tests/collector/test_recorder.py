"""Rows to files: by bucket, after its end, each row once whatever fails."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from surveillance_collector.output import RejectedFrame
from surveillance_collector.recorder import Recorder, RejectedFrames
from surveillance_collector.rows import Row, coverage_row, trade_row
from surveillance_core.lake.manifest import ManifestEntry, read_manifest
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.read import verify_days
from surveillance_core.lake.schemas import COVERAGE, TRADES, Table
from surveillance_core.venues.captures import Damaged, FrameRecord, read_capture
from surveillance_core.venues.protocols import Rejected, Trade

from .worlds import MS, SECOND, START_NS, VENUE, lake_rows, rejected_file

BUCKET_US = 3_000_000
FLUSH_US = 1_000_000
START_US = START_NS // 1_000 // BUCKET_US * BUCKET_US
DAY = datetime.fromtimestamp(START_US / 1e6, UTC).date()


@pytest.fixture
def recorder(lake: Lake) -> Recorder:
    return Recorder(lake, VENUE, "0", bucket_us=BUCKET_US, flush_rows=1_000, flush_us=FLUSH_US)


def _trade(number: int, at_us: int) -> tuple[Table, int, Row]:
    trade = Trade(
        market_id="0xmarket",
        outcome_id="yes",
        price=5_000,
        size=1.0,
        taker_side=None,
        printed_outcome_id="yes",
        printed_price=5_000,
        ts_venue_ms=None,
        transaction_id=f"t{number}",
        fee_rate_bps=None,
    )
    return TRADES, at_us, trade_row(trade, at_us * 1_000)


def _ids(lake: Lake) -> list[str]:
    return sorted(lake_rows(lake, TRADES)["transaction_id"].to_list())


def _files(lake: Lake, table: Table = TRADES) -> list[ManifestEntry]:
    return read_manifest(lake.store, VENUE, DAY).files(table.name)


@contextmanager
def _failing(store: object, method: str, times: int = 1) -> Generator[None]:
    """The disk is full for the next calls of a store's method."""
    real: Callable[..., Any] = getattr(store, method)
    left = times

    def full(*arguments: Any) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    setattr(store, method, full)
    try:
        yield
    finally:
        setattr(store, method, real)


# ── buckets ──────────────────────────────────────────────────────────────────────────────────


def test_a_row_belongs_to_the_bucket_of_its_own_time(recorder: Recorder, lake: Lake) -> None:
    last_us = START_US + BUCKET_US - 1
    # both produced late, at one moment
    recorder.add([_trade(1, last_us), _trade(2, last_us + 1)], START_US + 5 * BUCKET_US)
    assert recorder.flush() == []
    first, second = sorted(_files(lake), key=lambda entry: entry.first_us or 0)
    assert (first.first_us, first.last_us) == (last_us, last_us)
    assert (second.first_us, second.last_us) == (last_us + 1, last_us + 1)
    names = [Path(entry.path).name for entry in (first, second)]
    starts = [datetime.fromtimestamp((START_US + n * BUCKET_US) / 1e6, UTC) for n in (0, 1)]
    assert [name.split("_")[1] for name in names] == [f"{s:%Y-%m-%dT%H-%M}" for s in starts]


def test_a_bucket_is_due_once_it_has_ended_and_been_waited_for(recorder: Recorder) -> None:
    recorder.add([_trade(1, START_US), _trade(2, START_US + BUCKET_US)], START_US + BUCKET_US)
    due_us = START_US + BUCKET_US + FLUSH_US
    assert recorder.due(due_us - 1) == []
    (bucket,) = recorder.due(due_us)
    assert [row[-1] for row in bucket.rows] == ["t1"]
    assert recorder.held == 2, "what is being published is still in memory alone"
    assert recorder.due(due_us) == []


def test_tables_are_published_apart(recorder: Recorder, lake: Lake) -> None:
    start_ns = START_US * 1_000
    covered = coverage_row("0xmarket", "yes", start_ns, start_ns + SECOND, "trusted", None)
    recorder.add([_trade(1, START_US), (COVERAGE, START_US, covered)], START_US)
    assert recorder.flush() == []
    assert recorder.published == {"trades": 1, "coverage": 1}
    (entry,) = _files(lake, COVERAGE)
    assert (entry.first_us, entry.rows) == (START_US, 1)


def test_a_bucket_that_grows_too_large_is_published_in_parts(lake: Lake) -> None:
    recorder = Recorder(lake, VENUE, "0", bucket_us=BUCKET_US, flush_rows=10, flush_us=0)
    for part in range(4):
        now_us = START_US + 1_000 + part
        recorder.add([_trade(part * 10 + n, START_US + n) for n in range(10)], now_us)
        assert recorder.publish(recorder.due(now_us)) == []
    assert recorder.held == 0
    entries = _files(lake)
    assert len({entry.path for entry in entries}) == 4
    assert sorted(entry.rows for entry in entries) == [10] * 4
    assert len(set(_ids(lake))) == 40


def test_a_row_that_comes_after_its_bucket_was_published_gets_a_file_of_its_own(
    recorder: Recorder, lake: Lake
) -> None:
    recorder.add([_trade(1, START_US)], START_US)
    later_us = START_US + 2 * BUCKET_US
    assert recorder.publish(recorder.due(later_us)) == []
    recorder.add([_trade(2, START_US)], later_us)
    assert recorder.publish(recorder.due(later_us)) == []
    assert len(_files(lake)) == 2
    assert _ids(lake) == ["t1", "t2"]


def test_flush_publishes_what_is_not_due(recorder: Recorder, lake: Lake) -> None:
    recorder.add([_trade(n, START_US + n * BUCKET_US) for n in range(5)], START_US)
    assert recorder.due(START_US) == []
    assert recorder.flush() == []
    assert recorder.held == 0
    assert _ids(lake) == [f"t{n}" for n in range(5)]
    assert recorder.files == 5
    assert verify_days(lake, VENUE, [DAY], deep=True) == (5, [], 0)


# ── failures ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["publish_file", "append_line", "staging"])
def test_a_full_disk_keeps_the_rows_and_the_retry_publishes_each_once(
    recorder: Recorder, lake: Lake, method: str
) -> None:
    recorder.add([_trade(n, START_US + n) for n in range(3)], START_US + 10)
    recorder.add([_trade(9, START_US + BUCKET_US)], START_US + BUCKET_US)
    due_us = START_US + 3 * BUCKET_US
    with _failing(lake.store, method):
        (failure,) = recorder.publish(recorder.due(due_us))
    assert (failure.table, failure.rows) == ("trades", 3)
    assert "No space left" in failure.error
    assert recorder.held == 3
    assert _ids(lake) == ["t9"], "one bucket's failure must not keep the others back"
    recorder.add([_trade(4, START_US + 4)], due_us)
    assert recorder.publish(recorder.due(due_us)) == []
    assert _ids(lake) == ["t0", "t1", "t2", "t4", "t9"]
    assert recorder.published == {"trades": 5}
    assert recorder.held == 0


def test_rows_that_came_while_a_publish_failed_are_kept_beside_the_old_ones(
    recorder: Recorder, lake: Lake
) -> None:
    recorder.add([_trade(1, START_US)], START_US)
    due_us = START_US + 2 * BUCKET_US
    taken = recorder.due(due_us)
    recorder.add([_trade(2, START_US + 1)], due_us)
    with _failing(lake.store, "publish_file"):
        assert len(recorder.publish(taken)) == 1
    assert recorder.held == 2
    assert recorder.flush() == []
    assert _ids(lake) == ["t1", "t2"]
    (entry,) = _files(lake)
    assert entry.rows == 2


def test_a_row_that_comes_while_others_are_put_back_is_not_lost(
    recorder: Recorder, lake: Lake
) -> None:
    merging, added = threading.Event(), threading.Event()

    class Slow(list[Row]):
        """Rows that take their time to be read."""

        def __iter__(self) -> Iterator[Row]:
            rows = self[:]
            merging.set()
            added.wait(0.3)
            return iter(rows)

    def add_one_more() -> None:
        merging.wait(5)
        recorder.add([_trade(3, START_US + 2)], START_US)
        added.set()

    recorder.add([_trade(1, START_US)], START_US)
    taken = recorder.due(START_US + 2 * BUCKET_US)
    recorder.add([_trade(2, START_US + 1)], START_US)
    (newer,) = recorder._buckets.values()  # pyright: ignore[reportPrivateUsage]
    newer.rows = Slow(newer.rows)
    adding = threading.Thread(target=add_one_more)
    adding.start()
    with _failing(lake.store, "publish_file"):
        recorder.publish(taken)
    adding.join(5)
    assert recorder.held == 3
    assert recorder.flush() == []
    assert _ids(lake) == ["t1", "t2", "t3"]


def test_a_row_that_does_not_fit_its_table_holds_nothing_else_up(
    recorder: Recorder, lake: Lake
) -> None:
    recorder.add([(TRADES, START_US, (START_US, None, "m"))], START_US)
    recorder.add([_trade(1, START_US + BUCKET_US)], START_US)
    (failure,) = recorder.flush()
    assert "values a row" in failure.error
    assert _ids(lake) == ["t1"]


# ── rejected frames ──────────────────────────────────────────────────────────────────────────


def _rejected(number: int, payload: bytes, reason: str = "not_json") -> RejectedFrame:
    return RejectedFrame("c1.1", START_NS + number * MS, Rejected(reason, "why", payload))


def test_rejected_frames_are_kept_where_the_reader_of_recordings_finds_them(lake: Lake) -> None:
    kept = RejectedFrames(lake, VENUE)
    kept.keep([_rejected(1, b'{"a": 1'), _rejected(2, b"line\nbreak \xff\xfe", "not_utf8")])
    kept.keep([_rejected(3, "Ω".encode())])
    path = rejected_file(lake, datetime.fromtimestamp(START_NS / 1e9, UTC))
    records = list(read_capture(path))
    assert [type(record) for record in records] == [FrameRecord] * 3
    frames = [record.frame for record in records if isinstance(record, FrameRecord)]
    assert frames == ['{"a": 1', "line\nbreak \\xff\\xfe", "Ω"]
    assert records[0] == FrameRecord(recv_ns=START_NS + MS, conn="c1.1", frame='{"a": 1')
    assert kept.not_kept == 0
    assert not (Path(lake.store.root) / path.name).exists()


def test_the_day_limit_is_a_limit_and_what_is_beyond_it_is_counted(lake: Lake) -> None:
    kept = RejectedFrames(lake, VENUE, day_limit_bytes=2_000)
    kept.keep([_rejected(number, b"x" * 500) for number in range(10)])
    path = rejected_file(lake, datetime.fromtimestamp(START_NS / 1e9, UTC))
    stored = [r for r in read_capture(path) if not isinstance(r, Damaged)]
    assert path.stat().st_size <= 2_000
    assert 0 < len(stored) < 10
    assert len(stored) + kept.not_kept == 10
    kept.keep([_rejected(0, b"small")])
    assert kept.not_kept == 10 - len(stored), "a frame that still fits is kept"
    tomorrow = _rejected(86_400_000, b"x" * 500)
    kept.keep([tomorrow])
    assert kept.not_kept == 10 - len(stored)


def test_a_disk_that_refuses_rejected_frames_stops_nothing(lake: Lake) -> None:
    kept = RejectedFrames(lake, VENUE)
    with _failing(lake.store, "append_aside"):
        kept.keep([_rejected(1, b"{"), _rejected(2, b"[")])
    path = rejected_file(lake, datetime.fromtimestamp(START_NS / 1e9, UTC))
    assert kept.not_kept == 1
    assert [r.frame for r in read_capture(path) if isinstance(r, FrameRecord)] == ["["]


def test_published_rows_are_typed_and_ordered(recorder: Recorder, lake: Lake) -> None:
    recorder.add([_trade(n, START_US + 100 - n) for n in range(5)], START_US + 200)
    recorder.flush()
    (entry,) = _files(lake)
    stored = pl.read_parquet(lake.store.scan_path(entry.path), hive_partitioning=False)
    assert stored.schema == TRADES.polars
    assert stored["ts_recv"].is_sorted()
