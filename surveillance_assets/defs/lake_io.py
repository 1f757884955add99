"""How assets reach the lake: the resources, and the I/O manager of every table.

Belongs here: loading a venue-day (or a range of them) as LazyFrames, publishing one file a key.
Does not belong here: paths and column lists, which are ``surveillance_core.lake``'s.
Concept: https://docs.dagster.io/guides/build/io-managers
"""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import dagster as dg
import polars as pl

from surveillance_assets.analytics.universe import UNIVERSE_SCHEMA, universe_frame
from surveillance_assets.defs.partitions import venue_day
from surveillance_core.lake.layout import UNIVERSE, day_file
from surveillance_core.lake.publish import Lake, publish_day
from surveillance_core.lake.read import TableScan, read_universe, scan_table
from surveillance_core.lake.schemas import COLLECTED, TABLES, Table
from surveillance_core.lake.store import ObjectStoreOptions
from surveillance_core.settings import Settings, load_settings

WRITER = "dagster"
"""Name of the manifest segment the assets append to."""


class LakeResource(dg.ConfigurableResource[None]):
    """The settings and the lake they name, opened on first use."""

    config_path: str = ""

    @cached_property
    def settings(self) -> Settings:
        """Settings from file and environment."""
        return load_settings(Path(self.config_path) if self.config_path else None).settings

    @cached_property
    def lake(self) -> Lake:
        """The lake, claimed for the kind of data the settings name."""
        storage = self.settings.storage
        options = ObjectStoreOptions(storage.s3_endpoint_url, storage.s3_region)
        return Lake(self.settings.data_dir, self.settings.origin, options)

    def scan(self, table: Table, key: str, *, deep: bool = False) -> TableScan:
        """A table's rows of one venue-day; damaged files of the collector are quarantined.

        Where ``deep``, their content is compared with its digest and not only their size. A file
        of an asset's own is replaced in place, so for a moment its size is not the listed one:
        that is left to the next materialisation.
        """
        venue, day = venue_day(key)
        return scan_table(self.lake, table, venue, [day], quarantine=table in COLLECTED, deep=deep)

    def table_path(self, table: Table, key: str) -> str:
        """Where a table's file of a venue-day lies."""
        venue, day = venue_day(key)
        return self.lake.store.scan_path(day_file(table, venue, day))


class LakeIOManager(dg.ConfigurableIOManager):
    """Tables in as LazyFrames with ``venue`` and ``date``, out as one published file a key."""

    source: LakeResource

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:
        """Rows of all the run's keys of the upstream table."""
        keys = _keys(context.asset_partition_keys if context.has_asset_partitions else [])
        name = context.asset_key.path[-1]
        frames: list[pl.LazyFrame] = []
        for key in keys:
            venue, day = venue_day(key)
            if name == UNIVERSE:
                markets = read_universe(self.source.lake, venue, day) or []
                frames.append(universe_frame(markets, day).lazy())
                continue
            scan = self.source.scan(TABLES[name], key, deep=TABLES[name] in COLLECTED)
            for damage in scan.damaged:
                context.log.warning("left out and quarantined: %s", damage)
            if scan.damaged_lines:
                context.log.warning(
                    "%s: %d lines of the manifest cannot be used, nor what they list",
                    key, scan.damaged_lines,
                )  # fmt: skip
            frames.append(
                scan.frame.with_columns(
                    pl.lit(venue.value).alias("venue"), pl.lit(day).alias("date")
                )
            )
        if name == UNIVERSE and not frames:
            return pl.LazyFrame(schema=UNIVERSE_SCHEMA)
        return pl.concat(frames)

    def handle_output(self, context: dg.OutputContext, obj: pl.DataFrame) -> None:
        """Publish each key's rows; a key without rows gets an empty file, so that it is known."""
        table = TABLES[context.asset_key.path[-1]]
        keys = _keys(context.asset_partition_keys if context.has_asset_partitions else [])
        for key in keys:
            venue, day = venue_day(key)
            rows = obj.filter((pl.col("venue") == venue.value) & (pl.col("date") == day))
            publish_day(
                self.source.lake, table, venue, day, rows.drop("venue", "date"), writer=WRITER
            )
        context.add_output_metadata(
            {
                "path": dg.MetadataValue.path(self.source.table_path(table, keys[-1])),
                "dagster/row_count": obj.height,
            }
        )


def _keys(keys: Iterable[str]) -> list[str]:
    """The run's keys in order; refuses none, which Dagster would call a success."""
    found = sorted(str(key) for key in keys)
    if not found:
        raise dg.DagsterInvariantViolationError(
            "the run has no partition key: choose a date and a venue, with the range's start "
            "before its end on both axes"
        )
    return found
