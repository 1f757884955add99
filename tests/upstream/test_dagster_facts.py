"""Facts about Dagster 1.13 that the code location rests on: an upgrade fails here first."""

import dagster as dg
import pytest

pytestmark = pytest.mark.dagster

DAYS = dg.DailyPartitionsDefinition(start_date="2026-01-01", end_date="2026-01-05")


def _venue_days(venues: list[str]) -> dg.MultiPartitionsDefinition:
    return dg.MultiPartitionsDefinition(
        {"date": DAYS, "venue": dg.StaticPartitionsDefinition(venues)}
    )


def _keys_of_range(venues: list[str], start: str, end: str) -> list[str]:
    seen: list[str] = []

    @dg.asset(partitions_def=_venue_days(venues), backfill_policy=dg.BackfillPolicy.single_run())
    def table(context: dg.AssetExecutionContext) -> None:
        seen.extend(str(key) for key in context.partition_keys)

    tags = {
        "dagster/asset_partition_range_start": start,
        "dagster/asset_partition_range_end": end,
    }
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([table], instance=instance, tags=tags)
    return sorted(seen)


def test_a_key_names_its_dimensions_in_alphabetical_order() -> None:
    key = dg.MultiPartitionKey({"venue": "kalshi", "date": "2026-01-02"})
    assert str(key) == "2026-01-02|kalshi"


def test_a_range_is_a_rectangle_of_the_sorted_axes() -> None:
    found = _keys_of_range(
        ["kalshi", "polymarket"], "2026-01-01|polymarket", "2026-01-03|polymarket"
    )
    assert found == [f"2026-01-0{day}|polymarket" for day in (1, 2, 3)]


def test_a_range_over_an_unsorted_axis_is_empty_and_still_succeeds() -> None:
    unsorted = ["polymarket", "kalshi"]
    assert _keys_of_range(unsorted, "2026-01-01|kalshi", "2026-01-03|polymarket") == []


def test_a_blocking_check_stops_what_follows_in_the_same_run() -> None:
    @dg.asset
    def upstream() -> None: ...

    @dg.asset_check(asset=upstream, blocking=True)
    def never() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False)

    @dg.asset(deps=[upstream])
    def downstream() -> None: ...

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [upstream, never, downstream], instance=instance, raise_on_error=False
        )
        materialised = {
            str(event.asset_key.path[-1])
            for event in result.get_asset_materialization_events()
            if event.asset_key
        }
    assert materialised == {"upstream"}


def test_a_partitioned_check_is_given_the_runs_partition() -> None:
    seen: list[str] = []
    partitions = _venue_days(["kalshi", "polymarket"])

    @dg.asset(partitions_def=partitions)
    def table() -> None: ...

    @dg.asset_check(asset=table, partitions_def=partitions)
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        seen.extend(str(key) for key in context.op_execution_context.partition_keys)
        return dg.AssetCheckResult(passed=True)

    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([table, check], partition_key="2026-01-02|kalshi", instance=instance)
    assert seen == ["2026-01-02|kalshi"]


def test_metadata_can_be_given_for_each_key_of_a_range() -> None:
    partitions = _venue_days(["kalshi", "polymarket"])

    @dg.asset(partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run())
    def table(context: dg.AssetExecutionContext) -> None:
        for number, key in enumerate(sorted(context.partition_keys)):
            context.add_asset_metadata({"rows": number}, partition_key=str(key))

    tags = {
        "dagster/asset_partition_range_start": "2026-01-01|kalshi",
        "dagster/asset_partition_range_end": "2026-01-02|kalshi",
    }
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([table], instance=instance, tags=tags)
        rows = {
            event.partition: event.step_materialization_data.materialization.metadata["rows"].value
            for event in result.get_asset_materialization_events()
        }
    assert rows == {"2026-01-01|kalshi": 0, "2026-01-02|kalshi": 1}


def test_a_sensor_result_may_carry_events_run_requests_and_a_cursor_together() -> None:
    @dg.asset(partitions_def=DAYS)
    def table() -> None: ...

    @dg.sensor(target=table)
    def tick() -> dg.SensorResult:
        return dg.SensorResult(
            asset_events=[dg.AssetMaterialization("files", partition="2026-01-01")],
            run_requests=[dg.RunRequest(run_key="k", partition_key="2026-01-01")],
            cursor="c",
        )

    definitions = dg.Definitions(assets=[table], sensors=[tick])
    with dg.DagsterInstance.ephemeral() as instance:
        repository = definitions.get_repository_def()
        context = dg.build_sensor_context(instance=instance, repository_def=repository)
        found = repository.get_sensor_def("tick").evaluate_tick(context)
    assert found.cursor == "c"
    assert [r.run_key for r in found.run_requests] == ["k"]
    assert [e.asset_key.to_user_string() for e in found.asset_events] == ["files"]
