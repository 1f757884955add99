"""What happens to markets themselves, written down once, whichever connections heard it. Pure.

Two connections hear the same while one takes over from the other, and the venue says some things
more than once on one. A result, a listing or a price grid is the same however often it is said; a
status may come again, so only what another connection said within the last minute is a repeat.
"""

from __future__ import annotations

from surveillance_collector.rows import Row, listed_row, resolved_row, status_row, tick_size_row
from surveillance_core.venues.protocols import (
    MarketListed,
    MarketResolved,
    StatusChanged,
    TickSizeChanged,
)
from surveillance_core.venues.recent import RecentKeys

REPEAT_NS = 60_000_000_000

Announcement = MarketListed | MarketResolved | StatusChanged | TickSizeChanged


class Announcements:
    """Turns announcements into lifecycle rows, each once."""

    def __init__(self) -> None:
        self._said = RecentKeys()
        self._grids: dict[str, int] = {}
        """The last price grid written of each asset, ticks."""
        self._statuses: dict[tuple[str, str, str | None], tuple[str, int]] = {}

    def row_of(self, conn: str, event: Announcement, recv_ns: int) -> tuple[str, Row] | None:
        """What to count it as, and its row; None for what has been written before."""
        match event:
            case MarketListed():
                if self._said.is_new(("listed", event.market_id)):
                    return "listed", listed_row(event, recv_ns)
            case MarketResolved():
                if self._said.is_new(("resolved", event.market_id)):
                    return "resolved", resolved_row(event, recv_ns)
            case TickSizeChanged():
                if self._grids.get(event.asset_id) != event.new_tick:
                    self._grids[event.asset_id] = event.new_tick
                    return "tick_size_changes", tick_size_row(event, recv_ns)
            case StatusChanged():
                if not self._said_elsewhere(conn, event, recv_ns):
                    return event.status.value, status_row(event, recv_ns)
        return None

    def grid_of(self, asset_id: str) -> int | None:
        """The asset's price grid, ticks, where the venue has told of another one since."""
        return self._grids.get(asset_id)

    def forget(self, asset_id: str) -> None:
        """The asset is no longer followed: its next grid is news."""
        self._grids.pop(asset_id, None)

    def _said_elsewhere(self, conn: str, event: StatusChanged, recv_ns: int) -> bool:
        key = (event.market_id, event.status.value, event.new)
        before = self._statuses.pop(key, None)
        if before is not None and before[0] != conn and recv_ns - before[1] < REPEAT_NS:
            self._statuses[key] = before
            return True
        self._statuses[key] = (conn, recv_ns)
        while len(self._statuses) > _REMEMBERED:
            del self._statuses[next(iter(self._statuses))]
        return False


_REMEMBERED = 50_000
