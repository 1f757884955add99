"""Captured books against the hashes the venue gave them, one recipe an era."""

from __future__ import annotations

import ast
import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from surveillance_core.books import OrderBook, tick_of
from surveillance_core.venues.polymarket.integrity import HashTerms, Recipe, hash_book, spell_size

Json = dict[str, Any]
RECIPES = {
    "clob/book_2024-10_hash_v1.json": (Recipe.V1, 1),
    "ws/nautilus_book.json": (Recipe.V1, 1),
    "ws/polypy_ws_book_2024-11.json": (Recipe.V2, 1),
    "ws/notebook_capture_2024-12-22.jsonl": (Recipe.V2, 11),
    "clob/books_10_fed_2026-05-17.json": (Recipe.V4, 10),
    "clob/book_bobaoxu_2026.json": (Recipe.V4, 1),
    "ws/seq_2026-08-15_btc5m_continuous.jsonl": (Recipe.V4, 2),
    "ws/seq_2026-09-11_ask_cancel_batch.jsonl": (Recipe.V4, 2),
    "ws/seq_2026-09-11_bid_cancel_batch.jsonl": (Recipe.V4, 2),
    "ws/seq_2026-09-11_crossed_fill.jsonl": (Recipe.V4, 4),
}
SOCKET_LEAVES_OUT = {"min_order_size": "5", "neg_risk": False}
"""Of both markets of the sequences; the socket does not say it."""


@pytest.fixture(scope="module")
def polymarket(shared: Path) -> Path:
    return shared / "fixtures" / "polymarket"


def _objects(value: object) -> Iterator[Json]:
    """Every JSON object inside a value, frames kept as text included."""
    if isinstance(value, list):
        for item in value:
            yield from _objects(item)
    elif isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _objects(item)
    elif isinstance(value, str) and value[:1] in ("{", "["):
        try:
            inner = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return
        yield from _objects(inner)


def _parsed(path: Path) -> Iterator[object]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if path.suffix == ".txt":  # printed by Python, not as JSON
        yield from (ast.literal_eval(line) for line in content.decode().splitlines() if line)
    elif ".jsonl" in path.name:
        yield from (msgspec.json.decode(line) for line in content.splitlines())
    else:
        yield msgspec.json.decode(content)


def _books(path: Path) -> list[Json]:
    return [
        found
        for value in _parsed(path)
        for found in _objects(value)
        if isinstance(found.get("bids"), list) and "hash" in found
    ]


def _hash(book: Json, terms: Json, recipe: Recipe) -> str:
    sides = [
        {tick_of(level["price"]): float(level["size"]) for level in book[side]}
        for side in ("bids", "asks")
    ]
    known = terms | {name: value for name, value in book.items() if value is not None}
    return hash_book(
        HashTerms(
            market_id=book["market"],
            asset_id=book["asset_id"],
            min_order_size=known.get("min_order_size"),
            neg_risk=known.get("neg_risk"),
            tick_size=known.get("tick_size"),
            last_trade_price=known.get("last_trade_price"),
        ),
        book.get("timestamp", ""),
        OrderBook(*sides),
        recipe,
    )


@pytest.mark.parametrize("name", RECIPES)
def test_every_captured_book_has_the_hash_of_its_eras_recipe(polymarket: Path, name: str) -> None:
    recipe, count = RECIPES[name]
    path = polymarket / name
    heads = [value for value in _parsed(path) if isinstance(value, dict) and "meta" in value]
    members = ("min_order_size", "tick_size", "neg_risk", "last_trade_price")
    head = {member: heads[0][member] for member in members} if heads else {}
    books = _books(path)
    assert len(books) == count
    for book in books:
        terms = SOCKET_LEAVES_OUT | head
        assert _hash(book, terms, recipe) == book["hash"]
        others = [other for other in Recipe if other is not recipe]
        assert all(_hash(book, terms, other) != book["hash"] for other in others)


def test_every_captured_size_is_spelled_as_on_the_wire(shared: Path, polymarket: Path) -> None:
    paths = [*polymarket.glob("clob/*book*"), *polymarket.glob("ws/*")]
    paths += (shared / "fixtures" / "captures" / "polymarket").iterdir()
    sizes = {
        found["size"]
        for path in paths
        for value in _parsed(path)
        for found in _objects(value)
        if isinstance(found.get("size"), str) and "price" in found
    }
    assert len(sizes) > 500
    # hand-made examples of documentation pad with zeros; no hash of theirs verifies
    wire = {size for size in sizes if not re.fullmatch(r"\d+\.\d*0", size)}
    assert [size for size in wire if spell_size(float(size)) != size] == []
