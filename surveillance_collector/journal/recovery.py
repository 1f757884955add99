"""What a run left behind made into rows: the journal through the engine, less what is published.

Rows are the same when their inputs are, so which of them the lake has is told by the positions that
its manifest gives for each file: of a table and bucket it has everything that a run produced up to
the last mark that any file of them names whose rows begin in that run or before it. What begins
after the run says nothing of it: a process publishes its own rows while it still recovers others'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Protocol

import msgspec
import structlog

from surveillance_collector.engine import Engine
from surveillance_collector.journal.files import SegmentFiles
from surveillance_collector.journal.records import (
    Header,
    JournalDamaged,
    Kind,
    Record,
    Segment,
    decode_disconnect,
    decode_doubt,
    decode_follow,
    decode_forget,
    decode_hold_up,
    decode_shed,
    read_header,
)
from surveillance_collector.output import Output
from surveillance_collector.rows import Row
from surveillance_collector.sampling import Sampling
from surveillance_core.lake.schemas import COVERAGE

log = structlog.get_logger()

DAMAGED = "journal_damaged"
BREATH_INPUTS = 32
"""Inputs after which whoever has something else to do gets to do it."""
LONGEST_GAP_NS = 3_600_000_000_000
"""Time after a run's end for which the ledger says that it is missing; a longer absence is none of
a market's that the run followed, but the collector's own."""


@dataclass
class SegmentFile:
    """A segment that can be read, with the position before which the next one begins."""

    name: str
    header: Header
    begun_ns: int
    until: int | None = None


@dataclass
class Recovered:
    """What a recovery found."""

    segments: int = 0
    inputs: int = 0
    frames: int = 0
    rows: int = 0
    """Rows that no published file had."""
    published_before: int = 0
    """Rows that one had."""
    skipped_bytes: int = 0
    """Of the journal, that could not be read."""
    damaged: list[str] = field(default_factory=list[str])
    """Segments of which something could not be read."""
    unreadable: list[str] = field(default_factory=list[str])
    """Segments without a beginning that can be read."""
    missing: int = 0
    """Places where inputs are missing between segments."""
    without_checkpoint: int = 0
    """Times that the books had to do without a checkpoint."""
    last_ns: int = 0
    """When the last input was received."""


class EngineMaker(Protocol):
    """Makes engines as a run had them."""

    def new(self, sampling: Sampling) -> Engine:
        """One that knows nothing."""
        ...

    def restored(self, checkpoint: bytes, sampling: Sampling) -> Engine:
        """One as it was; raises ``CheckpointUnreadable``."""
        ...


Published = Callable[[str, int, int, int], int]
"""Of a table's name, a row's time and a bucket's length, both in microseconds, and the position
that ends the row's run, the last position up to which the run's rows are published."""
Sink = Callable[[Output, Sampling, int, int], None]
"""Takes rows with the sampling of their run, the time in nanoseconds they were produced by, and the
position that they were produced up to."""


def list_segments(files: SegmentFiles, names: Iterable[str], found: Recovered) -> list[SegmentFile]:
    """Segments that can be read, in order, each with where the next one of its run begins."""
    segments: list[SegmentFile] = []
    for name in names:
        try:
            header, begun_ns = read_header(files.read(name))
            segments.append(SegmentFile(name, header, begun_ns))
        except (JournalDamaged, OSError) as error:
            found.unreadable.append(name)
            found.damaged.append(name)
            log.error("journal_segment_unreadable", segment=name, cause=str(error)[:200])
    for segment, following in pairwise(segments):
        # what was written but not synced is there again, in the file that goes on
        if following.header.run == segment.header.run:
            segment.until = following.header.first
    # one that was given up before it held anything has perhaps not even its checkpoint whole
    return [s for s in segments if s.until is None or s.until > s.header.first]


def recover(
    files: SegmentFiles,
    names: Iterable[str],
    engines: EngineMaker,
    published: Published,
    hand_over: Sink,
    now_ns: int,
    breathe: Callable[[], None] = lambda: None,
) -> Recovered:
    """Make rows of everything that the segments hold and that is not published.

    Parameters
    ----------
    names
        The segments, in order.
    now_ns
        From when on there is another run.
    breathe
        Called again and again: who recovers beside something more urgent makes way for it there.
    """
    found = Recovered()
    segments = list_segments(files, names, found)
    runs = [list(run) for _, run in groupby(segments, key=lambda s: s.header.run)]
    ends = [run[0].begun_ns for run in runs[1:]] + [now_ns]
    for run, end_ns in zip(runs, ends, strict=True):
        until = _end_of(run[-1], files)
        _Run(files, engines, published, hand_over, found, until, breathe).replay(run, end_ns)
    return found


def _end_of(segment: SegmentFile, files: SegmentFiles) -> int:
    """A position after all that a run can have published, and before the next run's.

    It was on disk before it was published; the end of what the run left has a position as well.
    """
    inputs = sum(record.kind >= Kind.CONNECT for record in Segment(files.read(segment.name)))
    return segment.header.first + inputs + 1


class _Run:
    """The replay of one run's segments."""

    def __init__(
        self,
        files: SegmentFiles,
        engines: EngineMaker,
        published: Published,
        hand_over: Sink,
        found: Recovered,
        until: int,
        breathe: Callable[[], None],
    ) -> None:
        self._files = files
        self.engines = engines
        self._published = published
        self._hand_over = hand_over
        self._found = found
        self._until = until
        self._breathe = breathe
        self._inputs: InputReplay | None = None
        self._position = 0
        """Of the last input applied, or before the first."""
        self._last_ns = 0
        self._hole_ns: int | None = None
        """Since when inputs are missing that were before those that come next."""
        self._told: frozenset[Row] = frozenset()
        """Rows of what ended there, which what goes on after it makes as well."""

    def replay(self, segments: Sequence[SegmentFile], end_ns: int) -> None:
        """Everything of the run, and its end: it knows nothing of what came after."""
        for segment in segments:
            self._replay_segment(segment)
        self._end(segments[-1].header.sampling, end_ns, "restarted")

    def _replay_segment(self, segment: SegmentFile) -> None:
        header, found = segment.header, self._found
        reading = Segment(self._files.read(segment.name))
        found.segments += 1
        if self._inputs is not None and self._position + 1 != header.first:
            found.missing += 1
            log.error("journal_inputs_missing", after=self._position, before=header.first)
            self._end(header.sampling, segment.begun_ns, DAMAGED)
            self._hole_ns = self._last_ns
        inputs = self._inputs
        head: list[Record] = []
        for record in reading:
            if record.kind < Kind.CONNECT:
                head.append(record)
                continue
            if inputs is None:
                inputs = self._begin(segment, head)
            if segment.until is not None and self._position + 1 >= segment.until:
                break
            self._position += 1
            self._apply(inputs, record, header.sampling)
        else:
            found.skipped_bytes += reading.skipped_bytes
            if reading.skipped_bytes:
                found.damaged.append(segment.name)
        if inputs is None:
            self._begin(segment, head)

    def _begin(self, segment: SegmentFile, head: Iterable[Record]) -> InputReplay:
        header, engine = segment.header, None
        standing: list[Record] = []
        for record in head:
            if record.kind in (Kind.STANDING_CONNECTION, Kind.STANDING_ASSETS):
                standing.append(record)
            elif record.kind == Kind.CHECKPOINT:
                try:
                    engine = self.engines.restored(record.payload, header.sampling)
                except ValueError as error:
                    log.error("checkpoint_unreadable", cause=str(error)[:300])
        self._position = header.first - 1
        if engine is None:
            self._found.without_checkpoint += 1
        elif self._hole_ns is not None:
            engine.miss(DAMAGED, self._hole_ns, segment.begun_ns)
            self._take(engine, header.sampling, self._position)
            self._last_ns = max(self._last_ns, segment.begun_ns)
        self._hole_ns = None
        inputs = self._inputs = InputReplay(engine or self.engines.new(header.sampling))
        for record in standing:
            inputs.stand(record, known=engine is not None)
        return inputs

    def _apply(self, inputs: InputReplay, record: Record, sampling: Sampling) -> None:
        found = self._found
        found.inputs += 1
        found.frames += record.kind == Kind.FRAME
        self._last_ns = max(self._last_ns, record.recv_ns)
        found.last_ns = max(found.last_ns, record.recv_ns)
        try:
            inputs.apply(record)
        except (msgspec.DecodeError, KeyError) as error:
            found.unreadable.append(f"input {self._position}")
            log.error("journal_input_unreadable", position=self._position, cause=str(error)[:200])
        if not found.inputs % BREATH_INPUTS:
            self._breathe()
        if record.kind == Kind.MARK:
            self._take(inputs.engine, sampling, self._position)

    def _end(self, sampling: Sampling, end_ns: int, cause: str) -> None:
        """What stood when the inputs end is not known any more."""
        inputs, self._inputs = self._inputs, None
        if inputs is None:
            return
        inputs.end(self._last_ns, end_ns, cause)
        self._told = self._take(inputs.engine, sampling, self._position + 1)

    def _take(self, engine: Engine, sampling: Sampling, position: int) -> frozenset[Row]:
        """Hand over what has been produced and is not published; what of the ledger that was."""
        output = engine.drain()
        bucket_us = sampling.bucket_ns // 1_000
        rows = [
            (table, time_us, row)
            for table, time_us, row in output.rows
            if self._published(table.name, time_us, bucket_us, self._until) < position
            and not (self._hole_ns is not None and table is COVERAGE and row in self._told)
        ]
        self._found.published_before += len(output.rows) - len(rows)
        self._found.rows += len(rows)
        output.rows = rows
        self._hand_over(output, sampling, self._last_ns, position)
        return frozenset(row for table, _, row in rows if table is COVERAGE)


class InputReplay:
    """Applies recorded inputs to an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._names: dict[int, str] = {}
        self.finished = False

    def stand(self, record: Record, *, known: bool) -> None:
        """How things stood; the engine is told where it does not know."""
        if record.kind == Kind.STANDING_CONNECTION:
            self._name(record)
            if not known:
                self.engine.connect(self._names[record.conn], record.recv_ns)
        elif record.kind == Kind.STANDING_ASSETS and not known:
            self._follow(record)

    def apply(self, record: Record) -> None:
        """One input.

        Raises
        ------
        msgspec.DecodeError, KeyError
            If the payload is not what its kind has, or names a connection that there is not.
        """
        engine = self.engine
        if record.kind == Kind.FRAME:
            engine.take(self._names[record.conn], record.payload, record.recv_ns)
        elif record.kind == Kind.CONNECT:
            self._name(record)
            engine.connect(self._names[record.conn], record.recv_ns)
        elif record.kind == Kind.FOLLOW:
            self._follow(record)
        elif record.kind == Kind.FORGET:
            name = self._names.get(record.conn, "")
            engine.forget(name, decode_forget(record.payload), record.recv_ns)
        elif record.kind == Kind.SHED:
            engine.shed(decode_shed(record.payload), record.recv_ns)
        elif record.kind == Kind.DISCONNECT:
            told = decode_disconnect(record.payload)
            name = self._names[record.conn]
            engine.disconnect(name, record.recv_ns, told.cause, told.since_ns)
        elif record.kind == Kind.DOUBT:
            doubt = decode_doubt(record.payload)
            name = self._names[record.conn]
            for asset_id in doubt.asset_ids:
                engine.doubt(name, asset_id, doubt.cause, doubt.since_ns, record.recv_ns)
        elif record.kind == Kind.HOLD_UP:
            since_ns = decode_hold_up(record.payload)
            engine.hold_up(self._names[record.conn], since_ns, record.recv_ns)
        elif record.kind == Kind.CATCH_UP:
            engine.catch_up(self._names[record.conn], record.recv_ns)
        elif record.kind == Kind.MARK:
            engine.advance(record.recv_ns)
        elif record.kind == Kind.FINISH:
            engine.finish(record.recv_ns)
            self.finished = True

    def end(self, last_ns: int, end_ns: int, cause: str) -> None:
        """The inputs end at ``last_ns``: what stood is not known any more, up to ``end_ns``."""
        if not self.finished:
            self.engine.advance(last_ns)
            self.engine.disconnect_all(last_ns, cause)
            self.engine.finish(min(max(end_ns, last_ns), last_ns + LONGEST_GAP_NS))

    def _name(self, record: Record) -> None:
        self._names[record.conn] = record.payload.decode()

    def _follow(self, record: Record) -> None:
        told = decode_follow(record.payload)
        name = self._names[record.conn]
        self.engine.follow(name, told.assets, told.tier, record.recv_ns)
