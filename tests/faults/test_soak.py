"""SOAK-1: a day compressed, and its ledger held against the log of what was injected."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
import pytest

from surveillance_core.lake.manifest import manifest_days, read_manifest
from surveillance_core.lake.read import verify_days
from surveillance_core.lake.schemas import COVERAGE, SNAPSHOTS, TRADES
from surveillance_core.venues.simulated.judge import (
    STALE_AFTER_NS,
    compare_books,
    compare_trades,
)
from surveillance_core.venues.simulated.truth import Truth
from tests.collector.live import PRINT_LAG_NS
from tests.collector.worlds import VENUE, lake_rows

from .matrix import Tier, Trial
from .mounted import small_memory_disk
from .soak import DAY, SPEED, Kind, Plan, plan_soak
from .soak_day import BUCKET_MINUTES, HEARTBEAT_S, WARM_MS, Day, Sample, faults_in_text
from .soak_ledger import (
    SECOND_NS,
    Verdict,
    due_gaps,
    hidden_ns,
    joined,
    judge_gaps,
    modelled_trust_s,
    trusted_spans,
)
from .soak_venue import soak_venue

MIB = 1 << 20
DISK_MB = 192
PATIENCE = 3.0
"""The whole machine is one's own neither here nor there: what takes a second of the wall's may take
so many."""
TRUSTED_OFF = 0.05
"""Share of the trusted market time that the ways of books and of last words may make up: a few
hundredths of the wall's second, thousands of times."""
WARM_S = 5.0
"""Age of a process from which its memory is compared."""
_ROW_LIMIT_NS = int((HEARTBEAT_S + 2.5 * WARM_MS / 1e3) * 1e9) + SECOND_NS
"""A book in the middle of a batch is read once that is whole, for which it waits by the wall."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path | None]:
    """A small file system, where root may mount one; None elsewhere."""
    with ExitStack() as mounted:
        try:
            place: Path | None = mounted.enter_context(
                small_memory_disk(tmp_path / "disk", DISK_MB)
            )
        except pytest.skip.Exception:
            place = None
        yield place


async def _lived(plan: Plan, root: Path, disk: Path | None, patch: pytest.MonkeyPatch) -> Day:
    async with soak_venue(plan, patch) as venue:
        day = Day(root, plan, venue, disk)
        await day.live()
    (root / "injected.json").write_text(json.dumps(faults_in_text(day), indent=1))
    return day


def _report(day: Day, on: date) -> dict[str, Any]:
    """What ``surveillance coverage`` says of a day."""
    done = subprocess.run(
        [sys.executable, "-m", "surveillance_assets.cli", "coverage", "--config", str(day.config),
         "--venue", VENUE.value, "--date", on.isoformat(), "--gaps", "--json"],
        env=day.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-300:]
    found: dict[str, Any] = json.loads(done.stdout)
    for gap in found["gaps"]:
        gap |= {key: datetime.fromisoformat(gap[key]) for key in ("start", "end")}
    return found


def _resolved(truth: Truth) -> dict[str, int]:
    """When each primary token was resolved, nanoseconds; never is far away."""
    return {
        market.yes_id: truth.results[index].ts_ms * 1_000_000 if index in truth.results else 1 << 62
        for index, market in truth.markets.items()
    }


def _judge_rows(trial: Trial, day: Day, truth: Truth) -> None:
    """Rows are true, once, and all there where the ledger trusts itself."""
    snapshots, trades = lake_rows(day.lake, SNAPSHOTS), lake_rows(day.lake, TRADES)
    spans = trusted_spans(lake_rows(day.lake, COVERAGE))
    with trial.case("books"):
        books = compare_books(
            snapshots, truth, stale_after_ns=int(STALE_AFTER_NS * SPEED * PATIENCE)
        )
        assert books.compared, "no row"
        assert not books.different, f"{books.different} rows not true: {books.examples[:1]}"
    with trial.case("rows twice"):
        # a book that is doubted and the one that replaces it may be of one moment
        twice = len(snapshots) - snapshots.select("outcome_id", "ts_recv", "trust").n_unique()
        assert not twice, f"{twice} snapshots twice"
    with trial.case("trades"):
        lag_ns = int(PRINT_LAG_NS * SPEED)
        other = {market.yes_id: market.no_id for market in truth.markets.values()}
        windows = {
            token: [(start, end - lag_ns) for start, end in trusted]
            for yes_id, trusted in spans.items()
            for token in (yes_id, other[yes_id])
        }
        told = compare_trades(trades, truth, windows=windows)
        trial.rows_lost += told.missing
        assert not told.extra, f"{told.extra} trades twice or untrue: {told.examples[:1]}"
        assert not told.missing, f"{told.missing} trades missing: {told.examples[:1]}"
    with trial.case("heartbeats"):
        holes = _holes(snapshots, spans)
        trial.rows_lost += len(holes)
        assert not holes, f"{len(holes)} times without the row that is due: {holes[:2]}"
    with trial.case("verify --deep"):
        files, damaged, lines = verify_days(
            day.lake, VENUE, manifest_days(day.lake.store, VENUE), deep=True
        )
        assert (damaged, lines) == ([], 0), f"{len(damaged)} files damaged, {lines} lines"
    trial.notes.append(
        f"{books.compared:,} books and {told.matched:,} trades of "
        f"{snapshots['market_id'].n_unique()} markets true, {files} files"
    )


def _holes(
    snapshots: pl.DataFrame, spans: dict[str, list[tuple[int, int]]]
) -> list[tuple[str, int, int]]:
    """Stretches of trust without a row for longer than an unchanged book may go unwritten."""
    rows = snapshots.select(
        "outcome_id", (pl.col("ts_recv").dt.epoch("us") * 1_000).alias("at")
    ).sort("at")
    by_token = dict(rows.group_by("outcome_id").agg("at").iter_rows())
    found: list[tuple[str, int, int]] = []
    for token, trusted in spans.items():
        times: list[int] = by_token.get(token, [])
        for start, end in trusted:
            within = [start, *(at for at in times if start <= at <= end), end]
            found += [
                (token[:12], before // 10**6, round((after - before) / 1e9))
                for before, after in pairwise(within)
                if after - before > _ROW_LIMIT_NS
            ]
    return found


def _judge_ledger(trial: Trial, day: Day, truth: Truth, reports: list[dict[str, Any]]) -> Verdict:
    """The report's gaps are those of the log, no more and no fewer."""
    followings, log = day.venue.followings, day.injected
    resolved = _resolved(truth)
    due = due_gaps(log, followings, resolved)
    gaps = joined([report["gaps"] for report in reports])
    verdict = judge_gaps(gaps, due, log, followings, int(SECOND_NS * PATIENCE))
    with trial.case("recall"):
        assert due, "no gap was due"
        assert not verdict.missing, f"{len(verdict.missing)} of {len(due)}: {verdict.missing[:4]}"
    with trial.case("precision"):
        unexplained = verdict.unexplained
        assert not unexplained, f"{len(unexplained)} of {len(gaps)} gaps: {unexplained[:4]}"
    with trial.case("edges"):
        assert not verdict.inexact, f"{len(verdict.inexact)}: {verdict.inexact[:4]}"
    with trial.case("nothing is trusted that did not come through"):
        spans = trusted_spans(lake_rows(day.lake, COVERAGE))
        hidden = [
            (token[:12], log[number].fault.kind.value, round(ns / SECOND_NS, 2))
            for token, number, ns in hidden_ns(spans, log)
            if ns > SECOND_NS / 2
        ]
        assert not hidden, f"{len(hidden)} markets trusted, s of the wall: {hidden[:4]}"
    return verdict


def _judge_report(trial: Trial, day: Day, truth: Truth, reports: list[dict[str, Any]]) -> None:
    """Seconds and counts of ``surveillance coverage``, by the venue's own account."""
    resolved = _resolved(truth)
    for report in reports:
        on = date.fromisoformat(report["date"])
        midnight_ns = int(datetime(on.year, on.month, on.day, tzinfo=UTC).timestamp()) * 10**9
        until_ns = min(day.ended_ns, midnight_ns + 86_400 * 10**9)
        modelled = modelled_trust_s(
            day.injected, day.venue.followings, resolved, midnight_ns, until_ns
        )
        off = report["trusted_s"] / modelled - 1.0
        with trial.case(f"coverage of {on}"):
            assert not report["damaged"], f"{report['damaged']} files damaged"
            assert abs(off) < TRUSTED_OFF, f"{off:+.2%} of the market time that the log has trusted"
            counted = Counter(gap["cause"] for gap in report["gaps"])
            said = {row["cause"]: row["gaps"] for row in report["causes"]}
            assert said == counted, f"{said} by cause, {dict(counted)} one by one"
            assert sum(report["grades"].values()) == len(report["markets"])
        trial.notes.append(
            f"{on}: {report['trusted_s'] / 3_600:,.0f} market-hours trusted ({off:+.2%} of the "
            "log's)"
        )


def _judge_buckets(trial: Trial, day: Day) -> None:
    """Every bucket in which something was collected has its files, and both universes are used."""
    bucket_ns = int(BUCKET_MINUTES * 60e9)
    for table in (COVERAGE, SNAPSHOTS):
        listed = {
            entry.first_us * 1_000 // bucket_ns
            for on in manifest_days(day.lake.store, VENUE)
            for entry in read_manifest(day.lake.store, VENUE, on).files(table.name)
            if entry.first_us is not None
        }
        out = [
            (done.start_ns, done.recovered_ns + int(PATIENCE * SECOND_NS)) for done in day.injected
        ]
        first, last = min(listed), day.ended_ns // bucket_ns
        lacking = [
            bucket
            for bucket in range(first, last)
            if bucket not in listed
            and not any(a <= (bucket + 1) * bucket_ns and bucket * bucket_ns <= b for a, b in out)
        ]
        with trial.case(f"buckets of {table.name}"):
            assert not lacking, f"{len(lacking)} of {last - first} without a file: {lacking[:3]}"
        if table is COVERAGE:
            trial.notes.append(f"{len(listed)} buckets of {last - first + 1} with files")
    logged = [json.loads(line) for line in day.log.read_text().splitlines() if line[:1] == "{"]
    adopted = {line["date"] for line in logged if line["event"] == "universe_adopted"}
    renewed = sum(line["event"] == "connection_renewed" for line in logged)
    visited = lake_rows(day.lake, COVERAGE)["market_id"].n_unique()
    with trial.case("universes"):
        assert adopted == {f"{on}" for on in day.universes}, f"adopted are {adopted}"
    trial.notes.append(f"{renewed} renewals, {visited} markets followed")


def _judge_growth(trial: Trial, day: Day) -> None:
    """No later process is larger than an earlier one of its age, nor has more open."""
    warm = [sample for sample in day.samples if sample.age_s >= WARM_S]
    third = (warm[-1].at_ns - warm[0].at_ns) / 3

    def part(number: int) -> Sequence[Sample]:
        from_ns = warm[0].at_ns + number * third
        return [s for s in warm if from_ns <= s.at_ns <= from_ns + third]

    first, last = part(0), part(2)
    hours = 2 * third / 3.6e12
    slope = (median(s.rss for s in last) - median(s.rss for s in first)) / MIB / hours
    # not the least: while a venue refuses, a process has no connection open
    more = median(s.descriptors for s in last) - median(s.descriptors for s in first)
    with trial.case("growth"):
        # of an hour or two, what a process takes to be warm is most
        most, spare = (1.0, 0) if day.plan.hours >= 12 else (20.0, 3)
        assert slope < most, f"memory grows by {slope:.2f} MiB an hour"
        assert more <= spare, f"{more} descriptors more"
    peak = max(s.rss for s in warm) / MIB
    trial.notes.append(
        f"{slope:+.2f} MiB an hour and {more:+g} descriptors in all, {peak:.0f} MiB at most"
    )


def _judge(trial: Trial, day: Day) -> None:
    truth = day.venue.truth
    middle = day.plan.start + timedelta(hours=day.plan.hours / 2)
    days = [middle.date() - timedelta(days=1), middle.date()]
    reports = [_report(day, on) for on in days]
    counts = Counter(done.fault.kind.value for done in day.injected)
    trial.notes.append(
        f"{day.plan.hours:g} h at {SPEED:g} times the wall's speed: "
        + ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    )
    _judge_rows(trial, day, truth)
    verdict = _judge_ledger(trial, day, truth, reports)
    _judge_report(trial, day, truth, reports)
    _judge_buckets(trial, day)
    _judge_growth(trial, day)
    trial.runs = len(day.injected)
    trial.notes.append(
        f"{verdict.found} of {verdict.due} gaps due found, worst edge "
        f"{verdict.worst_edge_s:.2f} s of the wall; by a fault {dict(verdict.by_cause)}, "
        f"without {dict(verdict.benign)}"
    )


@pytest.mark.process
@pytest.mark.fault("SOAK-1")
async def test_a_days_ledger_is_the_log_of_what_was_done(
    trial: Trial, tmp_path: Path, disk: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = await _lived(plan_soak(trial.seed, 24.0), tmp_path, disk, monkeypatch)
    due = Counter(DAY)
    if disk is None:
        del due[Kind.DISK]
        trial.notes.append("no full disk: mounting one takes root")
    assert Counter(done.fault.kind for done in day.injected) == due
    _judge(trial, day)
    trial.runs = trial.quantity


@pytest.mark.process
async def test_an_hour_of_it(
    tmp_path: Path, disk: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial("SOAK-1", Tier.QUICK, 1)
    day = await _lived(plan_soak(trial.seed, 1.0), tmp_path, disk, monkeypatch)
    _judge(trial, day)
    print(*trial.notes, sep="\n")  # noqa: T201  # shown where the test fails
    assert not trial.failures, "\n".join(trial.failures)
