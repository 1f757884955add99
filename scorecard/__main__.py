"""``python -m scorecard``: measure everything, write the page, say what falls short."""

from __future__ import annotations

import platform
import sys
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from scorecard import checks, faults, listing, main_job, performance, wire, worlds
from scorecard.figure import REPOSITORY, Figure

PAGE = REPOSITORY / "docs" / "scorecard.md"
SUBJECTS = (wire, listing, main_job, worlds, checks, faults, performance)


def main() -> int:
    """Measure, write, print; 1 where a bound is missed."""
    console = Console()
    figures: list[Figure] = []
    for subject in SUBJECTS:
        with console.status(f"measuring: {subject.SUBJECT}"):
            figures += list(subject.measure())
    PAGE.write_text(_page(figures), encoding="utf-8")
    table = Table("subject", "what", "figure", "bound", "holds")
    for figure in figures:
        table.add_row(figure.subject, figure.what, figure.figure, figure.bound, _verdict(figure))
    console.print(table)
    missed = [figure for figure in figures if figure.holds is False]
    console.print(f"{len(figures)} figures, {len(missed)} fall short; written to {PAGE.name}")
    return 1 if missed else 0


def _verdict(figure: Figure) -> str:
    return {True: "yes", False: "NO", None: "not measured"}[figure.holds]


def _page(figures: list[Figure]) -> str:
    measured = f"{datetime.now(UTC):%Y-%m-%d} with CPython {platform.python_version()}"
    lines = [
        "# Scorecard",
        "",
        f"Every acceptance figure as measured by `make scorecard` on {measured}.",
        "",
        "| subject | what | figure | bound | holds |",
        "| --- | --- | --- | --- | --- |",
    ]
    for figure in figures:
        cells = (figure.subject, figure.what, figure.figure, figure.bound, _verdict(figure))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
