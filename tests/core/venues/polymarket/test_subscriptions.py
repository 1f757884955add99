"""What a market-channel connection sends: its first frame's form, and frames within limits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from surveillance_core.venues.polymarket.subscriptions import Subscriptions
from surveillance_core.venues.polymarket.wire import ASSETS_A_FRAME

IDS = [str(number) for number in range(2 * ASSETS_A_FRAME + 50)]


def _read(frames: list[str]) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in frames]


def test_no_frame_holds_more_ids_than_the_venue_takes_and_none_is_left_out() -> None:
    subscriptions = Subscriptions()
    for frames in (_read(subscriptions.subscribe(IDS)), _read(subscriptions.unsubscribe(IDS))):
        assert [len(frame["assets_ids"]) for frame in frames] == [100, 100, 50]
        assert [token for frame in frames for token in frame["assets_ids"]] == IDS


def test_only_the_first_frame_of_a_connection_has_the_first_form() -> None:
    subscriptions = Subscriptions()
    assert subscriptions.subscribe([]) == []
    frames = _read(subscriptions.subscribe(IDS) + subscriptions.subscribe(IDS[:1]))
    assert [frame.get("type") for frame in frames] == ["market", None, None, None]
    assert [frame.get("operation") for frame in frames] == [None, *["subscribe"] * 3]
    assert all(frame["custom_feature_enabled"] for frame in frames)
    (first,) = _read(Subscriptions().subscribe(IDS[:1]))
    assert first["type"] == "market", "another connection knows nothing of this one"


@pytest.mark.parametrize("begun", [True, False])
def test_a_book_is_had_anew_by_subscribing_again(begun: bool) -> None:
    subscriptions = Subscriptions()
    if begun:
        subscriptions.subscribe(IDS[:3])
    frames = _read(subscriptions.resync(iter(IDS[:2])))
    # nothing may come before a connection's first frame
    assert [frame.get("operation", "first") for frame in frames] == (
        ["unsubscribe", "subscribe"] if begun else ["first"]
    )
    assert all(frame["assets_ids"] == IDS[:2] for frame in frames)


def test_nothing_else_is_sent() -> None:
    subscriptions = Subscriptions()
    assert subscriptions.unsubscribe(IDS) == []
    assert subscriptions.opening() == subscriptions.outbox == []
