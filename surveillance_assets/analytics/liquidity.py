"""What a market's book was like over a day: spread, depth, activity, trades.

A snapshot row holds until the market's next row, the end of its trusted interval, or ``MAX_HOLD``,
whichever is first; means and quantiles weight it by that time (reference mm_viability.md 2.1).

What is summed is whole numbers, microseconds and millionths: sums of fractions differ in their last
digits by the order that Polars takes them in, and the same rows are to give the same file.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import polars as pl

from surveillance_assets.analytics.coverage import MARKET, trusted_intervals
from surveillance_core.lake.schemas import STATS

MAX_HOLD: Final = timedelta(minutes=3)
"""Three heartbeats: a row older than that is not known to stand, whatever the ledger says."""

MILLIONTHS: Final = 1_000_000
"""In a dollar and in a contract; finer prices and sizes are of no venue."""

_KEY: Final = ("venue", "date", "market_id", "outcome_id")
_DEPTHS: Final = tuple(f"{side}_depth_{cents}c" for side in ("bid", "ask") for cents in (1, 2, 5))
_MEANS: Final = {
    "spread": "spread",
    "mid": "mid",
    "best_bid_sz": "bid_touch",
    "best_ask_sz": "ask_touch",
} | {depth: depth for depth in _DEPTHS}
"""Columns whose time-weighted mean is taken, and what the mean is of."""


def held_rows(snapshots: pl.LazyFrame, coverage: pl.LazyFrame) -> pl.LazyFrame:
    """Snapshot rows with the interval each stood for.

    Adds ``held_us`` (microseconds, 0 outside trusted intervals), ``interval`` (start of the trusted
    interval, null outside) and ``new_updates`` (updates since the previous row of the interval);
    ``number`` stands for (venue, date, outcome_id). Of rows of one moment the last read stands.
    """
    # ids are long: rows are sorted, matched and grouped by a number instead. It is the market's
    # rank, so that every evaluation of this plan numbers alike
    numbers = snapshots.select(*MARKET).unique().sort(*MARKET).with_row_index("number")
    intervals = trusted_intervals(coverage).join(numbers, on=list(MARKET)).sort("number", "start")
    rows = (
        snapshots.join(numbers, on=list(MARKET), maintain_order="left")
        .sort("number", "ts_recv", maintain_order=True)
        # the rows are in order: comparing with the neighbour is far cheaper than a window
        .with_columns(
            pl.when(_same_market(-1)).then(pl.col("ts_recv").shift(-1)).alias("next_row"),
            pl.when(_same_market(1)).then(pl.col("seq") - pl.col("seq").shift(1)).alias("steps"),
            _same_market(1).alias("follows"),
        )
        .join_asof(
            intervals.select("number", "end", pl.col("start").alias("interval")),
            left_on="ts_recv",
            right_on="interval",
            by="number",
            strategy="backward",
            check_sortedness=False,
        )
    )
    inside = pl.col("ts_recv") < pl.col("end")
    until = pl.min_horizontal("next_row", "end", pl.col("ts_recv") + MAX_HOLD)
    previous_interval = pl.when("follows").then(pl.col("interval").shift(1))
    continues = pl.col("interval").eq_missing(previous_interval) & (pl.col("steps") >= 0)
    return rows.with_columns(
        pl.when(inside)
        .then((until - pl.col("ts_recv")).dt.total_microseconds())
        .otherwise(0)
        .alias("held_us"),
        pl.when(inside).then(pl.col("interval")).alias("interval"),
    ).with_columns(pl.when(continues).then(pl.col("steps")).otherwise(0).alias("new_updates"))


def _same_market(periods: int) -> pl.Expr:
    """Whether the row that many places before is of the same market and day; never null."""
    return pl.col("number").eq_missing(pl.col("number").shift(periods))


def market_stats(
    snapshots: pl.LazyFrame,
    coverage: pl.LazyFrame,
    trades: pl.LazyFrame,
    titles: pl.LazyFrame,
) -> pl.LazyFrame:
    """One row a market and day: the ``stats`` table with ``venue`` and ``date``.

    Parameters
    ----------
    snapshots, coverage, trades
        Rows of the tables of those names, with ``venue`` and ``date``.
    titles
        ``venue, date, market_id, title``.

    Every market that was subscribed has a row; one whose book was never known says why.
    """
    rows = held_rows(snapshots, coverage)
    subscribed = pl.concat(
        [
            frame.filter(pl.col("market_id").is_not_null()).select(*_KEY)
            for frame in (snapshots, coverage, trades)
        ]
    ).unique()
    stats = subscribed
    for part in (_book_stats(rows), _flow(trades, coverage)):
        stats = stats.join(part, on=list(_KEY), how="left")
    stats = stats.join(
        titles.unique(["venue", "date", "market_id"]),
        on=["venue", "date", "market_id"],
        how="left",
    )
    hours = pl.when(pl.col("covered_seconds") > 0).then(pl.col("covered_seconds") / 3600)
    return (
        stats.with_columns(
            pl.col(
                "covered_seconds",
                "two_sided_seconds",
                "crossed_seconds",
                "one_sided_seconds",
                "empty_seconds",
                "volume",
                "notional",
            ).fill_null(0.0),
            pl.col("snapshots", "updates", "trades", "covered_trades").fill_null(0),
        )
        .with_columns(
            pl.when(pl.col("covered_seconds") > 0)
            .then(pl.col("two_sided_seconds") / pl.col("covered_seconds"))
            .alias("two_sided_share"),
            (pl.col("updates") / hours).alias("updates_per_hour"),
            (pl.col("covered_trades") / hours).alias("trades_per_hour"),
            pl.when(pl.col("covered_seconds") == 0)
            .then(pl.lit("no_trusted_book"))
            .when(pl.col("two_sided_seconds") == 0)
            .then(pl.lit("never_two_sided"))
            .alias("unknown_reason"),
        )
        .select("venue", "date", *(column.name for column in STATS.columns))
        .sort("venue", "date", "market_id", "outcome_id")
    )


def _book_stats(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Time by status, time-weighted means and quantiles over two-sided time, updates.

    The rows are read once, into a cell a market, status and spread; the rest works on the cells.
    """
    weighted = {column: f"{name}_mean" for column, name in _MEANS.items()}
    counts = (pl.col("status") == "ok") & (pl.col("held_us") > 0)
    cells = (
        rows.with_columns(
            # spreads are multiples of 0.0001: grouping on integers keeps equal ones equal
            pl.when(counts).then((pl.col("spread") * 10_000).round().cast(pl.Int64)).alias("ticks")
        )
        .group_by("number", "market_id", "status", "ticks")
        .agg(
            pl.col(*MARKET).first(),
            pl.col("held_us").sum(),
            pl.len().alias("rows"),
            pl.col("new_updates").sum(),
            pl.col("ts_recv").min().alias("from"),
            pl.col("ts_recv").max().alias("to"),
            pl.col("mid").min_by("ts_recv").alias("mid_first"),
            pl.col("mid").max_by("ts_recv").alias("mid_last"),
            *(
                (_millionths(column) * pl.col("held_us")).sum().alias(weighted[column])
                for column in _MEANS
            ),
        )
    )
    two_sided = pl.col("ticks").is_not_null()

    def seconds(status: str) -> pl.Expr:
        return pl.col("held_us").filter(pl.col("status") == status).sum() / 1e6

    def of_two_sided(column: str) -> pl.Expr:
        return pl.col(column).filter(two_sided)

    def quantile(percent: int) -> pl.Expr:
        """Smallest spread that at least so much of two-sided time did not exceed."""
        held = of_two_sided("held_us")
        up_to = held.sort_by(of_two_sided("ticks")).cum_sum()
        reached = up_to * 100 >= percent * held.sum()
        return of_two_sided("ticks").sort().filter(reached).first() / 10_000

    return cells.group_by(*_KEY).agg(
        (pl.col("held_us").sum() / 1e6).alias("covered_seconds"),
        seconds("ok").alias("two_sided_seconds"),
        seconds("crossed").alias("crossed_seconds"),
        seconds("one_sided").alias("one_sided_seconds"),
        seconds("empty").alias("empty_seconds"),
        pl.col("rows").sum().cast(pl.Int64).alias("snapshots"),
        pl.col("new_updates").sum().alias("updates"),
        *(
            pl.when(two_sided.any())
            .then(_ratio(of_two_sided(name).sum(), of_two_sided("held_us").sum() * MILLIONTHS))
            .alias(name)
            for name in weighted.values()
        ),
        of_two_sided("mid_first").sort_by(of_two_sided("from")).first().alias("mid_first"),
        of_two_sided("mid_last").sort_by(of_two_sided("to")).last().alias("mid_last"),
        quantile(50).alias("spread_p50"),
        quantile(90).alias("spread_p90"),
    )


def _flow(trades: pl.LazyFrame, coverage: pl.LazyFrame) -> pl.LazyFrame:
    placed = trades.sort(*MARKET, "ts_recv").join_asof(
        trusted_intervals(coverage).rename({"start": "interval"}),
        left_on="ts_recv",
        right_on="interval",
        by=list(MARKET),
        strategy="backward",
        check_sortedness=False,
    )
    size = _millionths("size")
    sided = size.filter(pl.col("taker_side").is_not_null()).sum()
    bought = size.filter(pl.col("taker_side") == "buy").sum()
    return placed.group_by(*_KEY).agg(
        pl.len().cast(pl.Int64).alias("trades"),
        (pl.col("ts_recv") < pl.col("end")).sum().cast(pl.Int64).alias("covered_trades"),
        _ratio(size.sum(), pl.lit(MILLIONTHS)).alias("volume"),
        _ratio((_millionths("price") * size).sum(), pl.lit(MILLIONTHS**2)).alias("notional"),
        pl.when(sided > 0).then(_ratio(bought, sided)).alias("buy_share"),
    )


def _millionths(column: str) -> pl.Expr:
    """Dollars or contracts as whole millionths, wide enough for a day's sum weighted by time."""
    return (pl.col(column) * MILLIONTHS).round().cast(pl.Int128)


def _ratio(one: pl.Expr, other: pl.Expr) -> pl.Expr:
    """Of two whole numbers, each rounded once."""
    return one.cast(pl.Float64) / other.cast(pl.Float64)
