"""Other libraries' order books behind the same Polymarket frames: decode, apply, prints as trades.

order-book (C) with orjson and float keys, its fastest form; cryptofeed's ``OrderBook`` and ``Trade``
with the standard library's JSON and ``Decimal``, as its exchange handlers fill them; nautilus_trader
through the messages of its own Polymarket adapter into its Rust books, without its cache and message
bus. None of them checks hashes, tops, sizes or prices, or knows of batches.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any, cast

import msgspec

from benchmarks.harness import import_peer
from benchmarks.polymarket_frames import Stream
from surveillance_core.books import SPELLING

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

    return _each(loads, apply)


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

    return _each(lambda frame: json.loads(frame, parse_float=Decimal), apply)


def nautilus_receiver(stream: Stream) -> Receive | None:
    """The Polymarket messages and books of nautilus_trader, or None where it is not installed."""
    schemas = import_peer("nautilus_trader.adapters.polymarket.schemas.book")
    symbol = import_peer("nautilus_trader.adapters.polymarket.common.symbol")
    model = import_peer("nautilus_trader.model")
    books = import_peer("nautilus_trader.model.book")
    data = import_peer("nautilus_trader.model.data")
    enums = import_peer("nautilus_trader.model.enums")
    if None in (schemas, symbol, model, books, data, enums):
        return None
    assert schemas and symbol and model and books and data and enums
    id_of = symbol.get_polymarket_instrument_id
    instruments = {
        (made := _binary_option(model, enums, id_of(terms.market_id, terms.asset_id), terms.tick)).id: (
            made
        )
        for terms in stream.assets
    }
    held = {key: books.OrderBook(key, book_type=enums.BookType.L2_MBP) for key in instruments}
    quotes = schemas.PolymarketQuotes
    snapshot = schemas.PolymarketBookSnapshot
    message_type = quotes | snapshot | schemas.PolymarketTrade
    decode = msgspec.json.Decoder(message_type | list[message_type]).decode
    buy, sell = enums.OrderSide.BUY, enums.OrderSide.SELL
    update, delete = enums.BookAction.UPDATE, enums.BookAction.DELETE
    last = enums.RecordFlag.F_LAST

    def apply(message: Any) -> None:
        if isinstance(message, quotes):
            for change in message.price_changes:
                instrument = instruments[id_of(message.market, change.asset_id)]
                order = data.BookOrder(
                    side=buy if change.side.value == "BUY" else sell,
                    price=instrument.make_price(float(change.price)),
                    size=instrument.make_qty(float(change.size)),
                    order_id=0,
                )
                delta = data.OrderBookDelta(
                    instrument_id=instrument.id,
                    action=update if order.size > 0 else delete,
                    order=order,
                    flags=last,
                    sequence=0,
                    ts_event=int(message.timestamp) * 1_000_000,
                    ts_init=0,
                )
                held[instrument.id].apply(data.OrderBookDeltas(instrument.id, [delta]))
            return
        instrument = instruments[id_of(message.market, message.asset_id)]
        if isinstance(message, snapshot):
            book = books.OrderBook(instrument.id, book_type=enums.BookType.L2_MBP)
            book.apply_deltas(message.parse_to_snapshot(instrument=instrument, ts_init=0))
            held[instrument.id] = book
        else:
            message.parse_to_trade_tick(instrument=instrument, ts_init=0)

    return _each(decode, apply)


def _binary_option(model: Any, enums: Any, instrument_id: Any, tick: int) -> Any:
    instruments = import_peer("nautilus_trader.model.instruments")
    currencies = import_peer("nautilus_trader.model.currencies")
    assert instruments and currencies
    step = model.Price.from_str(SPELLING[tick])
    return instruments.BinaryOption(
        instrument_id=instrument_id,
        raw_symbol=instrument_id.symbol,
        asset_class=enums.AssetClass.ALTERNATIVE,
        currency=currencies.USDC,
        price_precision=step.precision,
        size_precision=6,
        price_increment=step,
        size_increment=model.Quantity.from_str("0.000001"),
        activation_ns=0,
        expiration_ns=0,
        ts_event=0,
        ts_init=0,
        maker_fee=Decimal(0),
        taker_fee=Decimal(0),
    )


def _each(decode: Callable[[bytes], Any], apply: Callable[[Any], None]) -> Receive:
    """Decode a frame and apply its message, or each of its messages."""

    def receive(frame: bytes) -> None:
        decoded = decode(frame)
        if isinstance(decoded, list):
            for message in cast("list[Any]", decoded):
                apply(message)
        else:
            apply(decoded)

    return receive
