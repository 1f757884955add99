"""What one connection brings while nobody reads it: from when on its books are doubted, until when.

TCP keeps what waits, and a venue may keep more that is not sent yet. That all of it has been read
is known only from the venue's answer to something asked later, which comes behind it. Nobody is
told of a pause that is over before the books are older than ``LATE_SECONDS``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

LATE_SECONDS: Final = 0.5
"""Books whose news may have waited for longer are not believed."""
PATIENCE_SECONDS: Final = 30.0
"""A venue that is read and has not answered for so long is not going to."""

log = structlog.get_logger()


class Ledger(Protocol):
    """Who is told since when books are late, and when they no longer are."""

    def hold_up(self, conn: str, since_ns: int, recv_ns: int) -> None:
        """What the connection brings waits unread since then."""
        ...

    def catch_up(self, conn: str, recv_ns: int) -> None:
        """What waited has been read."""
        ...


class Backlog:
    """Follows one connection from the first pause until it has been caught up with.

    Parameters
    ----------
    now_ns
        The receive clock.
    ask
        Sends what the venue answers.
    lost
        Called where the venue does not answer, with the time since when nothing is believed.
    failed
        Called with a failure of our own.
    """

    def __init__(
        self,
        conn: str,
        ledger: Ledger,
        now_ns: Callable[[], int],
        *,
        ask: Callable[[], Awaitable[None]],
        lost: Callable[[int], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._conn = conn
        self._ledger = ledger
        self._now_ns = now_ns
        self._ask = ask
        self._lost = lost
        self._failed = failed
        self._asked = 0
        self._answered = 0
        self._news = asyncio.Event()
        self._pauses = 0
        self.paused = False
        """Whether it is we who do not read."""
        self._resumed = 0.0
        self._following: asyncio.Task[None] | None = None
        self.held_up = False
        """Whether the books are not believed for what may wait."""

    @property
    def asking(self) -> bool:
        """Whether an answer is awaited."""
        return self._answered < self._asked

    def pause(self, since_ns: int) -> None:
        """Nothing is read any more; the last that was came at ``since_ns``."""
        self._pauses += 1
        self.paused = True
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._follow(since_ns))
            self._following.add_done_callback(self._note_end)

    def go_on(self) -> None:
        """What comes is read again."""
        self.paused = False
        self._resumed = asyncio.get_running_loop().time()

    def note_asked(self) -> None:
        """Something was sent that the venue answers in the same way."""
        self._asked += 1

    def note_answer(self) -> None:
        """An answer was read, after all that was sent before it."""
        if self.asking:
            self._answered += 1
            self._news.set()

    def stop(self) -> None:
        """The connection has ended."""
        if self._following is not None:
            self._following.cancel()

    async def _follow(self, since_ns: int) -> None:
        pauses = -1
        while pauses != self._pauses:
            pauses = self._pauses
            self.note_asked()
            number = self._asked
            try:
                async with asyncio.timeout(LATE_SECONDS):
                    await self._ask()
                    await self._answer(number)
            except TimeoutError:
                if not self.held_up:
                    self.held_up = True
                    log.warning("feed_held_up", conn=self._conn)
                    self._ledger.hold_up(self._conn, since_ns, self._now_ns())
                if not await self._late_answer(number):
                    self._lost(since_ns)
                    return
                pauses = -1
        if self.held_up:
            self.held_up = False
            log.info("feed_caught_up", conn=self._conn)
            self._ledger.catch_up(self._conn, self._now_ns())

    def _note_end(self, following: asyncio.Task[None]) -> None:
        if not following.cancelled() and (error := following.exception()) is not None:
            self._failed(error)

    async def _answer(self, number: int) -> None:
        while self._answered < number:
            self._news.clear()
            await self._news.wait()

    async def _late_answer(self, number: int) -> bool:
        """Wait for an answer for as long as there may be one; whether it came."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._answer(number)
            except TimeoutError:
                if not self.paused and loop.time() - self._resumed >= PATIENCE_SECONDS:
                    return False
            else:
                return True
