"""Recognising repeats: venues send prints, listings and results more than once. Pure."""

from __future__ import annotations

from collections.abc import Hashable

REMEMBERED = 4_000
"""Keys kept at least; venues repeat within seconds. They are in every checkpoint."""


class RecentKeys:
    """The last keys seen: at least ``limit`` of them, at most twice as many.

    They are kept in two generations, of which the older is forgotten whole once the newer is full:
    a dictionary that loses its first keys one by one finds the next first one ever more slowly.

    Examples
    --------
    >>> recent = RecentKeys(limit=1)
    >>> [recent.is_new(key) for key in ("a", "a", "b", "a", "c", "d", "a")]
    [True, False, True, False, True, True, True]
    """

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._newer: dict[Hashable, None] = {}
        self._older: dict[Hashable, None] = {}

    def is_new(self, key: Hashable) -> bool:
        """Whether the key is not among the last ones; it is from now on."""
        newer = self._newer
        if key in newer or key in self._older:
            return False
        if len(newer) >= self._limit:
            self._older, self._newer = newer, {}
        self._newer[key] = None
        return True

    def __len__(self) -> int:
        """Keys remembered."""
        return len(self._newer) + len(self._older)
