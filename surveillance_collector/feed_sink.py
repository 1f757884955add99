"""Who takes what a connection brings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from surveillance_collector.sampling import Tier
from surveillance_core.venues.protocols import AssetTerms, ConnectionCommands


class FeedSink(Protocol):
    """Who takes what a connection brings; the engine, in the collector."""

    def connect(self, conn: str, recv_ns: int) -> ConnectionCommands: ...

    def follow(self, conn: str, assets: Sequence[AssetTerms], tier: Tier, recv_ns: int) -> None: ...

    def forget(self, conn: str, asset_ids: Sequence[str], recv_ns: int) -> None: ...

    def take(self, conn: str, frame: bytes | str, recv_ns: int) -> None: ...

    def apply_taken(self) -> None: ...

    @property
    def crowded(self) -> bool: ...

    async def room(self) -> None: ...

    def disconnect(
        self, conn: str, recv_ns: int, cause: str, since_ns: int | None = None
    ) -> None: ...

    def hold_up(self, conn: str, since_ns: int, recv_ns: int) -> None: ...

    def catch_up(self, conn: str, recv_ns: int) -> None: ...

    def doubt(self, conn: str, asset_id: str, cause: str, since_ns: int, recv_ns: int) -> None: ...
