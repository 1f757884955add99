"""When sockets are not read, and what that does to connections."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

BACKPRESSURE: Final = "backpressure"
"""Why the ledger does not trust what was not read."""
PATIENCE_NS: Final = 30_000_000_000
"""A pause after which no book is believed any more: it may go on for hours."""
LASTING_NS: Final = 5_000_000_000
"""A pause of less than this ends no connection."""
AFTERMATH_NS: Final = 10_000_000_000
"""How long after a pause a connection is found to have died of it."""
_OWN_ENDINGS: Final = frozenset({"stopped", "failed"})


class Crowd(Protocol):
    """Something that can hold only so much; the journal."""

    @property
    def crowded(self) -> bool:
        """Whether it holds all that it can."""
        ...

    async def room(self) -> None:
        """Return when it does not."""
        ...


class BackPressure:
    """Holds whoever reads sockets back while the journal or the rows fill the memory.

    What a venue sends meanwhile waits in the sockets. Where a connection dies of that, whatever it
    brought after the pause began is missing, and the ledger says since when and why.

    Parameters
    ----------
    rows_limit
        Rows held from which on no socket is read.
    """

    def __init__(self, journal: Crowd, rows_limit: int | None = None) -> None:
        self._journal = journal
        self._limit = rows_limit
        self._rows_fit = asyncio.Event()
        self._rows_fit.set()
        self._noted_ns = 0
        self._pause: tuple[int, int | None] | None = None
        """When the last pause began and ended."""
        self._told = False
        self.pauses = 0

    @property
    def crowded(self) -> bool:
        """Whether ``room`` would wait."""
        return self._journal.crowded or not self._rows_fit.is_set()

    async def room(self) -> None:
        """Return when sockets may be read."""
        while self.crowded:
            await self._journal.room()
            await self._rows_fit.wait()

    def note(self, rows_held: int, now_ns: int) -> None:
        """How many rows are held now; to be called several times a second."""
        if self._limit is not None:
            least = self._limit if self._rows_fit.is_set() else 0.9 * self._limit
            if rows_held >= least:
                self._rows_fit.clear()
            else:
                self._rows_fit.set()
        paused = self._pause is not None and self._pause[1] is None
        if self.crowded and not paused:
            self._pause, self._told = (self._noted_ns or now_ns, None), False
            self.pauses += 1
        elif not self.crowded and paused and self._pause is not None:
            self._pause = (self._pause[0], now_ns)
        self._noted_ns = now_ns

    def unheard_since(self, now_ns: int) -> int | None:
        """Since when no socket has been read, once a pause, where books can no longer stand."""
        if self._pause is None or self._told or self._pause[1] is not None:
            return None
        begun = self._pause[0]
        self._told = now_ns - begun >= PATIENCE_NS
        return begun if self._told else None

    def ending(self, cause: str, since_ns: int | None, recv_ns: int) -> tuple[str, int | None]:
        """Why a connection ended, and since when it told nothing, in the light of the last pause.

        Examples
        --------
        >>> class Never:
        ...     crowded = False
        ...
        ...     async def room(self) -> None: ...
        >>> second = 1_000_000_000
        >>> pressure = BackPressure(Never(), rows_limit=10)
        >>> for at, rows in [(1, 0), (2, 10), (30, 0)]:
        ...     pressure.note(rows, at * second)
        >>> pressure.ending("closed_1011", None, 31 * second)
        ('backpressure', 1000000000)
        >>> pressure.ending("closed_1011", None, 90 * second)
        ('closed_1011', None)
        """
        if self._pause is None or cause in _OWN_ENDINGS:
            return cause, since_ns
        begun, ended = self._pause
        until = recv_ns if ended is None else ended
        if until - begun < LASTING_NS or recv_ns - until > AFTERMATH_NS:
            return cause, since_ns
        return BACKPRESSURE, begun if since_ns is None else min(begun, since_ns)
