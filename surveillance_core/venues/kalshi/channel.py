"""The WebSocket's market data as a pure state machine: frames in, books and events out.

Facts it rests on (reference kalshi.md 3 and 5): changes are signed and numbered over a whole stream
(sid), so a hole in the numbers makes every book of the stream wrong until its next snapshot; a
snapshot replaces, and an empty one comes unasked when a market closes. In the recordings every
crossed or locked book is inside a run of changes with one microsecond timestamp and is uncrossed at
its end: such a run is one engine event here, and a book is sampled after it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from surveillance_core.books import SEEN_COMPLEMENT_OF, SEEN_TICK_OF, Trust
from surveillance_core.venues.kalshi.announcements import announcement_of, status_of, trade_of
from surveillance_core.venues.kalshi.book import KalshiBook
from surveillance_core.venues.kalshi.integrity import Stream
from surveillance_core.venues.kalshi.judging import QUIET_GAPS, BookJudge
from surveillance_core.venues.kalshi.salvage import (
    Broken,
    Tolerated,
    rejected,
    salvage_frame,
    unread_levels,
)
from surveillance_core.venues.kalshi.spelling import (
    FLOAT_UNITS,
    MOST_UNITS,
    TO_WHOLE,
    book_of,
    finest_step,
    markets_named,
    price_tick,
    size_units,
    venue_ms,
    yes_level,
)
from surveillance_core.venues.kalshi.subscriptions import Subscriptions
from surveillance_core.venues.kalshi.wire import (
    BOOK_CHANNEL,
    TYPE_NAMES,
    UNREAD,
    Delta,
    ErrorMessage,
    Lifecycle,
    Message,
    Ok,
    OtherMessage,
    PlainDelta,
    Snapshot,
    Subscribed,
    Ticker,
    TradeBody,
    TradeMessage,
    Unsubscribed,
    decode_frame,
    decode_plain,
)
from surveillance_core.venues.protocols import (
    BATCH_GAP_NS,
    AssetTerms,
    ChannelEvent,
    IntegrityTally,
    Opened,
    ReceivedFrame,
    SettledReader,
    TickSizeChanged,
    ToldEvents,
)
from surveillance_core.venues.recent import RecentKeys


class KalshiChannel(BookJudge):
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
        commands = Subscriptions(use_yes_price=use_yes_price)
        super().__init__(on_settled, commands, quiet_ns=QUIET_GAPS * batch_gap_ns)
        self._use_yes_price = use_yes_price
        self._ask_tick_of = SEEN_TICK_OF if use_yes_price else SEEN_COMPLEMENT_OF
        self._read: defaultdict[type[Message], int] = defaultdict(int)
        """Messages read, by their class; those of the short way are not among them."""
        self._set_aside_kinds: Counter[str] = Counter()
        self.hashes = IntegrityTally()
        """The venue has no book hash: always empty."""
        self._prints = RecentKeys()
        self._book_sid: int | None = None
        """The stream that carried the last whole book: a connection's books are all on one."""
        self._book_stream = Stream(0)

    # ── assets ───────────────────────────────────────────────────────────────────────────────

    def follow(self, assets: Iterable[AssetTerms]) -> None:
        """Expect these assets; messages on others are counted and left alone."""
        for terms in assets:
            self.forget((terms.asset_id,))
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
                state.ride_on(None)

    def regrid(self, asset_id: str, tick: int) -> None:
        """Quote the asset's prices on a grid that another connection was told of."""
        state = self.states.get(asset_id)
        if state is not None:
            state.tick = tick

    def assets_named(self, frame: str) -> Sequence[AssetTerms]:
        """Markets whose book a recorded frame begins; what a replay has instead of REST's terms."""
        return markets_named(frame)

    # ── frames ───────────────────────────────────────────────────────────────────────────────

    def receive(self, frame: bytes | str, recv_ns: int) -> Sequence[ChannelEvent]:
        """Apply one frame. Never raises on anything a venue can send."""
        left = self._take_plain(iter(((frame, recv_ns),)))
        return () if left is None else self._receive_other(*left)

    def receive_all(self, frames: Iterable[ReceivedFrame]) -> Iterator[ToldEvents]:
        """Apply frames in turn; see ``protocols.MarketChannel``."""
        frames = iter(frames)
        while (left := self._take_plain(frames)) is not None:
            if events := self._receive_other(*left):
                yield left[2], events

    def _take_plain(  # noqa: C901  # one loop, because a call costs a tenth of a change
        self, frames: Iterator[ReceivedFrame]
    ) -> tuple[OtherMessage | None, bytes | str, int] | None:
        """Apply changes in order, on books that stand, in today's spelling; hand back what is not.

        Nineteen frames of twenty are, and nothing is called or made for them that they do not
        need. ``_apply_delta`` does the same for all others.
        """
        stream, sid = self._book_stream, self._book_sid
        expected, heard_ns, carried = stream.expected, stream.heard_ns, stream.carried
        yes_tick_of, ask_tick_of = SEEN_TICK_OF, self._ask_tick_of
        scale, to_whole, most = FLOAT_UNITS, TO_WHOLE, MOST_UNITS
        try:
            for frame, recv_ns in frames:
                try:
                    message = decode_plain(frame)
                except UNREAD:
                    return None, frame, recv_ns
                if type(message) is not PlainDelta:
                    return message, frame, recv_ns
                body = message.msg
                try:
                    state = carried[body.market_ticker]
                    if body.side == "yes":
                        levels, tick = state.bids, yes_tick_of[body.price_dollars]
                    else:
                        levels, tick = state.asks, ask_tick_of[body.price_dollars]
                except KeyError:
                    return None, frame, recv_ns
                before = levels.get(tick, 0.0)
                units = (body.delta_fp + before) * scale
                after = units + to_whole - to_whole
                seq = message.seq
                if seq != expected or message.sid != sid or after < 0.0 or after >= most:
                    return None, frame, recv_ns
                if after != units and not -0.01 < units - after < 0.01:
                    return None, frame, recv_ns
                if state.end_matters and state.begins_event(frame):
                    stream.expected, stream.heard_ns = expected, heard_ns
                    self._close_batch(state, recv_ns)
                expected, heard_ns = seq + 1, recv_ns
                state.seq = seq
                state.last_frame = frame
                state.changed_ns = recv_ns
                if after:
                    levels[tick] = after / scale
                    if not before:
                        if levels is state.bids:
                            if tick > state.highest_bid:
                                state.bid_up_to(tick)
                        elif tick < state.lowest_ask:
                            state.ask_down_to(tick)
                elif before:
                    del levels[tick]
        finally:
            stream.expected, stream.heard_ns = expected, heard_ns
        return None

    def _receive_other(
        self, message: Message | None, frame: bytes | str, recv_ns: int
    ) -> Sequence[ChannelEvent]:
        """Apply a frame in full: already read, or to be read in whatever spelling it has."""
        if message is None:
            return self._receive_unread(frame, recv_ns)
        if type(message) is Ticker and message.seq is None:
            self._read[Ticker] += 1
            self._compare_top(message.msg)
            return ()
        return self._apply(message, recv_ns, frame)

    def _receive_unread(self, frame: bytes | str, recv_ns: int) -> Sequence[ChannelEvent]:
        try:
            message = decode_frame(frame)
        except UNREAD:
            message = salvage_frame(frame)
            if isinstance(message, Broken | Tolerated):
                return self._set_aside(message, recv_ns, frame)
        return self._apply(message, recv_ns, frame)

    @property
    def messages(self) -> Counter[str]:
        """Messages seen by type, unknown types under their own name."""
        seen = self._set_aside_kinds + Counter({TYPE_NAMES[k]: n for k, n in self._read.items()})
        # the short way counts nothing: its frames are told by their streams' numbers
        if self._sequence.unobserved:
            seen["orderbook_delta"] += self._sequence.unobserved
        return seen

    def _apply(self, message: Message, recv_ns: int, frame: bytes | str) -> Sequence[ChannelEvent]:
        events: list[ChannelEvent] = []
        # by exact type: asking for an instance of a struct's class takes a third of a microsecond
        kind = type(message)
        self._read[kind] += 1
        if (kind is Delta or kind is Snapshot) and message.sid is not None:
            self.commands.channels.setdefault(message.sid, BOOK_CHANNEL)
        if not self._in_order(message.sid, message.seq, recv_ns, events):
            return events
        if type(message) is TradeMessage:
            self._take_print(message.msg, events, frame)
        elif type(message) is Ticker:
            self._compare_top(message.msg)
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
        return events

    def _set_aside(
        self, found: Broken | Tolerated, recv_ns: int, frame: bytes | str
    ) -> Sequence[ChannelEvent]:
        events: list[ChannelEvent] = []
        if found.kind is not None:
            self._set_aside_kinds[found.kind] += 1
        in_order = self._in_order(found.sid, found.seq, recv_ns, events)
        if isinstance(found, Tolerated):
            return events
        events.append(rejected(found.reason, found.detail, frame))
        if not found.changes_books or not in_order:
            return events
        if found.ticker is None:
            self._doubt_stream(found.sid, found.reason, recv_ns, events)
        elif (state := self._by_ticker.get(found.ticker)) is not None:
            self._doubt(state, found.reason, recv_ns, events)
        return events

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
        state.stamp(body.ts, body.ts_ms)
        side, tick = yes_level(body.side, tick, use_yes_price=self._use_yes_price)
        if not state.apply_delta(side, tick, units):
            events += self._refuse_negative(state)
            return
        state.pending = True
        state.seq = state.seq + 1 if message.seq is None else message.seq
        state.changed_ns = state.settles_ns = recv_ns

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
        if state.opened and state.states_the_same(body, self._ask_tick_of):
            received = state.book
        else:
            received = book_of(body, use_yes_price=self._use_yes_price)
        empty = received is not None and not received.bids and not received.asks
        unread = unread_levels(frame) if empty else []
        if received is None or unread:
            events.append(rejected("malformed_book", " ".join(unread)[:200], frame))
            self._doubt(state, "malformed_book", recv_ns, events)
            return
        self._close_batch(state, recv_ns)
        differs = received is not state.book and received != state.book
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
        if message.sid is not None:
            stream = self._streams.get(message.sid)
            state.ride_on(stream)
            if stream is not None:
                self._book_sid, self._book_stream = message.sid, stream
        numbered = message.sid is not None and message.seq is not None
        state.trust = Trust.VERIFIED if numbered else Trust.UNVERIFIED
        state.renumber(message.seq if message.seq is not None else 0)
        state.changed_ns = state.settles_ns = state.proved_ns = recv_ns
        state.ts_venue_ms = venue_ms(message.sending_ts_ms, None)
        state.pending = True
        if reopened:
            events.append(Opened(state.asset_id))

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
        ticker = body.market_ticker
        state = self._by_ticker.get(ticker)
        step = finest_step(body.price_ranges or [])
        if step is None:
            events.append(rejected("malformed_tick_size", ticker, frame))
        elif state is None:
            # one connection is told of every market, whichever holds its book
            events.append(TickSizeChanged(ticker, ticker, None, step, None))
        elif step != state.tick:
            events.append(TickSizeChanged(ticker, state.asset_id, state.tick, step, None))
            state.tick = step
