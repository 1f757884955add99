"""What the engine hands out: rows, assets to have anew, input set aside."""

from __future__ import annotations

from dataclasses import dataclass, field

from surveillance_collector.rows import Row
from surveillance_core.lake.schemas import Table
from surveillance_core.venues.protocols import Rejected


@dataclass(frozen=True)
class Resync:
    """The assets' books must be had anew on this connection."""

    conn: str
    asset_ids: tuple[str, ...]
    cause: str


@dataclass(frozen=True)
class RejectedFrame:
    """Input set aside, with where and when it came from."""

    conn: str
    recv_ns: int
    rejected: Rejected


@dataclass
class Output:
    """What the engine has produced since it was last drained."""

    rows: list[tuple[Table, int, Row]] = field(default_factory=list[tuple[Table, int, Row]])
    """Table, the row's time in microseconds (it chooses the bucket), and the row."""
    commands: list[Resync] = field(default_factory=list[Resync])
    rejected: list[RejectedFrame] = field(default_factory=list[RejectedFrame])
