"""The market channel as a pure state machine: frames in, books and events out.

Facts it rests on (reference polymarket.md 3): sizes are absolute; messages of one engine event
share timestamp and hash and are one batch, between whose messages a book may be crossed; a ``book``
frame replaces; there is no sequence number, so the hash at the end of each batch, the top of book
in each change and each ``book`` frame are what a loss shows up in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import cast

import msgspec

from surveillance_core.books import TICK_OF, TICKS_PER_DOLLAR, OrderBook, Trust
from surveillance_core.venues.polymarket.book import PolymarketBook, side_of
from surveillance_core.venues.polymarket.integrity import spell_last_trade
from surveillance_core.venues.polymarket.prints import canonical_trade, print_key
from surveillance_core.venues.polymarket.salvage import Broken, ControlText, salvage_frame
from surveillance_core.venues.polymarket.subscriptions import Subscriptions
from surveillance_core.venues.polymarket.wire import (
    SIZE_LIMIT,
    TYPE_NAMES,
    BookMessage,
    LastTradePrice,
    LevelChange,
    Message,
    NewMarket,
    PriceChanges,
    ResolvedMarket,
    TickSizeChange,
    decode_frame,
)
from surveillance_core.venues.protocols import (
    BATCH_GAP_NS,
    AssetTerms,
    ChannelEvent,
    Doubted,
    IntegrityTally,
    MarketListed,
    MarketResolved,
    Opened,
    Rejected,
    SettledReader,
    TickSizeChanged,
)
from surveillance_core.venues.recent import RecentKeys

LATE_MESSAGES = 50
"""Messages in a row older than the book's snapshot after which the snapshot is not believed."""

TYPES_NAMED = 64
"""Message types counted by name; what a venue invents beyond them is counted together."""

_MISMATCHES_TO_DIVERGE = 2


class PolymarketChannel:
    """State of one market-channel connection; see ``protocols.MarketChannel``.

    Parameters
    ----------
    on_settled
        Called with a book a reader is waiting for, just before the next batch changes it.
    hash_interval_ns
        Least time between two hash checks of one asset; 0 checks every batch.
    batch_gap_ns
        Silence after which a batch is taken to be whole.
    """

    def __init__(
        self,
        on_settled: SettledReader | None = None,
        *,
        hash_interval_ns: int = 0,
        batch_gap_ns: int = BATCH_GAP_NS,
    ) -> None:
        self.states: dict[str, PolymarketBook] = {}
        self._messages: Counter[str] = Counter()
        self._price_changes = 0
        """The commonest message's count, kept apart because a counter costs as much as a change."""
        self.ignored: Counter[str] = Counter()
        self.hashes = IntegrityTally()
        self.crossed_at_batch_end = 0
        self.commands = Subscriptions()
        """Frames to send; see ``protocols.ConnectionCommands``."""
        self._on_settled = on_settled
        self._hash_interval_ns = hash_interval_ns
        self._batch_gap_ns = batch_gap_ns
        self._prints = RecentKeys()

    def follow(self, assets: Iterable[AssetTerms]) -> None:
        for terms in assets:
            self.states[terms.asset_id] = PolymarketBook(terms)

    def forget(self, asset_ids: Iterable[str]) -> None:
        for asset_id in asset_ids:
            self.states.pop(asset_id, None)

    def receive(self, frame: bytes | str, recv_ns: int) -> Sequence[ChannelEvent]:
        events: list[ChannelEvent] = []
        try:
            decoded = decode_frame(frame)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            self._salvage(frame, recv_ns, events)
            return events
        if type(decoded) is PriceChanges:
            self._price_changes += 1
            self._apply_changes(decoded, recv_ns, events, frame)
        elif isinstance(decoded, list):
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
            self._close_batch(state, now_ns, events)
        return events

    def _apply(
        self, message: Message, recv_ns: int, events: list[ChannelEvent], frame: bytes | str
    ) -> None:
        self._messages[TYPE_NAMES[type(message)]] += 1
        if isinstance(message, PriceChanges):
            self._apply_changes(message, recv_ns, events, frame)
        elif isinstance(message, BookMessage):
            self._replace_book(message, recv_ns, events, frame)
        elif isinstance(message, LastTradePrice):
            self._take_print(message, events, frame)
        elif isinstance(message, TickSizeChange):
            self._change_tick(message, recv_ns, events, frame)
        elif isinstance(message, NewMarket):
            events.append(MarketListed(message.market, message.question, message.timestamp))
        elif isinstance(message, ResolvedMarket):
            events.append(
                MarketResolved(
                    message.market,
                    message.winning_asset_id or None,
                    message.winning_outcome or None,
                    message.timestamp,
                )
            )

    def _apply_changes(
        self,
        message: PriceChanges,
        recv_ns: int,
        events: list[ChannelEvent],
        frame: bytes | str,
    ) -> None:
        states = self.states
        for change in message.price_changes:
            state = states.get(change.asset_id)
            if state is None:
                self.ignored["asset_not_followed"] += 1
                continue
            if state.message is not message and not self._begin(
                state, change, message, recv_ns, events
            ):
                continue
            tick = TICK_OF.get(change.price)
            size = change.size
            if tick is None or not 0.0 <= size < SIZE_LIMIT:
                events.append(_rejected("malformed_change", f"{change.price} {size}", frame))
                self._doubt(state, "malformed_change", recv_ns, events)
                continue
            side = state.book.bids if change.side == "BUY" else state.book.asks
            before = side.get(tick)
            if size:
                if before != size:
                    side[tick] = size
                    state.version += 1
                    if before is None:
                        if side is state.book.bids:
                            state.highest_bid = max(state.highest_bid, tick)
                        else:
                            state.lowest_ask = min(state.lowest_ask, tick)
            elif before is not None:
                del side[tick]
                state.version += 1
            state.last_change = change

    def _begin(
        self,
        state: PolymarketBook,
        change: LevelChange,
        message: PriceChanges,
        recv_ns: int,
        events: list[ChannelEvent],
    ) -> bool:
        """What a message does to an asset's book once, however many levels it changes.

        False where its changes are not to be applied.
        """
        timestamp = message.timestamp
        if not state.opened:
            self.ignored["change_before_book"] += 1
            # its book, when it comes, may have a hash that knows of a fill in here
            if (timestamp, change.hash) != (state.batch_ts, state.batch_hash):
                state.batch_messages.clear()
            state.batch_ts, state.last_change = timestamp, change
            state.batch_messages.append(message)
            return False
        if timestamp != state.batch_ts or change.hash != state.batch_hash:
            if timestamp < state.snapshot_ts:
                self.ignored["change_older_than_book"] += 1
                state.late += 1
                if state.late >= LATE_MESSAGES:
                    # the snapshot's time is wrong, or the venue's clock went back: start anew
                    self._doubt(state, "venue_clock", state.verified_ns, events)
                return False
            if (
                state.highest_bid >= state.lowest_ask
                or recv_ns >= state.check_due_ns
                or state.read_when_settled
            ):
                self._close_batch(state, recv_ns, events)
            state.batch_ts = timestamp
            state.pending = True
            state.batch_messages = [message]
        else:
            state.batch_messages.append(message)
        state.message = message
        state.last_change = change
        state.seq += 1
        state.changed_ns = recv_ns
        state.ts_venue_ms = timestamp
        state.settles_ns = recv_ns + self._batch_gap_ns
        return True

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
        bids, asks = side_of(message.bids), side_of(message.asks)
        tick = None if message.tick_size is None else TICK_OF.get(message.tick_size)
        if bids is None or asks is None or (message.tick_size is not None and not tick):
            events.append(_rejected("malformed_book", message.asset_id, frame))
            self._doubt(state, "malformed_book", recv_ns, events)
            return
        received = OrderBook(bids, asks)
        differs = received != state.book
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
            state.tick = tick
            state.wire_terms.tick_size = message.tick_size
        if message.last_trade_price is not None:
            self._remember_last_trade(state, message.last_trade_price)
        if reopened or differs:
            state.version += 1
        state.book = received
        state.highest_bid, state.lowest_ask = TICKS_PER_DOLLAR, 0
        state.opened = True
        state.seq = 0 if reopened else state.seq + 1
        state.changed_ns = state.settles_ns = recv_ns
        state.ts_venue_ms = state.snapshot_ts = message.timestamp
        state.batch_ts, state.snapshot_hash = message.timestamp, message.hash
        state.message = state.last_change = None
        state.late = 0
        if reopened:
            state.trust = Trust.UNVERIFIED
            state.mismatches = 0
            state.verified_ns = recv_ns
        if reopened or recv_ns >= state.check_due_ns:
            self._judge_hash(state, recv_ns, events)
        state.batch_messages.clear()
        if reopened:
            events.append(Opened(state.asset_id))

    def _take_print(
        self, message: LastTradePrice, events: list[ChannelEvent], frame: bytes | str
    ) -> None:
        state = self.states.get(message.asset_id)
        if state is None:
            self.ignored["asset_not_followed"] += 1
            return
        tick = TICK_OF.get(message.price)
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

    def _close_batch(self, state: PolymarketBook, recv_ns: int, events: list[ChannelEvent]) -> None:
        """The batch is whole: judge it, then let a waiting reader have it."""
        if state.pending:
            state.pending = False
            if state.highest_bid >= state.lowest_ask and state.crosses():
                self.crossed_at_batch_end += 1
            if recv_ns >= state.check_due_ns:
                self._judge_hash(state, recv_ns, events)
        if state.read_when_settled and self._on_settled is not None:
            self._on_settled(state, recv_ns)

    def _judge_hash(self, state: PolymarketBook, recv_ns: int, events: list[ChannelEvent]) -> None:
        if not state.batch_hash or not state.wire_terms.complete:
            self._judge_top(state, recv_ns, events)
            return
        state.check_due_ns = recv_ns + self._hash_interval_ns
        self.hashes.due += 1
        last_trade = state.last_trade_that_fits()
        if last_trade is None:
            self.hashes.mismatched += 1
            state.mismatches += 1
            if state.mismatches >= _MISMATCHES_TO_DIVERGE:
                self._doubt(state, "hash_mismatch", state.verified_ns, events)
            elif state.trust is Trust.VERIFIED:
                state.trust = Trust.UNVERIFIED
            return
        self._remember_last_trade(state, last_trade)
        self.hashes.matched += 1
        state.mismatches = 0
        state.verified_ns = recv_ns
        if state.trust is not Trust.DIVERGED:
            state.trust = Trust.VERIFIED

    def _judge_top(self, state: PolymarketBook, recv_ns: int, events: list[ChannelEvent]) -> None:
        """Where no hash can be computed, compare the top of book the change itself states."""
        stated = state.last_change
        if stated is None:
            return
        bid, ask = TICK_OF.get(stated.best_bid), TICK_OF.get(stated.best_ask)
        book = state.book
        wrong = (bid is not None and bid not in (book.best_bid, 0)) or (
            ask is not None and ask not in (book.best_ask, TICKS_PER_DOLLAR)
        )
        if not wrong:
            return
        state.mismatches += 1
        if state.mismatches >= _MISMATCHES_TO_DIVERGE:
            self._doubt(state, "top_mismatch", state.verified_ns, events)

    def _doubt(
        self, state: PolymarketBook, cause: str, since_ns: int, events: list[ChannelEvent]
    ) -> None:
        if state.trust is not Trust.DIVERGED:
            state.trust = Trust.DIVERGED
            state.version += 1
            events.append(Doubted(state.asset_id, cause, since_ns))

    def _remember_last_trade(self, state: PolymarketBook, spelling: str) -> None:
        """The last trade price is one for the market: both tokens' hashes carry the same text."""
        for book in (state, self.states.get(state.terms.mirror_id or "")):
            if book is None or book.wire_terms.last_trade_price == spelling:
                continue
            if book.wire_terms.last_trade_price is not None:
                book.recent_last_trades.appendleft(book.wire_terms.last_trade_price)
            book.wire_terms.last_trade_price = spelling

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
