"""compaction: an hour of five-minute files made one, in bytes a snapshot and rows per CPU-second.

The books of ``publishing``, 76 levels a row and three changed between two snapshots 10 s apart, in
twelve files as a collector publishes them. Ours is ``merge_hour`` with all it promises: every input
proved by its digest and checksums, sorting, writing at the compacted level, reading back, comparing
value for value, listing. The limit sorts and writes the same rows at the same level, with no
promise at all. The bound on bytes is the design's: 50 a snapshot once compacted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

import polars as pl
import pyarrow.parquet as pq

from benchmarks.harness import Row, Scale, at_least, run_in_turn
from benchmarks.publishing import snapshot_rows
from surveillance_core.lake.compaction import COMPRESSION_LEVEL, merge_hour
from surveillance_core.lake.compaction_plan import HourMerge, plan_merges
from surveillance_core.lake.layout import bucket_file
from surveillance_core.lake.manifest import read_manifest
from surveillance_core.lake.publish import Lake, publish_rows, rows_to_table
from surveillance_core.lake.schemas import SNAPSHOTS
from surveillance_core.markets import Venue

NAME = "compaction"
_START = datetime(2026, 9, 1, tzinfo=UTC)
_BUCKETS = 12
_A_BUCKET = 30
_BYTES = 50.0
_SHARE = 0.5


def measure(scale: Scale) -> Iterator[Row]:
    """Rows: bytes per snapshot, snapshots per CPU-second."""
    markets = scale.pick(50, 300)
    with TemporaryDirectory() as directory:
        root = Path(directory)
        collected = Lake(str(root / "collected"), "simulated")
        rows = snapshot_rows(markets, _BUCKETS * _A_BUCKET)
        a_bucket = markets * _A_BUCKET
        for number in range(_BUCKETS):
            moment = _START + timedelta(minutes=5 * number)
            part = rows[number * a_bucket : (number + 1) * a_bucket]
            publish_rows(
                collected,
                SNAPSHOTS,
                bucket_file(SNAPSHOTS, Venue.POLYMARKET, moment, "b0", 0, 1),
                Venue.POLYMARKET,
                _START.date(),
                rows_to_table(SNAPSHOTS, part),
                writer="benchmark",
                time_column="ts_recv",
            )
        merge = _merge(collected)
        paths = [collected.store.scan_path(entry.path) for entry in merge.inputs]
        sizes: list[int] = []

        def ours() -> Callable[[], object]:
            copy = root / f"copy-{len(sizes)}"
            copytree(collected.store.root, copy)
            lake = Lake(str(copy))

            def run() -> None:
                merged = merge_hour(lake, _merge(lake))
                sizes.append(merged.file.bytes if merged.file is not None else 0)

            return run

        def limit() -> None:
            table = pl.read_parquet(paths).sort(*SNAPSHOTS.sort_by).to_arrow()
            pq.write_table(
                table,
                root / "limit.parquet",
                compression="zstd",
                compression_level=COMPRESSION_LEVEL,
                use_dictionary=list(SNAPSHOTS.ids),  # pyright: ignore[reportArgumentType]
            )

        timings = run_in_turn({"limit": lambda: limit, "ours": ours}, scale.pick(3, 5))
    before = sum(entry.bytes for entry in merge.inputs) / len(rows)
    after = sizes[-1] / len(rows)
    yield Row(
        workload="bytes a snapshot, compacted",
        unit="bytes",
        ours=after,
        note=f"{before:.1f} in the {len(merge.inputs)} files before; {len(rows):,} snapshots",
        bound=f"<= {_BYTES:.0f} bytes",
        holds=after <= _BYTES,
    )
    yield Row(
        workload=NAME,
        unit="snapshots/CPU-s",
        limit=timings.rate("limit", len(rows)),
        ours=timings.rate("ours", len(rows)),
        note="limit: the same rows sorted and written, nothing proved",
        **at_least(1 / timings.ratio("limit", "ours"), _SHARE, "limit"),  # type: ignore[arg-type]
    )


def _merge(lake: Lake) -> HourMerge:
    manifest = read_manifest(lake.store, Venue.POLYMARKET, _START.date())
    [merge] = plan_merges(manifest, _START + timedelta(hours=9), timedelta())
    return merge
