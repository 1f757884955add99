"""MSG-02: frames dropped, repeated and swapped; each gap is found, and no book lies."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from random import Random

import pytest

# by its whole name, which other processes find it by
from tests.faults.lossy_lines import findings_of

from .matrix import Tier, Trial

LEAST_SHARE, MOST_SHARE = 0.001, 0.05
LINES = {Tier.QUICK: 4, Tier.FULL: 40}


@pytest.mark.fault("MSG-02")
def test_every_gap_is_found_and_verified_books_are_true(trial: Trial) -> None:
    draws = Random(trial.seed)
    lines = LINES[trial.tier]
    jobs: list[tuple[str, int, float, int]] = []
    for number in range(lines):
        # from the least to the most on each venue, evenly by ratio
        place = (number // 2) / max(1, lines // 2 - 1)
        share = LEAST_SHARE * (MOST_SHARE / LEAST_SHARE) ** place
        venue = ("kalshi", "polymarket")[number % 2]
        jobs.append((venue, draws.getrandbits(32), share, trial.quantity // lines))
    if trial.tier is Tier.FULL:
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            all_findings = list(pool.map(findings_of, *zip(*jobs, strict=True)))
    else:
        all_findings = [findings_of(*job) for job in jobs]
    done: Counter[str] = Counter()
    gaps = found = compared = doubts = 0
    for (venue, seed, share, frames), findings in zip(jobs, all_findings, strict=True):
        with trial.case(f"{venue}, {share:.1%}, seed {seed}"):
            assert not findings.wrong, "; ".join(findings.wrong[:3])
            assert findings.compared > 0
            if venue == "kalshi":
                assert findings.found == findings.gaps
        trial.runs += frames - 1
        done += findings.noise
        compared += findings.compared
        if venue == "kalshi":
            gaps, found = gaps + findings.gaps, found + findings.found
        else:
            doubts += findings.found
    assert gaps
    assert doubts
    trial.notes.append(
        f"{done['dropped']:,} dropped, {done['repeated']:,} repeated, {done['swapped']:,} swapped; "
        f"Kalshi: {found:,} gaps found of {gaps:,}; Polymarket: {doubts:,} doubts; "
        f"{compared:,} verified books compared"
    )
