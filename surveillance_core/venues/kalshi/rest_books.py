"""Books of markets as the REST interface gives them: a witness of the socket's books.

``GET /markets/{ticker}/orderbook`` gives the bids of both sides, worst first, in terms of each
side; a NO bid at n is a YES ask at 1 - n (reference kalshi.md 1 and 5). The batch of a hundred
books may be billed a book at a time, so it would save nothing and is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import cast
from urllib.parse import quote

from surveillance_core.books import COMPLEMENT, tick_of
from surveillance_core.venues.listing import as_list, as_number, as_object
from surveillance_core.venues.protocols import AssetTerms, BookAnswer
from surveillance_core.venues.rest import RestClient, VenueError


def answer_for(client: RestClient, assets: Sequence[AssetTerms]) -> dict[str, BookAnswer]:
    """Books by asset, of the markets that the venue has a book of which can be read.

    Raises
    ------
    VenueError
        If a book cannot be had for another reason than that there is none.
    """
    books: dict[str, BookAnswer] = {}
    for terms in assets:
        try:
            answer = client.get(f"/markets/{quote(terms.market_id, safe='')}/orderbook")
        except VenueError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                continue
            raise
        book = read_book(answer)
        if book is not None:
            books[terms.asset_id] = book
    return books


def read_book(answer: object) -> BookAnswer | None:
    """The book of one answer in terms of YES, None where it is no book.

    Examples
    --------
    >>> read_book({"orderbook_fp": {"yes_dollars": [["0.0800", "300.00"]], "no_dollars": []}})
    BookAnswer(bids={800: 300.0}, asks={}, ts_venue_ms=None)
    """
    book = as_object((as_object(answer) or {}).get("orderbook_fp"))
    if book is None:
        return None
    try:
        bids, no_bids = _levels(book.get("yes_dollars")), _levels(book.get("no_dollars"))
    except (ValueError, TypeError):
        return None
    return BookAnswer(bids=bids, asks={COMPLEMENT[price]: size for price, size in no_bids.items()})


def _levels(side: object) -> dict[int, float]:
    """Contracts by price; raises ``ValueError`` where a level is none."""
    if side is None:
        return {}
    levels = as_list(side)
    if levels is None:
        raise ValueError("no list of levels")
    return {price: size for price, size in map(_level, levels) if size > 0.0}


def _level(level: object) -> tuple[int, float]:
    price, size = as_list(level) or (None, None)
    contracts = as_number(size)
    if contracts is None or contracts < 0.0:
        raise ValueError("no size")
    return tick_of(cast("str", price)), contracts
