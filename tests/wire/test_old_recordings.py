"""Captured frames of 2024 through the market channel: nothing is refused, no era is a loss."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import msgspec
import pytest

from surveillance_core.books import Trust
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.polymarket.integrity import Recipe
from surveillance_core.venues.protocols import AssetTerms, ChannelEvent, Doubted, Rejected

Json = dict[str, Any]


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "fixtures" / "polymarket" / "ws"


def _channel(*messages: Json) -> PolymarketChannel:
    channel = PolymarketChannel()
    channel.follow(
        AssetTerms(
            market_id=message["market"],
            asset_id=message["asset_id"],
            tick=10,
            min_order_size="5",
            neg_risk=False,
        )
        for message in {message["asset_id"]: message for message in messages}.values()
    )
    return channel


def test_books_of_december_2024_are_proved_by_their_eras_recipe(folder: Path) -> None:
    frames = (folder / "notebook_capture_2024-12-22.jsonl").read_text().splitlines()
    channel = _channel(msgspec.json.decode(frames[0]))
    for number, frame in enumerate(frames):
        channel.receive(frame, number * 1_000_000_000)
    assert channel.recipe is Recipe.V2
    assert channel.hashes.due == channel.hashes.matched == 11
    assert {state.trust for state in channel.states.values()} == {Trust.VERIFIED}


def test_a_book_and_a_change_of_2024_are_read(folder: Path) -> None:
    book = msgspec.json.decode((folder / "nautilus_book.json").read_bytes())
    change = msgspec.json.decode((folder / "nautilus_price_change.json").read_bytes())
    assert not {"changes", "price_changes"} & change.keys(), "the change is the message itself"
    channel = _channel(book)
    channel.receive(msgspec.json.encode(book), 1)
    assert channel.recipe is Recipe.V1
    # the two were captured apart: let the change come after the book, on its asset
    later = change | {"asset_id": book["asset_id"], "timestamp": book["timestamp"] + "0"}
    assert not channel.receive(msgspec.json.encode(later), 2)
    assert channel.states[book["asset_id"]].book.asks[5140] == 21574.08


@pytest.mark.parametrize("one_asset_a_message", [False, True])
def test_changes_of_december_2024_are_applied_in_either_shape(
    folder: Path, one_asset_a_message: bool
) -> None:
    text = (folder / "polypy_server_messages_2024-12.txt").read_text()
    frames = [ast.literal_eval(line) for line in text.splitlines() if line]
    channel = _channel(frames[0][0])
    state = channel.states[frames[0][0]["asset_id"]]
    events: list[ChannelEvent] = []
    for number, frame in enumerate(frames[:-2]):  # then comes a book after a pause
        events += channel.receive(
            msgspec.json.encode(_old(frame) if one_asset_a_message else frame),
            number * 1_000_000_000,
        )
    events += channel.settle(10**12)
    assert not [event for event in events if isinstance(event, Doubted | Rejected)]
    assert channel.messages["price_change"] == 6
    levels = [
        (change["price"], float(change["size"]))
        for frame in frames[:-2]
        if isinstance(frame, dict)
        for change in frame.get("price_changes", ())
    ]
    assert len(levels) > 6
    sides = state.book.bids | state.book.asks
    for price, size in dict(levels).items():
        assert sides.get(round(float(price) * 10_000), 0.0) == size


def _old(frame: Any) -> Any:
    """A change in the shape of its time, which the recording's owner gave today's."""
    if not isinstance(frame, dict) or "price_changes" not in frame:
        return frame
    changes = frame["price_changes"]
    return {
        "asset_id": changes[0]["asset_id"],
        "market": frame["market"],
        "changes": [{key: change[key] for key in ("price", "size", "side")} for change in changes],
        "timestamp": frame["timestamp"],
        "hash": changes[-1]["hash"],
        "event_type": "price_change",
    }
