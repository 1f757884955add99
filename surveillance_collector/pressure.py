"""How much the disk and the memory press, and what is to be done about it. Pure.

A disk that fills is announced at each mark, once on the way down and once on the way up. Where the
journal has nothing left but its reserve, or cannot be written, or too many rows wait for files, the
collector is *full*: it publishes nothing, and if that lasts it gives up the warm markets so that
the hot ones can be kept for longer. Both end by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MARKS: Final = (0.15, 0.10, 0.05)
"""Free shares of a disk that are announced."""
MARGIN: Final = 0.02
"""How far above a mark the share must rise to have passed it."""
SHED_SECONDS: Final = 3.0
"""How long it is full before anything is given up: a disk that stutters costs nothing."""
CALM_SECONDS: Final = 30.0
"""How long it is not before what was given up comes back."""


class Level(StrEnum):
    """How things stand."""

    OK = "ok"
    LOW = "low"
    """A mark is reached."""
    FULL = "full"
    """What comes in cannot be put away as it should."""


@dataclass(frozen=True, kw_only=True)
class Readings:
    """What is read of the disk and the memory at one moment."""

    free_share: float | None
    """The smaller one of the lake's and the journal's disk; None where it is not known."""
    on_reserve: bool = False
    """Whether the journal has nothing left but its reserve, or could not have one."""
    failing: str | None = None
    """Why the journal cannot be written."""
    rows_held: int = 0
    rows_limit: int = 1


@dataclass(frozen=True, kw_only=True)
class Pressure:
    """The verdict, and what it takes to go on from there."""

    level: Level = Level.OK
    causes: tuple[str, ...] = ()
    """Why it is full: ``reserve``, ``journal``, ``rows``."""
    mark: float | None = None
    """The lowest mark that is reached."""
    shedding: bool = False
    """Whether warm markets are to be given up."""
    since: float | None = None
    """When it became full, or stopped being it; seconds on the caller's clock."""


def follow_pressure(before: Pressure, read: Readings, now: float) -> Pressure:
    """The verdict on what was read, after the one before.

    Examples
    --------
    >>> low = follow_pressure(Pressure(), Readings(free_share=0.12), 0.0)
    >>> low.level.value, low.mark
    ('low', 0.15)
    >>> follow_pressure(low, Readings(free_share=0.16), 1.0).level.value
    'low'
    >>> follow_pressure(low, Readings(free_share=0.18), 2.0).level.value
    'ok'
    """
    causes = _causes(before, read)
    mark = _mark(before.mark, read.free_share)
    full, was_full = bool(causes), before.level is Level.FULL
    since = now if full != was_full else before.since
    lasting = now - since if since is not None else 0.0
    if full:
        shedding = before.shedding or lasting >= SHED_SECONDS
    else:
        shedding = before.shedding and lasting < CALM_SECONDS
    low = Level.OK if mark is None else Level.LOW
    return Pressure(
        level=Level.FULL if full else low,
        causes=causes,
        mark=mark,
        shedding=shedding,
        since=since,
    )


def _causes(before: Pressure, read: Readings) -> tuple[str, ...]:
    half, quarter = read.rows_limit / 2, read.rows_limit / 4
    found = {
        "reserve": read.on_reserve,
        "journal": read.failing is not None,
        "rows": _over("rows" in before.causes, read.rows_held, half, quarter),
    }
    return tuple(name for name, holds in found.items() if holds)


def _over(was: bool, value: float, begins: float, ends: float) -> bool:
    return value >= (ends if was else begins)


def _mark(before: float | None, share: float | None) -> float | None:
    if share is None:
        return before
    reached = [
        mark
        for mark in MARKS
        if share < mark or (before is not None and before <= mark and share < mark + MARGIN)
    ]
    return min(reached, default=None)
