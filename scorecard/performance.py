"""The benchmarks' ratios, each with its own bound."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from scorecard.figure import Figure, run

SUBJECT = "performance"


def measure() -> Iterator[Figure]:
    """Every workload of ``python -m benchmarks``."""
    done = run(sys.executable, "-m", "benchmarks", "--json", seconds=1_200.0)
    try:
        rows = json.loads(done.output)
    except ValueError:
        yield Figure(SUBJECT, "benchmarks", done.errors[-200:], "run", holds=False)
        return
    for row in rows:
        if row["bound"]:
            ratio = "not measured" if row["ratio"] is None else f"{row['ratio']:.3g}"
            yield Figure(SUBJECT, row["workload"], ratio, str(row["bound"]), row["holds"])
