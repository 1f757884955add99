"""An event loop whose time passes only while it has nothing to do: hours of waiting in a second.

Sockets are real ones on loopback, on which what was sent is there to be read at once; so where
nothing is, nothing is on its way, and the loop may go on to its next timer.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from types import SimpleNamespace

GRACE_SECONDS = 0.0005
"""Real time given to the kernel before the loop's own goes on."""


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits longer than the grace, and adds up what it was to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        found = super().select(min(timeout, GRACE_SECONDS))
        if not found:
            self.passed += timeout
        return found


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Seconds since the loop was made, in its own time."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds that the loop has waited."""
        return self._jumping.passed


def clock_of(loop: asyncio.AbstractEventLoop) -> SimpleNamespace:
    """What a module is to have for ``time`` so that it lives in the loop's."""
    return SimpleNamespace(monotonic=loop.time, time_ns=time.time_ns)
