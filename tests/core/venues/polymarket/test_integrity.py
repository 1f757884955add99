"""The book hash against its definition: JSON of the members in order, in the wire's spelling."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.books import SPELLING, OrderBook
from surveillance_core.venues.polymarket.book import PolymarketBook
from surveillance_core.venues.polymarket.integrity import (
    HashTerms,
    Recipe,
    hash_book,
    level_members,
    spell_size,
)
from surveillance_core.venues.protocols import AssetTerms

TERMS = HashTerms(
    market_id="0xm",
    asset_id="11",
    min_order_size="5",
    neg_risk=False,
    tick_size="0.01",
    last_trade_price="0.500",
)
BOOK = OrderBook({4900: 10.0, 4800: 2.5}, {5100: 7.0, 5200: 0.01})
SIZES = st.decimals("0.000001", "99999999", places=6).filter(lambda size: size > 0)
SIDES = st.dictionaries(st.integers(1, 9_999), SIZES.map(float), max_size=8)


def _by_definition(terms: HashTerms, timestamp: str, book: OrderBook, recipe: Recipe) -> str:
    def levels(side: dict[int, float], *, reverse: bool) -> list[dict[str, str]]:
        return [
            {"price": SPELLING[tick], "size": format(Decimal(repr(side[tick])).normalize(), "f")}
            for tick in sorted(side, reverse=reverse)
        ]

    members: dict[str, object] = {"market": terms.market_id, "asset_id": terms.asset_id}
    if recipe >= Recipe.V2:
        members["timestamp"] = timestamp
    members |= {"hash": "", "bids": levels(book.bids, reverse=False)}
    members["asks"] = levels(book.asks, reverse=True)
    if recipe >= Recipe.V3:
        members["min_order_size"] = terms.min_order_size
        members["tick_size"] = terms.tick_size
        members["neg_risk"] = terms.neg_risk
    if recipe >= Recipe.V4:
        members["last_trade_price"] = terms.last_trade_price
    text = json.dumps(members, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("recipe", Recipe)
@given(st.builds(OrderBook, SIDES, SIDES), st.booleans())
def test_the_hash_is_the_sha1_of_the_defined_members(
    recipe: Recipe, book: OrderBook, neg_risk: bool
) -> None:
    terms = msgspec.structs.replace(TERMS, neg_risk=neg_risk)
    expected = _by_definition(terms, "1788264000123", book, recipe)
    assert hash_book(terms, 1788264000123, book, recipe) == expected
    assert hash_book(terms, "1788264000123", book, recipe) == expected


COVERED_FROM = {
    "market_id": Recipe.V1,
    "asset_id": Recipe.V1,
    "timestamp": Recipe.V2,
    "min_order_size": Recipe.V3,
    "tick_size": Recipe.V3,
    "neg_risk": Recipe.V3,
    "last_trade_price": Recipe.V4,
}


@pytest.mark.parametrize("recipe", Recipe)
@pytest.mark.parametrize("member", COVERED_FROM)
def test_a_recipe_covers_its_members_and_no_later_ones(recipe: Recipe, member: str) -> None:
    terms, timestamp = TERMS, 1
    if member == "timestamp":
        timestamp = 2
    else:
        other = True if member == "neg_risk" else "other"
        terms = msgspec.structs.replace(TERMS, **{member: other})
    differs = hash_book(terms, timestamp, BOOK, recipe) != hash_book(TERMS, 1, BOOK, recipe)
    assert differs == (recipe >= COVERED_FROM[member])


@pytest.mark.parametrize("recipe", Recipe)
def test_every_level_is_covered(recipe: Recipe) -> None:
    whole = hash_book(TERMS, 1, BOOK, recipe)
    less = OrderBook({4900: 10.0}, BOOK.asks)
    more = OrderBook(BOOK.bids, BOOK.asks | {5200: 0.02})
    assert len({whole, hash_book(TERMS, 1, less, recipe), hash_book(TERMS, 1, more, recipe)}) == 3


def test_the_best_level_is_the_last_of_its_side() -> None:
    bids, asks = level_members(BOOK)
    assert bids == '{"price":"0.48","size":"2.5"},{"price":"0.49","size":"10"}'
    assert asks == '{"price":"0.52","size":"0.01"},{"price":"0.51","size":"7"}'


def test_terms_are_complete_when_every_member_of_v4_is_known() -> None:
    assert TERMS.complete
    for member in ("min_order_size", "neg_risk", "tick_size", "last_trade_price"):
        assert not msgspec.structs.replace(TERMS, **{member: None}).complete


@given(SIZES)
def test_a_size_is_spelled_without_exponent_or_trailing_zero(size: Decimal) -> None:
    text = spell_size(float(size))
    assert Decimal(text) == size
    assert "e" not in text.lower()
    assert text == format(size.normalize(), "f")


@pytest.mark.parametrize(
    ("size", "text"),
    [(1.0, "1"), (100.0, "100"), (0.1, "0.1"), (1e-6, "0.000001"), (2e16, "20000000000000000")],
)
def test_the_sizes_at_the_edges_of_a_floats_spelling(size: float, text: str) -> None:
    assert spell_size(size) == text


@pytest.mark.parametrize(("tick", "spelling"), [(4900, "0.490"), (4905, "0.4905")])
def test_a_fill_on_the_way_is_recognised_by_a_price_its_batch_touched(
    tick: int, spelling: str
) -> None:
    book = PolymarketBook(
        AssetTerms(market_id=TERMS.market_id, asset_id="1", tick=100, min_order_size="5",
                   neg_risk=False),
        batch_gap_ns=1,
    )  # fmt: skip
    book.wire_terms.last_trade_price = "0.100"
    book.book = BOOK
    traded = msgspec.structs.replace(book.wire_terms, last_trade_price=spelling)
    book.batch_ts, book.batch_hash = 1, hash_book(traded, 1, BOOK)
    assert book.last_trade_that_fits() is None, "no price in the batch explains the hash"
    change = {"asset_id": "1", "price": SPELLING[tick], "size": "1", "side": "BUY"}
    message = {"event_type": "price_change", "timestamp": "1", "price_changes": [change]}
    book.frames = json.dumps(message)
    assert book.last_trade_that_fits() == spelling
    book.frames = [b"{", json.dumps([{"event_type": "book"}, message]).encode(), b"[]"]
    assert book.last_trade_that_fits() == spelling
    book.frames = b""
    book.recent_last_trades.append(spelling)
    assert book.last_trade_that_fits() == "0.100", "an earlier print explains it"
    book.batch_ts = 2
    assert book.last_trade_that_fits() is None
