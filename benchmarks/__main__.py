"""``python -m benchmarks``: every workload, one table; exit code 1 where a bound is missed."""

from __future__ import annotations

import argparse
import sys

import msgspec

from benchmarks import (
    capturing,
    compaction,
    daily_statistics,
    decoding,
    kalshi_decoding,
    publishing,
    simulated_venue,
    snapshots,
    universe,
)
from benchmarks.harness import Row, Scale

WORKLOADS = {
    module.NAME: module.measure
    for module in (
        decoding,
        kalshi_decoding,
        capturing,
        snapshots,
        publishing,
        compaction,
        daily_statistics,
        universe,
        simulated_venue,
    )
}
_HEADS = ("workload", "unit", "limit", "peer", "ours", "ratio", "bound", "holds")


def main() -> int:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--quick", action="store_true", help="a smaller run, under a minute")
    parser.add_argument("--only", metavar="NAME", help="workloads whose name contains this")
    arguments = parser.parse_args()
    wanted = (arguments.only or "").lower()
    chosen = {name: run for name, run in WORKLOADS.items() if wanted in name.lower()}
    if not chosen:
        parser.error(f"no workload named {arguments.only!r}; there are: {', '.join(WORKLOADS)}")
    rows: list[Row] = []
    for name, measure in chosen.items():
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += measure(Scale(quick=arguments.quick))
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
    else:
        _print_table(rows)
    return 1 if any(row.holds is False for row in rows) else 0


def _print_table(rows: list[Row]) -> None:
    cells = [_HEADS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADS))]
    for number, line in enumerate(cells):
        print(" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
        if not number:
            print("-|-".join("-" * width for width in widths))
    print()
    for row in rows:
        if row.note:
            print(f"{row.workload}: {row.note}")


def _cells(row: Row) -> tuple[str, ...]:
    holds = {True: "yes", False: "NO", None: "-"}[row.holds]
    figures = (_figure(value) for value in (row.limit, row.peer, row.ours, row.ratio))
    return (row.workload, row.unit, *figures, row.bound or "-", holds)


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
