"""What whoever plans, watches or reports a connection may know of it; only itself changes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from websockets.asyncio.client import ClientConnection

from surveillance_collector.backlog import Backlog
from surveillance_collector.sampling import Tier
from surveillance_collector.silence import Silence
from surveillance_core.venues.protocols import AssetTerms


class FeedState:
    """A place in the plan: the assets it holds, the connection that it has, those that it had.

    Parameters
    ----------
    name
        The place.
    silence
        How long data may stay away.
    numbers
        Numbers its connections; shared by all that hold the place, who may be two at a time.
    """

    _backlog: Backlog
    """How late the connection is read."""

    def __init__(self, name: str, silence: Silence, numbers: Iterator[int]) -> None:
        self.name = name
        self.silence = silence
        self._assets: dict[str, tuple[AssetTerms, Tier]] = {}
        self._socket: ClientConnection | None = None
        self._announces = False
        self._conn = ""
        self.numbers = numbers
        self._last_data_ns = 0
        self._heard = 0.0
        """When data last came, on the clock that silence is measured by; 0 before any has."""
        self._listened: AssetTerms | None = None
        self._listened_name = b""
        self.listened_at = 0.0
        """When the asset that is only listened to last was, on ``time.monotonic``."""
        self.listened_ns = 0
        self.ping_seconds: float | None = None
        """What the last answered ping took, there and back."""
        self.endings: Counter[str] = Counter()
        """Connections and attempts that ended, by cause."""
        self.refused = False
        """Whether the venue refused the last attempt, which coming back does not mend."""

    @property
    def reconnects(self) -> int:
        """Connections and attempts that ended."""
        return self.endings.total()

    @property
    def connected(self) -> bool:
        """Whether a socket is open."""
        return self._socket is not None

    @property
    def announces(self) -> bool:
        """Whether the connection also hears what the venue announces of every market."""
        return self._announces

    @property
    def conn(self) -> str:
        """The open connection's id, empty while there is none."""
        return self._conn

    @property
    def held(self) -> dict[Tier, list[AssetTerms]]:
        """The assets by how often they are read."""
        return {
            tier: [terms for terms, own in self._assets.values() if own is tier]
            for tier in dict.fromkeys(tier for _, tier in self._assets.values())
        }

    @property
    def assets(self) -> int:
        """Assets this connection holds."""
        return len(self._assets)

    @property
    def heard(self) -> float | None:
        """When data last came, on ``time.monotonic``; None before any has."""
        return self._heard or None

    @property
    def heard_ns(self) -> int:
        """When data last came on the open connection, or it opened, on the receive clock."""
        return self._last_data_ns

    @property
    def listened(self) -> AssetTerms | None:
        """The asset that is subscribed only to hear that something comes."""
        return self._listened

    @property
    def held_up(self) -> bool:
        """Whether what it brings waits, so that its silence means nothing."""
        return self._backlog.paused or self._backlog.held_up

    def holds(self, asset_id: str) -> bool:
        """Whether the asset is one of this connection's own."""
        return asset_id in self._assets
