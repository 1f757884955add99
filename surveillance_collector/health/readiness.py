"""Whether a collector is ready, and why not. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from surveillance_core.settings import Settings
from surveillance_core.status import ConnectionStatus, ProcessStatus, Reason, Status, VenueStatus

ENGINE_SECONDS = 30.0
"""A turn of the loop waits for a peer that takes no commands, for less than this."""
LAG_SECONDS = 1.0
_NAMED = 3
_GIB = 1024**3


@dataclass(frozen=True)
class Limits:
    """Where ready ends."""

    least_books_share: float
    quiet_seconds: float
    least_free_bytes: int
    universe_age_seconds: float


class _Finding(NamedTuple):
    code: str
    what: str
    next_step: str


def limits_of(settings: Settings) -> Limits:
    """The limits as configured."""
    health = settings.health
    return Limits(
        least_books_share=health.least_books_share,
        quiet_seconds=health.quiet_seconds,
        least_free_bytes=int(health.least_free_gib * _GIB),
        universe_age_seconds=settings.universe.max_age_hours * 3_600,
    )


def assess(
    process: ProcessStatus,
    venues: Sequence[VenueStatus],
    limits: Limits,
    at: datetime,
    previous: Sequence[Reason] = (),
) -> Status:
    """The verdict on what was read at a moment.

    Parameters
    ----------
    previous
        The reasons of the last verdict: one that still holds keeps its ``since``.
    """
    since = {(reason.code, reason.venue): reason.since for reason in previous}
    found = [("", finding) for finding in _of_process(process, venues, limits)]
    found += [(venue.venue, finding) for venue in venues for finding in _of_venue(venue, limits)]
    reasons = tuple(
        Reason(
            code=finding.code,
            venue=venue,
            what=finding.what,
            since=since.get((finding.code, venue), at),
            next_step=finding.next_step,
        )
        for venue, finding in found
    )
    return Status(at=at, ready=not reasons, reasons=reasons, process=process, venues=tuple(venues))


def _of_process(
    process: ProcessStatus, venues: Sequence[VenueStatus], limits: Limits
) -> Iterator[_Finding]:
    if process.stopping:
        yield _Finding(
            "stopping", "the process is stopping", "wait: what it holds is being published"
        )
    if not venues:
        yield _Finding("no_venue", "no venue is collected", "set venues.polymarket.enabled = true")
    free = process.disk_free_bytes
    if free is not None and free < limits.least_free_bytes:
        yield _Finding(
            "disk_low",
            f"{free / _GIB:.2f} GiB of disk are left",
            "free space or move data_dir; the limit is health.least_free_gib",
        )
    if process.loop_lag_seconds >= LAG_SECONDS:
        yield _Finding(
            "loop_lag",
            f"the event loop came {process.loop_lag_seconds:.1f} s late within a minute",
            "give the process more CPU, or follow fewer markets (max_subs)",
        )


def _of_venue(venue: VenueStatus, limits: Limits) -> Iterator[_Finding]:
    if venue.failed:
        yield _Finding(
            "task_failed", f"the collection ended by {venue.failed}", "see the collector's log"
        )
    if venue.stopping:
        yield _Finding("collection_stopped", "nothing more is collected", "start the collector")
        return
    if venue.universe_refused:
        yield _Finding(
            "universe_refused",
            "the newest universe cannot be used, an older one is",
            f"see {venue.universe_refused} in the log, and publish it again with: "
            f"surveillance scan --venue {venue.venue}",
        )
    yield from _of_journal(venue)
    if venue.universe is None:
        yield _Finding(
            "universe_missing",
            "there is no universe to collect",
            f"publish one with: surveillance scan --venue {venue.venue}",
        )
        return
    if venue.engine_age_seconds is None:
        yield _Finding("starting", "the universe is being subscribed", "wait: it takes seconds")
        return
    age = venue.universe_age_seconds
    if age is not None and age > limits.universe_age_seconds:
        yield _Finding(
            "universe_old",
            f"the universe is {age / 3_600:.0f} hours old",
            f"publish a newer one with: surveillance scan --venue {venue.venue}",
        )
    if not venue.markets:
        yield _Finding(
            "nothing_followed",
            "no market of the universe is followed",
            f"see universe_adopted in the log, and the filters of venues.{venue.venue}",
        )
    if venue.engine_age_seconds >= ENGINE_SECONDS:
        yield _Finding(
            "engine_stuck",
            f"the engine has stood still for {venue.engine_age_seconds:.0f} s",
            "see the collector's log, and start it anew",
        )
    yield from _of_connections(venue.connections, limits)
    if venue.books < limits.least_books_share * venue.books_expected:
        yield _Finding(
            "books_missing",
            f"{venue.books:,} of {venue.books_expected:,} books stand",
            "wait while it starts or reconnects; if it stays, look for resyncing in the log",
        )
    if venue.publish_failing:
        yield _Finding(
            "publish_failing",
            f"files cannot be published; {venue.rows_held:,} rows are held in memory",
            "run: surveillance doctor, and look for publish_failed in the log",
        )


_MEND = "free space on the disks of data_dir and the journal, or mend them: it goes on alone"
_PRESSED = {
    "reserve": "the journal has only its reserve left and no file is published",
    "journal": "the journal cannot be written",
    "rows": "too many rows wait for files",
}


def _of_journal(venue: VenueStatus) -> Iterator[_Finding]:
    journal = venue.journal
    if journal.blocked:
        yield _Finding(
            "recording_blocked",
            f"recording has not begun: {journal.blocked}",
            _MEND,
        )
    if journal.causes:
        spared = "; warm markets are given up" if journal.shedding else ""
        yield _Finding(
            "recording_full",
            "; ".join(_PRESSED[cause] for cause in journal.causes) + spared,
            _MEND,
        )
    if journal.sockets_paused:
        yield _Finding(
            "sockets_paused",
            f"no socket is read: {journal.waiting_bytes / 1e6:.0f} MB wait for the disk and "
            f"{venue.rows_held:,} rows for files",
            "mend the disk; the limits are journal.memory_mb and storage.held_rows",
        )


def _of_connections(connections: Sequence[ConnectionStatus], limits: Limits) -> Iterator[_Finding]:
    down = [connection.name for connection in connections if not connection.up]
    if down:
        yield _Finding(
            "disconnected",
            f"{len(down)} of {len(connections)} connections are down: {_few(down)}",
            "they come back by themselves; if not, look for feed_failed in the log",
        )
    quiet = [
        (connection.data_age_seconds, connection.name)
        for connection in connections
        if connection.data_age_seconds is not None
        and connection.data_age_seconds >= limits.quiet_seconds
    ]
    if quiet:
        yield _Finding(
            "no_data",
            f"no data for {max(quiet)[0]:.0f} s on {_few([name for _, name in quiet])}",
            "a connection that stays silent is replaced (stall_seconds); see the venue's status",
        )


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
