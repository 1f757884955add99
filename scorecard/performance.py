"""The benchmarks' ratios, each with its own bound."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

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
            yield Figure(SUBJECT, row["workload"], _said(row), str(row["bound"]), row["holds"])


def _said(row: dict[str, Any]) -> str:
    """The ratio or, where the bound is of the figure itself, that."""
    if row["holds"] is None:
        return "not measured"
    return f"{row['ours'] if row['ratio'] is None else row['ratio']:.3g}"
