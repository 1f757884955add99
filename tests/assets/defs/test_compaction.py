"""The compaction job and its schedule, and that the sensor sees nothing new in compacted files."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from surveillance_core.lake.layout import bucket_file
from surveillance_core.lake.manifest import read_manifest
from surveillance_core.lake.publish import Lake, publish_rows, rows_to_table
from surveillance_core.lake.read import scan_table
from surveillance_core.lake.schemas import COVERAGE, SNAPSHOTS, Table
from surveillance_core.locks import process_lock
from surveillance_core.markets import Venue

pytestmark = pytest.mark.dagster

POLYMARKET = Venue.POLYMARKET
DAY = datetime.now(UTC).date() - timedelta(days=2)
KEY = f"{DAY}|polymarket"


@pytest.fixture
def location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    """The real definitions over a lake of this test."""
    for name in list(os.environ):
        if name.startswith("SURVEILLANCE__"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SURVEILLANCE__DATA_DIR", str(tmp_path / "lake"))
    from surveillance_assets.definitions import defs

    return defs()


def _publish(lake: Lake, table: Table, minute: int, rows: list[tuple[object, ...]]) -> None:
    moment = datetime(DAY.year, DAY.month, DAY.day, 3, minute, tzinfo=UTC)
    publish_rows(
        lake, table, bucket_file(table, POLYMARKET, moment, "0", 0, 1), POLYMARKET, DAY,
        rows_to_table(table, rows), writer="collector-0", time_column=table.sort_by[-1],
    )  # fmt: skip


def _collect(lake: Lake, *minutes: int) -> None:
    start = int(datetime(DAY.year, DAY.month, DAY.day, 3, tzinfo=UTC).timestamp() * 1_000_000)
    for minute in minutes:
        at = start + minute * 60_000_000
        book = (
            at, None, "m", "o", 1, 0.4, 1.0, 0.5, 1.0, 0.45, 0.1, [0.4], [1.0], [0.5], [1.0],
            *[None] * 6, 0.01, 0, "ok", "verified", "change",
        )  # fmt: skip
        _publish(lake, SNAPSHOTS, minute, [book])
        _publish(lake, COVERAGE, minute, [("m", "o", at, at + 300_000_000, "trusted", None)])


def _tick(location: dg.Definitions, cursor: str | None, instance: dg.DagsterInstance):
    repository = location.get_repository_def()
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, repository_def=repository,
        resources=repository.get_top_level_resources(),
    ) as context:  # fmt: skip
        return repository.get_sensor_def("collected_files").evaluate_tick(context)


def _run(location: dg.Definitions, instance: dg.DagsterInstance, **config: object):
    return location.resolve_job_def("compaction").execute_in_process(
        instance=instance,
        run_config={"ops": {"compact_lake": {"config": config}}},
        raise_on_error=False,
    )


def test_the_sensor_neither_reports_nor_requests_what_was_only_compacted(
    location: dg.Definitions, tmp_path: Path
) -> None:
    lake = Lake(str(tmp_path / "lake"), "real")
    _collect(lake, 0, 5, 10)
    with dg.DagsterInstance.ephemeral() as instance:
        first = _tick(location, None, instance)
        assert [request.partition_key for request in first.run_requests] == [KEY]
        assert _run(location, instance).success
        assert len(read_manifest(lake.store, POLYMARKET, DAY).entries) == 2
        second = _tick(location, first.cursor, instance)
        assert (second.run_requests, second.asset_events) == ([], [])
        _collect(lake, 15)
        third = _tick(location, second.cursor, instance)
        assert [request.partition_key for request in third.run_requests] == [KEY]
        assert len(third.asset_events) == 2


def test_statistics_of_a_compacted_day_are_still_up_to_date(
    location: dg.Definitions, tmp_path: Path
) -> None:
    lake = Lake(str(tmp_path / "lake"), "real")
    _collect(lake, 0, 5, 10)
    job = location.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        options = {"partition_key": KEY, "instance": instance}
        assert job.execute_in_process(asset_selection=[dg.AssetKey("stats")], **options).success
        assert _run(location, instance).success
        check = dg.AssetCheckKey(dg.AssetKey("stats"), "up_to_date")
        checked = location.resolve_implicit_global_asset_job_def().get_subset(
            asset_check_selection={check}
        )
        result = checked.execute_in_process(partition_key=KEY, instance=instance)
        assert [e.passed for e in result.get_asset_check_evaluations()] == [True]


def test_a_run_that_only_deletes_leaves_hours_as_they_are(
    location: dg.Definitions, tmp_path: Path
) -> None:
    lake = Lake(str(tmp_path / "lake"), "real")
    _collect(lake, 0, 5)
    with dg.DagsterInstance.ephemeral() as instance:
        assert _run(location, instance, delete_only=True).success
    assert scan_table(lake, SNAPSHOTS, POLYMARKET, [DAY]).files == 2


def test_a_run_beside_another_compaction_fails_and_says_so(
    location: dg.Definitions, tmp_path: Path
) -> None:
    lake = Lake(str(tmp_path / "lake"), "real")
    _collect(lake, 0)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        process_lock(lake.store, "compaction", "taken", "Wait."),
    ):
        result = _run(location, instance)
        [failure] = [event for event in result.all_node_events if event.is_step_failure]
    assert "another compaction is at work" in str(failure.step_failure_data.user_failure_data)


@pytest.mark.parametrize(("weekday", "delete_only"), [(6, False), (0, True)])
def test_sundays_compact_and_mondays_delete(
    location: dg.Definitions, weekday: int, delete_only: bool
) -> None:
    repository = location.get_repository_def()
    schedule = repository.get_schedule_def("weekly_compaction")
    at = datetime(2026, 9, 7, 3, 47, tzinfo=UTC) + timedelta(days=weekday)
    with dg.build_schedule_context(
        scheduled_execution_time=at, repository_def=repository,
        resources=repository.get_top_level_resources(),
    ) as context:  # fmt: skip
        [request] = schedule.evaluate_tick(context).run_requests
    assert request.run_config["ops"]["compact_lake"]["config"] == {"delete_only": delete_only}
    assert schedule.cron_schedule == ["17 3 * * 0", "47 3 * * 1"]
