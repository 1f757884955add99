"""Recordings through the engine: the same report however they are packed, and proof of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from typer.testing import CliRunner, Result

from surveillance_collector.cli import app
from surveillance_collector.configured import new_engine
from surveillance_collector.replay import ReplayReport, replay_files
from surveillance_collector.sampling import Tier
from surveillance_core.lake.manifest import manifest_days
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.read import scan_table
from surveillance_core.lake.schemas import COVERAGE, SNAPSHOTS, TRADES
from surveillance_core.markets import Venue
from surveillance_core.settings import load_settings
from surveillance_core.venues.simulated.judge import compare_books, compare_trades

from .worlds import MS, SECOND, START_NS, VENUE, capture_lines, frame_of, lake_rows, recorded

SEED = 21
PROMISED = {
    "frames", "messages", "books", "trades", "hash", "seq", "negative_levels",
    "crossed_at_batch_end", "rejected", "snapshots",
}  # fmt: skip
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "frames.jsonl": bytes,
    "frames.jsonl.gz": gzip.compress,
    "frames.jsonl.zst": zstandard.ZstdCompressor().compress,
}


def _lines() -> list[bytes]:
    return capture_lines(recorded(SEED))


def _tampered(lines: list[bytes]) -> list[bytes]:
    """One level of one change says another size than the venue sent."""
    at = next(
        n for n, line in enumerate(lines)
        if n > len(lines) // 2 and b"price_change" in line and rb"\"size\":\"0\"" not in line
        # the whole book that follows a fill would mend it at once
        and b"price_change" in lines[n + 1] and b'"event_type\\":\\"book' not in lines[n + 2]
    )  # fmt: skip
    frame = json.loads(lines[at])
    changes = json.loads(frame["frame"])
    for change in changes["price_changes"]:
        change["size"] = str(float(change["size"]) + 1)
    frame["frame"] = json.dumps(changes)
    return [*lines[:at], json.dumps(frame).encode() + b"\n", *lines[at + 1 :]]


def _replay(config: Path, path: Path) -> ReplayReport:
    return replay_files(load_settings(config).settings, VENUE, [path])


def _command(config: Path, *arguments: object) -> Result:
    words = ["replay", "--venue", "polymarket", "--config", str(config), "--json"]
    return CliRunner().invoke(app, [*words, *map(str, arguments)])


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "frames.jsonl"
    path.write_bytes(b"".join(_lines()))
    return path


@pytest.mark.parametrize("name", PACKINGS)
def test_the_packing_changes_nothing_in_the_report(
    config: Path, tmp_path: Path, recording: Path, name: str
) -> None:
    packed = tmp_path / "packed" / name
    packed.parent.mkdir()
    packed.write_bytes(PACKINGS[name](recording.read_bytes()))
    report = _replay(config, packed)
    assert report == _replay(config, recording)
    assert report.frames == len(recorded(SEED).frames)
    assert report.hash.due == report.hash.matched > 500
    assert report.trades == len(
        {trade.transaction_hash for trade in recorded(SEED).truth.trades}
    ) - len(_unprinted())
    assert report.books == len(recorded(SEED).terms)
    assert report.failures == []


def _unprinted() -> list[str]:
    """Fills whose print was still on the way when the recording ended."""
    until = recorded(SEED).until_ms
    return [t.transaction_hash for t in recorded(SEED).truth.trades if t.print_ms > until]


def test_several_recordings_are_one_report(config: Path, tmp_path: Path, recording: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_bytes(b"".join(capture_lines(recorded(22))))
    settings = load_settings(config).settings
    both = replay_files(settings, VENUE, [recording, other])
    alone = [_replay(config, path) for path in (recording, other)]
    assert both.frames == sum(report.frames for report in alone)
    assert both.snapshots == sum(report.snapshots for report in alone)
    assert both.hash.matched == sum(report.hash.matched for report in alone)
    assert both.failures == []


def test_the_report_has_what_was_promised(config: Path, recording: Path) -> None:
    result = _command(config, recording, "--verify")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report.keys() >= PROMISED
    assert report.keys() - PROMISED == {"ignored", "damaged_lines", "files", "published"}
    assert report["hash"].keys() == {"due", "matched", "mismatched"}
    assert report["seq"].keys() == {"streams", "gaps"}
    assert report["messages"].keys() >= {"book", "price_change", "last_trade_price"}


def test_out_writes_the_rows_that_live_capture_would_have(
    config: Path, tmp_path: Path, recording: Path
) -> None:
    out = tmp_path / "replayed"
    result = _command(config, recording, "--out", out)
    assert result.exit_code == 0, result.stderr
    lake, history = Lake(str(out)), recorded(SEED)
    snapshots, trades = lake_rows(lake, SNAPSHOTS), lake_rows(lake, TRADES)
    report = json.loads(result.stdout)
    assert report["published"]["orderbook_snapshots"] == report["snapshots"] == len(snapshots)

    engine = new_engine(load_settings(config).settings, VENUE, hash_interval_ms=0)
    engine.connect("c1", START_NS)
    engine.follow("c1", history.terms, Tier.HOT, START_NS)
    for recv_ns, frame in history.frames:
        engine.receive("c1", frame, recv_ns)
    engine.finish(history.frames[-1][0] + SECOND)
    rows = engine.drain().rows
    for table, stored in ((SNAPSHOTS, snapshots), (TRADES, trades)):
        assert stored.equals(frame_of(rows, table).sort(table.sort_by, maintain_order=True))
    assert len(lake_rows(lake, COVERAGE)) == len(frame_of(rows, COVERAGE)) > 0

    books = compare_books(snapshots, history.truth)
    assert (books.different, books.examples) == (0, [])
    until = (history.until_ms - 100) * MS
    windows = {terms.asset_id: [(0, until)] for terms in history.terms}
    judged = compare_trades(trades, history.truth, windows=windows)
    assert (judged.missing, judged.extra) == (0, 0)
    assert judged.matched > 20


def test_replaying_into_the_same_lake_again_adds_nothing(
    config: Path, tmp_path: Path, recording: Path
) -> None:
    out = tmp_path / "replayed"
    counts = []
    for _ in range(2):
        assert _command(config, recording, "--out", out).exit_code == 0
        counts.append([len(lake_rows(Lake(str(out)), t)) for t in (SNAPSHOTS, TRADES, COVERAGE)])
    assert counts[0] == counts[1]


# ── proof ────────────────────────────────────────────────────────────────────────────────────


def test_a_changed_level_fails_the_verification(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "tampered.jsonl"
    path.write_bytes(b"".join(_tampered(_lines())))
    result = _command(config, path, "--verify")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["hash"]["mismatched"] > 0
    assert "hash.mismatched" in result.stderr
    assert _command(config, path).exit_code == 0, "without --verify it is only counted"


def test_a_lost_frame_fails_the_verification(config: Path, tmp_path: Path) -> None:
    lines = _lines()
    path = tmp_path / "gap.jsonl"
    frames = [json.loads(line).get("frame", "") for line in lines]
    changes = [n for n, frame in enumerate(frames) if '"price_change"' in frame]
    market = json.loads(frames[changes[0]])["market"]
    told = [n for n, frame in enumerate(frames) if market in frame and '"hash"' in frame]
    # the batch after the lost one must be a change: a whole book would repair it unproved
    lost = next(
        a for a, b in pairwise(told[5:])
        if a in changes and b in changes and frames[a][-60:] != frames[b][-60:]
    )  # fmt: skip
    path.write_bytes(b"".join(lines[:lost] + lines[lost + 1 :]))
    assert _replay(config, path).hash.mismatched > 0


def test_a_damaged_line_is_counted_and_the_rest_is_read(config: Path, tmp_path: Path) -> None:
    lines = _lines()
    path = tmp_path / "damaged.jsonl"
    path.write_bytes(b"".join([*lines[:40], b'{"recv_ns": 1, "co\n', *lines[40:]]))
    report = _replay(config, path)
    assert report.damaged_lines == 1
    assert report.frames == len(recorded(SEED).frames)
    assert report.failures == ["damaged_lines = 1"]
    assert _command(config, path, "--verify").exit_code == 1


@pytest.mark.parametrize("name", ["frames.jsonl.gz", "frames.jsonl.zst"])
def test_a_recording_cut_off_is_reported_and_used_as_far_as_it_goes(
    config: Path, tmp_path: Path, name: str
) -> None:
    content = PACKINGS[name](b"".join(_lines()))
    path = tmp_path / name
    path.write_bytes(content[: len(content) * 2 // 3])
    result = _command(config, path, "--verify")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["damaged_lines"] >= 1
    assert "damaged_lines" in result.stderr
    assert report["hash"]["mismatched"] == 0
    assert 0 < report["frames"] < len(recorded(SEED).frames)


def test_an_asset_whose_terms_cannot_be_read_is_damage(config: Path, tmp_path: Path) -> None:
    lines = _lines()
    record = json.loads(lines[1])
    lines[1] = json.dumps(record | {"tick_size": "a tenth"}).encode() + b"\n"
    path = tmp_path / "terms.jsonl"
    path.write_bytes(b"".join(lines))
    report = _replay(config, path)
    assert report.damaged_lines == 1
    assert report.books == len(recorded(SEED).terms) - 1


def test_a_reconnection_in_a_recording_is_an_untrusted_interval(
    config: Path, tmp_path: Path
) -> None:
    lines = _lines()
    middle = len(lines) // 2
    at_ns = json.loads(lines[middle])["recv_ns"]
    assets = [line.replace(str(START_NS).encode(), str(at_ns).encode()) for line in lines[:11]]
    cut = [
        json.dumps({"recv_ns": at_ns - 1, "conn": "c1", "event": "disconnected"}).encode() + b"\n"
    ]
    path, out = tmp_path / "twice.jsonl", tmp_path / "out"
    path.write_bytes(b"".join([*lines[:middle], *cut, *assets, *lines[middle:]]))
    assert _command(config, path, "--out", out).exit_code == 0
    causes = lake_rows(Lake(str(out)), COVERAGE)["cause"].to_list()
    assert "disconnected" in causes


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("missing.jsonl",), 2, "no such file"),
    ],
)
def test_what_cannot_be_replayed_is_named(
    config: Path, recording: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    name, *rest = arguments
    result = _command(config, recording.parent / name, *rest)
    assert result.exit_code == code
    assert said in result.stderr
    assert result.stdout == ""


# ── a venue that numbers its frames ──────────────────────────────────────────────────────────


def _kalshi_lines() -> list[bytes]:
    """A print before the first book, 20 changes of it, a reconnection to another market."""
    lines: list[dict[str, object]] = []
    at_ns = START_NS

    def frame(conn: str, kind: str, stream: int, seq: int | None, **body: object) -> None:
        nonlocal at_ns
        at_ns += 100 * MS
        text = json.dumps({"type": kind, "sid": stream, "seq": seq, "msg": body})
        lines.append({"recv_ns": at_ns, "conn": conn, "frame": text})

    for conn, ticker in (("c1", "KXRAIN-A"), ("c2", "KXRAIN-B")):
        lines.append({"recv_ns": at_ns, "conn": conn, "event": "connected"})
        frame(conn, "subscribed", 1, None, channel="orderbook_delta", sid=1)
        frame(
            conn, "trade", 2, 1, market_ticker=ticker, trade_id=f"{conn}-1", count_fp="2.50",
            yes_price_dollars="0.4000", no_price_dollars="0.6000", taker_outcome_side="yes",
        )  # fmt: skip
        levels = {"yes_dollars_fp": [["0.4000", "5.00"]], "no_dollars_fp": [["0.5550", "9.00"]]}
        frame(conn, "orderbook_snapshot", 1, 1, market_ticker=ticker, **levels)
        for seq in range(2, 22):
            frame(
                conn, "orderbook_delta", 1, seq, market_ticker=ticker, side="yes",
                price_dollars="0.4000", delta_fp="0.25" if seq % 2 else "-0.25",
            )  # fmt: skip
    return [json.dumps(line).encode() + b"\n" for line in lines]


def test_markets_are_followed_as_their_books_name_them(config: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "kalshi.jsonl", tmp_path / "out"
    path.write_bytes(b"".join(_kalshi_lines()))
    result = _command(config, path, "--venue", "kalshi", "--verify", "--out", out)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["messages"] == {
        "subscribed": 2, "trade": 2, "orderbook_snapshot": 2, "orderbook_delta": 40,
    }  # fmt: skip
    assert (report["books"], report["trades"]) == (2, 2)
    assert report["seq"] == {"streams": 4, "gaps": 0}
    assert report["negative_levels"] == 0
    assert report["ignored"] == report["rejected"] == {}
    lake = Lake(str(out))
    days = manifest_days(lake.store, Venue.KALSHI)
    snapshots = scan_table(lake, SNAPSHOTS, Venue.KALSHI, days).frame.collect()
    assert set(snapshots["best_ask_px"].to_list()) == {0.445}
    assert set(snapshots["tick"].to_list()) == {0.001}
    assert set(snapshots["trust"].to_list()) == {"verified"}


def test_a_hole_in_the_numbers_fails_the_verification(config: Path, tmp_path: Path) -> None:
    lines = _kalshi_lines()
    path = tmp_path / "gap.jsonl"
    path.write_bytes(b"".join([*lines[:10], *lines[11:]]))
    result = _command(config, path, "--venue", "kalshi", "--verify")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["seq"] == {"streams": 4, "gaps": 1}
    assert "seq.gaps = 1" in result.stderr


def test_a_level_below_nothing_fails_the_verification(config: Path, tmp_path: Path) -> None:
    lines = _kalshi_lines()
    path = tmp_path / "negative.jsonl"
    path.write_bytes(b"".join([*lines[:9], lines[9].replace(b"0.25", b"9.25"), *lines[10:]]))
    content = path.read_bytes().replace(b'\\"9.25', b'\\"-9.25')
    path.write_bytes(content)
    result = _command(config, path, "--venue", "kalshi", "--verify")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["negative_levels"] == 1


def test_the_recordings_of_kalshi_verify(config: Path, shared: Path) -> None:
    paths = sorted((shared / "fixtures" / "captures" / "kalshi").glob("*.jsonl.gz"))
    if not paths:
        pytest.skip("no recordings of Kalshi")
    result = _command(config, *paths, "--venue", "kalshi", "--verify")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["messages"] == {
        "subscribed": 8, "orderbook_snapshot": 12, "orderbook_delta": 73_987, "ticker": 817,
        "error": 3,
    }  # fmt: skip
    assert report["books"] == 10
    assert report["seq"] == {"streams": 4, "gaps": 0}
    assert report["negative_levels"] == report["crossed_at_batch_end"] == 0
    assert report["rejected"] == {}
