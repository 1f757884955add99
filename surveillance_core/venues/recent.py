"""Recognising repeats: venues send prints, listings and results more than once. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

REMEMBERED = 50_000
"""Keys kept; venues repeat within seconds."""


class RecentKeys:
    """The last keys seen, the oldest forgotten first.

    Examples
    --------
    >>> recent = RecentKeys(limit=2)
    >>> [recent.is_new(key) for key in ("a", "a", "b", "c", "a")]
    [True, False, True, True, True]
    """

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._seen: dict[Hashable, None] = {}
        self._order: deque[Hashable] = deque()
        """The same keys, oldest first: a dictionary finds its first one ever more slowly as those
        before it go."""

    def is_new(self, key: Hashable) -> bool:
        """Whether the key is not among the last ones; it is from now on."""
        seen = self._seen
        known = len(seen)
        seen[key] = None
        if len(seen) == known:
            return False
        self._order.append(key)
        if known >= self._limit:
            del seen[self._order.popleft()]
        return True

    def __len__(self) -> int:
        """Keys remembered."""
        return len(self._seen)
