"""When to come back to a venue, by how the last connection ended. Pure, no clock.

Facts (reference peers.md 2.4, failure table): a peer that goes away is tried again with exponential
back-off and full jitter, so that a venue which drops everybody does not get everybody back at once;
one that says it is busy is left alone for as long as it asks; one that refuses the key or the
policy is left alone for long, since trying again mends nothing. A venue's connections share one
``HandshakeBudget``, because the venue counts them together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Final

FIRST_SECONDS: Final = 1.0
"""Longest wait after the first failure; it doubles with each further one."""

REFUSED_TIMES: Final = 2.0
"""Ceiling after the first refusal, in longest waits of a plain failure; it doubles too."""

REFUSED_MOST_TIMES: Final = 20.0

SPACING_SECONDS: Final = 0.25
FAILING_SPACING_SECONDS: Final = 1.0
"""Between two handshakes of a venue."""

RETRY_AFTER_MOST: Final = 900.0
"""A venue that asks for a longer silence is asked again after this one."""

_MOST_DOUBLINGS: Final = 16

_REFUSED_STATUSES = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_REFUSED_CODE = 1008
_BUSY_STATUSES = {
    HTTPStatus.IM_A_TEAPOT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
}
_BUSY_CODES = {1012, 1013}


class Temper(Enum):
    """What an ending asks of whoever comes back."""

    GONE = "gone"
    """Something broke: come back soon, and less often each time."""
    BUSY = "busy"
    """The venue restarts or has too much to do: as it says, else as after ``GONE``."""
    REFUSED = "refused"
    """The key, this host or the command is not wanted: coming back mends nothing by itself."""


@dataclass(frozen=True)
class Ending:
    """How an attempt to hold a connection ended.

    Parameters
    ----------
    cause
        The word for it in the coverage ledger and the logs.
    status
        HTTP status of a refused handshake.
    close_code
        The WebSocket's close code, 1006 where the peer sent none.
    retry_after
        Seconds the venue asked to be left alone.
    healthy
        Whether the connection had brought data for some time: the failures before it are over.
    """

    cause: str
    status: int | None = None
    close_code: int | None = None
    retry_after: float | None = None
    healthy: bool = False

    @property
    def temper(self) -> Temper:
        """What the ending asks for."""
        if self.status in _REFUSED_STATUSES or self.close_code == _REFUSED_CODE:
            return Temper.REFUSED
        if self.status in _BUSY_STATUSES or self.close_code in _BUSY_CODES:
            return Temper.BUSY
        return Temper.GONE


class Backoff:
    """Waits between attempts: exponential ceilings, drawn with full jitter.

    Parameters
    ----------
    most_seconds
        Longest wait after a plain failure; after a refusal it is ``REFUSED_MOST_TIMES`` that.
    draw
        A number between its two arguments, evenly.

    Examples
    --------
    >>> backoff = Backoff(30.0, lambda low, high: high)
    >>> [backoff.after(Ending("closed_1006")) for _ in range(6)]
    [1.0, 2.0, 4.0, 8.0, 16.0, 30.0]
    >>> backoff.after(Ending("closed_1006", healthy=True))
    1.0
    """

    def __init__(self, most_seconds: float, draw: Callable[[float, float], float]) -> None:
        self._most = most_seconds
        self._draw = draw
        self._failures = 0

    def after(self, ending: Ending) -> float:
        """Seconds to wait after this ending, one more than those before."""
        self._failures = 1 if ending.healthy else self._failures + 1
        growth = 2.0 ** min(self._failures - 1, _MOST_DOUBLINGS)
        if ending.temper is Temper.REFUSED:
            most = REFUSED_MOST_TIMES * self._most
            ceiling = min(most, REFUSED_TIMES * self._most * growth)
            # never soon: a refusal is not an accident
            return self._draw(ceiling / 2, ceiling)
        wait = self._draw(0.0, min(self._most, FIRST_SECONDS * growth))
        return max(wait, min(ending.retry_after or 0.0, RETRY_AFTER_MOST))


class HandshakeBudget:
    """When a venue may be asked for a further connection; shared by all that want one.

    While handshakes succeed they are ``spacing`` apart, since many at once are answered with 429
    (reference polymarket.md 3.2); after a failure ``failing_spacing``, until one succeeds. Times
    are seconds on one clock, which the caller passes.

    Examples
    --------
    >>> budget = HandshakeBudget(0.25, 1.0)
    >>> budget.take(100.0)
    >>> budget.wait_seconds(100.0)
    0.25
    >>> budget.failed(100.0, retry_after=7.0)
    >>> budget.wait_seconds(102.0)
    5.0
    """

    def __init__(
        self, spacing: float = SPACING_SECONDS, failing_spacing: float = FAILING_SPACING_SECONDS
    ) -> None:
        self._spacing = spacing
        self._failing_spacing = failing_spacing
        self._failing = False
        self._last = float("-inf")
        self._forbidden_until = float("-inf")

    def wait_seconds(self, now: float) -> float:
        """Seconds until somebody may try; ask again after them, since another may be first."""
        spacing = self._failing_spacing if self._failing else self._spacing
        return max(0.0, self._last + spacing - now, self._forbidden_until - now)

    def take(self, now: float) -> None:
        """A handshake begins."""
        self._last = now

    def succeeded(self) -> None:
        """A handshake was accepted."""
        self._failing = False

    def failed(self, now: float, retry_after: float | None = None) -> None:
        """A handshake was not; whoever wants one keeps away as long as the venue asked."""
        self._failing = True
        if retry_after is not None:
            until = now + min(retry_after, RETRY_AFTER_MOST)
            self._forbidden_until = max(self._forbidden_until, until)
