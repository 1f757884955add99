"""Kalshi held live: signed handshakes, streams that lose numbers or end, and rows in the lake."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs
from typer.testing import CliRunner

from surveillance_collector.cli import app
from surveillance_collector.feed import Feed
from surveillance_collector.receive_clock import ReceiveClock
from surveillance_collector.reconnection import HandshakeBudget
from surveillance_collector.sampling import Tier
from surveillance_collector.service import VenueCollector, collect
from surveillance_collector.silence import Silence
from surveillance_core.books import Trust
from surveillance_core.lake.manifest import manifest_days
from surveillance_core.lake.publish import Lake, publish_universe
from surveillance_core.lake.read import scan_table
from surveillance_core.lake.schemas import COVERAGE, LIFECYCLE, SNAPSHOTS, TRADES, Table
from surveillance_core.markets import Market, Venue
from surveillance_core.settings import ConfigurationError, Settings
from surveillance_core.venues.kalshi.channel import KalshiChannel
from surveillance_core.venues.kalshi.credentials import simulated_public_key
from surveillance_core.venues.kalshi.signing import Signer
from surveillance_core.venues.protocols import AssetTerms
from surveillance_core.venues.registry import adapter_of

from .conftest import MakeSettings
from .live import busy_venue, judge, publish_world, until
from .signed_venue import BOOKS, PATH, SignedVenue
from .signed_venue import LIFECYCLE as LIFECYCLE_CHANNEL
from .signed_venue import TRADES as TRADES_CHANNEL
from .worlds import UnjournaledEngine, listed_market, sampled

WALL_MS = 1_790_000_000_000


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


def _terms(ticker: str) -> AssetTerms:
    return AssetTerms(market_id=ticker, asset_id=ticker, tick=100, mirror_id=f"{ticker}:no")


class Line:
    """A feed into an engine, whose wishes are carried out as the service would."""

    def __init__(self, key: rsa.RSAPrivateKey, url: str, *, first_book_s: float = 60.0) -> None:
        self.clock = ReceiveClock()
        self.channels: list[KalshiChannel] = []
        self.engine = UnjournaledEngine(self._new_channel, sampled(first_book_s=first_book_s))
        self.doubts: list[str] = []
        signer, stamps = Signer("an-id", key), count(WALL_MS)
        self.feed = Feed(
            "kalshi-0",
            url,
            self.engine,
            self.clock,
            handshake=lambda wall_ms: signer.handshake_headers(wall_ms, PATH),
            ping=None,
            echo=adapter_of(Venue.KALSHI).echo,
            silence=Silence(60.0),
            half_open_seconds=30.0,
            reconnect_max_seconds=0.1,
            budget=HandshakeBudget(0.0, 0.0),
            wall_ms=lambda: next(stamps),
        )

    def _new_channel(self, reader: Any) -> KalshiChannel:
        self.channels.append(KalshiChannel(reader))
        return self.channels[-1]

    @property
    def channel(self) -> KalshiChannel:
        return self.channels[-1]

    def has(self, venue: SignedVenue, *tickers: str) -> bool:
        """Whether each market's book stands and is the venue's."""
        states = self.channels[-1].states if self.channels else {}
        return all(
            (state := states.get(ticker)) is not None
            and state.opened
            and state.trust is Trust.VERIFIED
            and state.book == venue.book(ticker)
            for ticker in tickers
        )

    async def drive(self) -> None:
        while True:
            await asyncio.sleep(0.01)
            self.engine.advance(self.clock.now_ns())
            for command in self.engine.drain().commands:
                self.doubts.append(command.cause)
                await self.feed.resync(command.conn, command.asset_ids)


@asynccontextmanager
async def _running(line: Line) -> AsyncGenerator[None]:
    tasks = [asyncio.create_task(line.feed.run()), asyncio.create_task(line.drive())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_the_venue_s_answer_tells_that_what_waited_has_been_read(
    key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SignedVenue(key.public_key(), ["A"]) as venue:
        line = Line(key, venue.ws_url)
        room_made = asyncio.Event()

        async def room() -> None:
            await room_made.wait()
            line.engine.crowded = False

        monkeypatch.setattr(line.engine, "room", room)
        await line.feed.add([_terms("A")], Tier.HOT)
        async with _running(line):
            await until(lambda: line.has(venue, "A"), "a book")
            line.engine.crowded = True
            await venue.change("A", "yes", "0.4900", 7.0)
            await until(lambda: line.engine.counts["doubted_held_up"], "it is late")
            room_made.set()
            await until(lambda: not line.feed.held_up, "it has caught up")
            assert line.has(venue, "A")
            (asset,) = line.engine.assets
            assert asset.coverage is not None
            assert asset.coverage.state == "trusted"
    assert line.doubts == []


# ── the handshake ────────────────────────────────────────────────────────────────────────────


async def test_every_handshake_is_signed_afresh(key: rsa.RSAPrivateKey) -> None:
    async with SignedVenue(key.public_key(), ["A"]) as venue:
        line = Line(key, venue.ws_url)
        await line.feed.add([_terms("A")], Tier.HOT)
        async with _running(line):
            for round_ in (1, 2, 3):
                await until(
                    lambda n=round_: len(venue.handshakes) == n and line.has(venue, "A"), "a book"
                )
                venue.drop()
            await until(lambda: len(venue.handshakes) == 4, "the fourth connection")
    assert venue.handshakes == [WALL_MS, WALL_MS + 1, WALL_MS + 2, WALL_MS + 3]
    assert not venue.refused


async def test_a_key_that_is_refused_is_said_without_telling_it(
    key: rsa.RSAPrivateKey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    other = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    async with SignedVenue(other.public_key(), ["A"]) as venue:
        line = Line(key, venue.ws_url)
        await line.feed.add([_terms("A")], Tier.HOT)
        with capture_logs() as logs:
            async with _running(line):
                await until(lambda: venue.refused[401] >= 3, "three attempts")
            said = [entry for entry in logs if entry["event"] == "handshake_refused"]
            waits = [entry for entry in logs if entry["event"] == "feed_reconnecting"]
    assert {entry["cause"] for entry in said} == {"handshake_401"}
    # the test signs in a month that is over
    assert all("this machine's clock" in entry["next_step"] for entry in said)
    assert {entry["cause"] for entry in waits} == {"handshake_401"}
    assert line.channels == [], "nothing was ever connected"
    everything = json.dumps(logs, default=str) + "".join(
        record.getMessage()
        for record in caplog.records
        # the test's own server logs what it receives
        if not record.name.startswith("websockets.server")
    )
    assert "KALSHI-ACCESS" not in everything
    assert "an-id" not in everything


@pytest.mark.parametrize("status", [HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.FOUND])
async def test_other_refusals_are_named_by_their_status_and_outlived(
    key: rsa.RSAPrivateKey, status: HTTPStatus
) -> None:
    async with SignedVenue(key.public_key(), ["A"]) as venue:
        venue.refuse_with = status
        line = Line(key, venue.ws_url)
        await line.feed.add([_terms("A")], Tier.HOT)
        with capture_logs() as logs:
            async with _running(line):
                await until(lambda: venue.refused[status] >= 2, "two attempts")
                venue.refuse_with = None
                await until(lambda: line.has(venue, "A"), "the book")
    causes = [entry["cause"] for entry in logs if entry["event"] == "handshake_refused"]
    assert causes == [f"handshake_{status.value}"] * len(causes) != []


# ── streams ──────────────────────────────────────────────────────────────────────────────────


async def test_a_lost_number_is_healed_within_its_stream(key: rsa.RSAPrivateKey) -> None:
    async with SignedVenue(key.public_key(), ["A", "B"]) as venue:
        line = Line(key, venue.ws_url)
        await line.feed.add([_terms("A"), _terms("B")], Tier.HOT)
        async with _running(line):
            await until(lambda: line.has(venue, "A", "B"), "the books")
            await venue.change("A", "yes", "0.4700", 3.0)
            await until(lambda: line.has(venue, "A", "B"), "the change")
            assert line.doubts == []
            await venue.change("A", "yes", "0.4700", -3.0, lost=True)
            await venue.change("B", "no", "0.5000", 1.0)
            await until(lambda: line.doubts and line.has(venue, "A", "B"), "both books anew")
            await venue.change("A", "no", "0.4900", 2.0)
            await until(lambda: line.has(venue, "A", "B"), "changes go on after it")
    assert line.doubts == ["sequence_gap"] * 2, "the other book of the stream may be wrong too"
    assert venue.actions() == ["subscribe", "get_snapshot", "get_snapshot"]
    assert line.feed.reconnects == 0
    assert (line.channel.sequence.gaps, line.channel.negative_levels) == (1, 0)


@pytest.mark.parametrize("code", [10, 25])
async def test_a_stream_that_the_venue_ends_is_replaced_by_a_new_one(
    key: rsa.RSAPrivateKey, code: int
) -> None:
    async with SignedVenue(key.public_key(), ["A", "B"]) as venue:
        line = Line(key, venue.ws_url)
        await line.feed.add([_terms("A"), _terms("B")], Tier.HOT)
        async with _running(line):
            await until(lambda: line.has(venue, "A", "B"), "the books")
            old = line.channel.states["A"].sid
            await venue.fail(BOOKS, code)
            await until(lambda: line.doubts and line.has(venue, "A", "B"), "the books anew")
            assert {line.channel.states[t].sid for t in "AB"} - {old} != set()
            assert line.channel.states["A"].sid != old
            await venue.change("B", "no", "0.5000", 1.0)
            await until(lambda: line.has(venue, "A", "B"), "changes on the new stream")
            await venue.fail(TRADES_CHANNEL, code)
            await until(lambda: venue.subscribed(TRADES_CHANNEL) == {"A", "B"}, "prints anew")
            assert line.has(venue, "A", "B"), "the end of the prints is not the books'"
    assert set(line.doubts) == {{10: "channel_error", 25: "buffer_overflow"}[code]}
    assert line.feed.reconnects == 0
    assert line.channel.sequence.gaps == 0


async def test_markets_come_and_go_before_the_venue_has_told_its_streams(
    key: rsa.RSAPrivateKey,
) -> None:
    async with SignedVenue(key.public_key(), ["A", "B", "C"]) as venue:
        venue.open.clear()
        line = Line(key, venue.ws_url)
        await line.feed.add([_terms("A"), _terms("B")], Tier.HOT)
        async with _running(line):
            await until(lambda: venue.commands, "the first command")
            await line.feed.remove(["A"])
            await line.feed.add([_terms("C")], Tier.WARM)
            assert venue.actions() == ["subscribe"]
            venue.open.set()
            await until(lambda: line.has(venue, "B", "C"), "the books")
            await until(lambda: venue.subscribed() == {"B", "C"}, "the venue lets go of A")
            assert venue.subscribed(TRADES_CHANNEL) == {"B", "C"}
    assert line.doubts == []


async def test_a_book_that_does_not_come_is_had_by_subscribing_the_market_again(
    key: rsa.RSAPrivateKey,
) -> None:
    async with SignedVenue(key.public_key(), ["A", "B"]) as venue:
        line = Line(key, venue.ws_url, first_book_s=0.2)
        await line.feed.add([_terms("A"), _terms("B")], Tier.HOT)
        async with _running(line):
            await until(lambda: line.has(venue, "A", "B"), "the books")
            venue.answers_requests = False
            await venue.change("B", "yes", "0.4700", 1.0, lost=True)
            await venue.change("B", "yes", "0.4600", 1.0)
            await until(lambda: line.doubts and line.has(venue, "A", "B"), "the books anew")
            assert venue.subscribed() == venue.subscribed(TRADES_CHANNEL) == {"A", "B"}
    assert set(line.doubts) == {"sequence_gap", "no_book_in_time"}
    assert "delete_markets" in venue.actions()
    assert line.feed.reconnects == 0


async def test_announcements_are_heard_where_they_are_asked_for(key: rsa.RSAPrivateKey) -> None:
    async with SignedVenue(key.public_key(), ["A", "B"]) as venue:
        line = Line(key, venue.ws_url)
        await line.feed.add([_terms("A")], Tier.HOT)
        async with _running(line):
            await until(lambda: line.has(venue, "A"), "the book")
            assert venue.streams(LIFECYCLE_CHANNEL) == 0
            await line.feed.announce()
            await line.feed.announce()
            await until(lambda: venue.streams(LIFECYCLE_CHANNEL), "the stream")
            venue.drop()
            await until(lambda: len(venue.handshakes) == 2 and line.has(venue, "A"), "again")
            await until(lambda: venue.streams(LIFECYCLE_CHANNEL), "again")
    subscribed = [c["params"]["channels"] for c in venue.commands if c["cmd"] == "subscribe"]
    assert subscribed == [[BOOKS, TRADES_CHANNEL], [LIFECYCLE_CHANNEL]] * 2


# ── the service ──────────────────────────────────────────────────────────────────────────────


def _listed(ticker: str, volume: float = 1.0) -> Market:
    market = listed_market(ticker, tokens=(ticker, f"{ticker}:no"), volume=volume)
    return msgspec.structs.replace(market, venue=Venue.KALSHI)


def _publish(lake: Lake, tickers: list[str], day: datetime | None = None) -> None:
    when = day or datetime.now(UTC)
    markets = [_listed(ticker) for ticker in tickers]
    publish_universe(lake, Venue.KALSHI, when.date(), markets, writer="universe")


def _rows(lake: Lake, table: Table) -> pl.DataFrame:
    days = manifest_days(lake.store, Venue.KALSHI)
    scan = scan_table(lake, table, Venue.KALSHI, days)
    assert scan.damaged == ()
    return scan.frame.sort(table.sort_by).collect()


@pytest.fixture
def kalshi_settings(
    make_settings: MakeSettings,
) -> Callable[..., Settings]:
    def make(port: int = 0, *, mock: dict[str, Any] | None = None, **kalshi: Any) -> Settings:
        settings = make_settings()
        table = {"enabled": True, "snapshot_interval_ms_hot": 100, "first_book_seconds": 5.0}
        tree = settings.model_dump()
        tree["venues"]["kalshi"] |= table | {"reconnect_max_seconds": 0.2} | kalshi
        tree["mock"] |= {"kalshi_ws_port": port} | (mock or {})
        return Settings.model_validate(tree)

    return make


MakeKalshi = Callable[..., Settings]


@asynccontextmanager
async def _collecting(settings: Settings, lake: Lake) -> AsyncGenerator[VenueCollector]:
    collector = VenueCollector(settings, lake, Venue.KALSHI)
    task = asyncio.create_task(collector.run())
    try:
        yield collector
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _books(collector: VenueCollector, wanted: int) -> bool:
    return collector._engine.books == wanted


async def test_what_is_collected_of_kalshi_is_what_happened(
    kalshi_settings: MakeKalshi, lake: Lake
) -> None:
    _publish(lake, ["A", "B"])
    key = simulated_public_key(kalshi_settings())
    async with SignedVenue(key, ["A", "B"]) as venue:
        async with _collecting(kalshi_settings(venue.port), lake) as collector:
            await until(lambda: _books(collector, 2), "every book")
            await until(lambda: venue.streams(LIFECYCLE_CHANNEL) == 1, "announcements")
            await venue.change("A", "yes", "0.4900", 4.0)
            seen = collector.report().counts["snapshots"]
            await until(lambda: collector.report().counts["snapshots"] > seen, "the change's row")
            await venue.print("A")
            await venue.announce("B", "deactivated", is_deactivated=True)
            await venue.announce("Z", "close_date_updated", close_ts=1_790_000_000)
            await venue.close_market("B")
            seen = collector.report().counts["snapshots"]
            await until(lambda: collector.report().counts["snapshots"] > seen, "the empty book")
            await venue.announce("B", "determined", result="no", determination_ts=1_790_000_001)
            await venue.announce("B", "settled", settled_ts=1_790_000_002)
            await until(lambda: collector.report().counts.get("settled"), "the settlement")
        report = collector.report()
    snapshots = _rows(lake, SNAPSHOTS)
    changed = snapshots.filter(market_id="A").tail(1).row(0, named=True)
    assert (changed["outcome_id"], changed["seq"], changed["reason"]) == ("A", 3, "change")
    assert (changed["best_bid_px"], changed["best_ask_px"]) == (0.49, 0.5)
    assert changed["trust"] == "verified"
    empty = snapshots.filter(market_id="B").tail(1).row(0, named=True)
    assert (empty["status"], empty["trust"], empty["reason"]) == ("empty", "verified", "change")
    (trade,) = _rows(lake, TRADES).rows(named=True)
    assert (trade["outcome_id"], trade["price"], trade["size"]) == ("A", 0.36, 1.5)
    assert (trade["taker_side"], trade["printed_outcome_id"]) == ("sell", "A:no")
    happened = _rows(lake, LIFECYCLE).sort("ts_recv")
    assert happened.select("market_id", "event", "new").rows() == [
        ("B", "deactivated", None),
        ("Z", "close_date_updated", "2026-09-21T14:13:20+00:00"),
        ("B", "resolved", "No"),
        ("B", "settled", None),
    ]
    doubted = _rows(lake, COVERAGE).filter(market_id="B", state="untrusted")["cause"].to_list()
    assert set(doubted) == {"awaiting_book", "resolved"}, "an empty book at the close is no doubt"
    assert report.rows_held == report.reconnects == 0
    assert not report.rejected


async def test_announcements_move_to_a_connection_that_is_left(
    kalshi_settings: MakeKalshi, lake: Lake
) -> None:
    _publish(lake, ["A", "B"])
    settings = kalshi_settings(assets_per_connection=1)
    async with SignedVenue(simulated_public_key(settings), ["A", "B"]) as venue:
        settings = kalshi_settings(venue.port, assets_per_connection=1)
        async with _collecting(settings, lake) as collector:
            await until(lambda: _books(collector, 2), "every book")
            assert [feed.announces for feed in collector._feeds] == [True, False]
            assert venue.streams(BOOKS) == 2
            await until(lambda: venue.streams(LIFECYCLE_CHANNEL) == 1, "announcements")
            _publish(lake, ["B"])
            await until(lambda: venue.streams(BOOKS) == 1, "A is let go")
            await until(lambda: venue.streams(LIFECYCLE_CHANNEL) == 1, "announcements anew")
            assert [feed.announces for feed in collector._feeds] == [False, True]


async def test_both_venues_run_in_one_process(
    make_settings: MakeSettings, kalshi_settings: MakeKalshi, lake: Lake
) -> None:
    _publish(lake, ["A", "B"])
    async with (
        busy_venue() as polymarket,
        SignedVenue(simulated_public_key(kalshi_settings()), ["A", "B"]) as kalshi,
    ):
        publish_world(lake, polymarket)
        ports = make_settings(polymarket).mock
        settings = kalshi_settings(
            kalshi.port, mock={"http_port": ports.http_port, "ws_port": ports.ws_port}
        )
        reports = await collect(settings, lake, settings.venues.enabled, 2.0)
    assert [report.venue for report in reports] == ["kalshi", "polymarket"]
    assert all(report.counts["snapshots"] > 0 and not report.rejected for report in reports)
    assert all(report.rows_held == 0 for report in reports)
    judge(lake, polymarket)
    books = _rows(lake, SNAPSHOTS)
    assert set(books["market_id"]) == {"A", "B"}
    assert books.group_by("market_id").len()["len"].min() >= 2, "heartbeats too"


async def test_everything_in_the_lake_is_in_simulated_time(
    kalshi_settings: MakeKalshi, lake: Lake
) -> None:
    start = datetime(2026, 3, 1, 23, 50, tzinfo=UTC)
    start_ms, speed = int(start.timestamp() * 1_000), 600.0
    epoch_ms = int(datetime.now(UTC).timestamp() * 1_000)
    mock = {"epoch_ms": epoch_ms, "start_ms": start_ms, "speed": speed}
    _publish(lake, ["A"], start)
    async with SignedVenue(simulated_public_key(kalshi_settings()), ["A"]) as venue:
        settings = kalshi_settings(venue.port, mock=mock, snapshot_interval_ms_hot=10_000)
        async with _collecting(settings, lake) as collector:
            await until(lambda: _books(collector, 1), "the book")
            for _ in range(20):
                await venue.change("A", "yes", "0.4700", 1.0)
                await asyncio.sleep(0.1)
        ended_ms = int(datetime.now(UTC).timestamp() * 1_000)
    handshakes = venue.handshakes
    assert all(epoch_ms <= stamp <= ended_ms for stamp in handshakes), "signed by the wall's clock"
    rows = _rows(lake, SNAPSHOTS)
    times = rows["ts_recv"].dt.epoch("ms")
    assert times.min() >= start_ms
    assert times.max() <= start_ms + (ended_ms - epoch_ms) * speed
    assert times.max() - times.min() > 15 * 60_000, "twenty minutes in two seconds"
    days = manifest_days(lake.store, Venue.KALSHI)
    assert [day.isoformat() for day in days] == ["2026-03-01", "2026-03-02"]
    assert collector.report().reconnects == 0
    assert set(rows["trust"]) == {"verified"}


# ── without a key ────────────────────────────────────────────────────────────────────────────


def test_a_missing_key_stops_the_command_with_the_next_step(tmp_path: Path) -> None:
    config = tmp_path / "real.toml"
    config.write_text(
        f'data_dir = "{tmp_path / "real"}"\n[venues.kalshi]\nenabled = true\n'
        'ws_url = "wss://venue.example/trade-api/ws/v2"\n'
    )
    result = CliRunner().invoke(app, ["run", "--config", str(config)])
    assert result.exit_code == 78
    said = " ".join(result.stderr.split())
    assert "venues.kalshi: api_key_id_env and private_key_path must both be set" in said
    assert "surveillance doctor" in said
    assert [path.name for path in tmp_path.iterdir()] == ["real.toml"], "no lake was made"


def test_a_collector_is_not_made_without_its_key(lake: Lake) -> None:
    with pytest.raises(ConfigurationError, match=r"venues\.kalshi"):
        VenueCollector(Settings(), lake, Venue.KALSHI)


# ── the engine alone ─────────────────────────────────────────────────────────────────────────


class Recorded:
    """One connection's frames by hand into an engine, a second apart."""

    def __init__(self, *tickers: str) -> None:
        self.engine = UnjournaledEngine(lambda reader: KalshiChannel(reader), sampled())
        self.now_ns = WALL_MS * 1_000_000
        self.conn = "c0"
        self.seq = 0
        self.tickers = tickers
        self.connect()

    def connect(self) -> None:
        self.conn, self.seq = f"c{int(self.conn[1:]) + 1}", 0
        self.engine.connect(self.conn, self.now_ns)
        self.engine.follow(self.conn, map(_terms, self.tickers), Tier.HOT, self.now_ns)
        self.send({"type": "subscribed", "msg": {"channel": BOOKS, "sid": 1}})
        for ticker in self.tickers:
            self.book(ticker)

    def send(self, frame: dict[str, Any]) -> None:
        self.now_ns += 1_000_000_000
        self.engine.receive(self.conn, json.dumps(frame), self.now_ns)

    def book(self, ticker: str, *, skip: int = 0) -> None:
        self.seq += 1 + skip
        body = {"market_ticker": ticker, "yes_dollars_fp": [["0.4800", "10.00"]]}
        self.send({"type": "orderbook_snapshot", "sid": 1, "seq": self.seq, "msg": body})

    def change(self, ticker: str, second: int, *, skip: int = 0) -> None:
        self.seq += 1 + skip
        body = {
            "market_ticker": ticker, "price_dollars": "0.4800", "delta_fp": "1.00", "side": "yes",
            "ts": f"2026-09-21T13:33:{second:02d}Z",
        }  # fmt: skip
        self.send({"type": "orderbook_delta", "sid": 1, "seq": self.seq, "msg": body})

    def happens(self, ticker: str, event_type: str, **members: object) -> None:
        body = {"market_ticker": ticker, "event_type": event_type, **members}
        self.send({"type": "market_lifecycle_v2", "msg": body})


def _asked(recorded: Recorded) -> set[str]:
    return {a for command in recorded.engine.drain().commands for a in command.asset_ids}


def test_no_book_is_asked_for_after_a_result_whatever_is_lost() -> None:
    recorded = Recorded("A", "B")
    recorded.happens("A", "determined", result="yes", determination_ts=1)
    assert _asked(recorded) == set()
    recorded.book("A", skip=3)
    assert _asked(recorded) == {"B"}, "what was lost may have been of both"
    recorded.book("B")
    assert recorded.engine.books == 1, "a book that comes after the result does not stand"
    recorded.engine.disconnect(recorded.conn, recorded.now_ns, "closed_1006")
    recorded.connect()
    recorded.engine.advance(recorded.now_ns + 60_000_000_000)
    assert _asked(recorded) == set()
    assert recorded.engine.books == 1


def test_a_settlement_ends_trust_where_the_result_was_not_heard() -> None:
    recorded = Recorded("A", "B")
    recorded.happens("A", "settled", settled_ts=1)
    recorded.happens("B", "deactivated", is_deactivated=True)
    assert recorded.engine.books == 1, "a pause leaves the book as it is"


def test_what_happens_twice_is_two_rows() -> None:
    recorded = Recorded("A")
    for event_type in ("deactivated", "activated", "deactivated"):
        recorded.happens("A", event_type)
    rows = [row for table, _, row in recorded.engine.drain().rows if table is LIFECYCLE]
    assert [row[4] for row in rows] == ["deactivated", "activated", "deactivated"]


def test_a_grid_holds_for_a_book_on_another_connection_and_for_those_that_follow_it() -> None:
    recorded = Recorded("A")
    engine = recorded.engine
    engine.connect("told", recorded.now_ns)
    for _ in range(2):
        body = {
            "market_ticker": "A", "event_type": "price_level_structure_updated",
            "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}],
        }  # fmt: skip
        frame = {"type": "market_lifecycle_v2", "msg": body}
        engine.receive("told", json.dumps(frame), recorded.now_ns)
        body["market_ticker"] = "of nobody"
        engine.receive("told", json.dumps(frame), recorded.now_ns)
    rows = [row for table, _, row in engine.drain().rows if table is LIFECYCLE]
    assert [row[3:] for row in rows] == [("A", "tick_size_change", "0.01", "0.001")]
    (followed,) = engine.assets
    assert followed.state.tick == 10
    engine.disconnect(recorded.conn, recorded.now_ns, "closed_1006")
    recorded.connect()
    (followed,) = engine.assets
    assert followed.state.tick == 10, "the terms are of before the change"
    newer = msgspec.structs.replace(_terms("A"), tick=1)
    engine.follow(recorded.conn, [newer], Tier.HOT, recorded.now_ns)
    (followed,) = engine.assets
    assert followed.state.tick == 1


def test_a_reading_that_a_lost_number_ends_is_not_of_a_moment_before_its_book() -> None:
    recorded = Recorded("A")
    # a change just before the grid's instant: the book is read when its engine event is over
    recorded.now_ns -= 3_000_000
    recorded.change("A", 2)
    changed_ns = recorded.now_ns
    recorded.engine.advance(changed_ns + 5_000_000)
    recorded.change("A", 3, skip=3)
    recorded.engine.advance(recorded.now_ns + 10_000_000_000)
    rows = [row for table, _, row in recorded.engine.drain().rows if table is SNAPSHOTS]
    assert [row[6] for row in rows] == [10.0, 11.0]
    assert rows[-1][0] == changed_ns // 1_000
