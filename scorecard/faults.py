"""The fault matrix: what may go wrong was done, and what came of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from scorecard.figure import Figure, run

SUBJECT = "faults"


def measure() -> Iterator[Figure]:
    """Rows of the quick tier; ``make faults`` writes those of the full one to their own page."""
    done = run(
        sys.executable, "-m", "tests.faults", "--tier", "quick", "--no-page", "--json",
        seconds=1_800.0,
    )  # fmt: skip
    try:
        rows = json.loads(done.output)
    except ValueError:
        yield Figure(SUBJECT, "quick tier", done.errors[-200:], "run", holds=False)
        return
    for name, row in rows.items():
        if not row["runs"]:
            # of the full tier alone, or not possible on this machine
            yield Figure(SUBJECT, name, "not run", "0 failures, 0 rows lost", holds=None)
            continue
        figure = f"{row['runs']:,} runs, {len(row['failures'])} failures, {row['rows_lost']} lost"
        holds = not row["failures"] and not row["rows_lost"]
        yield Figure(SUBJECT, name, figure, "0 failures, 0 rows lost", holds)
