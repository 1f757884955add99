"""One collector a data directory and shard: a kernel lock that dies with its holder."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from filelock import FileLock, Timeout

from surveillance_core.command_line import LockHeld
from surveillance_core.lake.layout import collector_holder_file, collector_lock_file
from surveillance_core.lake.store import Store


@contextmanager
def collector_lock(store: Store, shard: str) -> Generator[None]:
    """Hold the shard's lock; raises ``LockHeld`` naming the holder if another process does."""
    directory = store.state_dir()
    holder = directory / collector_holder_file(shard)
    lock = FileLock(directory / collector_lock_file(shard))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        known = "unknown"
        with suppress(OSError):
            known = holder.read_text(encoding="utf-8").strip()
        raise LockHeld(
            f"{store.root}: another collector holds shard {shard}: {known}. "
            "Stop it, or name another --data-dir."
        ) from None
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
