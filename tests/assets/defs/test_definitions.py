"""The code location: what it holds, and what a tick, a run and a schedule of it do."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from surveillance_collector.recorder import Recorder
from surveillance_collector.rows import Reason, snapshot_row
from surveillance_core.books import BookState, OrderBook
from surveillance_core.lake.manifest import read_manifest
from surveillance_core.lake.publish import Lake, publish_universe
from surveillance_core.lake.read import scan_table
from surveillance_core.lake.schemas import COVERAGE, SNAPSHOTS, STATS
from surveillance_core.markets import FeeTerms, Market, Outcome, Venue

pytestmark = pytest.mark.dagster

TODAY = datetime.now(UTC).date()
YESTERDAY = TODAY - timedelta(days=1)


@pytest.fixture
def location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    """The real definitions over a lake of this test."""
    for name in list(os.environ):
        if name.startswith("SURVEILLANCE__"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SURVEILLANCE__DATA_DIR", str(tmp_path / "lake"))
    from surveillance_assets.definitions import defs

    return defs()


def _key(day: date) -> str:
    return f"{day}|polymarket"


def _market(number: int) -> Market:
    return Market(
        venue=Venue.POLYMARKET, market_id=f"m{number}", title=f"Will it rain <b>{number}</b>?",
        outcomes=(Outcome(f"y{number}", "Yes"), Outcome(f"n{number}", "No")), tick_size=0.01,
        min_order_size=5.0, neg_risk=False, groups=(), fee_terms=FeeTerms.UNKNOWN, fees=None,
        rewards=None, close_hint=None, volume_24h=None, liquidity=None, category=None,
        rules_hash="", fetched_at=datetime.now(UTC),
    )  # fmt: skip


def _collect(lake: Lake, day: date, *, hour: int = 3, markets: int = 2) -> None:
    """Publish ten minutes of a day as the collector does."""
    start = int(datetime(day.year, day.month, day.day, hour, tzinfo=UTC).timestamp() * 1e9)
    recorder = Recorder(
        lake, Venue.POLYMARKET, "0", bucket_us=300_000_000, flush_rows=10_000, flush_us=0
    )
    for number in range(markets):
        state = BookState(f"m{number}", f"y{number}", 100)
        state.book = OrderBook({4000: 10.0}, {4200 + 100 * number: 20.0})
        for second in range(0, 600, 60):
            at = start + second * 1_000_000_000
            row = snapshot_row(state, at, 50, Reason.HEARTBEAT)
            recorder.add([(SNAPSHOTS, at // 1000, row)], at // 1000)
        span = (f"m{number}", f"y{number}", start // 1000, start // 1000 + 600_000_000)
        recorder.add([(COVERAGE, start // 1000, (*span, "trusted", None))], start // 1000)
    assert recorder.flush() == []


def _lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), "real")


def test_the_location_can_be_loaded_and_holds_the_slice(location: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(location)
    graph = location.resolve_asset_graph()
    keys = {key.to_user_string(): graph.get(key) for key in graph.get_all_asset_keys()}
    assert set(keys) == {
        "universe", "orderbook_snapshots", "trades", "coverage", "lifecycle", "stats"
    }  # fmt: skip
    stats = keys["stats"]
    assert {k.to_user_string() for k in stats.parent_keys} == {
        "universe", "orderbook_snapshots", "coverage", "trades"
    }  # fmt: skip
    for name, node in keys.items():
        assert node.partitions_def is not None, name
        assert node.description, f"{name} has no description"
        assert node.owners == ["team:surveillance"], name
        assert node.group_name in {"discovery", "collection", "statistics"}
        assert node.kinds, f"{name} has no kind"
    assert not keys["orderbook_snapshots"].is_materializable
    columns = keys["stats"].metadata["dagster/column_schema"].value.columns
    assert [c.name for c in columns] == [c.name for c in STATS.columns]
    assert all(c.description for c in columns)


def _sensor_tick(location: dg.Definitions, cursor: str | None, instance: dg.DagsterInstance):
    repository = location.get_repository_def()
    sensor = repository.get_sensor_def("collected_files")
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, repository_def=repository,
        resources=repository.get_top_level_resources(),
    ) as context:  # fmt: skip
        return sensor.evaluate_tick(context)


def test_a_tick_reports_files_and_requests_the_day_and_the_next_tick_does_not(
    location: dg.Definitions, tmp_path: Path
) -> None:
    lake = _lake(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        empty = _sensor_tick(location, None, instance)
        assert not empty.run_requests
        assert not empty.asset_events
        _collect(lake, YESTERDAY)
        tick = _sensor_tick(location, empty.cursor, instance)
        assert [r.partition_key for r in tick.run_requests] == [_key(YESTERDAY)]
        reported = {e.asset_key.to_user_string(): e for e in tick.asset_events}
        assert set(reported) == {"orderbook_snapshots", "coverage"}
        snapshots = reported["orderbook_snapshots"]
        assert snapshots.partition == _key(YESTERDAY)
        assert snapshots.metadata["dagster/partition_row_count"].value == 20
        again = _sensor_tick(location, tick.cursor, instance)
        assert not again.run_requests
        assert not again.asset_events
        assert len(json.loads(again.cursor)) == 1


def _run(location: dg.Definitions, asset: str, keys: list[str], instance: dg.DagsterInstance):
    job = location.resolve_implicit_global_asset_job_def()
    tags = (
        {
            "dagster/asset_partition_range_start": keys[0],
            "dagster/asset_partition_range_end": keys[1],
        }
        if len(keys) == 2
        else {}
    )
    return job.execute_in_process(
        partition_key=keys[0] if len(keys) == 1 else None,
        asset_selection=[dg.AssetKey(asset)],
        instance=instance,
        tags=tags,
        raise_on_error=False,
    )


def test_a_run_publishes_statistics_and_its_checks_pass(
    location: dg.Definitions, tmp_path: Path
) -> None:
    lake = _lake(tmp_path)
    _collect(lake, YESTERDAY)
    publish_universe(lake, Venue.POLYMARKET, YESTERDAY, [_market(0), _market(1)], writer="test")
    with dg.DagsterInstance.ephemeral() as instance:
        result = _run(location, "stats", [_key(YESTERDAY)], instance)
        assert result.success
        checks = {e.check_name: e for e in result.get_asset_check_evaluations()}
        assert {name: e.passed for name, e in checks.items()} == {
            "schema_holds": True, "has_rows": True, "up_to_date": True
        }  # fmt: skip
        event = result.asset_materializations_for_node("stats")[0]
        assert event.metadata["markets"].value == 2
        assert "&lt;b&gt;" in event.metadata["top_by_volume"].value, "titles must be escaped"
    stats = scan_table(lake, STATS, Venue.POLYMARKET, [YESTERDAY]).frame.collect()
    assert stats["spread_mean"].to_list() == pytest.approx([0.02, 0.03])
    assert stats["covered_seconds"].to_list() == [600.0, 600.0]
    assert stats["title"].to_list() == ["Will it rain <b>0</b>?", "Will it rain <b>1</b>?"]


def test_a_range_run_publishes_each_day_apart(location: dg.Definitions, tmp_path: Path) -> None:
    lake = _lake(tmp_path)
    before = YESTERDAY - timedelta(days=1)
    _collect(lake, before, markets=1)
    _collect(lake, YESTERDAY, markets=3)
    with dg.DagsterInstance.ephemeral() as instance:
        assert _run(location, "stats", [_key(before), _key(YESTERDAY)], instance).success
    for day, rows in ((before, 1), (YESTERDAY, 3)):
        entries = read_manifest(lake.store, Venue.POLYMARKET, day).files(STATS.name)
        assert [e.rows for e in entries] == [rows]


def test_a_day_without_data_fails_its_check_and_says_which(
    location: dg.Definitions, tmp_path: Path
) -> None:
    _lake(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        result = _run(location, "stats", [_key(YESTERDAY)], instance)
        failed = [e for e in result.get_asset_check_evaluations() if not e.passed]
        assert [e.check_name for e in failed] == ["has_rows"]
        assert failed[0].metadata["empty"].value == [_key(YESTERDAY)]


def test_a_cut_file_is_quarantined_and_the_rest_is_computed(
    location: dg.Definitions, tmp_path: Path
) -> None:
    lake = _lake(tmp_path)
    _collect(lake, YESTERDAY)
    entry = read_manifest(lake.store, Venue.POLYMARKET, YESTERDAY).files(SNAPSHOTS.name)[0]
    path = Path(lake.store.scan_path(entry.path))
    path.write_bytes(path.read_bytes()[: entry.bytes // 2])
    with dg.DagsterInstance.ephemeral() as instance:
        result = _run(location, "stats", [_key(YESTERDAY)], instance)
        assert result.success
    stats = scan_table(lake, STATS, Venue.POLYMARKET, [YESTERDAY]).frame.collect()
    assert stats["covered_seconds"].to_list() == [300.0, 300.0], "only the whole file's minutes"
    assert not path.exists()


def test_the_universe_of_a_past_day_cannot_be_found_today(
    location: dg.Definitions, tmp_path: Path
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = _run(location, "universe", [_key(YESTERDAY)], instance)
        assert not result.success


@pytest.mark.parametrize(
    ("name", "day", "suffix"), [("day_close", YESTERDAY, "close"), ("daily_scan", TODAY, "scan")]
)
def test_schedules_ask_for_the_right_day_of_enabled_venues(
    location: dg.Definitions, name: str, day: date, suffix: str
) -> None:
    repository = location.get_repository_def()
    schedule = repository.get_schedule_def(name)
    at = datetime(TODAY.year, TODAY.month, TODAY.day, 0, 30, tzinfo=UTC)
    with dg.build_schedule_context(
        scheduled_execution_time=at, resources=repository.get_top_level_resources(),
        repository_def=repository,
    ) as context:  # fmt: skip
        requests = schedule.evaluate_tick(context).run_requests
    assert [(r.partition_key, r.run_key) for r in requests] == [
        (_key(day), f"{_key(day)}@{suffix}")
    ]


def test_the_liveness_check_names_the_silent_venue(
    location: dg.Definitions, tmp_path: Path
) -> None:
    lake = _lake(tmp_path)
    _collect(lake, YESTERDAY, hour=0)
    job = location.resolve_job_def("liveness")
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance)
        (evaluation,) = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert list(evaluation.metadata["silent"].value) == ["polymarket"]


def test_only_the_defs_folder_imports_dagster() -> None:
    package = Path(__file__).resolve().parents[3] / "surveillance_assets"
    importers = {
        path.relative_to(package).parts[0]
        for path in package.rglob("*.py")
        if "import dagster" in path.read_text() or "from dagster" in path.read_text()
    }
    assert importers == {"defs", "definitions.py"}
