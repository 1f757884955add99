"""STO-04: the order of a publication's system calls, as the kernel was asked for them."""

from __future__ import annotations

import re
import shutil
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from surveillance_core.lake.layout import STAGING_SUFFIX
from surveillance_core.venues.simulated.servers import SimulatedPolymarket
from tests.collector.live import until

from .collecting import Collecting
from .matrix import Trial

_CALLS = "write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat"
_LINE = re.compile(
    r"(?P<thread>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<call>\w+)\()(?P<rest>.*)"
)
_TEXT = re.compile(r'"([^"]*)"')
_DESCRIPTOR = re.compile(r"^\d+<([^>]*)>")
PATIENCE_S = 60.0


@dataclass
class Call:
    """A system call, with the lines of the trace at which it began and ended."""

    name: str
    paths: tuple[str, ...]
    began: int
    ended: int


def calls_in(lines: list[str]) -> list[Call]:
    """Calls that ended well, in the order in which they began."""
    found: list[Call] = []
    unfinished: dict[str, Call] = {}
    for number, line in enumerate(lines):
        parts = _LINE.match(line)
        if parts is None:
            continue
        rest = parts["rest"]
        if parts["resumed"]:
            call = unfinished.pop(parts["thread"], None)
            if call is None:
                continue
            call.ended = number
        else:
            descriptor = _DESCRIPTOR.match(rest)
            paths = (descriptor[1],) if descriptor else tuple(_TEXT.findall(rest))
            call = Call(parts["call"], paths, number, number)
            if "<unfinished ...>" in rest:
                unfinished[parts["thread"]] = call
                continue
        if not re.search(r"= -1 ", rest):
            found.append(call)
    return sorted(found, key=lambda call: call.began)


def _next(calls: list[Call], after: int, names: tuple[str, ...], path: str) -> Call:
    for call in calls:
        if call.began > after and call.name in names and call.paths and path == call.paths[0]:
            return call
    raise AssertionError(f"no {'/'.join(names)} of {Path(path).name} after line {after}")


def _last(calls: list[Call], before: int, names: tuple[str, ...], path: str) -> Call:
    found = [
        call
        for call in calls
        if call.ended < before and call.name in names and call.paths and path in call.paths[0]
    ]
    assert found, f"no {'/'.join(names)} of {path} before line {before}"
    return found[-1]


def judge(calls: list[Call], lake: str) -> int:
    """Publications that were in order, all of them.

    Raises
    ------
    AssertionError
        If any was not.
    """
    published: list[tuple[str, int, int]] = []
    for move in calls:
        if not move.name.startswith("rename") or not move.paths[-1].endswith(".parquet"):
            continue
        staged, target = move.paths[0], move.paths[-1]
        assert f"{STAGING_SUFFIX}/" in staged, f"moved from {staged}"
        written = _last(calls, move.began, ("write", "pwrite64"), staged)
        synced = _last(calls, move.began, ("fsync",), staged)
        assert written.ended < synced.began, f"{target}: written after it was synced"
        journal = _last(calls, move.began, ("fdatasync",), ".wal")
        assert journal.ended < move.began
        directory = _next(calls, move.ended, ("fsync",), str(Path(target).parent))
        manifests = [
            call
            for call in calls
            if call.name == "write"
            and call.began > directory.ended
            and call.paths[0].startswith(f"{lake}/_manifest/")
        ]
        assert manifests, f"{target}: not listed"
        listed = _next(calls, manifests[0].ended, ("fsync",), manifests[0].paths[0])
        published.append((target, move.began, listed.ended))
    for gone in calls:
        if gone.name.startswith("unlink") and gone.paths[0].endswith(".wal"):
            # publications are one after another: what began before has ended
            between = [target for target, began, ended in published if began < gone.began < ended]
            assert not between, f"{gone.paths[0]} went before {between[0]} was listed"
            assert any(ended < gone.began for _, _, ended in published), "went before anything"
    return len(published)


def _segments_gone(trace: Path) -> int:
    return trace.read_text(errors="replace").count('.wal") = 0') if trace.exists() else 0


@pytest.mark.process
@pytest.mark.fault("STO-04")
async def test_of_a_publication_each_step_is_done_before_the_next_begins(
    trial: Trial, tmp_path: Path
) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    trace = tmp_path / "trace"
    # from its first call on, or what goes first is not known to have been published; -D: the
    # process that is started is the collector's
    under = [strace, "-D", "-f", "-y", "-s", "0", "-e", f"trace={_CALLS}", "-o", str(trace)]
    async with SimulatedPolymarket(seed=trial.seed, markets=8, events_per_second=40.0) as venue:
        collector = Collecting(tmp_path / "collected", venue, under=under)
        process = await collector.start()

        def enough() -> bool:
            return process.returncode is not None or _segments_gone(trace) >= 2

        try:
            await until(enough, "segments gone", PATIENCE_S)
        finally:
            with suppress(ProcessLookupError):
                collector.tell(signal.SIGTERM)
            _, _, log = await collector.end()
    if "Operation not permitted" in log:
        pytest.skip("no process may be traced here")
    assert process.returncode == 0, log[-2_000:]
    calls = calls_in(trace.read_text(errors="replace").splitlines())
    with trial.case("publications"):
        files = judge(calls, collector.lake.store.root)
        assert files, "nothing was published"
        trial.notes.append(f"{len(calls):,} calls, {files} files in order")
