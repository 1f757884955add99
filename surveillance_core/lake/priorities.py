"""The priorities file: what the assets think is worth watching, read by the collector.

It belongs to no day, so no day's manifest lists it: each version replaces the last one whole.
Nothing depends on it but the order of the collector's exploit slots, so a file that cannot be used
is reported and done without.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from surveillance_core.lake.errors import LakeError
from surveillance_core.lake.layout import priorities_file
from surveillance_core.lake.publish import Lake, replace_rows, rows_to_table
from surveillance_core.lake.schemas import PRIORITIES
from surveillance_core.markets import Venue

CLOCK_SKEW = timedelta(minutes=5)
"""How far ahead of the reader's clock the writer's may be."""


class PrioritiesError(LakeError):
    """The priorities cannot be used; says why."""


@dataclass(frozen=True)
class Priorities:
    """The index of each group, and what of the file was ignored."""

    index: dict[str, float]
    """Dollars per slot and second, finite and not negative, by group id."""
    computed_at: datetime
    ignored: Counter[str]
    """Rows left out, by reason."""


def publish_priorities(
    lake: Lake, venue: Venue, index: dict[str, float], computed_at: datetime
) -> None:
    """Replace a venue's priorities.

    Raises
    ------
    SchemaError
        If an index is NaN.
    PublishError
        If the file could not be written; the last one stays.
    """
    at_us = int(computed_at.timestamp() * 1_000_000)
    rows = [(group_id, value, at_us) for group_id, value in index.items()]
    replace_rows(lake, PRIORITIES, priorities_file(venue), rows_to_table(PRIORITIES, rows))


def read_priorities(lake: Lake, venue: Venue, now: datetime, max_age: timedelta) -> Priorities:
    """A venue's priorities.

    Raises
    ------
    PrioritiesError
        If there are none, or they are damaged, of other columns or types, older than ``max_age``
        or from the future.
    """
    path = priorities_file(venue)
    try:
        content = lake.store.read_bytes(path)
    except FileNotFoundError:
        raise PrioritiesError(f"{path}: absent") from None
    except OSError as error:
        raise PrioritiesError(f"{path}: cannot be read: {error}") from error
    try:
        table = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise PrioritiesError(f"{path}: cannot be decoded: {error}") from error
    for column in PRIORITIES.columns:
        places = table.schema.get_all_field_indices(column.name)
        if [table.column(place).type for place in places] != [column.type]:
            types = ", ".join(str(table.column(place).type) for place in places) or "absent"
            raise PrioritiesError(f"{path}: column {column.name} is {types}, not {column.type}")
    moments = cast("list[datetime | None]", table.column("computed_at").unique().to_pylist())
    computed_at = moments[0] if len(moments) == 1 else None
    if computed_at is None:
        raise PrioritiesError(f"{path}: computed_at is not one moment in every row")
    if computed_at > now + CLOCK_SKEW:
        raise PrioritiesError(f"{path}: from the future, {computed_at.isoformat()}")
    if now - computed_at > max_age:
        raise PrioritiesError(f"{path}: stale, computed at {computed_at.isoformat()}")
    return _usable(table, computed_at)


def _usable(table: pa.Table, computed_at: datetime) -> Priorities:
    index: dict[str, float] = {}
    ignored: Counter[str] = Counter()
    group_ids = cast("list[str | None]", table.column("group_id").to_pylist())
    values = cast("list[float | None]", table.column("index").to_pylist())
    for group_id, value in zip(group_ids, values, strict=True):
        if group_id is None:
            ignored["no_group"] += 1
        elif value is None or math.isnan(value):
            ignored["no_index"] += 1
        elif math.isinf(value):
            ignored["infinite"] += 1
        elif value < 0:
            ignored["negative"] += 1
        elif group_id in index:
            ignored["repeated"] += 1
        else:
            index[group_id] = value
    return Priorities(index, computed_at, ignored)
