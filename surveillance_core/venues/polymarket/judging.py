"""Judging books: what the venue's own proofs say of them, one whole batch at a time.

In: books whose batch has just ended. Out: verdicts in a tally, trust on the book, ``Doubted``
events. ``channel`` applies the messages and says when a batch is whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from surveillance_core.books import TICK_OF, TICKS_PER_DOLLAR, Trust
from surveillance_core.venues.polymarket.book import PolymarketBook
from surveillance_core.venues.polymarket.integrity import Recipe, recipes_at
from surveillance_core.venues.protocols import (
    BATCH_GAP_NS,
    ChannelEvent,
    Doubted,
    IntegrityTally,
    SettledReader,
)

_MISMATCHES_TO_DIVERGE = 2
RECHECK_NS = 500_000_000
"""After a hash that does not fit the next is looked at this soon: a fill may be told up to 90 ms
after the hash that knows of it, and with checks far apart nothing else says which price it had."""

PATIENCE_GAPS = 40
"""Silences of a batch for which a book whose hash does not fit is taken to be half of one."""


class BookJudge:
    """The books of one connection, and what has been proved of them.

    Parameters
    ----------
    on_settled
        Called with a book a reader is waiting for, just before the next batch changes it.
    hash_interval_ns
        Least time between two hash checks of one asset; 0 checks every batch.
    recipe
        The only recipe the hashes may follow; None where the frames' time and the hashes
        themselves are to tell.
    batch_gap_ns
        Silence after which a batch is taken to be whole, if its hash does not contradict.
    """

    def __init__(
        self,
        on_settled: SettledReader | None = None,
        *,
        hash_interval_ns: int = 0,
        recipe: Recipe | None = None,
        batch_gap_ns: int = BATCH_GAP_NS,
    ) -> None:
        self.states: dict[str, PolymarketBook] = {}
        self.hashes = IntegrityTally()
        self.crossed_at_batch_end = 0
        self.recipe = recipe
        """The recipe of the connection's hashes, once it was told or has been proved."""
        self._told = recipe
        self._terms_come = False
        """Whether this connection's first books say the tick, as they have since October 2025."""
        self._on_settled = on_settled
        self._hash_interval_ns = hash_interval_ns
        self._batch_gap_ns = batch_gap_ns

    def _end_silent_batch(
        self, state: PolymarketBook, now_ns: int, events: list[ChannelEvent]
    ) -> None:
        """Close a batch that nothing has followed, unless its hash says that half is missing.

        Silence alone proves little: a batch may be torn apart on its way. Within two seconds of
        its last message a hash that does not fit is taken for that, and the book settles later.
        """
        patient_until_ns = state.changed_ns + PATIENCE_GAPS * self._batch_gap_ns
        if now_ns < patient_until_ns and self._contradicts(state):
            state.hold_until(min(now_ns + self._batch_gap_ns, patient_until_ns))
            return
        self._close_batch(state, now_ns, events)

    def _contradicts(self, state: PolymarketBook) -> bool:
        """Whether the batch's hash is known to be another book's; counts nothing."""
        if self.recipe is None or not state.batch_hash or not state.wire_terms.covers(self.recipe):
            return False
        return state.last_trade_that_fits(self.recipe) is None

    def _close_batch(self, state: PolymarketBook, recv_ns: int, events: list[ChannelEvent]) -> None:
        """The batch is whole: judge it, then let a waiting reader have it."""
        state.settles_ns = min(state.settles_ns, recv_ns)
        if state.pending:
            state.pending = False
            if state.highest_bid >= state.lowest_ask and state.crosses():
                self.crossed_at_batch_end += 1
            if recv_ns >= state.check_due_ns:
                self._judge_hash(state, recv_ns, events)
        if state.read_when_settled and self._on_settled is not None:
            self._on_settled(state, recv_ns)

    def _judge_hash(
        self,
        state: PolymarketBook,
        recv_ns: int,
        events: list[ChannelEvent],
        *,
        snapshot: bool = False,
    ) -> None:
        """Judge the batch, or the ``snapshot`` that has just been taken, by its hash."""
        eras = recipes_at(state.batch_ts) if self._told is None else (self._told,)
        recipes = [recipe for recipe in eras if state.wire_terms.covers(recipe)]
        if not state.batch_hash or not recipes:
            if not snapshot:
                self._judge_top(state, recv_ns, events)
            return
        state.check_due_ns = recv_ns + self._hash_interval_ns
        for recipe in recipes:
            last_trade = state.last_trade_that_fits(recipe)
            if last_trade is None:
                tick_size, last_trade = state.grid_that_fits(recipe) or (None, None)
                if tick_size is not None:
                    self._learn_grid(state, tick_size)
            if last_trade is not None:
                break
        else:
            if len(eras) > 1 and self.recipe is None:
                # no hash of this recording has told its era yet: this one may be of one whose
                # members are not known, and says nothing of the book
                if not snapshot:
                    self._judge_top(state, recv_ns, events)
                return
            self.hashes.due += 1
            self.hashes.mismatched += 1
            state.mismatches += 1
            # a fill whose print is still on its way is over by then; a wrong book is not
            state.check_due_ns = recv_ns + min(self._hash_interval_ns, RECHECK_NS)
            if state.mismatches >= _MISMATCHES_TO_DIVERGE:
                self._doubt(state, "hash_mismatch", state.verified_ns, events)
            elif state.trust is Trust.VERIFIED:
                state.trust = Trust.UNVERIFIED
            return
        self.recipe = recipe
        if last_trade:
            self._remember_last_trade(state, last_trade)
        self.hashes.due += 1
        self.hashes.matched += 1
        state.mismatches = 0
        state.verified_ns = recv_ns
        if state.trust is not Trust.DIVERGED:
            state.trust = Trust.VERIFIED

    def _judge_top(self, state: PolymarketBook, recv_ns: int, events: list[ChannelEvent]) -> None:
        """Where no hash can be computed, compare the top of book the change itself states."""
        bid, ask = state.stated_top()
        book = state.book
        wrong = (bid is not None and bid not in (book.best_bid, 0)) or (
            ask is not None and ask not in (book.best_ask, 0, TICKS_PER_DOLLAR)
        )
        if not wrong:
            return
        state.mismatches += 1
        if state.mismatches >= _MISMATCHES_TO_DIVERGE:
            self._doubt(state, "top_mismatch", state.verified_ns, events)

    def doubt(self, asset_id: str, cause: str, since_ns: int) -> Sequence[ChannelEvent]:
        """Believe somebody else that the asset's book is wrong."""
        events: list[ChannelEvent] = []
        self._doubt(self.states[asset_id], cause, since_ns, events)
        return events

    def _doubt(
        self, state: PolymarketBook, cause: str, since_ns: int, events: list[ChannelEvent]
    ) -> None:
        if state.trust is not Trust.DIVERGED:
            state.trust = Trust.DIVERGED
            state.version += 1
            events.append(Doubted(state.asset_id, cause, since_ns))

    def _learn_grid(self, state: PolymarketBook, tick_size: str) -> None:
        """The grid is one for the market."""
        for book in (state, self.states.get(state.terms.mirror_id or "")):
            if book is not None:
                book.wire_terms.tick_size = tick_size
                book.tick = TICK_OF[tick_size]

    def _misses_terms(
        self, state: PolymarketBook, recv_ns: int, events: list[ChannelEvent]
    ) -> bool:
        """Whether a book that came with a fill has a hash of terms that are not known here.

        Such a book says nothing of the tick and of the last trade. If they changed while nothing
        came, its own hash fits as little as those of the changes after it would: the doubt stays
        until the book comes that was asked for, which says them. Once more it is asked for at once,
        since what was asked while nothing came may have had no answer.
        """
        if not state.mismatches or not self._terms_come:
            return False
        state.trust = Trust.DIVERGED
        if not state.terms_missed:
            state.terms_missed = True
            events.append(Doubted(state.asset_id, "hash_mismatch", recv_ns))
        return True

    def _remember_last_trade(self, state: PolymarketBook, spelling: str) -> None:
        """The last trade price is one for the market: both tokens' hashes carry the same text."""
        for book in (state, self.states.get(state.terms.mirror_id or "")):
            if book is None or book.wire_terms.last_trade_price == spelling:
                continue
            if book.wire_terms.last_trade_price is not None:
                book.recent_last_trades.appendleft(book.wire_terms.last_trade_price)
            book.wire_terms.last_trade_price = spelling
