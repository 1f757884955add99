"""One collector a data directory and shard: a kernel lock that dies with its holder."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from surveillance_collector.share import Share
from surveillance_core.command_line import LockHeld
from surveillance_core.lake.layout import (
    collector_holder_file,
    collector_lock_file,
    parse_collector_shard,
)
from surveillance_core.lake.store import Store


@contextmanager
def collector_lock(store: Store, share: Share) -> Generator[None]:
    """Hold the shard's lock while no collector divides the universe into another number of shards.

    Raises
    ------
    LockHeld
        If another process has the shard, or a shard of another count: some markets would be
        collected twice and others not at all. The message names it.
    """
    directory = store.state_dir()
    holder = directory / collector_holder_file(share.name)
    lock = FileLock(directory / collector_lock_file(share.name))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LockHeld(
            f"{store.root}: another collector holds shard {share.name}: {_record(holder)}. "
            "Stop it, or name another --data-dir."
        ) from None
    try:
        _refuse_other_counts(store, directory, share)
        record = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "shards": share.count,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        holder.write_text(json.dumps(record), encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _refuse_other_counts(store: Store, directory: Path, share: Share) -> None:
    # looked for with the own lock held, so of two that start together at least one sees the other
    for other in directory.iterdir():
        name = parse_collector_shard(other.name)
        if name is None:
            continue
        with suppress(OSError, ValueError, KeyError, TypeError):
            if json.loads(other.read_text(encoding="utf-8"))["shards"] == share.count:
                continue
            found = FileLock(directory / collector_lock_file(name))
            try:
                found.acquire(timeout=0)
                found.release()
            except Timeout:
                raise LockHeld(
                    f"{store.root}: a collector of another number of shards is at work: "
                    f"{_record(other)}. Stop it, or divide the universe as it does."
                ) from None


def _record(holder: Path) -> str:
    with suppress(OSError):
        return holder.read_text(encoding="utf-8").strip()
    return "unknown"
