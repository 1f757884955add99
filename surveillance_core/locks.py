"""One process a task and lake: a kernel lock that dies with its holder."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from surveillance_core.command_line import LockHeld
from surveillance_core.lake.store import Store

RECORD_SECONDS = 1.0
"""How long whoever is refused waits for the holder to have written who it is."""


@contextmanager
def process_lock(store: Store, name: str, refusal: str, next_step: str) -> Generator[None]:
    """Hold the lock of that name in the lake's state directory.

    Parameters
    ----------
    name
        Of the lock's file, and of the record of who holds it.
    refusal, next_step
        What is said, around the holder's record, where another process holds the lock.

    Raises
    ------
    LockHeld
        Naming the holder.
    """
    directory = store.state_dir()
    holder = directory / f"{name}.json"
    lock = FileLock(directory / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LockHeld(f"{store.root}: {refusal}: {_read_holder(holder)}. {next_step}") from None
    try:
        record = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        # it only says who holds the lock: a full disk is no reason not to
        with suppress(OSError):
            holder.write_text(json.dumps(record), encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def _read_holder(record: Path) -> str:
    """Who holds the lock, as it says itself.

    In its first moments there is no record of it, half of one, or that of a holder which was killed
    before it.
    """
    deadline = time.monotonic() + RECORD_SECONDS
    while True:
        said = ""
        with suppress(OSError):
            said = record.read_text(encoding="utf-8")
        if _may_be_alive(said) or time.monotonic() > deadline:
            return said or "unknown"
        time.sleep(0.01)


def _may_be_alive(said: str) -> bool:
    try:
        holder = json.loads(said)
        if holder["host"] == socket.gethostname():
            os.kill(holder["pid"], 0)
    except PermissionError:
        return True
    except (ValueError, KeyError, TypeError, OSError):
        return False
    return True
