"""nautilus_trader's books behind the same Polymarket frames, the way its own adapter feeds them.

msgspec structs with every number a text, an instrument id spelled and parsed for each change, an
``OrderBookDelta`` a level into the Rust book, a ``TradeTick`` a print; a full book is a new one,
cleared and filled. Its cache, clock and message bus are left out, in its favour. The adapter's own
package cannot be imported without a trading client, so its messages are declared here.
"""

from __future__ import annotations

import uuid
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec

from benchmarks.harness import import_peer
from benchmarks.peer_books import Receive, each_message
from benchmarks.polymarket_frames import Stream
from surveillance_core.books import SPELLING


class _Side(Enum):
    BUY = "BUY"
    SELL = "SELL"


class _Level(msgspec.Struct, frozen=True):
    price: str
    size: str


class _Change(msgspec.Struct, frozen=True):
    asset_id: str
    price: str
    side: _Side
    size: str
    hash: str
    best_bid: str
    best_ask: str


class _Book(msgspec.Struct, tag="book", tag_field="event_type", frozen=True):
    market: str
    asset_id: str
    bids: list[_Level]
    asks: list[_Level]
    timestamp: str


class _Changes(msgspec.Struct, tag="price_change", tag_field="event_type", frozen=True):
    market: str
    price_changes: list[_Change]
    timestamp: str


class _Print(msgspec.Struct, tag="last_trade_price", tag_field="event_type", frozen=True):
    market: str
    asset_id: str
    fee_rate_bps: str
    price: str
    side: _Side
    size: str
    timestamp: str


_Message = _Book | _Changes | _Print
_decode = msgspec.json.Decoder(_Message | list[_Message]).decode


def nautilus_receiver(stream: Stream) -> Receive | None:
    """nautilus_trader's books, or None where it is not installed."""
    books, data = (
        import_peer("nautilus_trader.model.book"),
        import_peer("nautilus_trader.model.data"),
    )
    if books is None or data is None:
        return None
    return each_message(_decode, _Feed(stream, books, data).apply)


class _Feed:
    def __init__(self, stream: Stream, books: Any, data: Any) -> None:
        self._data = data
        self._enums: Any = import_peer("nautilus_trader.model.enums")
        self._ids: Any = import_peer("nautilus_trader.model.identifiers")
        made = [
            self._instrument(self._id(terms.market_id, terms.asset_id), terms.tick)
            for terms in stream.assets
        ]
        self._instruments = {instrument.id: instrument for instrument in made}
        self._order_book: Any = books.OrderBook
        self._books = {key: self._new_book(key) for key in self._instruments}

    def _new_book(self, key: Any) -> Any:
        return self._order_book(key, book_type=self._enums.BookType.L2_MBP)

    def apply(self, message: _Message) -> None:
        if isinstance(message, _Changes):
            self._change(message)
        elif isinstance(message, _Book):
            self._replace(message)
        else:
            self._print(message)

    def _change(self, message: _Changes) -> None:
        data, enums = self._data, self._enums
        for change in message.price_changes:
            instrument = self._instruments[self._id(message.market, change.asset_id)]
            side = enums.OrderSide.BUY if change.side == _Side.BUY else enums.OrderSide.SELL
            order = self._order(instrument, side, change)
            action = enums.BookAction.UPDATE if order.size > 0 else enums.BookAction.DELETE
            delta = self._delta(instrument, action, order, message.timestamp)
            self._books[instrument.id].apply(data.OrderBookDeltas(instrument.id, [delta]))

    def _replace(self, message: _Book) -> None:
        data, enums = self._data, self._enums
        instrument = self._instruments[self._id(message.market, message.asset_id)]
        ts_event = int(message.timestamp) * 1_000_000
        deltas = [data.OrderBookDelta.clear(instrument.id, 0, ts_event, 0)]
        sides = ((enums.OrderSide.BUY, message.bids), (enums.OrderSide.SELL, message.asks))
        for side, levels in sides:
            for level in levels:
                order = self._order(instrument, side, level)
                deltas.append(
                    self._delta(instrument, enums.BookAction.ADD, order, message.timestamp)
                )
        book = self._new_book(instrument.id)
        book.apply_deltas(data.OrderBookDeltas(instrument.id, deltas))
        self._books[instrument.id] = book

    def _print(self, message: _Print) -> None:
        instrument = self._instruments[self._id(message.market, message.asset_id)]
        sides = self._enums.AggressorSide
        self._data.TradeTick(
            instrument_id=instrument.id,
            price=instrument.make_price(float(message.price)),
            size=instrument.make_qty(float(message.size)),
            aggressor_side=sides.BUYER if message.side == _Side.BUY else sides.SELLER,
            trade_id=self._ids.TradeId(str(uuid.uuid4())),
            ts_event=int(message.timestamp) * 1_000_000,
            ts_init=0,
        )

    def _order(self, instrument: Any, side: Any, level: _Level | _Change) -> Any:
        return self._data.BookOrder(
            side=side,
            price=instrument.make_price(float(level.price)),
            size=instrument.make_qty(float(level.size)),
            order_id=0,
        )

    def _delta(self, instrument: Any, action: Any, order: Any, timestamp: str) -> Any:
        return self._data.OrderBookDelta(
            instrument_id=instrument.id,
            action=action,
            order=order,
            flags=self._enums.RecordFlag.F_LAST,
            sequence=0,
            ts_event=int(timestamp) * 1_000_000,
            ts_init=0,
        )

    def _id(self, market_id: str, asset_id: str) -> Any:
        return self._ids.InstrumentId.from_str(f"{market_id}-{asset_id}.POLYMARKET")

    def _instrument(self, instrument_id: Any, tick: int) -> Any:
        instruments: Any = import_peer("nautilus_trader.model.instruments")
        currencies: Any = import_peer("nautilus_trader.model.currencies")
        objects: Any = import_peer("nautilus_trader.model.objects")
        step = objects.Price.from_str(SPELLING[tick])
        return instruments.BinaryOption(
            instrument_id=instrument_id,
            raw_symbol=instrument_id.symbol,
            asset_class=self._enums.AssetClass.ALTERNATIVE,
            currency=currencies.USDC,
            price_precision=step.precision,
            size_precision=6,
            price_increment=step,
            size_increment=objects.Quantity.from_str("0.000001"),
            activation_ns=0,
            expiration_ns=0,
            ts_event=0,
            ts_init=0,
            maker_fee=Decimal(0),
            taker_fee=Decimal(0),
        )
