"""The matrix's own report."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict

from scorecard.faults import full_tier

from .__main__ import page_of, page_with, read_rows
from .matrix import MATRIX, Tier, Trial


def test_a_case_that_does_not_hold_is_a_failure_of_its_row_and_the_next_goes_on() -> None:
    trial = Trial(next(iter(MATRIX)), Tier.QUICK, 1)
    with trial.case("first"):
        raise AssertionError("two rows missing\nof many")
    with trial.case("second"):
        trial.detected_after(3.0)
    assert (trial.runs, trial.failures) == (2, ["first: two rows missing"])
    assert trial.worst_detection_s == 3.0


def test_outcomes_of_a_rows_tests_are_added_and_the_worst_detection_is_kept() -> None:
    fault_id = next(iter(MATRIX))
    lines = [
        json.dumps(
            {
                "fault_id": fault_id,
                "runs": 3,
                "failures": ["x"] * failures,
                "worst_detection_s": worst,
                "rows_lost": 2,
                "notes": [],
                "seconds": 1.5,
            }
        )
        for failures, worst in ((0, None), (1, 4.0), (0, 2.0))
    ]
    row = read_rows(lines)[fault_id]
    assert (row.runs, row.failures, row.worst_detection_s, row.rows_lost) == (9, ["x"], 4.0, 6)
    assert row.seconds == 4.5


def test_a_row_that_was_not_run_says_so_on_the_page() -> None:
    page = page_of(read_rows([]), Tier.FULL, 1, 60.0)
    lines = [line for line in page.splitlines() if line.startswith("| STO-07")]
    assert "not run" in lines[0]


def test_the_scorecard_reads_the_page() -> None:
    lines = [
        json.dumps(asdict(Trial(fault_id, Tier.FULL, 1, runs=1_000, failures=["x"] * (n == 3))))
        for n, fault_id in enumerate(MATRIX)
    ]
    figure = full_tier(page_of(read_rows(lines), Tier.FULL, 1, 1_200.0).splitlines())
    assert figure.figure == f"{len(MATRIX)} of {len(MATRIX)} rows, 1 failures, 20 min"
    assert figure.holds is False
    clean = full_tier(page_of(read_rows(lines[:3]), Tier.FULL, 1, 1_200.0).splitlines())
    assert clean.holds is False, "rows were not run"
    assert full_tier([]).holds is None


def test_rows_tried_again_take_the_place_of_what_they_were() -> None:
    def told(names: Iterable[str], failing: str = "") -> str:
        trials = [
            Trial(name, Tier.FULL, 1, runs=7, failures=["x"] * (name == failing)) for name in names
        ]
        return page_of(read_rows([json.dumps(asdict(t)) for t in trials]), Tier.FULL, 1, 60.0)

    whole = told(MATRIX, failing="NET-03")
    assert "- NET-03: x" in whole
    mended = page_with(whole, told(["NET-03"]), ["NET-03"])
    assert "What failed" not in mended
    assert "Tried again by themselves: NET-03. Tier full, seed 1" in mended
    rows = [line for line in mended.splitlines() if line.startswith("| NET-")]
    assert len(rows) == sum(name.startswith("NET-") for name in MATRIX)
    assert "| not run |" not in mended
    worse = page_with(whole, told(["STO-01"], failing="STO-01"), ["STO-01"])
    assert "- STO-01: x" in worse
    assert "- NET-03: x" in worse
