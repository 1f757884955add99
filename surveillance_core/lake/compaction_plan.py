"""Which files of a day are to be compacted, and which replaced ones may be deleted: pure.

An hour of a table is compacted once it has ended and rested: its files become one. Those stay where
they are for a grace period, for whoever still reads them, and are deleted after it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from surveillance_core.lake.layout import hour_dir, parse_hour
from surveillance_core.lake.manifest import ManifestDay, ManifestEntry, Operation
from surveillance_core.lake.schemas import COLLECTED, SCHEMA_VERSION, Table
from surveillance_core.markets import Venue

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class HourMerge:
    """Files of one table and hour that are to become one."""

    table: Table
    venue: Venue
    day: date
    hour: datetime
    """Start of the hour, UTC."""
    inputs: tuple[ManifestEntry, ...]

    def __str__(self) -> str:
        return f"{self.table.name} {self.venue} {self.hour:%Y-%m-%d %H:00}"


@dataclass(frozen=True)
class Removal:
    """Replaced files whose grace period is over, and the file in force that holds their rows."""

    holder: ManifestEntry
    files: tuple[ManifestEntry, ...]


def plan_merges(manifest: ManifestDay, now: datetime, margin: timedelta) -> list[HourMerge]:
    """Hours that ended longer than ``margin`` ago and are not one compacted file yet."""
    merges: list[HourMerge] = []
    for table in COLLECTED:
        hours: defaultdict[datetime, list[ManifestEntry]] = defaultdict(list)
        for entry in manifest.files(table.name):
            hour = _hour_of(entry, table, manifest.venue)
            if hour is not None and entry.schema_version == SCHEMA_VERSION:
                hours[hour].append(entry)
        for hour, inputs in sorted(hours.items()):
            compacted = len(inputs) == 1 and bool(inputs[0].replaces)
            if not compacted and hour + HOUR + margin <= now:
                merges.append(HourMerge(table, manifest.venue, manifest.day, hour, tuple(inputs)))
    return merges


def _hour_of(entry: ManifestEntry, table: Table, venue: Venue) -> datetime | None:
    hour = parse_hour(entry.path)
    if hour is None or not entry.path.startswith(f"{hour_dir(table.name, venue, hour)}/"):
        return None
    return hour


def replaced_files(manifest: ManifestDay) -> list[ManifestEntry]:
    """Files out of force because another holds their rows, and not deleted yet."""
    return [entry for entry in manifest.former if entry.operation is not Operation.RETIRE]


def plan_removals(manifest: ManifestDay, now: datetime, grace: timedelta) -> list[Removal]:
    """Replaced files to delete, by the file in force that holds their rows.

    A file whose rows no file in force holds is never among them.
    """
    replaced_by = {
        path: entry for entry in (*manifest.entries, *manifest.former) for path in entry.replaces
    }
    in_force = {entry.path for entry in manifest.entries}
    latest_us = int((now - grace).timestamp() * 1_000_000)
    held: defaultdict[str, list[ManifestEntry]] = defaultdict(list)
    holders: dict[str, ManifestEntry] = {}
    for entry in replaced_files(manifest):
        holder = replaced_by[entry.path]
        if holder.published_us > latest_us:
            continue
        while holder.path in replaced_by:
            holder = replaced_by[holder.path]
        if holder.path in in_force:
            holders[holder.path] = holder
            held[holder.path].append(entry)
    return [Removal(holders[path], tuple(files)) for path, files in sorted(held.items())]
