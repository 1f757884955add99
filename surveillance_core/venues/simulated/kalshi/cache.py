"""The network of caches before the REST interface: what callers without a signature get from it.

Pure: the caller brings the time. Facts: reference kalshi.md 1: unsigned answers carry
``cache-control: public, max-age=15``, so a book read that way may be 15 s old, and do not draw on
a token bucket where they come from a cache.
"""

from __future__ import annotations

from typing import Final

import msgspec

KEPT: Final = 2_000
"""Answers kept at most."""


class Kept(msgspec.Struct):
    """An answer and how often it was given again."""

    at_ms: int
    status: int
    body: bytes
    hits: int = 0


class AnswerCache:
    """Answers by what was asked.

    Examples
    --------
    >>> cache = AnswerCache(15_000)
    >>> cache.keep("/events", 200, b"{}", 0)
    >>> cache.find("/events", 14_999) is None, cache.find("/events", 15_000) is None
    (False, True)
    """

    def __init__(self, age_ms: int) -> None:
        self._age_ms = age_ms
        self._kept: dict[str, Kept] = {}

    @property
    def headers(self) -> dict[str, str]:
        """Headers that say so, none where nothing is kept."""
        if not self._age_ms:
            return {}
        return {"cache-control": f"public, max-age={self._age_ms // 1000}"}

    def find(self, target: str, now_ms: int) -> Kept | None:
        """An answer that is not too old."""
        kept = self._kept.get(target)
        if kept is None or now_ms >= kept.at_ms + self._age_ms:
            return None
        kept.hits += 1
        return kept

    def keep(self, target: str, status: int, body: bytes, now_ms: int) -> None:
        """Keep an answer, the oldest making room for it; what went wrong is not kept."""
        if not self._age_ms or status != 200:
            return
        self._kept.pop(target, None)
        while len(self._kept) >= KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[target] = Kept(now_ms, status, body)
