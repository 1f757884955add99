"""How long a source may be silent before it is taken to have stalled. Pure, no clock.

A source that speaks often is missed soon, one that speaks rarely late. Each source's own history
says which it is: time is cut into blocks, of each of which the longest gap between two arrivals is
kept. The greatest of many gaps follows Gumbel's law whatever the gaps themselves follow, as long as
their tail falls off exponentially; bursts and lulls included, since the lulls alone count (Gumbel,
*Statistics of Extremes*, 1958, section 5.2). With mean m and standard deviation s of the longest
gaps, a block has one above d with probability

    exp(-(d - u) / b),    b = s * sqrt(6) / pi,    u = m - 0.5772 b

so a deadline of m + k s is passed by a live source once in N blocks where

    k = (ln N - 0.5772) * sqrt(6) / pi.

N is 30 weeks of blocks although one false alarm a week is what is allowed: m and s are estimated,
and an exponential of an estimate errs upwards. Poisson arrivals a second apart have a deadline of
about 16 s; from about 5 s apart on the deadline is above a minute.

The deadline never exceeds ``most``, in which a stall has to be found, so a source that is rarer
than that is suspected in vain. So is one whose gaps have a heavier tail than an exponential one.
Once that was found out (``was_wrong``) the source may be silent for twice as long, and so on, each
doubling for a week: what the law does not promise is so had in the long run, and somebody else has
to watch a source whose deadline is beyond ``most``.
"""

from __future__ import annotations

from math import log, pi, sqrt
from typing import Final

LEAST_SECONDS: Final = 10.0
"""No silence shorter than this is a stall, however talkative the source."""

BLOCK_SECONDS: Final = 60.0
BLOCKS_NEEDED: Final = 15
"""Blocks before their mean and spread are believed."""
MEMORY: Final = 60
"""Blocks that the past counts for: an hour of them."""
QUIET_WEEKS: Final = 30.0

_WEEK_SECONDS: Final = 7 * 86_400.0
_EULER: Final = 0.577_215_664_9
MOST_DOUBLINGS: Final = 4


class Silence:
    """One source's history and the silence it may keep.

    Times are seconds on one clock, which the caller passes.

    Parameters
    ----------
    most
        Longest silence of a source that was never suspected in vain, seconds.
    least
        Shortest silence that is a stall, seconds; ``most`` where that is less.
    block
        Length of a block, seconds.

    Examples
    --------
    >>> silence = Silence(60.0)
    >>> silence.deadline
    60.0
    >>> silence.was_wrong()
    >>> silence.deadline
    120.0
    """

    __slots__ = (
        "_block",
        "_blocks",
        "_blocks_left",
        "_ends",
        "_excused",
        "_heard",
        "_k",
        "_least",
        "_longest",
        "_mean",
        "_most",
        "_spread",
        "_week_blocks",
        "doublings",
    )

    def __init__(
        self, most: float, *, least: float = LEAST_SECONDS, block: float = BLOCK_SECONDS
    ) -> None:
        self._most = most
        self._least = min(least, most)
        self._block = block
        self._k = (log(QUIET_WEEKS * _WEEK_SECONDS / block) - _EULER) * sqrt(6) / pi
        self._week_blocks = round(_WEEK_SECONDS / block)
        self._blocks_left = 0
        self._heard: float | None = None
        self._ends = 0.0
        self._excused = 0.0
        self._longest = 0.0
        self._blocks = 0
        self._mean = self._spread = 0.0
        self.doublings = 0
        """Times that it was suspected in vain and that are not forgotten, at most four."""

    @property
    def since(self) -> float:
        """When something last arrived, or listening began."""
        return self._heard or 0.0

    @property
    def learned(self) -> float | None:
        """The deadline that the history gives, None before it gives one."""
        if self._blocks < BLOCKS_NEEDED:
            return None
        rare = self._mean + self._k * sqrt(self._spread)
        return max(self._least, rare) * 2.0**self.doublings

    @property
    def speaks(self) -> bool:
        """Whether the source is known to speak so often that its silence would mean something."""
        learned = self.learned
        return learned is not None and learned <= self._most

    @property
    def deadline(self) -> float:
        """Seconds that it may be silent."""
        learned = self.learned
        if learned is not None and learned <= self._most:
            return learned
        return self._most * 2.0**self.doublings

    def begin(self, now: float) -> None:
        """Listening begins, for the first time or anew: what was not listened to is no gap."""
        self._heard = now
        self._ends = now + self._block
        self._excused = 0.0
        self._longest = 0.0

    def excuse(self, at: float) -> bool:
        """Nothing was missed until then; whether that leaves it more time than it had."""
        later = at > max(self.since, self._excused)
        if later:
            self._excused = at
        return later

    def heard(self, now: float) -> None:
        """Something arrived."""
        if self._heard is None:
            self.begin(now)
            return
        self._longest = max(self._longest, now - self._heard)
        self._heard = now
        if now >= self._ends:
            self._learn(self._longest)
            self._forget_suspicion()
            self._longest = 0.0
            self._ends = now + self._block

    def left(self, now: float) -> float:
        """Seconds that it may be silent yet."""
        return max(self.since, self._excused) + self.deadline - now

    def overdue(self, now: float) -> bool:
        """Whether it has been silent for longer than it may."""
        return self._heard is not None and self.left(now) <= 0.0

    def was_wrong(self, silent: float | None = None) -> None:
        """It was silent for so long, or for the deadline, and had not stalled."""
        self._learn(self.deadline if silent is None else silent)
        self.doublings = min(MOST_DOUBLINGS, self.doublings + 1)
        self._blocks_left = self._week_blocks

    def was_right(self) -> None:
        """It was silent and had stalled."""
        self.doublings = 0

    def _forget_suspicion(self) -> None:
        if self.doublings:
            self._blocks_left -= 1
            if self._blocks_left <= 0:
                self.doublings -= 1
                self._blocks_left = self._week_blocks

    def _learn(self, longest: float) -> None:
        """One more block; early ones weigh alike, later ones fade."""
        self._blocks += 1
        weight = 1.0 / min(self._blocks, MEMORY)
        off = longest - self._mean
        self._mean += weight * off
        self._spread = (1.0 - weight) * (self._spread + weight * off * off)
