"""One collector a data directory and shard, and one way of dividing the universe at a time."""

from __future__ import annotations

import errno
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

import structlog
from filelock import FileLock, Timeout

from surveillance_collector.share import Share
from surveillance_core.command_line import LockHeld
from surveillance_core.lake.errors import LakeError
from surveillance_core.lake.layout import (
    LOCK_SUFFIX,
    collector_lock_file,
    parse_collector_shard,
)
from surveillance_core.lake.store import Store
from surveillance_core.locks import process_lock

RETRY_SECONDS: Final = 1.0
_PASSING: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""Errors of a disk that may be mended while somebody waits."""

log = structlog.get_logger()


@contextmanager
def collector_lock(store: Store, share: Share) -> Generator[None]:
    """Hold the shard's lock while no collector divides the universe into another number of shards.

    Raises
    ------
    LockHeld
        If another process has the shard, or a shard of another count: some markets would be
        collected twice and others not at all.
    LakeError
        If the state directory is not one that this process may write to. A disk that is full, or
        was mounted to be read only, is waited for.
    """
    _wait_for_disk(store)
    with process_lock(
        store,
        collector_lock_file(share.name).removesuffix(LOCK_SUFFIX),
        f"another collector holds shard {share.name}",
        "Stop it, or name another --data-dir.",
    ):
        _refuse_other_counts(store, store.state_dir(), share)
        yield


def _wait_for_disk(store: Store) -> None:
    """Return once the state directory's disk takes a file: one that does not may be mended."""
    said = False
    while True:
        try:
            with NamedTemporaryFile(dir=store.state_dir(), prefix=".lock-"):
                return
        except OSError as error:
            if error.errno not in _PASSING:
                raise LakeError(
                    f"{store.root}: its state cannot be written: {error}. "
                    "Name another --data-dir, or let this user write there."
                ) from error
            if not said:
                log.error(
                    "waiting_for_disk",
                    cause=str(error),
                    next_step="free space on the disk of data_dir, or mend it: this goes on alone",
                )
                said = True
        time.sleep(RETRY_SECONDS)


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
