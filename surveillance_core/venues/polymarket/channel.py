"""The market channel as a pure state machine: frames in, books and events out.

Facts it rests on (reference polymarket.md 3): sizes are absolute; messages of one engine event
share timestamp and hash and are one batch, between whose messages a book may be crossed; a ``book``
frame replaces; there is no sequence number, so the hash at the end of each batch, the top of book
in each change and each ``book`` frame are what a loss shows up in.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Sequence
from math import inf
from typing import cast

import msgspec

from surveillance_core.books import (
    SPELLING,
    TICK_OF,
    TICKS_PER_DOLLAR,
    BookState,
    OrderBook,
    Trust,
)
from surveillance_core.venues.polymarket.integrity import (
    HashTerms,
    hash_members,
    level_members,
    matching_last_trade_price,
)
from surveillance_core.venues.polymarket.wire import (
    CONTROL_TEXTS,
    MESSAGE_TYPES,
    TYPE_NAMES,
    BookMessage,
    LastTradePrice,
    Level,
    LevelChange,
    Message,
    PriceChanges,
    TickSizeChange,
    convert_message,
    decode_frame,
)
from surveillance_core.venues.protocols import (
    AssetTerms,
    ChannelEvent,
    Doubted,
    IntegrityTally,
    Opened,
    Rejected,
    SettledReader,
    Side,
    TickSizeChanged,
    Trade,
)

BATCH_GAP_NS = 50_000_000
"""Silence after which a batch is taken to be whole (reference 3.6)."""

REMEMBERED_PRINTS = 50_000
"""Prints kept to recognise a repeat; the venue repeats within seconds."""

_MISMATCHES_TO_DIVERGE = 2


class PolymarketBook(BookState):
    """A book with the members of its hash and the batch it is in."""

    __slots__ = (
        "batch_messages",
        "batch_ts",
        "check_due_ns",
        "highest_bid",
        "last_change",
        "lowest_ask",
        "message",
        "mismatches",
        "pending",
        "recent_last_trades",
        "snapshot_hash",
        "snapshot_ts",
        "terms",
        "verified_ns",
        "wire_terms",
    )

    def __init__(self, terms: AssetTerms) -> None:
        super().__init__(terms.market_id, terms.asset_id, terms.tick)
        self.terms = terms
        self.wire_terms = HashTerms(
            market_id=terms.market_id,
            asset_id=terms.asset_id,
            min_order_size=terms.min_order_size,
            neg_risk=terms.neg_risk,
            tick_size=SPELLING[terms.tick],
            last_trade_price=None,
        )
        self.batch_ts = 0
        self.batch_messages: list[PriceChanges] = []
        """The batch's messages: where a fill in it can have happened."""
        self.message: PriceChanges | None = None
        """The message being applied: what must be done once for it has been done."""
        self.last_change: LevelChange | None = None
        """The batch's last change, which states the hash and the top of the whole book."""
        self.pending = False
        """Whether the batch's hash has still to be judged."""
        self.recent_last_trades: deque[str] = deque(maxlen=4)
        """Spellings that a hash may still hold although a newer print has been seen."""
        self.highest_bid = TICKS_PER_DOLLAR
        """No bid is above this tick; loose until it has to be known (``_crosses``)."""
        self.lowest_ask = 0
        """No ask is below this tick."""
        self.snapshot_ts = 0
        self.snapshot_hash = ""
        self.check_due_ns = 0
        self.verified_ns = 0
        self.mismatches = 0

    @property
    def batch_hash(self) -> str:
        """The hash that the venue gives the book after the batch."""
        return self.snapshot_hash if self.last_change is None else self.last_change.hash

    def touched(self) -> list[int]:
        """Ticks that the batch changed on this asset."""
        return [
            TICK_OF[change.price]
            for message in self.batch_messages
            for change in message.price_changes
            if change.asset_id == self.asset_id and change.price in TICK_OF
        ]


class PolymarketChannel:
    """State of one market-channel connection; see ``protocols.MarketChannel``.

    Parameters
    ----------
    on_settled
        Called with a book a reader is waiting for, just before the next batch changes it.
    hash_interval_ns
        Least time between two hash checks of one asset; 0 checks every batch.
    """

    def __init__(
        self, on_settled: SettledReader | None = None, *, hash_interval_ns: int = 0
    ) -> None:
        self.states: dict[str, PolymarketBook] = {}
        self._messages: Counter[str] = Counter()
        self._price_changes = 0
        """The commonest message's count, kept apart because a counter costs as much as a change."""
        self.ignored: Counter[str] = Counter()
        self.hashes = IntegrityTally()
        self.crossed_at_batch_end = 0
        self._on_settled = on_settled
        self._hash_interval_ns = hash_interval_ns
        self._prints: OrderedDict[tuple[object, ...], None] = OrderedDict()

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
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            self._salvage(frame, recv_ns, events, error)
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
            if tick is None or not 0.0 <= size < inf:
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
        state.settles_ns = recv_ns + BATCH_GAP_NS
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
        if state.opened and message.timestamp < state.batch_ts:
            # the snapshot was taken before changes that are already applied
            self.ignored["book_older_than_changes"] += 1
            return
        bids, asks = _side(message.bids), _side(message.asks)
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
        if tick is None or not 0.0 < message.size < inf:
            events.append(_rejected("malformed_trade", f"{message.price} {message.size}", frame))
            return
        self._remember_last_trade(
            state,
            f"{tick / TICKS_PER_DOLLAR:.3f}"
            if tick % 10 == 0
            else f"{tick / TICKS_PER_DOLLAR:.4f}",
        )
        outcome_id, price = message.asset_id, tick
        side = Side(message.side.lower()) if message.side else None
        terms = state.terms
        if not terms.primary and terms.mirror_id is not None:
            outcome_id, price = terms.mirror_id, TICKS_PER_DOLLAR - tick
            if side is not None:
                side = Side.SELL if side is Side.BUY else Side.BUY
        if message.transaction_hash:
            key = (message.transaction_hash, outcome_id, side, price, message.size)
            if key in self._prints:
                self.ignored["repeated_trade"] += 1
                return
            self._prints[key] = None
            if len(self._prints) > REMEMBERED_PRINTS:
                self._prints.popitem(last=False)
        events.append(
            Trade(
                market_id=state.market_id,
                outcome_id=outcome_id,
                price=price,
                size=message.size,
                taker_side=side,
                printed_outcome_id=message.asset_id,
                printed_price=tick,
                ts_venue_ms=message.timestamp,
                transaction_id=message.transaction_hash or None,
                fee_rate_bps=message.fee_rate_bps or None,
            )
        )

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
            if state.highest_bid >= state.lowest_ask and _crosses(state):
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
        members = level_members(state.book)
        if not self._hash_fits(state, members):
            self.hashes.mismatched += 1
            state.mismatches += 1
            if state.mismatches >= _MISMATCHES_TO_DIVERGE:
                self._doubt(state, "hash_mismatch", state.verified_ns, events)
            elif state.trust is Trust.VERIFIED:
                state.trust = Trust.UNVERIFIED
            return
        self.hashes.matched += 1
        state.mismatches = 0
        state.verified_ns = recv_ns
        if state.trust is not Trust.DIVERGED:
            state.trust = Trust.VERIFIED

    def _hash_fits(self, state: PolymarketBook, members: tuple[str, str]) -> bool:
        """Whether the book has the batch's hash under a last trade price it can have had.

        The hash and the print travel apart: a batch may be judged after a newer print was seen,
        or carry the price of a fill whose print is still on the way (reference 3.6, open point).
        """
        terms, timestamp, expected = state.wire_terms, state.batch_ts, state.batch_hash
        if hash_members(terms, timestamp, members) == expected:
            return True
        for spelling in state.recent_last_trades:
            earlier = msgspec.structs.replace(terms, last_trade_price=spelling)
            if hash_members(earlier, timestamp, members) == expected:
                return True
        touched = state.touched()
        mirrored = [TICKS_PER_DOLLAR - tick for tick in touched]
        fitting = matching_last_trade_price(
            terms, timestamp, members, expected, [*touched, *mirrored]
        )
        if fitting is None:
            return False
        self._remember_last_trade(state, fitting)
        return True

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

    def _salvage(
        self,
        frame: bytes | str,
        recv_ns: int,
        events: list[ChannelEvent],
        error: Exception,
    ) -> None:
        """Use what can be used of a frame the typed decoder refused, and name the rest."""
        try:
            text = frame if isinstance(frame, str) else frame.decode()
        except UnicodeDecodeError:
            events.append(_rejected("not_utf8", str(error), frame))
            return
        if text.strip() in CONTROL_TEXTS:
            self._messages[text.strip()] += 1
            return
        try:
            parsed: object = msgspec.json.decode(frame)
        except (msgspec.DecodeError, RecursionError) as cause:
            events.append(_rejected("not_json", str(cause), frame))
            return
        elements = cast("list[object]", parsed) if isinstance(parsed, list) else [parsed]
        for element in elements:
            members = cast("dict[str, object]", element) if isinstance(element, dict) else {}
            kind = members.get("event_type")
            if not isinstance(kind, str):
                events.append(_rejected("no_event_type", "", frame))
                continue
            known = MESSAGE_TYPES.get(kind)
            if known is None:
                self._messages[kind[:64]] += 1
                events.append(_rejected("unknown_event_type", kind[:64], frame))
                continue
            try:
                message = convert_message(members, known)
            except (msgspec.ValidationError, RecursionError) as cause:
                self._messages[kind] += 1
                events.append(_rejected(f"malformed_{kind}", str(cause), frame))
                if known in (BookMessage, PriceChanges):
                    for asset_id in _assets_named(members):
                        state = self.states.get(asset_id)
                        if state is not None:
                            self._doubt(state, f"malformed_{kind}", recv_ns, events)
                continue
            self._apply(message, recv_ns, events, frame)


def _crosses(state: PolymarketBook) -> bool:
    """Whether the book crosses or locks; makes the bounds on its touch exact again."""
    book = state.book
    state.highest_bid = max(book.bids, default=-1)
    state.lowest_ask = min(book.asks, default=TICKS_PER_DOLLAR + 1)
    return state.highest_bid >= state.lowest_ask


def _side(levels: Sequence[Level]) -> dict[int, float] | None:
    side: dict[int, float] = {}
    for level in levels:
        tick = TICK_OF.get(level.price)
        if tick is None or not 0.0 <= level.size < inf:
            return None
        if level.size:
            side[tick] = level.size
    return side


def _assets_named(element: object) -> set[str]:
    """Every ``asset_id`` in a message that could not be typed: the books it may have changed."""
    if isinstance(element, list):
        found = [_assets_named(item) for item in cast("list[object]", element)]
        return set[str]().union(*found)
    if not isinstance(element, dict):
        return set()
    named: set[str] = set()
    for key, value in cast("dict[str, object]", element).items():
        if key == "asset_id" and isinstance(value, str):
            named.add(value)
        else:
            named |= _assets_named(value)
    return named


def _rejected(reason: str, detail: str, frame: bytes | str) -> Rejected:
    payload = frame.encode() if isinstance(frame, str) else frame
    return Rejected(reason, detail, payload)
