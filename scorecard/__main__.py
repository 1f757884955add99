"""``python -m scorecard``: measure everything, write the page, say what falls short.

With ``--only`` some subjects are measured, and the page keeps what it says of the others. It says
of each when it was measured, and at which commit.
"""

from __future__ import annotations

import argparse
import platform
import sys
from datetime import UTC, datetime
from types import ModuleType

from rich.console import Console
from rich.table import Table

from scorecard import checks, faults, listing, main_job, performance, wire, worlds
from scorecard.figure import REPOSITORY, Figure, run
from scorecard.page import Measured, page_of, read_page

PAGE = REPOSITORY / "docs" / "scorecard.md"
SUBJECTS: tuple[ModuleType, ...] = (wire, listing, main_job, worlds, checks, faults, performance)
_NAMES = {subject.__name__.rpartition(".")[2]: subject for subject in SUBJECTS}


def main() -> int:
    """Measure, write, print; 1 where a bound is missed."""
    parser = argparse.ArgumentParser(prog="python -m scorecard", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=_NAMES, default=list(_NAMES), help="subjects to measure"
    )
    asked = parser.parse_args().only
    console = Console()
    before = read_page(PAGE.read_text(encoding="utf-8").splitlines()) if PAGE.exists() else {}
    found: dict[str, Measured] = {}
    figures: list[Figure] = []
    for name, subject in _NAMES.items():
        if name in asked:
            with console.status(f"measuring: {subject.SUBJECT}"):
                mine = list(subject.measure())
            figures += mine
            found[subject.SUBJECT] = Measured.of(mine, _moment())
        elif subject.SUBJECT in before:
            found[subject.SUBJECT] = before[subject.SUBJECT]
    PAGE.write_text(page_of(found), encoding="utf-8")
    table = Table("subject", "what", "figure", "bound", "holds")
    for figure in figures:
        table.add_row(figure.subject, figure.what, figure.figure, figure.bound, figure.verdict)
    console.print(table)
    missed = [figure for figure in figures if figure.holds is False]
    console.print(f"{len(figures)} figures, {len(missed)} fall short; written to {PAGE.name}")
    return 1 if missed else 0


def _moment() -> str:
    """Day, commit and interpreter."""
    commit = run("git", "rev-parse", "--short", "HEAD").output.strip()
    return f"{datetime.now(UTC):%Y-%m-%d}, commit {commit}, CPython {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
