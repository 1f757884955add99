"""Recordings: read as typed records whatever their state, and served as a venue."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from pathlib import Path

import httpx
import pytest
import zstandard
from websockets.asyncio.client import connect

from surveillance_core.venues.captures import (
    AssetRecord,
    Connected,
    Damaged,
    Disconnected,
    FrameRecord,
    read_capture,
)
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.protocols import AssetTerms
from surveillance_core.venues.simulated.polymarket.replay import CaptureSource
from surveillance_core.venues.simulated.servers import SimulatedPolymarket

_ROOT = Path(__file__).resolve().parents[3]
_SHARED = Path(os.environ.get("SURVEILLANCE_SHARED", _ROOT.parent / "shared"))
CAPTURES = _SHARED / "fixtures" / "captures"

needs_captures = pytest.mark.skipif(
    not CAPTURES.is_dir(),
    reason=f"no captures at {CAPTURES}; set SURVEILLANCE_SHARED",
)

LINES = (
    b'{"recv_ns":1,"conn":"c1","event":"connected"}\n'
    b'{"recv_ns":2,"conn":"c1","event":"asset","market":"0xa","asset_id":"7",'
    b'"min_order_size":"5","tick_size":"0.01","neg_risk":false}\n'
    b'{"recv_ns":3,"conn":"c1","frame":"PONG"}\n'
    b"not json\n"
    b'{"recv_ns":4,"conn":"c1"}\n'
    b'{"recv_ns":5,"conn":"c1","event":"disconnected"}\n'
)


@pytest.mark.parametrize("compression", ["plain", "gzip", "zstd", "zstd in two frames"])
def test_records_are_typed_and_damage_is_named(tmp_path: Path, compression: str) -> None:
    pack = zstandard.ZstdCompressor().compress
    content = {
        "plain": LINES,
        "gzip": gzip.compress(LINES),
        "zstd": pack(LINES),
        "zstd in two frames": pack(LINES[:60]) + pack(LINES[60:]),
    }[compression]
    path = tmp_path / "capture"
    path.write_bytes(content)
    records = list(read_capture(path))
    assert records[0] == Connected(recv_ns=1, conn="c1")
    assert isinstance(records[1], AssetRecord)
    assert records[1].tick_size == "0.01"
    assert records[2] == FrameRecord(recv_ns=3, conn="c1", frame="PONG")
    assert [r.line for r in records[3:5] if isinstance(r, Damaged)] == [4, 5]
    assert records[5] == Disconnected(recv_ns=5, conn="c1")


def test_a_file_cut_off_ends_with_damage(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(LINES * 50)[:-20])
    assert isinstance(list(read_capture(path))[-1], Damaged)


def test_a_folder_without_captures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no capture"):
        CaptureSource(tmp_path, start_ms=0)


@needs_captures
@pytest.mark.parametrize("path", sorted(CAPTURES.rglob("*.jsonl.gz")), ids=lambda p: p.name)
def test_real_captures_read_without_damage(path: Path) -> None:
    records = list(read_capture(path))
    assert any(isinstance(record, FrameRecord) for record in records)
    assert not any(isinstance(record, Damaged) for record in records)


@needs_captures
@pytest.mark.asyncio
async def test_a_recording_is_served_and_its_hashes_verify() -> None:
    source = CaptureSource(CAPTURES / "polymarket", start_ms=1_790_000_000_000, time_factor=0.01)
    channel = PolymarketChannel()
    frames = 0
    async with (
        SimulatedPolymarket(source=source) as venue,
        httpx.AsyncClient(base_url=venue.http_url, trust_env=False) as http,
        connect(venue.ws_url, compression=None, max_size=2**25, close_timeout=0.2) as ws,
    ):
        events = (await http.get("/events/keyset?closed=false&limit=500")).json()["events"]
        terms: list[AssetTerms] = []
        for event in events:
            tokens = json.loads(event["markets"][0]["clobTokenIds"])
            for token in tokens:
                book = (await http.get("/book", params={"token_id": token})).json()
                assert book["asset_id"] == token
                terms.append(
                    AssetTerms(
                        market_id=event["markets"][0]["conditionId"], asset_id=token,
                        tick=round(float(book["tick_size"]) * 10_000),
                        primary=token == tokens[0],
                        mirror_id=next((t for t in tokens if t != token), None),
                        min_order_size=book["min_order_size"], neg_risk=book["neg_risk"],
                    ),
                )  # fmt: skip
        channel.follow(terms)
        tokens = [term.asset_id for term in terms]
        await ws.send(json.dumps({"assets_ids": tokens, "type": "market"}))
        try:
            while True:
                frame = await asyncio.wait_for(ws.recv(), 1.5)
                frames += 1
                channel.receive(frame, frames)
        except TimeoutError:
            pass
    channel.settle(frames + 1)
    assert len(events) == 2
    assert frames > 91
    assert channel.hashes.due > 150
    assert channel.hashes.matched == channel.hashes.due
