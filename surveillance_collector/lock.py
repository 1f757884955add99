"""One collector a data directory and shard."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from surveillance_core.lake.store import Store
from surveillance_core.locks import process_lock


@contextmanager
def collector_lock(store: Store, shard: str) -> Generator[None]:
    """Hold the shard's lock; raises ``LockHeld`` naming the holder if another process does."""
    with process_lock(
        store,
        f"collector-{shard}",
        f"another collector holds shard {shard}",
        "Stop it, or name another --data-dir.",
    ):
        yield
