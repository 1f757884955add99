"""The fault matrix: what may go wrong was done, and what came of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from scorecard.figure import REPOSITORY, Figure, run

SUBJECT = "faults"
FULL_TIER = REPOSITORY / "docs" / "reliability.md"


def measure() -> Iterator[Figure]:
    """Rows of the quick tier; of the full one what ``make faults`` has written to its page."""
    yield full_tier(FULL_TIER.read_text().splitlines() if FULL_TIER.exists() else [])
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


def full_tier(page: list[str]) -> Figure:
    """What the page of the full tier says, all rows together."""
    bound = "every row, 0 failures, 40 min at most"
    head = next((line for line in page if line.startswith("Tier full")), None)
    machine = next((line for line in page if line.endswith(" min.")), None)
    if head is None or machine is None:
        return Figure(SUBJECT, "full tier", "not run: make faults", bound, holds=None)
    rows = [line.split(" | ") for line in page if line[:2] == "| " and line[2:3].isupper()]
    ran = [row for row in rows if row[3] != "not run"]
    failures = sum(int(row[4]) for row in ran)
    minutes = int(machine.removesuffix(" min.").rpartition(" ")[2])
    figure = f"{len(ran)} of {len(rows)} rows, {failures} failures, {minutes} min"
    holds = len(ran) == len(rows) and not failures and minutes <= 40
    return Figure(SUBJECT, head.rstrip("."), figure, bound, holds)
