"""Damaged frames of both venues through the channels.

After any frame each book is unchanged, or what an independent reading of the frame makes of it, or
doubted; what was not used is named; and whatever the channel says fits the lake's tables.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surveillance_collector.rows import (
    Reason,
    Row,
    listed_row,
    resolved_row,
    snapshot_row,
    tick_size_row,
    trade_row,
)
from surveillance_core.books import OrderBook, Trust, tick_of
from surveillance_core.lake.publish import rows_to_table
from surveillance_core.lake.schemas import LIFECYCLE, SNAPSHOTS, TRADES
from surveillance_core.venues.kalshi.channel import KalshiChannel
from surveillance_core.venues.kalshi.salvage import salvage_frame as salvage_kalshi
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.polymarket.salvage import salvage_frame as salvage_polymarket
from surveillance_core.venues.protocols import (
    AssetTerms,
    ChannelEvent,
    MarketListed,
    MarketResolved,
    Rejected,
    TickSizeChanged,
    Trade,
)
from tests.wire import readings
from tests.wire.captured import FIXTURES, held, recorded_assets
from tests.wire.mutations import damaged, with_odd_member

Channel = PolymarketChannel | KalshiChannel
Books = dict[str, OrderBook]
START_NS = 1_789_156_413_000_000_000
STEP_NS = 60_000_000
"""Longer than a batch stays open."""
POLYMARKET_FILES = (
    "seq_2026-09-11_crossed_fill", "seq_2026-09-11_ask_cancel_batch",
    "seq_2026-09-11_bid_cancel_batch",
)  # fmt: skip
POLYMARKET_SINGLES = (
    "nautilus_ws_market_new_market_msg.json", "nautilus_ws_market_resolved_msg.json",
    "nautilus_ws_market_tick_size_msg.json", "nautilus_last_trade_price.json",
    "verbatim_frames_2026-08-14.jsonl", "polypy_server_messages_2024-12.txt",
)  # fmt: skip
POLYMARKET_MEMBERS = (
    "event_type", "market", "asset_id", "timestamp", "hash", "bids", "asks", "price", "size",
    "side", "tick_size", "last_trade_price", "price_changes", "best_bid", "best_ask",
    "old_tick_size", "new_tick_size", "fee_rate_bps", "transaction_hash", "question",
    "winning_asset_id", "winning_outcome", "assets_ids",
)  # fmt: skip
KALSHI_MEMBERS = (
    "type", "sid", "seq", "msg", "market_ticker", "yes_dollars_fp", "no_dollars_fp", "side",
    "price_dollars", "delta_fp", "price", "delta", "ts", "ts_ms", "trade_id", "yes_price_dollars",
    "no_price_dollars", "count_fp", "taker_outcome_side", "taker_book_side", "taker_side",
    "yes_bid_dollars", "yes_ask_dollars", "yes_bid_size_fp", "event_type",
    "price_ranges", "step", "additional_metadata", "title", "result", "determination_ts", "code",
    "channel", "market_tickers",
)  # fmt: skip
needs_captures = pytest.mark.skipif(
    not FIXTURES.is_dir(), reason=f"no fixtures in {FIXTURES}; name them in SURVEILLANCE_SHARED"
)


@dataclass(frozen=True)
class Recording:
    """Frames of one connection with the assets that they are about."""

    venue: str
    assets: tuple[AssetTerms, ...]
    frames: tuple[str, ...]

    def connect(self) -> Channel:
        """A channel that follows the assets."""
        channel: Channel = PolymarketChannel() if self.venue == "polymarket" else KalshiChannel()
        channel.follow(self.assets)
        return channel

    @property
    def read(self) -> Callable[[Books, bytes | str], Books]:
        """The independent reading of the venue's frames."""
        polymarket = self.venue == "polymarket"
        return readings.polymarket_reading if polymarket else readings.kalshi_reading

    @property
    def salvage(self) -> Callable[[bytes | str], object]:
        """The slow path alone."""
        return _salvage_all if self.venue == "polymarket" else salvage_kalshi


def _salvage_all(frame: bytes | str) -> object:
    return list(salvage_polymarket(frame))


@cache
def _recordings(venue: str) -> list[Recording]:
    """Short recordings, and single frames each on a connection of its own."""
    found: list[Recording] = []
    if venue == "kalshi":
        whole = [*held("captures/kalshi/kxbtc_orderbook_8mkts_2026-04-18.jsonl.gz").connections]
        whole += [held("captures/kalshi/kxbtc15m_book_ticker_2026-05-11_A.jsonl.gz").frames[:60]]
        for name in ("real_single_frames", "spec_examples_2026-07-21"):
            whole += held(f"kalshi/ws/{name}.jsonl").connections
        whole += held("kalshi/ws/spec_examples_transitional_2026-02.jsonl").connections
        for frames in whole:
            named = {
                terms.asset_id: terms for f in frames for terms in KalshiChannel().assets_named(f)
            }
            body = json.loads(frames[0]).get("msg")
            ticker = body.get("market_ticker") if isinstance(body, dict) else None
            if not named and ticker:
                named = {ticker: AssetTerms(market_id=ticker, asset_id=ticker, tick=100)}
            found.append(Recording(venue, tuple(named.values()), tuple(frames[:30])))
        return found
    for name in POLYMARKET_FILES:
        file = f"captures/polymarket/{name}.jsonl.gz"
        one, other = recorded_assets(file)
        assets = [
            AssetTerms(
                market_id=record.market, asset_id=record.asset_id, primary=record is one,
                mirror_id=(other if record is one else one).asset_id,
                tick=tick_of(record.tick_size or ""), min_order_size=record.min_order_size,
                neg_risk=record.neg_risk,
            )
            for record in (one, other)
        ]  # fmt: skip
        found.append(Recording(venue, tuple(assets), tuple(held(file).frames)))
    for name in POLYMARKET_SINGLES:
        for frame in held(f"polymarket/ws/{name}").frames:
            asset = next(
                (m["asset_id"] for m in readings.elements(frame) or [] if "asset_id" in m), "a"
            )
            assets = [AssetTerms(market_id="m", asset_id=asset, tick=100)]
            found.append(Recording(venue, tuple(assets), (frame,)))
    return found


def _copy(channel: Channel) -> Books:
    return {
        asset: OrderBook(dict(state.book.bids), dict(state.book.asks))
        for asset, state in channel.states.items()
    }


def _in_trust(channel: Channel) -> Iterator[tuple[str, OrderBook]]:
    for asset, state in channel.states.items():
        if state.opened and state.trust is not Trust.DIVERGED:
            yield asset, state.book


def _seen(channel: Channel) -> int:
    return channel.messages.total() + channel.ignored.total()


def _judge(recording: Recording, place: int, frame: bytes | str) -> None:
    """Play a recording whose frame at ``place`` is another one."""
    channel = recording.connect()
    events: list[tuple[ChannelEvent, int]] = []
    now = START_NS
    for sound in recording.frames[:place]:
        now += STEP_NS
        events += ((event, now) for event in channel.receive(sound, now))
    before, ignored, seen = _copy(channel), channel.ignored.copy(), _seen(channel)
    said = list(channel.receive(frame, now + STEP_NS))
    events += ((event, now) for event in said)
    unused = any(isinstance(event, Rejected) for event in said) or channel.ignored != ignored
    assert _seen(channel) > seen or said
    after = recording.read(before, frame)
    for asset, book in _in_trust(channel):
        assert book == after[asset] or (unused and book == before[asset]), asset
    recording.salvage(frame)
    for sound in recording.frames[place + 1 :]:
        now += STEP_NS
        events += ((event, now) for event in channel.receive(sound, now))
    for asset in channel.states:
        events += ((event, now) for event in channel.settle_asset(asset, now + STEP_NS))
    events += ((event, now) for event in channel.settle(now + STEP_NS))
    _publishable(channel, events, now)
    if recording.venue == "kalshi" and _is_followed(recording.frames, place):
        rejected = any(isinstance(event, Rejected) for event in said)
        _nothing_was_missed(recording, channel, place, None if rejected else frame, _tickers(frame))


def _is_followed(frames: Sequence[str], place: int) -> bool:
    """Whether a later frame of the same stream has a number, by which a loss shows."""
    sid = json.loads(frames[place]).get("sid")
    later = (json.loads(frame) for frame in frames[place + 1 :])
    return any(frame.get("sid") == sid and "seq" in frame for frame in later)


def _tickers(frame: bytes | str) -> set[str]:
    """Markets that a frame says it is of."""
    bodies = [m.get("msg") for m in readings.elements(frame) or [] if isinstance(m, dict)]
    named = [body.get("market_ticker") for body in bodies if isinstance(body, dict)]
    return {ticker for ticker in named if isinstance(ticker, str)}


def _nothing_was_missed(
    recording: Recording,
    channel: Channel,
    place: int,
    frame: bytes | str | None,
    said_of: set[str],
) -> None:
    """Where the venue numbers its frames, a book that is still trusted missed none of them.

    It is the book of the sound frames, or of the damaged one if that was used.
    """
    if frame is None and not channel.states.keys() >= said_of:
        return  # it says that it is of a market which is not followed
    if channel.ignored["change_from_another_stream"]:
        return  # its snapshot came on a stream of another number: two streams, each without holes
    sound: Books = {asset: OrderBook() for asset in channel.states}
    other = dict(sound)
    for at, text in enumerate(recording.frames):
        sound = recording.read(sound, text)
        other = recording.read(other, text if at != place or frame is None else frame)
    for asset, book in _in_trust(channel):
        if channel.states[asset].trust is Trust.VERIFIED:
            assert book in (sound[asset], other[asset]), asset


def _publishable(channel: Channel, events: Iterable[tuple[ChannelEvent, int]], now: int) -> None:
    """Everything the channel said goes into the lake's tables, and comes out again."""
    trades: list[Row] = []
    lifecycle: list[Row] = []
    for event, at in events:
        if isinstance(event, Trade):
            trades.append(trade_row(event, at))
        elif isinstance(event, MarketListed):
            lifecycle.append(listed_row(event, at))
        elif isinstance(event, MarketResolved):
            lifecycle.append(resolved_row(event, at))
        elif isinstance(event, TickSizeChanged):
            lifecycle.append(tick_size_row(event, at))
        elif isinstance(event, Rejected):
            assert len(event.reason) < 100
    books = [
        snapshot_row(state, now + STEP_NS, 10, Reason.CHANGE)
        for state in channel.states.values()
        if state.opened
    ]
    for table, rows in ((TRADES, trades), (LIFECYCLE, lifecycle), (SNAPSHOTS, books)):
        for row in rows_to_table(table, rows).to_pylist() if rows else ():
            for column in table.columns:
                value = row[column.name]
                assert column.nullable or value is not None, column.name
                numbers = value if isinstance(value, list) else [value]
                assert all(math.isfinite(n) for n in numbers if isinstance(n, float)), column.name


def _samples(venue: str) -> list[tuple[Recording, int]]:
    """One frame of each type and spelling, at its recording's beginning and in its middle."""
    found: dict[object, tuple[Recording, int]] = {}
    key = "event_type" if venue == "polymarket" else "type"
    for recording in _recordings(venue):
        for place, frame in enumerate(recording.frames):
            message = (readings.elements(frame) or [{}])[0]
            body = message.get("msg")
            members = body if isinstance(body, dict) else message
            kind = message.get(key), members.get("event_type"), place > 2, frozenset(members)
            if place < 12:  # what comes before is played each time
                found.setdefault(kind, (recording, place))
    return list(found.values())


@needs_captures
@pytest.mark.parametrize(
    ("venue", "member"),
    [("polymarket", m) for m in POLYMARKET_MEMBERS] + [("kalshi", m) for m in KALSHI_MEMBERS],
)
def test_any_odd_value_in_a_member_of_a_frame(venue: str, member: str) -> None:
    tried = 0
    for recording, place in _samples(venue):
        text = recording.frames[place]
        if f'"{member}"' not in text:
            continue
        short = Recording(venue, recording.assets, recording.frames[: place + 3])
        for frame in with_odd_member(json.loads(text), member):
            _judge(short, place, frame)
            tried += 1
    assert tried > 50


@st.composite
def _damaged_recording(draw: st.DrawFn, venue: str) -> tuple[Recording, int, bytes]:
    recordings = _recordings(venue)
    long = [recording for recording in recordings if len(recording.frames) > 1]
    recording = draw(st.sampled_from(draw(st.sampled_from((long, recordings)))))
    place = draw(st.integers(0, len(recording.frames) - 1))
    payload: Any = json.loads(recording.frames[place])
    members = POLYMARKET_MEMBERS if venue == "polymarket" else KALSHI_MEMBERS
    return recording, place, draw(damaged([payload], members))


@needs_captures
@pytest.mark.parametrize("venue", ["polymarket", "kalshi"])
@settings(max_examples=250)
@given(st.data())
def test_a_damaged_frame_in_a_recording(venue: str, data: st.DataObject) -> None:
    recording, place, frame = data.draw(_damaged_recording(venue))
    _judge(recording, place, frame)
    _judge(recording, place, frame.decode("utf-8", "surrogateescape"))
