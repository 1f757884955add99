"""Faults written down in a TOML file, by venue and time. Pure.

.. code-block:: toml

    [[fault]]
    venue = "kalshi"
    at_seconds = 60.0
    kind = "stall"
    seconds = 20.0
"""

from __future__ import annotations

import tomllib
from typing import Literal

import msgspec

from surveillance_core.markets import Venue
from surveillance_core.venues.simulated.faults import (
    Drop,
    Duplicate,
    Fail,
    Fault,
    Faults,
    HalfOpen,
    Inject,
    Refuse,
    Reorder,
    RestFault,
    RestKind,
    Skip,
    Slow,
    Stall,
)

Kind = Literal[
    "drop", "stall", "inject", "skip", "duplicate", "reorder", "half_open", "slow", "fail",
    "refuse", "rest_status", "rest_malformed", "rest_empty_page", "rest_endless_cursor",
]  # fmt: skip


class FaultScheduleError(ValueError):
    """A schedule that cannot be used; says where and why."""


class _Entry(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    venue: Venue
    at_seconds: float
    """Seconds of the venues' time since their start."""
    kind: Kind
    seconds: float = 0.0
    frames: int = 1
    times: int = 1
    after: int = 0
    """Requests that pass before."""
    code: int = 1006
    status: int = 500
    retry_after: float | None = None
    path: str = "/"
    """Beginning of the paths that are met, below the interface's root."""
    frame: str = ""


class _File(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    fault: list[_Entry] = []


def read_schedule(text: str, start_ms: int) -> dict[Venue, Faults]:
    """The faults of each venue; ``start_ms`` is the venues' time at the start.

    Raises
    ------
    FaultScheduleError
        If the text is not TOML, or an entry names what does not exist.

    Examples
    --------
    >>> text = '''
    ... [[fault]]
    ... venue = "kalshi"
    ... at_seconds = 1.5
    ... kind = "skip"
    ... frames = 2
    ... '''
    >>> faults = read_schedule(text, 1_000)
    >>> faults[Venue.KALSHI].meet(2_500)
    >>> faults[Venue.KALSHI].take_stream()
    [Skip(frames=2)]
    """
    try:
        parsed = msgspec.convert(tomllib.loads(text), _File, strict=False)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise FaultScheduleError(f"the fault schedule cannot be used: {error}") from error
    by_venue: dict[Venue, list[tuple[int, Fault]]] = {venue: [] for venue in Venue}
    for entry in parsed.fault:
        at_ms = start_ms + round(entry.at_seconds * 1000)
        by_venue[entry.venue].append((at_ms, _fault(entry)))
    return {venue: Faults(schedule) for venue, schedule in by_venue.items()}


def _fault(entry: _Entry) -> Fault:
    match entry.kind:
        case "drop":
            return Drop(entry.code, "")
        case "stall":
            return Stall(entry.seconds)
        case "inject":
            return Inject(entry.frame)
        case "skip":
            return Skip(entry.frames)
        case "duplicate":
            return Duplicate(entry.frames)
        case "reorder":
            return Reorder()
        case "half_open":
            return HalfOpen(entry.seconds)
        case "slow":
            return Slow(entry.seconds, entry.frames)
        case "fail":
            return Fail(entry.code)
        case "refuse":
            return Refuse(entry.status, entry.times)
        case kind:
            return RestFault(
                path=entry.path,
                kind=RestKind(kind.removeprefix("rest_")),
                times=entry.times,
                after=entry.after,
                status=entry.status,
                retry_after=entry.retry_after,
            )
