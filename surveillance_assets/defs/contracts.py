"""Tables' columns as the UI shows them, and the checks that follow from them.

Belongs here: what turns ``surveillance_core.lake.schemas`` into Dagster's terms, for every table.
Concept: https://docs.dagster.io/guides/test/asset-checks
"""

import dagster as dg
import polars as pl

from surveillance_assets.defs.lake_io import LakeResource
from surveillance_assets.defs.partitions import venue_days
from surveillance_core.lake.schemas import Table

OWNERS = ["team:surveillance"]


def table_metadata(table: Table) -> dict[str, dg.MetadataValue | str]:
    """Definition metadata of a table's asset: its columns, before it was ever materialised."""
    columns = [
        dg.TableColumn(
            name=column.name,
            type=str(column.type),
            description=column.description,
            constraints=dg.TableColumnConstraints(nullable=column.nullable),
        )
        for column in table.columns
    ]
    return {
        "dagster/column_schema": dg.MetadataValue.table_schema(dg.TableSchema(columns=columns)),
        "dagster/table_name": table.name,
        "dagster/storage_kind": "parquet",
    }


def table_checks(table: Table) -> list[dg.AssetChecksDefinition]:
    """Blocking checks of every table that an asset publishes: its schema holds, it has rows."""

    @dg.asset_check(
        asset=table.name,
        name="schema_holds",
        description="Published columns, types and nullability are the table's contract.",
        blocking=True,
        partitions_def=venue_days,
    )
    def schema_holds(
        context: dg.AssetCheckExecutionContext, source: LakeResource
    ) -> dg.AssetCheckResult:
        wrong: list[str] = []
        for key in _partition_keys(context):
            frame = source.scan(table, key).frame
            found, wanted = frame.collect_schema(), table.polars
            wrong += [
                f"{key}: {name} is {found.get(name)}, not {kind}"
                for name, kind in wanted.items()
                if found.get(name) != kind
            ]
            required = [c.name for c in table.columns if not c.nullable]
            nulls = frame.select(pl.col(required).null_count()).collect().row(0, named=True)
            wrong += [f"{key}: {name} has {n} nulls" for name, n in nulls.items() if n]
        return dg.AssetCheckResult(
            passed=not wrong, metadata={"wrong": wrong or "nothing", "table": table.name}
        )

    @dg.asset_check(
        asset=table.name,
        name="has_rows",
        description="The venue-day holds at least one row.",
        blocking=True,
        partitions_def=venue_days,
    )
    def has_rows(
        context: dg.AssetCheckExecutionContext, source: LakeResource
    ) -> dg.AssetCheckResult:
        counts = {key: source.scan(table, key).rows for key in _partition_keys(context)}
        return dg.AssetCheckResult(
            passed=all(counts.values()),
            metadata={
                "rows": sum(counts.values()),
                "empty": [k for k, n in counts.items() if not n],
            },
        )

    return [schema_holds, has_rows]


def _partition_keys(context: dg.AssetCheckExecutionContext) -> list[str]:
    return sorted(str(key) for key in context.op_execution_context.partition_keys)
