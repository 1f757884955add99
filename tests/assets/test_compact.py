"""``surveillance compact``: what it says, what it changes, and how it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from surveillance_assets.cli import app
from surveillance_assets.compacting import compact_venues
from surveillance_core.lake.layout import bucket_file
from surveillance_core.lake.manifest import ManifestEntry, read_manifest
from surveillance_core.lake.publish import Lake, publish_rows, rows_to_table
from surveillance_core.lake.read import scan_table
from surveillance_core.lake.schemas import TRADES
from surveillance_core.locks import process_lock
from surveillance_core.markets import Venue

runner = CliRunner()
REPOSITORY = Path(__file__).resolve().parents[2]
DAY = date(2026, 9, 1)
Publish = Callable[..., ManifestEntry]


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


@pytest.fixture
def publish(lake: Lake) -> Publish:
    """Publish one file of trades in a bucket of an hour of a venue's day."""

    def published(
        hour: int = 3, minute: int = 0, venue: Venue = Venue.POLYMARKET, day: date = DAY
    ) -> ManifestEntry:
        moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)
        at_us = int(moment.timestamp() * 1_000_000)
        rows = [
            (at_us + n, None, "m", f"o{n % 3}", 0.5, 1.0, "buy", "o", 0.5, None, None)
            for n in range(30)
        ]
        return publish_rows(
            lake, TRADES, bucket_file(TRADES, venue, moment, "0", at_us, at_us), venue, day,
            rows_to_table(TRADES, rows), writer="collector-0", time_column="ts_recv",
        )  # fmt: skip

    return published


def _compact(lake: Lake, *arguments: str, code: int = 0) -> tuple[list[dict[str, Any]], str]:
    """The command's rows and what it said on standard error."""
    command = ["compact", "--data-dir", lake.store.root, "--json", *arguments]
    result = runner.invoke(app, command)
    assert result.exit_code == code, result.output
    return (json.loads(result.stdout)["days"] if result.stdout else []), result.stderr


def _files(lake: Lake) -> set[str]:
    root = Path(lake.store.root)
    return {path.relative_to(root).as_posix() for path in root.rglob("*.*")}


def test_closed_hours_are_compacted_and_what_it_did_is_told(lake: Lake, publish: Publish) -> None:
    entries = [publish(minute=minute) for minute in (0, 5, 10)]
    [row], _ = _compact(lake, "--venue", "polymarket")
    assert (row["venue"], row["date"], row["hours"]) == ("polymarket", "2026-09-01", 1)
    [file] = read_manifest(lake.store, Venue.POLYMARKET, DAY).entries
    assert row["tables"] == {
        "trades": {
            "rows": 90, "files": 3, "bytes": sum(entry.bytes for entry in entries),
            "files_after": 1, "bytes_after": file.bytes,
        }
    }  # fmt: skip
    assert row["snapshot_bytes"] is None
    assert (row["removed_files"], row["waiting_files"]) == (0, 3)
    assert _compact(lake, "--venue", "polymarket")[0] == []
    [row], _ = _compact(lake, "--venue", "polymarket", "--grace-hours", "0")
    assert (row["hours"], row["removed_files"], row["waiting_files"]) == (0, 3, 0)


def test_people_see_a_table_and_then_that_nothing_is_left(lake: Lake, publish: Publish) -> None:
    publish()
    command = ["compact", "--all-venues", "--data-dir", lake.store.root]
    first = runner.invoke(app, command)
    assert (first.exit_code, "compacted" in first.stdout) == (0, True)
    assert "nothing to compact" in runner.invoke(app, command).stdout


def test_venues_and_dates_are_kept_apart(lake: Lake, publish: Publish) -> None:
    other = DAY + timedelta(days=1)
    for venue in Venue:
        for day in (DAY, other):
            publish(venue=venue, day=day)
    [row], _ = _compact(lake, "--venue", "kalshi", "--date", "2026-09-02")
    assert (row["venue"], row["date"]) == ("kalshi", "2026-09-02")
    rows, _ = _compact(lake, "--all-venues")
    assert [(row["date"], row["venue"]) for row in rows] == [
        ("2026-09-01", "kalshi"), ("2026-09-01", "polymarket"), ("2026-09-02", "polymarket"),
    ]  # fmt: skip


def test_a_dry_run_tells_and_changes_nothing(lake: Lake, publish: Publish) -> None:
    for minute in (0, 5):
        publish(minute=minute)
    before = _files(lake)
    [row], _ = _compact(lake, "--all-venues", "--dry-run")
    assert (row["hours"], row["tables"]["trades"]["files"]) == (1, 2)
    assert row["tables"]["trades"]["bytes_after"] is None
    assert _files(lake) == before
    _compact(lake, "--all-venues")
    assert _compact(lake, "--all-venues", "--dry-run")[0] == []
    [row], _ = _compact(lake, "--all-venues", "--dry-run", "--grace-hours", "0")
    assert (row["removed_files"], row["waiting_files"]) == (2, 0)
    assert before < _files(lake)


@pytest.mark.parametrize("arguments", [[], ["--all-venues", "--venue", "kalshi"]])
def test_it_wants_a_venue_or_all(lake: Lake, arguments: list[str]) -> None:
    _, said = _compact(lake, *arguments, code=2)
    assert "name one --venue, or --all-venues" in said


def test_where_there_is_no_lake_none_is_made(tmp_path: Path) -> None:
    result = runner.invoke(app, ["compact", "--all-venues", "--data-dir", str(tmp_path / "typo")])
    assert result.exit_code == 1
    assert "no lake here. Name one with --data-dir" in result.stderr.replace("\n", " ")
    assert not (tmp_path / "typo").exists()


def test_a_second_compaction_is_refused_with_75_and_told_who_holds_the_lock(
    lake: Lake, publish: Publish
) -> None:
    publish()
    with process_lock(lake.store, "compaction", "taken", "Wait."):
        _, said = _compact(lake, "--all-venues", code=75)
        assert '"pid"' in said
        assert "another compaction is at work here" in said
        assert len(_compact(lake, "--all-venues", "--dry-run")[0]) == 1
    assert len(_compact(lake, "--all-venues")[0]) == 1


def test_a_damaged_file_is_named_and_is_no_failure(lake: Lake, publish: Publish) -> None:
    publish()
    bad = publish(minute=5)
    path = Path(lake.store.root) / bad.path
    path.write_bytes(path.read_bytes()[:100])
    [row], _ = _compact(lake, "--all-venues")
    assert row["tables"]["trades"]["files"] == 1
    assert row["damaged"] == [
        f"{bad.path}: 100 bytes where {bad.bytes} were published: the file was cut or replaced"
    ]
    result = runner.invoke(app, ["compact", "--all-venues", "--data-dir", lake.store.root])
    assert result.exit_code == 0
    assert f"left as it is: {bad.path}" in result.stderr


def test_an_hour_that_cannot_be_compacted_fails_the_command_after_the_others(
    lake: Lake, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in (3, 4):
        publish(hour=hour)
    write_table, calls = pq.ParquetWriter.write_table, list[int]()

    def failing(*arguments: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        write_table(*arguments, **options)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", failing)
    [row], said = _compact(lake, "--all-venues", code=1)
    assert row["hours"] == 1
    assert "trades polymarket 2026-09-01 03:00" in row["failed"][0]
    assert "No space left on device" in said
    assert "run it again" in said
    assert _compact(lake, "--all-venues")[0][0]["hours"] == 1


def test_an_interrupt_leaves_every_row_readable(
    lake: Lake, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", interrupted)
        _, said = _compact(lake, "--all-venues", code=1)
    assert "interrupted" in said
    assert scan_table(lake, TRADES, Venue.POLYMARKET, [DAY]).rows == 30
    assert not list(lake.store.staging().iterdir())


def test_what_a_killed_compaction_was_writing_is_cleared_away_and_nothing_else(
    lake: Lake, publish: Publish
) -> None:
    publish()
    own = lake.store.staging() / "compaction_00ff.parquet"
    others = lake.store.staging() / "collector-0_00ff.parquet"
    own.touch()
    others.touch()
    _compact(lake, "--all-venues")
    assert list(lake.store.staging().iterdir()) == [others]


def test_an_hour_is_left_until_the_margin_is_over(lake: Lake, publish: Publish) -> None:
    publish()
    now = datetime(2026, 9, 1, 5, tzinfo=UTC)
    options: dict[str, Any] = {"grace": timedelta(), "clock": lambda: now}
    early = compact_venues(lake, [Venue.POLYMARKET], None, margin=timedelta(minutes=61), **options)
    assert early == []
    assert len(compact_venues(lake, [Venue.POLYMARKET], None, margin=timedelta(hours=1), **options))
