"""The frames a market-channel connection sends. Pure; facts: reference polymarket.md 3.2."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from surveillance_core.venues.polymarket.wire import ASSETS_A_FRAME
from surveillance_core.venues.protocols import AssetTerms


class Subscriptions:
    """What one connection has sent; see ``protocols.ConnectionCommands``.

    The first frame of a connection has a form of its own, and nothing may come before it.
    """

    def __init__(self) -> None:
        self.outbox: list[str] = []
        """Always empty: nothing that the venue sends calls for an answer."""
        self._begun = False

    def opening(self) -> list[str]:
        """Nothing: every subscription brings what the venue announces of all markets."""
        return []

    def subscribe(self, asset_ids: Iterable[str]) -> list[str]:
        """Subscribe assets; their books come in one answer a frame."""
        frames: list[str] = []
        for chunk in _chunks(asset_ids):
            head = {"operation": "subscribe"} if self._begun else {"type": "market"}
            self._begun = True
            frames.append(_encode({**head, "assets_ids": chunk, "custom_feature_enabled": True}))
        return frames

    def unsubscribe(self, asset_ids: Iterable[str]) -> list[str]:
        """Unsubscribe assets; nothing where nothing was ever subscribed."""
        if not self._begun:
            return []
        return [
            _encode({"operation": "unsubscribe", "assets_ids": chunk})
            for chunk in _chunks(asset_ids)
        ]

    def resync(self, asset_ids: Iterable[str]) -> list[str]:
        """Have books sent anew: the venue sends one whenever an asset is subscribed."""
        wanted = list(asset_ids)
        return [*self.unsubscribe(wanted), *self.subscribe(wanted)]

    def listen(self, terms: AssetTerms) -> list[str]:
        """Subscribe an asset that the channel does not follow."""
        return self.subscribe([terms.asset_id])


def _chunks(asset_ids: Iterable[str]) -> Iterator[list[str]]:
    wanted = list(asset_ids)
    for start in range(0, len(wanted), ASSETS_A_FRAME):
        yield wanted[start : start + ASSETS_A_FRAME]


def _encode(frame: dict[str, object]) -> str:
    return msgspec.json.encode(frame).decode()
