"""Connections, shards and single tokens that fall silent: each found, dated, and had anew."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from structlog.testing import capture_logs

from surveillance_collector import stall_watch as stall_watch_module
from surveillance_collector.following import Followed
from surveillance_collector.sentinels import Choice, Sentinel
from surveillance_collector.service import VenueCollector
from surveillance_collector.silence import Silence
from surveillance_collector.stall_watch import StallWatch
from surveillance_core.books import BookState
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.schemas import SNAPSHOTS
from surveillance_core.venues.protocols import AssetTerms
from surveillance_core.venues.simulated.judge import compare_books
from surveillance_core.venues.simulated.polymarket.market_socket import _Client
from surveillance_core.venues.simulated.servers import SimulatedPolymarket

from .conftest import MakeSettings
from .live import busy_venue, collecting, publish_world, trust, until, world_of
from .worlds import lake_rows

STALL_S = 2.0
"""A minute of the real thing, more or less; what has to be found within one is found in this."""
SCALED: dict[str, Any] = {
    "stall_seconds": STALL_S,
    "first_book_seconds": 1.0,
    "half_open_seconds": 1.0,
    "witness_seconds": 0.0,
    "connection_minutes": 0.0,
}
WITNESSED = SCALED | {
    "witness_seconds": 0.7,
    "witness_again_seconds": 0.2,
    "witness_quiet_seconds": 0.4,
}


def _client_of(venue: SimulatedPolymarket, token: str) -> _Client:
    (client,) = venue.sockets._followers[token]
    return client


def _forget_tokens(venue: SimulatedPolymarket, tokens: Collection[str]) -> None:
    """The venue no longer sends these tokens to anybody, and says nothing of it."""
    for token in tokens:
        venue.sockets._followers[token].clear()


def _mute(monkeypatch: pytest.MonkeyPatch, client: _Client) -> None:
    """The connection stays open and answers pings, and that is all."""
    queue = client.queue

    def only_pongs(frame: str | bytes) -> None:
        if frame == "PONG":
            queue(frame)

    monkeypatch.setattr(client, "queue", only_pongs)


@asynccontextmanager
async def _all_books(settings: Any, lake: Lake, markets: int) -> AsyncGenerator[VenueCollector]:
    async with collecting(settings, lake) as collector:
        await until(lambda: collector._engine.books == markets, "every book")
        yield collector


def _doubts(lake: Lake, cause: str) -> pl.DataFrame:
    """Untrusted intervals of a cause: outcome_id, start_us, end_us."""
    return trust(lake).filter(pl.col("cause") == cause).sort("start_us")


def _off_us(doubts: pl.DataFrame, moment_us: int) -> int:
    """The farthest that a doubt begins from a moment, microseconds."""
    return max(abs(start_us - moment_us) for start_us in doubts["start_us"].to_list())


def _judge_trusted(lake: Lake, venue: SimulatedPolymarket) -> None:
    """Every row that the ledger calls trusted is true; the others are what a stall left."""
    rows = lake_rows(lake, SNAPSHOTS)
    trusted = trust(lake).filter(pl.col("state") == "trusted")
    kept = (
        rows.with_row_index()
        .join(trusted.select("outcome_id", "start_us", "end_us"), on="outcome_id")
        .filter(
            pl.col("ts_recv").dt.epoch("us").ge(pl.col("start_us")),
            pl.col("ts_recv").dt.epoch("us").lt(pl.col("end_us")),
        )["index"]
    )
    books = compare_books(
        rows.with_row_index().filter(pl.col("index").is_in(kept.to_list())).drop("index"),
        venue.truth,
    )
    assert books.compared >= 10
    assert (books.different, books.examples) == (0, [])


def test_a_sentinel_is_not_missed_while_what_comes_waits_to_be_read() -> None:
    given_up: list[str] = []

    def give_up(cause: str, since_ns: int) -> None:
        del since_ns
        given_up.append(cause)

    terms = AssetTerms(market_id="m", asset_id="a", tick=100)
    book = Followed(terms, BookState("m", "a", 100), "c.1", 1, 0)
    feed: Any = SimpleNamespace(
        name="c", conn="c.1", connected=True, held_up=True, silence=Silence(STALL_S),
        holds={"a"}.__contains__, give_up=give_up,
    )  # fmt: skip
    books: Any = SimpleNamespace(assets=[book])
    witness: Any = SimpleNamespace(answers=False)
    watch = StallWatch(books, [feed], witness, choose_seconds=60.0, sentinels=True)
    watch._sentinels["c"] = Sentinel(Choice("a", own=True), Silence(STALL_S), 0.0)
    watch._look(100.0)
    feed.held_up = False
    watch._look(100.0 + STALL_S - 0.1)
    assert given_up == []
    watch._look(100.0 + STALL_S + 0.1)
    assert given_up == ["sentinel_silent"]


async def test_a_silent_venue_is_found_and_dated_from_its_last_data(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue() as venue:
        markets = publish_world(lake, venue)
        async with _all_books(make_settings(venue, **SCALED), lake, len(markets)) as collector:
            await asyncio.sleep(0.5)
            stalled_us = time.time_ns() // 1_000
            venue.faults.stall(STALL_S + 0.5)
            (feed,) = collector._feeds
            await until(lambda: feed.endings["stalled"], "the stall is found", STALL_S + 1.0)
            await until(lambda: collector._engine.books == len(markets), "every book anew")
            await asyncio.sleep(0.5)
            assert collector._subscriptions.watch.stalls(feed.endings)["silence"] == 1
    doubts = _doubts(lake, "stalled")
    assert doubts.height == len(markets)
    assert _off_us(doubts, stalled_us) < 200_000
    _judge_trusted(lake, venue)


async def test_one_silent_connection_is_replaced_and_the_others_are_left(
    make_settings: MakeSettings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with busy_venue() as venue:
        markets = publish_world(lake, venue)
        settings = make_settings(venue, assets_per_connection=4, **SCALED)
        async with _all_books(settings, lake, len(markets)) as collector:
            assert len(collector._feeds) > 1
            feed = collector._feeds[0]
            held = [terms.asset_id for terms in next(iter(feed.held.values()))]
            _mute(monkeypatch, _client_of(venue, held[0]))
            await until(lambda: feed.endings["stalled"], "the stall is found", STALL_S + 1.5)
            await until(lambda: collector._engine.books == len(markets), "every book anew")
            await until(
                lambda: collector._subscriptions.watch.verdicts.get("right"), "it was right"
            )
            await asyncio.sleep(0.3)
            assert sum(f.reconnects for f in collector._feeds) == 1
    assert set(_doubts(lake, "stalled")["outcome_id"]) <= set(held)
    _judge_trusted(lake, venue)


async def test_a_venue_silent_from_the_beginning_is_found_too(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue() as venue:
        markets = publish_world(lake, venue)
        venue.faults.stall(STALL_S + 1.0)
        await until(lambda: venue.sockets.stalled, "it stalls")
        async with _all_books(make_settings(venue, **SCALED), lake, len(markets)) as collector:
            assert sum(feed.endings["stalled"] for feed in collector._feeds) >= 1
            await asyncio.sleep(0.5)
    _judge_trusted(lake, venue)


async def test_one_silent_token_is_found_by_the_witness_and_dated(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue() as venue:
        markets = publish_world(lake, venue)
        async with _all_books(make_settings(venue, **WITNESSED), lake, len(markets)) as collector:
            await asyncio.sleep(0.5)
            market = next(m for m in world_of(venue).tradable)
            stalled_us = time.time_ns() // 1_000
            _forget_tokens(venue, [market.yes_id, market.no_id])
            witness = collector._subscriptions.witness
            await until(lambda: witness.counts["stalls"], "the witness says so", STALL_S + 0.5)
            await until(
                lambda: {market.yes_id} <= venue.sockets.subscribed, "the token is had anew"
            )
            await asyncio.sleep(0.7)
            assert witness.counts["failed"] == 0
            assert sum(feed.reconnects for feed in collector._feeds) == 0
    doubts = _doubts(lake, "witness_mismatch")
    assert doubts["outcome_id"].to_list() == [market.yes_id]
    assert _off_us(doubts, stalled_us) < 1_000_000
    _judge_trusted(lake, venue)


async def test_a_connection_whose_books_are_wrong_is_replaced_before_it_ends(
    make_settings: MakeSettings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with busy_venue() as venue:
        markets = publish_world(lake, venue)
        settings = make_settings(venue, **(WITNESSED | {"stall_seconds": 60.0}))
        async with _all_books(settings, lake, len(markets)) as collector:
            await asyncio.sleep(0.5)
            (feed,) = collector._feeds
            stalled_us = time.time_ns() // 1_000
            _mute(monkeypatch, _client_of(venue, world_of(venue).tradable[0].yes_id))
            witness = collector._subscriptions.witness
            await until(lambda: witness.counts["replaced"], "it is condemned", STALL_S + 0.5)
            await until(lambda: collector._feeds != [feed], "another has taken over")
            await asyncio.sleep(0.7)
            assert collector._feeds[0].name == feed.name
            assert venue.sockets.connections == 1
    doubts = _doubts(lake, "witness_mismatch")
    assert doubts["outcome_id"].n_unique() == len(markets)
    assert _off_us(doubts, stalled_us) < 1_000_000
    _judge_trusted(lake, venue)


async def test_a_quiet_venue_raises_no_alarm_where_rest_vouches_for_it(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue(markets=3, rate=0.001) as venue:
        markets = publish_world(lake, venue)
        settings = make_settings(venue, **(WITNESSED | {"stall_seconds": 1.0}))
        async with _all_books(settings, lake, len(markets)) as collector:
            watch, witness = collector._subscriptions.watch, collector._subscriptions.witness
            await until(lambda: watch.vouched >= 2, "two silences vouched for")
            assert witness.counts["agreed"] >= 2 * len(markets)
            assert witness.counts["mismatched"] == 0
            assert collector.report().reconnects == 0
    assert _doubts(lake, "stalled").is_empty()


async def test_a_quiet_venue_is_reconnected_less_and_less_often_without_rest(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue(markets=3, rate=0.001) as venue:
        markets = publish_world(lake, venue)
        settings = make_settings(venue, **(SCALED | {"stall_seconds": 0.5}))
        async with _all_books(settings, lake, len(markets)) as collector:
            (feed,) = collector._feeds
            await until(lambda: feed.silence.doublings >= 2, "two verdicts were wrong")
            assert feed.endings == {"stalled": 2}
            assert feed.silence.deadline == 2.0
            assert collector._subscriptions.watch.verdicts["wrong"] == 2


async def test_a_witness_that_cannot_be_asked_is_counted_and_disturbs_nothing(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue(markets=3, rate=1.0) as venue:
        markets = publish_world(lake, venue)
        settings = make_settings(venue, **WITNESSED)
        venue.faults.fail_requests("/books", 404, times=10_000)
        with capture_logs() as logs:
            async with _all_books(settings, lake, len(markets)) as collector:
                witness = collector._subscriptions.witness
                await until(lambda: witness.counts["failed"] >= 2, "two rounds failed")
                assert not witness.answers
                assert collector.status().witness["failed"] >= 2
        assert sum(entry["event"] == "witness_failed" for entry in logs) == 1
    _judge_trusted(lake, venue)


# ── sentinels ────────────────────────────────────────────────────────────────────────────────


async def test_a_foreign_sentinel_makes_no_row_and_is_missed_when_its_connection_stalls(
    make_settings: MakeSettings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stall_watch_module, "LOOK_SECONDS", 0.05)
    async with busy_venue() as venue:
        markets = publish_world(lake, venue)
        settings = make_settings(
            venue, assets_per_connection=4, **(SCALED | {"stall_seconds": 60.0})
        )
        async with _all_books(settings, lake, len(markets)) as collector:
            watch, (here, there) = collector._subscriptions.watch, collector._feeds[:2]
            asset = next(t for t in next(iter(there.held.values())) if t.primary)
            sentinel = Sentinel(Choice(asset.asset_id, own=False), Silence(1.0), time.monotonic())
            await here.listen(asset)
            watch._sentinels[here.name] = sentinel
            before = here.listened_at
            await until(lambda: here.listened_at > before, "it is heard here too")
            assert watch.sentinel_of(here.name) == "other"
            await asyncio.sleep(1.5)
            assert here.reconnects == 0
            venue.sockets._followers[asset.asset_id].discard(
                _client_of(venue, next(iter(here.held.values()))[0].asset_id)
            )
            stalled_us = time.time_ns() // 1_000
            await until(lambda: here.endings["sentinel_silent"], "it is missed", 4.0)
            await until(lambda: collector._engine.books == len(markets), "every book anew")
            before = here.listened_at
            await until(lambda: here.listened_at > before, "it is heard on the next one too")
            await asyncio.sleep(0.3)
            assert there.reconnects == 0
            assert collector.report().ignored["asset_not_followed"] > 0
            held = {t.asset_id for terms in here.held.values() for t in terms}
    doubts = _doubts(lake, "sentinel_silent")
    assert set(doubts["outcome_id"]) <= held
    assert _off_us(doubts, stalled_us) < 1_000_000
    rows = lake_rows(lake, SNAPSHOTS)
    assert rows.select("outcome_id", "ts_recv").is_duplicated().sum() == 0
    _judge_trusted(lake, venue)


async def test_an_asset_that_was_only_listened_to_gets_its_book_when_it_is_placed(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue() as venue:
        markets = publish_world(lake, venue)
        settings = make_settings(venue, assets_per_connection=4, **SCALED)
        async with _all_books(settings, lake, len(markets)) as collector:
            here, there = collector._feeds[:2]
            tier, (asset, *_) = next(iter(there.held.items()))
            await here.listen(asset)
            await until(lambda: len(venue.sockets._followers[asset.asset_id]) == 2, "listening")
            await here.add([asset], tier)
            assert here.listened is None
            # what it has already the venue gives no book of
            await until(lambda: venue.sockets.received["unsubscribe"] == 1, "had anew", 0.5)
            await until(
                lambda: not collector._engine.waiting(here.conn), "the book comes here", 0.9
            )
            await until(
                lambda: (
                    next(f for f in collector._engine.assets if f.terms == asset).conn == here.conn
                ),
                "and is read here",
            )
