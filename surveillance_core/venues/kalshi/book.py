"""A Kalshi book in terms of YES, from every spelling of prices and sizes.

Pure state and values. A NO bid at n is a YES ask at 1 - n (reference kalshi.md 5). Sizes are summed
in integer units, so that a level which the venue has emptied is empty here too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import inf

from surveillance_core.books import (
    COMPLEMENT,
    SEEN_COMPLEMENT_OF,
    SEEN_TICK_OF,
    TICKS_PER_DOLLAR,
    BookState,
    OrderBook,
    seen_tick,
    tick_of,
)
from surveillance_core.venues.kalshi.discovery import NO_SUFFIX
from surveillance_core.venues.kalshi.integrity import Stream
from surveillance_core.venues.kalshi.wire import (
    MOST_CONTRACTS,
    UNREAD,
    CentLevel,
    DollarLevel,
    PriceRange,
    Snapshot,
    SnapshotBody,
    TickerBody,
    decode_frame,
    stamp_of,
)
from surveillance_core.venues.protocols import LATEST_MS, AssetTerms

UNITS = 10_000
"""Integer units in one contract: sizes are summed exactly, whatever decimals the venue sends."""

_TICKS_PER_CENT = TICKS_PER_DOLLAR // 100
FLOAT_UNITS = float(UNITS)
MOST_UNITS = MOST_CONTRACTS * FLOAT_UNITS
TO_WHOLE = 1.5 * 2.0**52
"""Added to the units of up to ``MOST_CONTRACTS`` and taken away again, it leaves the nearest whole
number of them: floats beside it are a unit apart. The same as ``round``, without a call."""


def price_tick(dollars: str | None, cents: int | None) -> int | None:
    """Tick of a price in whichever spelling is there, None where neither is a price.

    Examples
    --------
    >>> price_tick("0.960", 96), price_tick(None, 8), price_tick("1.2", None)
    (9600, 800, None)
    """
    if dollars is not None:
        tick = SEEN_TICK_OF.get(dollars)
        if tick is None:
            tick = seen_tick(dollars)
        if tick is not None:
            return tick
        try:
            return tick_of(float(dollars))
        except ValueError:
            return None
    if cents is None or not 0 <= cents <= 100:
        return None
    return cents * _TICKS_PER_CENT


def units_of(contracts: float | None) -> int | None:
    """A size or a signed change in integer units, None if it is not one.

    Examples
    --------
    >>> units_of(-54.0), units_of(0.01), units_of(float("nan"))
    (-540000, 100, None)
    """
    if contracts is None or not -MOST_CONTRACTS < contracts < MOST_CONTRACTS:
        return None
    units = contracts * FLOAT_UNITS
    whole = units + TO_WHOLE - TO_WHOLE
    return int(whole) if -0.01 < units - whole < 0.01 else None


def size_units(contracts_fp: float | None, contracts: int | None) -> int | None:
    """A size in integer units from whichever spelling is there, the newest first."""
    if contracts_fp is not None or contracts is None:
        return units_of(contracts_fp)
    return contracts * UNITS if abs(contracts) < MOST_CONTRACTS else None


def venue_ms(ts_ms: int | None, ts: str | int | None) -> int | None:
    """The venue's time in milliseconds, from the newest spelling that can be read.

    Text without a zone is UTC, as everything the venue says.
    """
    if ts_ms is None and isinstance(ts, str):
        try:
            moment = datetime.fromisoformat(ts)
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            ts_ms = int(moment.timestamp() * 1_000)
        except (ValueError, OverflowError, OSError):
            return None
    elif ts_ms is None and ts is not None:
        ts_ms = int(ts) * 1_000
    return ts_ms if ts_ms is not None and 0 <= ts_ms <= LATEST_MS else None


def finest_step(ranges: Sequence[PriceRange]) -> int | None:
    """The smallest step of a market's grid in ticks, None if any range's step is not one."""
    steps = [price_tick(found.step, None) for found in ranges]
    known = [step for step in steps if step]
    return min(known) if known and len(known) == len(steps) else None


def level_units(
    dollars_fp: list[DollarLevel] | None,
    dollars: list[DollarLevel] | None,
    cents: list[CentLevel] | None,
) -> dict[int, int] | None:
    """One side's sizes in units by tick, from the newest spelling; None if a level is not one."""
    side: dict[int, int] = {}
    levels = dollars_fp if dollars_fp is not None else dollars
    priced = (
        [(price_tick(price, None), size) for price, size in levels]
        if levels is not None
        else [(price_tick(None, price), size) for price, size in cents or ()]
    )
    for tick, size in priced:
        units = units_of(size) if size < inf else None
        if tick is None or units is None or units < 0:
            return None
        if units:
            side[tick] = units
    return side


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


def yes_level(side: str, tick: int, *, use_yes_price: bool) -> tuple[str, int]:
    """Side and price of YES of a level as the venue spells it.

    Examples
    --------
    >>> yes_level("no", 3000, use_yes_price=False), yes_level("no", 7000, use_yes_price=True)
    (('ask', 7000), ('ask', 7000))
    """
    if side == "yes":
        return "bid", tick
    return "ask", tick if use_yes_price else COMPLEMENT[tick]


def book_of(body: SnapshotBody, *, use_yes_price: bool) -> OrderBook | None:
    """The whole book a snapshot states, None if any level of it is not a level."""
    bids = _plain_side(body.yes_dollars_fp, turned=False)
    if bids is None:
        yes = level_units(body.yes_dollars_fp, body.yes_dollars, body.yes)
        bids = None if yes is None else {tick: units / UNITS for tick, units in yes.items()}
    asks = _plain_side(body.no_dollars_fp, turned=not use_yes_price)
    if asks is None:
        no = level_units(body.no_dollars_fp, body.no_dollars, body.no)
        asks = (
            None
            if no is None
            else {
                yes_level("no", tick, use_yes_price=use_yes_price)[1]: units / UNITS
                for tick, units in no.items()
            }
        )
    return None if bids is None or asks is None else OrderBook(bids, asks)


def _plain_side(levels: list[DollarLevel] | None, *, turned: bool) -> dict[int, float] | None:
    """One side in today's spelling at prices of YES; None where it has to be looked at closely."""
    if levels is None:
        return None
    side: dict[int, float] = {}
    tick_of_price = SEEN_COMPLEMENT_OF if turned else SEEN_TICK_OF
    try:
        for price, size in levels:
            tick = tick_of_price[price]
            units = size * FLOAT_UNITS
            whole = units + TO_WHOLE - TO_WHOLE
            if 0.0 < whole == units < MOST_UNITS:
                side[tick] = size
            elif not 0.0 <= whole < MOST_UNITS or not -0.01 < units - whole < 0.01:
                return None
            elif whole:
                side[tick] = whole / FLOAT_UNITS
    except KeyError:
        return None
    return side


_BOOK_MARK = '"orderbook_snapshot"'


def markets_named(frame: str) -> list[AssetTerms]:
    """Markets whose book a recorded frame begins, for recordings without REST's terms.

    The grid is the coarsest of 0.01, 0.001 and 0.0001 that holds every level of the frame.
    """
    if _BOOK_MARK not in frame:
        return []
    try:
        message = decode_frame(frame)
    except UNREAD:
        return []
    if not isinstance(message, Snapshot):
        return []
    body = message.msg
    ticks = [
        price_tick(price, None)
        for side in (body.yes_dollars_fp, body.no_dollars_fp, body.yes_dollars, body.no_dollars)
        for price, _ in side or ()
    ]
    step = next(s for s in (100, 10, 1) if all((tick or 0) % s == 0 for tick in ticks))
    return [
        AssetTerms(
            market_id=body.market_ticker,
            asset_id=body.market_ticker,
            tick=step,
            mirror_id=body.market_ticker + NO_SUFFIX,
        )
    ]
