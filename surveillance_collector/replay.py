"""Recorded frames through the engine: the same code as live capture on another source of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

from surveillance_collector.configured import sampling_of
from surveillance_collector.engine import Engine
from surveillance_collector.recorder import Recorder
from surveillance_collector.sampling import Tier
from surveillance_core.books import tick_of
from surveillance_core.markets import Venue
from surveillance_core.settings import Settings
from surveillance_core.venues.captures import (
    AssetRecord,
    Connected,
    Damaged,
    Disconnected,
    FrameRecord,
    read_capture,
)
from surveillance_core.venues.protocols import AssetTerms, MarketChannel, SettledReader
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


@runtime_checkable
class NamesAssets(Protocol):
    """A channel that can tell from a recorded frame alone which assets' books begin in it."""

    def assets_named(self, frame: str) -> Sequence[AssetTerms]:
        """Terms of those assets, as far as a frame tells them."""
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
        named = _assets_named(path, adapter)
        last_ns = _replay_file(engine, path, named, recorder, report, totals, on_frame)
        engine.finish(last_ns + _SETTLE_NS)
        _hand_over(engine, recorder, last_ns + _SETTLE_NS)
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
    engine: Engine,
    path: Path,
    named: _Named,
    recorder: Recorder | None,
    report: ReplayReport,
    totals: _Totals,
    on_frame: Callable[[], None] | None,
) -> int:
    pairs = _token_pairs(path)
    connected: set[str] = set()
    opened: Counter[str] = Counter()
    last_ns = 0

    def connect(conn: str, recv_ns: int) -> None:
        engine.connect(conn, recv_ns)
        connected.add(conn)
        opened[conn] += 1
        terms = named.get((conn, opened[conn]), {})
        if terms:
            engine.follow(conn, terms.values(), Tier.HOT, recv_ns)
            totals.assets.update(terms)

    for record in read_capture(path):
        if isinstance(record, Damaged):
            report.damaged_lines += 1
            continue
        last_ns = max(last_ns, record.recv_ns)
        if isinstance(record, Connected):
            if record.conn in connected:
                engine.disconnect(record.conn, record.recv_ns, "reconnected")
            connect(record.conn, record.recv_ns)
            continue
        if isinstance(record, Disconnected):
            engine.disconnect(record.conn, record.recv_ns, "disconnected")
            connected.discard(record.conn)
            continue
        if record.conn not in connected:
            connect(record.conn, record.recv_ns)
        if isinstance(record, AssetRecord):
            terms = _terms(record, pairs[record.market])
            if terms is None:
                report.damaged_lines += 1
                continue
            engine.follow(record.conn, [terms], Tier.HOT, record.recv_ns)
            totals.assets.add(record.asset_id)
        else:
            engine.receive(record.conn, record.frame, record.recv_ns)
            if on_frame is not None:
                on_frame()
        _hand_over(engine, recorder, record.recv_ns)
    return last_ns


def _hand_over(engine: Engine, recorder: Recorder | None, now_ns: int) -> None:
    output = engine.drain()
    if recorder is not None:
        recorder.add(output.rows, now_ns // 1_000)


_Named = dict[tuple[str, int], dict[str, AssetTerms]]
"""Terms by asset id, for each connection and how many times its name has been opened."""


def _new_engine(
    settings: Settings, venue: Venue, adapter: VenueAdapter, channels: list[MarketChannel]
) -> Engine:
    """An engine that judges every batch; its channels are kept, to be asked at the end."""

    def new_channel(on_settled: SettledReader) -> MarketChannel:
        channel = adapter.new_channel(on_settled, 0)
        channels.append(channel)
        return channel

    return Engine(new_channel, sampling_of(settings, venue))


def _assets_named(path: Path, adapter: VenueAdapter) -> _Named:
    """What the frames themselves say is followed, where the recording has no asset records.

    A connection follows from its beginning, so that prints before a first book are kept.
    """
    channel = adapter.new_channel(None, 0)
    named: _Named = {}
    if not isinstance(channel, NamesAssets):
        return named
    announced: set[str] = set()
    connected: set[str] = set()
    opened: Counter[str] = Counter()
    for record in read_capture(path):
        if isinstance(record, AssetRecord):
            announced.add(record.market)
        elif isinstance(record, Disconnected):
            connected.discard(record.conn)
        elif isinstance(record, Connected) or (
            isinstance(record, FrameRecord) and record.conn not in connected
        ):
            connected.add(record.conn)
            opened[record.conn] += 1
        if isinstance(record, FrameRecord):
            found = named.setdefault((record.conn, opened[record.conn]), {})
            for terms in channel.assets_named(record.frame):
                known = found.get(terms.asset_id)
                if known is None or terms.tick < known.tick:
                    found[terms.asset_id] = terms
    for found in named.values():
        for asset_id in [key for key, terms in found.items() if terms.market_id in announced]:
            del found[asset_id]
    return named


def _token_pairs(path: Path) -> dict[str, list[str]]:
    """Assets of each market in order of announcement: the first one's book is the market's."""
    pairs: dict[str, list[str]] = {}
    for record in read_capture(path):
        if isinstance(record, AssetRecord):
            tokens = pairs.setdefault(record.market, [])
            if record.asset_id not in tokens:
                tokens.append(record.asset_id)
    return pairs


def _terms(record: AssetRecord, tokens: list[str]) -> AssetTerms | None:
    try:
        tick = tick_of(record.tick_size or "")
    except ValueError:
        return None
    others = [token for token in tokens if token != record.asset_id]
    return AssetTerms(
        market_id=record.market,
        asset_id=record.asset_id,
        tick=tick,
        primary=tokens[0] == record.asset_id,
        mirror_id=others[0] if len(others) == 1 else None,
        min_order_size=record.min_order_size,
        neg_risk=record.neg_risk,
    )


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
