"""A lake of simulated data held against the truth of the venues it was collected from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import msgspec
import polars as pl

from surveillance_core.lake.publish import Lake
from surveillance_core.lake.read import read_universe, scan_table
from surveillance_core.lake.schemas import COVERAGE, SNAPSHOTS, TRADES
from surveillance_core.markets import Venue
from surveillance_core.venues.simulated.judge import (
    STALE_AFTER_NS,
    BookComparison,
    TradeComparison,
    compare_books,
    compare_trades,
)
from surveillance_core.venues.simulated.truth import Truth

EDGE_NS = 250_000_000
"""Wall time that a subscription or a last print may be away from when the collector says."""


class VenueJudgement(msgspec.Struct, kw_only=True):
    """How a venue's recorded books and trades agree with what was true."""

    venue: str
    snapshots: int
    books: BookComparison
    trades: TradeComparison
    covered_hours: float
    """Market-hours of trusted book."""

    @property
    def faultless(self) -> bool:
        """Whether nothing differs, is missing or too much."""
        return not (
            self.books.different or self.trades.missing or self.trades.extra or self.books.diverged
        )

    @property
    def examples(self) -> list[str]:
        """What differs, some of it."""
        return [*self.books.examples, *self.trades.examples]


def judge_venue(
    lake: Lake,
    venue: Venue,
    days: Sequence[date],
    truth: Truth,
    *,
    speed: float = 1.0,
    patience: float = 1.0,
) -> VenueJudgement:
    """Hold a venue's days against its truth.

    Parameters
    ----------
    truth
        Of all venues; the others' part is left out.
    speed
        Simulated seconds in one of the wall's: allowances for the way from the venue's sending into
        a row are wall time.
    patience
        Factor on those allowances, for runs that keep the machine busy.
    """
    mine = truth.of(venue)
    snapshots = scan_table(lake, SNAPSHOTS, venue, days).frame.collect()
    trades = scan_table(lake, TRADES, venue, days).frame.collect()
    followed = _followed(lake, venue, days)
    windows = _windows(lake, venue, days, followed, int(EDGE_NS * speed * patience))
    trusted = followed.filter(pl.col("state") == "trusted")
    hours = float((trusted["end"] - trusted["start"]).sum() or 0) / 3.6e9
    return VenueJudgement(
        venue=venue.value,
        snapshots=snapshots.height,
        books=compare_books(snapshots, mine, stale_after_ns=int(STALE_AFTER_NS * speed * patience)),
        trades=compare_trades(trades, mine, windows=windows),
        covered_hours=round(hours, 3),
    )


def _followed(lake: Lake, venue: Venue, days: Sequence[date]) -> pl.DataFrame:
    """Intervals in which a market was subscribed, with their state; microseconds."""
    coverage = scan_table(lake, COVERAGE, venue, days).frame
    return (
        coverage.filter(
            pl.col("outcome_id").is_not_null(),
            # the collector had stopped reading and only waited for the connection to close
            pl.col("cause").ne_missing("stopped"),
        )
        .select(
            "market_id",
            "state",
            pl.col("ts_start").dt.epoch("us").alias("start"),
            pl.col("ts_end").dt.epoch("us").alias("end"),
        )
        .sort("market_id", "start")
        .collect()
    )


def _windows(
    lake: Lake, venue: Venue, days: Sequence[date], followed: pl.DataFrame, edge_ns: int
) -> dict[str, list[tuple[int, int]]]:
    """When each outcome was subscribed, nanoseconds, by the coverage ledger.

    Neighbouring intervals are joined whatever their trust, since prints need no book, then
    shortened by ``edge_ns`` at both ends. The second outcome is followed as long as the first.
    """
    joined: dict[str, list[tuple[int, int]]] = {}
    for market_id, start, end in followed.select("market_id", "start", "end").iter_rows():
        intervals = joined.setdefault(market_id, [])
        if intervals and start <= intervals[-1][1]:
            intervals[-1] = (intervals[-1][0], max(end, intervals[-1][1]))
        else:
            intervals.append((start, end))
    outcomes = {
        market.market_id: market.outcomes
        for day in days
        for market in read_universe(lake, venue, day) or []
    }
    return {
        outcome.outcome_id: [
            (start * 1_000 + edge_ns, end * 1_000 - edge_ns) for start, end in intervals
        ]
        for market_id, intervals in joined.items()
        for outcome in outcomes.get(market_id, ())
    }
