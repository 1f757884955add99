"""What a venue must offer: typed values, and the interface of its market-data protocol.

The collector's engine and the discovery asset are written against this module alone; a new venue is
a folder that satisfies it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

import msgspec

from surveillance_core.books import BookState
from surveillance_core.markets import Market

BATCH_GAP_NS = 50_000_000
"""Silence after which a venue's batch is taken to be whole (polymarket.md 3.6)."""

LATEST_MS: Final = 253_402_300_799_999
"""The end of the year 9999, milliseconds: the last time that a row of the lake can be read as."""


class Side(StrEnum):
    """Which way the taker traded, in terms of the outcome named beside it."""

    BUY = "buy"
    SELL = "sell"


class AssetTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a market-data connection must know of an asset and the socket does not say."""

    market_id: str
    asset_id: str
    tick: int
    """Tick size in ticks of 0.0001 dollars."""
    primary: bool = True
    """Whether this outcome's book stands for the market."""
    mirror_id: str | None = None
    """The complementary outcome, if it is known."""
    min_order_size: str | None = None
    """As the venue spells it; part of Polymarket's book hash."""
    neg_risk: bool | None = None


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """One print, canonical: in terms of the market's primary outcome where that is known."""

    market_id: str
    outcome_id: str
    price: int
    """Ticks of 0.0001 dollars."""
    size: float
    taker_side: Side | None
    printed_outcome_id: str
    """The outcome the venue printed the trade on."""
    printed_price: int
    ts_venue_ms: int | None
    transaction_id: str | None
    fee_rate_bps: str | None


class BookAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A primary outcome's book as the venue states it when asked."""

    bids: Mapping[int, float]
    """Contracts by price, in ticks of 0.0001 dollars."""
    asks: Mapping[int, float]
    ts_venue_ms: int | None = None
    """The venue's time of the book's last change, where it says it."""


class Opened(msgspec.Struct, frozen=True):
    """A full book arrived; from now on the asset's book stands."""

    asset_id: str


class Doubted(msgspec.Struct, frozen=True):
    """The asset's book can no longer be trusted, since ``since_ns``, because of ``cause``."""

    asset_id: str
    cause: str
    since_ns: int


class TickSizeChanged(msgspec.Struct, frozen=True):
    """The market's price grid changed, in ticks of 0.0001 dollars."""

    market_id: str
    asset_id: str
    old_tick: int | None
    """None where the connection that was told holds no book of the market."""
    new_tick: int
    ts_venue_ms: int | None


class MarketListed(msgspec.Struct, frozen=True):
    """The venue announced a market; it may do so on every connection and more than once."""

    market_id: str
    title: str
    ts_venue_ms: int | None


class MarketResolved(msgspec.Struct, frozen=True):
    """The venue announced a result; it may do so on every connection and more than once."""

    market_id: str
    winning_outcome_id: str | None
    winning_label: str | None
    ts_venue_ms: int | None


class Status(StrEnum):
    """What may happen to a listed market besides its result."""

    ACTIVATED = "activated"
    DEACTIVATED = "deactivated"
    CLOSED = "closed"
    SETTLED = "settled"
    CLOSE_DATE_UPDATED = "close_date_updated"


class StatusChanged(msgspec.Struct, frozen=True):
    """The venue said that something happened to a market; ``new`` is the value after, if any."""

    market_id: str
    status: Status
    new: str | None
    ts_venue_ms: int | None


class Rejected(msgspec.Struct, frozen=True):
    """Input that could not be used: kept, counted, never fatal."""

    reason: str
    detail: str
    payload: bytes


ChannelEvent = (
    Trade
    | Opened
    | Doubted
    | TickSizeChanged
    | MarketListed
    | MarketResolved
    | StatusChanged
    | Rejected
)


class IntegrityTally(msgspec.Struct):
    """What the venue's own proofs said of the books."""

    due: int = 0
    matched: int = 0
    mismatched: int = 0


class ConnectionCommands(Protocol):
    """The frames one connection sends, in the order in which they are asked for.

    They are made at once, not as they are read, so that what a connection knows of its
    subscriptions and what it sends cannot part.
    """

    outbox: list[str]
    """Frames that something received calls for; whoever sends them empties it."""

    def opening(self) -> list[str]:
        """What one connection of a venue sends once, to hear what is announced of every market."""
        ...

    def subscribe(self, asset_ids: Iterable[str]) -> list[str]:
        """Subscribe assets that the channel follows."""
        ...

    def unsubscribe(self, asset_ids: Iterable[str]) -> list[str]:
        """Unsubscribe assets."""
        ...

    def resync(self, asset_ids: Iterable[str]) -> list[str]:
        """Have whole books of subscribed assets sent anew."""
        ...

    def listen(self, terms: AssetTerms) -> list[str]:
        """Subscribe an asset that the channel does not follow, to hear that something comes.

        What comes of it is counted as not followed and makes no book and no row.
        """
        ...


class Echo(NamedTuple):
    """A command that changes nothing, whose answer comes behind all that was sent before it."""

    command: str
    is_answer: Callable[[bytes | str], bool]
    """Whether a frame answers it."""


ReceivedFrame = tuple[bytes | str, int]
"""A frame as it came, and when: nanoseconds on the receive clock."""
ToldEvents = tuple[int, Sequence[ChannelEvent]]
"""When a frame was received, and what it told."""


class MarketChannel(Protocol):
    """The protocol state machine of one market-data connection: frames in, books and events out.

    No socket and no clock: the caller passes each frame with the time it was received.
    """

    @property
    def states(self) -> Mapping[str, BookState]:
        """Books by asset id, of the assets this connection follows."""
        ...

    @property
    def messages(self) -> Counter[str]:
        """Messages seen by type, unknown types under their own name."""
        ...

    @property
    def commands(self) -> ConnectionCommands:
        """The frames this connection sends."""
        ...

    ignored: Counter[str]
    """Well-formed input that changes nothing, by reason (repeats, assets not followed)."""
    hashes: IntegrityTally
    crossed_at_batch_end: int
    """Books found crossed or locked when a batch was whole."""

    def follow(self, assets: Iterable[AssetTerms]) -> None:
        """Expect these assets; messages on others are counted and left alone."""
        ...

    def forget(self, asset_ids: Iterable[str]) -> None:
        """Drop these assets and their books."""
        ...

    def regrid(self, asset_id: str, tick: int) -> None:
        """Another connection was told of the asset's price grid, which no book here states."""
        ...

    def receive(self, frame: bytes | str, recv_ns: int) -> Sequence[ChannelEvent]:
        """Apply one frame. Never raises on anything a venue can send."""
        ...

    def receive_all(self, frames: Iterable[ReceivedFrame]) -> Iterator[ToldEvents]:
        """Apply frames in turn, which costs less than ``receive`` for each.

        Events are told before the next frame is applied, so that the books are as they were left
        by the frame that told them. Who stops iterating has applied no frame beyond the one told
        of, and an iterator of frames goes on behind it.
        """
        ...

    def settle(self, recv_ns: int) -> Sequence[ChannelEvent]:
        """Judge every batch as it stands: the input has ended and nothing of it is missing."""
        ...

    def doubt(self, asset_id: str, cause: str, since_ns: int) -> Sequence[ChannelEvent]:
        """Somebody else has found that the asset's book is wrong; the next whole one replaces it.

        Tells nothing where the book is in doubt already.
        """
        ...

    def settle_asset(self, asset_id: str, now_ns: int) -> Sequence[ChannelEvent]:
        """Judge one asset's last batch if it is whole by ``now_ns``; call before reading a book.

        The book may be read if its ``settles_ns`` is not after ``now_ns`` then: what looked whole
        may turn out not to be.
        """
        ...


SettledReader = Callable[[BookState, int], None]
"""Called with a book that has just become whole, where a reader asked, and the receive time."""


class Discovery(msgspec.Struct, kw_only=True):
    """What a sweep of a venue's listing found, and what it left out and why."""

    markets: list[Market]
    set_aside: Counter[str]
    """Markets not in the universe, by reason."""
    seen: int
    """Markets seen, each either kept or set aside."""
    oddities: Counter[str]
    """Optional fields that could not be read on markets that were kept, by field and cause."""
    pages: int = 0
    unknown_members: Counter[str] = msgspec.field(default_factory=lambda: Counter[str]())
    """Listed objects with a member that this version does not know, by kind and name."""
    gone_members: list[str] = msgspec.field(default_factory=lambda: list[str]())
    """Members that are read and that nothing in a whole sweep had."""
