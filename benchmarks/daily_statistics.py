"""daily statistics: a day of snapshots, coverage and trades to one row a market.

Each contender runs in a process of its own, in turn, over the same published lake. Ours is the
``stats`` asset's query; the limit reads and sums the same columns with Polars' streaming engine;
the peer is DuckDB with window functions computing the same (``day_queries``), whose answer must
agree. The bound is what this version keeps, no slower than DuckDB; the aim is four times the read
in constant memory, by an hour-by-hour form. Reference: 2.8 to 4 times for prototypes without
coverage, DuckDB 7.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.day import publish_day
from benchmarks.harness import Row, Scale, at_most

NAME = "daily statistics"
_NOT_INSTALLED = 69
_MB = 1e6


def measure(scale: Scale) -> Iterator[Row]:
    """Rows: CPU-seconds, peak memory."""
    hours = scale.pick(1, 6)
    reports: dict[str, list[dict[str, Any]]] = {}
    with TemporaryDirectory() as directory:
        lake = str(Path(directory) / "lake")
        publish_day(lake, hours)
        for _ in range(scale.pick(3, 5)):
            for name in ("limit", "ours", "duckdb"):
                report = _run(name, lake)
                if report is not None:
                    reports.setdefault(name, []).append(report)
    _check_agreement(reports)
    to_limit = _ratio(reports, "limit")
    to_peer = _ratio(reports, "duckdb")
    yield Row(
        workload=NAME,
        unit="CPU-s",
        limit=_middle(reports, "limit", "cpu"),
        peer=_middle(reports, "duckdb", "cpu"),
        ours=_middle(reports, "ours", "cpu") or 0.0,
        note=f"{hours} h of 1,000 markets at 10 s; {to_limit:.1f} times the read; peer: DuckDB"
        + ("" if "duckdb" in reports else " (not installed)"),
        **at_most(to_peer, 1.0, "peer"),  # type: ignore[arg-type]
    )
    yield Row(
        workload=f"{NAME}, peak memory",
        unit="MB",
        limit=_middle(reports, "limit", "peak", _MB),
        peer=_middle(reports, "duckdb", "peak", _MB),
        ours=_middle(reports, "ours", "peak", _MB) or 0.0,
        note="whole process, libraries included",
    )


def _ratio(reports: dict[str, list[dict[str, Any]]], other: str) -> float | None:
    """Our CPU time over another's, the median of the runs taken in turn."""
    if other not in reports:
        return None
    pairs = zip(reports["ours"], reports[other], strict=True)
    return median(ours["cpu"] / theirs["cpu"] for ours, theirs in pairs)


def _run(name: str, lake: str) -> dict[str, Any] | None:
    command = [sys.executable, "-m", "benchmarks.day_queries", name, lake]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode == _NOT_INSTALLED:
        return None
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2_000:]}")
    return json.loads(done.stdout)


def _middle(
    reports: dict[str, list[dict[str, Any]]], name: str, what: str, unit: float = 1.0
) -> float | None:
    if name not in reports:
        return None
    return median(report[what] for report in reports[name]) / unit


def _check_agreement(reports: dict[str, list[dict[str, Any]]]) -> None:
    for report in reports.get("duckdb", []):
        ours = reports["ours"][0]["sums"]
        pairs = zip(ours, report["sums"], strict=True)
        if any(abs(a - b) > 1e-9 * abs(a) for a, b in pairs):
            raise RuntimeError(f"the answers differ: {ours} and {report['sums']}")
