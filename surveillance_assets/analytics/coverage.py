"""When a book could be trusted: the ledger's rows reduced to disjoint intervals."""

from __future__ import annotations

from typing import Final

import polars as pl

DAY: Final = ("venue", "date")
MARKET: Final = ("venue", "date", "outcome_id")


def trusted_intervals(coverage: pl.LazyFrame) -> pl.LazyFrame:
    """Disjoint intervals in which each market was trusted and nothing withdrew that trust.

    Parameters
    ----------
    coverage
        Rows of the coverage table with ``venue`` and ``date``. Intervals may overlap and repeat.
        Rows without an ``outcome_id`` withdraw trust from every market of the venue-day.

    Returns
    -------
    pl.LazyFrame
        ``venue, date, outcome_id, start, end`` (UTC microseconds, end exclusive), sorted;
        neighbours that touch are one interval.
    """
    edges = pl.concat(
        [
            _edges(coverage.filter(pl.col("outcome_id").is_not_null())),
            _edges(_for_every_market(coverage)),
        ]
    )
    segments = (
        edges.group_by(*MARKET, "at")
        .agg(pl.col("trusted").sum(), pl.col("untrusted").sum())
        .sort(*MARKET, "at")
        .with_columns(
            pl.col("trusted").cum_sum().over(MARKET),
            pl.col("untrusted").cum_sum().over(MARKET),
            pl.col("at").shift(-1).over(MARKET).alias("end"),
        )
        .filter((pl.col("trusted") > 0) & (pl.col("untrusted") == 0) & pl.col("end").is_not_null())
        .rename({"at": "start"})
    )
    return (
        segments.with_columns(
            (pl.col("start") != pl.col("end").shift(1).over(MARKET))
            .fill_null(value=True)
            .cum_sum()
            .over(MARKET)
            .alias("run")
        )
        .group_by(*MARKET, "run")
        .agg(pl.col("start").min(), pl.col("end").max())
        .select(*MARKET, "start", "end")
        .sort(*MARKET, "start")
    )


def _for_every_market(coverage: pl.LazyFrame) -> pl.LazyFrame:
    markets = coverage.filter(pl.col("outcome_id").is_not_null()).select(*MARKET).unique()
    general = coverage.filter(pl.col("outcome_id").is_null()).drop("outcome_id")
    return general.join(markets, on=list(DAY)).filter(pl.col("state") == "untrusted")


def _edges(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Each interval as a step up at its start and a step down at its end."""
    trusted = (pl.col("state") == "trusted").cast(pl.Int32)
    up = rows.select(
        *MARKET,
        pl.col("ts_start").alias("at"),
        trusted.alias("trusted"),
        (1 - trusted).alias("untrusted"),
    )
    down = rows.select(
        *MARKET,
        pl.col("ts_end").alias("at"),
        (-trusted).alias("trusted"),
        (trusted - 1).alias("untrusted"),
    )
    return pl.concat([up, down])
