"""STO-02: the power goes while a recording journals and publishes; nothing acknowledged does."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import struct
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from surveillance_collector.configured import sampling_of
from surveillance_collector.journal.files import LocalSegments
from surveillance_collector.journal.records import Kind, Segment
from surveillance_collector.recording import journal_directory
from surveillance_core.lake.layout import parse_segment_name
from surveillance_core.lake.publish import Lake
from surveillance_core.settings import Settings
from tests.collector.worlds import VENUE, opened_segments
from tests.faults import recording_child
from tests.faults.recording_child import BUCKET_S, CADENCE_MS, SYNC_MS, Acknowledged

from .children import PATIENCE_S, quick_processes
from .journaled import (
    SHARD,
    Clock,
    Rows,
    counted,
    difference,
    listed_rows,
    opened,
    rows_of,
    settings_of,
)
from .matrix import Trial

ALLOWED_LOSS_NS = int((SYNC_MS + 100) * 1e6)
A_LAKE = 20
"""Cuts that one lake goes through."""
LAKES_AT_ONCE = 2
"""Each on a disk of its own; most of the time both wait."""
_SHUTDOWN = 0x8004587D
"""``EXT4_IOC_SHUTDOWN``."""
_WITHOUT_FLUSHING_THE_LOG = 2
_IMAGE_BYTES = 192 * 1024 * 1024


class Disk:
    """An ext4 file system in a file, whose power can be cut."""

    def __init__(self, image: Path, place: Path) -> None:
        self._image = image
        self.place = place
        with image.open("wb") as file:
            file.truncate(_IMAGE_BYTES)
        _run("mkfs.ext4", "-q", "-F", str(image))
        place.mkdir()

    def mount(self) -> None:
        """Have it there, after whatever its log says."""
        _run("mount", "-o", "loop", str(self._image), str(self.place))

    def unmount(self) -> None:
        """Have it gone."""
        _run("umount", str(self.place))

    def cut(self) -> None:
        """From now on nothing reaches the disk any more."""
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSHING_THE_LOG))
        finally:
            os.close(descriptor)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@contextmanager
def _disk(root: Path) -> Generator[Disk]:
    if os.geteuid():
        pytest.skip("not root: no file system can be mounted and cut")
    try:
        root.mkdir()
        disk = Disk(root / "image", root / "disk")
        disk.mount()
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    try:
        yield disk
    finally:
        disk.unmount()


def _recorded_until_cut(
    processes: ForkServerContext, disk: Disk, seconds: float
) -> tuple[Acknowledged, int]:
    """What a recording had acknowledged when the power was cut, and when that was, ns."""
    ours, theirs = processes.Pipe()
    child = processes.Process(target=recording_child.record_until_told, args=(disk.place, theirs))
    child.start()
    theirs.close()
    assert ours.poll(PATIENCE_S), "the recording does not begin"
    ours.recv()
    time.sleep(seconds)
    cut_ns = time.time_ns()
    disk.cut()
    ours.send("cut")
    assert ours.poll(PATIENCE_S), "the recording does not say what it acknowledged"
    acknowledged = ours.recv()
    child.kill()
    child.join()
    disk.unmount()
    disk.mount()
    return acknowledged, cut_ns


def _last_on_disk(files: LocalSegments, first: int) -> int:
    """Position of the last input of a run, by its segments."""
    last = first - 1
    for name in files.names():
        parsed = parse_segment_name(name)
        if parsed is not None and parsed[0] >= first:
            inputs = sum(record.kind >= Kind.CONNECT for record in Segment(files.read(name)))
            last = max(last, parsed[0] + inputs - 1)
    return last


async def _listed_in_the_end(settings: Settings, lake: Lake) -> Rows:
    clock = Clock(time.time_ns())
    recording, _ = opened(settings, lake, clock, clock.wall_ns)
    await recording.prepare()
    await recording.recover()
    return listed_rows(lake)


@dataclass
class Found:
    """What became of the cuts, all lakes together."""

    worst_ns: int = 0
    inputs: int = 0
    files: int = 0
    rows: int = 0
    late: int = 0


async def _cut_again_and_again(
    trial: Trial, processes: ForkServerContext, root: Path, cuts: range, found: Found
) -> None:
    """A lake whose power goes so often, and its rows after that."""
    chance = random.Random(trial.seed + cuts.start)
    with _disk(root) as disk:
        settings = settings_of(
            disk.place, bucket_s=BUCKET_S, cadence_ms=CADENCE_MS, sync_ms=SYNC_MS
        )
        expected: Rows = counted([])
        lake = Lake(settings.data_dir, "simulated")
        for number in cuts:
            seconds = chance.uniform(0.0, 1.2)
            told, cut_ns = await asyncio.to_thread(_recorded_until_cut, processes, disk, seconds)
            lasting = opened_segments(journal_directory(settings, lake, VENUE, SHARD))
            last = _last_on_disk(lasting, told.first)
            kept = told.records[: last - told.first + 1]
            expected += rows_of(settings, sampling_of(settings, VENUE), kept)
            found.inputs += len(kept)
            found.files += told.files
            with trial.case(f"cut {number}"):
                syncs = [sync for sync in told.syncs if sync[1] <= cut_ns]
                synced = max((position for *_, position in syncs), default=0)
                assert last >= synced, f"{synced - last} acknowledged inputs lost"
                lost = told.records[len(kept) :]
                lost_ns = cut_ns - lost[0].recv_ns if lost else 0
                found.worst_ns = max(found.worst_ns, lost_ns)
                # a disk that takes longer than that has the inputs of one sync, no more
                found.late += lost_ns > ALLOWED_LOSS_NS
                one_sync_ns = cut_ns - max((began_ns for began_ns, *_ in syncs), default=0)
                allowed_ns = max(ALLOWED_LOSS_NS, one_sync_ns)
                assert lost_ns <= allowed_ns, f"{lost_ns / 1e6:.0f} ms lost"
        with trial.case(f"lake of the cuts from {cuts.start}"):
            rows = await _listed_in_the_end(settings, lake)
            missing, extra, example = difference(rows, expected)
            found.rows += rows.total()
            trial.rows_lost += missing
            assert not missing, f"{missing} rows lost: {example}"
            assert not extra, f"{extra} rows too many: {example}"
        trial.runs -= 1


@pytest.mark.process
@pytest.mark.fault("STO-02")
async def test_what_was_acknowledged_before_the_power_went_is_there_once(
    trial: Trial, tmp_path: Path
) -> None:
    processes = quick_processes()
    found = Found()
    room = asyncio.Semaphore(LAKES_AT_ONCE)

    async def cut(first: int) -> None:
        cuts = range(first, min(first + A_LAKE, trial.quantity))
        async with room:
            await _cut_again_and_again(trial, processes, tmp_path / f"{first}", cuts, found)

    await asyncio.gather(*map(cut, range(0, trial.quantity, A_LAKE)))
    trial.notes.append(
        f"{found.inputs:,} inputs, {found.files:,} files before cuts, {found.rows:,} rows; "
        f"unacknowledged at most {found.worst_ns / 1e6:.0f} ms at sync_ms = {SYNC_MS:.0f}, more "
        f"than {ALLOWED_LOSS_NS / 1e6:.0f} ms in {found.late} where one sync took so long"
    )
