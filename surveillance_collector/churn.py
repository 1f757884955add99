"""How fast subscriptions may change: token buckets. Pure.

Churn is counted in assets, not in frames: what a change costs a venue, and the engine, is the book
that each subscribed asset makes it send, and frames of up to hundreds of assets hide that. Each
asset subscribed costs one token and each asset unsubscribed another. What a connection subscribes
as it opens (the first plan after a start, and whatever a lost connection held) is no churn: it
changes nothing that stood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WINDOW_SECONDS: Final = 60.0
STEP_SECONDS: Final = 2.0
"""Longest time between two steps of the scheduler that its bounds allow for."""

_BURST_SHARE: Final = 0.4
_ROTATION_SHARE: Final = 0.75


@dataclass(frozen=True)
class ChurnRate:
    """What a bucket gives: ``burst`` tokens at once, and ``per_second`` from then on.

    A bucket that never holds more than ``burst`` gives at most ``burst + 60 * per_second`` in any
    60 seconds (mm_viability.md 5.3), so ``of_limit`` splits a limit into these two. The shares are
    constants: with a rate that followed the universe, a window that saw it rise could see more.
    """

    burst: float
    per_second: float

    @classmethod
    def of_limit(cls, limit: float) -> ChurnRate:
        """The rate whose every 60 seconds hold at most ``limit`` assets.

        Examples
        --------
        >>> rate = ChurnRate.of_limit(100.0)
        >>> rate.burst + 60 * rate.per_second
        100.0
        """
        burst = _BURST_SHARE * limit
        return cls(burst, (limit - burst) / WINDOW_SECONDS)

    @property
    def largest(self) -> int:
        """Most assets of one change that are certain to be paid for.

        Steps come up to ``STEP_SECONDS`` apart; what a full bucket is not given in between is lost.
        """
        return max(0, int(self.burst - self.per_second * STEP_SECONDS))


@dataclass(frozen=True)
class ChurnShares:
    """One limit, divided so that nothing else can spend what the rotation's bound counts on."""

    rotation: ChurnRate
    rest: ChurnRate
    """Pinned groups, exploit swaps, first visits, members that joined or left a group."""

    @classmethod
    def of_limit(cls, per_minute: float) -> ChurnShares:
        """Three quarters for the rotation, one for everything else; assets in 60 seconds."""
        rotation = _ROTATION_SHARE * per_minute
        return cls(ChurnRate.of_limit(rotation), ChurnRate.of_limit(per_minute - rotation))


class TokenBucket:
    """Tokens of a rate; empty at first, since nobody knows what was spent before.

    Parameters
    ----------
    now
        Seconds on a clock that does not go back.
    """

    def __init__(self, rate: ChurnRate, now: float) -> None:
        self._rate = rate
        self._tokens = 0.0
        self._filled_at = now

    @property
    def affordable(self) -> int:
        """Assets that could be paid for now."""
        return int(self._tokens)

    def refill(self, now: float) -> None:
        """Let time pass."""
        passed = max(0.0, now - self._filled_at)
        self._filled_at = max(now, self._filled_at)
        self._tokens = min(self._rate.burst, self._tokens + passed * self._rate.per_second)

    def spend(self, assets: int) -> bool:
        """Pay for a change; False, and nothing spent, where the tokens do not reach."""
        if assets > self._tokens:
            return False
        self._tokens -= assets
        return True
