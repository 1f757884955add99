"""When things were received, on a clock that never goes back."""

from __future__ import annotations

import time
from collections.abc import Callable


class ReceiveClock:
    """Nanoseconds since the epoch that never go back, each in a microsecond of its own.

    Microseconds name the files: parts of a bucket must differ in them even while the wall's clock,
    having been set back, is behind.
    """

    def __init__(self, source: Callable[[], int] = time.time_ns) -> None:
        self._source = source
        self._last = 0

    def now_ns(self) -> int:
        """The time, at least one microsecond after the last one given."""
        self._last = max(self._source(), self._last + 1_000)
        return self._last
