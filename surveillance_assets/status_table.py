"""A collector's status as a person reads it: tables that fit a hundred columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from surveillance_assets.status import CollectorStatus
from surveillance_core.command_line import plain, printable
from surveillance_core.status import ConnectionStatus, Status, VenueStatus

MOST_CONNECTIONS = 12
"""The down and the quiet ones come first; the rest are counted."""
_NONE = "–"


def status_tables(collector: CollectorStatus) -> Iterator[RenderableType]:
    """What to print, in order: the verdict, the reasons against, the venues, the connections."""
    status = collector.status
    yield _verdict(status)
    yield plain(f"pages at {collector.url}")
    if status.reasons:
        yield _reasons(status)
    yield _venues(status)
    yield from _connections(status)


def _verdict(status: Status) -> Text:
    process = status.process
    facts = [
        f"{process.origin} data",
        f"process {process.pid}",
        f"up {_span((status.at - process.started).total_seconds())}",
        f"loop at most {process.loop_lag_seconds * 1e3:,.0f} ms late",
    ]
    if process.disk_free_bytes is not None:
        facts.append(f"{process.disk_free_bytes / 1024**3:,.1f} GiB free")
    word = Text("ready", "green") if status.ready else Text("not ready", "red")
    return word.append(f"  {printable(', '.join(facts))}", "default")


def _reasons(status: Status) -> Table:
    table = Table("venue", "why not ready", "since", "next step")
    for reason in status.reasons:
        since = _span((status.at - reason.since).total_seconds())
        table.add_row(*map(plain, (reason.venue or _NONE, reason.what, since, reason.next_step)))
    return table


def _venues(status: Status) -> Table:
    """A column a venue: there are few of them, and much to say of each."""
    table = Table("", *(printable(venue.venue) for venue in status.venues))
    columns = [_figures(venue) for venue in status.venues]
    for name in columns[0] if columns else ():
        table.add_row(name, *(plain(figures[name]) for figures in columns))
    return table


def _figures(venue: VenueStatus) -> dict[str, str]:
    up = sum(connection.up for connection in venue.connections)
    ages = [c.data_age_seconds for c in venue.connections if c.data_age_seconds is not None]
    age = venue.universe_age_seconds
    matched, due = venue.hashes.get("matched", 0), venue.hashes.get("due", 0)
    causes: dict[str, int] = {}
    for connection in venue.connections:
        for cause, count in connection.reconnects.items():
            causes[cause] = causes.get(cause, 0) + count
    return {
        "universe": _NONE if age is None else f"{venue.universe}, {_span(age)} old",
        "connections": f"{up} of {len(venue.connections)} up",
        "newest data": f"{_span(min(ages))} ago" if ages else _NONE,
        "books": f"{venue.books:,} of {venue.books_expected:,} stand, {venue.trusted:,} trusted",
        "integrity": f"{matched:,} of {due:,} hashes agree" if due else _NONE,
        "frames": f"{venue.frames:,}",
        "rows": (
            f"{venue.counts.get('snapshots', 0):,} snapshots, {venue.counts.get('trades', 0):,} "
            "trades"
        ),
        "published": (
            f"{sum(venue.published.values()):,} rows in {venue.files:,} files, "
            f"{venue.rows_held:,} rows held"
        ),
        "publish failures": f"{venue.publish_failures:,}",
        "reconnects": _by_cause(causes),
        "rejected": _by_cause(venue.rejected),
    }


def _connections(status: Status) -> Iterator[RenderableType]:
    connections = sorted(
        (connection for venue in status.venues for connection in venue.connections),
        key=lambda c: (c.up, -(c.data_age_seconds or 0.0), c.name),
    )
    if not connections:
        return
    table = Table("connection", "state", "assets", "newest data", "reconnects")
    for connection in connections[:MOST_CONNECTIONS]:
        table.add_row(*map(plain, _cells(connection)))
    yield table
    if len(connections) > MOST_CONNECTIONS:
        yield plain(f"and {len(connections) - MOST_CONNECTIONS} more connections; see --json")


def _cells(connection: ConnectionStatus) -> tuple[str, ...]:
    age = connection.data_age_seconds
    return (
        connection.name,
        "up" if connection.up else "down",
        f"{connection.assets:,}",
        _NONE if age is None else f"{_span(age)} ago",
        _by_cause(connection.reconnects),
    )


def _by_cause(counts: Mapping[str, int]) -> str:
    """A total and its largest parts."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{cause} {count:,}" for cause, count in ordered[:3]]
    parts += ["…"] if len(ordered) > len(parts) else []
    total = f"{sum(counts.values()):,}"
    return f"{total} ({', '.join(parts)})" if parts else total


def _span(seconds: float) -> str:
    """A length of time in one unit.

    >>> [_span(s) for s in (0.25, 59.0, 600.0, 7_200.0, 200_000.0)]
    ['0.2 s', '59 s', '10 min', '2.0 h', '2.3 d']
    """
    for unit, length, least in (("d", 86_400, 2), ("h", 3_600, 1.5), ("min", 60, 2)):
        if seconds >= length * least:
            places = 0 if unit == "min" else 1
            return f"{seconds / length:.{places}f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
