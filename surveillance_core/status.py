"""What a running collector says of itself: its page ``/status.json``, and where to find it.

The collector writes these and ``surveillance status`` reads them; nothing else is shared by the
two. No field holds a setting, a credential or text that a venue wrote.
"""

from __future__ import annotations

from datetime import date, datetime

import msgspec


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a collector is not ready."""

    code: str
    venue: str = ""
    """Empty where it concerns the whole process."""
    what: str
    since: datetime
    next_step: str


class ConnectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One market-data connection that holds assets."""

    name: str
    up: bool
    assets: int
    data_age_seconds: float | None
    """Since data last came, pings aside; None before any has."""
    reconnects: dict[str, int] = {}
    """By cause."""
    ping_seconds: float | None = None
    """What the last answered ping took, there and back."""
    silence_seconds: float | None = None
    """How long data may stay away before the connection is replaced."""
    sentinel: str = ""
    """Whose the asset is that would be missed: ``own``, ``other``, or empty where there is none."""


class JournalStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How what a venue brings is put away."""

    lag_seconds: float = 0.0
    """Age of the oldest input that is not on the disk."""
    waiting_bytes: int = 0
    """What is in memory alone."""
    on_reserve: bool = False
    """Whether the journal has nothing left but what was set aside for it."""
    failing: bool = False
    """Whether the last write failed."""
    failures: int = 0
    segments: int = 0
    """Files of the journal."""
    blocked: str = ""
    """Why recording has not begun; empty where it has."""
    level: str = "ok"
    """``ok``, ``low`` or ``full``."""
    causes: tuple[str, ...] = ()
    """Why it is full."""
    free_share: float | None = None
    """Of the lake's disk or the journal's, whichever has less; None where it is not known."""
    shedding: bool = False
    """Whether warm markets are given up."""
    sockets_paused: bool = False
    """Whether no socket is read because the memory is full."""
    pauses: int = 0


class VenueStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the collection of one venue stands. Counts are since the start unless they say so."""

    venue: str
    seconds: float
    universe: date | None
    """Day of the universe in use; None while there is none."""
    universe_age_seconds: float | None
    universe_refused: str = ""
    """What is logged of a newer universe that is not in use; empty where there is none."""
    markets: int
    """Followed now."""
    books_expected: int
    """Of them, those without a result."""
    books: int
    """Of them, those whose book stands."""
    trusted: int
    """Of them, those whose book can be relied on, as ``coverage`` will say."""
    trust: dict[str, int]
    """Standing books by what integrity checks found."""
    frames: int
    messages: dict[str, int]
    rejected: dict[str, int]
    rejected_not_kept: int
    ignored: dict[str, int]
    counts: dict[str, int]
    hashes: dict[str, int]
    connections: tuple[ConnectionStatus, ...]
    rows_held: int
    published: dict[str, int]
    files: int
    publish_failures: int
    publish_failing: bool
    """Whether the last attempt failed."""
    engine_age_seconds: float | None
    """Since time last passed in the engine; None before it first did."""
    stalls: dict[str, int] = {}
    """Stalls found, by the tier that found them."""
    verdicts: dict[str, int] = {}
    """Silences that were taken for stalls, by whether they were."""
    witness: dict[str, int] = {}
    """What REST said of books, and what came of it."""
    witness_demoted: bool = False
    """Whether it contradicted so much that it is not asked for a while."""
    journal: JournalStatus = JournalStatus()
    failed: str
    """Kinds of error that end the collection; empty while there are none."""
    stopping: bool


class ProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The process itself."""

    pid: int
    version: str
    origin: str
    """Whether it collects real or simulated data."""
    started: datetime
    disk_free_bytes: int | None
    """On the lake's file system; None where the lake is an object store."""
    loop_lag_seconds: float
    """The event loop's greatest lateness in the last minute."""
    stopping: bool = False


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, with the verdict."""

    at: datetime
    ready: bool
    reasons: tuple[Reason, ...]
    process: ProcessStatus
    venues: tuple[VenueStatus, ...]


class HealthAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a collector's health pages are; kept in the lake's state directory while it runs."""

    url: str
    pid: int
