"""Which markets go on which connection: pure."""

from __future__ import annotations

from collections.abc import Sequence

from surveillance_collector.scheduler import SelectedMarket


def assign_connections(
    markets: Sequence[SelectedMarket], assets_per_connection: int
) -> list[list[SelectedMarket]]:
    """Spread markets over as few connections as the venue's limit of assets allows.

    The assets of one market share a connection, so that its two books tell one story. Order is
    kept: the markets that matter most share the first connection.
    """
    connections: list[list[SelectedMarket]] = []
    free = 0
    for selected in markets:
        needed = len(selected.assets)
        if needed > free:
            connections.append([])
            free = assets_per_connection
        connections[-1].append(selected)
        free -= needed
    return connections
