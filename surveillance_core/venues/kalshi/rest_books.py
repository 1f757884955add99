"""Best levels of markets as the REST interface gives them: a witness of the socket's books.

``GET /markets/{ticker}/orderbook`` gives the bids of both sides, worst first, in terms of each
side; a NO bid at n is a YES ask at 1 - n (reference kalshi.md 1 and 5). The batch of a hundred
books may be billed a book at a time, so it would save nothing and is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import quote

from surveillance_core.books import COMPLEMENT, tick_of
from surveillance_core.venues.listing import as_list, as_number, as_object
from surveillance_core.venues.protocols import AssetTerms, Top
from surveillance_core.venues.rest import RestClient, VenueError

_BEST: Final = {"depth": 1}


def fetch_tops(client: RestClient, assets: Sequence[AssetTerms]) -> dict[str, Top]:
    """Best levels by asset, of the markets that the venue has a book of which can be read.

    Raises
    ------
    VenueError
        If a book cannot be had for another reason than that there is none.
    """
    tops: dict[str, Top] = {}
    for terms in assets:
        try:
            answer = client.get(f"/markets/{quote(terms.market_id, safe='')}/orderbook", _BEST)
        except VenueError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                continue
            raise
        top = read_top(answer)
        if top is not None:
            tops[terms.asset_id] = top
    return tops


def read_top(answer: object) -> Top | None:
    """The best levels of one answer in terms of YES, None where it is no book.

    Examples
    --------
    >>> read_top({"orderbook_fp": {"yes_dollars": [["0.0800", "300.00"]], "no_dollars": []}})
    Top(bid=(800, 300.0), ask=None, ts_venue_ms=None)
    """
    book = as_object((as_object(answer) or {}).get("orderbook_fp"))
    if book is None:
        return None
    try:
        bid, no_bid = _best(book.get("yes_dollars")), _best(book.get("no_dollars"))
    except (ValueError, TypeError):
        return None
    ask = None if no_bid is None else (COMPLEMENT[no_bid[0]], no_bid[1])
    return Top(bid=bid, ask=ask)


def _best(side: object) -> tuple[int, float] | None:
    """The dearest level, None of an empty side; raises ``ValueError`` where a level is none."""
    if side is None:
        return None
    levels = as_list(side)
    if levels is None:
        raise ValueError("no list of levels")
    read = [_level(level) for level in levels]
    return max((level for level in read if level[1] > 0.0), default=None)


def _level(level: object) -> tuple[int, float]:
    price, size = as_list(level) or (None, None)
    contracts = as_number(size)
    if contracts is None or contracts < 0.0:
        raise ValueError("no size")
    return tick_of(cast("str", price)), contracts
