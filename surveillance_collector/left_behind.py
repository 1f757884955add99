"""Journals that no collector of now would come upon: of other numbers of shards, or other venues.

A universe that was divided in two and is whole now has two journals of the shards that there were.
Whoever starts takes them up, one at a time, under the lock of the shard they belong to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

import structlog
from filelock import FileLock, Timeout

from surveillance_collector.disposal import Disposal
from surveillance_collector.journal.files import LocalSegments
from surveillance_collector.restart import begun_first, clear_unlisted, recover_journal
from surveillance_collector.share import Share
from surveillance_core.lake.errors import LakeError
from surveillance_core.lake.layout import collector_lock_file, journal_dir, parse_journal_dir
from surveillance_core.lake.publish import Lake, clear_staging
from surveillance_core.lake.store import Store
from surveillance_core.markets import Venue
from surveillance_core.settings import Settings
from surveillance_core.simulated_time import receive_time_ns

log = structlog.get_logger()


def journal_root(settings: Settings, store: Store) -> Path:
    """Where the journals of all venues and shards lie."""
    directory = settings.journal.directory
    return Path(directory) if directory else store.state_dir()


def clear_left_staging(store: Store, shard: str) -> None:
    """Delete what a collector of the shard that died was writing; its lock must be held."""
    try:
        clear_staging(store, f"collector-{shard}")
    except OSError as error:
        # they take room and are in nobody's way: the next start tries again
        log.warning("staging_not_cleared", cause=str(error)[:200])


async def recover_left_behind(
    settings: Settings, lake: Lake, share: Share, venues: Collection[Venue], wall_ns: int
) -> list[str]:
    """Publish what journals hold that no collector of this start has; names of those taken up."""
    taken: list[str] = []
    root = journal_root(settings, lake.store)
    for venue, shard in _journals(root):
        if shard == share.name and venue in venues:
            continue
        with ExitStack() as locks:
            if shard != share.name:
                lock = FileLock(lake.store.state_dir() / collector_lock_file(shard))
                try:
                    locks.enter_context(lock.acquire(timeout=0))
                except Timeout:
                    # its collector is at work
                    continue
            try:
                if await _recover(settings, lake, venue, shard, root, wall_ns):
                    taken.append(journal_dir(venue, shard))
            except (LakeError, OSError) as error:
                log.error("left_behind", venue=venue.value, shard=shard, cause=str(error)[:300])
    return taken


async def _recover(
    settings: Settings, lake: Lake, venue: Venue, shard: str, root: Path, wall_ns: int
) -> bool:
    files = LocalSegments(root / journal_dir(venue, shard))
    names = await asyncio.to_thread(files.names)
    if not names:
        return False
    now_ns = receive_time_ns(settings.mock, wall_ns)
    begun_ns = await asyncio.to_thread(begun_first, files, names)
    if begun_ns is not None:
        await asyncio.to_thread(clear_unlisted, lake, venue, shard, begun_ns, now_ns)
    found = await asyncio.to_thread(
        recover_journal, settings, lake, venue, shard, files, names, now_ns
    )
    disposal = Disposal(settings, lake, venue, shard, files, lambda: now_ns)
    disposal.add(names)
    await disposal.put_away()
    log.info("journal_taken_up", venue=venue.value, shard=shard, rows=found.rows)
    return True


def _journals(root: Path) -> list[tuple[Venue, str]]:
    parsed = (parse_journal_dir(entry.name) for entry in root.iterdir() if entry.is_dir())
    return sorted(found for found in parsed if found is not None)
