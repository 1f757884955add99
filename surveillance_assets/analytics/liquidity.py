"""What a market's book was like over a day: spread, depth, activity, trades.

A snapshot row holds until the market's next row, the end of its trusted interval, or ``MAX_HOLD``,
whichever is first; means and quantiles weight it by that time (reference mm_viability.md 2.1).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import polars as pl

from surveillance_assets.analytics.coverage import MARKET, trusted_intervals
from surveillance_core.lake.schemas import STATS

MAX_HOLD: Final = timedelta(minutes=3)
"""Three heartbeats: a row older than that is not known to stand, whatever the ledger says."""

_KEY: Final = ("venue", "date", "market_id", "outcome_id")
_DEPTHS: Final = tuple(f"{side}_depth_{cents}c" for side in ("bid", "ask") for cents in (1, 2, 5))


def held_rows(snapshots: pl.LazyFrame, coverage: pl.LazyFrame) -> pl.LazyFrame:
    """Snapshot rows with the interval each stood for.

    Adds ``held_s`` (seconds, 0 outside trusted intervals), ``interval`` (start of the trusted
    interval, null outside) and ``new_updates`` (updates since the previous row of the interval).
    """
    intervals = trusted_intervals(coverage)
    rows = (
        snapshots.sort(*MARKET, "ts_recv")
        .with_columns(pl.col("ts_recv").shift(-1).over(MARKET).alias("next_row"))
        .join_asof(
            intervals.rename({"start": "interval"}),
            left_on="ts_recv",
            right_on="interval",
            by=list(MARKET),
            strategy="backward",
            check_sortedness=False,
        )
    )
    inside = pl.col("ts_recv") < pl.col("end")
    until = pl.min_horizontal("next_row", "end", pl.col("ts_recv") + MAX_HOLD)
    previous_interval = pl.col("interval").shift(1).over(MARKET)
    steps = pl.col("seq") - pl.col("seq").shift(1).over(MARKET)
    continues = pl.col("interval").eq_missing(previous_interval) & (steps >= 0)
    return rows.with_columns(
        pl.when(inside)
        .then((until - pl.col("ts_recv")).dt.total_microseconds() / 1e6)
        .otherwise(0.0)
        .alias("held_s"),
        pl.when(inside).then(pl.col("interval")).alias("interval"),
    ).with_columns(pl.when(continues).then(steps).otherwise(0).alias("new_updates"))


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
    for part in (_states(rows), _two_sided(rows), _spread_quantiles(rows), _flow(trades, coverage)):
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


def _states(rows: pl.LazyFrame) -> pl.LazyFrame:
    def seconds(status: str) -> pl.Expr:
        return pl.col("held_s").filter(pl.col("status") == status).sum()

    return rows.group_by(*_KEY).agg(
        pl.col("held_s").sum().alias("covered_seconds"),
        seconds("ok").alias("two_sided_seconds"),
        seconds("crossed").alias("crossed_seconds"),
        seconds("one_sided").alias("one_sided_seconds"),
        seconds("empty").alias("empty_seconds"),
        pl.len().cast(pl.Int64).alias("snapshots"),
        pl.col("new_updates").sum().alias("updates"),
    )


def _two_sided(rows: pl.LazyFrame) -> pl.LazyFrame:
    valid = rows.filter((pl.col("status") == "ok") & (pl.col("held_s") > 0))

    def mean(column: str) -> pl.Expr:
        return (pl.col(column) * pl.col("held_s")).sum() / pl.col("held_s").sum()

    return valid.group_by(*_KEY).agg(
        mean("spread").alias("spread_mean"),
        mean("mid").alias("mid_mean"),
        pl.col("mid").sort_by("ts_recv").first().alias("mid_first"),
        pl.col("mid").sort_by("ts_recv").last().alias("mid_last"),
        mean("best_bid_sz").alias("bid_touch_mean"),
        mean("best_ask_sz").alias("ask_touch_mean"),
        *(mean(depth).alias(f"{depth}_mean") for depth in _DEPTHS),
    )


def _spread_quantiles(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Smallest spread that at least the share q of two-sided time did not exceed."""
    weights = (
        rows.filter((pl.col("status") == "ok") & (pl.col("held_s") > 0))
        # spreads are multiples of 0.0001: grouping on integers keeps equal ones equal
        .with_columns((pl.col("spread") * 10_000).round().cast(pl.Int64).alias("ticks"))
        .group_by(*_KEY, "ticks")
        .agg(pl.col("held_s").sum())
        .sort(*_KEY, "ticks")
        .with_columns(
            pl.col("held_s").cum_sum().over(_KEY).alias("up_to"),
            pl.col("held_s").sum().over(_KEY).alias("total"),
        )
    )

    def quantile(q: float) -> pl.Expr:
        # the tolerance keeps a rounding error in the sum from choosing the next spread
        reached = pl.col("up_to") >= q * pl.col("total") * (1 - 1e-12)
        return pl.col("ticks").filter(reached).min() / 10_000

    return weights.group_by(*_KEY).agg(
        quantile(0.5).alias("spread_p50"), quantile(0.9).alias("spread_p90")
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
    sided = pl.col("size").filter(pl.col("taker_side").is_not_null()).sum()
    bought = pl.col("size").filter(pl.col("taker_side") == "buy").sum()
    return placed.group_by(*_KEY).agg(
        pl.len().cast(pl.Int64).alias("trades"),
        (pl.col("ts_recv") < pl.col("end")).sum().cast(pl.Int64).alias("covered_trades"),
        pl.col("size").sum().alias("volume"),
        (pl.col("price") * pl.col("size")).sum().alias("notional"),
        pl.when(sided > 0).then(bought / sided).alias("buy_share"),
    )
