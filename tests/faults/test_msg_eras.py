"""MSG-03: what the venues sent in every era that is captured or documented (peers.md 1.5)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from surveillance_core.books import OrderBook
from surveillance_core.venues.kalshi.channel import KalshiChannel
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.protocols import AssetTerms, Rejected
from tests.wire import readings
from tests.wire.captured import FIXTURES, held
from tests.wire.test_damaged_frames import needs_captures

from .matrix import Trial

Json = dict[str, Any]
PRIVATE_OR_NEW = (
    "cfbenchmarks_value", "cfbenchmarks_value_indexlist", "pyth_value",
    "pyth_value_underlying_list", "fill", "multivariate_market_lifecycle", "multivariate_lookup",
    "market_position", "order_group_updates", "user_order", "rfq_created", "rfq_deleted",
    "quote_created", "quote_accepted", "quote_executed",
)  # fmt: skip
"""Types of Kalshi's specification that the collector never asks for."""

REFUSED: dict[str, Counter[str]] = {
    # quoted without their type
    "polymarket/ws/nautilus_ws_quotes.json": Counter(no_event_type=1),
    "polymarket/ws/polypy_ws_book_2024-11.json": Counter(no_event_type=1),
    "kalshi/ws/spec_examples_2026-07-21.jsonl": Counter(unknown_type=len(PRIVATE_OR_NEW)),
}
"""What of a corpus is refused, and why; of all others nothing."""
KALSHI_BOOKS = "kalshi/ws/kxbtc_orderbook_8mkts_2026-04-18.jsonl"
POLYMARKET_BOOKS = "polymarket/ws/seq_2026-08-15_btc5m_continuous.jsonl"


def _follow(channel: PolymarketChannel | KalshiChannel, frame: str) -> None:
    """Follow whatever a frame is about and was not followed."""
    if isinstance(channel, KalshiChannel):
        named = channel.assets_named(frame)
    else:
        named = [
            AssetTerms(market_id="m", asset_id=asset, tick=100)
            for message in readings.elements(frame) or []
            for part in (message, *message.get("price_changes", ()))
            if isinstance(asset := part.get("asset_id"), str)
        ]
    channel.follow(terms for terms in named if terms.asset_id not in channel.states)


def _refused(name: str) -> tuple[Counter[str], int, int]:
    """Refusals of a corpus by reason, messages counted by type, and messages there are."""
    refused, told, there = Counter[str](), 0, 0
    for connection in held(name).connections:
        channel = KalshiChannel() if name.startswith("kalshi") else PolymarketChannel()
        for number, frame in enumerate(connection):
            there += len(readings.elements(frame) or [])
            _follow(channel, frame)
            events = channel.receive(frame, number * 1_000_000_000)
            refused.update(event.reason for event in events if isinstance(event, Rejected))
        told += channel.messages.total()
    return refused, told, there


# ── eras of which nothing is captured: today's frames in their spelling ──────────────────────


def _cents(price: str) -> int:
    return round(float(price) * 100)


def _kalshi_legacy(message: Json) -> Json:
    """Until January 2026: cents and whole contracts, under names of their own."""
    body = message["msg"]
    if message["type"] == "orderbook_snapshot":
        sides = {
            side: [[_cents(price), round(float(size))] for price, size in body.get(name) or ()]
            for side, name in (("yes", "yes_dollars_fp"), ("no", "no_dollars_fp"))
        }
        body = {"market_ticker": body["market_ticker"]} | sides
    elif message["type"] == "orderbook_delta":
        delta = round(float(body["delta_fp"]))
        body = {key: body[key] for key in ("market_ticker", "side", "ts") if key in body}
        body |= {"price": _cents(message["msg"]["price_dollars"]), "delta": delta}
    return message | {"msg": body}


def _kalshi_dollars(message: Json) -> Json:
    """2025: dollars beside the cents, contracts still whole."""
    body, legacy = message["msg"], _kalshi_legacy(message)["msg"]
    if message["type"] == "orderbook_snapshot":
        for side in ("yes", "no"):
            levels = body.get(f"{side}_dollars_fp") or ()
            legacy[f"{side}_dollars"] = [[price, round(float(size))] for price, size in levels]
    elif message["type"] == "orderbook_delta":
        legacy["price_dollars"] = body["price_dollars"]
    return message | {"msg": legacy}


def _kalshi_zeroes(message: Json) -> Json:
    """March 2026: the old names are still there, some of them 0."""
    body = message["msg"]
    if message["type"] == "orderbook_snapshot":
        body = body | {"yes": [], "no": []}
    elif message["type"] == "orderbook_delta":
        body = body | {"price": 0, "delta": 0}
    return message | {"msg": body}


def _polymarket_changes(message: Json) -> list[Json]:
    """Until September 2025: a message for each asset, its levels under ``changes``."""
    if "price_changes" not in message:
        return [message]
    by_asset: dict[str, list[Json]] = {}
    for change in message["price_changes"]:
        by_asset.setdefault(change["asset_id"], []).append(change)
    return [
        {
            "event_type": "price_change", "asset_id": asset, "market": message["market"],
            "changes": [{key: c[key] for key in ("price", "size", "side")} for c in changes],
            "timestamp": message["timestamp"], "hash": changes[-1]["hash"],
        }
        for asset, changes in by_asset.items()
    ]  # fmt: skip


def _kalshi_books(respell: Callable[[Json], Json]) -> dict[str, OrderBook]:
    channel = KalshiChannel()
    for number, frame in enumerate(held(KALSHI_BOOKS).frames):
        _follow(channel, frame)
        message = json.loads(frame)
        if message["type"] in ("orderbook_snapshot", "orderbook_delta"):
            message = respell(message)
        events = channel.receive(json.dumps(message), number * 1_000_000_000)
        assert not [event for event in events if isinstance(event, Rejected)]
    return {asset: state.book for asset, state in channel.states.items() if state.opened}


def _whole(book: OrderBook) -> OrderBook:
    """The book as whole cents and contracts tell it."""
    return OrderBook(
        {round(tick / 100) * 100: float(round(size)) for tick, size in book.bids.items()},
        {round(tick / 100) * 100: float(round(size)) for tick, size in book.asks.items()},
    )


def _polymarket_books(respell: Callable[[Json], list[Json]]) -> dict[str, OrderBook]:
    channel = PolymarketChannel()
    for number, frame in enumerate(held(POLYMARKET_BOOKS).frames):
        _follow(channel, frame)
        for message in readings.elements(frame) or []:
            for told in respell(message):
                events = channel.receive(json.dumps(told), number * 1_000_000_000)
                assert not [event for event in events if isinstance(event, Rejected)]
    return {asset: state.book for asset, state in channel.states.items() if state.opened}


@needs_captures
@pytest.mark.fault("MSG-03")
def test_every_corpus_is_read_or_refused_for_the_right_reason(trial: Trial) -> None:
    names = [
        f"{venue}/ws/{path.name}"
        for venue in ("polymarket", "kalshi")
        for path in sorted((FIXTURES / venue / "ws").iterdir())
    ]
    assert set(REFUSED) <= set(names)
    messages = 0
    for name in names:
        with trial.case(name):
            refused, told, there = _refused(name)
            assert refused == REFUSED.get(name, Counter())
            # what names its type is counted under it, whether or not it is used
            assert told + refused["no_event_type"] == there > 0
            messages += there
    trial.notes.append(f"{len(names)} corpora, {messages:,} messages")


@needs_captures
@pytest.mark.fault("MSG-03")
def test_the_books_are_the_same_in_the_spelling_of_every_era(trial: Trial) -> None:
    kalshi = _kalshi_books(lambda message: message)
    assert len(kalshi) == 8
    eras: dict[str, Callable[[Json], Json]] = {
        "Kalshi, cents and whole contracts": _kalshi_legacy,
        "Kalshi, dollars and whole contracts": _kalshi_dollars,
        "Kalshi, old names with zeroes": _kalshi_zeroes,
    }
    for era, respell in eras.items():
        with trial.case(era):
            whole = respell is not _kalshi_zeroes
            expected = {name: _whole(book) if whole else book for name, book in kalshi.items()}
            assert _kalshi_books(respell) == expected
    with trial.case("Polymarket, a message an asset"):
        today = _polymarket_books(lambda message: [message])
        assert today
        assert _polymarket_books(_polymarket_changes) == today
