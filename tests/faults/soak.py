"""SOAK-1's plan: what is done to the collector in a day, and when. Pure, from a seed.

A day is compressed: simulated seconds are ``SPEED`` to one of the wall's, for what is sampled,
bucketed and dated. What waits for a machine (a connection, a silence, a restart) is the wall's, so
that an edge that is exact to a second is exact to ``SPEED`` simulated seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from random import Random
from typing import Final

SPEED: Final = 180.0
HOUR_S: Final = 3_600.0
MIDNIGHT: Final = datetime(2026, 9, 2, tzinfo=UTC)
KILLED_UNTIL: Final = 0.75
"""Share of the day after which nobody is killed, so that memory can be watched for hours."""
_CODES: Final = (1000, 1001, 1006, 1008, 1011, 1012, 1013)


class Kind(StrEnum):
    """What is done."""

    STALL = "stall"
    """Nothing is sent any more; pings are answered."""
    DROP = "drop"
    """All connections are closed with a code."""
    REFUSED = "refused"
    """The venue cannot be reached: connections are cut and refused."""
    HOLE = "hole"
    """The venue cannot be reached: nothing comes through and nothing ends."""
    KILL = "kill"
    """SIGKILL, and a restart."""
    DISK = "disk"
    """No page is left on the disk, the journal's reserve apart."""
    SURPRISE = "surprise"
    """Frames are spelled in a way that nobody knows yet."""


class Surprise(StrEnum):
    """What is new about frames."""

    UNKNOWN_TYPE = "unknown type"
    NEW_FIELD = "new field"
    FIELD_GONE = "field gone"
    TYPE_CHANGED = "type changed"
    TIME_CHANGED = "time of another type"


DAY: Final = {
    Kind.STALL: 24, Kind.DROP: 12, Kind.REFUSED: 3, Kind.HOLE: 3, Kind.KILL: 24, Kind.DISK: 2,
    Kind.SURPRISE: 5,
}  # fmt: skip
"""How often each is done in a day."""


@dataclass(frozen=True)
class Fault:
    """One thing to do.

    Parameters
    ----------
    at_s
        Simulated seconds from the start.
    wall_s
        How long it lasts, or how long nobody restarts what was killed; seconds of the wall.
    detail
        The close code, or the surprise.
    """

    kind: Kind
    at_s: float
    wall_s: float = 0.0
    detail: str = ""


@dataclass(frozen=True)
class Plan:
    """A day, or less of one, with a midnight in its middle."""

    seed: int
    hours: float
    faults: tuple[Fault, ...]

    @property
    def start(self) -> datetime:
        """The venue's time at the start."""
        return MIDNIGHT - timedelta(hours=self.hours / 2)

    @property
    def wall_seconds(self) -> float:
        """How long it takes."""
        return self.hours * HOUR_S / SPEED


def plan_soak(seed: int, hours: float) -> Plan:
    """So much of a day: what is done in it, in an order and at times that the seed decides.

    Examples
    --------
    >>> day = plan_soak(1, 24.0)
    >>> len(day.faults), day.faults == plan_soak(1, 24.0).faults
    (73, True)
    """
    chance = Random(f"soak:{seed}")
    counts = {kind: max(1, round(count * hours / 24)) for kind, count in DAY.items()}
    counts[Kind.SURPRISE] = len(Surprise)
    total = sum(counts.values())
    slot_s = hours * HOUR_S / (total + 1)
    early = int(KILLED_UNTIL * total)
    others = [kind for kind, count in counts.items() if kind is not Kind.KILL for _ in range(count)]
    chance.shuffle(others)
    first = [Kind.KILL] * counts[Kind.KILL] + others[: early - counts[Kind.KILL]]
    chance.shuffle(first)
    surprises = list(Surprise)
    faults: list[Fault] = []
    for number, kind in enumerate(first + others[early - counts[Kind.KILL] :]):
        at_s = (number + 0.5 + chance.uniform(0.0, 0.2)) * slot_s
        faults.append(_drawn(kind, at_s, chance, surprises))
    return Plan(seed, hours, tuple(faults))


def _drawn(kind: Kind, at_s: float, chance: Random, surprises: list[Surprise]) -> Fault:
    match kind:
        case Kind.STALL:
            return Fault(kind, at_s, chance.uniform(1.6, 2.4))
        case Kind.DISK:
            # shorter than it takes until anything is given up
            return Fault(kind, at_s, chance.uniform(1.5, 2.5))
        case Kind.REFUSED | Kind.HOLE:
            return Fault(kind, at_s, chance.uniform(1.2, 2.2))
        case Kind.DROP:
            return Fault(kind, at_s, detail=str(chance.choice(_CODES)))
        case Kind.KILL:
            return Fault(kind, at_s, chance.uniform(0.0, 0.5))
        case Kind.SURPRISE:
            return Fault(kind, at_s, 0.5, surprises.pop(0))
