"""``python -m tests.faults``: the full tier; its table printed and in docs/reliability.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .matrix import MATRIX, TIMED, TURNS, Tier

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"


@dataclass
class Row:
    """A row of the report."""

    runs: int = 0
    failures: list[str] = field(default_factory=list[str])
    worst_detection_s: float | None = None
    rows_lost: int = 0
    notes: list[str] = field(default_factory=list[str])
    seconds: float = 0.0

    @property
    def cells(self) -> tuple[str, str, str, str, str, str]:
        """Runs, failures, worst detection, rows lost, how long it took, notes."""
        worst = "–" if self.worst_detection_s is None else f"{self.worst_detection_s:.2f} s"
        if not self.runs:
            return "not run", "–", "–", "–", "–", "; ".join(self.notes)
        notes = "; ".join(dict.fromkeys(self.notes))
        took = f"{self.seconds:,.0f} s"
        return f"{self.runs:,}", str(len(self.failures)), worst, str(self.rows_lost), took, notes


def read_rows(lines: list[str]) -> dict[str, Row]:
    """The report's rows of what the tests wrote, a row of the matrix each."""
    rows = {fault_id: Row() for fault_id in MATRIX}
    for line in lines:
        trial = json.loads(line)
        row = rows[trial["fault_id"]]
        row.runs += trial["runs"]
        row.failures += trial["failures"]
        row.rows_lost += trial["rows_lost"]
        row.notes += trial["notes"]
        row.seconds += trial["seconds"]
        if trial["worst_detection_s"] is not None:
            row.worst_detection_s = max(row.worst_detection_s or 0.0, trial["worst_detection_s"])
    return rows


def page_of(rows: dict[str, Row], tier: Tier, seed: int, seconds: float) -> str:
    """The report as a page."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    lines = [
        "# Reliability",
        "",
        "Written by `make faults`. What may go wrong is done to the collector, to its journal and",
        "to its lake; the simulated venue's log of the truth says what should have come of it.",
        "Times of detection are the venue's seconds from the fault to its mention.",
        "",
        f"Tier {tier}, seed {seed}, commit {commit}, {datetime.now(UTC):%Y-%m-%d}.",
        f"{os.cpu_count()} processors, Python {platform.python_version()}, {seconds / 60:.0f} min.",
        "",
        (
            "| id | fault | what must hold | runs | failures | worst detection | rows lost | took "
            "| notes |"
        ),
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for fault_id, row in rows.items():
        fault = MATRIX[fault_id]
        runs, failures, worst, lost, took, notes = row.cells
        unit = f" {fault.unit}" if row.runs else ""
        lines.append(
            f"| {fault_id} | {fault.what} | {fault.passes} | {runs}{unit} | {failures} "
            f"| {worst} | {lost} | {took} | {notes} |"
        )
    failed = [f"- {name}: {line}" for name, row in rows.items() for line in row.failures]
    if failed:
        lines += ["", "## What failed", "", *failed[:100]]
    return "\n".join(lines) + "\n"


def page_with(page: str, again: str, only: Collection[str]) -> str:
    """A page in which some rows are those of a later one, and that says so.

    Parameters
    ----------
    page
        Of a run of all rows.
    again
        Of a run of ``only`` some.
    """
    newer = {_row_of(line): line for line in again.splitlines() if _row_of(line) in only}
    told = next(line for line in again.splitlines() if line.startswith("Tier "))
    lines: list[str] = []
    for line in page.splitlines():
        failed = line.startswith("- ") and line[2:].partition(":")[0] in only
        if line.startswith("| id |"):
            lines += [f"Tried again by themselves: {', '.join(sorted(only))}. {told}", ""]
        if not failed:
            lines.append(newer.get(_row_of(line), line))
    lines += [line for line in again.splitlines() if line.startswith("- ")]
    if not any(line.startswith("- ") for line in lines) and "## What failed" in lines:
        del lines[lines.index("## What failed") - 1 :]
    return "\n".join(lines) + "\n"


def _row_of(line: str) -> str:
    """The id of the row that a line of the page is, empty where it is none."""
    name = line[2:].partition(" ")[0] if line.startswith("| ") else ""
    return name if name in MATRIX else ""


def run_rows(tier: Tier, seed: int, only: set[str]) -> tuple[dict[str, Row], bool]:
    """Try rows, and whether every test passed; rows with limits of time come last, in turns."""
    turns = [((tuple(sorted(only - TIMED)),), True)]
    turns += [
        (tuple(tuple(i for i in lane if i in only) for lane in turn), False) for turn in TURNS
    ]
    passed = True
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as report:
        environment = os.environ | {
            "SURVEILLANCE_FAULTS_TIER": tier,
            "SURVEILLANCE_FAULTS_SEED": str(seed),
            "SURVEILLANCE_FAULTS_REPORT": report.name,
        }
        for lanes, parallel in turns:
            running = [_start(lane, environment, parallel) for lane in lanes if lane]
            for process in running:
                passed = not process.wait() and passed
        return read_rows(report.readlines()), passed


def _start(
    fault_ids: Sequence[str], environment: dict[str, str], parallel: bool
) -> subprocess.Popen[bytes]:
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {' '.join(fault_ids)}\n")
    command = [sys.executable, "-m", "pytest", "-q", str(ROOT / "tests" / "faults")]
    if parallel and len(fault_ids) > 1:
        command += ["-n", "2", "--dist", "load", "--maxschedchunk", "1"]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment | {"SURVEILLANCE_FAULTS_ONLY": " ".join(fault_ids)},
        stdout=sys.stderr,
    )


def main() -> int:
    """Run the tier; 1 where a row failed or could not be run."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--tier", type=Tier, choices=list(Tier), default=Tier.FULL)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only",
        nargs="*",
        default=[],
        metavar="ID",
        help="only these; on the page the other rows stay as they are",
    )
    parser.add_argument("--no-page", action="store_true", help="leave docs/reliability.md alone")
    parser.add_argument("--json", action="store_true", help="print the rows as one JSON object")
    options = parser.parse_args()
    only = set(options.only) or set(MATRIX)
    if unknown := only - MATRIX.keys():
        parser.error(f"no rows {', '.join(sorted(unknown))}; there are: {', '.join(MATRIX)}")
    started = time.monotonic()
    rows, passed = run_rows(options.tier, options.seed, only)
    seconds = time.monotonic() - started
    if options.json:
        sys.stdout.write(
            json.dumps({name: asdict(row) for name, row in rows.items() if name in only}) + "\n"
        )
    else:
        table = Table("id", "runs", "failures", "worst detection", "rows lost", "took", "notes")
        for fault_id, row in rows.items():
            if fault_id in only:
                table.add_row(fault_id, *row.cells)
        Console().print(table)
    if not options.no_page:
        page = page_of(rows, options.tier, options.seed, seconds)
        if only != set(MATRIX) and PAGE.exists():
            page = page_with(PAGE.read_text(), page, only)
        PAGE.write_text(page)
    return 0 if passed and not any(row.failures for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
