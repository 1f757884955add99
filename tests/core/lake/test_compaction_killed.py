"""Compaction stopped at every filesystem operation, and readers before and after each of them."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from surveillance_core.lake.compaction import CompactedDay, compact_day
from surveillance_core.lake.layout import bucket_file
from surveillance_core.lake.manifest import read_manifest
from surveillance_core.lake.publish import Lake, publish_rows, rows_to_table
from surveillance_core.lake.read import scan_table, verify_days
from surveillance_core.lake.schemas import TRADES
from surveillance_core.lake.store import LocalStore
from surveillance_core.markets import Venue

POLYMARKET = Venue.POLYMARKET
HOUR = timedelta(hours=1)
START = datetime(2026, 9, 1, 13, tzinfo=UTC)
LATER = datetime(2126, 9, 1, tzinfo=UTC)
MakeTrade = Callable[..., tuple[object, ...]]


class _Killed(BaseException):
    """What kill -9 is to the process: nothing after it happens, not even the cleaning up."""


class Machine:
    """Counts the operations that a process asks of the filesystem, and stops at one of them.

    Parameters
    ----------
    dies_at
        The operation that does not happen, from 1 on; 0 for none.
    tears
        Whether of a line that is being appended one half is on the disk by then.
    observe
        Called before each operation.
    """

    def __init__(
        self, dies_at: int = 0, *, tears: bool = False, observe: Callable[[], None] | None = None
    ) -> None:
        self.operations: list[str] = []
        self._dies_at = dies_at
        self._tears = tears
        self._observe = observe

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for owner, name in (
            (pq.ParquetWriter, "write_table"), (os, "fsync"), (Path, "replace"), (Path, "unlink"),
            (LocalStore, "append_line"),
        ):  # fmt: skip
            patch.setattr(owner, name, self._counted(name, getattr(owner, name)))

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any, **options: Any) -> Any:
            if self._dies_at and len(self.operations) >= self._dies_at:
                raise _Killed
            if self._observe is not None:
                self._observe()
            self.operations.append(name)
            if len(self.operations) == self._dies_at:
                if name == "append_line" and self._tears:
                    _append_half(*arguments)
                raise _Killed
            return call(*arguments, **options)

        return operation


def _append_half(store: LocalStore, path: str, line: bytes) -> None:
    target = Path(store.root) / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("ab") as file:
        file.write(line[: len(line) // 2])


@pytest.fixture
def collected(tmp_path: Path, make_trade: MakeTrade) -> Path:
    """A lake with two hours of three files each."""
    root = tmp_path / "collected"
    lake = Lake(str(root), "real")
    for bucket in (0, 5, 10, 60, 65, 70):
        _publish(lake, make_trade, bucket, "0")
    return root


def _publish(lake: Lake, make_trade: MakeTrade, minute: int, shard: str) -> None:
    moment = START + timedelta(minutes=minute)
    rows = [make_trade(60.0 * minute + n % 3, f"yes-{n % 2}", n / 10) for n in range(8)]
    publish_rows(
        lake, TRADES, bucket_file(TRADES, POLYMARKET, moment, shard, 0, 1), POLYMARKET,
        moment.date(), rows_to_table(TRADES, rows), writer=f"collector-{shard}",
        time_column="ts_recv",
    )  # fmt: skip


def _compact(lake: Lake) -> CompactedDay:
    """Everything in one run: no hour is open and no grace period is left."""
    return compact_day(lake, POLYMARKET, START.date(), margin=HOUR, grace=HOUR, clock=lambda: LATER)


def _rows(lake: Lake) -> Counter[tuple[object, ...]]:
    """What a reader finds who may take damaged files out of the lake."""
    scan = scan_table(lake, TRADES, POLYMARKET, [START.date()], quarantine=True)
    assert scan.damaged == ()
    return Counter(scan.frame.collect().rows())


def _files(lake: Lake) -> set[str]:
    root = Path(lake.store.root)
    return {path.relative_to(root).as_posix() for path in root.rglob("*.parquet")}


def _assert_finished(lake: Lake) -> None:
    manifest = read_manifest(lake.store, POLYMARKET, START.date())
    assert len(manifest.entries) == 2, "one file an hour"
    assert _files(lake) == {entry.path for entry in manifest.entries}
    again = _compact(lake)
    assert (again.merged, again.removed, again.failed) == ([], [], [])


def _operations(collected: Path, copy: Path) -> list[str]:
    shutil.copytree(collected, copy)
    machine = Machine()
    with pytest.MonkeyPatch.context() as patch:
        machine.install(patch)
        _compact(Lake(str(copy)))
    return machine.operations


@pytest.mark.parametrize("tears", [False, True], ids=["before a line", "within a line"])
@pytest.mark.parametrize("late", [False, True], ids=["", "and a late file"])
def test_killed_at_any_operation_the_lake_is_sound_and_the_next_run_finishes(
    collected: Path, tmp_path: Path, make_trade: MakeTrade, tears: bool, late: bool
) -> None:
    operations = _operations(collected, tmp_path / "whole")
    assert {"write_table", "fsync", "replace", "append_line", "unlink"} == set(operations)
    for step, name in enumerate(operations, start=1):
        if tears and name != "append_line":
            continue
        root = tmp_path / f"killed-{step}"
        shutil.copytree(collected, root)
        lake = Lake(str(root))
        rows = _rows(lake)
        with pytest.MonkeyPatch.context() as patch:
            Machine(step, tears=tears).install(patch)
            with suppress(_Killed):
                _compact(lake)
        lake = Lake(str(root))
        assert _rows(lake) == rows, f"after step {step}, {name}"
        _, damaged, torn = verify_days(lake, POLYMARKET, [START.date()], deep=True)
        assert (damaged, torn) == ([], int(tears))
        if late:
            _publish(lake, make_trade, 1, "late")
            _publish(lake, make_trade, 61, "late")
            rows = _rows(lake)
        done = _compact(lake)
        assert (done.failed, done.damaged) == ([], [])
        assert _rows(lake) == rows, f"after step {step}, {name}, and another run"
        if not (late and tears):
            # a torn line might be one that lists a file which nothing else does
            _assert_finished(lake)


def test_readers_find_the_same_rows_before_and_after_every_operation(collected: Path) -> None:
    lake = Lake(str(collected))
    rows, found = _rows(lake), list[bool]()
    version = read_manifest(lake.store, POLYMARKET, START.date()).version([TRADES.name])

    def observe() -> None:
        manifest = read_manifest(lake.store, POLYMARKET, START.date())
        found.append(_rows(lake) == rows and manifest.version([TRADES.name]) == version)

    machine = Machine(observe=observe)
    with pytest.MonkeyPatch.context() as patch:
        machine.install(patch)
        _compact(lake)
    observe()
    assert len(found) == len(machine.operations) + 1 > 25
    assert all(found)
    _assert_finished(lake)


@pytest.mark.parametrize("name", ["write_table", "fsync", "replace", "append_line", "unlink"])
def test_an_operation_that_fails_is_reported_and_done_by_the_next_run(
    collected: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    lake = Lake(str(collected))
    rows = _rows(lake)
    owner: Any = {
        "write_table": pq.ParquetWriter, "fsync": os, "append_line": LocalStore
    }.get(name, Path)  # fmt: skip
    call = getattr(owner, name)

    def failing(*arguments: Any, **options: Any) -> Any:
        if name == "unlink" and ".staging" in str(arguments[0]):
            return call(*arguments, **options)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failing)
        done = _compact(lake)
    assert done.failed
    assert all("No space left on device" in line for line in done.failed)
    assert _rows(lake) == rows
    assert _compact(lake).failed == []
    assert _rows(lake) == rows
    _assert_finished(lake)
