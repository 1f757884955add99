"""STO-03: a crash between every two file-system operations, with all that may be left of them."""

from __future__ import annotations

import hashlib
import logging
import random
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path

import pytest
import structlog

from surveillance_collector.recording import Recording
from surveillance_core.lake.layout import STAGING_SUFFIX
from surveillance_core.lake.publish import Lake
from surveillance_core.settings import Settings
from tests.collector.worlds import START_NS

from .crash_states import Disk, Noted, State, make, noting
from .journaled import (
    Clock,
    Inputs,
    Rows,
    counted,
    difference,
    driven,
    listed_rows,
    opened,
    rows_of,
    settings_of,
    short_history,
    told,
)
from .matrix import Tier, Trial

BUCKET_S = 4.0
HISTORY = short_history(24, 400)
STATES_A_POINT = {Tier.QUICK: 8, Tier.FULL: 190}
CUTS = {Tier.QUICK: 6, Tier.FULL: 512}
"""Places at which what was appended may end; of the full tier's, many are the same."""
LEAST_STATES = {Tier.QUICK: 50, Tier.FULL: 10_000}
"""Different ones in all scenarios; fewer would be of a scenario that does less than it says."""
_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # syncs cost nothing


class Killed(BaseException):
    """The process ends here."""


class Stage:
    """A lake that is written while its operations are noted, by one process after another."""

    def __init__(self, root: Path) -> None:
        self.settings = _settings(root)
        self.noted = Noted(root, STAGING_SUFFIX)
        self.clock = Clock(START_NS)
        self.runs: list[Inputs] = []
        self.killed_at = "/nowhere"

    async def process(self) -> Recording:
        """Another process, with nothing recovered yet."""
        lake = Lake(self.settings.data_dir, "simulated")
        recording, inputs = opened(self.settings, lake, self.clock, self.clock.wall_ns)
        self.runs.append(inputs)
        await recording.prepare()
        return recording

    async def capture(self, recording: Recording, numbers: range, *, publish: bool) -> None:
        """Frames, with what is due published and what is no longer needed retired."""
        for number in numbers:
            if number == numbers[0]:
                await driven(recording, HISTORY, f"c{numbers[0]}", self.clock, [number])
            else:
                self.clock.ns = max(self.clock.ns + 1, HISTORY.frames[number][0])
                recording.sink.take(f"c{numbers[0]}", HISTORY.frames[number][1], self.clock.ns)
                recording.take(self.clock())
            if number % 4 == 3:
                assert await recording.journal.sync()
                self.noted.look()
                self.noted.promise(recording.journal.synced)
            if publish:
                await recording.publish_due()
                await recording.let_go()
                await recording.disposal.put_away()
        await recording.journal.sync()
        self.noted.promise(recording.journal.synced)

    def maybe_kill(self, path: str) -> None:
        if self.killed_at in path:
            self.killed_at = "/nowhere"
            raise Killed


def _settings(root: Path) -> Settings:
    return settings_of(root, bucket_s=BUCKET_S, cadence_ms=1_000, sync_ms=100.0)


# ── scenarios ────────────────────────────────────────────────────────────────────────────────


async def _publishes(stage: Stage) -> None:
    recording = await stage.process()
    await stage.capture(recording, range(24), publish=True)
    await recording.journal.close()


async def _journals(stage: Stage) -> None:
    recording = await stage.process()
    await stage.capture(recording, range(24), publish=False)
    await recording.journal.close()


async def _stops(stage: Stage) -> None:
    recording = await stage.process()
    await stage.capture(recording, range(16), publish=True)
    await recording.stop()
    stage.noted.promise(recording.journal.position)


async def _killed_publishing(stage: Stage, path: str) -> None:
    recording = await stage.process()
    stage.killed_at = path
    with suppress(Killed):
        await stage.capture(recording, range(14), publish=True)
    assert stage.killed_at == "/nowhere"
    records = stage.runs[0].records
    del records[recording.journal.synced - stage.runs[0].first + 1 :]
    await recording.journal.close()


async def _recovers_unlisted(stage: Stage) -> None:
    await _killed_publishing(stage, "/orderbook_snapshots/")
    recording = await stage.process()
    await recording.recover()
    await stage.capture(recording, range(14, 20), publish=True)
    await recording.journal.close()


async def _recovers_unsynced(stage: Stage) -> None:
    await _killed_publishing(stage, "/_manifest/")
    recording = await stage.process()
    await stage.capture(recording, range(14, 24), publish=True)
    await recording.recover()
    await recording.stop()
    stage.noted.promise(recording.journal.position)


Scenario = Callable[[Stage], Coroutine[None, None, None]]
SCENARIOS: tuple[Scenario, ...] = (
    _publishes,
    _recovers_unlisted,
    _recovers_unsynced,
    _stops,
    _journals,
)


# ── judging ──────────────────────────────────────────────────────────────────────────────────


class Expected:
    """Rows by how many inputs of a process there are, with those of the processes before it."""

    def __init__(self, settings: Settings, recording_sampling: Recording, runs: list[Inputs]):
        self._lasts: dict[frozenset[tuple[object, int]], int] = {}
        before: Rows = counted([])
        for run in runs:
            for count in range(len(run.records) + 1):
                rows = before + rows_of(settings, recording_sampling.sampling, run.records[:count])
                self._lasts[_key(rows)] = run.first + count - 1
            before = before + rows_of(settings, recording_sampling.sampling, run.records)
        self.everything = before

    def last(self, rows: Rows) -> int | None:
        """Position of the last input that rows come from, None where they are not of any."""
        return self._lasts.get(_key(rows))


def _key(rows: Rows) -> frozenset[tuple[object, int]]:
    return frozenset(told(rows).items())


async def _recovered(
    settings: Settings, root: Path, state: State, expected: Expected, now: int
) -> int:
    """Position of the last input that the rows come from which a state recovers to."""
    make(state, root)
    clock = Clock(now)
    lake = Lake(settings.data_dir, "simulated")
    recording, _ = opened(settings, lake, clock, clock.wall_ns)
    await recording.prepare()
    await recording.recover()
    found = listed_rows(lake)
    last = expected.last(found)
    if last is None:
        missing, extra, example = difference(found, expected.everything)
        raise AssertionError(f"{missing} rows missing of all, {extra} too many: {example}")
    return last


@pytest.mark.fault("STO-03")
async def test_whatever_a_crash_leaves_is_recovered_from(trial: Trial) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    chance = random.Random(trial.seed)
    states = points = 0
    place = tempfile.mkdtemp(dir=_MEMORY)
    crashed = Path(place) / "state"
    settings = _settings(crashed)
    try:
        for number, scenario in enumerate(SCENARIOS[: trial.quantity]):
            root = Path(place) / f"{number}"
            root.mkdir()
            stage = Stage(root)
            with noting(stage.noted, stage.maybe_kill):
                await scenario(stage)
            sampling_of_any, _ = opened(
                stage.settings,
                Lake(stage.settings.data_dir),
                stage.clock,
                stage.clock.wall_ns,
            )
            expected = Expected(stage.settings, sampling_of_any, stage.runs)
            tried = set[tuple[bytes, int]]()
            lasts: dict[bytes, int] = {}
            disk = Disk(STAGING_SUFFIX, CUTS[trial.tier])
            trial.runs += 1
            for count, operation in enumerate(stage.noted.operations, start=1):
                disk.do(operation)
                points += 1
                promised = stage.noted.promised(count)
                for state in disk.states(STATES_A_POINT[trial.tier], chance):
                    digest = hashlib.sha256(repr(sorted(state.items())).encode()).digest()
                    if (digest, promised) in tried:
                        continue
                    tried.add((digest, promised))
                    now = stage.clock.ns + 1_000
                    with trial.case(f"{scenario.__name__.strip('_')} after {count}"):
                        if digest not in lasts:
                            try:
                                lasts[digest] = await _recovered(
                                    settings, crashed, state, expected, now
                                )
                            except (OSError, ValueError, LookupError) as error:
                                raise AssertionError(f"raised {error!r}") from error
                            finally:
                                shutil.rmtree(crashed, ignore_errors=True)
                        lost = promised - lasts[digest]
                        assert lost <= 0, f"{lost} acknowledged inputs are lost"
                    trial.runs -= 1
            states += len(tried)
    finally:
        shutil.rmtree(place)
        structlog.reset_defaults()
    trial.notes.append(f"{states:,} different states after {points:,} operations")
    assert states >= LEAST_STATES[trial.tier], f"no more than {states:,} states were tried"
