"""Grades of a day: seconds add up, gaps have their causes, whatever way the ledger was cut."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_assets.analytics.grades import causes, gaps, graded

DAY = date(2026, 9, 1)
START = datetime(2026, 9, 1, tzinfo=UTC)
Line = tuple[str | None, float, float, str | None]
"""Market, from, to, cause; None for the cause where trusted."""


def _ledger(rows: list[Line]) -> pl.LazyFrame:
    return pl.LazyFrame(
        [
            ("polymarket", DAY, market and f"m-{market}", market, START + timedelta(seconds=a),
             START + timedelta(seconds=b), "untrusted" if cause else "trusted", cause)
            for market, a, b, cause in rows
        ],
        schema={
            "venue": pl.String, "date": pl.Date, "market_id": pl.String, "outcome_id": pl.String,
            "ts_start": pl.Datetime("us", "UTC"), "ts_end": pl.Datetime("us", "UTC"),
            "state": pl.String, "cause": pl.String,
        },
        orient="row",
    )  # fmt: skip


def _rows(frame: pl.LazyFrame) -> list[dict[str, Any]]:
    return frame.collect().to_dicts()


def test_a_market_is_graded_by_what_could_be_trusted_of_what_was_subscribed() -> None:
    ledger = _ledger([
        ("a", 0, 1, "awaiting_book"), ("a", 1, 5_000, None),
        ("b", 0, 600, None), ("b", 600, 700, "closed_1006"), ("b", 700, 1_000, None),
        ("c", 0, 10, "awaiting_book"),
    ])  # fmt: skip
    worst, middle, best = _rows(graded(ledger))
    assert (worst["outcome_id"], worst["grade"], worst["trusted_s"]) == ("c", "F", 0.0)
    assert (middle["outcome_id"], middle["market_id"], middle["grade"]) == ("b", "m-b", "D")
    assert (middle["subscribed_s"], middle["trusted_s"], middle["untrusted_s"]) == (1000, 900, 100)
    assert (middle["gaps"], middle["longest_gap_s"]) == (1, 100.0)
    assert middle["main_cause"] == "closed_1006"
    assert (best["grade"], best["gaps"], best["longest_gap_s"]) == ("A", 1, 1.0)
    assert best["day_share"] == pytest.approx(4_999 / 86_400)


@pytest.mark.parametrize(
    ("untrusted", "grade"),
    [(0.0, "A"), (1.0, "A"), (1.5, "B"), (10.0, "B"), (11.0, "C"), (51.0, "D"), (201.0, "F")],
)
def test_each_grade_begins_where_it_says(untrusted: float, grade: str) -> None:
    (row,) = _rows(graded(_ledger([("a", 0, 1_000, None), ("a", 0, untrusted, "x")])))
    assert row["grade"] == grade


def test_what_concerns_the_whole_venue_concerns_each_market_while_it_was_subscribed() -> None:
    ledger = _ledger([
        ("a", 0, 100, None), ("b", 50, 100, None), (None, 40, 60, "disk_full"),
    ])  # fmt: skip
    found = {(r["outcome_id"], (r["start"] - START).total_seconds()) for r in _rows(gaps(ledger))}
    assert found == {("a", 40.0), ("b", 50.0)}
    assert {r["outcome_id"]: r["trusted_s"] for r in _rows(graded(ledger))} == {"a": 80, "b": 40}
    (cause,) = _rows(causes(ledger))
    assert (cause["cause"], cause["markets"], cause["market_seconds"]) == ("disk_full", 2, 30.0)
    assert cause["longest_s"] == 20.0


LINES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]), st.integers(0, 60), st.integers(0, 20),
        st.sampled_from([None, None, "x", "y"]),
    ),
    max_size=25,
)  # fmt: skip


@given(LINES)
def test_seconds_are_those_of_a_count_second_by_second(
    lines: list[tuple[str, int, int, str | None]],
) -> None:
    ledger = _ledger([(market, a, a + length, cause) for market, a, length, cause in lines])
    found = {row["outcome_id"]: row for row in _rows(graded(ledger))}
    lost = {(row["outcome_id"], row["cause"]): 0.0 for row in _rows(gaps(ledger))}
    for row in _rows(gaps(ledger)):
        lost[row["outcome_id"], row["cause"]] += (row["end"] - row["start"]).total_seconds()
    for market in ("a", "b"):
        seconds: list[set[str | None]] = [set() for _ in range(100)]
        for name, a, length, cause in lines:
            for second in range(a, a + length):
                if name == market:
                    seconds[second].add(cause)
        subscribed = sum(bool(states) for states in seconds)
        trusted = sum(states == {None} for states in seconds)
        if not subscribed:
            assert market not in found
            continue
        row = found[market]
        assert (row["subscribed_s"], row["trusted_s"]) == (subscribed, trusted)
        for cause in ("x", "y"):
            assert lost.get((market, cause), 0.0) == sum(cause in states for states in seconds)
        runs = sum(
            bool(here - {None}) and not before - {None}
            for before, here in zip([set(), *seconds], seconds, strict=False)
        )
        assert row["gaps"] == runs


@given(LINES, st.integers(1, 15))
def test_a_ledger_that_was_cut_into_buckets_says_the_same(
    lines: list[tuple[str, int, int, str | None]], bucket: int
) -> None:
    whole: list[Line] = [(market, a, a + length, cause) for market, a, length, cause in lines]
    cut: list[Line] = [
        (market, second, min(second + bucket, int(end)), cause)
        for market, start, end, cause in whole
        for second in range(int(start), int(end), bucket)
    ]
    assert _rows(graded(_ledger(whole))) == _rows(graded(_ledger(cut)))
    assert _rows(gaps(_ledger(whole))) == _rows(gaps(_ledger(cut)))
