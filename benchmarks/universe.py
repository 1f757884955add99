"""universe discovery: listing pages parsed and normalised, without the network.

Pages of the simulated Gamma as bytes, 100 events a page; ours is the decoding that the REST client
does and ``EventReader``; the limit is msgspec's decoding of the same pages alone. No peer does this
work.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from benchmarks.harness import Row, Scale, at_least, run_in_turn
from surveillance_core.markets import Venue
from surveillance_core.venues.polymarket.discovery import EventReader
from surveillance_core.venues.simulated.polymarket.gamma import event_object
from surveillance_core.venues.simulated.world import World

NAME = "universe discovery"
_EVENTS_A_PAGE = 100


def measure(scale: Scale) -> Iterator[Row]:
    """One row: markets per CPU-second."""
    start = datetime(2026, 9, 1, tzinfo=UTC)
    world = World(7, scale.pick(1_000, 5_000), start_ms=int(start.timestamp() * 1_000))
    quotes = world.quotes(Venue.POLYMARKET)
    objects = [event_object(event, quotes, {}) for event in world.events]
    pages = [
        msgspec.json.encode({"events": objects[first : first + _EVENTS_A_PAGE]})
        for first in range(0, len(objects), _EVENTS_A_PAGE)
    ]
    decode = msgspec.json.decode

    def limit() -> None:
        for page in pages:
            decode(page)

    def ours() -> None:
        reader = EventReader(start)
        for page in pages:
            reader.read_page(decode(page)["events"])
        if len(reader.found.markets) != len(world.tradable):
            raise RuntimeError(f"markets were set aside: {reader.found.set_aside}")

    timings = run_in_turn({"limit": lambda: limit, "ours": lambda: ours}, scale.pick(5, 9))
    markets = len(world.markets)
    yield Row(
        workload=NAME,
        unit="markets/CPU-s",
        limit=timings.rate("limit", markets),
        ours=timings.rate("ours", markets),
        note=f"{markets} markets on {len(pages)} pages; limit: msgspec's decoding alone",
        **at_least(1 / timings.ratio("limit", "ours"), 0.05, "limit"),  # type: ignore[arg-type]
    )
