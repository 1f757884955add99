"""Polymarket's REST interfaces: Gamma's listing swept page by page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import cast

from surveillance_core.venues.polymarket.discovery import EventReader
from surveillance_core.venues.protocols import Discovery
from surveillance_core.venues.rest import RestClient, VenueError

STALE_PAGES = 3
"""Pages in a row without one new event after which the cursor is taken to be endless."""

PageReport = Callable[[int, int], None]
"""Called after each page with pages read and markets seen so far."""


def discover(
    gamma: RestClient,
    fetched_at: datetime,
    *,
    page_size: int = 500,
    max_pages: int = 1_000,
    on_page: PageReport | None = None,
) -> Discovery:
    """Sweep ``/events/keyset`` to its end.

    A cursor that repeats, or pages that bring nothing new, end the sweep and are counted among the
    oddities; what was found stands.

    Raises
    ------
    VenueError
        If a page cannot be had, is not a listing, or the listing is empty: a sweep that failed
        must not replace the last good universe.
    """
    reader = EventReader(fetched_at)
    cursor: str | None = None
    cursors: set[str] = set()
    events_seen: set[object] = set()
    stale = 0
    while True:
        params: dict[str, str | int] = {"closed": "false", "limit": page_size}
        if cursor is not None:
            params["after_cursor"] = cursor
        page = gamma.get("/events/keyset", params)
        events = cast("dict[str, object]", page).get("events") if isinstance(page, dict) else None
        if not isinstance(events, list):
            raise VenueError("/events/keyset: the answer has no list of events; not a listing")
        events = cast("list[object]", events)
        ids = {_event_id(event) for event in events}
        stale = 0 if ids - events_seen else stale + 1
        events_seen |= ids
        reader.read_page(events)
        if on_page is not None:
            on_page(reader.pages, reader.seen)
        if not events:
            reader.oddities["empty_page"] += 1
        following = cast("dict[str, object]", page).get("next_cursor")
        if not isinstance(following, str) or not following:
            break
        if following in cursors:
            reader.oddities["cursor_repeats"] += 1
            break
        if stale >= STALE_PAGES or reader.pages >= max_pages:
            reader.oddities["cursor_endless"] += 1
            break
        cursors.add(following)
        cursor = following
    found = reader.found
    if not found.seen:
        raise VenueError("/events/keyset: the listing is empty; the last universe is kept")
    if not found.markets:
        reasons = ", ".join(f"{reason} {n}" for reason, n in found.set_aside.most_common(3))
        raise VenueError(
            f"/events/keyset: none of {found.seen} markets can be followed ({reasons}); the last "
            "universe is kept"
        )
    return found


def _event_id(event: object) -> str:
    identity = cast("dict[str, object]", event).get("id") if isinstance(event, dict) else None
    return str(identity) if isinstance(identity, str | int) else ""
