"""How well a day was watched: seconds subscribed and trusted, gaps with their causes, a grade."""

from __future__ import annotations

from typing import Final

import polars as pl

from surveillance_assets.analytics.coverage import DAY, MARKET, trusted_intervals

GRADES: Final = ((0.999, "A"), (0.99, "B"), (0.95, "C"), (0.80, "D"))
"""Least share of the subscribed seconds that was trusted, best first; below the last it is F.

A is at most 86 untrusted seconds in a whole day: a connection replaced some times. What share of
the day was subscribed at all is another question (``day_share``) and does not lower the grade.
"""

_WORST: Final = "F"
_SECONDS_A_DAY: Final = 86_400.0


def gaps(coverage: pl.LazyFrame) -> pl.LazyFrame:
    """Every interval in which a subscribed market could not be trusted, by cause.

    Parameters
    ----------
    coverage
        Rows of the coverage table with ``venue`` and ``date``. Rows without an ``outcome_id``
        concern every market of the venue-day, for as long as it was subscribed.

    Returns
    -------
    pl.LazyFrame
        ``venue, date, outcome_id, cause, start, end`` (UTC microseconds, end exclusive), one row an
        unbroken interval of one cause, sorted by market and start. Intervals of different causes
        may overlap.
    """
    own = coverage.filter(pl.col("outcome_id").is_not_null() & (pl.col("state") == "untrusted"))
    spans = (
        coverage.filter(pl.col("outcome_id").is_not_null())
        .group_by(*MARKET)
        .agg(pl.col("ts_start").min().alias("first"), pl.col("ts_end").max().alias("last"))
    )
    general = (
        coverage.filter(pl.col("outcome_id").is_null() & (pl.col("state") == "untrusted"))
        .drop("outcome_id")
        .join(spans, on=list(DAY))
        .with_columns(
            pl.max_horizontal("ts_start", "first").alias("ts_start"),
            pl.min_horizontal("ts_end", "last").alias("ts_end"),
        )
        .filter(pl.col("ts_start") < pl.col("ts_end"))
    )
    columns = [*MARKET, "cause", "ts_start", "ts_end"]
    rows = pl.concat([own.select(columns), general.select(columns)])
    return _united(rows, (*MARKET, "cause")).sort(*MARKET, "start", "cause")


def graded(coverage: pl.LazyFrame) -> pl.LazyFrame:
    """One row a market: how long it was watched, how much of that can be believed, and a grade.

    Returns
    -------
    pl.LazyFrame
        ``venue, date, market_id, outcome_id``, ``subscribed_s``, ``trusted_s``, ``untrusted_s``
        (seconds), ``trusted_share`` (of the subscribed), ``day_share`` (trusted, of 24 hours),
        ``gaps`` (unbroken untrusted intervals), ``longest_gap_s``, ``main_cause`` (of most
        untrusted seconds, null without a gap), ``grade``; the worst first.
    """
    markets = coverage.filter(pl.col("outcome_id").is_not_null())
    subscribed = (
        _united(markets, MARKET)
        .group_by(*MARKET)
        .agg(_seconds().sum().alias("subscribed_s"))
        .join(markets.group_by(*MARKET).agg(pl.col("market_id").first()), on=list(MARKET))
    )
    trusted = trusted_intervals(coverage).group_by(*MARKET).agg(_seconds().sum().alias("trusted_s"))
    found = gaps(coverage)
    unbroken = (
        _united(found.rename({"start": "ts_start", "end": "ts_end"}), MARKET)
        .group_by(*MARKET)
        .agg(pl.len().alias("gaps"), _seconds().max().alias("longest_gap_s"))
    )
    main_causes = (
        found.group_by(*MARKET, "cause")
        .agg(_seconds().sum().alias("seconds"))
        .sort(*MARKET, "seconds", "cause", descending=[False, False, False, True, False])
        .group_by(*MARKET, maintain_order=True)
        .agg(pl.col("cause").first().alias("main_cause"))
    )
    share = pl.col("trusted_s") / pl.col("subscribed_s")
    grade = pl.lit(_WORST)
    for least, letter in reversed(GRADES):
        grade = pl.when(pl.col("trusted_share") >= least).then(pl.lit(letter)).otherwise(grade)
    joined = subscribed
    for part in (trusted, unbroken, main_causes):
        joined = joined.join(part, on=list(MARKET), how="left")
    return (
        joined.with_columns(
            pl.col("trusted_s").fill_null(0.0),
            pl.col("gaps").fill_null(0),
            pl.col("longest_gap_s").fill_null(0.0),
        )
        .with_columns(
            (pl.col("subscribed_s") - pl.col("trusted_s")).alias("untrusted_s"),
            share.alias("trusted_share"),
            (pl.col("trusted_s") / _SECONDS_A_DAY).alias("day_share"),
        )
        .with_columns(grade.alias("grade"))
        .select(
            *DAY, "market_id", "outcome_id", "subscribed_s", "trusted_s", "untrusted_s",
            "trusted_share", "day_share", "gaps", "longest_gap_s", "main_cause", "grade",
        )
        .sort("trusted_share", "outcome_id")
    )  # fmt: skip


def causes(coverage: pl.LazyFrame) -> pl.LazyFrame:
    """What untrusted time was lost to: one row a cause, the costliest first.

    Returns
    -------
    pl.LazyFrame
        ``venue, date, cause``, ``markets``, ``gaps``, ``market_seconds`` (summed over markets),
        ``longest_s``.
    """
    return (
        gaps(coverage)
        .group_by(*DAY, "cause")
        .agg(
            pl.col("outcome_id").n_unique().alias("markets"),
            pl.len().alias("gaps"),
            _seconds().sum().alias("market_seconds"),
            _seconds().max().alias("longest_s"),
        )
        .sort("market_seconds", "cause", descending=[True, False])
    )


def _seconds() -> pl.Expr:
    return (pl.col("end") - pl.col("start")).dt.total_microseconds() / 1e6


def _united(rows: pl.LazyFrame, keys: tuple[str, ...]) -> pl.LazyFrame:
    """Disjoint intervals that the rows of a key cover together; those that touch are one."""
    before = pl.col("ts_end").cum_max().shift(1).over(keys)
    return (
        rows.filter(pl.col("ts_start") < pl.col("ts_end"))
        .sort(*keys, "ts_start")
        .with_columns(
            (pl.col("ts_start") > before).fill_null(value=True).cum_sum().over(keys).alias("run")
        )
        .group_by(*keys, "run")
        .agg(pl.col("ts_start").min().alias("start"), pl.col("ts_end").max().alias("end"))
        .drop("run")
    )
