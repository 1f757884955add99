"""One process a task and lake: a kernel lock that dies with its holder."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from filelock import FileLock, Timeout

from surveillance_core.command_line import LockHeld
from surveillance_core.lake.store import Store


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
        known = "unknown"
        with suppress(OSError):
            known = holder.read_text(encoding="utf-8").strip()
        raise LockHeld(f"{store.root}: {refusal}: {known}. {next_step}") from None
    try:
        record = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        holder.write_text(json.dumps(record), encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
