"""Connections renewed while frames come: no row twice, none missing, no moment without a book."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from websockets.asyncio.server import ServerConnection, serve

from surveillance_collector.feed import Feed, ReceiveClock
from surveillance_collector.reconnection import HandshakeBudget
from surveillance_collector.renewal import take_over
from surveillance_collector.sampling import Tier
from surveillance_collector.silence import Silence
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.schemas import SNAPSHOTS
from surveillance_core.venues.protocols import AssetTerms
from surveillance_core.venues.registry import adapter_of
from surveillance_core.venues.simulated.faults import Refuse
from tests.faults.bad_network import Network, between

from .conftest import MakeSettings
from .live import busy_venue, collecting, judge, publish_world, trust, until
from .test_feed import Sink
from .worlds import VENUE, lake_rows

RENEWALS = 25
PRINT = '{"print": "' + "1" * 80 + '"}'
"""A quarter of a second on a slow line."""


async def test_renewed_again_and_again_nothing_is_missing_and_nothing_is_written_twice(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue(markets=10, rate=400.0) as venue:
        markets = publish_world(lake, venue)
        settings = make_settings(venue, assets_per_connection=10, connection_minutes=0.0)
        async with collecting(settings, lake) as collector:
            subscriptions = collector._subscriptions
            await until(lambda: collector._engine.books == len(markets), "every book")
            before = list(subscriptions.feeds)
            for number in range(RENEWALS):
                feed = subscriptions.feeds[number % len(subscriptions.feeds)]
                assert await subscriptions.renew(feed)
                assert venue.sockets.connections <= len(subscriptions.feeds) + 1
                await asyncio.sleep(0.02)
            assert not set(before) & set(subscriptions.feeds)
            assert [feed.name for feed in subscriptions.feeds] == [feed.name for feed in before]
            assert sum(feed.announces for feed in subscriptions.feeds) == 1
            trades = collector.report().counts["trades"]
            await until(lambda: collector.report().counts["trades"] > trades, "trades go on")
        report = collector.report()
    judge(lake, venue, rows=100)
    assert report.hash["due"] == report.hash["matched"]
    assert report.counts["handed_over"] >= RENEWALS * 8
    for (_,), line in trust(lake).group_by("outcome_id"):
        causes = line.sort("start_us")["cause"].drop_nulls().to_list()
        assert [cause for cause in causes if cause != "tick_size_change"] == [
            "awaiting_book", "stopped",
        ]  # fmt: skip
    rows = lake_rows(lake, SNAPSHOTS)
    assert rows.select("outcome_id", "ts_recv").is_duplicated().sum() == 0


async def test_connections_are_renewed_by_themselves(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue() as venue:
        publish_world(lake, venue)
        settings = make_settings(venue, connection_minutes=0.5 / 60)
        async with collecting(settings, lake) as collector:
            await until(lambda: collector._engine.counts["handed_over"] > 20, "some renewals")
    judge(lake, venue)


async def test_a_venue_that_refuses_the_new_connection_keeps_the_old_one(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue() as venue:
        markets = publish_world(lake, venue)
        settings = make_settings(venue, connection_minutes=0.0)
        async with collecting(settings, lake) as collector:
            subscriptions = collector._subscriptions
            await until(lambda: collector._engine.books == len(markets), "every book")
            (feed,) = subscriptions.feeds
            venue.faults.order(Refuse(503, 100))
            renewal = asyncio.create_task(subscriptions.renew(feed))
            await asyncio.sleep(1.0)
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)
            assert subscriptions.feeds == [feed]
            assert feed.connected
            rows = collector.report().counts["snapshots"]
            await until(lambda: collector.report().counts["snapshots"] > rows + 20, "rows go on")
    judge(lake, venue)
    for (_,), line in trust(lake).group_by("outcome_id"):
        causes = [cause for cause in line["cause"].drop_nulls() if cause != "tick_size_change"]
        assert sorted(causes) == ["awaiting_book", "stopped"]


async def test_the_old_connection_may_come_back_while_another_is_to_take_over(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue() as venue:
        markets = publish_world(lake, venue)
        settings = make_settings(venue, connection_minutes=0.0)
        async with collecting(settings, lake) as collector:
            subscriptions = collector._subscriptions
            await until(lambda: collector._engine.books == len(markets), "every book")
            (feed,) = subscriptions.feeds
            heir = subscriptions._new_feed(feed.name, feed.numbers)
            feed.give_up("stalled", feed.heard_ns)
            await until(lambda: feed.reconnects == 1 and feed.connected, "the old one is back")
            await heir.add([terms for held in feed.held.values() for terms in held], Tier.HOT)
            task = asyncio.create_task(heir.run())
            await until(lambda: heir.connected, "the other one is there")
            assert (feed.conn, heir.conn) == (f"{feed.name}.2", f"{feed.name}.3")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_what_is_on_its_way_to_the_old_connection_is_waited_for() -> None:
    """A print goes to the old one alone, and the new one's book is there long before it."""
    sink, olds = Sink(), list[ServerConnection]()

    async def serve_both(connection: ServerConnection) -> None:
        await connection.recv()
        if olds:
            await olds[0].send(PRINT)
        olds.append(connection)
        await connection.send('{"book": 1}')
        await connection.wait_closed()

    def feed_at(port: int) -> Feed:
        return Feed(
            "polymarket-0", f"ws://127.0.0.1:{port}", sink, ReceiveClock(),
            handshake=lambda wall_ms: {}, ping=None, echo=adapter_of(VENUE).echo,
            silence=Silence(60.0), half_open_seconds=30.0,
            reconnect_max_seconds=60.0, budget=HandshakeBudget(0.0, 0.0),
        )  # fmt: skip

    async with serve(serve_both, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        slow = Network(64, 0.0, 400.0)
        async with between(slow, port, Random(1)) as far:
            old, heir = feed_at(far), feed_at(port)
            await old.add([AssetTerms(market_id="m", asset_id="1", tick=100)], Tier.HOT)
            tasks = [asyncio.create_task(old.run())]
            await until(lambda: sink.frames, "the old one's book")
            tasks.append(asyncio.create_task(heir.run()))
            waiting = lambda conn: sink.frames.count(b'{"book": 1}') < 2  # noqa: E731
            assert await take_over(old, heir, waiting, 5.0)
            assert PRINT.encode() in sink.frames
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_both_are_dropped_while_one_takes_over_and_come_back_under_names_of_their_own(
    make_settings: MakeSettings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with busy_venue() as venue:
        markets = publish_world(lake, venue)
        settings = make_settings(venue, connection_minutes=0.0)
        async with collecting(settings, lake) as collector:
            subscriptions = collector._subscriptions
            await until(lambda: collector._engine.books == len(markets), "every book")
            (feed,) = subscriptions.feeds
            lacking, waiting = [1], subscriptions._sink.waiting
            monkeypatch.setattr(
                subscriptions._sink, "waiting", lambda conn: sum(lacking) or waiting(conn)
            )
            renewal = asyncio.create_task(subscriptions.renew(feed))
            await until(lambda: venue.sockets.connections == 2, "both are there")
            made = venue.sockets.connections_made
            venue.faults.drop_connections(1006)
            # where the old one is first, the other is not needed any more
            await until(
                lambda: renewal.done() or venue.sockets.connections_made == made + 2,
                "either comes back",
            )
            lacking.clear()
            await renewal
            assert len(subscriptions.feeds) == 1
            await until(lambda: collector._engine.books == len(markets), "every book again")
            rows = collector.report().counts["snapshots"]
            await until(lambda: collector.report().counts["snapshots"] > rows + 20, "rows go on")
    judge(lake, venue)
