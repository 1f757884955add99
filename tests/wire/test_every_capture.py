"""Every file of the captures through the adapters: parsed, or set aside with a reason.

Parametrised over the files found, so that a capture that is added is covered by being there. What
holds neither a listing nor a frame is named in ``captured.NEITHER_LISTING_NOR_FRAME`` with the
reason, and is fed all the same.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime

import pytest

from surveillance_core.books import OrderBook, Trust
from surveillance_core.markets import decode_universe, encode_universe
from surveillance_core.venues.kalshi.channel import KalshiChannel
from surveillance_core.venues.kalshi.discovery import EventReader as KalshiReader
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.polymarket.discovery import EventReader as GammaReader
from surveillance_core.venues.protocols import AssetTerms, ChannelEvent, Discovery, Rejected
from tests.wire import readings
from tests.wire.captured import (
    FIXTURES,
    FOLDERS,
    NEITHER_LISTING_NOR_FRAME,
    RECORDINGS,
    Held,
    Json,
    captured_files,
    held,
    values,
    why_left_out,
)

NOW = datetime(2026, 9, 1, tzinfo=UTC)
REASON = re.compile(r"[a-z]+(_[A-Za-z]+)*")
KALSHI_ODDITIES = {"event_without_markets", "fee_not_said"}
"""Of pages captured without their markets or their series."""
OLD_OR_HAND_MADE = {
    "no_event_type": "REST books, and examples without their type",
    "malformed_price_change": "changes one by one, as until September 2025",
    "malformed_book": "a book from before they had a time",
}
"""Why frames of the captures are set aside."""


def _discover(name: str, found: Held) -> Discovery:
    if name.startswith("polymarket/"):
        gamma = GammaReader(NOW)
        gamma.read_page(found.events)
        for market in found.markets:
            gamma.read_market(market, None)
        return gamma.found
    kalshi = KalshiReader(NOW)
    kalshi.terms.read_series(found.series)
    kalshi.terms.read_incentives(found.programmes)
    for status in found.statuses:
        assert kalshi.terms.read_status(status) is not None
    kalshi.read_page(found.events)
    for market in found.markets:
        kalshi.read_market(market)
    return kalshi.finish()


@pytest.mark.parametrize("name", captured_files(*FOLDERS, *RECORDINGS))
def test_every_file_holds_something_or_is_named_with_the_reason(name: str) -> None:
    found = held(name)
    assert (found.count() == 0) == (why_left_out(name) is not None)
    assert "book" in name or not found.books


def test_every_reason_is_needed() -> None:
    names = captured_files(*FOLDERS)
    if not isinstance(names[0], str):
        pytest.skip(f"no fixtures in {FIXTURES}; name their folder in SURVEILLANCE_SHARED")
    used = {why_left_out(name) for name in names}
    assert set(NEITHER_LISTING_NOR_FRAME.values()) <= used


@pytest.mark.parametrize(
    "name", captured_files("polymarket/gamma", "polymarket/clob", "kalshi/rest")
)
def test_a_listing_is_kept_as_it_is_or_set_aside_with_a_reason(name: str) -> None:
    held_here = held(name)
    found = _discover(name, held_here)
    assert found.seen == len(held_here.listed)
    assert len(found.markets) + found.set_aside.total() == found.seen
    assert all(REASON.fullmatch(reason) for reason in found.set_aside)
    assert set(found.oddities) <= (KALSHI_ODDITIES if name.startswith("kalshi/") else set())
    places = [(market, event) for event in held_here.events for market in event.get("markets", [])]
    places += [(market, None) for market in held_here.markets]
    key = "ticker" if name.startswith("kalshi/") else "conditionId"
    listed = {raw[key]: (raw, event) for raw, event in reversed(places) if key in raw}
    check = readings.kalshi_market if key == "ticker" else readings.polymarket_market
    for market in found.markets:
        check(market, *listed[market.market_id])
    published = decode_universe(encode_universe(found.markets), name)
    assert published == sorted(found.markets, key=lambda market: market.market_id)


@pytest.mark.parametrize(
    "name", captured_files("polymarket/clob", "kalshi/rest", containing="book")
)
def test_a_book_by_rest_is_the_one_that_its_frame_would_make(name: str) -> None:
    books = held(name).books
    assert books
    for frame in books:
        text = json.dumps(frame)
        if name.startswith("kalshi/"):
            kalshi = KalshiChannel()
            kalshi.follow(kalshi.assets_named(text))
            asset, read = frame["msg"]["market_ticker"], readings.kalshi_reading
            events = kalshi.receive(text, 1)
            state = kalshi.states[asset]
        else:
            polymarket = PolymarketChannel()
            asset, read = frame["asset_id"], readings.polymarket_reading
            polymarket.follow([AssetTerms(market_id=frame["market"], asset_id=asset, tick=100)])
            events = polymarket.receive(text, 1)
            state = polymarket.states[asset]
        if "timestamp" not in frame and name.startswith("polymarket/"):
            # from before books had a time; the socket's always do
            assert [e.reason for e in events if isinstance(e, Rejected)] == ["malformed_book"]
            continue
        assert not [event for event in events if isinstance(event, Rejected)]
        assert state.opened
        assert state.book == read({asset: OrderBook()}, text)[asset]


@pytest.mark.parametrize("name", captured_files("polymarket/ws", "captures/polymarket"))
def test_every_polymarket_frame_is_counted_and_its_books_are_as_read(name: str) -> None:
    accounted = seen = 0
    for connection in held(name).connections:
        channel = PolymarketChannel()
        assets = {asset for frame in connection for asset in _assets(json.loads(frame))}
        channel.follow(AssetTerms(market_id="m", asset_id=asset, tick=100) for asset in assets)
        books = {asset: OrderBook() for asset in assets}
        events: list[ChannelEvent] = []
        for at, frame in enumerate(connection):
            seen += len(readings.elements(frame) or [])
            events += channel.receive(frame, at)
            books = readings.polymarket_reading(books, frame)
        events += channel.settle(len(connection) + 1)
        reasons = Counter(event.reason for event in events if isinstance(event, Rejected))
        assert set(reasons) <= set(OLD_OR_HAND_MADE)
        # a frame that names its type is counted under it, whether or not it can be used
        accounted += channel.messages.total() + reasons["no_event_type"]
        for asset, state in channel.states.items():
            if state.opened and state.trust is not Trust.DIVERGED:
                assert state.book == books[asset], asset
    assert accounted == seen > 0


@pytest.mark.parametrize("name", captured_files("kalshi/ws", "captures/kalshi"))
def test_every_kalshi_frame_is_counted_by_its_type(name: str) -> None:
    types, counted = Counter[str](), Counter[str]()
    for connection in held(name).connections:
        channel = KalshiChannel()
        for at, frame in enumerate(connection):
            kind = json.loads(frame)["type"]
            types[kind] += 1
            named = channel.assets_named(frame)
            channel.follow(terms for terms in named if terms.asset_id not in channel.states)
            rejected = [e.reason for e in channel.receive(frame, at) if isinstance(e, Rejected)]
            assert set(rejected) <= {"unknown_type"}, frame
        channel.settle(len(connection) + 1)
        counted += channel.messages
        assert channel.sequence.gaps == 0
    assert counted == types


@pytest.mark.parametrize("name", captured_files(*FOLDERS))
def test_every_file_through_every_other_door_is_set_aside_by_count(name: str) -> None:
    """A page of another venue, a frame for a listing and the reverse: nothing of it is fatal."""
    for value in values(name)[:200]:
        gamma, kalshi = GammaReader(NOW), KalshiReader(NOW)
        page: list[object] = value if isinstance(value, list) else [value]
        gamma.read_page(page)
        gamma.read_market(value, None)
        kalshi.terms.read_series(page)
        kalshi.terms.read_incentives(page)
        kalshi.terms.read_status(value)
        kalshi.read_page(page)
        kalshi.read_market(value)
        for found in (gamma.found, kalshi.finish()):
            assert len(found.markets) + found.set_aside.total() == found.seen > 0
        text = json.dumps(value)
        for channel in (PolymarketChannel(), KalshiChannel()):
            events = channel.receive(text, 1)
            assert channel.messages.total() + len(events) + channel.ignored.total() > 0


def _assets(value: Json | list[Json]) -> set[str]:
    if isinstance(value, list):
        return {asset for item in value for asset in _assets(item)}
    named = {value["asset_id"]} if isinstance(value.get("asset_id"), str) else set[str]()
    return named.union(*(_assets(change) for change in value.get("price_changes", [])))
