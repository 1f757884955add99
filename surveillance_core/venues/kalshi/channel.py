"""The WebSocket's market data as a pure state machine: frames in, books and events out.

Facts it rests on (reference kalshi.md 3 and 5): changes are signed and numbered over a whole stream
(sid), so a hole in the numbers makes every book of the stream wrong until its next snapshot; a
snapshot replaces, and an empty one comes unasked when a market closes. In the recordings every
crossed or locked book is inside a run of changes with one microsecond timestamp and is uncrossed at
its end: such a run is one engine event here, and a book is sampled after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from surveillance_core.books import COMPLEMENT, SEEN_TICK_OF, Trust
from surveillance_core.venues.kalshi.book import (
    FLOAT_UNITS,
    MOST_UNITS,
    TO_WHOLE,
    KalshiBook,
    announcement_of,
    book_of,
    finest_step,
    markets_named,
    price_tick,
    size_units,
    status_of,
    trade_of,
    venue_ms,
    yes_level,
)
from surveillance_core.venues.kalshi.integrity import SequenceTracker, TickerTally, Verdict
from surveillance_core.venues.kalshi.salvage import (
    Broken,
    Tolerated,
    rejected,
    salvage_frame,
    unread_levels,
)
from surveillance_core.venues.kalshi.subscriptions import Subscriptions
from surveillance_core.venues.kalshi.wire import (
    BOOK_CHANNEL,
    TERMINAL_ERRORS,
    TYPE_NAMES,
    Delta,
    ErrorMessage,
    Lifecycle,
    Message,
    Ok,
    Snapshot,
    Subscribed,
    Ticker,
    TradeBody,
    TradeMessage,
    Unsubscribed,
    decode_frame,
    decode_plain_delta,
    listed_markets,
)
from surveillance_core.venues.protocols import (
    BATCH_GAP_NS,
    AssetTerms,
    ChannelEvent,
    Doubted,
    IntegrityTally,
    Opened,
    SettledReader,
    TickSizeChanged,
)
from surveillance_core.venues.recent import RecentKeys

DELTA_HEADS = frozenset({'{"type":"orderbook_delta",', b'{"type":"orderbook_delta",'})
"""How a change begins as the venue spells it: other frames are not decoded twice."""

DELTA_HEAD = 26

QUIET_GAPS = 40
"""Silences of a batch after which a run of changes with one time is taken to be whole.

In the recordings the frames of a run follow each other without a gap in their numbers, up to 143 ms
apart: the next frame of the stream ends it, whichever market that is of, and only where none comes
has silence to.
"""


class KalshiChannel:
    """State of one connection; see ``protocols.MarketChannel``.

    Assets are outcomes; the first one's id stands for the market, whose ticker is its market id.
    The second may be followed and has a book that never opens: the venue keeps one book a market.

    Parameters
    ----------
    on_settled
        Called with a book a reader is waiting for, just before the next engine event changes it.
    use_yes_price
        Whether the connection asked for NO levels at YES prices.
    batch_gap_ns
        Silence after which an engine event is taken to be whole.
    """

    def __init__(
        self,
        on_settled: SettledReader | None = None,
        *,
        use_yes_price: bool = False,
        batch_gap_ns: int = BATCH_GAP_NS,
    ) -> None:
        self.states: dict[str, KalshiBook] = {}
        self._messages: Counter[str] = Counter()
        self._deltas = 0
        """The commonest message's count, kept apart because a counter costs as much as a change."""
        self.ignored: Counter[str] = Counter()
        self.hashes = IntegrityTally()
        """The venue has no book hash: always empty."""
        self.crossed_at_batch_end = 0
        self.negative_levels = 0
        """Changes that would have left less than nothing at a level of a trusted book."""
        self.tickers = TickerTally()
        self._sequence = SequenceTracker()
        self._streams = self._sequence.streams
        self.sequence = self._sequence.tally
        self._on_settled = on_settled
        self._use_yes_price = use_yes_price
        self._quiet_ns = QUIET_GAPS * batch_gap_ns
        self.commands = Subscriptions(use_yes_price=use_yes_price)
        """Frames to send; see ``protocols.ConnectionCommands``."""
        self._by_ticker: dict[str, KalshiBook] = {}
        self._prints = RecentKeys()

    # ── assets ───────────────────────────────────────────────────────────────────────────────

    def follow(self, assets: Iterable[AssetTerms]) -> None:
        """Expect these assets; messages on others are counted and left alone."""
        for terms in assets:
            state = self.states[terms.asset_id] = KalshiBook(terms, self._quiet_ns)
            self.commands.follow(terms)
            if terms.primary:
                self._by_ticker[terms.market_id] = state

    def forget(self, asset_ids: Iterable[str]) -> None:
        """Drop these assets and their books."""
        for asset_id in asset_ids:
            state = self.states.pop(asset_id, None)
            if state is not None and self._by_ticker.get(state.market_id) is state:
                del self._by_ticker[state.market_id]

    def assets_named(self, frame: str) -> Sequence[AssetTerms]:
        """Markets whose book a recorded frame begins; what a replay has instead of REST's terms."""
        return markets_named(frame)

    # ── frames ───────────────────────────────────────────────────────────────────────────────

    def receive(self, frame: bytes | str, recv_ns: int) -> Sequence[ChannelEvent]:
        """Apply one frame. Never raises on anything a venue can send."""
        # In order, on a book that stands, in today's spelling: nineteen frames of twenty are, and
        # nothing is called or made for them that they do not need. ``_apply_delta`` does the same
        # for all others.
        if frame[:DELTA_HEAD] not in DELTA_HEADS:
            return self._receive_other(frame, recv_ns)
        try:
            message = decode_plain_delta(frame)
            body, sid, seq = message.msg, message.sid, message.seq
            state, stream = self._by_ticker[body.market_ticker], self._streams[sid]
            tick = SEEN_TICK_OF[body.price_dollars]
        except (msgspec.DecodeError, RecursionError, UnicodeError, KeyError):
            return self._receive_other(frame, recv_ns)
        if body.side == "yes":
            levels = state.bids
        else:
            levels = state.asks
            if not self._use_yes_price:
                tick = COMPLEMENT[tick]
        before = levels.get(tick)
        units = (body.delta_fp if before is None else body.delta_fp + before) * FLOAT_UNITS
        after = units + TO_WHOLE - TO_WHOLE
        if (
            seq != stream.expected
            or state.sid != sid
            or not state.opened
            or not 0.0 <= after < MOST_UNITS
            or not -0.01 < units - after < 0.01
        ):
            return self._receive_other(frame, recv_ns)
        self._deltas += 1
        stream.expected = seq + 1
        stream.heard_ns = recv_ns
        stream.old_run = 0
        stamp = body.ts
        if stamp != state.batch_ts:
            if state.highest_bid >= state.lowest_ask or state.read_when_settled:
                self._close_batch(state, recv_ns)
            state.batch_ts = stamp
        if after:
            levels[tick] = after / FLOAT_UNITS
            if before is None:
                if levels is state.bids:
                    if tick > state.highest_bid:
                        state.highest_bid = tick
                elif tick < state.lowest_ask:
                    state.lowest_ask = tick
        elif before is not None:
            del levels[tick]
        state.pending = True
        state.seq = seq
        state.changed_ns = recv_ns
        return ()

    def _receive_other(self, frame: bytes | str, recv_ns: int) -> Sequence[ChannelEvent]:
        events: list[ChannelEvent] = []
        try:
            message = decode_frame(frame)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            found = salvage_frame(frame)
            if isinstance(found, Broken | Tolerated):
                self._set_aside(found, recv_ns, events, frame)
                return events
            message = found
        self._apply(message, recv_ns, events, frame)
        return events

    @property
    def messages(self) -> Counter[str]:
        """Messages seen by type, unknown types under their own name."""
        seen = self._messages.copy()
        if self._deltas:
            seen["orderbook_delta"] += self._deltas
        return seen

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

    def _apply(
        self, message: Message, recv_ns: int, events: list[ChannelEvent], frame: bytes | str
    ) -> None:
        # by exact type: asking for an instance of a struct's class takes a third of a microsecond
        kind = type(message)
        self._messages[TYPE_NAMES[kind]] += 1
        if (kind is Delta or kind is Snapshot) and message.sid is not None:
            self.commands.channels.setdefault(message.sid, BOOK_CHANNEL)
        if not self._in_order(message.sid, message.seq, recv_ns, events):
            return
        if type(message) is TradeMessage:
            self._take_print(message.msg, events, frame)
        elif type(message) is Ticker:
            self._compare_top(message)
        elif type(message) is Delta:
            self._apply_delta(message, recv_ns, events, frame)
        elif type(message) is Snapshot:
            self._replace_book(message, recv_ns, events, frame)
        elif type(message) is Lifecycle:
            self._take_lifecycle(message, events, frame)
        elif type(message) is Subscribed:
            self.commands.announced(message.msg.sid, message.msg.channel)
            self._sequence.begin(message.msg.sid, recv_ns)
        elif type(message) is Ok:
            self._take_list(message, recv_ns, events)
        elif type(message) is Unsubscribed:
            self._end_stream(message.sid, recv_ns, events)
        elif type(message) is ErrorMessage:
            self._take_error(message, recv_ns, events)

    def _set_aside(
        self,
        found: Broken | Tolerated,
        recv_ns: int,
        events: list[ChannelEvent],
        frame: bytes | str,
    ) -> None:
        if found.kind is not None:
            self._messages[found.kind] += 1
        in_order = self._in_order(found.sid, found.seq, recv_ns, events)
        if isinstance(found, Tolerated):
            return
        events.append(rejected(found.reason, found.detail, frame))
        if not found.changes_books or not in_order:
            return
        if found.ticker is None:
            self._doubt_stream(found.sid, found.reason, recv_ns, events)
        elif (state := self._by_ticker.get(found.ticker)) is not None:
            self._doubt(state, found.reason, recv_ns, events)

    def _in_order(
        self, sid: int | None, seq: int | None, recv_ns: int, events: list[ChannelEvent]
    ) -> bool:
        """Whether the frame may be used; a hole before it takes the stream's books down."""
        if sid is None or seq is None:
            return True
        stream = self._streams.get(sid)
        if stream is not None and seq == stream.expected:
            stream.expected, stream.heard_ns, stream.old_run = seq + 1, recv_ns, 0
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

    # ── books ────────────────────────────────────────────────────────────────────────────────

    def _apply_delta(
        self, message: Delta, recv_ns: int, events: list[ChannelEvent], frame: bytes | str
    ) -> None:
        body = message.msg
        state = self._by_ticker.get(body.market_ticker)
        if state is None:
            self.ignored["asset_not_followed"] += 1
            return
        if not state.opened:
            self.ignored["change_before_book"] += 1
            return
        if state.sid != message.sid:
            self.ignored["change_from_another_stream"] += 1
            return
        tick = price_tick(body.price_dollars, body.price)
        units = size_units(body.delta_fp, body.delta)
        if tick is None or units is None:
            detail = f"{body.price_dollars} {body.delta_fp}"
            events.append(rejected("malformed_change", detail, frame))
            self._doubt(state, "malformed_change", recv_ns, events)
            return
        stamp = body.ts_ms if body.ts is None else body.ts
        if stamp is None or stamp != state.batch_ts:
            self._close_batch(state, recv_ns)
            state.batch_ts = stamp
        side, tick = yes_level(body.side, tick, use_yes_price=self._use_yes_price)
        if not state.apply_delta(side, tick, units):
            events += self._refuse_negative(state)
            return
        state.pending = True
        state.seq = state.seq + 1 if message.seq is None else message.seq
        state.changed_ns = state.settles_ns = recv_ns
        state.ts_venue_ms = venue_ms(body.ts_ms, body.ts)

    def _refuse_negative(self, state: KalshiBook) -> Sequence[ChannelEvent]:
        events: list[ChannelEvent] = []
        self.negative_levels += 1
        self._doubt(state, "negative_level", state.proved_ns, events)
        return events

    def _replace_book(
        self, message: Snapshot, recv_ns: int, events: list[ChannelEvent], frame: bytes | str
    ) -> None:
        body = message.msg
        state = self._by_ticker.get(body.market_ticker)
        if state is None:
            self.ignored["asset_not_followed"] += 1
            return
        state.sid = message.sid
        self.commands.book_came(body.market_ticker)
        received = book_of(body, use_yes_price=self._use_yes_price)
        empty = received is not None and not received.bids and not received.asks
        unread = unread_levels(frame) if empty else []
        if received is None or unread:
            events.append(rejected("malformed_book", " ".join(unread)[:200], frame))
            self._doubt(state, "malformed_book", recv_ns, events)
            return
        self._close_batch(state, recv_ns)
        differs = received != state.book
        reopened = not state.opened
        if not reopened and differs:
            reopened = not empty
            reason = "book_emptied_by_venue" if empty else "book_replaced_a_different_one"
            self.ignored[reason] += 1
            if not empty:
                self._doubt(state, "checkpoint_mismatch", state.proved_ns, events)
        if reopened or differs:
            state.version += 1
        state.replace(received)
        state.opened = True
        numbered = message.sid is not None and message.seq is not None
        state.trust = Trust.VERIFIED if numbered else Trust.UNVERIFIED
        state.renumber(message.seq if message.seq is not None else 0)
        state.batch_ts = None
        state.changed_ns = state.settles_ns = state.proved_ns = recv_ns
        state.ts_venue_ms = venue_ms(message.sending_ts_ms, None)
        state.pending = True
        if reopened:
            events.append(Opened(state.asset_id))

    def _close_batch(self, state: KalshiBook, recv_ns: int) -> None:
        """The engine event is whole: judge it, then let a waiting reader have it."""
        if state.pending:
            state.settles_ns = min(state.settles_ns, recv_ns)
            state.pending = False
            if state.crosses():
                self.crossed_at_batch_end += 1
        if state.read_when_settled and state.opened and self._on_settled is not None:
            self._on_settled(state, recv_ns)

    def _doubt(
        self, state: KalshiBook, cause: str, since_ns: int, events: list[ChannelEvent]
    ) -> None:
        """Close the book: signed changes on a wrong one only keep it wrong."""
        if state.trust is Trust.DIVERGED:
            return
        state.trust = Trust.DIVERGED
        state.opened = state.pending = False
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

    def _take_print(self, body: TradeBody, events: list[ChannelEvent], frame: bytes | str) -> None:
        state = self._by_ticker.get(body.market_ticker)
        if state is None:
            self.ignored["asset_not_followed"] += 1
            return
        trade = trade_of(body, state.terms)
        if trade is None:
            detail = f"{body.yes_price_dollars} {body.count_fp}"
            events.append(rejected("malformed_trade", detail, frame))
            return
        if trade.transaction_id is not None and not self._prints.is_new(trade.transaction_id):
            self.ignored["repeated_trade"] += 1
            return
        if body.is_block_trade:
            self.ignored["block_trade"] += 1
        events.append(trade)

    def _compare_top(self, message: Ticker) -> None:
        state = self._by_ticker.get(message.msg.market_ticker)
        if state is None:
            self.ignored["asset_not_followed"] += 1
            return
        agreed = state.agrees_with(message.msg) if state.opened else None
        if agreed is not None:
            self.tickers.compared += 1
            self.tickers.agreed += agreed

    def _take_lifecycle(
        self, message: Lifecycle, events: list[ChannelEvent], frame: bytes | str
    ) -> None:
        body = message.msg
        announced = announcement_of(body) or status_of(body)
        if announced is not None:
            events.append(announced)
            return
        if body.event_type != "price_level_structure_updated":
            self.ignored["lifecycle_not_kept"] += 1
            return
        state = self._by_ticker.get(body.market_ticker)
        if state is None:
            return
        step = finest_step(body.price_ranges or [])
        if step is None:
            events.append(rejected("malformed_tick_size", body.market_ticker, frame))
        elif step != state.tick:
            events.append(TickSizeChanged(state.market_id, state.asset_id, state.tick, step, None))
            state.tick = step

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
