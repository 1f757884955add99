"""The tests, the checks and the code location, each by the command a user would run."""

from __future__ import annotations

import re
from collections.abc import Iterator

from scorecard.figure import Figure, run

SUBJECT = "checks"
TEST_SECONDS = 900.0


def measure() -> Iterator[Figure]:
    """Tests with their wall time, then each check."""
    tests = run("pytest", "-q", "-n", "2", "--dist", "loadfile", seconds=TEST_SECONDS * 2)
    found = re.findall(r"(\d+) (passed|failed|skipped|errors?)", tests.output)
    counts = ", ".join(f"{count} {kind}" for count, kind in found) or tests.errors[-200:]
    yield Figure(SUBJECT, "make test", counts, "none failed", tests.code == 0)
    yield Figure(
        SUBJECT,
        "make test: wall seconds",
        f"{tests.seconds:.0f}",
        f"<= {TEST_SECONDS:.0f}",
        tests.seconds <= TEST_SECONDS,
    )
    for what, command in (
        ("format", ("ruff", "format", "--check", ".")),
        ("lint", ("ruff", "check", ".")),
        ("types, strict", ("pyright",)),
        ("import rules", ("lint-imports",)),
        ("dg check defs", ("dg", "check", "defs")),
    ):
        done = run(*command)
        yield Figure(SUBJECT, what, f"exit code {done.code}", "0", done.code == 0)
