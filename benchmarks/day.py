"""A synthetic venue-day in a lake: scalar columns, short lists, coverage with gaps, trades."""

from __future__ import annotations

from datetime import UTC, date, datetime
from random import Random

import polars as pl

from surveillance_core.lake.layout import bucket_file
from surveillance_core.lake.publish import Lake, publish_rows
from surveillance_core.lake.schemas import COVERAGE, SNAPSHOTS, TRADES, Table
from surveillance_core.markets import Venue

VENUE = Venue.POLYMARKET
DAY = date(2026, 9, 1)
MARKETS = 1_000
_EVERY_US = 10_000_000
_FILE_US = 300_000_000
_START_US = int(datetime(2026, 9, 1, tzinfo=UTC).timestamp()) * 1_000_000
_TIME = pl.Datetime("us", "UTC")


def publish_day(data_dir: str, hours: int) -> None:
    """Publish ``hours`` of the day in files of five minutes, as a collector does."""
    lake = Lake(data_dir, "simulated")
    rng = Random(17)
    ids = pl.DataFrame(
        {
            "market_id": [f"0x{rng.getrandbits(256):064x}" for _ in range(MARKETS)],
            "outcome_id": [str(rng.getrandbits(255)) for _ in range(MARKETS)],
            "base": [rng.randrange(1_500, 8_500, 100) for _ in range(MARKETS)],
        }
    ).with_row_index("number")
    for start_us in range(_START_US, _START_US + hours * 3_600_000_000, _FILE_US):
        for table, rows in (
            (SNAPSHOTS, _snapshots(ids, start_us)),
            (COVERAGE, _coverage(ids, start_us)),
            (TRADES, _trades(ids, start_us, rng)),
        ):
            _publish(lake, table, rows.select(table.polars.names()), start_us)


def _publish(lake: Lake, table: Table, rows: pl.DataFrame, start_us: int) -> None:
    publish_rows(
        lake,
        table,
        bucket_file(
            table,
            VENUE,
            datetime.fromtimestamp(start_us / 1e6, UTC),
            "b0",
            start_us,
            start_us + _FILE_US,
        ),
        VENUE,
        DAY,
        rows.cast(dict(table.polars)),  # type: ignore[arg-type]
        writer="benchmark",
        time_column="ts_start" if table is COVERAGE else "ts_recv",
    )


def _noise(span: int, salt: int) -> pl.Expr:
    """A repeatable pseudo-random integer in [0, span) a row."""
    return (pl.struct("number", "at").hash(salt) % span).cast(pl.Int64)


def _snapshots(ids: pl.DataFrame, start_us: int) -> pl.DataFrame:
    times = pl.DataFrame({"at": range(start_us, start_us + _FILE_US, _EVERY_US)})
    bid = pl.col("base").cast(pl.Int64) + 10 * _noise(20, 1) - 100
    spread = 10 * (1 + _noise(12, 2) * _noise(4, 3))
    one_sided = _noise(97, 4) == 0
    rows = (
        ids.join(times, how="cross")
        .with_columns(
            ts_recv=(pl.col("at") + _noise(900_000, 5)).cast(_TIME),
            best_bid_px=bid / 10_000,
            best_ask_px=pl.when(~one_sided).then((bid + spread) / 10_000),
            best_bid_sz=(1 + _noise(90_000, 6)) / 100,
            best_ask_sz=pl.when(~one_sided).then((1 + _noise(90_000, 7)) / 100),
            status=pl.when(one_sided).then(pl.lit("one_sided")).otherwise(pl.lit("ok")),
        )
        .with_columns(
            ts_venue=pl.col("ts_recv"),
            seq=(pl.col("at") - _START_US) // 3_000_000,
            mid=(pl.col("best_bid_px") + pl.col("best_ask_px")) / 2,
            spread=((pl.col("best_ask_px") - pl.col("best_bid_px")) * 10_000).round() / 10_000,
            bid_px=pl.concat_list("best_bid_px"),
            bid_sz=pl.concat_list("best_bid_sz"),
            ask_px=pl.concat_list("best_ask_px").list.drop_nulls(),
            ask_sz=pl.concat_list("best_ask_sz").list.drop_nulls(),
            tick=pl.lit(0.001),
            book_age_ms=_noise(9_000, 8),
            trust=pl.lit("verified"),
            reason=pl.lit("change"),
        )
    )
    return rows.with_columns(
        pl.when(~one_sided)
        .then(pl.col(f"best_{side}_sz") * cents + _noise(50_000, 9 + cents) / 100)
        .alias(f"{side}_depth_{cents}c")
        for side in ("bid", "ask")
        for cents in (1, 2, 5)
    )


def _coverage(ids: pl.DataFrame, start_us: int) -> pl.DataFrame:
    """Trusted throughout, but for 20 seconds of one market in fifty."""
    whole = ids.with_columns(
        ts_start=pl.lit(start_us).cast(_TIME),
        ts_end=pl.lit(start_us + _FILE_US).cast(_TIME),
        state=pl.lit("trusted"),
        cause=pl.lit(None, pl.String),
    )
    number = start_us // _FILE_US
    doubted = whole.filter(pl.col("number") % 50 == number % 50).with_columns(
        ts_start=pl.lit(start_us + 95_000_000).cast(_TIME),
        ts_end=pl.lit(start_us + 115_000_000).cast(_TIME),
        state=pl.lit("untrusted"),
        cause=pl.lit("hash_mismatch"),
    )
    return pl.concat([whole, doubted])


def _trades(ids: pl.DataFrame, start_us: int, rng: Random) -> pl.DataFrame:
    return ids.with_columns(at=pl.lit(start_us + rng.randrange(1_000_000))).with_columns(
        ts_recv=(pl.col("at") + _noise(_FILE_US - 1_000_000, 31)).cast(_TIME),
        ts_venue=pl.lit(None, pl.Datetime("ms", "UTC")),
        price=pl.col("base") / 10_000,
        size=(1 + _noise(50_000, 32)) / 100,
        taker_side=pl.when(_noise(2, 33) == 0).then(pl.lit("buy")).otherwise(pl.lit("sell")),
        printed_outcome_id=pl.col("outcome_id"),
        printed_price=pl.col("base") / 10_000,
        fee_rate_bps=pl.lit(None, pl.String),
        transaction_id=pl.lit(None, pl.String),
    )
