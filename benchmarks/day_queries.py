"""One contender of the daily statistics, in a process of its own: arguments ``NAME LAKE``.

Prints one JSON object: CPU-seconds and wall seconds of the query, the process's peak resident
bytes, and the answer's checksums, by which the parent sees that all computed the same.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable

import polars as pl

from benchmarks.day import DAY, VENUE
from benchmarks.harness import import_peer
from surveillance_assets.analytics.liquidity import MAX_HOLD, market_stats
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.read import scan_table
from surveillance_core.lake.schemas import COVERAGE, SNAPSHOTS, TRADES, Table

DEPTHS = tuple(f"{side}_depth_{cents}c" for side in ("bid", "ask") for cents in (1, 2, 5))
_READ = ("mid", "spread", "best_bid_sz", "best_ask_sz", *DEPTHS, "seq")


def _scan(lake: Lake, table: Table) -> pl.LazyFrame:
    return scan_table(lake, table, VENUE, [DAY]).frame.with_columns(
        pl.lit(VENUE.value).alias("venue"), pl.lit(DAY).alias("date")
    )


def ours(lake: Lake) -> tuple[float, float]:
    """The ``stats`` asset's query."""
    titles = pl.LazyFrame(
        schema={"venue": pl.String, "date": pl.Date, "market_id": pl.String, "title": pl.String}
    )
    found = market_stats(
        _scan(lake, SNAPSHOTS), _scan(lake, COVERAGE), _scan(lake, TRADES), titles
    ).collect(engine="streaming")
    return float(found["spread_mean"].sum()), float(found["spread_p50"].sum())


def limit(lake: Lake) -> tuple[float, float]:
    """Read and sum the columns that the statistics need, keys and times included."""
    rows = _scan(lake, SNAPSHOTS)
    rows.select(
        pl.col(*_READ).sum(),
        pl.col("ts_recv").cast(pl.Int64).sum(),
        pl.col("outcome_id", "market_id", "status").str.len_bytes().sum(),
    ).collect(engine="streaming")
    return 0.0, 0.0


def duckdb(lake: Lake) -> tuple[float, float]:
    """DuckDB: the same time-weighted means, median and 90 % quantile, and the trades' sums."""
    library = import_peer("duckdb")
    if library is None:
        raise SystemExit(69)
    root = lake.store.root

    def files(table: Table) -> str:
        return f"read_parquet('{root}/{table.name}/**/*.parquet', hive_partitioning=false)"

    means = ", ".join(
        f"sum({name} * held) FILTER (ok) / sum(held) FILTER (ok) AS {name}_mean"
        for name in ("spread", "mid", "best_bid_sz", "best_ask_sz", *DEPTHS)
    )
    sql = f"""
        WITH edges AS (
            SELECT outcome_id, moment, sum(t) AS t, sum(u) AS u FROM (
                SELECT outcome_id, ts_start AS moment, (state = 'trusted')::INT AS t,
                       (state <> 'trusted')::INT AS u FROM {files(COVERAGE)}
                UNION ALL
                SELECT outcome_id, ts_end, -(state = 'trusted')::INT, -(state <> 'trusted')::INT
                FROM {files(COVERAGE)}
            ) GROUP BY ALL
        ), segments AS (
            SELECT outcome_id, moment AS interval_start, lead(moment) OVER w AS interval_end,
                   sum(t) OVER w AS t, sum(u) OVER w AS u
            FROM edges WINDOW w AS (PARTITION BY outcome_id ORDER BY moment)
        ), marked AS (
            SELECT *, coalesce(interval_start <> lag(interval_end) OVER w, true)::INT AS fresh
            FROM segments WHERE t > 0 AND u = 0 AND interval_end IS NOT NULL
            WINDOW w AS (PARTITION BY outcome_id ORDER BY interval_start)
        ), runs AS (
            SELECT *, sum(fresh) OVER (PARTITION BY outcome_id ORDER BY interval_start) AS run
            FROM marked
        ), trusted AS (
            SELECT outcome_id, min(interval_start) AS interval_start,
                   max(interval_end) AS interval_end FROM runs GROUP BY outcome_id, run
        ), placed AS (
            SELECT market_id, rows.outcome_id, ts_recv, seq, status, interval_start, interval_end,
                   spread, mid, best_bid_sz, best_ask_sz, {", ".join(DEPTHS)},
                   lead(ts_recv) OVER w AS next_row, lag(seq) OVER w AS last_seq
            FROM {files(SNAPSHOTS)} AS rows ASOF LEFT JOIN trusted
            ON rows.outcome_id = trusted.outcome_id AND rows.ts_recv >= trusted.interval_start
            WINDOW w AS (PARTITION BY rows.outcome_id ORDER BY ts_recv)
        ), held AS (
            SELECT *, CASE WHEN ts_recv < interval_end THEN (epoch_us(least(next_row, interval_end,
                ts_recv + INTERVAL {int(MAX_HOLD.total_seconds())} SECOND)) - epoch_us(ts_recv))
                / 1e6 ELSE 0 END AS held
            FROM placed
        ), valid AS (SELECT *, status = 'ok' AND held > 0 AS ok FROM held), stats AS (
            SELECT market_id, outcome_id, sum(held) AS covered, count(*) AS snapshots,
                   sum(greatest(seq - last_seq, 0)) AS updates,
                   arg_min(mid, ts_recv) FILTER (ok), arg_max(mid, ts_recv) FILTER (ok), {means}
            FROM valid GROUP BY ALL
        ), weights AS (
            SELECT outcome_id, round(spread * 10000)::BIGINT AS ticks, sum(held) AS held
            FROM valid WHERE ok GROUP BY ALL
        ), running AS (
            SELECT outcome_id, ticks, sum(held) OVER (PARTITION BY outcome_id ORDER BY ticks) AS up,
                   sum(held) OVER (PARTITION BY outcome_id) AS total FROM weights
        ), quantiles AS (
            SELECT outcome_id,
                   min(ticks) FILTER (up >= 0.5 * total * (1 - 1e-12)) / 10000 AS p50,
                   min(ticks) FILTER (up >= 0.9 * total * (1 - 1e-12)) / 10000 AS p90
            FROM running GROUP BY ALL
        ), flow AS (
            SELECT outcome_id, count(*) AS trades, sum(size) AS volume, sum(price * size) AS
                   notional, sum(size) FILTER (taker_side = 'buy') / sum(size) AS buy_share
            FROM {files(TRADES)} GROUP BY ALL
        )
        SELECT * FROM stats LEFT JOIN quantiles USING (outcome_id) LEFT JOIN flow USING (outcome_id)
    """  # noqa: S608 (its parts are the lake's own path and column names)
    found = library.sql(sql).pl()
    return float(found["spread_mean"].sum()), float(found["p50"].sum())


CONTENDERS: dict[str, Callable[[Lake], tuple[float, float]]] = {
    "limit": limit,
    "ours": ours,
    "duckdb": duckdb,
}


def main() -> None:
    name, data_dir = sys.argv[1:]
    lake = Lake(data_dir)
    cpu, wall = time.process_time(), time.perf_counter()
    sums = CONTENDERS[name](lake)
    report = {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "sums": sums,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
