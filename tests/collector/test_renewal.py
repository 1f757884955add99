"""Connections renewed while frames come: no row twice, none missing, no moment without a book."""

from __future__ import annotations

import asyncio

from surveillance_core.lake.publish import Lake
from surveillance_core.lake.schemas import SNAPSHOTS
from surveillance_core.venues.simulated.faults import Refuse

from .conftest import MakeSettings
from .live import busy_venue, collecting, judge, publish_world, trust, until
from .worlds import lake_rows

RENEWALS = 25


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
