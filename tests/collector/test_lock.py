"""One collector a data directory and shard."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from surveillance_collector.lock import collector_lock
from surveillance_collector.share import Share
from surveillance_core.command_line import LockHeld
from surveillance_core.lake.publish import Lake

HOLDER = """
import sys
from surveillance_collector.lock import collector_lock
from surveillance_collector.share import Share
from surveillance_core.lake.store import open_store
with collector_lock(open_store(sys.argv[1]), Share()):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_collector_is_refused_by_the_name_of_the_first(lake: Lake) -> None:
    with collector_lock(lake.store, Share()):
        with pytest.raises(LockHeld) as refused, collector_lock(lake.store, Share()):
            pytest.fail("two collectors on one shard")
        assert refused.value.code == 75
        assert f'"pid": {os.getpid()}' in str(refused.value)
        assert lake.store.root in str(refused.value)


def test_a_refusal_leaves_the_holder_its_lock_and_its_record(lake: Lake) -> None:
    record = lake.store.state_dir() / "collector-0.json"
    with collector_lock(lake.store, Share()):
        for _ in range(2):
            with pytest.raises(LockHeld), collector_lock(lake.store, Share()):
                pass
        assert json.loads(record.read_text())["pid"] == os.getpid()
    assert not record.exists()


def test_shards_and_lakes_do_not_block_each_other(lake: Lake, tmp_path: Path) -> None:
    other = Lake(str(tmp_path / "other"), "simulated")
    with (
        collector_lock(lake.store, Share(0, 2)),
        collector_lock(lake.store, Share(1, 2)),
        collector_lock(other.store, Share(0, 2)),
        pytest.raises(LockHeld),
        collector_lock(lake.store, Share(1, 2)),
    ):
        pass


def test_a_failure_gives_the_lock_back(lake: Lake) -> None:
    with pytest.raises(RuntimeError, match="broken"), collector_lock(lake.store, Share()):
        raise RuntimeError("broken")
    with collector_lock(lake.store, Share()):
        pass


@pytest.mark.process
def test_a_killed_collector_holds_nothing(lake: Lake) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, lake.store.root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(LockHeld, match=f'"pid": {holder.pid}'),
            collector_lock(lake.store, Share()),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait(timeout=10)
        # its record outlived it and must not count
        assert (lake.store.state_dir() / "collector-0.json").exists()
        with collector_lock(lake.store, Share()):
            pass


def test_two_ways_of_dividing_the_universe_do_not_mix(lake: Lake) -> None:
    with collector_lock(lake.store, Share(0, 2)):
        for other in (Share(), Share(1, 3), Share(0, 3)):
            refused = pytest.raises(LockHeld, match="another number of shards")
            with refused, collector_lock(lake.store, other):
                pytest.fail("markets would be collected twice")
        with collector_lock(lake.store, Share(1, 2)):
            pass
    with collector_lock(lake.store, Share(0, 3)):
        pass
