"""Whether data moves through a collector, which is what systemd's watchdog follows. Pure.

A process that lives and does nothing is what a watchdog is for. A venue that cannot be reached is
not: while no connection is up nothing is expected, and to start anew would mend nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from surveillance_core.status import VenueStatus


@dataclass(frozen=True)
class Mark:
    """How far a venue's collection had come when it last moved."""

    progress: int
    at: float
    """Seconds on the caller's clock."""


def follow_progress(
    marks: Mapping[str, Mark], venues: Sequence[VenueStatus], now: float
) -> dict[str, Mark]:
    """The marks by venue, moved on where data moved or none is expected."""
    return {venue.venue: _moved(marks.get(venue.venue), venue, now) for venue in venues}


def stuck_venues(marks: Mapping[str, Mark], now: float, patience_seconds: float) -> list[str]:
    """Venues of which data was expected and has stood still for too long."""
    return [venue for venue, mark in marks.items() if now - mark.at >= patience_seconds]


def _moved(mark: Mark | None, venue: VenueStatus, now: float) -> Mark:
    # a replaced connection is progress too: whoever replaces it is at work
    replaced = sum(sum(connection.reconnects.values()) for connection in venue.connections)
    # as is a quiet book that turned out to be the venue's
    progress = venue.frames + replaced + venue.witness.get("agreed", 0)
    expected = not venue.stopping and any(connection.up for connection in venue.connections)
    if mark is None or not expected:
        return Mark(progress, now)
    engine_age = venue.engine_age_seconds or 0.0
    moved_at = now if progress != mark.progress else mark.at
    # frames that arrive and are not worked on move nothing
    return Mark(progress, max(mark.at, min(moved_at, now - engine_age)))
