"""One collector a data directory and shard, and one way of dividing the universe at a time."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from surveillance_collector.share import Share
from surveillance_core.command_line import LockHeld
from surveillance_core.lake.layout import (
    LOCK_SUFFIX,
    collector_lock_file,
    parse_collector_shard,
)
from surveillance_core.lake.store import Store
from surveillance_core.locks import process_lock


@contextmanager
def collector_lock(store: Store, share: Share) -> Generator[None]:
    """Hold the shard's lock while no collector divides the universe into another number of shards.

    Raises
    ------
    LockHeld
        If another process has the shard, or a shard of another count: some markets would be
        collected twice and others not at all.
    """
    with process_lock(
        store,
        collector_lock_file(share.name).removesuffix(LOCK_SUFFIX),
        f"another collector holds shard {share.name}",
        "Stop it, or name another --data-dir.",
    ):
        _refuse_other_counts(store, store.state_dir(), share)
        yield


def _refuse_other_counts(store: Store, directory: Path, share: Share) -> None:
    # looked for with the own lock held, so of two that start together at least one sees the other
    for holder in directory.iterdir():
        other = parse_collector_shard(holder.name)
        if other is None or Share.named(other).count == share.count:
            continue
        lock = FileLock(directory / collector_lock_file(other))
        try:
            lock.acquire(timeout=0)
            lock.release()
        except Timeout:
            raise LockHeld(
                f"{store.root}: a collector of another number of shards is at work: {other}. "
                "Stop it, or divide the universe as it does."
            ) from None
