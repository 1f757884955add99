"""MSG-01: damaged frames of both venues through the engine, by the hundred thousand."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from random import Random

import pytest

# by its whole name, which other processes find it by
from tests.faults.fuzzing import BATCH, VENUES, account_of
from tests.wire.test_damaged_frames import needs_captures

from .matrix import Trial


@needs_captures
@pytest.mark.fault("MSG-01")
def test_damaged_frames_by_the_hundred_thousand(trial: Trial) -> None:
    draws = Random(trial.seed)
    jobs = [
        (venue, draws.getrandbits(32), BATCH)
        for _ in range(trial.quantity // (2 * BATCH))
        for venue in VENUES
    ]
    if len(jobs) > len(VENUES):
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            accounts = list(pool.map(account_of, *zip(*jobs, strict=True)))
    else:
        accounts = [account_of(*job) for job in jobs]
    applied = refused = ignored = 0
    for (venue, seed, _), account in zip(jobs, accounts, strict=True):
        with trial.case(f"{venue}, seed {seed}"):
            assert not account.escaped, str(account.escaped.most_common(3))
            assert not account.lost, f"{len(account.lost)} frames left no trace: {account.lost[:3]}"
            assert account.taken == account.told
            assert account.kept == account.counted
        trial.runs += account.damaged - 1
        applied, refused = applied + account.applied, refused + account.refused
        ignored += account.ignored
    trial.notes.append(
        f"{applied + refused + ignored:,} frames in = {applied:,} applied "
        f"+ {refused:,} refused + {ignored:,} ignored"
    )
