"""Judging books: which of them stand, by their stream's numbers and by what else the venue says.

In: frames' numbers, and books whose engine event has just ended. Out: verdicts in tallies, trust on
the book, ``Doubted`` events. ``channel`` applies the messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from surveillance_core.books import Trust
from surveillance_core.venues.kalshi.book import KalshiBook
from surveillance_core.venues.kalshi.integrity import SequenceTracker, TickerTally, Verdict
from surveillance_core.venues.kalshi.subscriptions import Subscriptions
from surveillance_core.venues.kalshi.wire import (
    TERMINAL_ERRORS,
    ErrorMessage,
    Ok,
    TickerBody,
    listed_markets,
)
from surveillance_core.venues.protocols import ChannelEvent, Doubted, SettledReader

QUIET_GAPS = 40
"""Silences of a batch after which a run of changes with one time is taken to be whole.

In the recordings the frames of a run follow each other without a gap in their numbers, up to 143 ms
apart: the next frame of the stream ends it, whichever market that is of, and only where none comes
has silence to.
"""


class BookJudge:
    """The books of one connection, and whether they may be believed.

    Parameters
    ----------
    on_settled
        Called with a book a reader is waiting for, just before the next engine event changes it.
    commands
        The connection's subscriptions, which know the channel of each stream.
    quiet_ns
        Silence after which the last engine event of a silent stream is taken to be whole.
    """

    def __init__(
        self, on_settled: SettledReader | None, commands: Subscriptions, *, quiet_ns: int
    ) -> None:
        self.states: dict[str, KalshiBook] = {}
        self.commands = commands
        """Frames to send; see ``protocols.ConnectionCommands``."""
        self.ignored: Counter[str] = Counter()
        self.crossed_at_batch_end = 0
        self.negative_levels = 0
        """Changes that would have left less than nothing at a level of a trusted book."""
        self.tickers = TickerTally()
        self._by_ticker: dict[str, KalshiBook] = {}
        self._sequence = SequenceTracker()
        self._streams = self._sequence.streams
        self.sequence = self._sequence.tally
        self._on_settled = on_settled
        self._quiet_ns = quiet_ns

    def settle(self, recv_ns: int) -> Sequence[ChannelEvent]:
        """Judge every engine event as it stands: the input has ended."""
        for state in self.states.values():
            self._close_batch(state, recv_ns)
        return ()

    def settle_asset(self, asset_id: str, now_ns: int) -> Sequence[ChannelEvent]:
        """Judge one asset's last engine event if it is whole by ``now_ns``."""
        state = self.states[asset_id]
        if not state.pending:
            return ()
        stream = None if state.sid is None else self._streams.get(state.sid)
        settles_ns = state.settles_ns
        if stream is not None and (stream.expected or 0) > state.seq + 1:
            # the stream has gone on to something else since
            settles_ns = min(settles_ns, max(state.changed_ns, stream.heard_ns))
        if settles_ns <= now_ns:
            self._close_batch(state, settles_ns)
        return ()

    def _in_order(
        self, sid: int | None, seq: int | None, recv_ns: int, events: list[ChannelEvent]
    ) -> bool:
        """Whether the frame may be used; a hole before it takes the stream's books down."""
        if sid is None or seq is None:
            return True
        stream = self._streams.get(sid)
        if stream is not None and seq == stream.expected:
            stream.expected = seq + 1
            stream.observed += 1
            stream.heard_ns = recv_ns
            return True
        verdict = self._sequence.observe(sid, seq, recv_ns)
        if verdict is Verdict.IN_ORDER:
            return True
        if verdict is not Verdict.GAP:
            self.ignored[verdict.value] += 1
            return False
        whole_ns = self._sequence.heard_ns(sid, recv_ns)
        self._sequence.resume(sid, recv_ns)
        self._doubt_stream(sid, verdict.value, whole_ns, events)
        return True

    def _close_batch(self, state: KalshiBook, recv_ns: int) -> None:
        """The engine event is whole: judge it, then let a waiting reader have it."""
        if state.pending:
            state.settles_ns = min(state.settles_ns, recv_ns)
            state.pending = False
            if state.crosses():
                self.crossed_at_batch_end += 1
        if state.read_when_settled and state.opened and self._on_settled is not None:
            self._on_settled(state, recv_ns)
        state.end_matters = state.highest_bid >= state.lowest_ask or state.read_when_settled

    def doubt(self, asset_id: str, cause: str, since_ns: int) -> Sequence[ChannelEvent]:
        """Believe somebody else that the asset's book is wrong."""
        events: list[ChannelEvent] = []
        self._doubt(self.states[asset_id], cause, since_ns, events)
        return events

    def _doubt(
        self, state: KalshiBook, cause: str, since_ns: int, events: list[ChannelEvent]
    ) -> None:
        """Close the book: signed changes on a wrong one only keep it wrong."""
        if state.trust is Trust.DIVERGED:
            return
        state.trust = Trust.DIVERGED
        if state.pending:
            # the event goes no further here: who waits for its end reads it as it was left
            state.settles_ns = state.changed_ns
        state.opened = state.pending = False
        state.ride_on(None)
        state.version += 1
        events.append(Doubted(state.asset_id, cause, since_ns))

    def _doubt_stream(
        self, sid: int | None, cause: str, since_ns: int, events: list[ChannelEvent]
    ) -> None:
        """Doubt every book of a stream, and those that may still come on it; None for all."""
        carries_books = sid is None or self.commands.carries_books(sid)
        for state in self._by_ticker.values():
            if sid is None or state.sid == sid or (state.sid is None and carries_books):
                self._doubt(state, cause, since_ns, events)

    def _refuse_negative(self, state: KalshiBook) -> Sequence[ChannelEvent]:
        events: list[ChannelEvent] = []
        self.negative_levels += 1
        self._doubt(state, "negative_level", state.proved_ns, events)
        return events

    def _compare_top(self, top: TickerBody) -> None:
        state = self._by_ticker.get(top.market_ticker)
        if state is None:
            self.ignored["asset_not_followed"] += 1
            return
        agreed = state.agrees_with(top) if state.opened else None
        if agreed is not None:
            tally = self.tickers
            tally.compared += 1
            tally.agreed += agreed

    def _take_list(self, message: Ok, recv_ns: int, events: list[ChannelEvent]) -> None:
        """A stream's whole list: a book that is not on it is no longer kept up."""
        tickers = listed_markets(message)
        if message.sid is None or tickers is None:
            return
        for state in self._by_ticker.values():
            if state.opened and state.sid == message.sid and state.market_id not in tickers:
                self._doubt(state, "not_subscribed", recv_ns, events)

    def _end_stream(self, sid: int | None, recv_ns: int, events: list[ChannelEvent]) -> None:
        if sid is None:
            return
        self._sequence.end(sid)
        self.commands.ended(sid)
        for state in self._by_ticker.values():
            if state.sid == sid:
                state.sid = None
                if state.opened:
                    self._doubt(state, "unsubscribed", recv_ns, events)

    def _take_error(self, message: ErrorMessage, recv_ns: int, events: list[ChannelEvent]) -> None:
        cause = TERMINAL_ERRORS.get(message.msg.code)
        self.ignored[f"error_{message.msg.code}"] += 1
        if cause is not None:
            self._doubt_stream(message.sid, cause, recv_ns, events)
            self.commands.failed(message.sid)
