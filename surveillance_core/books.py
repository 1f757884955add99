"""Order books on integer ticks, and the prices they are made of.

In: price spellings from the wire, sizes in contracts. Out: books, tops, depths.
Pure values; the protocols that fill them live in ``surveillance_core.venues``.

A *tick* here is one ten-thousandth of a dollar, the finest grid either venue quotes, so every price
of both venues is an exact integer in [0, 10000]. A market's own tick size (0.01, 0.001, ...) is a
multiple of it and is carried beside the book.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

TICKS_PER_DOLLAR: Final = 10_000
"""Integer ticks in one dollar."""


class Trust(StrEnum):
    """How far a book can be relied on at the moment it was read."""

    VERIFIED = "verified"
    """The last integrity check that was due agreed with the venue."""
    UNVERIFIED = "unverified"
    """Nothing contradicts the book and nothing has proved it."""
    DIVERGED = "diverged"
    """The book is known to differ from the venue's, or a change of it was lost."""


class BookStatus(StrEnum):
    """What the two sides of a book look like."""

    OK = "ok"
    ONE_SIDED = "one_sided"
    EMPTY = "empty"
    CROSSED = "crossed"
    """Best bid at or above best ask (locked counts as crossed: no spread can be quoted)."""


def _spell(tick: int) -> str:
    whole, part = divmod(tick, TICKS_PER_DOLLAR)
    return f"{whole}.{part:04d}".rstrip("0").rstrip(".")


SPELLING: Final[tuple[str, ...]] = tuple(_spell(tick) for tick in range(TICKS_PER_DOLLAR + 1))
"""Shortest decimal spelling of each tick, as both venues print it: ``SPELLING[5000] == "0.5"``."""

DOLLARS: Final[tuple[float, ...]] = tuple(
    tick / TICKS_PER_DOLLAR for tick in range(TICKS_PER_DOLLAR + 1)
)
"""Each tick in dollars: ``DOLLARS[5000] == 0.5``."""


_TICKS = tuple(range(TICKS_PER_DOLLAR + 1))

COMPLEMENT: Final[tuple[int, ...]] = tuple(reversed(_TICKS))
"""What the other outcome's price is at each tick: ``COMPLEMENT[3000] == 7000``.

The numbers are the objects that ``TICK_OF`` gives, so a book keyed by either is looked up by
identity, without touching the key.
"""


def _spellings() -> dict[str, int]:
    table: dict[str, int] = {}
    for tick, shortest in zip(_TICKS, SPELLING, strict=True):
        whole, _, part = shortest.partition(".")
        table[shortest] = tick
        for width in (1, 2, 3, 4, 6):
            if width >= len(part):
                padded = part.ljust(width, "0")
                table[f"{whole}.{padded}"] = tick
                if whole == "0":
                    table[f".{padded}"] = tick
    return table


TICK_OF: Final[dict[str, int]] = _spellings()
"""Tick of every legal price spelling (``"0.5"``, ``".5"``, ``"0.50"``, ``"0.500000"`` ...).

A spelling that is not a key is not a price: the lookup is the validation.
"""

SEEN_TICK_OF: Final[dict[str, int]] = {}
"""The part of ``TICK_OF`` that prices have been looked up in: hundreds of spellings, which stay in
the processor's cache where the megabytes of the whole table do not. See ``seen_tick``."""

SEEN_COMPLEMENT_OF: Final[dict[str, int]] = {}
"""``COMPLEMENT`` of the ticks in ``SEEN_TICK_OF``, by the same spellings."""


def seen_tick(price: str) -> int | None:
    """``TICK_OF.get``, remembered in ``SEEN_TICK_OF`` for the next time."""
    tick = TICK_OF.get(price)
    if tick is not None:
        SEEN_TICK_OF[price] = tick
        SEEN_COMPLEMENT_OF[price] = COMPLEMENT[tick]
    return tick


def tick_of(price: str | float) -> int:
    """Tick of a price spelled as text or given as a number of dollars.

    Raises
    ------
    ValueError
        If the price is outside [0, 1] or not on the 0.0001 grid.

    Examples
    --------
    >>> tick_of("0.50"), tick_of(0.001)
    (5000, 10)
    """
    if isinstance(price, str):
        tick = TICK_OF.get(price)
        if tick is None:
            raise ValueError(f"not a price in [0, 1] on the 0.0001 grid: {price!r}")
        return tick
    if not 0.0 <= price <= 1.0:
        raise ValueError(f"price outside [0, 1]: {price!r}")
    tick = round(price * TICKS_PER_DOLLAR)
    if abs(price * TICKS_PER_DOLLAR - tick) > 1e-6:
        raise ValueError(f"price off the 0.0001 grid: {price!r}")
    return tick


class OrderBook:
    """One outcome's resting orders: size in contracts by price in ticks, a side each.

    A level of size zero is never stored. The dictionaries are unordered; order is made when a
    book is read, because reads are hundreds of times rarer than changes.

    Examples
    --------
    >>> book = OrderBook({4900: 10.0}, {5100: 5.0, 5200: 7.0})
    >>> book.best_bid, book.best_ask, book.status
    (4900, 5100, <BookStatus.OK: 'ok'>)
    """

    __slots__ = ("asks", "bids")

    def __init__(
        self, bids: dict[int, float] | None = None, asks: dict[int, float] | None = None
    ) -> None:
        self.bids: dict[int, float] = bids if bids is not None else {}
        self.asks: dict[int, float] = asks if asks is not None else {}

    @property
    def best_bid(self) -> int | None:
        """Highest bid in ticks, None where there is no bid."""
        return max(self.bids) if self.bids else None

    @property
    def best_ask(self) -> int | None:
        """Lowest ask in ticks, None where there is no ask."""
        return min(self.asks) if self.asks else None

    @property
    def status(self) -> BookStatus:
        """Whether the book has two sides, one, none, or sides that cross."""
        if not self.bids and not self.asks:
            return BookStatus.EMPTY
        if not self.bids or not self.asks:
            return BookStatus.ONE_SIDED
        return BookStatus.CROSSED if max(self.bids) >= min(self.asks) else BookStatus.OK

    def mirrored(self) -> OrderBook:
        """The complementary outcome's book: each bid at p is an ask at 1 - p.

        Examples
        --------
        >>> OrderBook({4900: 10.0}, {5100: 5.0}).mirrored().bids
        {4900: 5.0}
        """
        return OrderBook(
            {TICKS_PER_DOLLAR - tick: size for tick, size in self.asks.items()},
            {TICKS_PER_DOLLAR - tick: size for tick, size in self.bids.items()},
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OrderBook) and self.bids == other.bids and self.asks == other.asks

    def __repr__(self) -> str:
        return f"OrderBook({len(self.bids)} bids, {len(self.asks)} asks)"


def depth_within(
    bids: dict[int, float], asks: dict[int, float], cents: int
) -> tuple[float, float] | None:
    """Contracts resting within ``cents`` of the mid, bid side and ask side, both ends included.

    None where the book has no mid (a side is missing). Definition: metric 6 of the catalogue,
    depth within c cents of m; computed on doubled ticks so that half-tick mids stay exact.

    Examples
    --------
    >>> depth_within({4900: 10.0, 4700: 3.0}, {5100: 5.0}, 1)
    (10.0, 5.0)
    """
    if not bids or not asks:
        return None
    doubled_mid = max(bids) + min(asks)
    reach = 2 * cents * (TICKS_PER_DOLLAR // 100)
    low, high = doubled_mid - reach, doubled_mid + reach
    return (
        sum(size for tick, size in bids.items() if 2 * tick >= low),
        sum(size for tick, size in asks.items() if 2 * tick <= high),
    )


class BookState:
    """A book as one connection knows it, with what is needed to judge and to sample it.

    Times are nanoseconds since the epoch on the collector's receive clock, except ``ts_venue_ms``.
    """

    __slots__ = (
        "asset_id",
        "book",
        "changed_ns",
        "market_id",
        "opened",
        "read_when_settled",
        "seq",
        "settles_ns",
        "tick",
        "trust",
        "ts_venue_ms",
        "version",
    )

    def __init__(self, market_id: str, asset_id: str, tick: int) -> None:
        self.market_id = market_id
        self.asset_id = asset_id
        self.tick = tick
        """The market's tick size, in ticks of 0.0001 dollars."""
        self.book = OrderBook()
        self.opened = False
        """Whether a full book has arrived on this connection and still stands."""
        self.trust = Trust.UNVERIFIED
        self.version = 0
        """Counts messages applied; equal versions mean an unchanged book."""
        self.seq = 0
        """The venue's sequence number where it has one, else messages applied since opening."""
        self.changed_ns = 0
        """When the last message that touched the book was received."""
        self.ts_venue_ms: int | None = None
        """The venue's own time of that message, milliseconds."""
        self.settles_ns = 0
        """Until then the book may be half-way through one of the venue's batches."""
        self.read_when_settled = False
        """Set by a reader that came in mid-batch and wants to be called when the batch is whole."""
