"""One process a task and lake."""

from __future__ import annotations

import os

import pytest

from surveillance_core.command_line import LockHeld
from surveillance_core.lake.publish import Lake
from surveillance_core.locks import process_lock


def test_the_refusal_names_the_holder_and_the_next_step(lake: Lake) -> None:
    with process_lock(lake.store, "task", "", ""):
        with (
            pytest.raises(LockHeld) as refused,
            process_lock(lake.store, "task", "another one is at it", "Wait."),
        ):
            pytest.fail("two at once")
        said = str(refused.value)
        assert said.startswith(f"{lake.store.root}: another one is at it: ")
        assert f'"pid": {os.getpid()}' in said
        assert said.endswith(". Wait.")
        assert refused.value.code == 75
        with process_lock(lake.store, "other", "", ""):
            pass
    with process_lock(lake.store, "task", "", ""):
        pass
