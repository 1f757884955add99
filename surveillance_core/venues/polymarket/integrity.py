"""The order-book hash: the venue's own proof that a book is right.

Recipe (proved on 231 captured hashes, reference polymarket.md 3.6): SHA-1 of the compact JSON of
the book with its members in a fixed order, ``hash`` empty, bids ascending and asks descending,
numbers spelled as the venue spells them. Four eras differ in the members present.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from functools import lru_cache
from operator import add

import msgspec

from surveillance_core.books import SPELLING, OrderBook


class Recipe(IntEnum):
    """Which members a hash covers; the venue has used four sets."""

    V1 = 1
    """Until October 2024: market, asset_id, hash, bids, asks."""
    V2 = 2
    """From November 2024: with timestamp."""
    V3 = 3
    """By October 2025: with min_order_size, tick_size, neg_risk."""
    V4 = 4
    """Since about December 2025: with last_trade_price."""


CERTAINLY_V4_MS = 1_767_225_600_000
"""2026-01-01: what is newer follows V4; the earlier eras' bounds are known to the month only."""


def recipes_at(timestamp_ms: int) -> tuple[Recipe, ...]:
    """Recipes that a book of that time may have been hashed by, the newest first."""
    return (Recipe.V4,) if timestamp_ms >= CERTAINLY_V4_MS else _NEWEST_FIRST


_NEWEST_FIRST = tuple(sorted(Recipe, reverse=True))


class HashTerms(msgspec.Struct, kw_only=True):
    """The members of the hashed object that are not levels, spelled as on the wire."""

    market_id: str
    asset_id: str
    min_order_size: str | None
    neg_risk: bool | None
    tick_size: str | None
    last_trade_price: str | None

    @property
    def complete(self) -> bool:
        """Whether everything that recipe V4 needs is known."""
        return self.covers(Recipe.V4)

    def covers(self, recipe: Recipe) -> bool:
        """Whether everything that the recipe needs is known."""
        if recipe < Recipe.V3:
            return True
        known = (
            self.min_order_size is not None
            and self.neg_risk is not None
            and self.tick_size is not None
        )
        return known and (recipe < Recipe.V4 or self.last_trade_price is not None)


@lru_cache(maxsize=65_536)
def spell_size(size: float) -> str:
    """Contracts as the venue spells them: shortest decimal, no exponent, no trailing zeros.

    Examples
    --------
    >>> spell_size(5752.53), spell_size(9.0), spell_size(0.000001)
    ('5752.53', '9', '0.000001')
    """
    text = repr(size)
    if text.endswith(".0"):
        return text[:-2]
    if "e" in text:
        return f"{size:.6f}".rstrip("0").rstrip(".")
    return text


_LEVEL_HEADS = tuple(f'{{"price":"{price}","size":"' for price in SPELLING)
_encode_sizes = msgspec.json.Encoder().encode


def _spell_levels(ticks: list[int], side: dict[int, float]) -> str:
    """Levels as JSON objects; the sizes are spelled by one call of the encoder.

    The encoder's shortest form is the venue's but for whole numbers, which it ends in ``.0``, and
    for an exponent, where each size is spelled by itself.
    """
    if not ticks:
        return ""
    values = list(map(side.__getitem__, ticks))
    text = _encode_sizes(values)[1:-1].decode()
    if "e" in text:
        sizes = list(map(spell_size, values))
    else:
        sizes = text.replace(".0,", ",").removesuffix(".0").split(",")
    return '"},'.join(map(add, map(_LEVEL_HEADS.__getitem__, ticks), sizes)) + '"}'


def level_members(book: OrderBook) -> tuple[str, str]:
    """The hashed object's ``bids`` and ``asks`` members, without their brackets."""
    return (
        _spell_levels(sorted(book.bids), book.bids),
        _spell_levels(sorted(book.asks, reverse=True), book.asks),
    )


_quote = msgspec.json.Encoder().encode


def hash_members(
    terms: HashTerms,
    timestamp_ms: int | str,
    members: tuple[str, str],
    recipe: Recipe = Recipe.V4,
) -> str:
    """SHA-1 of a book whose levels are already spelled; see ``hash_book``."""
    bids, asks = members
    head = f'{{"market":{_text(terms.market_id)},"asset_id":{_text(terms.asset_id)}'
    if recipe >= Recipe.V2:
        head += f',"timestamp":"{timestamp_ms}"'
    tail = ""
    if recipe >= Recipe.V3:
        neg_risk = "true" if terms.neg_risk else "false"
        tail = (
            f',"min_order_size":{_text(terms.min_order_size)}'
            f',"tick_size":{_text(terms.tick_size)},"neg_risk":{neg_risk}'
        )
    if recipe >= Recipe.V4:
        tail += f',"last_trade_price":{_text(terms.last_trade_price)}'
    payload = f'{head},"hash":"","bids":[{bids}],"asks":[{asks}]{tail}}}'
    return hashlib.sha1(payload.encode(), usedforsecurity=False).hexdigest()


def hash_book(
    terms: HashTerms, timestamp_ms: int | str, book: OrderBook, recipe: Recipe = Recipe.V4
) -> str:
    """The hash the venue would give this book at this time, 40 hexadecimal digits.

    The terms the recipe covers must be known (``HashTerms.complete`` for V4).
    """
    return hash_members(terms, timestamp_ms, level_members(book), recipe)


def spell_last_trade(tick: int) -> str:
    """A last trade price as the hash holds it: three decimals on every captured book.

    Four where three cannot say the price, which no capture shows.
    """
    dollars = tick / 10_000
    return f"{dollars:.4f}" if tick % 10 else f"{dollars:.3f}"


def _text(value: str | None) -> str:
    return _quote(value if value is not None else "").decode()
