"""The connections of one venue and what each holds: changes of the scheduler carried out."""

from __future__ import annotations

import asyncio
import copy
import random
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import structlog

from surveillance_collector.feed import Feed
from surveillance_collector.feed_sink import FeedSink
from surveillance_collector.following import Followed
from surveillance_collector.holdings import Change, Subscribe, Unsubscribe
from surveillance_collector.receive_clock import ReceiveClock
from surveillance_collector.reconnection import HandshakeBudget
from surveillance_collector.renewal import take_over
from surveillance_collector.sampling import Tier
from surveillance_collector.selection import Watchlist, tiers_of
from surveillance_collector.shards import place_group
from surveillance_collector.share import WHOLE, Share
from surveillance_collector.silence import Silence
from surveillance_collector.stall_watch import StallWatch
from surveillance_collector.witnessing import Witness, WitnessTimes
from surveillance_core.markets import Venue
from surveillance_core.settings import Settings
from surveillance_core.simulated_time import receive_ns_of_wall
from surveillance_core.venues.clients import book_client
from surveillance_core.venues.protocols import AssetTerms
from surveillance_core.venues.registry import HandshakeHeaders, adapter_of

RENEWAL_PATIENCE_SECONDS = 30.0
"""How long the books of a new connection may take; the old one stays up meanwhile."""

log = structlog.get_logger()


class Sink(FeedSink, Protocol):
    """Who takes what the connections bring, and knows which books one has still to get."""

    @property
    def assets(self) -> Collection[Followed]:
        """Every asset as it is followed."""
        ...

    def waiting(self, conn: str) -> int:
        """Standing books that the connection is to take over and has not got yet."""
        ...


class Subscriptions:
    """Feeds with whole groups on them where they fit.

    Parameters
    ----------
    handshake
        Headers of each handshake.
    """

    def __init__(
        self,
        settings: Settings,
        venue: Venue,
        sink: Sink,
        clock: ReceiveClock,
        handshake: HandshakeHeaders,
        share: Share = WHOLE,
    ) -> None:
        self._settings = settings
        self._venue = venue
        self._sink = sink
        self._clock = clock
        self._handshake = handshake
        self._placed: dict[str, Feed] = {}
        """Feed of each asset."""
        self._hot: dict[str, str] = {}
        """Market of each asset that is read at the hot cadence."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._budget = HandshakeBudget()
        self._share = share
        # what is placed must not move while a connection takes over from another
        self._changing = asyncio.Lock()
        self._renewed: dict[str, float] = {}
        self.retired: Counter[str] = Counter()
        """Endings, by cause, of connections whose place another has taken."""
        self.feeds: list[Feed] = []
        table = settings.venues[venue]
        self.witness = self._new_witness()
        self.watch = StallWatch(
            sink,
            self.feeds,
            self.witness,
            choose_seconds=table.stall_seconds,
            sentinels=table.sentinels,
        )

    @property
    def hot(self) -> Collection[str]:
        """Assets that are read at the hot cadence."""
        return self._hot.keys()

    async def apply(self, changes: Sequence[Change], watchlist: Watchlist) -> None:
        """Unsubscribe, then subscribe, so that there are never more assets than there may be."""
        async with self._changing:
            await self._apply(changes, watchlist)

    async def watch_stalls(self) -> None:
        """Look after what the connections cannot notice themselves."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.watch.run())
            group.create_task(self.witness.run())

    @property
    def endings(self) -> Counter[str]:
        """Connections and attempts that ended, by cause."""
        return sum((feed.endings for feed in self.feeds), start=self.retired.copy())

    async def keep_fresh(self) -> None:
        """Renew one connection after the other, each about every ``connection_minutes``."""
        minutes = self._settings.venues[self._venue].connection_minutes
        while minutes:
            turn = 60.0 * minutes / max(1, len(self.feeds))
            # with a spread, so that no two collectors keep step
            await asyncio.sleep(turn * random.uniform(0.75, 1.25))  # noqa: S311
            due = min(self.feeds, key=lambda feed: self._renewed.get(feed.name, 0.0), default=None)
            if due is not None:
                self._renewed[due.name] = time.monotonic()
                await self.renew(due)

    async def renew(self, feed: Feed) -> bool:
        """Have a new connection take over from this one; whether it has."""
        async with self._changing:
            if not feed.connected or feed not in self.feeds:
                return False
            heir = self._new_feed(feed.name, feed.numbers)
            heir.silence = copy.copy(feed.silence)
            task = asyncio.create_task(heir.run(), name=feed.name)
            taken = False
            try:
                taken = await take_over(feed, heir, self._sink.waiting, RENEWAL_PATIENCE_SECONDS)
            finally:
                if not taken:
                    task.cancel()
            if taken:
                ended, self._tasks[feed.name] = self._tasks[feed.name], task
                self.feeds[self.feeds.index(feed)] = heir
                for asset_id, holder in self._placed.items():
                    if holder is feed:
                        self._placed[asset_id] = heir
                self.retired += feed.endings
            else:
                ended = task
            ended.cancel()
            await asyncio.gather(ended, return_exceptions=True)
            log.info("connection_renewed" if taken else "renewal_given_up", conn=heir.name)
            return taken

    async def _apply(self, changes: Sequence[Change], watchlist: Watchlist) -> None:
        leaving: dict[str, list[str]] = {}
        for change in changes:
            if isinstance(change, Unsubscribe):
                for asset_id in change.assets:
                    self._hot.pop(asset_id, None)
                    leaving.setdefault(self._placed.pop(asset_id).name, []).append(asset_id)
        coming = self._place(changes, watchlist, leaving)
        for feed in list(self.feeds):
            if feed.name in leaving:
                await feed.remove(leaving[feed.name], others_follow=feed.name in coming)
        for feed in list(self.feeds):
            for tier, assets in coming.get(feed.name, {}).items():
                await feed.add(assets, tier)
            await self._keep_announcements()
            if feed.name in coming and feed.name not in self._tasks:
                self._tasks[feed.name] = asyncio.create_task(feed.run(), name=feed.name)
                self._renewed[feed.name] = time.monotonic()
        await self._keep_announcements()

    def raise_failed(self) -> None:
        """Raise what ended a feed; only a failure of our own does."""
        for task in self._tasks.values():
            if task.done():
                task.result()

    async def stop(self) -> None:
        """Close every connection."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _place(
        self, changes: Sequence[Change], watchlist: Watchlist, leaving: Mapping[str, Sequence[str]]
    ) -> dict[str, dict[Tier, list[AssetTerms]]]:
        """Assets to subscribe by feed and tier; feeds that are lacking are made."""
        coming: dict[str, dict[Tier, list[AssetTerms]]] = {}
        rooms = [self._limit - feed.assets + len(leaving.get(feed.name, ())) for feed in self.feeds]
        tiers = self._tiers(changes, watchlist)
        for change in changes:
            if isinstance(change, Subscribe):
                markets = watchlist.markets(change.assets)
                sizes = [len(assets) for assets in markets.values()]
                places = place_group(sizes, rooms, self._limit)
                for (market_id, assets), place in zip(markets.items(), places, strict=True):
                    if place == len(rooms):
                        name = f"{self._venue.value}-{len(self.feeds)}"
                        self.feeds.append(self._new_feed(name))
                        rooms.append(self._limit)
                    rooms[place] -= len(assets)
                    feed = self.feeds[place]
                    tier = tiers[market_id]
                    coming.setdefault(feed.name, {}).setdefault(tier, []).extend(assets)
                    self._placed |= dict.fromkeys((a.asset_id for a in assets), feed)
                    if tier is Tier.HOT:
                        self._hot |= dict.fromkeys((a.asset_id for a in assets), market_id)
        return coming

    @property
    def _limit(self) -> int:
        return self._settings.venues[self._venue].assets_per_connection

    def _tiers(self, changes: Iterable[Change], watchlist: Watchlist) -> dict[str, Tier]:
        """Groups on a visit are warm; of the others the most traded markets are hot."""
        steady: dict[str, None] = {}
        visiting: dict[str, Tier] = {}
        for change in changes:
            if isinstance(change, Subscribe):
                markets = watchlist.markets(change.assets)
                if change.steady:
                    steady |= dict.fromkeys(markets)
                else:
                    visiting |= dict.fromkeys(markets, Tier.WARM)
        hot_count = self._settings.venues[self._venue].hot_count
        hot_free = hot_count - len(set(self._hot.values()))
        return visiting | tiers_of(steady, watchlist.traded, hot_free)

    async def _keep_announcements(self) -> None:
        """Hear what the venue says of all markets on one connection, while there is one."""
        if self._share.index:
            # one process is enough to write down what concerns all markets
            return
        holding = [feed for feed in self.feeds if feed.assets]
        if holding and not any(feed.announces for feed in holding):
            await holding[0].announce()

    def _new_feed(self, name: str, numbers: Iterator[int] | None = None) -> Feed:
        table = self._settings.venues[self._venue]
        return Feed(
            name,
            self._settings.endpoints(self._venue).ws_url,
            self._sink,
            self._clock,
            handshake=self._handshake,
            ping=adapter_of(self._venue).ping,
            echo=adapter_of(self._venue).echo,
            silence=Silence(table.stall_seconds, least=table.stall_least_seconds),
            half_open_seconds=table.half_open_seconds,
            on_silent=self.watch.fell_silent,
            reconnect_max_seconds=table.reconnect_max_seconds,
            budget=self._budget,
            numbers=numbers,
        )

    def _new_witness(self) -> Witness:
        table, mock = self._settings.venues[self._venue], self._settings.mock
        client = book_client(self._settings, self._venue, attempts=2)
        answers = adapter_of(self._venue).book_answers
        return Witness(
            self._sink,
            lambda assets: answers(client, assets),
            WitnessTimes(
                every=table.witness_seconds,
                again=table.witness_again_seconds,
                quiet=table.witness_quiet_seconds,
                quiet_ns=receive_ns_of_wall(mock, table.witness_quiet_seconds),
                most=table.witness_books,
            ),
            now_ns=self._clock.now_ns,
            feeds=lambda: self.feeds,
            replace=self.renew,
        )
