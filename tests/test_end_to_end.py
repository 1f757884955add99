"""The main job, all of it, as the README's first command runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
README_READERS = re.findall(
    r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.DOTALL
)


@pytest.mark.process
@pytest.mark.timeout(240)
def test_demo_once_runs_the_whole_job_and_agrees_with_the_truth(tmp_path: Path) -> None:
    data = tmp_path / "lake"
    done = subprocess.run(
        [sys.executable, "-m", "surveillance_assets.cli", "demo", "--once", "--minutes", "0.4",
         "--json", "--data-dir", str(data)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=230, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["books_compared"] > 100
    assert summary["books_different"] == 0
    assert summary["trades_matched"] > 0
    assert summary["trades_missing"] == summary["trades_extra"] == 0
    assert summary["stats_rows"] == summary["markets"] > 0
    assert summary["hash"]["due"] == summary["hash"]["matched"] > 100
    assert summary["mirror_mismatched"] == 0

    for block in README_READERS:
        exec(compile(block.replace('"data/', f'"{data}/'), "README.md", "exec"), {})  # noqa: S102
    snapshots = duckdb.sql(f"select count(*) from '{data}/orderbook_snapshots/**/*.parquet'")
    assert snapshots.fetchall() == [(summary["snapshots"],)]
    stats = pl.read_parquet(f"{data}/stats/**/*.parquet")
    assert stats.height == summary["stats_rows"]


def test_the_readme_reads_the_lake_in_one_line_each() -> None:
    for block in README_READERS:
        lines = [line for line in block.splitlines() if line and not line.startswith("import")]
        assert len(lines) == 1, block
    assert {"duckdb", "polars"} <= {block.split()[1] for block in README_READERS}
