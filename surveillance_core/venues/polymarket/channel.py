"""The market channel as a pure state machine: frames in, books and events out.

Facts it rests on (reference polymarket.md 3): sizes are absolute; messages of one engine event
share timestamp and hash and are one batch, between whose messages a book may be crossed; a ``book``
frame replaces; there is no sequence number, so the hash at the end of each batch, the top of book
in each change and each ``book`` frame are what a loss shows up in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from surveillance_core.books import (
    SEEN_TICK_OF,
    TICK_OF,
    OrderBook,
    Trust,
    seen_tick,
)
from surveillance_core.venues.polymarket.book import PolymarketBook, side_of
from surveillance_core.venues.polymarket.integrity import Recipe, spell_last_trade
from surveillance_core.venues.polymarket.judging import BookJudge
from surveillance_core.venues.polymarket.prints import canonical_trade, print_key
from surveillance_core.venues.polymarket.salvage import Broken, ControlText, salvage_frame
from surveillance_core.venues.polymarket.subscriptions import Subscriptions
from surveillance_core.venues.polymarket.wire import (
    CHANGES_END,
    CHANGES_START,
    SIZE_LIMIT,
    TYPE_NAMES,
    UNREAD,
    BookMessage,
    LastTradePrice,
    LevelChange,
    Message,
    NewMarket,
    PriceChanges,
    ResolvedMarket,
    TickSizeChange,
    decode_changes,
    decode_frame,
)
from surveillance_core.venues.protocols import (
    BATCH_GAP_NS,
    AssetTerms,
    ChannelEvent,
    Doubted,
    MarketListed,
    MarketResolved,
    Opened,
    ReceivedFrame,
    Rejected,
    SettledReader,
    TickSizeChanged,
    ToldEvents,
)
from surveillance_core.venues.recent import RecentKeys

LATE_MESSAGES = 50
"""Messages in a row older than the book's snapshot after which the snapshot is not believed."""

TYPES_NAMED = 64
"""Message types counted by name; what a venue invents beyond them is counted together."""


class PolymarketChannel(BookJudge):
    """State of one market-channel connection; see ``protocols.MarketChannel``.

    Parameters
    ----------
    on_settled
        Called with a book a reader is waiting for, just before the next batch changes it.
    hash_interval_ns
        Least time between two hash checks of one asset; 0 checks every batch.
    batch_gap_ns
        Silence after which a batch is taken to be whole.
    recipe
        The recipe of a recording's hashes where it is known beforehand; None finds it.
    """

    def __init__(
        self,
        on_settled: SettledReader | None = None,
        *,
        hash_interval_ns: int = 0,
        batch_gap_ns: int = BATCH_GAP_NS,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(
            on_settled,
            hash_interval_ns=hash_interval_ns,
            recipe=recipe,
            batch_gap_ns=batch_gap_ns,
        )
        self._messages: Counter[str] = Counter()
        self._price_changes = 0
        """The commonest message's count, kept apart because a counter costs as much as a change."""
        self.ignored: Counter[str] = Counter()
        self.commands = Subscriptions()
        """Frames to send; see ``protocols.ConnectionCommands``."""
        self._prints = RecentKeys()
        self._unused: list[ChannelEvent] = []
        """An empty list, kept for the next message that has something to tell."""

    def follow(self, assets: Iterable[AssetTerms]) -> None:
        for terms in assets:
            self.states[terms.asset_id] = PolymarketBook(terms, self._batch_gap_ns)

    def forget(self, asset_ids: Iterable[str]) -> None:
        for asset_id in asset_ids:
            self.states.pop(asset_id, None)

    def regrid(self, asset_id: str, tick: int) -> None:
        """Nothing: each connection is told, and each whole book states its grid."""

    def receive(self, frame: bytes | str, recv_ns: int) -> Sequence[ChannelEvent]:
        for _, events in self.receive_all(((frame, recv_ns),)):
            return events
        return ()

    def receive_all(self, frames: Iterable[ReceivedFrame]) -> Iterator[ToldEvents]:
        frames = iter(frames)
        while (left := self._take_changes(frames)) is not None:
            frame, recv_ns, events = left
            if frame is not None:
                events = self._receive_other(frame, recv_ns)
            if events:
                yield recv_ns, events

    def _receive_other(self, frame: bytes | str, recv_ns: int) -> Sequence[ChannelEvent]:
        events: list[ChannelEvent] = []
        try:
            decoded = decode_frame(frame)
        except UNREAD:
            self._salvage(frame, recv_ns, events)
            return events
        if isinstance(decoded, list):
            if not decoded:
                self.ignored["empty_frame"] += 1
            for message in cast("list[Message]", decoded):
                self._apply(message, recv_ns, events, frame)
        else:
            self._apply(cast("Message", decoded), recv_ns, events, frame)
        return events

    @property
    def messages(self) -> Counter[str]:
        seen = self._messages.copy()
        if self._price_changes:
            seen["price_change"] += self._price_changes
        return seen

    def settle(self, recv_ns: int) -> Sequence[ChannelEvent]:
        events: list[ChannelEvent] = []
        for state in self.states.values():
            self._close_batch(state, recv_ns, events)
        return events

    def settle_asset(self, asset_id: str, now_ns: int) -> Sequence[ChannelEvent]:
        """Judge one asset's batch if it is whole by ``now_ns``."""
        events: list[ChannelEvent] = []
        state = self.states[asset_id]
        if state.pending and state.settles_ns <= now_ns:
            self._end_silent_batch(state, now_ns, events)
        return events

    def _apply(
        self, message: Message, recv_ns: int, events: list[ChannelEvent], frame: bytes | str
    ) -> None:
        # by exact type: asking for an instance of a struct's class takes a third of a microsecond
        self._messages[TYPE_NAMES[type(message)]] += 1
        if type(message) is PriceChanges:
            told = self._take_changes(iter(((frame, recv_ns),)), message)
            events += () if told is None else told[2]
        elif type(message) is BookMessage:
            self._replace_book(message, recv_ns, events, frame)
        elif type(message) is LastTradePrice:
            self._take_print(message, events, frame)
        elif type(message) is TickSizeChange:
            self._change_tick(message, recv_ns, events, frame)
        elif type(message) is NewMarket:
            events.append(MarketListed(message.market, message.question, message.timestamp))
        elif type(message) is ResolvedMarket:
            events.append(
                MarketResolved(
                    message.market,
                    message.winning_asset_id or None,
                    message.winning_outcome or None,
                    message.timestamp,
                )
            )

    def _take_changes(  # noqa: C901  # one loop, because a call costs a tenth of a change
        self, frames: Iterator[ReceivedFrame], read: PriceChanges | None = None
    ) -> tuple[bytes | str | None, int, Sequence[ChannelEvent]] | None:
        """Set the levels, each asset's batch begun or gone on with at its first change.

        Nineteen messages of twenty pass here, so it calls nothing and makes nothing on the way
        that they take. It goes on until a frame that holds something else, which it hands back, or
        one that tells something. ``read`` is what the only frame holds where that is known.
        """
        states, seen, size_limit, events = self.states, SEEN_TICK_OF, SIZE_LIMIT, self._unused
        taken = 0
        try:
            for frame, recv_ns in frames:
                message = read
                if message is None:
                    # looked at first, since a refusal costs more than a change
                    try:
                        if frame[-4] not in CHANGES_END and frame[2] not in CHANGES_START:
                            return frame, recv_ns, ()
                        message = decode_changes(frame)
                    except (IndexError, *UNREAD):
                        return frame, recv_ns, ()
                    taken += 1
                timestamp = message.timestamp
                one: PolymarketBook | None = None
                other: PolymarketBook | None = None
                more: list[PolymarketBook] | None = None
                for change in message.price_changes:
                    try:
                        state = states[change.asset_id]
                    except KeyError:
                        self.ignored["asset_not_followed"] += 1
                        continue
                    if (
                        state is not one
                        and state is not other
                        and (more is None or state not in more)
                    ):
                        if (
                            change.hash != state.batch_hash
                            or timestamp != state.batch_ts
                            or not state.opened
                        ):
                            if not state.opened or (
                                timestamp < state.batch_ts and timestamp < state.snapshot_ts
                            ):
                                self._hold_back(state, change, timestamp, frame, events)
                                continue
                            if (
                                state.highest_bid >= state.lowest_ask
                                or recv_ns >= state.check_due_ns
                                or state.read_when_settled
                            ):
                                self._close_batch(state, recv_ns, events)
                            state.batch_ts = timestamp
                            state.pending = True
                            state.frames = frame
                        elif state.frames is not frame:
                            state.remember(frame)
                        state.batch_hash = change.hash
                        state.seq += 1
                        state.changed_ns = recv_ns
                        if one is None:
                            one = state
                        elif other is None:
                            other = state
                        else:
                            more = [*(more or ()), state]
                    else:
                        state.batch_hash = change.hash
                    size = change.size
                    try:
                        tick = seen[change.price]
                    except KeyError:
                        learned = seen_tick(change.price)
                        tick, size = (0, -1.0) if learned is None else (learned, size)
                    if size > 0.0 and size < size_limit:  # a chain costs twice as much
                        side = state.bids if change.side == "BUY" else state.asks
                        before = side.get(tick, 0.0)
                        if before != size:
                            side[tick] = size
                            state.version += 1
                            if not before:
                                if side is state.bids:
                                    if tick > state.highest_bid:
                                        state.highest_bid = tick
                                elif tick < state.lowest_ask:
                                    state.lowest_ask = tick
                    elif size == 0.0:
                        side = state.bids if change.side == "BUY" else state.asks
                        if side.pop(tick, None) is not None:
                            state.version += 1
                    else:
                        detail = f"{change.price} {change.size}"
                        events.append(_rejected("malformed_change", detail, frame))
                        self._doubt(state, "malformed_change", recv_ns, events)
                if events:
                    self._unused = []
                    return None, recv_ns, events
        finally:
            self._price_changes += taken
        return None

    def _hold_back(
        self,
        state: PolymarketBook,
        change: LevelChange,
        timestamp: int,
        frame: bytes | str,
        events: list[ChannelEvent],
    ) -> None:
        """A change that is not to be applied: before its asset's book, or older than it."""
        if state.opened:
            self.ignored["change_older_than_book"] += 1
            state.late += 1
            if state.late >= LATE_MESSAGES:
                # the snapshot's time is wrong, or the venue's clock went back: start anew
                self._doubt(state, "venue_clock", state.verified_ns, events)
            return
        self.ignored["change_before_book"] += 1
        # its book, when it comes, may have a hash that knows of a fill in here
        if (timestamp, change.hash) != (state.batch_ts, state.batch_hash):
            state.batch_ts, state.batch_hash, state.frames = timestamp, change.hash, frame
        else:
            state.remember(frame)

    def _replace_book(
        self,
        message: BookMessage,
        recv_ns: int,
        events: list[ChannelEvent],
        frame: bytes | str,
    ) -> None:
        state = self.states.get(message.asset_id)
        if state is None:
            self.ignored["asset_not_followed"] += 1
            return
        trusted = state.opened and state.trust is not Trust.DIVERGED
        if trusted and message.timestamp < state.batch_ts:
            # the snapshot was taken before changes that are already applied
            self.ignored["book_older_than_changes"] += 1
            return
        book = state.book
        bids, asks = side_of(message.bids, book.bids), side_of(message.asks, book.asks)
        tick = None if message.tick_size is None else TICK_OF.get(message.tick_size)
        if bids is None or asks is None or (message.tick_size is not None and not tick):
            events.append(_rejected("malformed_book", message.asset_id, frame))
            self._doubt(state, "malformed_book", recv_ns, events)
            return
        differs = bids is not book.bids or asks is not book.asks
        same_batch = (message.timestamp, message.hash) == (state.batch_ts, state.batch_hash)
        if same_batch and differs:
            # the snapshot overtook the rest of its own batch: half of it proves nothing, and a
            # reader that waits for the whole gets it from the snapshot
            state.pending = False
        else:
            self._close_batch(state, recv_ns, events)
        reopened = not state.opened or state.trust is Trust.DIVERGED
        if not reopened and differs and not same_batch:
            self.ignored["book_replaced_a_different_one"] += 1
            self._doubt(state, "checkpoint_mismatch", state.verified_ns, events)
            reopened = True
        if tick is not None and message.tick_size is not None:
            self._terms_come = True
            state.terms_missed = False
            state.tick = tick
            state.wire_terms.tick_size = message.tick_size
        if message.last_trade_price is not None:
            self._remember_last_trade(state, message.last_trade_price)
        if reopened or differs:
            state.version += 1
        if differs:
            state.replace(OrderBook(bids, asks))
        state.opened = True
        state.seq = 0 if reopened else state.seq + 1
        state.changed_ns = state.settles_ns = recv_ns
        state.snapshot_ts = message.timestamp
        state.batch_ts, state.batch_hash = message.timestamp, message.hash
        state.late = 0
        if reopened:
            state.trust = Trust.UNVERIFIED
            state.mismatches = 0
            state.verified_ns = recv_ns
        if reopened or recv_ns >= state.check_due_ns:
            self._judge_hash(state, recv_ns, events, snapshot=True)
        state.frames = b""
        if reopened and tick is None and self._misses_terms(state, recv_ns, events):
            self.ignored["book_of_unknown_terms"] += 1
        elif reopened:
            events.append(Opened(state.asset_id))

    def _take_print(
        self, message: LastTradePrice, events: list[ChannelEvent], frame: bytes | str
    ) -> None:
        state = self.states.get(message.asset_id)
        if state is None:
            self.ignored["asset_not_followed"] += 1
            return
        tick = SEEN_TICK_OF.get(message.price)
        if tick is None:
            tick = seen_tick(message.price)
        if tick is None or not 0.0 < message.size < SIZE_LIMIT:
            events.append(_rejected("malformed_trade", f"{message.price} {message.size}", frame))
            return
        self._remember_last_trade(state, spell_last_trade(tick))
        trade = canonical_trade(message, tick, state.terms)
        key = print_key(trade)
        if key is not None and not self._prints.is_new(key):
            self.ignored["repeated_trade"] += 1
            return
        events.append(trade)

    def _change_tick(
        self,
        message: TickSizeChange,
        recv_ns: int,
        events: list[ChannelEvent],
        frame: bytes | str,
    ) -> None:
        state = self.states.get(message.asset_id)
        if state is None:
            self.ignored["asset_not_followed"] += 1
            return
        old, new = TICK_OF.get(message.old_tick_size), TICK_OF.get(message.new_tick_size)
        if not old or not new:
            events.append(_rejected("malformed_tick_size", message.new_tick_size, frame))
            return
        self._close_batch(state, recv_ns, events)
        state.tick = new
        state.wire_terms.tick_size = message.new_tick_size
        if state.terms.primary:
            events.append(
                TickSizeChanged(state.market_id, state.asset_id, old, new, message.timestamp)
            )
        # a new epoch: the old grid's book is not carried over, the next full book opens it
        state.opened = False
        state.pending = False
        events.append(Doubted(state.asset_id, "tick_size_change", recv_ns))

    def _salvage(self, frame: bytes | str, recv_ns: int, events: list[ChannelEvent]) -> None:
        """Use what can be used of a frame the typed decoder refused, and name the rest."""
        for found in salvage_frame(frame):
            match found:
                case ControlText():
                    self._messages[found.text] += 1
                case Broken():
                    if found.kind is not None:
                        known = found.kind in self._messages or len(self._messages) < TYPES_NAMED
                        self._messages[found.kind if known else "other"] += 1
                    events.append(_rejected(found.reason, found.detail, frame))
                    for asset_id in found.assets:
                        state = self.states.get(asset_id)
                        if state is not None:
                            self._doubt(state, found.reason, recv_ns, events)
                case _:
                    self._apply(found, recv_ns, events, frame)


def _rejected(reason: str, detail: str, frame: bytes | str) -> Rejected:
    payload = frame.encode("utf-8", "surrogatepass") if isinstance(frame, str) else frame
    return Rejected(reason, detail, payload)
