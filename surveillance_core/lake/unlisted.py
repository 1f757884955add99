"""Files in their place in the lake that no manifest lists: whoever published them died before that.

Readers of the manifest do not see them, but whoever reads the tree by a pattern does.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from surveillance_core.lake.layout import day_dir, parse_part_shard
from surveillance_core.lake.manifest import read_manifest
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.schemas import Table
from surveillance_core.markets import Venue


def put_away_unlisted(
    lake: Lake, venue: Venue, day: date, tables: Iterable[Table], shard: str
) -> list[str]:
    """Move a shard's unlisted files of a day out of the lake; their paths.

    Only for who holds the shard's lock and has the files' rows: nobody may be publishing.
    """
    manifest = read_manifest(lake.store, venue, day)
    listed = {entry.path for entry in (*manifest.entries, *manifest.former, *manifest.quarantined)}
    moved: list[str] = []
    for table in tables:
        root = day_dir(table.name, venue, day)
        for hour in lake.store.list_names(root):
            for name in lake.store.list_names(f"{root}/{hour}"):
                path = f"{root}/{hour}/{name}"
                if path not in listed and parse_part_shard(path) == shard:
                    lake.store.quarantine(path)
                    moved.append(path)
    return moved
