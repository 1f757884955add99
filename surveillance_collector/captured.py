"""What a capture holds, given to an engine: one path for recordings and for the raw archive.

A file of the archive tells everything the engine was given. A recording tells what was sent and
perhaps what REST said of the assets; the rest is taken from what the whole of it shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from surveillance_collector.engine import Engine
from surveillance_collector.journal.recovery import InputReplay
from surveillance_collector.journal.spelling import RecordMaker, exact_terms
from surveillance_collector.sampling import Tier
from surveillance_core.books import tick_of
from surveillance_core.venues.captures import (
    AssetRecord,
    Began,
    CaptureRecord,
    CaughtUp,
    Connected,
    Damaged,
    Disconnected,
    DoubtedAssets,
    Forgotten,
    FrameRecord,
    HeldUp,
    Passed,
    read_capture,
)
from surveillance_core.venues.protocols import AssetTerms
from surveillance_core.venues.registry import VenueAdapter


@runtime_checkable
class NamesAssets(Protocol):
    """A channel that can tell from a recorded frame alone which assets' books begin in it."""

    def assets_named(self, frame: str) -> Sequence[AssetTerms]:
        """Terms of those assets, as far as a frame tells them."""
        ...


@dataclass
class Untold:
    """What a recording does not tell and its whole shows."""

    pairs: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Assets of each market in order of announcement: the first one's book is the market's."""
    named: dict[tuple[str, int], dict[str, AssetTerms]] = field(
        default_factory=dict[tuple[str, int], dict[str, AssetTerms]]
    )
    """Terms by asset id, for each connection and how many times its name has been opened."""


def read_untold(path: Path, adapter: VenueAdapter) -> Untold:
    """Look through a recording for what it does not tell; nothing where it is of the archive.

    Raises
    ------
    OSError
        If the file cannot be opened or read.
    """
    if isinstance(next(read_capture(path), None), Began):
        return Untold()
    untold = Untold(pairs=_token_pairs(path))
    channel = adapter.new_channel(None, 0)
    if isinstance(channel, NamesAssets):
        untold.named = _assets_named(path, channel, untold.pairs)
    return untold


def _token_pairs(path: Path) -> dict[str, list[str]]:
    pairs: dict[str, list[str]] = {}
    for record in read_capture(path):
        if isinstance(record, AssetRecord):
            tokens = pairs.setdefault(record.market, [])
            if record.asset_id not in tokens:
                tokens.append(record.asset_id)
    return pairs


def _assets_named(
    path: Path, channel: NamesAssets, announced: dict[str, list[str]]
) -> dict[tuple[str, int], dict[str, AssetTerms]]:
    """What the frames themselves say is followed, of markets without asset records.

    A connection follows from its beginning, so that prints before a first book are kept.
    """
    named: dict[tuple[str, int], dict[str, AssetTerms]] = {}
    connected: set[str] = set()
    opened: Counter[str] = Counter()
    for record in read_capture(path):
        if isinstance(record, Disconnected):
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


class CapturedInput:
    """Gives the records of one capture, or of several that go on from each other, to an engine."""

    def __init__(self, engine: Engine, untold: Untold | None = None) -> None:
        self.inputs = InputReplay(engine)
        self._untold = untold or Untold()
        self._maker = RecordMaker()
        self._followed: dict[str, set[str]] = {}
        """Asset ids by open connection."""
        self._opened: Counter[str] = Counter()
        self.assets: set[str] = set()
        """Ids of all assets that were followed."""
        self.frames = 0
        self.damaged = 0
        """Lines that could not be used."""
        self.last_ns = 0
        """When the last line was received."""
        self.last_input_ns = 0
        """When the last was that the engine was given, not counting how things only stood."""

    def apply(self, record: CaptureRecord) -> None:
        """One line; one that is damaged is counted."""
        if isinstance(record, Damaged):
            self.damaged += 1
            return
        self.last_ns = max(self.last_ns, record.recv_ns)
        if isinstance(record, Began) or (isinstance(record, Passed) and record.standing):
            # no input: a run that broke off here knew nothing of the time after its last one
            return
        if not getattr(record, "standing", False):
            self.last_input_ns = max(self.last_input_ns, record.recv_ns)
        match record:
            case FrameRecord():
                self._ensure_open(record.conn, record.recv_ns)
                self.frames += 1
                self.inputs.apply(self._maker.frame(record))
            case Connected():
                self._connected(record)
            case Disconnected():
                self._disconnect(
                    record.conn, record.recv_ns, record.cause or "disconnected", record.since_ns
                )
            case AssetRecord():
                self._asset(record)
            case Forgotten():
                self._followed.get(record.conn, set()).difference_update(record.asset_ids)
                self.inputs.apply(self._maker.other(record))
            case DoubtedAssets() | HeldUp() | CaughtUp():
                if record.conn in self._followed:
                    self.inputs.apply(self._maker.other(record))
            case _:
                self.inputs.apply(self._maker.other(record))

    def _connected(self, record: Connected) -> None:
        if record.conn in self._followed:
            if record.standing:
                return
            self._disconnect(record.conn, record.recv_ns, "reconnected", None)
        self._connect(record.conn, record.recv_ns)

    def _connect(self, conn: str, recv_ns: int) -> None:
        self._followed[conn] = set()
        self._opened[conn] += 1
        self.inputs.apply(self._maker.connect(conn, recv_ns))
        terms = self._untold.named.get((conn, self._opened[conn]), {})
        if terms:
            self._follow(conn, list(terms.values()), Tier.HOT, recv_ns)

    def _ensure_open(self, conn: str, recv_ns: int) -> None:
        if conn not in self._followed:
            self._connect(conn, recv_ns)

    def _disconnect(self, conn: str, recv_ns: int, cause: str, since_ns: int | None) -> None:
        if self._followed.pop(conn, None) is not None:
            self.inputs.apply(self._maker.disconnect(conn, recv_ns, cause, since_ns))

    def _asset(self, record: AssetRecord) -> None:
        if record.standing and record.asset_id in self._followed.get(record.conn, ()):
            return
        self._ensure_open(record.conn, record.recv_ns)
        try:
            tier = Tier(record.tier or Tier.HOT)
            terms = exact_terms(record) or self._terms(record)
        except ValueError:
            self.damaged += 1
            return
        self._follow(record.conn, [terms], tier, record.recv_ns)

    def _follow(self, conn: str, assets: list[AssetTerms], tier: Tier, recv_ns: int) -> None:
        ids = {terms.asset_id for terms in assets}
        self._followed[conn] |= ids
        self.assets |= ids
        self.inputs.apply(self._maker.follow(conn, assets, tier, recv_ns))

    def _terms(self, record: AssetRecord) -> AssetTerms:
        """Terms as far as the recording has them; raises ``ValueError`` without a tick."""
        tokens = self._untold.pairs.get(record.market, [record.asset_id])
        others = [token for token in tokens if token != record.asset_id]
        return AssetTerms(
            market_id=record.market,
            asset_id=record.asset_id,
            tick=tick_of(record.tick_size or ""),
            primary=tokens[0] == record.asset_id,
            mirror_id=others[0] if len(others) == 1 else None,
            min_order_size=record.min_order_size,
            neg_risk=record.neg_risk,
        )
