"""One asset on one connection, as the engine follows it. Pure."""

from __future__ import annotations

from surveillance_collector.coverage import CoverageLine
from surveillance_core.books import BookState
from surveillance_core.venues.protocols import AssetTerms


class Followed:
    """One asset on one connection; the primary ones are sampled and covered."""

    __slots__ = (
        "awaiting_ns",
        "cadence_ns",
        "conn",
        "coverage",
        "ever_opened",
        "last_row_ns",
        "resolved",
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
        self.resolved = False
        """Whether the market has a result: no book of it means anything any more."""
