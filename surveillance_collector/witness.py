"""Books compared with what the venue says by REST: which are wrong, and which connection. Pure.

Only books that are quiet are compared, since whatever changes proves by that that it is not stale.
A book is wrong if it did not change while two answers, seconds apart, both had other levels: one
answer alone may be older or newer than what the socket brings (reference peers.md 2.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from surveillance_collector.coverage import TRUSTED
from surveillance_collector.following import Followed
from surveillance_core.books import OrderBook
from surveillance_core.venues.protocols import BookAnswer

LEAST_CONTRACTS: Final = 1e-6
"""The smallest size that either venue knows, in contracts."""
DRIFT_SHARE: Final = 0.01
DRIFT_LEAST: Final = 5
"""More contradicted books than this, and than their share of all, may be the witness's own fault:
an interface that has changed its meaning contradicts whatever it is asked about."""


@dataclass(frozen=True)
class Sample:
    """A quiet book as it is before the venue is asked."""

    followed: Followed
    conn: str
    version: int
    good_ns: int
    """When it last changed or agreed with the witness."""

    @property
    def asset_id(self) -> str:
        """Whose book it is."""
        return self.followed.terms.asset_id

    @property
    def unchanged(self) -> bool:
        """Whether it still is the book that was noted, and believed."""
        now = self.followed
        believed = now.coverage is not None and now.coverage.state == TRUSTED
        same = now.conn == self.conn and now.state.version == self.version
        return believed and now.state.opened and same

    def confirmed_by(self, told: BookAnswer) -> bool:
        """Whether an answer that is no older has the book: an older one vouches for nothing."""
        ours, theirs = self.followed.state.ts_venue_ms, told.ts_venue_ms
        older = ours is not None and theirs is not None and theirs < ours
        return not older and self.agrees(told)

    def agrees(self, told: BookAnswer) -> bool:
        """Whether an answer does not contradict the book, which is unchanged."""
        state = self.followed.state
        return agrees(state.book, state.ts_venue_ms, told)


@dataclass(frozen=True)
class Reading:
    """What a round found on one connection."""

    conn: str
    speaks: bool
    """Whether data came on it in the meantime."""
    agreed: Sequence[Sample] = ()
    wrong: Sequence[Sample] = ()
    unsure: Sequence[Sample] = ()
    """Changed meanwhile, without an answer, answered by what is older, or contradicted once."""


@dataclass(frozen=True)
class Findings:
    """What to do after a round."""

    doubted: tuple[Sample, ...] = ()
    condemned: tuple[str, ...] = ()
    """Connections most of whose books are wrong."""
    drift: bool = False
    """Whether it is the witness that must not be believed."""


@dataclass
class Memory:
    """What earlier rounds found, by asset."""

    agreed_ns: dict[str, int] = field(default_factory=dict[str, int])
    asked: dict[str, int] = field(default_factory=dict[str, int])
    """Number of the round in which it was last asked about."""
    wrong: set[str] = field(default_factory=set[str])
    """Contradicted in the last round that asked about it."""
    rounds: int = 0


def samples_of(
    assets: Iterable[Followed], memory: Memory, *, now_ns: int, quiet_ns: int, most: int
) -> list[Sample]:
    """Quiet books that stand, at most ``most`` a connection, longest unasked first."""
    by_conn: dict[str, list[Sample]] = {}
    for followed in assets:
        state, line = followed.state, followed.coverage
        trusted = line is not None and line.state == TRUSTED
        if (
            trusted
            and state.opened
            and not followed.resolved
            and now_ns - state.changed_ns >= quiet_ns
            and state.settles_ns <= now_ns
        ):
            good_ns = max(state.changed_ns, memory.agreed_ns.get(followed.terms.asset_id, 0))
            sample = Sample(followed, followed.conn, state.version, good_ns)
            by_conn.setdefault(followed.conn, []).append(sample)
    chosen: list[Sample] = []
    for samples in by_conn.values():
        samples.sort(key=lambda s: (memory.asked.get(s.asset_id, -1), s.good_ns, s.asset_id))
        chosen += samples[:most]
    return chosen


def agrees(local: OrderBook, ts_venue_ms: int | None, told: BookAnswer) -> bool:
    """Whether an answer does not contradict a book of that venue's time; an older one cannot.

    Examples
    --------
    >>> agrees(OrderBook({4900: 10.0}, {}), None, BookAnswer(bids={4900: 10.0}, asks={}))
    True
    >>> agrees(OrderBook({4900: 10.0}, {}), 5, BookAnswer(bids={}, asks={}, ts_venue_ms=6))
    False
    """
    if ts_venue_ms is not None and told.ts_venue_ms is not None and told.ts_venue_ms < ts_venue_ms:
        return True
    return _same(local.bids, told.bids) and _same(local.asks, told.asks)


def _same(one: Mapping[int, float], other: Mapping[int, float]) -> bool:
    """Whether two sides have the same levels; sums of changes differ in their last digits."""
    return all(
        abs(one.get(price, 0.0) - other.get(price, 0.0)) <= LEAST_CONTRACTS
        for price in one.keys() | other.keys()
    )


def contradicted(samples: Iterable[Sample], told: Mapping[str, BookAnswer]) -> list[Sample]:
    """Books that have not changed since they were noted and that the answer contradicts."""
    return [
        sample
        for sample in samples
        if sample.unchanged and sample.asset_id in told and not sample.agrees(told[sample.asset_id])
    ]


def read_round(
    samples: Sequence[Sample],
    first: Mapping[str, BookAnswer],
    second: Mapping[str, BookAnswer],
    speaks: Mapping[str, bool],
) -> list[Reading]:
    """What two answers say of each connection; the second was asked about the contradicted only."""
    twice = {sample.asset_id for sample in contradicted(samples, second)}
    readings: list[Reading] = []
    for conn in dict.fromkeys(sample.conn for sample in samples):
        agreed: list[Sample] = []
        wrong: list[Sample] = []
        unsure: list[Sample] = []
        for sample in samples:
            if sample.conn != conn:
                continue
            told = first.get(sample.asset_id)
            if told is not None and sample.unchanged and sample.confirmed_by(told):
                agreed.append(sample)
            elif sample.asset_id in twice and told is not None and not sample.agrees(told):
                wrong.append(sample)
            else:
                unsure.append(sample)
        readings.append(Reading(conn, speaks.get(conn, False), agreed, wrong, unsure))
    return readings


def judge(readings: Sequence[Reading], memory: Memory, followed: int) -> Findings:
    """Which books to doubt, which connections to replace, or that the witness is not to be used.

    The witness is at fault where many books of connections that speak are contradicted, on most of
    those connections at once or again although their books have been had anew since.
    """
    live = [reading for reading in readings if reading.speaks]
    wrong = [sample.asset_id for reading in live for sample in reading.wrong]
    again = sum(asset_id in memory.wrong for asset_id in wrong)
    limit = max(DRIFT_LEAST, DRIFT_SHARE * followed)
    hit = sum(bool(reading.wrong) for reading in live)
    if again > limit or (len(wrong) > limit and len(live) > 1 and 2 * hit > len(live)):
        return Findings(drift=True)
    doubted: list[Sample] = []
    condemned: list[str] = []
    for reading in readings:
        doubted += reading.wrong
        most = len(reading.wrong) > len(reading.agreed)
        # one book alone is had anew first, on a connection that speaks
        several = len(reading.wrong) > 1 or not reading.speaks
        if most and (several or reading.wrong[0].asset_id in memory.wrong):
            condemned.append(reading.conn)
            # what it agreed with may have been changed back and forth meanwhile
            doubted += (*reading.agreed, *reading.unsure)
    return Findings(tuple(doubted), tuple(condemned))


def remember(memory: Memory, readings: Iterable[Reading], asked_ns: int) -> None:
    """Keep what a round found for the next ones."""
    memory.rounds += 1
    for reading in readings:
        for sample in (*reading.agreed, *reading.wrong, *reading.unsure):
            memory.asked[sample.asset_id] = memory.rounds
        for sample in reading.agreed:
            memory.agreed_ns[sample.asset_id] = asked_ns
            memory.wrong.discard(sample.asset_id)
        memory.wrong.update(sample.asset_id for sample in reading.wrong)


def forget(memory: Memory, followed: Iterable[str]) -> None:
    """Drop what is no longer followed."""
    kept = set(followed)
    memory.wrong &= kept
    for known in (memory.agreed_ns, memory.asked):
        for asset_id in known.keys() - kept:
            del known[asset_id]
