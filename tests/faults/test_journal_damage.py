"""STO-08, and STO-07's journal: segments cut, changed and gone, at random places of a real one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import accumulate, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from surveillance_collector.journal.files import LocalSegments
from surveillance_collector.journal.records import Kind, Record, Segment, read_header
from surveillance_collector.journal.recovery import InputReplay, Recovered, recover
from surveillance_collector.output import Output
from surveillance_collector.recording import journal_directory
from surveillance_collector.restart import RunEngines
from surveillance_collector.rows import Row
from surveillance_collector.sampling import Sampling
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.schemas import COVERAGE, Table
from surveillance_core.settings import Settings
from tests.collector.worlds import SECOND, START_NS, VENUE, opened_segments

from .journaled import Inputs, Rows, begin, counted, opened, settings_of, short_history
from .matrix import Trial

SEGMENTS = 4
"""A run's."""
RUNS = 2
_HEAD = 8
_PAGE = 512
_SLACK = timedelta(milliseconds=1)


class HeldSegments(LocalSegments):
    """Segments in memory, to be read."""

    def __init__(self, held: dict[str, bytes]) -> None:
        self.held = held

    def names(self) -> list[str]:
        return sorted(self.held)

    def read(self, name: str) -> bytes:
        return self.held[name]


@dataclass(frozen=True)
class SoundSegment:
    """A segment as it was written."""

    name: str
    content: bytes
    run: int
    first: int
    begun_ns: int
    ends: tuple[int, ...]
    """Where each record ends."""
    heads: int
    """Records that are no inputs."""

    def sound_records(self, damaged: bytes) -> int:
        """Records before the first byte that is another."""
        return sum(1 for _ in takewhile(lambda end: damaged[:end] == self.content[:end], self.ends))


@dataclass(frozen=True)
class SoundJournal:
    """A journal that nothing has happened to, and the rows that each input makes."""

    settings: Settings
    segments: tuple[SoundSegment, ...]
    made: dict[int, Rows]
    """By the input's position."""
    received: dict[int, int]
    """When, by the same."""
    end_ns: int
    """When another run begins."""


@lru_cache(maxsize=1)
def _sound_journal() -> SoundJournal:
    with TemporaryDirectory() as directory:
        return asyncio.run(_written(Path(directory)))


async def _written(root: Path) -> SoundJournal:
    settings = settings_of(root, bucket_s=3_600.0, cadence_ms=500, sync_ms=100.0)
    history = short_history(RUNS * SEGMENTS * 10, 250)
    now = START_NS

    def tick() -> int:
        nonlocal now
        now += 1
        return now

    def wall_ns() -> int:
        return now

    lake = Lake(settings.data_dir, "simulated")
    share = len(history.frames) // RUNS
    made: dict[int, Rows] = {}
    received: dict[int, int] = {}
    for run in range(RUNS):
        recording, inputs = opened(settings, lake, tick, wall_ns)
        await recording.prepare()
        begin(recording, history, "c1", tick())
        recording.take(tick())
        for number, (recv_ns, frame) in enumerate(history.frames[run * share : (run + 1) * share]):
            if number and number % (share // SEGMENTS) == 0:
                recording.take(tick())
                recording.sink.begin_segment(tick())
            now = max(now + 1, recv_ns)
            recording.sink.take("c1", frame, now)
            recording.sink.apply_taken()
        assert await recording.journal.sync()
        await recording.journal.close()
        made |= _made(settings, recording.sampling, inputs)
        received |= {inputs.first + n: record.recv_ns for n, record in enumerate(inputs.records)}
        now += SECOND
    files = opened_segments(journal_directory(settings, lake, VENUE, "0"))
    segments = tuple(_sound(files.read(name), name) for name in files.names())
    return SoundJournal(settings, segments, made, received, now)


def _made(settings: Settings, sampling: Sampling, inputs: Inputs) -> dict[int, Rows]:
    replay = InputReplay(RunEngines(settings, VENUE).new(sampling))
    made: dict[int, Rows] = {}
    for position, record in enumerate(inputs.records, start=inputs.first):
        replay.apply(record)
        rows = [(table, row) for table, _, row in replay.engine.drain().rows]
        made[position] = counted(rows)
    return made


def _sound(content: bytes, name: str) -> SoundSegment:
    records = list(Segment(content))
    header, begun_ns = read_header(content)
    ends = tuple(accumulate(_size(record) for record in records))
    heads = sum(record.kind < Kind.CONNECT for record in records)
    assert ends[-1] == len(content)
    return SoundSegment(name, content, header.run, header.first, begun_ns, ends, heads)


def _size(record: Record) -> int:
    return _HEAD + 1 + 8 + 4 + len(record.payload)


# ── what is done to it ───────────────────────────────────────────────────────────────────────


def _torn(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def _flipped(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _zeroed(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content)) // _PAGE * _PAGE
    end = min(len(content), start + _PAGE * chance.randint(1, 8))
    return content[:start] + bytes(end - start) + content[end:]


def _garbled(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    piece = chance.randbytes(chance.randint(1, 64))
    return content[:start] + piece + content[start + len(piece) :]


_DAMAGES = (_torn, _flipped, _zeroed, _garbled)


def _damaged(journal: SoundJournal, chance: random.Random) -> dict[str, bytes]:
    held = {segment.name: segment.content for segment in journal.segments}
    for name in chance.sample(sorted(held), chance.choice((1, 1, 1, 2, 3))):
        if chance.random() < 0.2:
            del held[name]
        else:
            held[name] = chance.choice(_DAMAGES)(held[name], chance)
    return held


# ── what must come of it ─────────────────────────────────────────────────────────────────────


@dataclass
class Expected:
    """What is still to be had."""

    skipped_bytes: int = 0
    unreadable: int = 0
    holes: list[tuple[datetime, datetime]] = field(default_factory=list[tuple[datetime, datetime]])
    """Between the last input before each and the segment after it."""
    rows: Rows | None = None


def _expected(journal: SoundJournal, held: dict[str, bytes]) -> Expected:
    expected = Expected()
    rows: Rows = counted([])
    run = position = None
    for segment in journal.segments:
        content = held.get(segment.name)
        if content is None:
            continue
        sound = segment.sound_records(content)
        if not sound:
            expected.unreadable += 1
            continue
        expected.skipped_bytes += len(content) - segment.ends[sound - 1]
        if run == segment.run and position != segment.first - 1:
            before_ns = journal.received.get(position or 0, segment.begun_ns)
            expected.holes.append((_moment(before_ns), _moment(segment.begun_ns)))
        inputs = max(0, sound - segment.heads)
        for at in range(segment.first, segment.first + inputs):
            rows += journal.made[at]
        run, position = segment.run, segment.first + inputs - 1
    expected.rows = rows
    return expected


def _recovered(journal: SoundJournal, held: dict[str, bytes]) -> tuple[Recovered, Rows]:
    emitted: list[tuple[Table, Row]] = []

    def hand_over(output: Output, sampling: Sampling, at_ns: int, position: int) -> None:
        emitted.extend((table, row) for table, _, row in output.rows)

    files = HeldSegments(held)
    engines = RunEngines(journal.settings, VENUE)
    found = recover(files, files.names(), engines, _nothing_published, hand_over, journal.end_ns)
    return found, counted(emitted)


def _nothing_published(table: str, time_us: int, bucket_us: int, until: int) -> int:
    return 0


def _judge(journal: SoundJournal, held: dict[str, bytes]) -> Recovered:
    expected = _expected(journal, held)
    found, rows = _recovered(journal, held)
    assert expected.rows is not None
    assert found.skipped_bytes == expected.skipped_bytes
    assert len(found.unreadable) == expected.unreadable, found.unreadable
    assert found.missing == len(expected.holes)
    missing, more = expected.rows - rows, rows - expected.rows
    assert not missing, f"{missing.total()} rows of sound parts are missing: {_some(missing)}"
    doubled = [
        (table, row)
        for (table, row), times in rows.items()
        # what took less than a microsecond has the same times twice
        if times > max(1, expected.rows[table, row]) and row[-1] != row[-2]
    ]
    assert not doubled, f"doubled: {doubled[:1]}"
    assert {table for table, _ in more} <= {COVERAGE.name}, f"made up: {_some(more)}"
    if not found.without_checkpoint:
        for hole in expected.holes:
            if hole[1] - hole[0] > _SLACK:
                covered = any(_distrusts(row, hole) for row in rows)
                assert covered, f"{hole} is not in the ledger"
    return found


def _distrusts(row: tuple[str, tuple[object, ...]], hole: tuple[datetime, datetime]) -> bool:
    """Whether it is a row of the ledger that has no trust in all of the hole."""
    table, values = row
    if table != COVERAGE.name or "untrusted" not in values:
        return False
    *_, end, start = values
    return (
        isinstance(start, datetime)
        and isinstance(end, datetime)
        and start <= hole[0] + _SLACK
        and end >= hole[1] - _SLACK
    )


def _moment(at_ns: int) -> datetime:
    return datetime.fromtimestamp(at_ns / 1e9, UTC)


def _some(rows: Rows) -> str:
    return str(next(iter(rows)))[:200]


def _try(trial: Trial, damages: Iterable[dict[str, bytes]]) -> Sequence[Recovered]:
    journal, found = _sound_journal(), list[Recovered]()
    for number, held in enumerate(damages):
        with trial.case(f"damage {number}"):
            try:
                found.append(_judge(journal, held))
            except (ValueError, LookupError, OSError, TypeError) as error:
                raise AssertionError(f"raised {error!r}") from error
    return found


@pytest.mark.fault("STO-08")
def test_of_a_damaged_journal_every_sound_beginning_is_recovered(trial: Trial) -> None:
    chance = random.Random(trial.seed)
    journal = _sound_journal()
    whole = _judge(journal, {segment.name: segment.content for segment in journal.segments})
    assert (whole.skipped_bytes, whole.missing, whole.without_checkpoint) == (0, 0, 0)
    found = _try(trial, (_damaged(journal, chance) for _ in range(trial.quantity)))
    trial.notes.append(
        f"{sum(f.skipped_bytes for f in found):,} bytes skipped, "
        f"{sum(f.missing for f in found):,} holes, {sum(f.rows for f in found):,} rows recovered"
    )


@pytest.mark.fault("STO-07")
def test_every_bit_that_flips_in_a_journal_is_noticed(trial: Trial) -> None:
    chance = random.Random(trial.seed)
    journal = _sound_journal()
    for number in range(trial.quantity):
        held = {segment.name: segment.content for segment in journal.segments}
        name = chance.choice(sorted(held))
        held[name] = _flipped(held[name], chance)
        with trial.case(f"flip {number}"):
            found, _ = _recovered(journal, held)
            assert found.skipped_bytes or found.unreadable, f"{name}: not noticed"
