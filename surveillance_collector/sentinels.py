"""Sentinels: on each connection an asset that speaks so often that its silence means something.

The busiest of a connection's own assets is its sentinel, if it is busy enough. Otherwise the
busiest asset of another connection is subscribed on this one too, only to be heard: it makes no
row here, and where the other connection hears it and this one does not, this one has stalled. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from surveillance_collector.following import Followed
from surveillance_collector.silence import Silence

GAPS_A_DEADLINE: Final = 20.0
"""Messages in the longest allowed silence that make an asset busy: see ``silence``, k is about 12
mean gaps over the longest of a block."""

AHEAD_SECONDS: Final = 1.0
"""How much later than here the asset has to be heard elsewhere: looking takes turns."""


@dataclass(frozen=True)
class Choice:
    """Which asset watches over a connection."""

    asset_id: str
    own: bool


class Changes:
    """Messages of each asset between two moments at which their sentinel is chosen."""

    def __init__(self) -> None:
        self._versions: dict[str, tuple[str, int]] = {}

    def take(self, assets: Iterable[Followed]) -> dict[str, int]:
        """Changes of each standing book since the last call, where it is on the same connection."""
        before, self._versions = self._versions, {}
        changes: dict[str, int] = {}
        for followed in assets:
            if followed.terms.primary and followed.state.opened and not followed.resolved:
                asset_id = followed.terms.asset_id
                mark = self._versions[asset_id] = (followed.conn, followed.state.version)
                conn, version = before.get(asset_id, ("", 0))
                changes[asset_id] = mark[1] - version if conn == mark[0] else 0
        return changes


def choose(
    changes: Mapping[str, int], held: Mapping[str, Iterable[str]], least: float
) -> dict[str, Choice]:
    """The sentinel of each connection that can have one.

    Parameters
    ----------
    changes
        Messages of each asset in a period.
    held
        Assets of each connection, by its name.
    least
        Messages in the period that make an asset busy.

    Examples
    --------
    >>> choices = choose({"a": 50, "b": 1}, {"one": ["a"], "two": ["b"]}, least=20)
    >>> choices["one"], choices["two"]
    (Choice(asset_id='a', own=True), Choice(asset_id='a', own=False))
    """
    busiest = max(changes, key=lambda asset_id: (changes[asset_id], asset_id), default="")
    choices: dict[str, Choice] = {}
    for name, assets in held.items():
        own = max(assets, key=lambda asset_id: (changes.get(asset_id, 0), asset_id), default="")
        if changes.get(own, 0) >= least:
            choices[name] = Choice(own, own=True)
        elif changes.get(busiest, 0) >= least:
            choices[name] = Choice(busiest, own=False)
    return choices


class Sentinel:
    """One connection's sentinel and its own history."""

    def __init__(self, choice: Choice, silence: Silence, now: float) -> None:
        self.choice = choice
        self.silence = silence
        silence.begin(now)
        self._mark: tuple[str, int] | None = None
        self._told = 0.0

    def look(self, conn: str, version: int, now: float) -> None:
        """See whether its book, which the connection carries, has changed."""
        mark = (conn, version)
        if self._mark is None or self._mark[0] != conn:
            self.silence.begin(now)
        elif self._mark != mark:
            self.silence.heard(now)
        self._mark = mark

    def hear(self, at: float) -> None:
        """It was last heard at this moment, where it is listened to."""
        if at > self.silence.since:
            self.silence.heard(at)

    def missed(self, now: float) -> bool:
        """Whether it has just been silent for too long; asked again, after as long again."""
        if not self.silence.overdue(now) or now - self._told < self.silence.deadline:
            return False
        self._told = now
        return True
