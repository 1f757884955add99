"""Where every file lies, relative to the lake's root.

Venue names come from an enum and dates, hours and names are formatted here, so that nothing a
venue sends can become part of a path.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Final

from surveillance_core.lake.schemas import Partitioning, Table
from surveillance_core.markets import Venue

LAKE_RECORD: Final = "_lake.json"
LOCK_SUFFIX: Final = ".lock"
STAGING_SUFFIX: Final = ".staging"
QUARANTINE_SUFFIX: Final = ".quarantine"
STATE_SUFFIX: Final = ".state"
COMPACTED: Final = "compacted"
"""Begins the name of what stands for a shard in compacted files; see ``compacted_file``."""
SIMULATED_KEY: Final = "simulated-kalshi.pem"
"""In the state directory: what stands for a Kalshi key where the venues are simulated."""

_FILE_STEM: Final = {"orderbook_snapshots": "snapshots"}
_WRITER: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_HOLDER: Final = re.compile(rf"collector-({_WRITER.pattern})\.json")
_JOURNAL: Final = re.compile(
    rf"journal-({'|'.join(venue.value for venue in Venue)})-({_WRITER.pattern})"
)
_SEGMENT: Final = re.compile(r"([0-9a-f]{16})-([0-9a-f]{4})\.wal")
_PART: Final = re.compile(
    rf"/hour=[0-9]{{2}}/[a-z]+_[0-9T-]{{16}}_({_WRITER.pattern})_[0-9a-f]+-[0-9a-f]+\.[a-z]+"
)
_HOUR: Final = re.compile(r"/date=([0-9-]{10})/hour=([0-9]{2})/[^/]+")


def day_dir(table: str, venue: Venue, day: date) -> str:
    """``orderbook_snapshots/venue=polymarket/date=2026-09-01``."""
    return f"{table}/venue={venue.value}/date={day.isoformat()}"


def hour_dir(table: str, venue: Venue, moment: datetime) -> str:
    """The day's directory with ``hour=HH`` of a UTC moment."""
    moment = moment.astimezone(UTC)
    return f"{day_dir(table, venue, moment.date())}/hour={moment:%H}"


def bucket_file(
    table: Table, venue: Venue, bucket: datetime, shard: str, first_us: int, last_us: int
) -> str:
    """Path of one published bucket part.

    ``bucket`` is the bucket's start, UTC. The range at the end (microseconds since the epoch, in
    hexadecimal) makes the name unique and, for the same input, the same.
    """
    if table.partitioning is not Partitioning.HOUR:
        raise ValueError(f"{table.name} is not written in buckets")
    bucket = bucket.astimezone(UTC)
    stem = _FILE_STEM.get(table.name, table.name)
    name = f"{stem}_{bucket:%Y-%m-%dT%H-%M}_{_checked(shard)}_{first_us:x}-{last_us:x}.parquet"
    return f"{hour_dir(table.name, venue, bucket)}/{name}"


def compacted_file(
    table: Table, venue: Venue, hour: datetime, inputs: str, first_us: int, last_us: int
) -> str:
    """Path of the file that holds an hour's rows once they are compacted.

    Named as a bucket part that starts with the hour, so that what matches those matches it.
    ``inputs`` is a hexadecimal digest of the files it replaces: the same files always give the
    same name, and no two sets of files the same.
    """
    return bucket_file(table, venue, hour, f"{COMPACTED}-{inputs}", first_us, last_us)


def is_compacted(path: str) -> bool:
    """Whether a path is one that ``compacted_file`` gives."""
    return f"_{COMPACTED}-" in path.rpartition("/")[2]


def day_file(table: Table, venue: Venue, day: date) -> str:
    """Path of a table that is one file a day, ``stats/venue=V/date=D/stats.parquet``."""
    if table.partitioning is not Partitioning.DATE:
        raise ValueError(f"{table.name} is not one file a day")
    return f"{day_dir(table.name, venue, day)}/{table.name}.parquet"


def rejected_frames_file(venue: Venue, day: date) -> str:
    """Frames that could not be used, kept beside the lake in the capture format."""
    return f"{day_dir('rejected_frames', venue, day)}/frames.jsonl"


RAW: Final = "raw"


def raw_file(venue: Venue, moment: datetime, shard: str, first_ns: int, last_ns: int) -> str:
    """Frames as received, in the capture format, of one shard and within one hour.

    ``moment`` is UTC; the range is that of the receive times, nanoseconds since the epoch.
    """
    moment = moment.astimezone(UTC)
    name = f"frames_{moment:%Y-%m-%dT%H-%M}_{_checked(shard)}_{first_ns:x}-{last_ns:x}.zst"
    return f"{hour_dir(RAW, venue, moment)}/{name}"


UNIVERSE: Final = "universe"


def universe_file(venue: Venue, day: date) -> str:
    """``metadata/venue=V/date=D/universe.jsonl``."""
    return f"{day_dir('metadata', venue, day)}/universe.jsonl"


def priorities_file(venue: Venue) -> str:
    """``priorities/venue=V/priorities.parquet``: of no day, replaced as a whole."""
    return f"priorities/venue={venue.value}/priorities.parquet"


def visits_file(venue: Venue, shard: str) -> str:
    """In the state directory: when a collector last visited each group."""
    return f"visits-{venue.value}-{_checked(shard)}.json"


def journal_dir(venue: Venue, shard: str) -> str:
    """In the state directory: a collector's write-ahead log of one venue."""
    return f"journal-{venue.value}-{_checked(shard)}"


def damaged_segment_file(venue: Venue, shard: str, name: str) -> str:
    """Beside the lake: a segment of which not all could be read, kept for who may read more."""
    if parse_segment_name(name) is None:
        raise ValueError(f"{name} is no segment's name")
    return f"{journal_dir(venue, shard)}/{name}"


def parse_journal_dir(name: str) -> tuple[Venue, str] | None:
    """Venue and shard of a journal's directory, None for any other name."""
    found = _JOURNAL.fullmatch(name)
    return (Venue(found[1]), found[2]) if found else None


def segment_name(first: int, attempt: int) -> str:
    """A journal's segment: the position of its first input, and how often the file was tried.

    In the order of the names, segments are in the order in which they were written.
    """
    return f"{first:016x}-{attempt:04x}.wal"


def parse_segment_name(name: str) -> tuple[int, int] | None:
    """First position and attempt of a segment, None for any other name."""
    found = _SEGMENT.fullmatch(name)
    return (int(found[1], 16), int(found[2], 16)) if found else None


def manifest_dir(venue: Venue, day: date) -> str:
    """``_manifest/venue=V/date=D``."""
    return day_dir("_manifest", venue, day)


def manifest_segment(venue: Venue, day: date, writer: str) -> str:
    """A writer's own segment of a day's manifest; no two processes append to one file."""
    return f"{manifest_dir(venue, day)}/{_checked(writer)}.jsonl"


def manifest_root(venue: Venue) -> str:
    """``_manifest/venue=V``."""
    return f"_manifest/venue={venue.value}"


def parse_day(directory: str) -> date | None:
    """The date of a ``date=YYYY-MM-DD`` directory name, None for anything else."""
    name = directory.rstrip("/").rpartition("/")[2]
    if not name.startswith("date="):
        return None
    try:
        return date.fromisoformat(name.removeprefix("date="))
    except ValueError:
        return None


def collector_lock_file(shard: str) -> str:
    """In the state directory: what the shard's collector holds while it runs."""
    return f"collector-{_checked(shard)}.lock"


def collector_holder_file(shard: str) -> str:
    """In the state directory: who holds that lock."""
    return f"collector-{_checked(shard)}.json"


def collector_health_file(shard: str) -> str:
    """In the state directory: where the health pages of that collector are."""
    return f"collector-{_checked(shard)}.health.json"


def parse_collector_shard(name: str) -> str | None:
    """The shard whose holder a file of the state directory names, None for any other file."""
    found = _HOLDER.fullmatch(name)
    return found.group(1) if found else None


def parse_part_shard(path: str) -> str | None:
    """The shard of a ``bucket_file``, None for any other path."""
    found = _PART.search(path)
    return found[1] if found else None


def raw_root(venue: Venue) -> str:
    """``raw/venue=V``: below it, a directory a day."""
    return f"{RAW}/venue={venue.value}"


def parse_hour(path: str) -> datetime | None:
    """Start of the hour, UTC, of a file's ``…/date=D/hour=HH/name``, None for anything else."""
    found = _HOUR.search(path)
    if found is None:
        return None
    try:
        return datetime.fromisoformat(f"{found[1]}T{found[2]}:00:00+00:00")
    except ValueError:
        return None


def _checked(name: str) -> str:
    if not _WRITER.fullmatch(name):
        raise ValueError(f"not a writer's or shard's name: {name!r}")
    return name
