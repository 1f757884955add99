"""Every table of the lake: its columns, their types, units and meaning, said once.

Checks, the Dagster UI's column lists, the documentation and the readers' pinned types all come
from here. Prices are dollars per contract in [0, 1], sizes contracts, times UTC; null where
undefined, never NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import polars as pl
import pyarrow as pa

SCHEMA_VERSION: Final = 1
"""Raised when a table changes other than by a column added at its end."""

_TS_US = pa.timestamp("us", tz="UTC")
_TS_MS = pa.timestamp("ms", tz="UTC")
_PRICES = pa.list_(pa.field("element", pa.float64()))


class Partitioning(StrEnum):
    """How a table's files are spread over directories."""

    HOUR = "hour"
    """venue, date, hour; many files, each published once."""
    DATE = "date"
    """venue, date; one file, replaced as a whole."""
    VENUE = "venue"
    """venue; one file of no day, replaced as a whole and not listed in the manifest."""


@dataclass(frozen=True)
class Column:
    """One column: its name, Arrow type, unit and meaning."""

    name: str
    type: pa.DataType
    description: str
    nullable: bool = True


@dataclass(frozen=True)
class Table:
    """One table of the lake."""

    name: str
    description: str
    partitioning: Partitioning
    columns: tuple[Column, ...]
    sort_by: tuple[str, ...]
    ids: tuple[str, ...]
    """Columns stored with a dictionary: few distinct values, many rows."""

    @property
    def arrow(self) -> pa.Schema:
        """The table's Arrow schema."""
        return pa.schema(
            [pa.field(column.name, column.type, column.nullable) for column in self.columns]
        )

    @property
    def polars(self) -> pl.Schema:
        """The table's Polars schema."""
        return pl.DataFrame(self.arrow.empty_table()).schema

    def column(self, name: str) -> Column:
        """The column of that name; raises ``KeyError``."""
        return next(column for column in self.columns if column.name == name)


def _required(name: str, type_: pa.DataType, description: str) -> Column:
    return Column(name, type_, description, nullable=False)


_TEXT, _FLOAT, _INT = pa.string(), pa.float64(), pa.int64()

_MARKET = (
    _required("market_id", _TEXT, "The venue's id of the market."),
    _required("outcome_id", _TEXT, "The outcome whose book this is: the market's first."),
)

SNAPSHOTS: Final = Table(
    name="orderbook_snapshots",
    description=(
        "Top-K books. A row holds until the market's next row or the end of its trusted interval; "
        "written at the tier's cadence when the book changed, and as a heartbeat when it did not."
    ),
    partitioning=Partitioning.HOUR,
    columns=(
        _required("ts_recv", _TS_US, "When the book was read, on the collector's receive clock."),
        Column("ts_venue", _TS_MS, "The venue's time of the last message in the book."),
        *_MARKET,
        _required(
            "seq",
            _INT,
            "The venue's sequence number, or where it has none the messages applied since the book "
            "was opened: differences count updates.",
        ),
        Column("best_bid_px", _FLOAT, "Highest bid, dollars."),
        Column("best_bid_sz", _FLOAT, "Contracts at the highest bid."),
        Column("best_ask_px", _FLOAT, "Lowest ask, dollars."),
        Column("best_ask_sz", _FLOAT, "Contracts at the lowest ask."),
        Column("mid", _FLOAT, "Mean of best bid and ask, dollars; null unless two-sided."),
        Column("spread", _FLOAT, "Best ask minus best bid, dollars; null unless two-sided."),
        _required("bid_px", _PRICES, "Bid prices, best first, at most top_k, dollars."),
        _required("bid_sz", _PRICES, "Contracts at each of bid_px."),
        _required("ask_px", _PRICES, "Ask prices, best first, at most top_k, dollars."),
        _required("ask_sz", _PRICES, "Contracts at each of ask_px."),
        *(
            Column(
                f"{side}_depth_{cents}c",
                _FLOAT,
                f"Contracts resting on the {side} side within {cents} cents of the mid.",
            )
            for side in ("bid", "ask")
            for cents in (1, 2, 5)
        ),
        _required("tick", _FLOAT, "Tick size in force, dollars."),
        _required("book_age_ms", _INT, "Since the last message that touched the book, ms."),
        _required("status", _TEXT, "ok, one_sided, empty or crossed."),
        _required("trust", _TEXT, "verified, unverified or diverged."),
        _required("reason", _TEXT, "change, heartbeat, opened or resync."),
    ),
    sort_by=("outcome_id", "ts_recv"),
    ids=("market_id", "outcome_id", "status", "trust", "reason"),
)

TRADES: Final = Table(
    name="trades",
    description=(
        "Every print once, in terms of the market's first outcome, with the venue's own taker side."
    ),
    partitioning=Partitioning.HOUR,
    columns=(
        _required("ts_recv", _TS_US, "When the print was received."),
        Column("ts_venue", _TS_MS, "The venue's time of the print."),
        *_MARKET,
        _required("price", _FLOAT, "Dollars per contract of outcome_id."),
        _required("size", _FLOAT, "Contracts."),
        Column("taker_side", _TEXT, "buy or sell of outcome_id; null where the venue is silent."),
        _required("printed_outcome_id", _TEXT, "The outcome the venue printed it on."),
        _required("printed_price", _FLOAT, "The price as printed, dollars."),
        Column("fee_rate_bps", _TEXT, "As printed by the venue."),
        Column("transaction_id", _TEXT, "The venue's id of the match."),
    ),
    sort_by=("outcome_id", "ts_recv"),
    ids=("market_id", "outcome_id", "taker_side", "printed_outcome_id", "fee_rate_bps"),
)

COVERAGE: Final = Table(
    name="coverage",
    description=(
        "What was subscribed, and when its book could be trusted. Intervals are half open; where a "
        "trusted and an untrusted one overlap, the untrusted one holds. A row without a market "
        "stands for every market of the venue."
    ),
    partitioning=Partitioning.HOUR,
    columns=(
        Column("market_id", _TEXT, "The market; null for all of the venue."),
        Column("outcome_id", _TEXT, "The outcome whose book was followed; null for all."),
        _required("ts_start", _TS_US, "Start of the interval."),
        _required("ts_end", _TS_US, "End of the interval, exclusive."),
        _required("state", _TEXT, "trusted or untrusted."),
        Column("cause", _TEXT, "Why it was untrusted; null where trusted."),
    ),
    sort_by=("outcome_id", "ts_start"),
    ids=("market_id", "outcome_id", "state", "cause"),
)

LIFECYCLE: Final = Table(
    name="lifecycle",
    description=(
        "What happened to markets themselves: listings, results, changes of tick size and of "
        "status, as the venue said it."
    ),
    partitioning=Partitioning.HOUR,
    columns=(
        _required("ts_recv", _TS_US, "When it was received."),
        Column("ts_venue", _TS_MS, "The venue's time of it."),
        _required("market_id", _TEXT, "The venue's id of the market."),
        Column("outcome_id", _TEXT, "The outcome it concerns: the winning one of a result."),
        _required(
            "event",
            _TEXT,
            (
                "listed, resolved or tick_size_change; of Kalshi also activated, deactivated, "
                "closed, settled or close_date_updated (new: the closing time, RFC 3339)."
            ),
        ),
        Column("old", _TEXT, "The value before, as text."),
        Column("new", _TEXT, "The value after, as text."),
    ),
    sort_by=("outcome_id", "ts_recv"),
    ids=("market_id", "outcome_id", "event"),
)

STATS: Final = Table(
    name="stats",
    description=(
        "One row a market and day. Means and quantiles are weighted by the time each book stood, "
        "over trusted, two-sided seconds; rates are per covered hour; null where undefined."
    ),
    partitioning=Partitioning.DATE,
    columns=(
        *_MARKET,
        Column("title", _TEXT, "The market's title in the universe of the day."),
        _required("covered_seconds", _FLOAT, "Seconds with a trusted, known book."),
        _required(
            "two_sided_seconds", _FLOAT, "Of these, seconds with an uncrossed two-sided book."
        ),
        Column("two_sided_share", _FLOAT, "two_sided_seconds over covered_seconds, in [0, 1]."),
        _required("crossed_seconds", _FLOAT, "Covered seconds with a crossed or locked book."),
        _required("one_sided_seconds", _FLOAT, "Covered seconds with one side only."),
        _required("empty_seconds", _FLOAT, "Covered seconds with no order at all."),
        _required("snapshots", _INT, "Snapshot rows of the day."),
        Column("spread_mean", _FLOAT, "Quoted spread, time-weighted mean, dollars."),
        Column("spread_p50", _FLOAT, "Quoted spread, time-weighted median, dollars."),
        Column("spread_p90", _FLOAT, "Quoted spread, time-weighted 90% quantile, dollars."),
        Column("mid_mean", _FLOAT, "Mid, time-weighted mean, dollars."),
        Column("mid_first", _FLOAT, "First two-sided mid of the day, dollars."),
        Column("mid_last", _FLOAT, "Last two-sided mid of the day, dollars."),
        Column("bid_touch_mean", _FLOAT, "Contracts at the best bid, time-weighted mean."),
        Column("ask_touch_mean", _FLOAT, "Contracts at the best ask, time-weighted mean."),
        *(
            Column(
                f"{side}_depth_{cents}c_mean",
                _FLOAT,
                f"Contracts within {cents} cents of the mid, {side} side, time-weighted mean.",
            )
            for side in ("bid", "ask")
            for cents in (1, 2, 5)
        ),
        _required("updates", _INT, "Book updates observed within covered intervals."),
        Column("updates_per_hour", _FLOAT, "updates per covered hour."),
        _required("trades", _INT, "Prints received."),
        _required("volume", _FLOAT, "Contracts traded."),
        _required("notional", _FLOAT, "Dollars traded: sum of price times size."),
        Column("trades_per_hour", _FLOAT, "Prints inside covered intervals per covered hour."),
        Column("buy_share", _FLOAT, "Share of volume whose taker bought, of volume with a side."),
        Column("unknown_reason", _TEXT, "Why the book columns are null, where they are."),
    ),
    sort_by=("market_id", "outcome_id"),
    ids=(),
)

PRIORITIES: Final = Table(
    name="priorities",
    description=(
        "What watching each group is worth, a row a group; the collector's exploit slots follow it."
    ),
    partitioning=Partitioning.VENUE,
    columns=(
        _required("group_id", _TEXT, "The group, as it is subscribed."),
        _required(
            "index",
            _FLOAT,
            "Expected value of watching it, dollars per slot and second; not negative.",
        ),
        _required("computed_at", _TS_US, "When the index was computed; the same in every row."),
    ),
    sort_by=("group_id",),
    ids=(),
)

TABLES: Final[dict[str, Table]] = {
    table.name: table for table in (SNAPSHOTS, TRADES, COVERAGE, LIFECYCLE, STATS)
}
"""Tables that the manifest lists, by name."""
COLLECTED: Final = (SNAPSHOTS, TRADES, COVERAGE, LIFECYCLE)
"""Tables the collector writes."""
