"""Other libraries' order books behind the same Polymarket frames: decode, apply, prints as trades.

order-book (C) with orjson and float keys, its fastest form; cryptofeed's ``OrderBook`` and
``Trade`` with the standard library's JSON and ``Decimal``, as its exchange handlers fill them.
Neither checks hashes, tops, sizes or prices, or knows of batches. nautilus_trader has a module of
its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any, cast

from benchmarks.harness import import_peer
from benchmarks.polymarket_frames import Stream

Receive = Callable[[bytes], None]


def order_book_receiver(stream: Stream) -> Receive | None:
    """order-book and orjson, or None where either is not installed."""
    library, orjson = import_peer("order_book"), import_peer("orjson")
    if library is None or orjson is None:
        return None
    books = {terms.asset_id: library.OrderBook() for terms in stream.assets}
    loads = orjson.loads

    def apply(message: dict[str, Any]) -> None:
        kind = message["event_type"]
        if kind == "price_change":
            for change in message["price_changes"]:
                book = books[change["asset_id"]]
                side = book.bids if change["side"] == "BUY" else book.asks
                price, size = float(change["price"]), float(change["size"])
                if size:
                    side[price] = size
                elif price in side:
                    del side[price]
        elif kind == "book":
            book = books[message["asset_id"]]
            book.bids = {float(at["price"]): float(at["size"]) for at in message["bids"]}
            book.asks = {float(at["price"]): float(at["size"]) for at in message["asks"]}

    return each_message(loads, apply)


def cryptofeed_receiver(stream: Stream) -> Receive | None:
    """The types of cryptofeed, or None where it is not installed."""
    types = import_peer("cryptofeed.types")
    if types is None:
        return None
    books = {
        terms.asset_id: types.OrderBook("POLYMARKET", terms.asset_id) for terms in stream.assets
    }

    def apply(message: dict[str, Any]) -> None:
        kind = message["event_type"]
        if kind == "price_change":
            deltas: dict[str, dict[str, list[tuple[Decimal, Decimal]]]] = {}
            for change in message["price_changes"]:
                asset_id = change["asset_id"]
                if asset_id not in deltas:
                    deltas[asset_id] = {"bid": [], "ask": []}
                side = "bid" if change["side"] == "BUY" else "ask"
                price, size = Decimal(change["price"]), Decimal(change["size"])
                levels = books[asset_id].book[side]
                if size:
                    levels[price] = size
                elif price in levels:
                    del levels[price]
                deltas[asset_id][side].append((price, size))
            timestamp = float(message["timestamp"]) / 1_000
            for asset_id, delta in deltas.items():
                book = books[asset_id]
                book.timestamp, book.raw, book.delta = timestamp, message, delta
        elif kind == "book":
            book = books[message["asset_id"]]
            for side in ("bids", "asks"):
                levels = {Decimal(at["price"]): Decimal(at["size"]) for at in message[side]}
                setattr(book.book, side, levels)
            book.timestamp, book.raw = float(message["timestamp"]) / 1_000, message
        elif kind == "last_trade_price":
            types.Trade(
                "POLYMARKET",
                message["asset_id"],
                "sell" if message["side"] == "SELL" else "buy",
                Decimal(message["size"]),
                Decimal(message["price"]),
                float(message["timestamp"]) / 1_000,
                id=message["transaction_hash"],
                raw=message,
            )

    return each_message(lambda frame: json.loads(frame, parse_float=Decimal), apply)


def each_message(decode: Callable[[bytes], Any], apply: Callable[[Any], None]) -> Receive:
    """Decode a frame and apply its message, or each of its messages."""

    def receive(frame: bytes) -> None:
        decoded = decode(frame)
        if isinstance(decoded, list):
            for message in cast("list[Any]", decoded):
                apply(message)
        else:
            apply(decoded)

    return receive
