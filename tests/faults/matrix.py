"""The matrix's rows and how often each is tried in each tier.

A row is an id, the fault, and two quantities: of the quick tier, which runs with every other test,
and of the full one, behind ``make faults``. What a unit of a quantity is stands beside it. A row
may be tried by several tests; their outcomes are added.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Tier(StrEnum):
    """How often the faults are tried."""

    QUICK = "quick"
    FULL = "full"


@dataclass(frozen=True)
class Fault:
    """One row of the matrix."""

    what: str
    quick: int
    """How often in the quick tier; 0 where it is tried in the full one alone."""
    full: int
    unit: str
    passes: str
    """What must hold, in a sentence."""

    def quantity(self, tier: Tier) -> int:
        """How often the fault is tried."""
        return self.quick if tier is Tier.QUICK else self.full


MATRIX: Final[dict[str, Fault]] = {
    "STO-01": Fault(
        "the collector killed with SIGKILL at random times under load",
        20,
        200,
        "kills",
        (
            "0 unreadable files; 0 acknowledged rows lost or doubled; unacknowledged loss "
            "within journal.sync_ms + 100 ms; restart within 3 s"
        ),
    ),
    "STO-02": Fault(
        "power cut: the file system shut down without flushing its log",
        5,
        100,
        "cuts",
        "as STO-01, and no empty file; not run where root is not allowed to",
    ),
    "STO-03": Fault(
        (
            "a crash between every two file-system operations: any suffix that was not synced "
            "lost, any subset of renames that were not"
        ),
        1,
        5,
        "scenarios",
        "recovery ends and the promises hold in every state",
    ),
    "STO-04": Fault(
        "the order of system calls of one publication",
        1,
        1,
        "publications",
        (
            "write, fsync of the file, rename, fsync of the directory, fsync of the manifest, "
            "and only then the journal's segment goes"
        ),
    ),
    "STO-05": Fault(
        "no space left at the n-th write",
        30,
        300,
        "positions",
        (
            "no crash, no partial file to be seen, resumed within 5 s of space, in the ledger "
            "if anything was lost"
        ),
    ),
    "STO-06": Fault(
        "input/output errors, a read-only file system, a failed fsync",
        30,
        300,
        "errors",
        "no fsync is tried again on the same descriptor; the data is written anew; one alert",
    ),
    "STO-07": Fault(
        "bits flipped, files cut, pages zeroed in the lake and the journal",
        100,
        2000,
        "damages",
        "verify --deep finds every one; readers return the rest and say so",
    ),
    "STO-08": Fault(
        "the journal's tail torn, a checksum wrong in the middle, a segment missing",
        200,
        5000,
        "cuts",
        (
            "the longest sound beginning of each segment is recovered, what is skipped is "
            "counted, no crash loop"
        ),
    ),
    "STO-09": Fault(
        "compaction killed",
        20,
        200,
        "kills",
        "the multiset of rows is the same before and after; a second run changes nothing",
    ),
    "STO-10": Fault(
        "ten processes race for the lock",
        20,
        100,
        "races",
        "exactly one holds it; the others name it",
    ),
    "NET-01": Fault(
        "silent stall, pings answered: all of a venue, a connection, a token, from the beginning",
        3,
        60,
        "stalls",
        "found within 60 s; ledger rows exact to 1 s; books equal the truth after",
    ),
    "NET-02": Fault(
        "a peer that is gone without a word",
        2,
        30,
        "connections",
        "found within 30 s",
    ),
    "NET-03": Fault(
        "each close code while idle, in a burst, in the middle of a frame",
        9,
        27,
        "closes",
        "resumed; delays between 0 and the cap, on average half of the exponential ones",
    ),
    "NET-04": Fault(
        "a server that refuses 1,000 times",
        0,
        1,
        "servers",
        "no more than one attempt a second over any 10 s; under 5% of a processor",
    ),
    "NET-05": Fault(
        "a storm of 429 with Retry-After",
        1,
        10,
        "storms",
        "no request inside the forbidden time",
    ),
    "NET-06": Fault(
        "a network that slices frames to the byte, with jitter and little bandwidth",
        1,
        10,
        "networks",
        "nothing lost, order kept",
    ),
    "NET-07": Fault(
        "connections renewed at 2,000 messages a second",
        50,
        1000,
        "rotations",
        "0 frames missing against the truth log, 0 rows twice, at most 2 connections a shard",
    ),
    "NET-08": Fault(
        "names that do not resolve, certificates that are not to be trusted",
        6,
        20,
        "faults",
        "the message names the cause; no busy loop",
    ),
    "MSG-01": Fault(
        "damaged frames",
        20000,
        1000000,
        "frames",
        "no exception escapes; what is refused is kept; the counters add up",
    ),
    "MSG-02": Fault(
        "frames dropped, repeated, out of order, 0.1 to 5% each",
        10000,
        1000000,
        "frames",
        (
            "every gap is found and nothing else (Kalshi's numbers); books equal the truth "
            "wherever verified"
        ),
    ),
    "MSG-03": Fault(
        "message shapes of all earlier eras",
        1,
        1,
        "corpora",
        "each is read, or refused for the right reason",
    ),
    "MSG-04": Fault(
        "a tick-size change in the middle of things",
        20,
        200,
        "changes",
        "no row mixes grids",
    ),
    "MSG-05": Fault(
        "markets that are listed, closed and resolved",
        500,
        20000,
        "markets",
        "memory returns to where it was, 5% more or less; no subscription left behind",
    ),
    "TIM-01": Fault(
        "the clock set back or on by an hour at the edge of a bucket",
        20,
        200,
        "steps",
        "every row is in exactly one file; no duration is negative",
    ),
    "TIM-02": Fault(
        "midnight, the hour, the month, the leap day",
        24,
        400,
        "boundaries",
        "rows are conserved; the next day's universe is adopted",
    ),
    "PRO-01": Fault(
        "SIGTERM under load",
        10,
        50,
        "stops",
        "exit 0 within 20 s; 0 rows lost",
    ),
    "PRO-02": Fault(
        "an exception in each background task",
        1,
        1,
        "rounds of all tasks",
        "not ready within 5 s, and a restart or an exit that is not 0",
    ),
    "PRO-03": Fault(
        "the disk stalled for 60 s at 5,000 messages a second",
        0,
        5,
        "stalls",
        "no more than 512 MiB; nothing lost; what lags is caught up with",
    ),
    "PRO-04": Fault(
        "memory and descriptors over time",
        1,
        1,
        "runs",
        "less than 1 MiB and no descriptor a simulated hour once warm",
    ),
    "SEC-01": Fault(
        (
            "a secret in the configuration, the environment and the key file, every path of "
            "errors forced"
        ),
        1,
        1,
        "rounds of all paths",
        "it is in no log, metric, traceback, page or file",
    ),
    "SEC-02": Fault(
        "hostile titles and ids",
        200,
        200,
        "texts",
        "no path outside the lake, no broken table, nothing that a page would run",
    ),
    "UNI-01": Fault(
        "the universe cut short, empty, or garbage",
        50,
        500,
        "universes",
        "the last good one is kept; an alert says so",
    ),
    "DAG-01": Fault(
        "materialised again, late data, missing partitions, while the collector writes",
        20,
        100,
        "materialisations",
        "the same input gives the same output; a missing day is a check that says so",
    ),
    "SOAK-1": Fault(
        (
            "a day compressed: stalls, drops, kills, partitions, full disks, a midnight, "
            "surprises, churn"
        ),
        0,
        1,
        "days",
        "all of the above, and the coverage report equals the log of what was injected",
    ),
}
"""Every row by its id, in the order of the report."""

TURNS: Final = (
    (("STO-01",), ("NET-01", "NET-02", "NET-04", "NET-05", "NET-06", "STO-02")),
    (("STO-09", "TIM-01", "TIM-02", "MSG-03", "NET-08", "SEC-02", "UNI-01"), ("STO-05",)),
    (("NET-07", "PRO-04", "SEC-01", "STO-04"), ("STO-06",)),
    (("SOAK-1",), ("PRO-03",)),
)
"""Rows whose limits are of time or of memory, which no more than one other is tried beside.

Turns come one after another. Beside each other are two lanes that leave each other a processor;
where one would be done before the other, rows without such limits fill it. PRO-03 for the most
part waits for a disk that does not answer.
"""
LONGEST: Final = ("STO-03", "MSG-01", "MSG-02")
"""Of the others those that take longest, which begin first."""
TIMED: Final = frozenset(fault_id for turn in TURNS for lane in turn for fault_id in lane)


@dataclass
class Trial:
    """What a test found out of a row so far."""

    fault_id: str
    tier: Tier
    seed: int
    runs: int = 0
    failures: list[str] = field(default_factory=list[str])
    worst_detection_s: float | None = None
    """Longest time from the fault to its mention in the ledger, in the venue's own seconds."""
    rows_lost: int = 0
    notes: list[str] = field(default_factory=list[str])
    seconds: float = 0.0
    """How long it took."""

    @property
    def quantity(self) -> int:
        """How often the fault is to be tried."""
        return MATRIX[self.fault_id].quantity(self.tier)

    @contextmanager
    def case(self, name: str) -> Generator[None]:
        """One try: what does not hold in it is a failure of the row, and the next try goes on."""
        self.runs += 1
        try:
            yield
        except AssertionError as error:
            what = str(error) or "does not hold"
            self.failures.append(f"{name}: {what.splitlines()[0]}")

    def detected_after(self, seconds: float) -> None:
        """The fault was found so long after it began."""
        self.worst_detection_s = max(self.worst_detection_s or 0.0, seconds)
