"""Older recordings: their shapes of a change, their numbers, and the recipes of their hashes."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any

import pytest

from surveillance_core.books import OrderBook, Trust
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.polymarket.integrity import Recipe
from surveillance_core.venues.protocols import AssetTerms, ChannelEvent, Doubted, Opened, Rejected

Json = dict[str, Any]
MARKET, ASSET = "0xm", "111"
DECEMBER_2024, AUTUMN_2026 = 1_734_000_000_000, 1_788_264_000_000
LEVELS = {"bids": {"0.48": "100", "0.49": "25.5"}, "asks": {"0.51": "30", "0.52": "7"}}


def _hash(levels: Json, timestamp: int, recipe: Recipe, last: str = "0.500") -> str:
    members: Json = {"market": MARKET, "asset_id": ASSET}
    if recipe >= Recipe.V2:
        members["timestamp"] = str(timestamp)
    members["hash"] = ""
    for side, descending in (("bids", False), ("asks", True)):
        prices = sorted(levels[side], key=Decimal, reverse=descending)
        members[side] = [{"price": price, "size": levels[side][price]} for price in prices]
    if recipe >= Recipe.V3:
        members |= {"min_order_size": "5", "tick_size": "0.01", "neg_risk": False}
    if recipe >= Recipe.V4:
        members["last_trade_price"] = last
    text = json.dumps(members, separators=(",", ":"))
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Recording:
    """One asset's frames of an era, received as they are made."""

    def __init__(
        self, recipe: Recipe, start: int = DECEMBER_2024, *, told: Recipe | None = None
    ) -> None:
        self.channel = PolymarketChannel(recipe=told)
        self.channel.follow(
            [
                AssetTerms(
                    market_id=MARKET, asset_id=ASSET, tick=100, min_order_size="5", neg_risk=False
                )
            ]
        )
        self.recipe = recipe
        self.timestamp = start
        self.levels = {side: dict(levels) for side, levels in LEVELS.items()}
        self.events: list[ChannelEvent] = []

    def receive(self, message: Json) -> None:
        self.timestamp += 1_000
        frame = json.dumps(message | {"market": MARKET, "asset_id": ASSET})
        self.events += self.channel.receive(frame, self.timestamp * 1_000_000)

    def settle(self) -> None:
        self.events += self.channel.settle(self.timestamp * 1_000_000)

    def snapshot(self) -> Json:
        listed = {
            side: [{"price": price, "size": size} for price, size in levels.items()]
            for side, levels in self.levels.items()
        }
        return {"event_type": "book", **self._stamped(), **listed}

    def change(self, *changes: tuple[str, str, str]) -> Json:
        """Today's members of a change, hash and time shared by all."""
        for side, price, size in changes:
            levels = self.levels["bids" if side == "BUY" else "asks"]
            levels.pop(price, None)
            if float(size):
                levels[price] = size
        listed = [{"price": price, "side": side, "size": size} for side, price, size in changes]
        return {"event_type": "price_change", **self._stamped(), "changes": listed}

    def print(self) -> Json:
        return {
            "event_type": "last_trade_price", "price": "0.5", "size": "1", "side": "BUY",
            "timestamp": str(self.timestamp),
        }  # fmt: skip

    def _stamped(self) -> Json:
        return {
            "timestamp": str(self.timestamp),
            "hash": _hash(self.levels, self.timestamp, self.recipe),
        }

    @property
    def book(self) -> OrderBook:
        return self.channel.states[ASSET].book

    @property
    def trust(self) -> Trust:
        return self.channel.states[ASSET].trust

    @property
    def doubts(self) -> list[str]:
        return [event.cause for event in self.events if isinstance(event, Doubted)]


@pytest.mark.parametrize("recipe", Recipe)
def test_a_recordings_recipe_is_found_and_its_books_proved(recipe: Recipe) -> None:
    recording = Recording(recipe)
    recording.receive(recording.print())  # so that all that V4 covers is known
    recording.receive(recording.snapshot())
    for size in ("1", "2", "3"):
        recording.receive(recording.change(("BUY", "0.48", size), ("SELL", "0.52", "0")))
    recording.settle()
    assert recording.channel.recipe is recipe
    assert recording.channel.hashes.due == recording.channel.hashes.matched == 4
    assert recording.trust is Trust.VERIFIED
    assert recording.doubts == []
    assert recording.book == OrderBook({4800: 3.0, 4900: 25.5}, {5100: 30.0})


def test_a_hash_of_no_known_recipe_says_nothing_of_an_old_book() -> None:
    recording = Recording(Recipe.V2)
    recording.receive(recording.print())
    for message in (recording.snapshot(), *(recording.change(("BUY", "0.4", s)) for s in "123")):
        recording.receive(message | {"hash": "0" * 40})
    recording.settle()
    assert recording.channel.recipe is None
    assert recording.channel.hashes.mismatched == 0
    assert recording.doubts == []
    assert recording.trust is Trust.UNVERIFIED


def test_a_loss_is_found_once_the_recipe_is_known() -> None:
    recording = Recording(Recipe.V2)
    recording.receive(recording.snapshot())
    recording.levels["bids"]["0.2"] = "1"  # a change that was never received
    for size in ("1", "2", "3"):
        recording.receive(recording.change(("BUY", "0.48", size)))
    assert recording.channel.recipe is Recipe.V2
    assert recording.doubts == ["hash_mismatch"]
    assert recording.trust is Trust.DIVERGED


def test_a_recipe_that_was_told_is_the_only_one() -> None:
    for told, doubts in ((Recipe.V2, []), (Recipe.V3, ["hash_mismatch"])):
        recording = Recording(Recipe.V2, told=told)
        recording.receive(recording.snapshot())
        recording.receive(recording.change(("BUY", "0.48", "1")))
        recording.settle()
        assert recording.channel.recipe is told
        assert recording.doubts == doubts


def test_today_only_todays_recipe_proves_a_book() -> None:
    recording = Recording(Recipe.V2, AUTUMN_2026)
    recording.receive(recording.print())
    recording.receive(recording.snapshot())
    recording.receive(recording.change(("BUY", "0.48", "1")))
    recording.settle()
    assert recording.channel.recipe is None
    assert recording.doubts == ["hash_mismatch"]


def test_a_change_of_2024_stands_in_the_message_itself() -> None:
    recording = Recording(Recipe.V1)
    recording.receive(recording.snapshot())
    message = recording.change(("SELL", "0.51", "12.5"))
    recording.receive(message | message.pop("changes")[0])
    recording.settle()
    assert recording.book.asks == {5100: 12.5, 5200: 7.0}
    assert recording.trust is Trust.VERIFIED
    assert recording.channel.messages == {"book": 1, "price_change": 1}


def _numbers(value: Any) -> Any:
    """The same with every number a number."""
    if isinstance(value, dict):
        return {
            key: inner if key in ("hash", "asset_id") else _numbers(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_numbers(inner) for inner in value]
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


@pytest.mark.parametrize("recipe", [Recipe.V2, Recipe.V4])
def test_numbers_may_be_numbers(recipe: Recipe) -> None:
    recording = Recording(recipe, DECEMBER_2024 if recipe < Recipe.V4 else AUTUMN_2026)
    recording.receive(_numbers(recording.snapshot() | {"last_trade_price": "0.500"}))
    recording.receive(_numbers(recording.change(("BUY", "0.48", "1.5"), ("SELL", "0.51", "0"))))
    today = recording.change(("BUY", "0.5", "2"))
    shared = {"asset_id": ASSET, "hash": today["hash"]}
    changes = [shared | change for change in today.pop("changes")]
    recording.receive(_numbers(today | {"price_changes": changes}))
    recording.receive(_numbers(recording.print()))
    recording.settle()
    assert not [event for event in recording.events if isinstance(event, Doubted | Rejected)]
    assert recording.book == OrderBook({4800: 1.5, 4900: 25.5, 5000: 2.0}, {5200: 7.0})
    assert recording.channel.hashes.matched == 3


@pytest.mark.parametrize(
    "members",
    [
        {"changes": None}, {"changes": "none"}, {"changes": [7]}, {"changes": [{"price": "0.5"}]},
        {"changes": [{"price": 1e-9, "size": "1", "side": "BUY"}]},
        {"changes": [{"price": True, "size": "1", "side": "BUY"}]},
    ],
    ids=str,
)  # fmt: skip
def test_a_malformed_old_change_is_kept_aside_and_doubted(members: Json) -> None:
    recording = Recording(Recipe.V2)
    recording.receive(recording.snapshot())
    before = OrderBook(dict(recording.book.bids), dict(recording.book.asks))
    recording.receive(recording.change(("BUY", "0.48", "1")) | members)
    assert [type(event) for event in recording.events] == [Opened, Rejected, Doubted]
    assert recording.book == before
