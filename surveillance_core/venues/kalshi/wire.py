"""The WebSocket's messages, as text on the wire and as typed values, and the commands sent.

Facts: reference kalshi.md 3 and 4. A frame is ``{"type", "sid", "seq"?, "msg"}``; numbers are
decimal strings today and were integer cents and contracts before 2026-03-12, with a transition that
sent both. The newest spelling present wins. Only the members that something here reads are
declared: the decoder skips the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Literal, cast, final

import msgspec

from surveillance_core.venues.protocols import Echo

MARKETS_A_COMMAND = 400
"""Tickers in one command; the venue's own limit (error 26) is not published."""

BOOK_CHANNEL = "orderbook_delta"
CHANNELS = (BOOK_CHANNEL, "trade")
"""What is subscribed for each market."""
LIFECYCLE_CHANNEL = "market_lifecycle_v2"

TERMINAL_ERRORS = {10: "channel_error", 25: "buffer_overflow"}
"""Errors after which a stream sends nothing more (reference kalshi.md 3)."""

_ECHO_ID = 1_000_000_000
"""Above what any other command is numbered by."""


def _is_echo(frame: bytes | str) -> bool:
    text = frame if isinstance(frame, bytes) else frame.encode("utf-8", "surrogatepass")
    return str(_ECHO_ID).encode() in text[:64]


ECHO = Echo(
    f'{{"id":{_ECHO_ID},"cmd":"list_subscriptions"}}',
    _is_echo,
)

Numbering = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
"""A stream or a place in it."""
MOST_CONTRACTS = 1e11
"""Beyond this a float no longer holds a size to the ten-thousandth."""

DollarLevel = tuple[str, float]
CentLevel = tuple[int, int]


class SnapshotBody(msgspec.Struct, gc=False):
    """A whole book: bids of both sides, worst to best; a side without bids is absent."""

    market_ticker: str
    yes_dollars_fp: list[DollarLevel] | None = None
    no_dollars_fp: list[DollarLevel] | None = None
    yes_dollars: list[DollarLevel] | None = None
    no_dollars: list[DollarLevel] | None = None
    yes: list[CentLevel] | None = None
    no: list[CentLevel] | None = None


class DeltaBody(msgspec.Struct, gc=False):
    """A signed change of the size resting at one price of one side."""

    market_ticker: str
    side: Literal["yes", "no"]
    price_dollars: str | None = None
    delta_fp: float | None = None
    price: int | None = None
    delta: int | None = None
    ts: str | int | None = None
    """RFC 3339 with microseconds; changes of one engine event have the same."""
    ts_ms: int | None = None


class TradeBody(msgspec.Struct, gc=False):
    """A print, with both sides' prices and the taker's side up to three times."""

    market_ticker: str
    trade_id: str | None = None
    yes_price_dollars: str | None = None
    no_price_dollars: str | None = None
    count_fp: float | None = None
    yes_price: int | None = None
    no_price: int | None = None
    count: int | None = None
    taker_outcome_side: Literal["yes", "no", ""] | None = None
    taker_book_side: Literal["bid", "ask", ""] | None = None
    taker_side: Literal["yes", "no", ""] | None = None
    is_block_trade: bool | None = None
    ts: str | int | None = None
    ts_ms: int | None = None


class TickerBody(msgspec.Struct, gc=False):
    """The venue's own top of book; not synchronised with the book's channel."""

    market_ticker: str
    yes_bid_dollars: str | None = None
    yes_ask_dollars: str | None = None
    yes_bid_size_fp: float | None = None


class PriceRange(msgspec.Struct, gc=False):
    """A stretch of prices and the step of the grid in it."""

    step: str


class ListingTerms(msgspec.Struct, gc=False):
    """What the venue says of a new market."""

    title: str = ""


class LifecycleBody(msgspec.Struct, gc=False):
    """What happened to a market; each kind of event has members of its own."""

    market_ticker: str
    event_type: str = ""
    price_ranges: list[PriceRange] | None = None
    additional_metadata: ListingTerms | None = None
    result: str | None = None
    determination_ts: int | None = None
    settled_ts: int | str | None = None
    close_ts: int | str | None = None


class SubscribedBody(msgspec.Struct, gc=False):
    """Which stream a channel got."""

    channel: str
    sid: Numbering


class ErrorBody(msgspec.Struct, gc=False):
    """Why a command failed or a stream ended."""

    code: int = 0
    msg: str = ""


class _Frame(msgspec.Struct, tag_field="type", gc=False):
    sid: Numbering | None = None
    seq: Numbering | None = None


class Snapshot(_Frame, tag="orderbook_snapshot", kw_only=True, gc=False):
    """A whole book, which replaces whatever was known."""

    msg: SnapshotBody
    sending_ts_ms: int | None = None
    """When the venue sent it, milliseconds: the only time of its own that a snapshot has. Other
    frames may say it too, beside a better one, and are not read for it."""


class Delta(_Frame, tag="orderbook_delta", kw_only=True, gc=False):
    """A change of one level."""

    msg: DeltaBody


class TradeMessage(_Frame, tag="trade", kw_only=True, gc=False):
    """A print."""

    msg: TradeBody


class Ticker(_Frame, tag="ticker", kw_only=True, gc=False):
    """Top of book; carries no sequence number."""

    msg: TickerBody


class Lifecycle(_Frame, tag="market_lifecycle_v2", kw_only=True, gc=False):
    """A market's life."""

    msg: LifecycleBody


class Subscribed(_Frame, tag="subscribed", kw_only=True, gc=False):
    """A stream begins; its first frame has the number 1."""

    msg: SubscribedBody


class Ok(_Frame, tag="ok", kw_only=True, gc=False):
    """A command was done; ``msg`` may list every market the stream now has."""

    msg: msgspec.Raw = msgspec.Raw(b"{}")


class Unsubscribed(_Frame, tag="unsubscribed", kw_only=True, gc=False):
    """A stream ended as asked."""


class ErrorMessage(_Frame, tag="error", kw_only=True, gc=False):
    """A command failed, or a stream ended by itself."""

    msg: ErrorBody = msgspec.field(default_factory=ErrorBody)


Message = (
    Snapshot
    | Delta
    | TradeMessage
    | Ticker
    | Lifecycle
    | Subscribed
    | Ok
    | Unsubscribed
    | ErrorMessage
)

MESSAGE_TYPES: dict[str, type[Message]] = {
    "orderbook_snapshot": Snapshot,
    "orderbook_delta": Delta,
    "trade": TradeMessage,
    "ticker": Ticker,
    "market_lifecycle_v2": Lifecycle,
    "subscribed": Subscribed,
    "ok": Ok,
    "unsubscribed": Unsubscribed,
    "error": ErrorMessage,
}
TYPE_NAMES: dict[type, str] = {kind: name for name, kind in MESSAGE_TYPES.items()}

TOLERATED_TYPES = frozenset({"event_lifecycle", "event_fee_update"})
"""Known types that ride on a channel that may be subscribed; counted, not used."""

UNREAD = (msgspec.DecodeError, RecursionError, UnicodeError)
"""What a decoder raises on a frame that is not what it reads."""

# strict=False turns the wire's numbers-in-strings into numbers in C; it also admits "nan" and
# "inf", so whoever uses a size passes it through ``units_of``
decode_frame = msgspec.json.Decoder(Message, strict=False).decode


class PlainDeltaBody(msgspec.Struct, gc=False):
    """A change in today's spelling, every member there; see ``stamp_of`` for its time."""

    market_ticker: str
    price_dollars: str
    delta_fp: float
    side: Literal["yes", "no"]


@final
class PlainDelta(msgspec.Struct, tag_field="type", tag="orderbook_delta", gc=False):
    """The commonest frame by far, without a choice among spellings.

    Its numbers have no bounds of their own: for a use that compares them, and what becomes of a
    level, with ones that are known.
    """

    sid: int
    seq: int
    msg: PlainDeltaBody


OtherMessage = (
    Snapshot | TradeMessage | Ticker | Lifecycle | Subscribed | Ok | Unsubscribed | ErrorMessage
)

# refuses a change in an older spelling, which ``decode_frame`` reads too
decode_plain: Callable[[bytes | str], PlainDelta | OtherMessage] = msgspec.json.Decoder(
    PlainDelta | OtherMessage, strict=False
).decode


class _StampBody(msgspec.Struct, gc=False):
    ts: str | int | None = None
    ts_ms: int | None = None


class _Stamped(msgspec.Struct, gc=False):
    msg: _StampBody


_decode_stamped = msgspec.json.Decoder(_Stamped, strict=False).decode


def stamp_of(frame: bytes | str) -> tuple[str | int | None, int | None]:
    """A change's ``ts`` and ``ts_ms``; None for what it has not, or not as a time.

    Making the text of a time costs a tenth of reading a change, and hardly any is looked at.
    """
    try:
        body = _decode_stamped(frame).msg
    except UNREAD:
        return None, None
    return body.ts, body.ts_ms


def convert_message(value: object, kind: type[Message]) -> Message:
    """One message from parsed JSON; raises ``msgspec.ValidationError`` naming the member."""
    if kind is Ok:
        # a raw member cannot be converted from parsed JSON
        members = cast("dict[str, object]", {"msg": {}}) | cast("dict[str, object]", value)
        return msgspec.json.decode(msgspec.json.encode(members), type=Ok, strict=False)
    return msgspec.convert(value, kind, strict=False)


class Commands:
    """The frames a connection sends: their ids rise by one, from 1.

    ``use_yes_price`` is always said, since the venue will turn its default (reference kalshi.md 0,
    item 6); it has to be the channel's.
    """

    def __init__(self, *, use_yes_price: bool = False) -> None:
        self._use_yes_price = use_yes_price
        self._last_id = 0

    def subscribe(
        self, tickers: Sequence[str], channels: Sequence[str] = CHANNELS
    ) -> Iterator[str]:
        """Subscribe markets; a second one on the same channel adds to it."""
        for chunk in _chunks(tickers):
            yield self._frame(
                "subscribe",
                channels=list(channels),
                market_tickers=chunk,
                use_yes_price=self._use_yes_price,
                skip_ticker_ack=True,
            )

    def subscribe_lifecycle(self) -> Iterator[str]:
        """Subscribe what happens to every market; the venue has no filter for it."""
        yield self._frame("subscribe", channels=[LIFECYCLE_CHANNEL])

    def unsubscribe(self, sids: Sequence[int]) -> Iterator[str]:
        """End whole streams."""
        if sids:
            yield self._frame("unsubscribe", sids=list(sids))

    def delete_markets(self, sid: int, tickers: Sequence[str]) -> Iterator[str]:
        """Take markets out of one stream."""
        return self._update(sid, tickers, "delete_markets")

    def get_snapshot(self, sid: int, tickers: Sequence[str]) -> Iterator[str]:
        """Ask for whole books anew; for a stream of books only (else error 13)."""
        return self._update(sid, tickers, "get_snapshot")

    def _update(self, sid: int, tickers: Sequence[str], action: str) -> Iterator[str]:
        for chunk in _chunks(tickers):
            yield self._frame(
                "update_subscription", sids=[sid], market_tickers=chunk, action=action
            )

    def _frame(self, command: str, **params: object) -> str:
        self._last_id += 1
        frame = {"id": self._last_id, "cmd": command, "params": params}
        return msgspec.json.encode(frame).decode()


class _Listed(msgspec.Struct, gc=False):
    market_tickers: list[str] | None = None


_decode_listed = msgspec.json.Decoder(_Listed).decode


def listed_markets(message: Ok) -> frozenset[str] | None:
    """Every market the stream now has, None where the frame does not say."""
    try:
        tickers = _decode_listed(message.msg).market_tickers
    except UNREAD:
        return None
    return None if tickers is None else frozenset(tickers)


def _chunks(tickers: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(tickers), MARKETS_A_COMMAND):
        yield list(tickers[start : start + MARKETS_A_COMMAND])
