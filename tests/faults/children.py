"""What runs in processes of its own, and processes that are there in milliseconds.

They are forked off a server that has the imports behind it, as far as those are of the packages:
what this module imports beyond them each process pays for. Since functions are looked up by the
name of their module, tests import them by its whole name.
"""

from __future__ import annotations

import multiprocessing
from contextlib import redirect_stderr
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.synchronize import Barrier
from typing import NamedTuple

import typer

from surveillance_collector.lock import collector_lock
from surveillance_collector.share import Share
from surveillance_core.command_line import reporting_failures
from surveillance_core.lake.compaction import CompactedDay, compact_day
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.store import open_store
from surveillance_core.markets import Venue

PATIENCE_S = 30.0


def quick_processes() -> ForkServerContext:
    """Where such processes come from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["surveillance_collector.lock", "surveillance_core.lake.compaction"]
    )
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


def compact_everything(lake: Lake, day: date) -> CompactedDay:
    """Compact all hours of a day, however fresh, and delete what is replaced at once."""
    none = timedelta(0)
    return compact_day(lake, Venue.POLYMARKET, day, margin=none, grace=none, clock=_in_a_century)


def compact_and_tell(root: str, day: date, told: Connection) -> None:
    """The same, with a word before and after it."""
    lake = Lake(root)
    told.send("at work")
    compact_everything(lake, day)
    told.send("done")


def _in_a_century() -> datetime:
    return datetime(2126, 1, 1, tzinfo=UTC)
