"""Other libraries' order books behind the same frames: decode and apply, nothing else.

order-book (C) with orjson and float keys, its fastest form; cryptofeed's ``OrderBook`` with the
standard library's JSON and ``Decimal``, as its own exchange handlers are written. Neither checks
hashes, tops, sizes or prices.
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
    return _receiver(books, orjson.loads, float)


def cryptofeed_receiver(stream: Stream) -> Receive | None:
    """The book of cryptofeed, or None where it is not installed."""
    types = import_peer("cryptofeed.types")
    if types is None:
        return None
    wrapped = {
        terms.asset_id: types.OrderBook("POLYMARKET", terms.asset_id) for terms in stream.assets
    }
    books = {asset_id: wrapper.book for asset_id, wrapper in wrapped.items()}
    receive = _receiver(books, lambda frame: json.loads(frame, parse_float=Decimal), Decimal)

    def keep(frame: bytes) -> None:
        receive(frame)

    keep.__dict__["owners"] = wrapped  # the inner books live as long as their owners
    return keep


def _receiver(
    books: dict[str, Any], loads: Callable[[bytes], Any], number: Callable[[str], Any]
) -> Receive:
    def apply(message: dict[str, Any]) -> None:
        kind = message["event_type"]
        if kind == "price_change":
            for change in message["price_changes"]:
                book = books[change["asset_id"]]
                side = book.bids if change["side"] == "BUY" else book.asks
                price, size = number(change["price"]), number(change["size"])
                if size:
                    side[price] = size
                elif price in side:
                    del side[price]
        elif kind == "book":
            book = books[message["asset_id"]]
            book.bids = {number(at["price"]): number(at["size"]) for at in message["bids"]}
            book.asks = {number(at["price"]): number(at["size"]) for at in message["asks"]}

    def receive(frame: bytes) -> None:
        decoded = loads(frame)
        if isinstance(decoded, list):
            for message in cast("list[dict[str, Any]]", decoded):
                apply(message)
        else:
            apply(decoded)

    return receive
