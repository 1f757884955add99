"""The ledger reduced to intervals: what is left is trusted, disjoint and complete."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from surveillance_assets.analytics.coverage import trusted_intervals

DAY = date(2026, 9, 1)
START = datetime(2026, 9, 1, tzinfo=UTC)


def _ledger(rows: list[tuple[str | None, int, int, str]]) -> pl.LazyFrame:
    return pl.LazyFrame(
        [
            ("polymarket", DAY, market, market, START + timedelta(seconds=a),
             START + timedelta(seconds=b), state)
            for market, a, b, state in rows
        ],
        schema={
            "venue": pl.String, "date": pl.Date, "market_id": pl.String, "outcome_id": pl.String,
            "ts_start": pl.Datetime("us", "UTC"), "ts_end": pl.Datetime("us", "UTC"),
            "state": pl.String,
        },
        orient="row",
    )  # fmt: skip


def _seconds(frame: pl.DataFrame) -> list[tuple[str, int, int]]:
    return [
        (
            row["outcome_id"],
            round((row["start"] - START).total_seconds()),
            round((row["end"] - START).total_seconds()),
        )
        for row in frame.iter_rows(named=True)
    ]


def test_intervals_that_touch_are_one_and_gaps_stay() -> None:
    ledger = _ledger([("a", 0, 10, "trusted"), ("a", 10, 20, "trusted"), ("a", 25, 30, "trusted")])
    assert _seconds(trusted_intervals(ledger).collect()) == [("a", 0, 20), ("a", 25, 30)]


def test_distrust_overrides_trust_and_a_row_without_a_market_means_every_market() -> None:
    ledger = _ledger(
        [
            ("a", 0, 100, "trusted"),
            ("b", 0, 100, "trusted"),
            ("a", 40, 50, "untrusted"),
            (None, 90, 95, "untrusted"),
        ]
    )
    assert _seconds(trusted_intervals(ledger).collect()) == [
        ("a", 0, 40),
        ("a", 50, 90),
        ("a", 95, 100),
        ("b", 0, 90),
        ("b", 95, 100),
    ]


interval = st.tuples(st.integers(0, 60), st.integers(0, 60)).filter(lambda ab: ab[0] < ab[1])


@given(
    trusted=st.lists(st.tuples(st.sampled_from("ab"), interval), min_size=1, max_size=8),
    untrusted=st.lists(st.tuples(st.sampled_from(["a", "b", None]), interval), max_size=4),
)
def test_every_second_is_kept_exactly_when_trusted_and_not_withdrawn(
    trusted: list[tuple[str, tuple[int, int]]],
    untrusted: list[tuple[str | None, tuple[int, int]]],
) -> None:
    rows: list[tuple[str | None, int, int, str]] = [
        (market, a, b, "trusted") for market, (a, b) in trusted
    ]
    rows += [(market, a, b, "untrusted") for market, (a, b) in untrusted]
    found = _seconds(trusted_intervals(_ledger(rows)).collect())
    for market in "ab":
        kept = {s for m, a, b in found if m == market for s in range(a, b)}
        wanted = {s for m, (a, b) in trusted if m == market for s in range(a, b)}
        wanted -= {s for m, (a, b) in untrusted if m in (market, None) for s in range(a, b)}
        assert kept == wanted
        spans = [(a, b) for m, a, b in found if m == market]
        assert all(b < a for (_, b), (a, _) in pairwise(spans))
