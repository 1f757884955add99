"""A recording in a process of its own, in real time, that says what it has acknowledged."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from surveillance_collector import recording as recording_module
from surveillance_collector.journal.records import Record
from surveillance_core.lake.publish import Lake

from .journaled import Clock, begin, opened, settings_of, short_history

SYNC_MS = 100.0
BUCKET_S = 0.5
CADENCE_MS = 50
_FRAME_S = 0.002
_TURN_FRAMES = 10


@dataclass(frozen=True)
class Acknowledged:
    """What a recording took, and how far it was on disk by its own account."""

    first: int
    records: list[Record]
    files: int
    syncs: list[tuple[int, int, int]]
    """Of each that succeeded when it began and ended, ns, and the position that it reached."""


class _WallClock(Clock):
    def __call__(self) -> int:
        self.ns = max(self.ns + 1, time.time_ns())
        return self.ns


def record_until_told(root: Path, told: Connection) -> None:
    """Take frames until the other side says anything; then say what was acknowledged."""
    recording_module.PUBLISH_SECONDS = 0.05
    asyncio.run(_record(root, told))


async def _record(root: Path, told: Connection) -> None:
    settings = settings_of(root, bucket_s=BUCKET_S, cadence_ms=CADENCE_MS, sync_ms=SYNC_MS)
    clock = _WallClock(0)
    lake = Lake(settings.data_dir, "simulated")
    recording, inputs = opened(settings, lake, clock, time.time_ns)
    sync = recording.journal.sync
    syncs: list[tuple[int, int, int]] = []

    async def noted_sync() -> bool:
        began_ns = time.time_ns()
        synced = await sync()
        if synced:
            syncs.append((began_ns, time.time_ns(), recording.journal.synced))
        return synced

    recording.journal.sync = noted_sync
    await recording.prepare()
    running = asyncio.create_task(recording.run())
    begin(recording, short_history(1, 1), "c1", clock())
    told.send("begun")
    frames = short_history(4_000, 1).frames
    for number, (_, frame) in enumerate(frames):
        recording.sink.take("c1", frame, clock())
        # as a feed does in the turn of the loop that brought it
        recording.sink.apply_taken()
        if number % _TURN_FRAMES == 0:
            recording.take(clock())
        await asyncio.sleep(_FRAME_S)
        if told.poll():
            break
        if running.done():
            running.result()
    told.send(
        Acknowledged(
            inputs.first,
            inputs.records,
            recording.recorder.files,
            syncs,
        )
    )
    running.cancel()
