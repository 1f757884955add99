"""What the sensor does with what the manifest says: pure, no Dagster, no clock.

The cursor remembers, a venue-day, the version of each collected table last reported and the
version of the statistics' inputs last requested. A tick compares it with the lake and plans what to
report and what to run; whatever a tick may not do yet (the open day's refresh interval, the cap)
stays different from the cursor and is done by a later tick.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import msgspec

from surveillance_core.lake.manifest import ManifestDay, ManifestEntry
from surveillance_core.lake.schemas import COLLECTED, COVERAGE, SNAPSHOTS, TRADES
from surveillance_core.markets import Venue

LOOK_BACK = timedelta(days=30)
"""Days older than this are not watched; backfill them by hand."""

STATS_INPUTS = (SNAPSHOTS.name, COVERAGE.name, TRADES.name)


class DayMark(msgspec.Struct):
    """What is remembered of one venue-day."""

    reported: dict[str, str] = {}
    """Version by table."""
    requested: str = ""
    requested_at: float = 0.0
    """Seconds since the epoch."""


class Report(msgspec.Struct, frozen=True):
    """A collected table's day has new files."""

    table: str
    venue: Venue
    day: date
    version: str
    files: tuple[ManifestEntry, ...]


class Request(msgspec.Struct, frozen=True):
    """A venue-day's statistics are to be computed from inputs of this version."""

    venue: Venue
    day: date
    version: str

    @property
    def run_key(self) -> str:
        """The same inputs are never requested twice."""
        return f"{self.day.isoformat()}|{self.venue.value}@{self.version}"


class TickPlan(msgspec.Struct):
    """What one tick does, and the cursor after it."""

    reports: list[Report]
    requests: list[Request]
    waiting: int
    """Venue-days changed but not requested yet."""
    cursor: dict[str, DayMark]


def plan_tick(
    now: datetime,
    cursor: dict[str, DayMark],
    days: Sequence[ManifestDay],
    *,
    open_day_refresh: timedelta,
    limit: int,
) -> TickPlan:
    """Compare the manifest of the watched days with the cursor.

    Past days are requested as soon as they change; the open day at most once an
    ``open_day_refresh``. At most ``limit`` requests, newest days first.
    """
    plan = TickPlan([], [], 0, {})
    for manifest in sorted(days, key=lambda d: (d.day, d.venue), reverse=True):
        key = day_key(manifest.venue, manifest.day)
        mark = cursor.get(key, DayMark())
        mark = DayMark(dict(mark.reported), mark.requested, mark.requested_at)
        for table in COLLECTED:
            files = manifest.files(table.name)
            version = manifest.version([table.name])
            if files and mark.reported.get(table.name) != version:
                plan.reports.append(
                    Report(table.name, manifest.venue, manifest.day, version, tuple(files))
                )
                mark.reported[table.name] = version
        version = manifest.version(STATS_INPUTS)
        if manifest.files(SNAPSHOTS.name) and mark.requested != version:
            settled = manifest.day < now.date()
            rested = now.timestamp() - mark.requested_at >= open_day_refresh.total_seconds()
            if (settled or rested) and len(plan.requests) < limit:
                plan.requests.append(Request(manifest.venue, manifest.day, version))
                mark.requested, mark.requested_at = version, now.timestamp()
            else:
                plan.waiting += 1
        plan.cursor[key] = mark
    return plan


def watched(day: date, now: datetime) -> bool:
    """Whether the sensor looks at the day."""
    return now.date() - LOOK_BACK <= day <= now.date() + timedelta(days=1)


def day_key(venue: Venue, day: date) -> str:
    """The partition key of a venue-day, ``2026-09-01|polymarket``."""
    return f"{day.isoformat()}|{venue.value}"


_CURSOR_DECODER = msgspec.json.Decoder(dict[str, DayMark])


def read_cursor(text: str | None) -> dict[str, DayMark]:
    """The cursor a tick left; one that cannot be read starts anew, which repeats reports only."""
    if not text:
        return {}
    try:
        return _CURSOR_DECODER.decode(text)
    except msgspec.DecodeError:
        return {}


def write_cursor(cursor: dict[str, DayMark]) -> str:
    """The cursor as text."""
    return msgspec.json.encode(cursor).decode()
