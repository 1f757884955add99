"""MSG-05: markets that are listed, closed and resolved leave nothing behind."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from surveillance_collector.service import VenueCollector
from surveillance_collector.visits import KEPT_GONE, Visit
from surveillance_core.lake.publish import Lake
from surveillance_core.markets import Market
from surveillance_core.venues.recent import REMEMBERED
from tests.collector.live import collecting, publish, until
from tests.collector.worlds import listed_market

from .churning_peer import ChurningPeer, churning_peer
from .held_memory import held_bytes
from .matrix import Tier, Trial
from .quick_collector import quick_settings

STAYING = 200
WARMING = 1
WAVES = {Tier.QUICK: 5, Tier.FULL: 20}
MOST_GROWTH = 0.05
PATIENCE_S = 60.0
A_DAY_S = 86_400.0
LOOKS = 15
BETWEEN_LOOKS_S = 0.2


def _markets(name: str, count: int) -> list[Market]:
    return [listed_market(f"{name}-{number}", volume=1.0) for number in range(count)]


async def _held_bytes(collector: VenueCollector) -> int:
    """Least bytes held over some moments where next to no row waits for its file.

    What a universe that was just left, or visits that are being written, hold is not there to stay.
    """
    await until(lambda: collector.report().rows_held <= 2 * STAYING, "the files", PATIENCE_S)
    least = held_bytes()
    for _ in range(LOOKS):
        await asyncio.sleep(BETWEEN_LOOKS_S)
        least = min(least, held_bytes())
    return least


class Churn:
    """A collector whose universe comes and goes around some markets that stay."""

    def __init__(self, collector: VenueCollector, peer: ChurningPeer, lake: Lake) -> None:
        self._collector = collector
        self._peer = peer
        self._lake = lake
        self.staying = _markets("staying", STAYING)

    async def begin(self) -> None:
        """The markets that stay; and whatever remembers so many names knows so many."""
        publish(self._lake, self.staying)
        await self.settled(STAYING)
        said = self._collector._engine._announcements._said
        # a dictionary that is full and has others go for those that come grows once more
        for number in range(2 * REMEMBERED):
            said.is_new(("listed", f"announced-{number}"))
        long_ago = time.time() - A_DAY_S
        visits = self._collector._scheduling.scheduler._visits
        visits |= {f"market:gone-{n}": Visit(long_ago, long_ago) for n in range(KEPT_GONE)}

    async def wave(self, name: str, count: int) -> None:
        """So many markets are listed, subscribed, resolved, and listed no more."""
        coming = _markets(name, count)
        await self._peer.announce(coming)
        publish(self._lake, self.staying + coming)
        await self.settled(STAYING + count)
        await self._peer.resolve(coming)
        engine = self._collector._engine
        await until(lambda: engine.books == STAYING, "every result", PATIENCE_S)
        publish(self._lake, self.staying)
        await self.settled(STAYING)

    async def settled(self, count: int) -> None:
        """So many markets are followed, have a book, and are subscribed at the venue."""
        engine = self._collector._engine
        await until(
            lambda: engine.followed == engine.books == len(self._peer.subscribed) == count,
            f"{count} markets",
            PATIENCE_S,
        )


@pytest.mark.fault("MSG-05")
async def test_markets_come_and_go(trial: Trial, tmp_path: Path) -> None:
    waves = WAVES[trial.tier]
    lake = Lake(str(tmp_path / "lake"), "simulated")
    without = held_bytes()
    async with churning_peer() as peer:
        settings = quick_settings(
            tmp_path, peer.url, heartbeat_seconds=600.0, mirror_check=False,
            max_subs=5_000, connection_minutes=0.0,
            subscription_churn_limit_per_minute=10_000_000, rotation_period_secs=1,
            snapshot_interval_ms_hot=500, snapshot_interval_ms_warm=1_000,
        )  # fmt: skip
        publish(lake, _markets("staying", STAYING))
        async with collecting(settings, lake) as collector:
            churn = Churn(collector, peer, lake)
            await churn.begin()
            for number in range(WARMING):
                await churn.wave(f"first-{number}", trial.quantity // waves)
            before = await _held_bytes(collector) - without
            for number in range(waves):
                with trial.case(f"wave {number}"):
                    await churn.wave(f"wave-{number}", trial.quantity // waves)
                    left = peer.subscribed - {m.outcomes[0].outcome_id for m in churn.staying}
                    assert not left, f"{len(left)} subscriptions left behind"
                trial.runs += trial.quantity // waves - 1
            growth = (await _held_bytes(collector) - without) / before - 1
            connections = len(collector._subscriptions.feeds)
    trial.notes.append(
        f"{before / 1e6:.1f} MB held before, {growth:+.1%} after; {connections} connections"
    )
    assert abs(growth) <= MOST_GROWTH, f"memory grew by {growth:.1%}"
