"""What the engine remembers: each asset it follows, and what venues have announced. Pure."""

from __future__ import annotations

from surveillance_collector.coverage import CoverageLine
from surveillance_core.books import BookState
from surveillance_core.venues.protocols import AssetTerms

REMEMBERED = 50_000
"""Announcements kept to recognise a repeat."""


class Followed:
    """One asset on one connection; the primary ones are sampled and covered."""

    __slots__ = (
        "awaiting_ns",
        "cadence_ns",
        "conn",
        "coverage",
        "ever_opened",
        "last_row_ns",
        "sampled_version",
        "state",
        "terms",
    )

    def __init__(
        self, terms: AssetTerms, state: BookState, conn: str, cadence_ns: int, now_ns: int
    ) -> None:
        self.terms = terms
        self.state = state
        self.conn = conn
        self.cadence_ns = cadence_ns
        self.coverage = (
            CoverageLine(terms.market_id, terms.asset_id, now_ns, "awaiting_book")
            if terms.primary
            else None
        )
        self.awaiting_ns: int | None = now_ns
        self.ever_opened = False
        self.last_row_ns = 0
        self.sampled_version = -1


class Announcements:
    """Listings and results seen: venues repeat them, and on every connection."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._seen: dict[tuple[str, str], None] = {}

    def is_news(self, event: str, market_id: str) -> bool:
        """Whether this was not announced before; remembers it."""
        key = (event, market_id)
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > self._limit:
            self._seen.pop(next(iter(self._seen)))
        return True
