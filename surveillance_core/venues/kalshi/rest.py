"""Kalshi's REST listing swept page by page; nothing of it needs a key, and one is used if given."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from surveillance_core.venues.answers import describe_error
from surveillance_core.venues.kalshi.discovery import EventReader
from surveillance_core.venues.kalshi.limits import read_account_limits
from surveillance_core.venues.listing import Json, as_list, as_object
from surveillance_core.venues.protocols import Discovery
from surveillance_core.venues.rest import RestClient, VenueError

EVENTS: Final = "/events"
SERIES: Final = "/series"
INCENTIVES: Final = "/incentive_programs"
STATUS: Final = "/exchange/status"
LIMITS: Final = "/account/limits"
COSTS: Final = "/account/endpoint_costs"

LARGEST_PAGE: Final = 200
"""Events the venue gives at most in one page."""

INCENTIVES_PAGE: Final = 1_000

STALE_PAGES: Final = 3
"""Pages in a row without anything new after which the cursor is taken to be endless."""

PageReport = Callable[[int, int], None]
"""Called after each page with pages read and markets seen so far."""


def discover(
    client: RestClient,
    fetched_at: datetime,
    *,
    page_size: int = LARGEST_PAGE,
    max_pages: int = 1_000,
    on_page: PageReport | None = None,
) -> Discovery:
    """Sweep the open events with their markets, after the series and the incentive programmes.

    The venue answers a cursor that it does not know with its first page, so a cursor that repeats,
    or pages that bring nothing new, end the sweep and are counted among the oddities; what was
    found stands. Series, programmes and status complete the markets: where one of them cannot be
    had, the sweep goes on and says so among the oddities.

    Raises
    ------
    VenueError
        If a page of events cannot be had, is not a listing, or the listing holds no market: a sweep
        that failed must not replace the last good universe.
    """
    reader = EventReader(fetched_at)
    _learn_limits(client, reader)
    _complete(client, reader, max_pages)
    params: dict[str, str | int] = {
        "status": "open",
        "with_nested_markets": "true",
        "limit": min(page_size, LARGEST_PAGE),
    }
    cursors = _Cursors(reader, "cursor", max_pages)
    events_seen: set[str] = set()
    while True:
        page, events = _listing(client, EVENTS, params, "events")
        names = {_event_name(event) for event in events}
        fresh = bool(names - events_seen)
        events_seen |= names
        reader.read_page(events)
        if on_page is not None:
            on_page(reader.pages, reader.seen)
        if not events:
            reader.oddities["empty_page"] += 1
        cursor = cursors.following(page.get("cursor"), fresh=fresh)
        if cursor is None:
            break
        params["cursor"] = cursor
    found = reader.finish()
    if not found.seen:
        raise VenueError(f"{EVENTS}: the listing is empty; the last universe is kept")
    if not found.markets:
        reasons = ", ".join(f"{reason} {n}" for reason, n in found.set_aside.most_common(3))
        raise VenueError(
            f"{EVENTS}: none of {found.seen} markets can be followed ({reasons}); the last "
            "universe is kept. Check the exchange's status."
        )
    return found


class _Cursors:
    """Follows one listing's cursors and notices when they lead nowhere."""

    def __init__(self, reader: EventReader, name: str, max_pages: int) -> None:
        self._oddities = reader.oddities
        self._name = name
        self._left = max_pages
        self._stale = 0
        self._known: set[str] = set()

    def following(self, cursor: object, *, fresh: bool) -> str | None:
        """The cursor to ask for next, None where the listing ends or is taken to be endless."""
        self._left -= 1
        self._stale = 0 if fresh else self._stale + 1
        if cursor is None or cursor == "":
            return None
        if not isinstance(cursor, str):
            self._oddities[f"{self._name}_not_text"] += 1
            return None
        if cursor in self._known:
            self._oddities[f"{self._name}_repeats"] += 1
            return None
        if self._stale >= STALE_PAGES or self._left <= 0:
            self._oddities[f"{self._name}_endless"] += 1
            return None
        self._known.add(cursor)
        return cursor


def _learn_limits(client: RestClient, reader: EventReader) -> None:
    """Keep to what the account may do; without a key nothing draws on an account's bucket."""
    if not client.signed:
        return
    try:
        limits = read_account_limits(client.get(LIMITS), client.get(COSTS))
    except VenueError as error:
        refused = error.status in (401, 403)
        reader.oddities[f"account_limits_{'refused' if refused else 'unavailable'}"] += 1
        return
    if limits is None:
        reader.oddities["account_limits_unreadable"] += 1
    else:
        client.adopt_limits(limits)


def _complete(client: RestClient, reader: EventReader, max_pages: int) -> None:
    """Fetch what markets are completed with; each part may fail for itself."""
    try:
        reader.terms.read_status(client.get(STATUS))
    except VenueError:
        reader.oddities["exchange_status_unavailable"] += 1
    try:
        reader.terms.read_series(_listing(client, SERIES, {}, "series")[1])
    except VenueError:
        reader.oddities["series_unavailable"] += 1
    try:
        _sweep_incentives(client, reader, max_pages)
    except VenueError:
        reader.oddities["incentives_unavailable"] += 1


def _sweep_incentives(client: RestClient, reader: EventReader, max_pages: int) -> None:
    params: dict[str, str | int] = {"status": "active", "limit": INCENTIVES_PAGE}
    cursors = _Cursors(reader, "incentives_cursor", max_pages)
    while True:
        page, programmes = _listing(client, INCENTIVES, params, "incentive_programs")
        new = reader.terms.read_incentives(programmes)
        cursor = cursors.following(page.get("next_cursor"), fresh=new > 0)
        if cursor is None:
            return
        params["cursor"] = cursor


def _listing(
    client: RestClient, path: str, params: dict[str, str | int], name: str
) -> tuple[Json, list[object]]:
    """One answer and the list it holds under a name."""
    body = client.get(path, params)
    page = as_object(body)
    items = None if page is None else as_list(page.get(name))
    if page is None or items is None:
        error = describe_error(body)
        said = f"the venue answered an error: {error}" if error else f"no list of {name}"
        raise VenueError(f"{path}: {said}; not a listing. Check rest_url and the venue's status.")
    return page, items


def _event_name(item: object) -> str:
    event = as_object(item)
    ticker = event.get("event_ticker") if event is not None else None
    return ticker if isinstance(ticker, str) else ""
