"""Kalshi's proof that nothing was lost: one sequence number a stream, and the ticker as a witness.

Facts (reference kalshi.md 3, "seq rules"; no gap in 4 recordings of 74,232 deltas): a stream (sid)
is one channel on one connection and numbers its frames from 1 without holes, over all its markets;
``ok``, ``unsubscribed`` and ``error`` frames of the stream take a number, ``subscribed`` and
``ticker`` frames have none. Signed deltas do not heal, so a hole makes every book of the stream
wrong until its next snapshot.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from surveillance_core.venues.kalshi.book import KalshiBook

REMEMBERED_MISSING = 10_000
"""Missing numbers kept a stream, to tell a late frame from a repeated one."""


RESTART_RUN = 100
"""Consecutive old numbers after which a stream is taken to count anew, rather than to repeat."""


class Verdict(Enum):
    """What a frame's number says of it."""

    IN_ORDER = "in_order"
    GAP = "sequence_gap"
    """Frames before this one are missing; this one is to be used."""
    DUPLICATE = "sequence_duplicate"
    """Seen before."""
    LATE = "sequence_out_of_order"
    """Was missing; what came after it has been used, so it cannot be."""


class SequenceTally(msgspec.Struct):
    """What the sequence numbers of a connection said."""

    streams: int = 0
    gaps: int = 0
    lost: int = 0
    """Numbers that were skipped, whether or not they came late."""
    duplicates: int = 0
    out_of_order: int = 0


class TickerTally(msgspec.Struct):
    """How often the venue's own top of book was the book's as the ticker arrived.

    The two channels are not synchronised, so a difference is no proof of anything.
    """

    compared: int = 0
    agreed: int = 0


class Stream:
    """Where a stream stands; see ``SequenceTracker.streams``."""

    __slots__ = (
        "carried",
        "expected",
        "heard_ns",
        "missing",
        "observed",
        "old",
        "old_run",
        "ran_at",
    )

    def __init__(self, heard_ns: int) -> None:
        self.carried: dict[str, KalshiBook] = {}
        """Books that stand on this stream's changes, by ticker."""
        self.expected: int | None = None
        """The next frame's number; None until the first one has come."""
        self.observed = 0
        """The part of ``expected`` that comes of frames which were observed."""
        self.heard_ns = heard_ns
        self.missing: OrderedDict[int, None] = OrderedDict()
        self.old = 0
        self.old_run = 0
        """Old numbers in a row, with nothing in order between them."""
        self.ran_at: int | None = None
        """What was expected when the last of them came."""

    def expect(self, seq: int) -> None:
        """Expect this number after a frame that was observed."""
        self.observed += seq - (self.expected or 0)
        self.expected = seq

    @property
    def unobserved(self) -> int:
        """Frames taken in order without ``SequenceTracker.observe``."""
        return (self.expected or 0) - self.observed


class SequenceTracker:
    """Numbers of every stream of one connection.

    Examples
    --------
    >>> tracker = SequenceTracker()
    >>> [tracker.observe(1, seq, 0).name for seq in (1, 2, 4, 4, 3)]
    ['IN_ORDER', 'IN_ORDER', 'GAP', 'DUPLICATE', 'LATE']
    """

    def __init__(self) -> None:
        self.tally = SequenceTally()
        self.streams: dict[int, Stream] = {}
        """By sid. A frame whose number is ``expected`` may be taken without ``observe``, if
        ``expected`` and ``heard_ns`` are moved on."""
        self._unobserved_ended = 0

    def begin(self, sid: int, recv_ns: int) -> None:
        """The venue announced the stream: its first number must be 1."""
        if sid not in self.streams:
            self.streams[sid] = Stream(recv_ns)

    def end(self, sid: int) -> None:
        """The stream is over; its number may be given to another."""
        stream = self.streams.pop(sid, None)
        if stream is not None:
            self._unobserved_ended += stream.unobserved

    @property
    def unobserved(self) -> int:
        """Frames of all streams taken in order without ``observe``."""
        return self._unobserved_ended + sum(s.unobserved for s in self.streams.values())

    def heard_ns(self, sid: int | None, default_ns: int) -> int:
        """When the stream was last known to be whole."""
        stream = None if sid is None else self.streams.get(sid)
        return default_ns if stream is None else stream.heard_ns

    def observe(self, sid: int, seq: int, recv_ns: int) -> Verdict:
        """Judge a frame's number; ``heard_ns`` moves on only where nothing is missing."""
        stream = self.streams.get(sid)
        if stream is None:
            # never announced: the recording began in the middle
            stream = self.streams[sid] = Stream(recv_ns)
            stream.expect(seq)
            self.tally.streams += 1
        elif stream.expected is None:
            stream.expect(1)
            self.tally.streams += 1
        expected = stream.expected or seq
        if seq == expected:
            stream.expect(seq + 1)
            stream.heard_ns = recv_ns
            return Verdict.IN_ORDER
        if seq < expected:
            goes_on = seq == stream.old + 1 and expected == stream.ran_at
            stream.old_run = stream.old_run + 1 if goes_on else 1
            stream.old, stream.ran_at = seq, expected
            if stream.old_run >= RESTART_RUN:
                # one damaged number must not silence a stream for good
                self.tally.gaps += 1
                stream.missing.clear()
                stream.old_run = 0
                stream.expect(seq + 1)
                return Verdict.GAP
            if seq in stream.missing:
                del stream.missing[seq]
                self.tally.out_of_order += 1
                return Verdict.LATE
            self.tally.duplicates += 1
            return Verdict.DUPLICATE
        self.tally.gaps += 1
        self.tally.lost += seq - expected
        for number in range(max(expected, seq - REMEMBERED_MISSING), seq):
            stream.missing[number] = None
        while len(stream.missing) > REMEMBERED_MISSING:
            stream.missing.popitem(last=False)
        stream.expect(seq + 1)
        return Verdict.GAP

    def resume(self, sid: int, recv_ns: int) -> None:
        """What the gap made wrong has been marked: the stream counts as heard from here."""
        stream = self.streams.get(sid)
        if stream is not None:
            stream.heard_ns = recv_ns
