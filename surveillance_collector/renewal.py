"""A connection is replaced before it can go stale: the new one takes over, then the old one ends.

A socket that freezes without closing is the commonest loss there is (reference peers.md 0, item 1),
and opening a new one first is the only cure that loses nothing: its books arrive while the old one
is still read, prints that both tell are written once, and no moment is without a book.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from surveillance_collector.feed import Feed

POLL_SECONDS = 0.02


async def take_over(
    old: Feed, heir: Feed, waiting: Callable[[str], int], patience_seconds: float
) -> bool:
    """Have ``heir``, which is running, hold everything that ``old`` holds.

    Parameters
    ----------
    waiting
        Books that a connection is to take over and has not got yet.
    patience_seconds
        How long the books may take.

    Returns
    -------
    bool
        Whether it has them all; if not, nothing has changed for the old one.
    """
    for tier, assets in old.held.items():
        await heir.add(assets, tier)
    if old.announces:
        await heir.announce()
    if old.listened is not None:
        await heir.listen(old.listened)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_seconds
    while loop.time() < deadline:
        if heir.connected and not waiting(heir.conn):
            # a print on its way to the old one may be none that the new one is told
            await old.catch_up()
            return True
        await asyncio.sleep(POLL_SECONDS)
    return False
