"""The write-ahead log: what is synced is there again, and what the lake has is not made twice."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from surveillance_collector.engine import Engine
from surveillance_collector.journal.files import LocalSegments
from surveillance_collector.journal.records import (
    Header,
    JournalDamaged,
    Kind,
    Segment,
    encode_record,
    read_header,
)
from surveillance_collector.journal.recovery import Recovered, recover
from surveillance_collector.journal.sink import JournaledEngine
from surveillance_collector.journal.writer import Journal
from surveillance_collector.output import Output
from surveillance_collector.rows import Row
from surveillance_collector.sampling import Sampling, Tier
from surveillance_core.lake.layout import parse_segment_name
from surveillance_core.venues.polymarket.channel import PolymarketChannel

from .worlds import SECOND, VENUE, new_engine, opened_segments, recorded, sampled

FIRST = 1_000
Rows = list[tuple[str, int, Row]]


# ── records ──────────────────────────────────────────────────────────────────────────────────


@given(
    payloads=st.lists(st.binary(max_size=200), max_size=8),
    cut=st.integers(0, 2_000),
)
def test_a_segment_that_breaks_off_gives_every_record_before_the_break(
    payloads: list[bytes], cut: int
) -> None:
    records = [encode_record(Kind.FRAME, n, 1, payload) for n, payload in enumerate(payloads)]
    content = b"".join(records)[:cut]
    whole = [n for n in range(len(records)) if len(b"".join(records[: n + 1])) <= cut]
    segment = Segment(content)
    assert [record.payload for record in segment] == [payloads[n] for n in whole]
    assert segment.skipped_bytes == len(content) - len(b"".join(records[: len(whole)]))


@given(
    payloads=st.lists(st.binary(max_size=60), min_size=1, max_size=5),
    at=st.integers(0, 10_000),
    bit=st.integers(0, 7),
)
def test_a_flipped_bit_costs_what_comes_after_it_and_passes_for_nothing_else(
    payloads: list[bytes], at: int, bit: int
) -> None:
    records = [encode_record(Kind.FRAME, n, 1, payload) for n, payload in enumerate(payloads)]
    content = bytearray(b"".join(records))
    at %= len(content)
    content[at] ^= 1 << bit
    read = [record.payload for record in Segment(bytes(content))]
    before = sum(len(b"".join(records[: n + 1])) <= at for n in range(len(records)))
    assert read == payloads[:before]


def test_a_file_that_is_no_segment_is_called_so() -> None:
    for content in (b"", b"\0" * 100, encode_record(Kind.FRAME, 1, 1, b"{}")):
        with pytest.raises(JournalDamaged, match="no header"):
            read_header(content)
    with pytest.raises(JournalDamaged, match="header"):
        read_header(encode_record(Kind.HEADER, 1, 0, b"\xc1"))


# ── writing ──────────────────────────────────────────────────────────────────────────────────


class FailingFiles(LocalSegments):
    """A disk that refuses the n-th operations it is told to."""

    def __init__(self, directory: Path, failing: Sequence[int] = (), number: int = errno.EIO):
        super().__init__(directory)
        self.failing = set(failing)
        self.number = number
        self.operations = 0
        self.synced_after_failure: list[int] = []
        self._bad: set[int] = set()
        self.reserve = 0

    def _operate(self, descriptor: int | None = None) -> None:
        self.operations += 1
        if self.operations in self.failing:
            if descriptor is not None:
                self._bad.add(descriptor)
            raise OSError(self.number, "refused")

    def create(self, name: str) -> int:
        self._operate()
        descriptor = super().create(name)
        self._bad.discard(descriptor)
        return descriptor

    def write(self, descriptor: int, content: bytes) -> None:
        self._operate(descriptor)
        super().write(descriptor, content)

    def sync(self, descriptor: int) -> None:
        if descriptor in self._bad:
            self.synced_after_failure.append(descriptor)
        self._operate(descriptor)
        super().sync(descriptor)

    def allocate_reserve(self, size: int) -> None:
        self.reserve = size

    def release_reserve(self) -> None:
        self.reserve = 0


def header_of(first: int = FIRST, run: int = FIRST, sampling: Sampling | None = None) -> Header:
    return Header(
        venue=VENUE,
        shard="0",
        first=first,
        run=run,
        continues=False,
        sampling=sampling or sampled(),
    )


def journal_of(files: LocalSegments, header: Header | None = None, **limits: int) -> Journal:
    return Journal(
        files,
        header or header_of(),
        sync_seconds=0.001,
        limit_bytes=limits.get("limit_bytes", 1_000_000),
        reserve_bytes=limits.get("reserve_bytes", 0),
    )


def inputs_in(files: LocalSegments) -> list[bytes]:
    """Payloads of all inputs, each once, as recovery would read them."""
    found: dict[int, bytes] = {}
    for name in files.names():
        parsed = parse_segment_name(name)
        assert parsed is not None
        position = parsed[0] - 1
        for record in Segment(files.read(name)):
            if record.kind >= Kind.CONNECT:
                position += 1
                found[position] = record.payload
    assert list(found) == list(range(FIRST, FIRST + len(found)))
    return list(found.values())


async def test_what_is_synced_is_in_the_files_in_order(tmp_path: Path) -> None:
    files = opened_segments(tmp_path / "j")
    journal = journal_of(files)
    journal.begin_segment(1, [])
    payloads = [b"%d" % n for n in range(10)]
    for n, payload in enumerate(payloads):
        assert journal.append(Kind.FRAME, n, 1, payload) == FIRST + n
        if n == 6:
            journal.begin_segment(2, [])
    assert journal.synced == FIRST - 1
    assert await journal.sync()
    assert (journal.synced, journal.waiting_bytes) == (FIRST + 9, 0)
    assert len(files.names()) == 2
    assert inputs_in(files) == payloads


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
async def test_a_disk_that_fails_costs_nothing_and_no_descriptor_is_synced_again(
    tmp_path: Path, number: int
) -> None:
    for n in range(1, 16):
        files = FailingFiles(tmp_path / f"{number}-{n}", (n, n + 1, n + 3), number)
        journal = journal_of(files, reserve_bytes=10)
        await journal.set_reserve()
        journal.begin_segment(1, [])
        payloads: list[bytes] = []
        for turn in range(12):
            payloads.append(b"%d" % turn)
            journal.append(Kind.FRAME, turn, 1, payloads[-1])
            if turn % 4 == 3:
                journal.begin_segment(turn, [])
            synced = await journal.sync()
            assert synced == (journal.failing is None)
            if not synced:
                assert journal.on_reserve == (number == errno.ENOSPC)
            assert (
                inputs_in(files)[: journal.synced - FIRST + 1]
                == payloads[: journal.synced - FIRST + 1]
            )
        assert await journal.sync()
        assert inputs_in(files) == payloads
        assert files.synced_after_failure == []
        assert journal.failures


class SlowSync(FailingFiles):
    """A disk whose syncs end when they are told to, as they are told to."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.syncing = threading.Event()
        self.go_on = threading.Event()
        self.refuse_writes = False

    def write(self, descriptor: int, content: bytes) -> None:
        if self.refuse_writes:
            # as a full disk does, which takes some of it
            LocalSegments.write(self, descriptor, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "refused")
        super().write(descriptor, content)

    def sync(self, descriptor: int) -> None:
        self.syncing.set()
        assert self.go_on.wait(10.0)
        super().sync(descriptor)


async def _until(there: Callable[[], bool]) -> None:
    async with asyncio.timeout(10.0):
        while not there():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def _slow(directory: Path) -> tuple[SlowSync, Journal, asyncio.Task[bool], list[bytes]]:
    """A journal in the middle of a sync of three inputs, to which as many have come since."""
    files = SlowSync(directory)
    journal = journal_of(files)
    journal.begin_segment(1, [])
    payloads = [b"%d" % n for n in range(6)]
    for n, payload in enumerate(payloads[:3]):
        journal.append(Kind.FRAME, n, 1, payload)
    syncing = asyncio.create_task(journal.sync())
    await _until(files.syncing.is_set)
    for n, payload in enumerate(payloads[3:], 3):
        journal.append(Kind.FRAME, n, 1, payload)
    return files, journal, syncing, payloads


async def test_what_comes_while_the_disk_syncs_is_written_and_not_yet_acknowledged(
    tmp_path: Path,
) -> None:
    files, journal, syncing, payloads = await _slow(tmp_path / "j")
    # whoever is killed now finds all of it
    await _until(lambda: inputs_in(files) == payloads)
    assert journal.synced == FIRST - 1
    files.go_on.set()
    assert await syncing
    assert journal.synced == FIRST + 2
    assert journal.waiting_bytes > 0
    assert await journal.sync()
    assert (journal.synced, journal.waiting_bytes) == (FIRST + 5, 0)
    assert len(files.names()) == 1
    assert inputs_in(files) == payloads


async def test_what_was_written_while_a_sync_failed_is_written_anew(tmp_path: Path) -> None:
    files, journal, syncing, payloads = await _slow(tmp_path / "j")
    await _until(lambda: inputs_in(files) == payloads)
    files.failing = {files.operations + 1}
    files.go_on.set()
    assert not await syncing
    assert journal.synced == FIRST - 1
    assert inputs_in(files) == []
    assert await journal.sync()
    assert journal.synced == FIRST + 5
    assert inputs_in(files) == payloads
    assert files.synced_after_failure == []


@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_disk_that_is_full_beside_a_sync_costs_that_sync_nothing(
    tmp_path: Path, goes_on: bool
) -> None:
    """And what it took of the next inputs is not gone on from, whether or not it has room again."""
    files, journal, syncing, payloads = await _slow(tmp_path / "j")
    files.refuse_writes = True
    await _until(lambda: len(Path(tmp_path / "j", files.names()[0]).read_bytes()) > 0)
    await asyncio.sleep(0.02)
    files.go_on.set()
    assert await syncing
    assert journal.synced == FIRST + 2
    assert journal.failing is None
    if goes_on:
        assert not await journal.sync()
    files.refuse_writes = False
    assert await journal.sync()
    assert journal.synced == FIRST + 5
    assert len(files.names()) == 2
    assert inputs_in(files) == payloads


async def test_readers_of_sockets_wait_where_the_disk_does_not_take_it(tmp_path: Path) -> None:
    files = FailingFiles(tmp_path / "j")
    journal = journal_of(files, limit_bytes=2_000)
    journal.begin_segment(1, [])
    assert await journal.sync()
    files.failing = set(range(files.operations + 1, files.operations + 100))
    while not journal.crowded:
        journal.append(Kind.FRAME, 1, 1, b"x" * 100)
    assert not await journal.sync()
    assert journal.crowded
    files.failing = set()
    assert await journal.sync()
    assert not journal.crowded


async def test_segments_go_once_nothing_in_them_is_unpublished(tmp_path: Path) -> None:
    files = opened_segments(tmp_path / "j")
    journal = journal_of(files)
    for n in range(4):
        journal.begin_segment(n, [])
        for _ in range(10):
            journal.append(Kind.FRAME, n, 1, b"{}")
        await journal.sync()
    names = files.names()
    assert await journal.retire(FIRST + 8) == []
    assert await journal.retire(FIRST + 9) == names[:1]
    assert await journal.retire(FIRST + 28) == names[1:2]
    assert await journal.retire(FIRST + 1_000) == names[2:3], "the one being written stays"


# ── recovery ─────────────────────────────────────────────────────────────────────────────────


class Engines:
    """Engines of the venue, made anew."""

    def new(self, sampling: Sampling) -> Engine:
        return new_engine(sampling)

    def restored(self, checkpoint: bytes, sampling: Sampling) -> Engine:
        return Engine.restored(checkpoint, lambda reader: PolymarketChannel(reader), sampling)


class Lake:
    """Rows by table and bucket, and what is published of them."""

    def __init__(self, bucket_us: int) -> None:
        self.bucket_us = bucket_us
        self.rows: Rows = []
        self.horizons: dict[tuple[str, int], int] = {}

    def bucket(self, time_us: int) -> int:
        return time_us - time_us % self.bucket_us

    def published(self, table: str, time_us: int, bucket_us: int, until: int) -> int:
        assert bucket_us == self.bucket_us
        return self.horizons.get((table, self.bucket(time_us)), 0)

    def publish(self, rows: Rows, position: int) -> None:
        self.rows += rows
        for table, time_us, _ in rows:
            self.horizons[table, self.bucket(time_us)] = position

    def hand_over(self, output: Output, sampling: Sampling, at_ns: int, position: int) -> None:
        self.publish([(t.name, us, row) for t, us, row in output.rows], position)


@dataclass
class Plan:
    """What happens around the frames of a history."""

    stop_at: int
    """The process dies after so many frames."""
    unsynced: int
    """Of them, how many had not been synced."""
    marks: list[int]
    """After which frames everything due is published."""
    segments: list[int]
    """After which frames a segment begins."""
    ticks: list[int]
    """After which frames the engine is told the time."""
    renewals: list[int]
    """After which frames the connection is cut and opened anew."""
    doubts: list[int]
    """After which frames a book is doubted from outside."""
    held_up: list[int]
    """After which frames the connection is said to be late."""
    caught_up: list[int]
    """After which frames it is said to be so no longer."""


moments = st.lists(st.integers(1, 1_500), max_size=6).map(sorted)
plans = st.builds(
    Plan,
    stop_at=st.integers(1, 1_500),
    unsynced=st.integers(0, 40),
    marks=moments,
    segments=moments,
    ticks=st.lists(st.integers(1, 1_500), max_size=60).map(sorted),
    renewals=st.lists(st.integers(1, 1_500), max_size=3).map(sorted),
    doubts=st.lists(st.integers(1, 1_500), max_size=3).map(sorted),
    held_up=st.lists(st.integers(1, 1_500), max_size=3).map(sorted),
    caught_up=st.lists(st.integers(1, 1_500), max_size=3).map(sorted),
)


async def live(plan: Plan, files: LocalSegments, lake: Lake, sampling: Sampling) -> Rows:
    """A process that journals and publishes until it dies; what an engine makes of what is synced.

    Rows are published by table and bucket where the bucket has ended, as the recorder does it.
    """
    recording = recorded(21)
    journal = journal_of(files, header_of(sampling=sampling), limit_bytes=1 << 30)
    engine = new_engine(sampling)
    sink = JournaledEngine(engine, journal)
    truth = new_engine(sampling)
    sink.begin_segment(recording.begin_ns)
    held: Rows = []
    conn, opened = "c1.1", 1

    def both(act: str, *arguments: object) -> None:
        getattr(sink, act)(*arguments)
        if reference:
            getattr(truth, act)(*arguments)

    reference = True
    both("connect", conn, recording.begin_ns)
    both("follow", conn, recording.terms, Tier.HOT, recording.begin_ns)
    last_ns, last_conn = recording.begin_ns, conn
    last_synced = max(1, plan.stop_at - plan.unsynced)
    for number, (recv_ns, frame) in enumerate(recording.frames[: plan.stop_at], start=1):
        both("take", conn, frame.encode(), recv_ns)
        now_ns = recv_ns + 1
        if number in plan.renewals:
            both("disconnect", conn, now_ns, "closed_1006")
            opened += 1
            conn = f"c1.{opened}"
            both("connect", conn, now_ns)
            both("follow", conn, recording.terms, Tier.HOT, now_ns)
        if number in plan.doubts:
            asset_id = recording.terms[0].asset_id
            both("doubt", conn, asset_id, "witness_mismatch", now_ns - SECOND, now_ns)
        if number in plan.held_up:
            both("hold_up", conn, now_ns - SECOND, now_ns)
        if number in plan.caught_up:
            both("catch_up", conn, now_ns)
        if reference:
            told_last = any(
                number in told
                for told in (plan.renewals, plan.doubts, plan.held_up, plan.caught_up)
            )
            last_ns = max(last_ns, now_ns if told_last else recv_ns)
            last_conn = conn
        if number in plan.ticks or number in plan.marks or number in plan.segments:
            sink.advance(now_ns)
            held += [(t.name, us, row) for t, us, row in engine.drain().rows]
        if number in plan.segments:
            sink.begin_segment(now_ns)
        if number in plan.marks and reference:
            position = sink.mark(now_ns)
            last_ns = now_ns
            assert await journal.sync()
            ended = now_ns // 1_000 // lake.bucket_us * lake.bucket_us
            lake.publish([row for row in held if lake.bucket(row[1]) < ended], position)
            held = [row for row in held if lake.bucket(row[1]) >= ended]
        if number == last_synced:
            sink.apply_taken()
            assert await journal.sync()
            reference = False
    await journal.close()
    truth.advance(last_ns)
    truth.disconnect(last_conn, last_ns, "restarted")
    truth.finish(last_ns + SECOND)
    return [(t.name, us, row) for t, us, row in truth.drain().rows]


@settings(max_examples=40, phases=[Phase.explicit, Phase.generate])
@given(plan=plans)
def test_nothing_synced_is_lost_and_nothing_published_is_made_twice(plan: Plan) -> None:
    sampling = sampled()
    with TemporaryDirectory() as directory:
        files = opened_segments(Path(directory) / "j")
        lake = Lake(sampling.bucket_ns // 1_000)
        expected = asyncio.run(live(plan, files, lake, sampling))
        names = files.names()
        last_ns = max(r.recv_ns for name in names for r in Segment(files.read(name)))
        ended_ns = last_ns + SECOND
        found = recover(files, names, Engines(), lake.published, lake.hand_over, ended_ns)
        assert Counter(map(repr, lake.rows)) == Counter(map(repr, expected))
        assert (found.skipped_bytes, found.unreadable, found.missing) == (0, [], 0)
        # dying in the middle of recovering, and recovering again, makes nothing twice
        again = recover(files, names, Engines(), lake.published, lake.hand_over, ended_ns)
        assert again.rows == 0


def cut_history(directory: Path, segments: int = 4) -> tuple[LocalSegments, int]:
    """A journal of several segments with nothing published; and the frames in it."""
    files = opened_segments(directory)
    plan = Plan(1_000, 0, [], [250 * n for n in range(1, segments)], [], [], [], [], [])
    asyncio.run(live(plan, files, Lake(10_000_000), sampled()))
    return files, 1_000


def recovered(files: LocalSegments) -> tuple[Recovered, Lake]:
    lake = Lake(10_000_000)
    names = files.names()
    return recover(files, names, Engines(), lake.published, lake.hand_over, 0), lake


def coverage_causes(lake: Lake) -> set[object]:
    return {row[5] for table, _, row in lake.rows if table == "coverage"}


def test_a_torn_tail_costs_what_was_torn(tmp_path: Path) -> None:
    files, frames = cut_history(tmp_path / "j")
    name = files.names()[-1]
    path = tmp_path / "j" / name
    path.write_bytes(path.read_bytes()[:-7])
    found, _ = recovered(files)
    assert found.frames == frames - 1
    assert found.skipped_bytes


def test_a_hole_is_in_the_ledger_and_the_books_after_it_are_the_checkpoints(
    tmp_path: Path,
) -> None:
    files, frames = cut_history(tmp_path / "j")
    whole, undamaged = recovered(files)
    assert (whole.frames, whole.without_checkpoint) == (frames, 0)
    (tmp_path / "j" / files.names()[1]).unlink()
    found, lake = recovered(files)
    assert (found.missing, found.without_checkpoint) == (1, 0)
    assert found.frames == frames - 250
    assert "journal_damaged" in coverage_causes(lake)
    # what was made of the last segment is the same, hole or not
    begun_us = read_header(files.read(files.names()[-1]))[1] // 1_000 + 1_000_000

    def late(rows: Rows) -> list[str]:
        return [repr(r) for r in rows if r[0] == "orderbook_snapshots" and r[1] > begun_us]

    assert late(lake.rows) == late(undamaged.rows) != []


def test_a_checkpoint_alone_makes_no_rows_of_a_time_whose_inputs_are_lost(tmp_path: Path) -> None:
    files, _ = cut_history(tmp_path / "j")
    before, cut, after = files.names()[1:4]
    (tmp_path / "j" / before).unlink()
    content, kept = files.read(cut), 0
    for record in Segment(content):
        kept += len(encode_record(*record))
        if record.kind == Kind.CHECKPOINT:
            break
    # not even the connections that stood are told of
    (tmp_path / "j" / cut).write_bytes(content[:kept])
    found, lake = recovered(files)
    assert (found.missing, found.without_checkpoint) == (2, 0)
    lost_us = [read_header(files.read(name))[1] // 1_000 for name in (cut, after)]
    made = [
        r for r in lake.rows if r[0] == "orderbook_snapshots" and lost_us[0] < r[1] < lost_us[1]
    ]
    assert not made


def test_without_a_checkpoint_prints_are_had_and_books_from_the_next_whole_one_on(
    tmp_path: Path,
) -> None:
    files, frames = cut_history(tmp_path / "j")
    path = tmp_path / "j" / files.names()[0]
    path.unlink()
    second = tmp_path / "j" / files.names()[0]
    content = [
        record._replace(payload=b"?") if record.kind == Kind.CHECKPOINT else record
        for record in Segment(second.read_bytes())
    ]
    second.write_bytes(b"".join(encode_record(*record) for record in content))
    found, lake = recovered(files)
    assert (found.without_checkpoint, found.frames) == (1, frames - 250)
    assert any(table == "trades" for table, _, _ in lake.rows)


def test_a_run_that_follows_another_begins_anew_and_the_time_between_is_in_the_ledger(
    tmp_path: Path,
) -> None:
    files, _ = cut_history(tmp_path / "j", segments=1)
    later = header_of(first=FIRST + 1_000_000, run=FIRST + 1_000_000)
    begun_ns = recorded(21).frames[999][0] + 5 * SECOND

    async def second_run() -> None:
        journal = journal_of(files, later)
        JournaledEngine(new_engine(), journal).begin_segment(begun_ns)
        assert await journal.sync()

    asyncio.run(second_run())
    found, lake = recovered(files)
    assert (found.segments, found.missing) == (2, 0)
    ends = {row[3] for table, _, row in lake.rows if table == "coverage" and row[5] == "restarted"}
    assert max(ends) == begun_ns // 1_000
