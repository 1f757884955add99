"""A market-channel book: levels, the batch they are in, and the members of their hash.

Pure state and the questions asked of it; ``channel`` decides when to ask.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from surveillance_core.books import SPELLING, TICK_OF, TICKS_PER_DOLLAR, BookState
from surveillance_core.venues.polymarket.integrity import (
    HashTerms,
    hash_members,
    level_members,
    spell_last_trade,
)
from surveillance_core.venues.polymarket.wire import SIZE_LIMIT, Level, LevelChange, PriceChanges
from surveillance_core.venues.protocols import AssetTerms


class PolymarketBook(BookState):
    """A book with the members of its hash and the batch it is in."""

    __slots__ = (
        "batch_messages",
        "batch_ts",
        "check_due_ns",
        "highest_bid",
        "last_change",
        "late",
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
        self.late = 0
        """Messages since the snapshot that claim to be older than it."""
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

    def crosses(self) -> bool:
        """Whether the book crosses or locks; makes the bounds on its touch exact again."""
        self.highest_bid = max(self.book.bids, default=-1)
        self.lowest_ask = min(self.book.asks, default=TICKS_PER_DOLLAR + 1)
        return self.highest_bid >= self.lowest_ask

    def last_trade_that_fits(self) -> str | None:
        """The last trade price to go on with, if the book has the batch's hash; None if not.

        The hash and the print travel apart (reference 3.6, open point): a batch may be judged
        after a newer print was seen, or its hash may hold the price of a fill whose print is still
        on the way. So earlier prices are tried, and the prices the batch touched on either token.
        """
        terms, expected = self.wire_terms, self.batch_hash
        current = terms.last_trade_price or ""
        members = level_members(self.book)

        def fits(spelling: str) -> bool:
            tried = msgspec.structs.replace(terms, last_trade_price=spelling)
            return hash_members(tried, self.batch_ts, members) == expected

        if fits(current) or any(fits(earlier) for earlier in self.recent_last_trades):
            return current
        touched = self.touched()
        for tick in dict.fromkeys([*touched, *(TICKS_PER_DOLLAR - t for t in touched)]):
            spelling = spell_last_trade(tick)
            if fits(spelling):
                return spelling
        return None


def side_of(levels: Sequence[Level]) -> dict[int, float] | None:
    """One side of a full book, empty levels left out; None if any level is not a level."""
    side: dict[int, float] = {}
    for level in levels:
        tick = TICK_OF.get(level.price)
        if tick is None or not 0.0 <= level.size < SIZE_LIMIT:
            return None
        if level.size:
            side[tick] = level.size
    return side
