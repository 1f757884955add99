"""Both venues' frames on a line that drops, repeats and swaps them, into an engine.

No socket and no clock: a simulated world goes on event by event, its frames pass the noise, and
what the engine asks for is answered, with noise again. What the engine is to find is known from
what the noise did.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random

import msgspec
import polars as pl

from surveillance_collector.engine import Engine
from surveillance_collector.sampling import Tier
from surveillance_core.books import Trust
from surveillance_core.lake.schemas import SNAPSHOTS
from surveillance_core.markets import Venue
from surveillance_core.venues.kalshi.channel import KalshiChannel
from surveillance_core.venues.registry import asset_terms
from surveillance_core.venues.simulated.faults import Faults
from surveillance_core.venues.simulated.happenings import Phase
from surveillance_core.venues.simulated.judge import BookComparison, compare_books
from surveillance_core.venues.simulated.kalshi.frames import frame
from surveillance_core.venues.simulated.kalshi.subscriptions import Channel, Stream
from surveillance_core.venues.simulated.kalshi.venue import KalshiVenue
from surveillance_core.venues.simulated.polymarket.source import WorldSource
from surveillance_core.venues.simulated.truth import TruthLog
from surveillance_core.venues.simulated.world import World
from tests.collector.worlds import (
    MS,
    START_MS,
    Emitted,
    frame_of,
    new_engine,
    sampled,
    universe_of,
)

CONN = "c1"
MARKETS = 12
EVENTS_PER_SECOND = 200.0
LOOK_EVERY = 50
"""Events between two looks at every book; the one that an event is of is looked at each time."""


class Noise:
    """Drops, repeats and swaps frames, each with the same probability."""

    def __init__(self, share: float, draws: Random) -> None:
        self._share = share
        self._draws = draws
        self._held: dict[int, str] = {}
        self.done: Counter[str] = Counter()
        """What was done to frames."""

    def pass_on(self, line: int, text: str) -> list[str]:
        """What comes of a frame; a swapped one comes after the next of its line."""
        self.done["frames"] += 1
        held = self._held.pop(line, None)
        if held is not None:
            return [text, held]
        drawn = self._draws.random() / self._share
        if drawn >= 3:
            return [text]
        if drawn < 1:
            self.done["dropped"] += 1
            return []
        if drawn < 2:
            self.done["repeated"] += 1
            return [text, text]
        self.done["swapped"] += 1
        self._held[line] = text
        return []

    @property
    def holds(self) -> bool:
        """Whether a frame is still to come."""
        return bool(self._held)


class _Numbered(msgspec.Struct):
    sid: int = 0
    seq: int | None = None


@dataclass
class Findings:
    """What a line was to find, and what did not hold."""

    noise: Counter[str] = field(default_factory=lambda: Counter[str]())
    gaps: int = 0
    """Frames before which others of their stream were missing."""
    found: int = 0
    """Gaps that the engine declared."""
    compared: int = 0
    """Verified books held against the truth."""
    wrong: list[str] = field(default_factory=list[str])


class KalshiLine:
    """Numbered streams of one connection."""

    def __init__(self, seed: int, share: float) -> None:
        self.findings = Findings()
        self._world = World(
            seed, 0, kalshi_markets=MARKETS, start_ms=START_MS,
            events_per_second=EVENTS_PER_SECOND,
        )  # fmt: skip
        self._noise = Noise(share, Random(seed))
        self._venue = KalshiVenue(self._world, Faults(), public_keys={})
        self._session = self._venue.open_session(self)
        self._now_ns = START_MS * MS
        self._sent: dict[int, int] = {}
        self._delivered: dict[int, int] = {}
        """Highest number of each stream, as sent and as delivered."""
        self._engine = Engine(KalshiChannel, sampled(1_000))
        self._commands = self._engine.connect(CONN, self._now_ns)
        channel = self._engine._channels[CONN]
        assert isinstance(channel, KalshiChannel)
        self._channel = channel
        markets = universe_of(self._world)
        terms = [t for market in markets for t in asset_terms(market, mirror=False)]
        self._engine.follow(CONN, terms, Tier.HOT, self._now_ns)
        self._index = {m.yes_id: m.index for m in self._world.tradable}
        for command in self._commands.subscribe([t.asset_id for t in terms]):
            self._ask(command)

    def run(self, frames: int) -> None:
        """Let the world go on until so many frames were sent."""
        looks = 0
        while self._noise.done["frames"] < frames:
            events = self._world.advance(
                min(self._world.next_ms, self._venue.next_due_ms(self._world.next_ms))
            )
            self._now_ns = max(self._now_ns, self._world.now_ms * MS)
            for event in events:
                self._venue.publish(event)
            self._venue.meet_faults()
            looks += 1
            if looks % LOOK_EVERY == 0:
                self._look(list(self._index))
            else:
                listings = (self._world.markets[event.market] for event in events)
                self._look([listing.yes_id for listing in listings if listing.tradable])
            for command in self._engine.drain().commands:
                for text in self._commands.resync(command.asset_ids):
                    self._ask(text)
        self.findings.noise = self._noise.done

    def data(self, stream: Stream, kind: str, body: str, now_ms: int) -> None:
        """Take what the venue publishes; see ``subscriptions.Outlet``."""
        number = None if kind == Channel.TICKER else stream.number()
        self._pass(frame(kind, stream.sid, number, body, now_ms))

    def _ask(self, command: str) -> None:
        for answer in self._session.command(command, self._world.now_ms)[1]:
            self._pass(answer)

    def _pass(self, text: str) -> None:
        told = msgspec.json.decode(text, type=_Numbered)
        if told.seq is None:
            self._deliver(text, told)
            return
        self._sent[told.sid] = told.seq
        for passed in self._noise.pass_on(told.sid, text):
            self._deliver(passed, msgspec.json.decode(passed, type=_Numbered))

    def _deliver(self, text: str, told: _Numbered) -> None:
        self._now_ns += 1_000
        sequence, before = self._channel.sequence, self._channel.sequence.gaps
        self._engine.receive(CONN, text, self._now_ns)
        found = sequence.gaps - before
        self.findings.found += found
        if told.seq is None:
            return
        highest = self._delivered.get(told.sid, 0)
        self._delivered[told.sid] = max(highest, told.seq)
        gap = told.seq > highest + 1
        self.findings.gaps += gap
        if found != gap:
            self.findings.wrong.append(
                f"stream {told.sid}: {told.seq} after {highest}, {found} gaps declared"
            )
        if gap:
            self._all_closed_but(text, told.sid)

    def _all_closed_but(self, text: str, sid: int) -> None:
        """After a gap no book of the stream stands, but one that has just come whole."""
        for asset_id, state in self._channel.states.items():
            if state.opened and state.sid == sid and asset_id not in text:
                self.findings.wrong.append(f"{asset_id} stands after a gap")

    def _look(self, assets: list[str]) -> None:
        """Hold verified books against the truth, where nothing is on its way."""
        if self._noise.holds or self._sent != self._delivered:
            return
        for asset_id in assets:
            state, index = self._channel.states[asset_id], self._index[asset_id]
            if not state.opened or state.trust is not Trust.VERIFIED:
                continue
            if self._world.phase(index) is not Phase.OPEN:
                continue
            self.findings.compared += 1
            if state.book != self._world.book(index):
                self.findings.wrong.append(f"{asset_id} at {state.seq} is not the true book")


class PolymarketLine:
    """The market channel, whose frames have no numbers and whose books have a hash."""

    def __init__(self, seed: int, share: float) -> None:
        self.findings = Findings()
        self._world = World(seed, MARKETS, start_ms=START_MS, events_per_second=EVENTS_PER_SECOND)
        self._log = TruthLog()
        self._log.watch(self._world)
        self._noise = Noise(share, Random(seed))
        self._source = WorldSource(self._world)
        self._now_ns = START_MS * MS
        self._rows: list[Emitted] = []
        self._engine = new_engine(sampled())
        self._engine.connect(CONN, self._now_ns)
        markets = universe_of(self._world)
        terms = [t for market in markets for t in asset_terms(market, mirror=True)]
        self._engine.follow(CONN, terms, Tier.HOT, self._now_ns)
        self._deliver(self._source.initial_books([t.asset_id for t in terms]))

    def run(self, frames: int) -> None:
        """Let the world go on until so many frames were sent."""
        while self._noise.done["frames"] < frames:
            events = self._world.advance(self._world.next_ms)
            self._now_ns = max(self._now_ns, self._world.now_ms * MS)
            for event in events:
                self._log.record(event, event.ts_ms * MS)
            for wire in self._source.frames_of(events, self._world.now_ms):
                for text in self._noise.pass_on(0, wire.text):
                    self._deliver(text)
            output = self._engine.drain()
            self._rows += output.rows
            for command in output.commands:
                self._deliver(self._source.initial_books(command.asset_ids))
        self.findings.noise = self._noise.done
        self.findings.found = sum(
            n for name, n in self._engine.counts.items() if name.startswith("doubted_")
        )
        judged = self._judge()
        self.findings.compared = judged.compared
        self.findings.wrong += judged.examples

    def _deliver(self, text: str) -> None:
        self._now_ns += 1_000
        self._engine.receive(CONN, text, self._now_ns)

    def _judge(self) -> BookComparison:
        rows = frame_of(self._rows, SNAPSHOTS)
        verified = rows.filter(pl.col("trust").cast(pl.String) == Trust.VERIFIED.value)
        # what was dropped without a successor cannot be known of, so that no row is too old
        return compare_books(
            verified, self._log.truth.of(Venue.POLYMARKET), top_k=50, stale_after_ns=1 << 62
        )


def findings_of(venue: str, seed: int, share: float, frames: int) -> Findings:
    """What comes of so many frames of a venue, the share of each kind of noise given."""
    line = KalshiLine(seed, share) if venue == "kalshi" else PolymarketLine(seed, share)
    line.run(frames)
    return line.findings
