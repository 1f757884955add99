"""The venue's request limits: so many a window on each path, counted and enforced. Pure.

Facts: reference polymarket.md 5. The venue delays what is a little too much and answers 429 to a
flood; here whatever is too much is answered 429, so that a client that ignores limits is found.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

import msgspec

WINDOW_S = 10.0


class RequestLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Requests allowed in any ten seconds, by the path's first part, and over all paths."""

    total: int = 4_000
    by_path: Mapping[str, int] = msgspec.field(
        default_factory=lambda: {
            "/events": 500,
            "/markets": 300,
            "/book": 1_500,
            "/books": 500,
            "/rewards": 500,
            "/clob-markets": 1_500,
        }
    )


class RequestPacing:
    """Sliding windows over the requests of one venue.

    Examples
    --------
    >>> pacing = RequestPacing(RequestLimits(by_path={"/events": 1}))
    >>> pacing.admits("/events", 0.0), pacing.admits("/events", 9.0), pacing.admits("/events", 11.0)
    (True, False, True)
    """

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self._windows: dict[str, deque[float]] = {}
        self.refused: Counter[str] = Counter()
        """Requests answered 429, by path."""

    def admits(self, path: str, now: float) -> bool:
        """Whether one more request may pass at ``now``, seconds on any steady clock."""
        mine = self._window(path, now)
        everything = self._window("", now)
        limit = self._limits.by_path.get(path, self._limits.total)
        if len(mine) >= limit or len(everything) >= self._limits.total:
            self.refused[path] += 1
            return False
        mine.append(now)
        everything.append(now)
        return True

    def _window(self, path: str, now: float) -> deque[float]:
        window = self._windows.setdefault(path, deque())
        while window and window[0] <= now - WINDOW_S:
            window.popleft()
        return window
