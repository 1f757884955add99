"""What runs in processes of its own, and processes that are there in milliseconds.

They are forked off a server that has the imports behind it. Since it looks functions up by the
name of their module, tests import this one by its whole name.
"""

from __future__ import annotations

import multiprocessing
from contextlib import redirect_stderr
from io import StringIO
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.synchronize import Barrier
from typing import NamedTuple

import typer

from surveillance_collector.lock import collector_lock
from surveillance_collector.share import Share
from surveillance_core.command_line import reporting_failures
from surveillance_core.lake.store import open_store

PATIENCE_S = 30.0


def quick_processes() -> ForkServerContext:
    """Where such processes come from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["surveillance_collector.lock", "surveillance_core.lake.read"])
    return context


class Outcome(NamedTuple):
    """What a racer says of itself: the code it left with, None while it holds the lock."""

    pid: int
    code: int | None
    said: str = ""


def race_for_the_lock(root: str, start: Barrier, told: Connection) -> None:
    """What ``run`` does with the lock: hold it until told to stop, or leave with a message."""
    said = StringIO()
    pid = multiprocessing.current_process().pid or 0
    start.wait(PATIENCE_S)
    try:
        with (
            redirect_stderr(said),
            reporting_failures(),
            collector_lock(open_store(root), Share()),
        ):
            told.send(Outcome(pid, None))
            told.recv()
    except typer.Exit as refused:
        told.send(Outcome(pid, refused.exit_code, said.getvalue()))
