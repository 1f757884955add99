"""The main job: headless against the truth, and with the UI up."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl

from scorecard.figure import REPOSITORY, Figure, run

SUBJECT = "main job"
UI_SECONDS = 90.0
STATS_SECONDS = 180.0


def measure() -> Iterator[Figure]:
    """The demo once for two minutes, the README's readers on its lake, and the demo that stays."""
    with tempfile.TemporaryDirectory(prefix="surveillance-scorecard-") as directory:
        yield from _once(Path(directory) / "once")
        yield from _live(Path(directory) / "live")


def _once(data: Path) -> Iterator[Figure]:
    done = run(
        "surveillance", "demo", "--once", "--minutes", "2", "--json", "--data-dir", str(data)
    )
    yield Figure(SUBJECT, "demo --once --minutes 2: exit code", str(done.code), "0", done.code == 0)
    if done.code:
        return
    summary = json.loads(done.output)
    for name, bound, holds in (
        ("books_compared", "> 1,000", summary["books_compared"] > 1_000),
        ("books_different", "0", summary["books_different"] == 0),
        ("trades_matched", "> 100", summary["trades_matched"] > 100),
        ("trades_missing", "0", summary["trades_missing"] == 0),
        ("trades_extra", "0", summary["trades_extra"] == 0),
        ("stats_rows", "= markets", summary["stats_rows"] == summary["markets"] > 0),
        ("mirror_mismatched", "0", summary["mirror_mismatched"] == 0),
    ):
        yield Figure(SUBJECT, f"demo --once: {name}", f"{summary[name]:,}", bound, holds)
    tally = summary["hash"]
    yield Figure(
        SUBJECT,
        "demo --once: book hashes matched / due",
        f"{tally['matched']:,} / {tally['due']:,}",
        "all",
        tally["matched"] == tally["due"] > 0,
    )
    counted = len(duckdb.read_parquet(f"{data}/orderbook_snapshots/**/*.parquet").fetchall())
    scanned = pl.scan_parquet(f"{data}/orderbook_snapshots/**/*.parquet", hive_partitioning=False)
    length = scanned.select(pl.len()).collect().item()
    yield Figure(
        SUBJECT,
        "snapshots read in one line by DuckDB / Polars",
        f"{counted:,} / {length:,}",
        f"{summary['snapshots']:,} each",
        counted == length == summary["snapshots"],
    )


def _live(data: Path) -> Iterator[Figure]:
    """Seconds until the UI answers and until the sensor's statistics stand."""
    log = data.parent / "demo.log"
    with log.open("w") as output:
        started = time.monotonic()
        demo = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "surveillance_assets.cli", "demo", "--data-dir", str(data)],
            cwd=REPOSITORY,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    marks: dict[str, float] = {}
    while time.monotonic() - started < STATS_SECONDS + 30 and len(marks) < 2:
        text = log.read_text()
        if "Dagster UI" in text:
            marks.setdefault("ui", time.monotonic() - started)
        if re.search("markets, materialised by Dagster", text):
            marks.setdefault("stats", time.monotonic() - started)
        if demo.poll() is not None:
            break
        time.sleep(0.25)
    demo.send_signal(signal.SIGTERM)
    code = demo.wait(60)
    for what, name, bound in (
        ("demo: seconds until the UI is up", "ui", UI_SECONDS),
        ("demo: seconds until stats are materialised without a click", "stats", STATS_SECONDS),
    ):
        took = marks.get(name)
        shown = f"{took:.0f}" if took is not None else "never"
        yield Figure(SUBJECT, what, shown, f"<= {bound:.0f}", took is not None and took <= bound)
    yield Figure(SUBJECT, "demo: exit code after SIGTERM", str(code), "0", code == 0)
