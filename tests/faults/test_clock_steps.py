"""TIM-01: the wall's clock is set while the collector runs, next to the edge of a bucket."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from surveillance_core.lake.publish import Lake
from tests.collector.worlds import SECOND, START_NS, recorded

from .driven import MS, Buckets, drive, rows_missing
from .matrix import Trial

STEPS_NS = (3_600 * SECOND, -3_600 * SECOND, -SECOND)
CLOSE_NS = (-SECOND, -100 * MS, -1, 0, 1, 100 * MS, SECOND)
"""How far from the edge the clock is set."""
BUCKETS = (Buckets(), Buckets(flush_rows=3))
"""Whole, and in parts: parts of a bucket that has stopped moving must not overwrite each other."""


@pytest.mark.fault("TIM-01")
def test_every_row_is_in_one_file_whatever_the_clock_is_set_to(
    trial: Trial, tmp_path: Path
) -> None:
    chance = random.Random(trial.seed)
    recording = recorded(3, markets=4, seconds=8, rate=25.0, trades=0.4)
    middle_ns = (recording.begin_ns + recording.end_ns) // 2
    for number in range(trial.quantity):
        step_ns = STEPS_NS[number % len(STEPS_NS)]
        buckets = BUCKETS[number // len(STEPS_NS) % len(BUCKETS)]
        edge_ns = START_NS - START_NS % (buckets.us * 1_000) + chance.randrange(24) * 300 * SECOND
        set_ns = middle_ns + chance.choice(CLOSE_NS)

        lake = Lake(str(tmp_path / f"{number}"), "real")
        emitted = drive(lake, recording, _wall(edge_ns - middle_ns, set_ns, step_ns), buckets)
        with trial.case(f"{number}: {step_ns / 1e9:+.0f} s at {(set_ns - middle_ns) / 1e9:+.1f} s"):
            missing = rows_missing(lake, emitted)
            trial.rows_lost += missing
            assert not missing, f"{missing} of {len(emitted)} rows are in no file"
            assert len(emitted) > 20, "hardly any row"
        shutil.rmtree(lake.store.root)


def _wall(moved_ns: int, set_ns: int, step_ns: int) -> Callable[[int], int]:
    """A clock that is off by ``moved_ns``, and from ``set_ns`` on by the step too."""
    return lambda passed_ns: passed_ns + moved_ns + (step_ns if passed_ns >= set_ns else 0)
