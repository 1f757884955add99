"""A market-channel book: levels, the batch they are in, and the members of their hash.

Pure state and the questions asked of it; ``channel`` decides when to ask.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from surveillance_core.books import (
    SEEN_TICK_OF,
    SPELLING,
    TICK_OF,
    TICKS_PER_DOLLAR,
    BookState,
    OrderBook,
    seen_tick,
)
from surveillance_core.venues.polymarket.integrity import (
    HashTerms,
    Recipe,
    hash_members,
    level_members,
    spell_last_trade,
)
from surveillance_core.venues.polymarket.wire import (
    SIZE_LIMIT,
    Level,
    StatedChange,
    stated_changes,
)
from surveillance_core.venues.protocols import AssetTerms

GRIDS: Final = ("0.1", "0.01", "0.005", "0.0025", "0.001", "0.0001")
"""Tick sizes that the venue has, as it spells them (reference polymarket.md 2)."""


class PolymarketBook(BookState):
    """A book with the members of its hash and the batch it is in.

    A change writes down what came and nothing that follows from it, since what is written for each
    change is taken out of cold memory by the next.

    Parameters
    ----------
    batch_gap_ns
        Silence after which the batch is taken to be whole.
    """

    __slots__ = (
        "_held_from_ns",
        "_held_until_ns",
        "_settled_ns",
        "asks",
        "batch_gap_ns",
        "batch_hash",
        "batch_ts",
        "bids",
        "check_due_ns",
        "frames",
        "highest_bid",
        "late",
        "lowest_ask",
        "mismatches",
        "pending",
        "recent_last_trades",
        "snapshot_ts",
        "terms",
        "terms_missed",
        "verified_ns",
        "wire_terms",
    )

    def __init__(self, terms: AssetTerms, batch_gap_ns: int) -> None:
        self.batch_gap_ns = batch_gap_ns
        self.batch_ts = 0
        """The venue's time of the batch, milliseconds; 0 before the first."""
        self.pending = False
        """Whether the batch's hash has still to be judged."""
        self._held_from_ns = self._held_until_ns = 0
        super().__init__(terms.market_id, terms.asset_id, terms.tick)
        self.bids, self.asks = self.book.bids, self.book.asks
        self.terms = terms
        self.wire_terms = HashTerms(
            market_id=terms.market_id,
            asset_id=terms.asset_id,
            min_order_size=terms.min_order_size,
            neg_risk=terms.neg_risk,
            tick_size=SPELLING[terms.tick],
            last_trade_price=None,
        )
        self.batch_hash = ""
        """The hash that the venue gives the book after the batch."""
        self.frames: bytes | str | list[bytes | str] = b""
        """The batch's frame, or its frames: where a fill in it can have happened.

        Kept as they came, since what was decoded from one is best thrown away while it is still in
        the processor's cache, and is hardly ever needed again.
        """
        self.recent_last_trades: deque[str] = deque(maxlen=4)
        """Spellings that a hash may still hold although a newer print has been seen."""
        self.highest_bid = TICKS_PER_DOLLAR
        """No bid is above this tick; loose until it has to be known (``_crosses``)."""
        self.lowest_ask = 0
        """No ask is below this tick."""
        self.late = 0
        """Messages since the snapshot that claim to be older than it."""
        self.snapshot_ts = 0
        self.check_due_ns = 0
        self.verified_ns = 0
        self.mismatches = 0
        self.terms_missed = False
        """Whether the book was asked for because members of its hash are older than it."""

    @property
    def ts_venue_ms(self) -> int | None:
        """The venue's time of the last change or whole book; milliseconds."""
        return self.batch_ts or None

    @ts_venue_ms.setter
    def ts_venue_ms(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, ts_venue_ms: int | None
    ) -> None:
        self.batch_ts = ts_venue_ms or 0

    @property
    def settles_ns(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Until then the book may be half-way through a batch."""
        if not self.pending:
            return self._settled_ns
        if self._held_from_ns == self.changed_ns:
            return self._held_until_ns
        return self.changed_ns + self.batch_gap_ns

    @settles_ns.setter
    def settles_ns(self, settles_ns: int) -> None:
        self._settled_ns = settles_ns

    def replace(self, book: OrderBook) -> None:
        """Take a whole book."""
        self.book = book
        self.bids, self.asks = book.bids, book.asks
        self.highest_bid = max(book.bids, default=-1)
        self.lowest_ask = min(book.asks, default=TICKS_PER_DOLLAR + 1)

    def hold_until(self, settles_ns: int) -> None:
        """Unless it goes on before, the batch may be half of one until then."""
        self._held_from_ns, self._held_until_ns = self.changed_ns, settles_ns

    def remember(self, frame: bytes | str) -> None:
        """The batch goes on in this frame."""
        frames = self.frames
        if isinstance(frames, list):
            frames.append(frame)
        else:
            self.frames = [frames, frame]

    def stated(self) -> list[tuple[int, StatedChange]]:
        """The changes of this asset in the batch's frames, each with its message's timestamp."""
        frames = self.frames if isinstance(self.frames, list) else [self.frames]
        return [
            (message.timestamp, change)
            for frame in frames
            for message in stated_changes(frame)
            for change in message.price_changes
            if change.asset_id == self.asset_id
        ]

    def stated_top(self) -> tuple[int | None, int | None]:
        """Best bid and ask in ticks after the batch, as its last change states them."""
        for timestamp, change in reversed(self.stated()):
            if timestamp == self.batch_ts and change.hash == self.batch_hash:
                return TICK_OF.get(change.best_bid), TICK_OF.get(change.best_ask)
        return None, None

    def crosses(self) -> bool:
        """Whether the book crosses or locks; makes the bounds on its touch exact again."""
        self.highest_bid = max(self.book.bids, default=-1)
        self.lowest_ask = min(self.book.asks, default=TICKS_PER_DOLLAR + 1)
        return self.highest_bid >= self.lowest_ask

    def last_trade_that_fits(self, recipe: Recipe = Recipe.V4) -> str | None:
        """The last trade price to go on with, if the book has the batch's hash; None if not.

        The hash and the print travel apart (reference 3.6, open point): a batch may be judged
        after a newer print was seen, or its hash may hold the price of a fill whose print is still
        on the way. So earlier prices are tried, and the prices the batch touched on either token;
        but not where the recipe does not cover the price.
        """
        terms, expected = self.wire_terms, self.batch_hash
        current = terms.last_trade_price or ""
        members = level_members(self.book)
        if hash_members(terms, self.batch_ts, members, recipe) == expected:
            return current
        if recipe < Recipe.V4:
            return None

        def fits(spelling: str) -> bool:
            tried = msgspec.structs.replace(terms, last_trade_price=spelling)
            return hash_members(tried, self.batch_ts, members) == expected

        if any(fits(earlier) for earlier in self.recent_last_trades):
            return current
        touched = [TICK_OF[c.price] for _, c in self.stated() if c.price in TICK_OF]
        for tick in dict.fromkeys([*touched, *(TICKS_PER_DOLLAR - t for t in touched)]):
            spelling = spell_last_trade(tick)
            if fits(spelling):
                return spelling
        return None

    def grid_that_fits(self, recipe: Recipe) -> tuple[str, str] | None:
        """Another tick size under which the book has the batch's hash, and the last trade price.

        A change of the grid that was missed, or that the listing does not know yet, shows in the
        hash alone where no book came that says it. The terms are left as they are.
        """
        terms = self.wire_terms
        try:
            for spelling in GRIDS if recipe >= Recipe.V3 else ():
                if spelling != terms.tick_size:
                    self.wire_terms = msgspec.structs.replace(terms, tick_size=spelling)
                    last_trade = self.last_trade_that_fits(recipe)
                    if last_trade is not None:
                        return spelling, last_trade
        finally:
            self.wire_terms = terms
        return None


def side_of(levels: Sequence[Level], held: dict[int, float]) -> dict[int, float] | None:
    """One side of a full book, empty levels left out; None if any level is not a level.

    ``held`` itself where it has the same levels, which is what nearly all full books show.
    """
    seen = SEEN_TICK_OF
    try:
        side = {seen[level.price]: level.size for level in levels}
    except KeyError:
        side = None
    if side == held:
        return held
    side = {}
    for level in levels:
        tick = seen_tick(level.price)
        if tick is None or not 0.0 <= level.size < SIZE_LIMIT:
            return None
        if level.size:
            side[tick] = level.size
    return held if side == held else side
