"""NET-07: connections renewed again and again under load, against the venue's log of the truth."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from time import monotonic, time_ns

import pytest

from surveillance_collector.journal.sink import JournaledEngine
from surveillance_collector.reconnection import HandshakeBudget
from surveillance_collector.service import VenueCollector
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.schemas import SNAPSHOTS, TRADES
from surveillance_core.venues.simulated.polymarket import market_socket
from surveillance_core.venues.simulated.servers import SimulatedPolymarket
from surveillance_core.venues.simulated.world import World
from tests.collector.live import collecting, judge, publish_world, trust, until
from tests.collector.worlds import lake_rows

from .matrix import Trial
from .quick_collector import quick_settings

MARKETS = 12
EVENTS_PER_SECOND = 1_550.0
"""Of which some are left out, as a market has one a millisecond at most."""
TRADE_SHARE = 0.01
"""Where fills are as frequent as they would be otherwise at this rate, a hash seldom knows which
of them its price is of."""
LEAST_FRAMES_PER_SECOND = 2_000.0
HANDSHAKE_SPACING = 0.05
"""Less than a real venue is given, so that a thousand rotations take minutes."""
BETWEEN_SECONDS = 0.02
IN_FLIGHT_SECONDS = 2.0


class FrameLog:
    """What the venue sent to anybody, and what the collector took, as hashes of the texts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: set[int] = set()
        self.frames = 0
        self.taken: set[int] = set()
        queue = market_socket._Client.queue

        def note(client: market_socket._Client, frame: str | bytes) -> None:
            self.sent.add(_digest(frame))
            self.frames += 1
            queue(client, frame)

        monkeypatch.setattr(market_socket._Client, "queue", note)

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Note what any collector takes from now on."""
        take = JournaledEngine.take

        def note(engine: JournaledEngine, conn: str, frame: bytes | str, recv_ns: int) -> None:
            self.taken.add(_digest(frame))
            take(engine, conn, frame, recv_ns)

        monkeypatch.setattr(JournaledEngine, "take", note)


def _digest(frame: str | bytes) -> int:
    return hash(frame.encode() if isinstance(frame, str) else frame)


async def _most_connections(venue: SimulatedPolymarket, collector: VenueCollector) -> int:
    """Most connections beyond one a shard, looked at until cancelled."""
    most = 0
    feeds = collector._subscriptions.feeds
    with suppress(asyncio.CancelledError):
        while True:
            most = max(most, venue.sockets.connections - len(feeds))
            await asyncio.sleep(0.002)
    return most


@pytest.mark.fault("NET-07")
async def test_renewed_under_load_nothing_is_missing_or_twice(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = FrameLog(monkeypatch)
    log.watch(monkeypatch)
    lake = Lake(str(tmp_path / "lake"), "simulated")
    world = World(
        trial.seed, MARKETS, start_ms=time_ns() // 1_000_000,
        events_per_second=EVENTS_PER_SECOND, zipf_exponent=0.5, trade_share=TRADE_SHARE,
    )  # fmt: skip
    async with SimulatedPolymarket(world=world) as venue:
        markets = publish_world(lake, venue)
        settings = quick_settings(
            tmp_path,
            venue.ws_url,
            assets_per_connection=10,
            connection_minutes=0.0,
            hash_check_interval_ms=1_000,
        )
        async with collecting(settings, lake) as collector:
            subscriptions = collector._subscriptions
            subscriptions._budget = HandshakeBudget(HANDSHAKE_SPACING)
            await until(lambda: collector._engine.books == len(markets), "every book", 60.0)
            shards = len(subscriptions.feeds)
            watching = asyncio.create_task(_most_connections(venue, collector))
            began, frames = monotonic(), log.frames
            for number in range(trial.quantity):
                with trial.case(f"rotation {number}"):
                    renewed = await subscriptions.renew(subscriptions.feeds[number % shards])
                    assert renewed, "the new connection did not take over"
                await asyncio.sleep(BETWEEN_SECONDS)
            seconds = monotonic() - began
            rate = (log.frames - frames) / seconds
            watching.cancel()
            most = await watching
            sent = set(log.sent)
            await asyncio.sleep(IN_FLIGHT_SECONDS)
            missing = len(sent - log.taken)
        report = collector.report()
    trial.rows_lost = missing
    trial.notes.append(
        f"{shards} shards, {trial.quantity / seconds:.1f} rotations and {rate:,.0f} frames a "
        f"second, {len(sent):,} frames"
    )
    assert missing == 0, f"{missing} of {len(sent)} frames never came"
    assert most == 1, f"{most} connections beyond one a shard"
    assert rate >= LEAST_FRAMES_PER_SECOND, f"{rate:.0f} frames a second"
    # one alone may be of a print that has not come yet; two in a row would be a doubt
    assert report.hash["matched"] > shards
    assert "doubted_hash_mismatch" not in report.counts
    judge(lake, venue, rows=100)
    for table, key in ((SNAPSHOTS, "ts_recv"), (TRADES, "transaction_id")):
        rows = lake_rows(lake, table)
        assert rows.select("outcome_id", key).is_duplicated().sum() == 0, table.name
    for (_,), line in trust(lake).group_by("outcome_id"):
        causes = line.sort("start_us")["cause"].drop_nulls().to_list()
        assert [cause for cause in causes if cause != "tick_size_change"] == [
            "awaiting_book", "stopped",
        ]  # fmt: skip
