"""Recorded frames through the engine: the same code as live capture on another source of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

from surveillance_collector.captured import CapturedInput, read_untold
from surveillance_collector.configured import sampling_of
from surveillance_collector.engine import Engine
from surveillance_collector.recorder import Recorder
from surveillance_core.markets import Venue
from surveillance_core.settings import Settings
from surveillance_core.venues.captures import Damaged, FrameRecord, read_capture
from surveillance_core.venues.protocols import MarketChannel, SettledReader
from surveillance_core.venues.registry import VenueAdapter, adapter_of

_SETTLE_NS = 1_000_000_000


class HashVerdicts(msgspec.Struct):
    """Book hashes judged."""

    due: int = 0
    matched: int = 0
    mismatched: int = 0


class SequenceVerdicts(msgspec.Struct):
    """Sequence streams followed and gaps in them; a venue without sequence numbers has none."""

    streams: int = 0
    gaps: int = 0


class ReplayReport(msgspec.Struct):
    """What ``replay --verify --json`` prints."""

    frames: int = 0
    messages: dict[str, int] = {}
    books: int = 0
    trades: int = 0
    hash: HashVerdicts = msgspec.field(default_factory=HashVerdicts)
    seq: SequenceVerdicts = msgspec.field(default_factory=SequenceVerdicts)
    negative_levels: int = 0
    crossed_at_batch_end: int = 0
    rejected: dict[str, int] = {}
    snapshots: int = 0
    ignored: dict[str, int] = {}
    damaged_lines: int = 0
    files: int = 0
    published: dict[str, int] = {}

    @property
    def failures(self) -> list[str]:
        """What a verification must call a failure."""
        checks = {
            "hash.mismatched": self.hash.mismatched,
            "seq.gaps": self.seq.gaps,
            "negative_levels": self.negative_levels,
            "crossed_at_batch_end": self.crossed_at_batch_end,
            "damaged_lines": self.damaged_lines,
            "books replaced by different ones": self.ignored.get(
                "book_replaced_a_different_one", 0
            ),
        }
        return [f"{name} = {count}" for name, count in checks.items() if count]


class SequenceCount(Protocol):
    """What sequence numbers said on one connection."""

    @property
    def streams(self) -> int:
        """Numbered streams."""
        ...

    @property
    def gaps(self) -> int:
        """Places where numbers are missing."""
        ...


@runtime_checkable
class SequencedChannel(Protocol):
    """A channel of a venue that numbers its frames and sends signed changes."""

    @property
    def sequence(self) -> SequenceCount:
        """Verdicts of the numbers."""
        ...

    @property
    def negative_levels(self) -> int:
        """Changes that would have left less than nothing at a level."""
        ...


@dataclass
class _Totals:
    messages: Counter[str] = field(default_factory=Counter[str])
    rejected: Counter[str] = field(default_factory=Counter[str])
    ignored: Counter[str] = field(default_factory=Counter[str])
    assets: set[str] = field(default_factory=set[str])


def replay_files(
    settings: Settings,
    venue: Venue,
    paths: Iterable[Path],
    recorder: Recorder | None = None,
    on_frame: Callable[[], None] | None = None,
) -> ReplayReport:
    """Run recordings through fresh engines, one a file, and report what was found.

    Parameters
    ----------
    recorder
        Takes the rows where they are to be kept; None counts only.
    on_frame
        Called after each frame, for progress.

    Raises
    ------
    OSError
        If a file cannot be opened or its compression is damaged.
    """
    report, totals, adapter = ReplayReport(), _Totals(), adapter_of(venue)
    for path in paths:
        channels: list[MarketChannel] = []
        engine = _new_engine(settings, venue, adapter, channels)
        captured = CapturedInput(engine, read_untold(path, adapter))
        _replay_file(captured, path, recorder, on_frame)
        report.damaged_lines += captured.damaged
        totals.assets |= captured.assets
        _add(report, totals, engine)
        for channel in channels:
            if isinstance(channel, SequencedChannel):
                report.seq.streams += channel.sequence.streams
                report.seq.gaps += channel.sequence.gaps
                report.negative_levels += channel.negative_levels
    if recorder is not None:
        failed = recorder.flush()
        if failed:
            raise OSError(f"{failed[0].table}: {failed[0].error}")
        report.files, report.published = recorder.files, dict(recorder.published)
    report.messages = dict(totals.messages)
    report.rejected = dict(totals.rejected)
    report.ignored = dict(totals.ignored)
    report.books = len(totals.assets)
    return report


def _replay_file(
    captured: CapturedInput,
    path: Path,
    recorder: Recorder | None,
    on_frame: Callable[[], None] | None,
) -> None:
    engine = captured.inputs.engine
    for record in read_capture(path):
        captured.apply(record)
        if isinstance(record, Damaged):
            continue
        if isinstance(record, FrameRecord) and on_frame is not None:
            on_frame()
        _hand_over(engine, recorder, record.recv_ns)
    if not captured.inputs.finished:
        engine.finish(captured.last_ns + _SETTLE_NS)
        _hand_over(engine, recorder, captured.last_ns + _SETTLE_NS)


def _hand_over(engine: Engine, recorder: Recorder | None, now_ns: int) -> None:
    output = engine.drain()
    if recorder is not None:
        recorder.add(output.rows, now_ns // 1_000)


def _new_engine(
    settings: Settings, venue: Venue, adapter: VenueAdapter, channels: list[MarketChannel]
) -> Engine:
    """An engine that judges every batch; its channels are kept, to be asked at the end."""

    def new_channel(on_settled: SettledReader) -> MarketChannel:
        channel = adapter.new_channel(on_settled, 0)
        channels.append(channel)
        return channel

    return Engine(new_channel, sampling_of(settings, venue))


def _add(report: ReplayReport, totals: _Totals, engine: Engine) -> None:
    tallies = engine.tallies
    tally = tallies.hashes
    report.frames += engine.frames
    report.trades += engine.counts["trades"]
    report.snapshots += engine.counts["snapshots"]
    report.hash.due += tally.due
    report.hash.matched += tally.matched
    report.hash.mismatched += tally.mismatched
    report.crossed_at_batch_end += tallies.crossed_at_batch_end
    totals.messages += tallies.messages
    totals.rejected += engine.rejected
    totals.ignored += tallies.ignored
