"""Books of many tokens as the CLOB's REST interface gives them: a witness of the socket's.

``POST /books`` takes some hundred tokens, promises no order and leaves out what it does not know
(reference polymarket.md 2). Levels come worst first, bids ascending and asks descending; they are
sorted here, best first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, cast

import msgspec

from surveillance_core.books import tick_of
from surveillance_core.venues.listing import Json, as_list, as_number, as_object
from surveillance_core.venues.protocols import AssetTerms, BookAnswer
from surveillance_core.venues.rest import RestClient, VenueError

BOOKS: Final = "/books"
LARGEST_BATCH: Final = 500
"""Tokens that one request has been seen to answer."""

Level = tuple[int, float]
"""Price in ticks of 0.0001 dollars, contracts at it."""


class RestBook(msgspec.Struct, frozen=True, kw_only=True):
    """One token's book; sides best first. Text members are as spelled: the hash is over them."""

    market_id: str
    asset_id: str
    ts_venue_ms: int | None
    hash: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    min_order_size: str | None
    tick_size: str | None
    neg_risk: bool | None
    last_trade_price: str | None


class RestBooks(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered for the tokens asked; each is in exactly one of the three."""

    books: dict[str, RestBook]
    missing: tuple[str, ...]
    """Tokens the answer lacks: unknown to the venue, or without a book."""
    unreadable: dict[str, str]
    """Tokens whose book could not be read, and why."""
    oddities: Counter[str]
    """Parts of the answer that belong to no token asked, by reason."""


class UnreadableBook(Exception):
    """A book that cannot be read; the argument is the reason it is counted under."""


def fetch_books(
    clob: RestClient, token_ids: Iterable[str], *, batch: int = LARGEST_BATCH
) -> RestBooks:
    """Ask for the books of these tokens.

    Raises
    ------
    VenueError
        If a batch cannot be had or its answer is no list of books.
    """
    wanted = list(dict.fromkeys(token_ids))
    books: dict[str, RestBook] = {}
    unreadable: dict[str, str] = {}
    oddities: Counter[str] = Counter()
    size = min(max(1, batch), LARGEST_BATCH)
    for start in range(0, len(wanted), size):
        asked = wanted[start : start + size]
        answer = as_list(clob.post(BOOKS, [{"token_id": token} for token in asked]))
        if answer is None:
            raise VenueError(f"{BOOKS}: the answer is no list of books. Check clob_url.")
        _take(answer, set(asked), books, unreadable, oddities)
    missing = tuple(token for token in wanted if token not in books and token not in unreadable)
    return RestBooks(books=books, missing=missing, unreadable=unreadable, oddities=oddities)


def answer_for(clob: RestClient, assets: Sequence[AssetTerms]) -> dict[str, BookAnswer]:
    """Books by token, of the tokens that have one which can be read; see ``fetch_books``.

    Raises
    ------
    VenueError
        If the books cannot be had.
    """
    found = fetch_books(clob, [terms.asset_id for terms in assets]).books
    return {
        token: BookAnswer(bids=dict(book.bids), asks=dict(book.asks), ts_venue_ms=book.ts_venue_ms)
        for token, book in found.items()
    }


def _take(
    answer: Sequence[object],
    asked: set[str],
    books: dict[str, RestBook],
    unreadable: dict[str, str],
    oddities: Counter[str],
) -> None:
    """Sort an answer's books by token; of two of one token the later stands."""
    for item in answer:
        found = as_object(item)
        token = None if found is None else found.get("asset_id")
        if found is None or not isinstance(token, str):
            oddities["no_asset_id"] += 1
            continue
        if token not in asked:
            oddities["not_asked"] += 1
            continue
        if token in books or token in unreadable:
            oddities["answered_twice"] += 1
        try:
            book = read_book(found)
        except UnreadableBook as error:
            if token not in books:
                unreadable[token] = str(error)
            continue
        known = books.get(token)
        if known is None or (known.ts_venue_ms or 0) <= (book.ts_venue_ms or 0):
            books[token] = book
        unreadable.pop(token, None)


def read_book(book: Json) -> RestBook:
    """One book as answered; raises ``UnreadableBook`` where a level cannot be read."""
    timestamp = as_number(book.get("timestamp"))
    neg_risk = book.get("neg_risk")
    return RestBook(
        market_id=_text(book, "market") or "",
        asset_id=_text(book, "asset_id") or "",
        ts_venue_ms=None if timestamp is None else int(timestamp),
        hash=_text(book, "hash") or "",
        bids=_levels(book, "bids", descending=True),
        asks=_levels(book, "asks", descending=False),
        min_order_size=_text(book, "min_order_size"),
        tick_size=_text(book, "tick_size"),
        neg_risk=neg_risk if isinstance(neg_risk, bool) else None,
        last_trade_price=_text(book, "last_trade_price"),
    )


def _levels(book: Json, side: str, *, descending: bool) -> tuple[Level, ...]:
    listed = as_list(book.get(side))
    if listed is None:
        raise UnreadableBook(f"{side}_not_a_list")
    levels: dict[int, float] = {}
    for item in listed:
        level = as_object(item) or {}
        size = as_number(level.get("size"))
        try:
            price = tick_of(cast("str", level.get("price")))
        except (ValueError, TypeError):
            raise UnreadableBook(f"{side}_price_malformed") from None
        if size is None or size < 0:
            raise UnreadableBook(f"{side}_size_malformed")
        if price in levels:
            raise UnreadableBook(f"{side}_price_repeats")
        if size > 0:
            levels[price] = size
    return tuple(sorted(levels.items(), reverse=descending))


def _text(book: Json, name: str) -> str | None:
    value = book.get(name)
    return value if isinstance(value, str) else None
