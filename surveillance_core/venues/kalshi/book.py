"""A Kalshi book with the stream that carries it and the engine event that is changing it.

Pure state and the questions asked of it; ``channel`` and ``judging`` decide when to ask.
"""

from __future__ import annotations

from collections.abc import Mapping

from surveillance_core.books import SEEN_TICK_OF, TICKS_PER_DOLLAR, BookState, OrderBook
from surveillance_core.venues.kalshi.integrity import Stream
from surveillance_core.venues.kalshi.spelling import UNITS, price_tick, units_of, venue_ms
from surveillance_core.venues.kalshi.wire import SnapshotBody, TickerBody, stamp_of
from surveillance_core.venues.protocols import AssetTerms


class KalshiBook(BookState):
    """A book with its stream and the engine event that is changing it.

    A change writes down its number and its times as they came and nothing that follows from them:
    what is kept for each change is taken out of cold memory by the next. The version, the moment
    at which the book may be read and the venue's time in milliseconds are made when asked for.

    Parameters
    ----------
    quiet_ns
        Silence after which the engine event is taken to be whole.
    """

    __slots__ = (
        "_awaited",
        "_batch_ts",
        "_judged_seq",
        "_settled_ns",
        "_stated_ms",
        "_version_ahead",
        "asks",
        "bids",
        "carrier",
        "end_matters",
        "highest_bid",
        "last_frame",
        "lowest_ask",
        "proved_ns",
        "quiet_ns",
        "sid",
        "terms",
    )

    def __init__(self, terms: AssetTerms, quiet_ns: int) -> None:
        self.quiet_ns = quiet_ns
        self._judged_seq: int | None = 0
        """The number of the last change of a whole engine event."""
        self.end_matters = True
        """Whether something is to be done when the engine event is whole: the bounds do not say
        that the book is not crossed, or a reader waits."""
        self.last_frame: bytes | str | None = None
        """The last change's frame, while its time has not been asked for."""
        self._batch_ts: str | int | None = None
        self.carrier: Stream | None = None
        """The stream that carries the book while it stands."""
        self._version_ahead = 0
        super().__init__(terms.market_id, terms.asset_id, terms.tick)
        self.terms = terms
        self.bids, self.asks = self.book.bids, self.book.asks
        self.sid: int | None = None
        """The stream that carries the book, None until it has said so."""
        self.proved_ns = 0
        """When the last snapshot agreed with the book or replaced it."""
        self.highest_bid = TICKS_PER_DOLLAR
        """No bid is above this tick; loose once the best one has gone (``crosses``, ``touch``)."""
        self.lowest_ask = 0
        """No ask is below this tick."""

    @property
    def version(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Rises with every change of the book."""
        return self.seq + self._version_ahead

    @version.setter
    def version(self, version: int) -> None:
        self._version_ahead = version - getattr(self, "seq", 0)

    def ride_on(self, stream: Stream | None) -> None:
        """Stand on the changes of this stream, or on none."""
        if self.carrier is not None:
            self.carrier.carried.pop(self.market_id, None)
        self.carrier = stream
        if stream is not None:
            stream.carried[self.market_id] = self

    @property
    def pending(self) -> bool:
        """Whether the engine event has still to be judged whole."""
        return self.seq != self._judged_seq

    @pending.setter
    def pending(self, pending: bool) -> None:
        self._judged_seq = None if pending else self.seq

    @property
    def read_when_settled(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Set by a reader that came in mid-batch and wants to be called when the batch is whole."""
        return self._awaited

    @read_when_settled.setter
    def read_when_settled(self, awaited: bool) -> None:
        self._awaited = awaited
        self.end_matters = self.end_matters or awaited

    def renumber(self, seq: int) -> None:
        """Take a number that is no change of the book."""
        version = self.version
        self.seq = seq
        self.version = version

    def stamp(self, ts: str | int | None, ts_ms: int | None) -> None:
        """Take the venue's time of a change, in its spellings."""
        self.last_frame = None
        self._batch_ts = ts_ms if ts is None else ts
        self._stated_ms = venue_ms(ts_ms, ts)

    @property
    def batch_ts(self) -> str | int | None:
        """The venue's time of the changes being applied, one engine event; None where it has none.

        What has none is an event of its own.
        """
        if self.last_frame is not None:
            self.stamp(*stamp_of(self.last_frame))
        return self._batch_ts

    def begins_event(self, frame: bytes | str) -> bool:
        """Whether a change's frame belongs to another engine event than the last one's."""
        ts, ts_ms = stamp_of(frame)
        stamp = ts_ms if ts is None else ts
        return stamp is None or stamp != self.batch_ts

    @property
    def settles_ns(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Until then the book may be half-way through an engine event."""
        if not self.pending:
            return self._settled_ns
        return self.changed_ns if self.batch_ts is None else self.changed_ns + self.quiet_ns

    @settles_ns.setter
    def settles_ns(self, settles_ns: int) -> None:
        self._settled_ns = settles_ns

    @property
    def ts_venue_ms(self) -> int | None:
        """The venue's time of the last change, or when it sent the book; milliseconds."""
        if self.last_frame is not None:
            self.stamp(*stamp_of(self.last_frame))
        return self._stated_ms

    @ts_venue_ms.setter
    def ts_venue_ms(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, stated_ms: int | None
    ) -> None:
        self.stamp(None, None)
        self._stated_ms = stated_ms

    def replace(self, book: OrderBook) -> None:
        """Take a whole book."""
        self.book = book
        self.bids, self.asks = book.bids, book.asks
        self.highest_bid = max(book.bids, default=-1)
        self.lowest_ask = min(book.asks, default=TICKS_PER_DOLLAR + 1)
        self.end_matters = self.highest_bid >= self.lowest_ask or self._awaited

    def bid_up_to(self, tick: int) -> None:
        """There is a bid above all that were known."""
        self.highest_bid = tick
        self.end_matters = self.end_matters or tick >= self.lowest_ask

    def ask_down_to(self, tick: int) -> None:
        """There is an ask below all that were known."""
        self.lowest_ask = tick
        self.end_matters = self.end_matters or tick <= self.highest_bid

    def apply_delta(self, side: str, tick: int, units: int) -> bool:
        """Change one level by a signed size; False, and no change, where it would be negative.

        ``side`` is ``"bid"`` or ``"ask"`` and ``tick`` a price, both of YES.
        """
        levels = self.book.bids if side == "bid" else self.book.asks
        before = levels.get(tick, 0.0)
        after = round(before * UNITS) + units
        if after < 0:
            return False
        if after == 0:
            levels.pop(tick, None)
            return True
        levels[tick] = after / UNITS
        if not before:
            if side == "ask":
                self.ask_down_to(min(self.lowest_ask, tick))
            else:
                self.bid_up_to(max(self.highest_bid, tick))
        return True

    def crosses(self) -> bool:
        """Whether the book crosses or locks; exact, whatever the bounds were."""
        if self.highest_bid < self.lowest_ask:
            return False
        self.highest_bid = max(self.bids, default=-1)
        self.lowest_ask = min(self.asks, default=TICKS_PER_DOLLAR + 1)
        return self.highest_bid >= self.lowest_ask

    def touch(self) -> tuple[int | None, int | None]:
        """Best bid and ask in ticks, found at the bounds where these are levels of the book."""
        bids, asks = self.bids, self.asks
        bid, ask = self.highest_bid, self.lowest_ask
        if bid not in bids:
            bid = self.highest_bid = max(bids, default=-1)
        if ask not in asks:
            ask = self.lowest_ask = min(asks, default=TICKS_PER_DOLLAR + 1)
        return bid if bids else None, ask if asks else None

    def states_the_same(self, body: SnapshotBody, ask_tick_of: Mapping[str, int]) -> bool:
        """Whether a whole book of two sides, in today's spelling, is this one to the last level.

        Nothing is validated: what equals a valid book is one.
        """
        yes, no = body.yes_dollars_fp, body.no_dollars_fp
        if yes is None or no is None:
            return False
        try:
            return self.bids == {SEEN_TICK_OF[price]: size for price, size in yes} and (
                self.asks == {ask_tick_of[price]: size for price, size in no}
            )
        except KeyError:
            return False

    def agrees_with(self, ticker: TickerBody) -> bool | None:
        """Whether the venue's own top is the book's; None where the ticker states none.

        No bid is stated as 0 and no ask as 1 (reference kalshi.md 0, item 10).
        """
        best_bid, best_ask = self.touch()
        try:
            bid = SEEN_TICK_OF[ticker.yes_bid_dollars or ""]
            ask = SEEN_TICK_OF[ticker.yes_ask_dollars or ""]
        except KeyError:
            bid = price_tick(ticker.yes_bid_dollars, None)
            ask = price_tick(ticker.yes_ask_dollars, None)
            if bid is None or ask is None:
                return None
        if bid != (best_bid or 0) or ask != (TICKS_PER_DOLLAR if best_ask is None else best_ask):
            return False
        size = ticker.yes_bid_size_fp
        if best_bid is None or size is None or size == self.bids[best_bid]:
            return True
        return units_of(size) == round(self.bids[best_bid] * UNITS)
