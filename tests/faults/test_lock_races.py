"""STO-10: ten processes want the collector's lock in the same instant; then the holder is killed.

The processes are forked and not started anew, since nothing but the lock is in question; in the
full tier some are of the real command.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.faults.children import PATIENCE_S, Outcome, quick_processes, race_for_the_lock

from .matrix import Tier, Trial

RACERS = 10
LOCKED = 75
REAL_RACES = {Tier.QUICK: 0, Tier.FULL: 3}


def _raced(root: str) -> tuple[list[BaseProcess], list[Connection], list[Outcome]]:
    """Ten racers, and what each says; who holds the lock holds it as long as its end is open."""
    context = quick_processes()
    start = context.Barrier(RACERS)
    racers: list[BaseProcess] = []
    ends: list[Connection] = []
    for _ in range(RACERS):
        ours, theirs = context.Pipe()
        racer = context.Process(target=race_for_the_lock, args=(root, start, theirs))
        racer.start()
        theirs.close()
        racers.append(racer)
        ends.append(ours)
    outcomes: list[Outcome] = []
    for end in ends:
        assert end.poll(PATIENCE_S), "a racer says nothing"
        outcomes.append(end.recv())
    return racers, ends, outcomes


def _holder_of(outcomes: Sequence[Outcome], before: int | None) -> int:
    """The pid of the one that holds the lock, once the others have proved to name it."""
    holders = [outcome.pid for outcome in outcomes if outcome.code is None]
    assert len(holders) == 1, f"{len(holders)} hold the lock"
    for outcome in outcomes:
        if outcome.code is not None:
            assert outcome.code == LOCKED, f"refused with {outcome.code}"
            assert f'"pid": {holders[0]},' in outcome.said, (
                f"{holders[0]} holds it after {before}, and is not named: {outcome.said!r}"
            )
    return holders[0]


@pytest.mark.process
@pytest.mark.fault("STO-10")
def test_one_of_ten_gets_the_lock_and_once_it_is_killed_one_of_the_next_ten(
    trial: Trial, tmp_path: Path
) -> None:
    root = str(tmp_path / "lake")
    before: int | None = None
    for number in range(trial.quantity - REAL_RACES[trial.tier]):
        racers, ends, outcomes = _raced(root)
        with trial.case(f"race {number}"):
            before = _holder_of(outcomes, before)
        for racer, outcome in zip(racers, outcomes, strict=True):
            if outcome.code is None:
                racer.kill()
            racer.join(PATIENCE_S)
        for end in ends:
            end.close()
    trial.notes.append("every holder was killed, and left the record of itself to the next race")


@pytest.mark.process
@pytest.mark.fault("STO-10")
def test_one_of_ten_collectors_runs(trial: Trial, tmp_path: Path) -> None:
    config = tmp_path / "collector.toml"
    config.write_text(
        f'data_dir = "{tmp_path / "lake"}"\n[venues.polymarket]\nenabled = true\n'
        "[health]\nport = 0\n[mock]\nenabled = true\n"
    )
    command = [sys.executable, "-m", "surveillance_collector.cli", "run", "--config", str(config)]
    for number in range(REAL_RACES[trial.tier]):
        racers = [
            subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(RACERS)
        ]
        deadline = time.monotonic() + 2 * PATIENCE_S
        while sum(racer.poll() is None for racer in racers) > 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        holders = [racer for racer in racers if racer.poll() is None]
        for racer in holders:
            racer.send_signal(signal.SIGTERM)
        said = [racer.communicate(timeout=PATIENCE_S)[1] for racer in racers]
        with trial.case(f"race {number} of the command"):
            assert len(holders) == 1, f"{len(holders)} collectors run"
            _holder_of(
                [
                    Outcome(racer.pid, None if racer is holders[0] else racer.returncode, text)
                    for racer, text in zip(racers, said, strict=True)
                ],
                None,
            )
            assert holders[0].returncode == 0, said[racers.index(holders[0])]
