"""Runs the matrix: the tier, the seeds, and a line of the report for each test."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from zlib import crc32

import pytest

from .matrix import LONGEST, MATRIX, Tier, Trial

TIER = Tier(os.environ.get("SURVEILLANCE_FAULTS_TIER", Tier.QUICK))
SEED = int(os.environ.get("SURVEILLANCE_FAULTS_SEED", "1"))
ONLY = os.environ.get("SURVEILLANCE_FAULTS_ONLY", "").split()
REPORT = os.environ.get("SURVEILLANCE_FAULTS_REPORT")


@pytest.fixture
def trial(request: pytest.FixtureRequest) -> Iterator[Trial]:
    """Takes down what becomes of the fault that the test is marked with.

    The test ends as failed where any of its cases did; the row is written either way.
    """
    marker = request.node.get_closest_marker("fault")
    assert marker is not None, "mark the test with the id of its row: @pytest.mark.fault('NET-01')"
    (fault_id,) = marker.args
    name = request.node.nodeid.rpartition("::")[2]
    trial = Trial(fault_id, TIER, SEED + crc32(name.encode()))
    if not trial.quantity:
        pytest.skip(f"{fault_id} is tried in the full tier alone: make faults")
    print(f"{fault_id} {TIER} seed {SEED}")  # noqa: T201  # shown where the test fails
    began = time.monotonic()
    yield trial
    trial.seconds = time.monotonic() - began
    report = request.node.stash.get(_FAILED, None)
    if report is not None and not trial.failures:
        trial.failures.append(report)
    if REPORT is not None:
        with Path(REPORT).open("a") as file:
            file.write(json.dumps(asdict(trial) | {"test": name}) + "\n")
    if report is None:
        assert not trial.failures, "\n".join(trial.failures[:20])


_FAILED = pytest.StashKey[str]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Remember what a test failed of, so that its row says it."""
    report = yield
    if call.when == "call" and report.failed:
        item.stash[_FAILED] = str(call.excinfo.value)[:300] if call.excinfo else "failed"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every row named here is one that there is; the full tier takes as long as it takes.

    Where rows are chosen, what tries none is left to the runs of all tests: beside rows it would
    cost them minutes, and its failure would be none of theirs.
    """
    for item in list(items):
        marker = item.get_closest_marker("fault")
        if ONLY and (marker is None or marker.args[0] not in ONLY):
            items.remove(item)
            continue
        if marker is None:
            continue
        assert marker.args[0] in MATRIX, f"{item.nodeid}: no row {marker.args[0]} in the matrix"
        if TIER is Tier.FULL:
            item.add_marker(pytest.mark.timeout(2_400))
    if TIER is Tier.FULL:
        items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    marker = item.get_closest_marker("fault")
    fault_id = "" if marker is None else marker.args[0]
    return LONGEST.index(fault_id) if fault_id in LONGEST else len(LONGEST)
