"""Recordings of the market channel through its state machine: every hash that is due agrees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from surveillance_core.books import OrderBook, Trust, tick_of
from surveillance_core.venues.captures import (
    AssetRecord,
    CaptureRecord,
    Damaged,
    FrameRecord,
    read_capture,
)
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.protocols import AssetTerms, ChannelEvent, Doubted, Opened, Rejected

HASHES = {
    "seq_2026-08-15_btc5m_continuous": 180,
    "seq_2026-09-11_ask_cancel_batch": 6,
    "seq_2026-09-11_bid_cancel_batch": 4,
    "seq_2026-09-11_crossed_fill": 6,
}


def _connection(records: Sequence[CaptureRecord]) -> PolymarketChannel:
    channel = PolymarketChannel()
    channel.follow(
        AssetTerms(
            market_id=record.market,
            asset_id=record.asset_id,
            tick=tick_of(record.tick_size or ""),
            min_order_size=record.min_order_size,
            neg_risk=record.neg_risk,
        )
        for record in records
        if isinstance(record, AssetRecord)
    )
    return channel


def _frames(records: Sequence[CaptureRecord]) -> list[FrameRecord]:
    return [record for record in records if isinstance(record, FrameRecord)]


def _replay(path: Path) -> tuple[PolymarketChannel, list[ChannelEvent]]:
    records = list(read_capture(path))
    assert not any(isinstance(record, Damaged) for record in records)
    channel = _connection(records)
    events: list[ChannelEvent] = []
    frames = _frames(records)
    for record in frames:
        events += channel.receive(record.frame, record.recv_ns)
    events += channel.settle(frames[-1].recv_ns + 1_000_000_000)
    return channel, events


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "fixtures" / "captures" / "polymarket"


@pytest.mark.parametrize("name", HASHES)
def test_every_hash_that_is_due_agrees(folder: Path, name: str) -> None:
    channel, events = _replay(folder / f"{name}.jsonl.gz")
    assert channel.hashes.due == channel.hashes.matched == HASHES[name]
    assert channel.hashes.mismatched == 0
    assert channel.crossed_at_batch_end == 0
    assert not [event for event in events if isinstance(event, Doubted | Rejected)]
    assert sum(isinstance(event, Opened) for event in events) == len(channel.states) == 2
    assert {state.trust for state in channel.states.values()} == {Trust.VERIFIED}


def test_the_four_recordings_hold_196_hashes(folder: Path) -> None:
    assert {path.name.removesuffix(".jsonl.gz") for path in folder.iterdir()} == set(HASHES)
    assert sum(HASHES.values()) == 196


@pytest.mark.parametrize("name", HASHES)
def test_the_two_tokens_mirror_each_other_once_whole(folder: Path, name: str) -> None:
    channel, _ = _replay(folder / f"{name}.jsonl.gz")
    one, other = channel.states.values()
    assert one.book.mirrored() == other.book
    assert one.market_id == other.market_id


def test_a_lost_frame_is_noticed_unless_the_next_one_mends_it(folder: Path) -> None:
    """The proof can fail: leave out one change and the hashes after it disagree."""
    records = list(read_capture(folder / "seq_2026-08-15_btc5m_continuous.jsonl.gz"))
    frames = _frames(records)
    whole: list[dict[str, OrderBook]] = []
    channel = _connection(records)
    for record in frames:
        channel.receive(record.frame, record.recv_ns)
        whole.append({key: _copy(state.book) for key, state in channel.states.items()})
    lasting = 0
    for lost in range(2, len(frames)):
        channel = _connection(records)
        wrong = 0
        for place, record in enumerate(frames):
            if place != lost:
                channel.receive(record.frame, record.recv_ns)
            books = {key: state.book for key, state in channel.states.items()}
            wrong += books != whole[place]
        # a batch is judged when the next begins, so a book wrong for that long must be found out
        if wrong > 3:
            lasting += 1
            assert channel.hashes.mismatched > 0
        if not wrong:
            assert channel.hashes.mismatched == 0
    assert lasting > 10


def _copy(book: OrderBook) -> OrderBook:
    return OrderBook(dict(book.bids), dict(book.asks))
