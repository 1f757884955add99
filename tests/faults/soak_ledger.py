"""SOAK-1 judged: what the ledger says held against what was injected. Pure.

The log of what was injected, together with the venue's own knowledge of who was subscribed to what
and was told which book when, says which gaps there have to be. The report's gaps have to be those
and no others.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple

import polars as pl

from surveillance_core.venues.simulated.world import RESOLVES_AFTER_MS

from .soak import SPEED, Fault, Kind
from .soak_day import CALM_S, Injected
from .soak_venue import Followings

_NS = 1_000_000_000
SECOND_NS: Final = int(SPEED) * _NS
"""A second of the wall's in the venue's time: what edges have to be exact to."""
OVER_NS: Final = RESOLVES_AFTER_MS * 1_000_000 + SECOND_NS
BENIGN: Final = {
    "awaiting_book": "subscribed, the first book on its way",
    "resubscribed": "its connection was opened anew, the book on its way",
    "tick_size_change": "a new price grid, the book on its way",
    "resolved": "its result is known: it has no book any more",
    "stopped": "the collector was told to stop",
}
"""Causes of untrusted time that needs no fault."""
_STALLED = frozenset({"stalled", "half_open", "sentinel_silent"})


def fitting(fault: Fault) -> frozenset[str]:
    """Causes in the ledger that name the fault."""
    match fault.kind:
        case Kind.STALL:
            return _STALLED
        case Kind.DROP:
            return frozenset({f"closed_{fault.detail}"})
        case Kind.REFUSED:
            return frozenset({"closed_1006"})
        case Kind.HOLE:
            return _STALLED | {"closed_1006"}
        case Kind.KILL:
            return frozenset({"restarted"})
        case Kind.DISK:
            # the journal's reserve has room for all that comes in
            return frozenset()
        case Kind.SURPRISE:
            return frozenset({"malformed_price_change"})


class Gap(NamedTuple):
    """An interval in which a market was not trusted, nanoseconds."""

    token: str
    cause: str
    start_ns: int
    end_ns: int


class Due(NamedTuple):
    """A gap that has to be there: when it began and when a book was there again."""

    token: str
    number: int
    """Of the fault."""
    start_ns: int
    end_ns: int | None
    """None where the market was left, or over, before."""


def joined(reports: Iterable[Sequence[Mapping[str, Any]]]) -> list[Gap]:
    """The gaps of the reports of consecutive days; one across midnight is in both."""
    gaps: list[Gap] = []
    open_at: dict[tuple[str, str, int], int] = {}
    for day in reports:
        for row in sorted(day, key=lambda row: row["start"]):
            start, end = (int(row[key].timestamp() * 1e6) * 1_000 for key in ("start", "end"))
            place = open_at.pop((row["outcome_id"], row["cause"], start), None)
            if place is None:
                place = len(gaps)
                gaps.append(Gap(row["outcome_id"], row["cause"], start, end))
            else:
                gaps[place] = gaps[place]._replace(end_ns=end)
            open_at[row["outcome_id"], row["cause"], end] = place
    return gaps


def due_gaps(
    log: Sequence[Injected], followings: Followings, resolved_ns: Mapping[str, int]
) -> list[Due]:
    """The gaps that the log calls for, of markets that were followed for a while and after.

    Parameters
    ----------
    resolved_ns
        When each primary token's market was resolved; only primary tokens have coverage.
    """
    found: list[Due] = []
    for number, done in enumerate(log):
        if not fitting(done.fault):
            continue
        tokens = done.spoiled if done.fault.kind is Kind.SURPRISE else done.followed
        for token in sorted(tokens):
            start_ns = done.spoiled.get(token, done.start_ns)
            ends_ns = resolved_ns.get(token)
            # what is over is traded no more some time before it has a result
            if ends_ns is None or ends_ns - OVER_NS <= start_ns:
                continue
            if not _had_a_book(followings, token, start_ns):
                continue
            end_ns = next_told(followings, token, max(start_ns, _deaf_until(done)))
            if _stays(done, followings, token, start_ns, end_ns):
                late_ns = min(done.recovered_ns + 2 * SECOND_NS, ends_ns - OVER_NS)
                if end_ns is not None and end_ns > late_ns:
                    end_ns = None
                found.append(Due(token, number, start_ns, end_ns))
    return found


def _deaf_until(done: Injected) -> int:
    """Until when a book that is sent does not come through."""
    return done.end_ns if done.fault.kind in (Kind.STALL, Kind.HOLE) else done.start_ns


def _had_a_book(followings: Followings, token: str, at_ns: int) -> bool:
    """Whether it had been subscribed, with a book, for long enough."""
    since_ns = at_ns - int(CALM_S / 2 * SECOND_NS)
    spans = followings.spans.get(token, ())
    told = followings.told.get(token, ())
    return any(
        a <= since_ns and (not b or b >= at_ns) and any(a <= t <= since_ns for t in told)
        for a, b in spans
    )


def _stays(
    done: Injected, followings: Followings, token: str, start_ns: int, end_ns: int | None
) -> bool:
    """Whether the collector had still a mind to follow it when it found out.

    What a stall hid from it until it left is another matter, see ``hidden``.
    """
    if done.fault.kind is Kind.STALL:
        return followings.covers(token, start_ns, start_ns + int(1.5 * SECOND_NS))
    soon_ns = done.recovered_ns + 2 * SECOND_NS
    return end_ns is not None and end_ns <= soon_ns


def next_told(followings: Followings, token: str, at_ns: int) -> int | None:
    """When its book was next sent to somebody."""
    told = followings.told.get(token, [])
    place = bisect_left(told, at_ns)
    return told[place] if place < len(told) else None


@dataclass
class Verdict:
    """What became of the gaps that were due, and of the others."""

    due: int = 0
    found: int = 0
    missing: list[str] = field(default_factory=list[str])
    unexplained: list[str] = field(default_factory=list[str])
    inexact: list[str] = field(default_factory=list[str])
    worst_edge_s: float = 0.0
    """On the wall."""
    by_cause: Counter[str] = field(default_factory=Counter[str])
    """Gaps that a fault explains."""
    benign: Counter[str] = field(default_factory=Counter[str])


def judge_gaps(
    gaps: Sequence[Gap],
    due: Sequence[Due],
    log: Sequence[Injected],
    followings: Followings,
    exact_ns: int = SECOND_NS,
) -> Verdict:
    """Match gaps and faults one to one."""
    verdict = Verdict(due=len(due))
    of_token: defaultdict[str, list[Gap]] = defaultdict(list)
    for gap in gaps:
        of_token[gap.token].append(gap)
    for want in due:
        fault = log[want.number].fault
        about = f"{fault.kind} {fault.detail} {want.number} of {want.token[:12]}"
        near = [
            gap
            for gap in of_token[want.token]
            if gap.cause in fitting(fault)
            and gap.start_ns <= log[want.number].recovered_ns + exact_ns
            and gap.end_ns > want.start_ns
        ]
        if not near:
            verdict.missing.append(about)
            continue
        verdict.found += 1
        off_ns = abs(near[0].start_ns - want.start_ns)
        if want.end_ns is not None and followings.covers(
            want.token, want.end_ns, want.end_ns + SECOND_NS // 10
        ):
            off_ns = max(off_ns, min(abs(gap.end_ns - want.end_ns) for gap in near))
        verdict.worst_edge_s = max(verdict.worst_edge_s, off_ns / SECOND_NS)
        if off_ns > exact_ns:
            verdict.inexact.append(f"{about}: by {off_ns / SECOND_NS:.2f} s of the wall")
    for gap in gaps:
        _explain(gap, log, followings, exact_ns, verdict)
    return verdict


def _explain(
    gap: Gap, log: Sequence[Injected], followings: Followings, exact_ns: int, verdict: Verdict
) -> None:
    """Find the fault that a gap is of, or the rule that lets it be."""
    if gap.cause in BENIGN:
        short = gap.cause in ("resolved", "stopped") or gap.end_ns - gap.start_ns <= exact_ns
        if short or any(
            gap.start_ns <= done.recovered_ns + exact_ns and gap.end_ns >= done.start_ns - exact_ns
            for done in log
            if fitting(done.fault)
        ):
            verdict.benign[gap.cause] += 1
            return
    for done in log:
        tokens = done.spoiled if done.fault.kind is Kind.SURPRISE else None
        if (
            gap.cause in fitting(done.fault)
            and done.start_ns - exact_ns <= gap.start_ns <= done.recovered_ns + exact_ns
            and (tokens is None or gap.token in tokens)
            and followings.touches(
                gap.token, done.start_ns - exact_ns, done.recovered_ns + exact_ns
            )
        ):
            verdict.by_cause[gap.cause] += 1
            return
    seconds = (gap.end_ns - gap.start_ns) / 1e9
    verdict.unexplained.append(
        f"{gap.cause} of {gap.token[:12]} at {gap.start_ns // 1_000_000} ms for {seconds:.1f} s"
    )


def trusted_spans(coverage: pl.DataFrame) -> dict[str, list[tuple[int, int]]]:
    """When each primary token was trusted and nothing took it back, nanoseconds.

    In the order of the rows' number, unlike ``tests.collector.live.trust``.
    """
    rows = coverage.select(
        "outcome_id",
        pl.col("ts_start").dt.epoch("us").alias("start_us"),
        pl.col("ts_end").dt.epoch("us").alias("end_us"),
        pl.col("state") == "trusted",
    )
    steps: defaultdict[str, Counter[int]] = defaultdict(Counter)
    doubts: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for token, start_us, end_us, trusted in rows.iter_rows():
        kind = steps if trusted else doubts
        kind[token][start_us] += 1
        kind[token][end_us] -= 1
    found: dict[str, list[tuple[int, int]]] = {}
    for token, step in steps.items():
        spans: list[tuple[int, int]] = []
        up = down = 0
        edges = sorted({*step, *doubts[token]})
        for start_us, end_us in pairwise(edges):
            up += step[start_us]
            down += doubts[token][start_us]
            if up and not down:
                before = spans.pop() if spans and spans[-1][1] == start_us * 1_000 else None
                begun_ns = before[0] if before is not None else start_us * 1_000
                spans.append((begun_ns, end_us * 1_000))
        found[token] = spans
    return found


def hidden_ns(
    spans: Mapping[str, Sequence[tuple[int, int]]], log: Sequence[Injected]
) -> list[tuple[str, int, int]]:
    """Trusted while nothing came through: token, number of the fault, nanoseconds of it."""
    found: list[tuple[str, int, int]] = []
    for number, done in enumerate(log):
        if done.fault.kind in (Kind.SURPRISE, Kind.DROP, Kind.DISK):
            continue
        for token, trusted in spans.items():
            over = sum(
                max(0, min(end, done.end_ns) - max(start, done.start_ns)) for start, end in trusted
            )
            if over:
                found.append((token, number, over))
    return found


def modelled_trust_s(
    log: Sequence[Injected],
    followings: Followings,
    resolved_ns: Mapping[str, int],
    start_ns: int,
    end_ns: int,
) -> float:
    """Market-seconds between two times that ought to be trusted, by the venue's account alone."""
    total_ns = 0
    for token, over_ns in resolved_ns.items():
        outages = [
            (done.spoiled.get(token, done.start_ns), _deaf_until(done))
            for done in log
            if fitting(done.fault)
            and (done.fault.kind is not Kind.SURPRISE or token in done.spoiled)
        ]
        for since_ns, until_ns in followings.spans.get(token, ()):
            last_ns = min(until_ns or end_ns, over_ns, end_ns)
            at_ns: int | None = since_ns
            while at_ns is not None:
                at_ns = next_told(followings, token, at_ns)
                while at_ns is not None and (
                    deaf := [end for start, end in outages if start <= at_ns < end]
                ):
                    at_ns = next_told(followings, token, max(deaf))
                if at_ns is None or at_ns >= last_ns:
                    break
                cut_ns = min((start for start, _ in outages if start >= at_ns), default=last_ns)
                cut_ns = min(cut_ns, last_ns)
                total_ns += max(0, cut_ns - max(at_ns, start_ns))
                at_ns = cut_ns + 1 if cut_ns < last_ns else None
    return total_ns / 1e9
