"""The running collector against a simulated venue over real sockets: what ends up in the lake."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import errno
import json
import signal
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from surveillance_collector.cli import app
from surveillance_collector.service import VenueCollector, collect
from surveillance_collector.share import Share
from surveillance_core.lake.layout import universe_file
from surveillance_core.lake.manifest import ManifestEntry, Operation, append_entry, manifest_days
from surveillance_core.lake.publish import Lake, file_digest
from surveillance_core.lake.read import verify_days
from surveillance_core.lake.schemas import COVERAGE, SNAPSHOTS, TRADES
from surveillance_core.markets import Market, encode_universe
from surveillance_core.venues.captures import FrameRecord, read_capture
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.protocols import ReceivedFrame
from surveillance_core.venues.simulated.servers import SimulatedPolymarket

from .conftest import MakeSettings
from .live import busy_venue, collecting, judge, port_of, publish, publish_world, trust, until
from .worlds import SECOND, VENUE, lake_rows, rejected_file


def _seen(collector: VenueCollector, table: str) -> int:
    return collector.report().counts.get(table, 0)


def _all_books(collector: VenueCollector, markets: int) -> bool:
    return collector._engine.books == markets


def _causes(line: pl.DataFrame) -> list[str]:
    """Why a market was not trusted, in order; a new price grid can come to any market."""
    causes = line.sort("start_us")["cause"].drop_nulls().to_list()
    return [cause for cause in causes if cause != "tick_size_change"]


def _verified(lake: Lake) -> None:
    checked, damaged, lines = verify_days(lake, VENUE, manifest_days(lake.store, VENUE), deep=True)
    assert checked > 0
    assert (damaged, lines) == ([], 0)


# ── a calm day ───────────────────────────────────────────────────────────────────────────────


async def test_what_is_collected_is_what_happened(make_settings: MakeSettings, lake: Lake) -> None:
    async with busy_venue(rate=150.0) as venue:
        markets = publish_world(lake, venue)
        async with collecting(make_settings(venue), lake) as collector:
            await until(lambda: collector.report().files >= 3, "a bucket published while running")
            published = len(lake_rows(lake, SNAPSHOTS))
            assert published > 0
            await until(lambda: _seen(collector, "trades") > 20, "trades")
            await until(lambda: _seen(collector, "snapshots") > published + 100, "more rows")
        report = collector.report()
    judge(lake, venue, rows=100)
    _verified(lake)
    assert report.markets == len(markets)
    assert report.rows_held == report.publish_failures == report.reconnects == 0
    assert not report.rejected
    assert report.hash["due"] == report.hash["matched"] > 100
    assert report.counts["mirror_matched"] > 0
    assert "mirror_mismatched" not in report.counts
    assert report.published["orderbook_snapshots"] == len(lake_rows(lake, SNAPSHOTS)) > published
    assert report.published["trades"] == len(lake_rows(lake, TRADES)) == report.counts["trades"]
    for (_,), line in trust(lake).group_by("outcome_id"):
        assert _causes(line) == ["awaiting_book", "stopped"]
        assert line["state"].to_list()[1] == "trusted"


async def test_markets_are_spread_over_connections(make_settings: MakeSettings, lake: Lake) -> None:
    async with busy_venue() as venue:
        markets = publish_world(lake, venue)
        settings = make_settings(venue, assets_per_connection=4)
        async with collecting(settings, lake) as collector:
            await until(lambda: _all_books(collector, len(markets)), "every book")
            assert venue.sockets.connections == -(-len(markets) // 2)
            assert all(feed.assets <= 4 for feed in collector._feeds)
    judge(lake, venue)


async def test_two_processes_share_a_universe_and_a_lake(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue(markets=12) as venue:
        markets = publish_world(lake, venue)
        settings = make_settings(venue)
        async with (
            collecting(settings, lake, Share(0, 2)) as first,
            collecting(settings, lake, Share(1, 2)) as second,
        ):

            def books() -> int:
                return first._engine.books + second._engine.books

            await until(lambda: books() == len(markets), "every book, of either")
            await until(lambda: _seen(first, "trades") and _seen(second, "trades"), "trades")
            assert min(first._engine.books, second._engine.books) > 0
            assert sum(feed.announces for part in (first, second) for feed in part._feeds) == 1
    judge(lake, venue)
    _verified(lake)
    rows = lake_rows(lake, SNAPSHOTS)
    assert rows.select("outcome_id", "ts_recv").is_duplicated().sum() == 0
    assert rows["outcome_id"].n_unique() == len(markets)


async def test_only_as_many_markets_as_there_are_slots(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue(markets=12) as venue:
        publish_world(lake, venue)
        settings = make_settings(venue, max_subs=10, hot_count=2)
        async with collecting(settings, lake) as collector:
            await until(lambda: collector._engine.books > 0, "books")
            assert 0 < len(venue.sockets.subscribed) <= 10


# ── losing the venue ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", [1006, 1012])
async def test_a_dropped_connection_leaves_a_gap_with_its_cause_and_nothing_wrong(
    make_settings: MakeSettings, lake: Lake, code: int
) -> None:
    async with busy_venue() as venue:
        markets = publish_world(lake, venue)
        async with collecting(make_settings(venue), lake) as collector:
            await until(lambda: _all_books(collector, len(markets)), "every book")
            rows = _seen(collector, "snapshots")
            await until(lambda: _seen(collector, "snapshots") > rows + 20, "rows before")
            venue.faults.drop_connections(code)
            await until(lambda: collector.report().reconnects == 1, "the loss is noticed")
            await until(lambda: _all_books(collector, len(markets)), "every book again")
            rows = _seen(collector, "snapshots")
            await until(lambda: _seen(collector, "snapshots") > rows + 20, "rows after")
    judge(lake, venue, rows=40)
    for (_,), line in trust(lake).group_by("outcome_id"):
        assert _causes(line) == ["awaiting_book", f"closed_{code}", "stopped"]
        assert line["state"].to_list()[1::2] == ["trusted"] * (len(line) // 2)
    counts = dict(lake_rows(lake, SNAPSHOTS).group_by("reason").len().iter_rows())
    assert counts["opened"] == len(markets)
    assert counts["resync"] >= len(markets)


async def test_a_stall_is_noticed_and_its_silence_is_not_trusted(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue() as venue:
        markets = publish_world(lake, venue)
        # a subscription made during the stall gets no book: it must be asked for again
        settings = make_settings(venue, stall_seconds=0.5, first_book_seconds=0.5)
        async with collecting(settings, lake) as collector:
            await until(lambda: _all_books(collector, len(markets)), "every book")
            venue.faults.stall(1.2)
            await until(lambda: collector.report().reconnects >= 1, "the connection is replaced")
            await until(lambda: _all_books(collector, len(markets)), "every book again")
            trades = _seen(collector, "trades")
            await until(lambda: _seen(collector, "trades") > trades, "trades again")
    # the trades of the stall are lost: none of them may lie in an interval called trusted
    judge(lake, venue)
    stalled = trust(lake).filter(pl.col("cause") == "stalled")
    assert len(stalled) == len(markets)
    lengths = stalled["end_us"] - stalled["start_us"]
    assert lengths.min() >= 1_000_000  # type: ignore[operator]


async def test_nothing_unusable_stops_or_spoils_anything(
    make_settings: MakeSettings, lake: Lake
) -> None:
    injected: dict[str | bytes, str] = {
        '{"event_type":"price_change","market"': "not_json",
        '{"event_type":"brand_new","market":"0x1"}': "unknown_event_type",
        b'{"event_type":"book\xff\xfe"}': "not_utf8",
        '{"market":"0x1"}': "no_event_type",
        '{"event_type":"last_trade_price","market":"0x1"}': "malformed_last_trade_price",
    }
    async with busy_venue() as venue:
        markets = publish_world(lake, venue)
        with capture_logs() as logs:
            async with collecting(make_settings(venue), lake) as collector:
                await until(lambda: _all_books(collector, len(markets)), "every book")
                for frame in injected:
                    venue.faults.inject(frame)
                await until(
                    lambda: sum(collector.report().rejected.values()) >= len(injected), "rejections"
                )
                rows = _seen(collector, "snapshots")
                await until(lambda: _seen(collector, "snapshots") > rows + 20, "rows after")
            report = collector.report()
    judge(lake, venue, rows=20)
    assert report.rejected == dict.fromkeys(injected.values(), 1)
    assert report.reconnects == 0
    kept = [r.frame for r in _kept(lake)]
    assert sorted(kept) == sorted(
        f if isinstance(f, str) else f.decode("utf-8", "backslashreplace") for f in injected
    )
    assert {r.conn for r in _kept(lake)} == {"polymarket-0.1"}
    assert any(entry["event"] == "frames_rejected" for entry in logs)
    assert trust(lake).filter(pl.col("cause").str.starts_with("malformed")).is_empty()


def _kept(lake: Lake) -> list[FrameRecord]:
    records = list(read_capture(rejected_file(lake, datetime.now(UTC))))
    assert all(isinstance(record, FrameRecord) for record in records)
    return [record for record in records if isinstance(record, FrameRecord)]


# ── the universe ─────────────────────────────────────────────────────────────────────────────


async def test_without_a_universe_the_collector_waits_and_says_so(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue() as venue:
        with capture_logs() as logs:
            async with collecting(make_settings(venue), lake) as collector:
                await until(lambda: logs, "a word about waiting")
                assert venue.sockets.connections_made == 0
                publish_world(lake, venue)
                await until(lambda: _seen(collector, "snapshots") > 0, "rows")
    waiting = [entry for entry in logs if entry["event"] == "waiting_for_universe"]
    assert len(waiting) == 1, "said once, not at every poll"
    assert waiting[0]["venue"] == "polymarket"
    assert "surveillance scan" in waiting[0]["next_step"]
    judge(lake, venue)


async def test_stopped_while_waiting_is_stopped(make_settings: MakeSettings, lake: Lake) -> None:
    async with busy_venue() as venue:
        (report,) = await collect(make_settings(venue), lake, [VENUE], 0.3)
    assert (report.markets, report.frames, report.files) == (0, 0, 0)


def _publish_content(lake: Lake, content: bytes, size: int) -> None:
    """A universe whose manifest entry speaks of ``size`` bytes."""
    day = datetime.now(UTC).date()
    path = universe_file(VENUE, day)
    staged = lake.store.staging() / "universe"
    staged.write_bytes(content)
    lake.store.publish_file(staged, path)
    entry = ManifestEntry(
        operation=Operation.PUBLISH, table="universe", path=path, bytes=size,
        digest=file_digest(content), rows=1, first_us=None, last_us=None, schema_version=1,
        published_us=int(datetime.now(UTC).timestamp() * 1e6),
    )  # fmt: skip
    append_entry(lake.store, VENUE, day, "universe", entry)


def _cut_in_a_line(content: bytes) -> tuple[bytes, int]:
    return content[: len(content) // 2], len(content) // 2


def _cut_between_lines(content: bytes) -> tuple[bytes, int]:
    return content[: content.index(b"\n", len(content) // 2) + 1], len(content)


def _one_line_broken(content: bytes) -> tuple[bytes, int]:
    lines = content.splitlines(keepends=True)
    lines[1] = lines[1][:100] + b"\n"
    return b"".join(lines), len(b"".join(lines))


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (_cut_in_a_line, "the last line is cut off"),
        (_cut_between_lines, "bytes where"),
        (_one_line_broken, "line 2"),
    ],
)
async def test_a_damaged_universe_is_refused_and_the_last_good_one_stays(
    make_settings: MakeSettings, lake: Lake, damage: Any, named: str
) -> None:
    async with busy_venue(markets=8) as venue:
        markets = publish_world(lake, venue)
        with capture_logs() as logs:
            async with collecting(make_settings(venue), lake) as collector:
                await until(lambda: _all_books(collector, len(markets)), "every book")
                _publish_content(lake, *damage(encode_universe(markets)))
                await until(
                    lambda: [e for e in logs if e["event"] == "universe_damaged"], "the refusal"
                )
                rows = _seen(collector, "snapshots")
                await until(lambda: _seen(collector, "snapshots") > rows + 10, "rows after")
                assert collector.report().markets == len(markets)
                publish(lake, markets[:-1])
                await until(
                    lambda: collector.report().markets == len(markets) - 1, "the mended one"
                )
    refusal = next(e for e in logs if e["event"] == "universe_damaged")
    assert named in refusal["cause"]
    assert "universe.jsonl" in refusal["cause"]
    judge(lake, venue)


async def test_a_newer_universe_adds_and_removes_markets(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue(markets=8) as venue:
        markets = publish_world(lake, venue)
        first, second = markets[:-2], markets[2:]
        publish(lake, first)
        async with collecting(make_settings(venue), lake) as collector:
            await until(lambda: _all_books(collector, len(first)), "the first universe's books")
            publish(lake, second)
            await until(
                lambda: venue.sockets.subscribed == _tokens(second), "the second subscribed"
            )
            await until(lambda: _all_books(collector, len(second)), "its books")
            rows = _seen(collector, "snapshots")
            await until(lambda: _seen(collector, "snapshots") > rows + 20, "rows after")
        assert collector.report().reconnects == 0
    judge(lake, venue)
    by_id = {outcome: line for (outcome,), line in trust(lake).group_by("outcome_id")}

    def line_of(market: Market) -> pl.DataFrame:
        return by_id[market.primary.outcome_id].sort("start_us")

    gone, kept, new = markets[:2], markets[2:-2], markets[-2:]
    stopped_us = min(line_of(market)["end_us"][-1] for market in kept)
    for market in gone:
        assert line_of(market)["end_us"][-1] < stopped_us
        assert _causes(line_of(market)) == ["awaiting_book"]
    for market in kept:
        # nothing happened to a market that is in both
        assert _causes(line_of(market)) == ["awaiting_book", "stopped"]
    begun_us = max(line_of(market)["start_us"][0] for market in kept)
    for market in new:
        assert line_of(market)["start_us"][0] > begun_us


def _tokens(markets: list[Market]) -> set[str]:
    return {outcome.outcome_id for market in markets for outcome in market.outcomes}


# ── the disk, and failures of our own ────────────────────────────────────────────────────────


async def test_a_disk_that_is_full_for_a_while_costs_no_row(
    make_settings: MakeSettings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = lake.store.publish_file
    full = False

    def publish_file(staged: Path, path: str) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(staged, path)

    async with busy_venue() as venue:
        publish_world(lake, venue)
        monkeypatch.setattr(lake.store, "publish_file", publish_file)
        full = True
        with capture_logs() as logs:
            async with collecting(make_settings(venue), lake) as collector:
                await until(lambda: collector.report().publish_failures > 0, "a failed publish")
                assert collector.report().rows_held > 0
                full = False
        report = collector.report()
    failures = [entry for entry in logs if entry["event"] == "publish_failed"]
    assert "No space left" in failures[0]["error"]
    assert report.rows_held == 0
    assert report.published["orderbook_snapshots"] == report.counts["snapshots"]
    assert report.published["trades"] == report.counts["trades"]
    assert len(lake_rows(lake, SNAPSHOTS)) == report.counts["snapshots"]
    judge(lake, venue)


async def test_a_failure_of_our_own_still_publishes_what_is_held(
    make_settings: MakeSettings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = 0
    receive_all = PolymarketChannel.receive_all

    def broken(self: PolymarketChannel, received: Iterable[ReceivedFrame]) -> Any:
        nonlocal frames
        for frame in received:
            frames += 1
            if frames > 100:
                raise ArithmeticError("broken on purpose")
            yield from receive_all(self, (frame,))

    monkeypatch.setattr(PolymarketChannel, "receive_all", broken)
    async with busy_venue() as venue:
        publish_world(lake, venue)
        with pytest.raises(ExceptionGroup) as failed:
            await collect(make_settings(venue), lake, [VENUE], 15.0)
    assert failed.group_contains(ArithmeticError)
    judge(lake, venue)


# ── the command ──────────────────────────────────────────────────────────────────────────────


def test_what_went_wrong_is_named_however_deep_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> list[object]:
        tasks = ExceptionGroup("in a TaskGroup", [ExceptionGroup("more", [KeyError("where")])])
        raise ExceptionGroup("collection failed", [tasks])

    monkeypatch.setattr("surveillance_collector.cli.collect", broken)
    result = CliRunner().invoke(app, ["run", "--config", str(_config_for(tmp_path))])
    assert result.exit_code == 1
    assert "collection failed: KeyError: 'where'" in result.stderr


def _config_for(tmp_path: Path, venue: SimulatedPolymarket | None = None) -> Path:
    path = tmp_path / "collector.toml"
    ports = (
        "" if venue is None
        else f"http_port = {port_of(venue.http_url)}\nws_port = {port_of(venue.ws_url)}\n"
    )  # fmt: skip
    path.write_text(
        f'data_dir = "{tmp_path / "lake"}"\n'
        "[venues.polymarket]\nenabled = true\nsnapshot_interval_ms_hot = 100\n"
        "[storage]\nbucket_minutes = 0.05\nflush_seconds = 0.0\n"
        f"[mock]\nenabled = true\n{ports}"
    )
    return path


async def _started(config: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "surveillance_collector.cli", "run", "--json",
        "--config", str(config),
        cwd=config.parent,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.process
async def test_sigterm_publishes_everything_and_a_second_collector_is_refused(
    tmp_path: Path, lake: Lake
) -> None:
    async with busy_venue() as venue:
        publish_world(lake, venue)
        config = _config_for(tmp_path, venue)
        collector = await _started(config)
        try:
            await until(lambda: venue.sockets.frames_sent > 500, "frames to the collector", 30.0)
            second = await _started(config)
            _, said = await asyncio.wait_for(second.communicate(), 30.0)
            assert second.returncode == 75
            assert f'"pid": {collector.pid}'.encode() in said
            collector.send_signal(signal.SIGTERM)
            out, log = await asyncio.wait_for(collector.communicate(), 30.0)
        finally:
            if collector.returncode is None:
                collector.kill()
                await collector.wait()
    assert collector.returncode == 0, log.decode()
    (report,) = json.loads(out)
    assert report["rows_held"] == 0
    assert report["counts"]["snapshots"] == len(lake_rows(lake, SNAPSHOTS)) > 0
    assert report["counts"]["trades"] == len(lake_rows(lake, TRADES))
    assert report["published"]["coverage"] == len(lake_rows(lake, COVERAGE))
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert [e for e in events if e in ("feed_open", "stopping")] == ["feed_open", "stopping"]
    judge(lake, venue)
    _verified(lake)


def test_simulated_data_is_kept_out_of_a_lake_of_real_data(tmp_path: Path) -> None:
    Lake(str(tmp_path / "lake"), "real")
    result = CliRunner().invoke(app, ["run", "--config", str(_config_for(tmp_path))])
    assert result.exit_code == 78
    assert "holds real data" in result.stderr
    assert "mock.enabled" in result.stderr
    assert {path.name for path in (tmp_path / "lake").iterdir()} == {"_lake.json"}


def test_no_venue_enabled_is_said(tmp_path: Path, config: Path) -> None:
    arguments = ["run", "--config", str(config), "--data-dir", str(tmp_path / "lake")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "venues.polymarket.enabled" in result.stderr


async def test_verify_finds_a_file_that_was_changed(
    make_settings: MakeSettings, lake: Lake, config: Path
) -> None:
    async with busy_venue() as venue:
        publish_world(lake, venue)
        await collect(make_settings(venue), lake, [VENUE], 1.0)

    def verify(*more: str) -> tuple[int, dict[str, Any]]:
        arguments = ["verify", "--config", str(config), "--data-dir", lake.store.root, "--json"]
        result = CliRunner().invoke(app, [*arguments, *more])
        return result.exit_code, json.loads(result.stdout)

    code, sound = verify("--deep")
    assert (code, sound["damaged"]) == (0, [])
    assert sound["files"] >= 3
    victim = _change_a_byte(lake)
    assert verify()[0] == 0, "the size is the same"
    code, report = verify("--deep")
    assert code == 1
    (line,) = report["damaged"]
    assert victim.name in line


def _change_a_byte(lake: Lake) -> Path:
    victim = next(Path(lake.store.root).glob("orderbook_snapshots/**/*.parquet"))
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 0xFF
    victim.write_bytes(content)
    return victim


async def test_buckets_follow_each_other(make_settings: MakeSettings, lake: Lake) -> None:
    """No row lies in a file of another bucket, and coverage of neighbours meets at its edge."""
    async with busy_venue() as venue:
        publish_world(lake, venue)
        await collect(make_settings(venue), lake, [VENUE], 3.5)
    coverage = lake_rows(lake, COVERAGE).with_columns(pl.col("ts_start", "ts_end").dt.epoch("us"))
    bucket_us = 3 * SECOND // 1_000
    assert len(coverage.select(pl.col("ts_start") // bucket_us).unique()) > 1
    for (_,), line in coverage.group_by("outcome_id"):
        rows = line.sort("ts_start").rows(named=True)
        for before, after in pairwise(rows):
            assert before["ts_end"] == after["ts_start"]
        for row in rows:
            assert row["ts_start"] // bucket_us == (row["ts_end"] - 1) // bucket_us
