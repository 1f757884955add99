"""STO-09: a compaction in a process of its own, killed at a random moment of its work."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from surveillance_core.lake.layout import bucket_file
from surveillance_core.lake.manifest import read_manifest
from surveillance_core.lake.publish import Lake, publish_rows, rows_to_table
from surveillance_core.lake.read import scan_table, verify_days
from surveillance_core.lake.schemas import TRADES
from surveillance_core.markets import Venue
from tests.faults.children import PATIENCE_S, compact_and_tell, compact_everything, quick_processes

from .matrix import Trial

POLYMARKET = Venue.POLYMARKET
START = datetime(2026, 9, 1, 13, tzinfo=UTC)
DAY = START.date()
HOURS = 4
FILES = 3
ROWS = 100


def _collected(root: Path, chance: random.Random) -> Lake:
    """A day of a few hours, each of a few files, with rows that are the same twice."""
    lake = Lake(str(root), "real")
    for hour in range(HOURS):
        for part in range(FILES):
            bucket = START + timedelta(hours=hour, minutes=5 * part)
            start_us = int(bucket.timestamp() * 1e6)
            rows: list[tuple[object, ...]] = []
            for _ in range(ROWS):
                at_us = start_us + chance.randrange(100) * 1_000
                outcome, price = f"yes-{chance.randrange(3)}", chance.randrange(1, 9) / 10
                rows.append(
                    (at_us, at_us // 1_000, "m", outcome, price, 1.0, "buy", outcome, price, "0",
                     None)
                )  # fmt: skip
            publish_rows(
                lake, TRADES, bucket_file(TRADES, POLYMARKET, bucket, "0", part, part), POLYMARKET,
                DAY, rows_to_table(TRADES, rows), writer="collector-0", time_column="ts_recv",
            )  # fmt: skip
    return lake


def _copy(lake: Lake, root: Path) -> Lake:
    shutil.copytree(lake.store.root, root)
    return Lake(str(root))


def _rows(lake: Lake) -> Counter[tuple[object, ...]]:
    scan = scan_table(lake, TRADES, POLYMARKET, [DAY])
    assert scan.damaged == (), f"damaged: {scan.damaged[0]}"
    return Counter(scan.frame.collect().rows())


def _content(lake: Lake) -> dict[str, bytes]:
    root = Path(lake.store.root)
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def _compacting(lake: Lake) -> tuple[BaseProcess, Connection]:
    """A compaction that has just begun its work."""
    context = quick_processes()
    ours, theirs = context.Pipe()
    process = context.Process(target=compact_and_tell, args=(lake.store.root, DAY, theirs))
    process.start()
    theirs.close()
    assert ours.poll(PATIENCE_S), "it never begins"
    ours.recv()
    return process, ours


def _seconds_of(lake: Lake) -> float:
    """How long a compaction of all of it works."""
    process, told = _compacting(lake)
    began = time.monotonic()
    assert told.poll(PATIENCE_S), "it never ends"
    seconds = time.monotonic() - began
    process.join(PATIENCE_S)
    return seconds


@pytest.mark.process
@pytest.mark.fault("STO-09")
def test_killed_at_any_time_the_rows_are_the_same_and_the_next_run_ends_the_work(
    trial: Trial, tmp_path: Path
) -> None:
    chance = random.Random(trial.seed)
    collected = _collected(tmp_path / "collected", chance)
    rows = _rows(collected)
    assert rows.total() == HOURS * FILES * ROWS
    entirely_s = _seconds_of(_copy(collected, tmp_path / "whole"))
    early = late = 0
    for number in range(trial.quantity):
        lake = _copy(collected, tmp_path / f"killed-{number}")
        process, told = _compacting(lake)
        # a little longer than it takes: some have ended by then
        time.sleep(chance.uniform(0, 1.1 * entirely_s))
        late += told.poll()
        process.kill()
        process.join(PATIENCE_S)
        merged = sum(bool(e.replaces) for e in read_manifest(lake.store, POLYMARKET, DAY).entries)
        early += not merged
        with trial.case(f"kill {number}, {merged} of {HOURS} hours compacted"):
            left = _rows(lake)
            trial.rows_lost += (rows - left).total()
            assert left == rows, "other rows once it was killed"
            _, damaged, _ = verify_days(lake, POLYMARKET, [DAY], deep=True)
            assert not damaged, f"damaged: {damaged[0]}"
            done = compact_everything(lake, DAY)
            assert not done.failed, f"not done: {done.failed}"
            assert _rows(lake) == rows, "other rows after the next run"
            entries = read_manifest(lake.store, POLYMARKET, DAY).entries
            assert len(entries) == HOURS, f"{len(entries)} files for {HOURS} hours"
            ended = _content(lake)
            compact_everything(lake, DAY)
            assert _content(lake) == ended, "a run with nothing to do changes something"
        shutil.rmtree(lake.store.root)
    trial.notes.append(f"{early} killed before any hour was compacted, {late} once all was done")
    assert early + late < trial.quantity, "none was killed at work"
