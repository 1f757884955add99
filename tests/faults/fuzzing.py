"""An engine under damaged frames, and an account of what became of each."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random

from surveillance_collector.engine import Engine
from surveillance_collector.sampling import Tier
from surveillance_core.lake.publish import rows_to_table
from surveillance_core.venues.kalshi.channel import KalshiChannel
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.protocols import AssetTerms, MarketChannel, SettledReader
from tests.collector.worlds import START_NS, sampled
from tests.faults.damaging import SoundFrame, sound_frame
from tests.wire.test_damaged_frames import Recording, _recordings

BATCH = 10_000
"""Damaged frames of one engine."""
STEP_NS = 7_000_000
DAMAGED_SHARE = 0.8
ROUND_FRAMES = 40
"""Frames of one connection, after which its books are likely to have been lost."""

VENUES = ("polymarket", "kalshi")


@dataclass
class Account:
    """What became of the frames, each counted once."""

    taken: int = 0
    damaged: int = 0
    applied: int = 0
    refused: int = 0
    ignored: int = 0
    lost: list[bytes] = field(default_factory=list[bytes])
    """Frames that left no trace."""
    kept: int = 0
    """Refusals handed on to be kept, each with the frame as it came."""
    counted: int = 0
    """Refusals that the engine counted."""
    escaped: Counter[str] = field(default_factory=lambda: Counter[str]())

    @property
    def told(self) -> int:
        """Frames of which the counters know."""
        return self.applied + self.refused + self.ignored


class Fuzz:
    """An engine of one venue that is fed rounds of damaged recordings, and keeps account."""

    def __init__(self, venue: str, draws: Random) -> None:
        self.account = Account()
        self._venue = venue
        self._draws = draws
        self._recordings: list[tuple[Sequence[AssetTerms], list[SoundFrame]]] = [
            (recording.assets, [sound_frame(frame) for frame in recording.frames])
            for recording in _long_ones(venue)
        ]
        self._now_ns = START_NS
        self._engine = self._new_engine()

    @property
    def refusals(self) -> int:
        """Refusals that the engine counted."""
        return self._engine.rejected.total()

    def _new_engine(self) -> Engine:
        sampling = sampled(1_000, heartbeat_s=30.0, bucket_s=600.0)
        return Engine(self._new_channel, sampling)

    def _new_channel(self, reader: SettledReader) -> MarketChannel:
        return PolymarketChannel(reader) if self._venue == "polymarket" else KalshiChannel(reader)

    def run(self, damaged: int) -> None:
        """Feed rounds until so many frames were damaged."""
        for number in count():
            if self.account.damaged >= damaged:
                return
            try:
                self._round(f"c{number}")
            except Exception as error:  # what escapes is what is looked for
                self.account.escaped[f"{type(error).__name__}: {error}"[:200]] += 1
                self._engine = self._new_engine()

    def _round(self, conn: str) -> None:
        engine, account = self._engine, self.account
        assets, frames = self._draws.choice(self._recordings)
        engine.connect(conn, self._now_ns)
        engine.follow(conn, assets, Tier.HOT, self._now_ns)
        channel = engine._channels[conn]
        sent = set[bytes]()
        for frame in self._damage(frames[:ROUND_FRAMES]):
            sent.add(frame)
            self._now_ns += STEP_NS
            before = _standing(engine, channel)
            account.taken += 1
            engine.receive(conn, frame, self._now_ns)
            after = _standing(engine, channel)
            if after[0] > before[0]:
                account.refused += 1
            elif after[1] > before[1]:
                account.ignored += 1
            elif after[2] > before[2]:
                account.applied += 1
            else:
                account.lost.append(frame[:200])
        engine.disconnect(conn, self._now_ns, "closed_1000")
        engine.forget(conn, [terms.asset_id for terms in assets], self._now_ns)
        output = engine.drain()
        account.kept += sum(found.rejected.payload in sent for found in output.rejected)
        for table in dict.fromkeys(table for table, _, _ in output.rows):
            rows_to_table(table, [row for kind, _, row in output.rows if kind is table])

    def _damage(self, frames: Sequence[SoundFrame]) -> Iterator[bytes]:
        for frame in frames:
            if self._draws.random() < DAMAGED_SHARE:
                self.account.damaged += 1
                yield frame.damaged(self._draws)
            else:
                yield frame.text


def _long_ones(venue: str) -> list[Recording]:
    """Recordings of more than one frame as often as all others together."""
    recordings = _recordings(venue)
    long = [recording for recording in recordings if len(recording.frames) > 1]
    return recordings + long * max(1, len(recordings) // len(long))


def _standing(engine: Engine, channel: MarketChannel) -> tuple[int, int, int]:
    """Refusals, what was ignored, and messages, so far."""
    return engine.rejected.total(), channel.ignored.total(), channel.messages.total()


def account_of(venue: str, seed: int, damaged: int) -> Account:
    """What became of so many damaged frames of a venue."""
    fuzz = Fuzz(venue, Random(seed))
    fuzz.run(damaged)
    fuzz.account.counted = fuzz.refusals
    return fuzz.account
