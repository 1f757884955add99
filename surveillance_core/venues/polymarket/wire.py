"""The market channel's messages, as bytes on the wire and as typed values.

Facts: reference polymarket.md 3. A frame holds one object or an array of them; every number is a
string; unknown members are ignored and unknown types are reported by name. Only the members that
something here reads are declared: the decoder skips the rest.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from surveillance_core.venues.protocols import LATEST_MS, Echo

ASSETS_A_FRAME = 100
"""Ids in one subscribe frame; a frame of thousands closes the connection (reference 3.2)."""

PING = "PING"
_PONG = "PONG"
CONTROL_TEXTS = frozenset({_PONG, PING, "INVALID OPERATION", "NO NEW ASSETS"})
"""Text frames that are not JSON and mean no harm."""


def _is_pong(frame: bytes | str) -> bool:
    return frame in (_PONG, _PONG.encode())


ECHO = Echo(PING, _is_pong)

SIZE_LIMIT = 1e12
"""Contracts that no order holds: beyond it a size is no size, and sums of sizes stay finite."""

Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=LATEST_MS)]
"""Since the epoch, as far as the lake's timestamps go."""


class Level(msgspec.Struct, gc=False):
    """Absolute size at one price."""

    price: str
    size: float


class LevelChange(msgspec.Struct, gc=False):
    """New absolute size at one price of one asset; ``hash`` is the whole resulting book's."""

    asset_id: str
    price: str
    size: float
    side: Literal["BUY", "SELL"]
    hash: str = ""


class BookMessage(msgspec.Struct, tag_field="event_type", tag="book", gc=False):
    """A full book: the initial dump, a resubscription, or the state after a trade."""

    asset_id: str
    timestamp: Milliseconds
    hash: str
    bids: list[Level]
    asks: list[Level]
    tick_size: str | None = None
    last_trade_price: str | None = None


class PriceChanges(msgspec.Struct, tag_field="event_type", tag="price_change", gc=False):
    """Level changes of one market, usually of both its tokens."""

    timestamp: Milliseconds
    price_changes: list[LevelChange]


class LastTradePrice(msgspec.Struct, tag_field="event_type", tag="last_trade_price", gc=False):
    """A print; ``side`` is the taker's, on that asset."""

    asset_id: str
    price: str
    size: float
    side: Literal["BUY", "SELL", ""]
    timestamp: Milliseconds
    fee_rate_bps: str | None = None
    transaction_hash: str | None = None


class TickSizeChange(msgspec.Struct, tag_field="event_type", tag="tick_size_change", gc=False):
    """A new price grid, sent when a price passes 0.96 or 0.04."""

    asset_id: str
    old_tick_size: str
    new_tick_size: str
    timestamp: Milliseconds


class BestBidAsk(msgspec.Struct, tag_field="event_type", tag="best_bid_ask", gc=False):
    """Top of book; sent before its change, intermittent, sometimes wrong: counted, not used."""


class NewMarket(msgspec.Struct, tag_field="event_type", tag="new_market", gc=False):
    """A listing; sent to every connection, repeated."""

    market: str
    timestamp: Milliseconds
    assets_ids: list[str] = []
    question: str = ""


class ResolvedMarket(msgspec.Struct, tag_field="event_type", tag="market_resolved", gc=False):
    """A resolution; sent to every connection, repeated."""

    market: str
    timestamp: Milliseconds
    winning_asset_id: str = ""
    winning_outcome: str = ""


Message = (
    BookMessage
    | PriceChanges
    | LastTradePrice
    | TickSizeChange
    | BestBidAsk
    | NewMarket
    | ResolvedMarket
)

MESSAGE_TYPES: dict[str, type[Message]] = {
    "book": BookMessage,
    "price_change": PriceChanges,
    "last_trade_price": LastTradePrice,
    "tick_size_change": TickSizeChange,
    "best_bid_ask": BestBidAsk,
    "new_market": NewMarket,
    "market_resolved": ResolvedMarket,
}
TYPE_NAMES: dict[type, str] = {kind: name for name, kind in MESSAGE_TYPES.items()}

UNREAD = (msgspec.DecodeError, RecursionError, UnicodeError)
"""What a decoder raises on a frame that is not what it reads."""

# strict=False turns the wire's numbers-in-strings into numbers in C; it also admits "nan" and
# "inf", so whoever uses a size guards it with 0 <= size < SIZE_LIMIT
decode_frame = msgspec.json.Decoder(Message | list[Message], strict=False).decode


class PlainChanges(msgspec.Struct, gc=False):
    """A ``price_change`` decoded without a choice among types.

    The type is a member like the others: a tag may be missing where there is no choice to make.
    """

    event_type: Literal["price_change"]
    timestamp: Milliseconds
    price_changes: list[LevelChange]
    asset_id: None = None
    """What other types have here, before anything long: they are refused at once."""


# the type stands last on the wire, so a decoder that has to choose by it reads a message twice;
# this one reads a ``price_change`` once, and refuses whatever else a frame holds
decode_changes = msgspec.json.Decoder(PlainChanges, strict=False).decode


CHANGES_END = (ord("g"), "g")
"""Fourth from the end of a frame that holds one ``price_change``, of bytes or of text, as the venue
writes it: the type stands last."""
CHANGES_START = (ord("e"), "e")
"""Third from the start of one in recordings that were sorted by member: the type stands first."""


class StatedChange(msgspec.Struct, gc=False):
    """What a change says beside its level: the top of the whole resulting book."""

    asset_id: str = ""
    price: str = ""
    hash: str = ""
    best_bid: str = ""
    best_ask: str = ""


class StatedChanges(msgspec.Struct, gc=False):
    """A message read for what its changes state; other types than ``price_change`` have none."""

    timestamp: int = 0
    price_changes: list[StatedChange] = []


_decode_stated = msgspec.json.Decoder(StatedChanges | list[StatedChanges], strict=False).decode


def stated_changes(frame: bytes | str) -> list[StatedChanges]:
    """The frame's messages once more, for what is hardly ever asked of one; none if malformed."""
    try:
        stated: StatedChanges | list[StatedChanges] = _decode_stated(frame)
    except UNREAD:
        return []
    return stated if isinstance(stated, list) else [stated]


def convert_message(value: object, kind: type[Message]) -> Message:
    """One message from parsed JSON; raises ``msgspec.ValidationError`` naming the member."""
    return msgspec.convert(value, kind, strict=False)
