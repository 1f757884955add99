"""One scan of a venue: sweep its listing, complete it, filter it, and say what it cost.

The thin edge between a venue's REST interface and whoever publishes the universe.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import httpx
import msgspec

from surveillance_core.markets import Market, Venue
from surveillance_core.settings import Settings
from surveillance_core.venues.clients import book_client, venue_client
from surveillance_core.venues.filters import filter_markets, filters_of
from surveillance_core.venues.protocols import Discovery
from surveillance_core.venues.registry import adapter_of
from surveillance_core.venues.rest import Traffic, VenueError


class Sweep(msgspec.Struct, kw_only=True):
    """What one scan found and what it cost."""

    markets: list[Market]
    """Those that pass the filters."""
    filtered: Counter[str]
    """Tradable markets that do not, by reason."""
    found: Discovery
    """What was listed; its markets are counted in ``tradable`` and no longer held."""
    tradable: int
    traffic: Traffic
    seconds: float

    @property
    def filtered_share(self) -> float:
        """Share of the tradable markets that the filters took."""
        return self.filtered.total() / self.tradable if self.tradable else 0.0

    @property
    def drift(self) -> dict[str, int]:
        """What the venue lists and this version does not know, or reads and no longer finds."""
        oddities = self.found.oddities.items()
        return {
            **dict(self.found.unknown_members.most_common()),
            **{name: n for name, n in oddities if "_unknown:" in name},
            **{f"{name} is gone": 0 for name in self.found.gone_members},
        }


class ShrunkenUniverse(Exception):
    """A scan that found so little that it is rather the venue's trouble than its market."""


def sweep_venue(
    settings: Settings,
    venue: Venue,
    fetched_at: datetime,
    *,
    on_page: Callable[[int, int], None] | None = None,
    transport: httpx.BaseTransport | None = None,
) -> Sweep:
    """Scan a venue.

    Raises
    ------
    VenueError
        If the listing cannot be had whole, or no market of it passes the filters.
    """
    started = time.monotonic()
    table = settings.venues[venue]
    adapter = adapter_of(venue)
    with venue_client(settings, venue, transport=transport) as client:
        found = adapter.discover(
            client,
            fetched_at,
            page_size=table.page_size,
            max_pages=table.max_pages,
            on_page=on_page,
        )
        traffic = client.traffic
    if adapter.complete is not None and table.complete_rewards:
        with book_client(settings, venue, transport=transport) as client:
            adapter.complete(client, found)
            traffic = _together(traffic, client.traffic)
    kept, filtered = filter_markets(found.markets, filters_of(table), fetched_at)
    tradable = len(found.markets)
    if not kept:
        reasons = ", ".join(f"{reason} {n}" for reason, n in filtered.most_common(3))
        raise VenueError(
            f"{venue}: none of {tradable} markets passes the filters of [venues.{venue}] "
            f"({reasons}); the last universe is kept"
        )
    found.markets = []
    return Sweep(
        markets=kept,
        filtered=filtered,
        found=found,
        tradable=tradable,
        traffic=traffic,
        seconds=time.monotonic() - started,
    )


def refuse_shrunken(sweep: Sweep, last: int, least_share: float) -> None:
    """Raise ``ShrunkenUniverse`` where less than a share of the last universe would be left."""
    kept = len(sweep.markets)
    if kept < least_share * last:
        raise ShrunkenUniverse(
            f"{kept:,} markets where the last universe has {last:,} ({sweep.found.seen:,} listed, "
            f"{sweep.tradable:,} tradable, {sweep.filtered.total():,} filtered); it is kept. "
            "Look at the venue and the filters; to publish all the same, scan with --force or "
            "lower universe.least_share_of_last."
        )


def peak_memory_bytes() -> int:
    """Most memory this process has ever had resident."""
    try:
        # what the kernel's accounting gives includes the memory of the process that started this
        # one, if that was more
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _together(first: Traffic, second: Traffic) -> Traffic:
    names = Traffic.__struct_fields__
    return Traffic(**{name: getattr(first, name) + getattr(second, name) for name in names})
