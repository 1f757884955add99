"""Statistics against a second-by-second recomputation that knows nothing of Polars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_assets.analytics.liquidity import market_stats
from surveillance_assets.analytics.universe import UNIVERSE_SCHEMA
from surveillance_core.lake.schemas import COVERAGE, SNAPSHOTS, STATS, TRADES, Table

DAY = date(2026, 9, 1)
START = datetime(2026, 9, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    """A snapshot at a whole second: ticks of one cent, None for a missing side."""

    at: int
    bid: int | None
    ask: int | None
    size: float
    seq: int

    @property
    def status(self) -> str:
        if self.bid is None and self.ask is None:
            return "empty"
        if self.bid is None or self.ask is None:
            return "one_sided"
        return "ok" if self.bid < self.ask else "crossed"


def _frame(table: Table, rows: list[dict[str, object]]) -> pl.LazyFrame:
    full = [{column.name: row.get(column.name) for column in table.columns} for row in rows]
    return pl.DataFrame(full, schema=table.polars).lazy().with_columns(
        pl.lit("polymarket").alias("venue"), pl.lit(DAY).alias("date")
    )  # fmt: skip


def _snapshots(rows: list[Row]) -> pl.LazyFrame:
    found: list[dict[str, object]] = []
    for row in rows:
        two = row.bid is not None and row.ask is not None
        found.append(
            {
                "ts_recv": START + timedelta(seconds=row.at),
                "market_id": "m", "outcome_id": "o", "seq": row.seq,
                "best_bid_px": None if row.bid is None else row.bid / 100,
                "best_bid_sz": None if row.bid is None else row.size,
                "best_ask_px": None if row.ask is None else row.ask / 100,
                "best_ask_sz": None if row.ask is None else 2 * row.size,
                "mid": (row.bid + row.ask) / 200 if two else None,  # type: ignore[operator]
                "spread": (row.ask - row.bid) / 100 if two else None,  # type: ignore[operator]
                "bid_px": [], "bid_sz": [], "ask_px": [], "ask_sz": [],
                **{f"{side}_depth_{c}c": row.size * c if two else None
                   for side in ("bid", "ask") for c in (1, 2, 5)},
                "tick": 0.01, "book_age_ms": 0, "status": row.status, "trust": "verified",
                "reason": "change",
            }
        )  # fmt: skip
    return _frame(SNAPSHOTS, found)


def _coverage(spans: list[tuple[int, int]]) -> pl.LazyFrame:
    return _frame(
        COVERAGE,
        [
            {
                "market_id": "m", "outcome_id": "o", "state": "trusted", "cause": None,
                "ts_start": START + timedelta(seconds=a), "ts_end": START + timedelta(seconds=b),
            }
            for a, b in spans
        ],
    )  # fmt: skip


def _trades(prints: list[tuple[int, float, float, str | None]]) -> pl.LazyFrame:
    return _frame(
        TRADES,
        [
            {
                "ts_recv": START + timedelta(seconds=at), "market_id": "m", "outcome_id": "o",
                "price": price, "size": size, "taker_side": side, "printed_outcome_id": "o",
                "printed_price": price,
            }
            for at, price, size, side in prints
        ],
    )  # fmt: skip


NO_TITLES = pl.LazyFrame(schema=UNIVERSE_SCHEMA).select("venue", "date", "market_id", "title")


def _stats(
    rows: list[Row],
    spans: list[tuple[int, int]],
    prints: list[tuple[int, float, float, str | None]] | None = None,
) -> dict[str, object]:
    frame = market_stats(_snapshots(rows), _coverage(spans), _trades(prints or []), NO_TITLES)
    found = frame.collect()
    assert found.drop("venue", "date").schema == STATS.polars
    assert found.height == 1
    return found.row(0, named=True)


def test_a_spread_counts_for_as_long_as_it_stood() -> None:
    rows = [Row(0, 40, 42, 1, 0), Row(90, 40, 50, 1, 3), Row(100, 40, 42, 1, 4)]
    stats = _stats(rows, [(0, 110)])
    assert stats["covered_seconds"] == stats["two_sided_seconds"] == 110
    assert stats["spread_mean"] == pytest.approx((100 * 0.02 + 10 * 0.10) / 110)
    assert stats["spread_p50"] == pytest.approx(0.02)
    assert stats["spread_p90"] == pytest.approx(0.02)
    assert stats["updates"] == 4


def test_nothing_spans_a_gap() -> None:
    rows = [Row(0, 40, 42, 1, 5), Row(100, 40, 60, 1, 900)]
    stats = _stats(rows, [(0, 10), (100, 105)])
    assert stats["covered_seconds"] == 15
    assert stats["spread_mean"] == pytest.approx((10 * 0.02 + 5 * 0.20) / 15)
    assert stats["updates"] == 0, "updates on both sides of a gap cannot be counted"


def test_a_market_without_a_trusted_book_says_so_instead_of_zero() -> None:
    stats = _stats([Row(0, 40, 42, 1, 0)], [(50, 60)])
    assert stats["covered_seconds"] == 0
    assert stats["spread_mean"] is None
    assert stats["updates_per_hour"] is None
    assert stats["two_sided_share"] is None
    assert stats["unknown_reason"] == "no_trusted_book"


def test_one_sided_time_is_covered_but_never_enters_the_spread() -> None:
    rows = [Row(0, 40, None, 1, 0), Row(30, 40, 44, 1, 1)]
    stats = _stats(rows, [(0, 60)])
    assert (stats["one_sided_seconds"], stats["two_sided_seconds"]) == (30, 30)
    assert stats["two_sided_share"] == 0.5
    assert stats["spread_mean"] == pytest.approx(0.04)


def test_a_row_older_than_three_heartbeats_is_not_known_to_stand() -> None:
    assert _stats([Row(0, 40, 42, 1, 0)], [(0, 3600)])["covered_seconds"] == 180


def test_trades_are_counted_whole_and_rated_over_covered_time() -> None:
    prints: list[tuple[int, float, float, str | None]] = [
        (5, 0.40, 10.0, "buy"), (6, 0.41, 30.0, "sell"),
        (7, 0.40, 5.0, None), (500, 0.4, 1.0, "buy"),
    ]  # fmt: skip
    stats = _stats([Row(0, 40, 42, 1, 0)], [(0, 36)], prints)
    assert (stats["trades"], stats["volume"]) == (4, 46.0)
    assert stats["notional"] == pytest.approx(4.0 + 12.3 + 2.0 + 0.4)
    assert stats["trades_per_hour"] == pytest.approx(3 * 100), (
        "the print outside coverage is no rate"
    )
    assert stats["buy_share"] == pytest.approx(11 / 41)


def test_rows_in_another_order_give_the_same_to_the_last_digit() -> None:
    chance = Random(7)
    markets, seconds = 50, 300
    rows: list[Row] = []
    for second in range(seconds * markets):
        bid, size = chance.randint(20, 70), chance.randrange(1, 10**9) / 1e6
        rows.append(Row(second % seconds, bid, bid + chance.randint(1, 29), size, second))
    prints: list[tuple[int, float, float, str | None]] = [
        (row.at, row.bid / 100, row.size, "buy") for row in rows if row.bid is not None
    ]

    def of_markets(frame: pl.LazyFrame) -> pl.LazyFrame:
        number = (pl.int_range(pl.len()) // seconds).cast(pl.String)
        return frame.with_columns(market_id="m" + number, outcome_id="o" + number)

    frames = [of_markets(frame) for frame in (_snapshots(rows), _trades(prints))]
    spans = [of_markets(_coverage([(0, seconds)] * seconds * markets)).unique()]
    snapshots, trades, coverage = (frame.collect() for frame in (*frames, *spans))

    def stats(seed: int) -> pl.DataFrame:
        snapshots_now, coverage_now, trades_now = (
            frame.sample(fraction=1.0, shuffle=True, seed=seed).lazy()
            for frame in (snapshots, coverage, trades)
        )
        frame = market_stats(snapshots_now, coverage_now, trades_now, NO_TITLES)
        # as the asset does: the order in which it takes rows changes from run to run
        return frame.collect(engine="streaming")

    first = stats(0)
    assert first.height == markets
    assert all(stats(seed).equals(first) for seed in range(1, 4))


def test_of_rows_of_one_moment_the_last_stands() -> None:
    seconds = list(range(20_000))
    Random(7).shuffle(seconds)
    rows: list[Row] = []
    for second in seconds:
        # a book is opened anew, its numbers too, at the moment at which the one before was read
        rows += [Row(second, 40, 60, 1.0, 90_000 + second), Row(second, 40, 42, 1.0, second)]
    stats = _stats(rows, [(0, 20_000)])
    assert stats["two_sided_seconds"] == 20_000
    assert stats["spread_mean"] == pytest.approx(0.02)
    assert stats["spread_p90"] == 0.02


side = st.one_of(st.none(), st.integers(1, 99))
span = st.tuples(st.integers(0, 300), st.integers(0, 300)).filter(lambda ab: ab[0] < ab[1])


@given(
    moments=st.lists(st.integers(0, 300), min_size=1, max_size=12, unique=True),
    sides=st.lists(st.tuples(side, side), min_size=12, max_size=12),
    sizes=st.lists(st.integers(1, 50), min_size=12, max_size=12),
    spans=st.lists(span, min_size=1, max_size=4),
)
def test_against_a_second_by_second_recomputation(
    moments: list[int],
    sides: list[tuple[int | None, int | None]],
    sizes: list[int],
    spans: list[tuple[int, int]],
) -> None:
    rows = [
        Row(at, bid, ask, float(size), seq=index)
        for index, (at, (bid, ask), size) in enumerate(
            zip(sorted(moments), sides, sizes, strict=False)
        )
    ]
    covered = {s for a, b in spans for s in range(a, b)}
    standing: dict[int, Row] = {}
    current: Row | None = None
    by_moment = {row.at: row for row in rows}
    for second in range(301):
        if second not in covered:
            current = None
        if second in by_moment:
            current = by_moment[second] if second in covered else None
        if current is not None and second - current.at < 180:
            standing[second] = current
    two_sided = [row for row in standing.values() if row.status == "ok"]
    stats = _stats(rows, spans)
    assert stats["covered_seconds"] == len(standing)
    for status in ("crossed", "one_sided", "empty"):
        known = sum(row.status == status for row in standing.values())
        assert stats[f"{status}_seconds"] == known
    if not two_sided:
        assert stats["spread_mean"] is None
        return
    spreads = sorted(row.ask - row.bid for row in two_sided)  # type: ignore[operator]
    assert stats["spread_mean"] == pytest.approx(sum(spreads) / len(spreads) / 100)
    for q, name in ((0.5, "spread_p50"), (0.9, "spread_p90")):
        wanted = spreads[max(0, math.ceil(q * len(spreads) - 1e-9) - 1)]
        assert stats[name] == pytest.approx(wanted / 100)
    assert stats["bid_touch_mean"] == pytest.approx(sum(r.size for r in two_sided) / len(two_sided))
    assert stats["ask_depth_5c_mean"] == pytest.approx(
        sum(5 * r.size for r in two_sided) / len(two_sided)
    )
