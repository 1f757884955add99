"""What is sent on an open connection: commands in the order of the calls, and pings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

PING_SECONDS = 10.0
"""Between two pings; less where a peer that is gone has to be missed sooner."""
SEND_SECONDS = 10.0
"""A peer that takes no commands for this long is given up."""
_PONG_SHARE = 0.6
"""Of the time in which a peer that is gone has to be missed, what the answer to a ping may take."""

log = structlog.get_logger()


class Sending:
    """Sends commands, those of one call before those of the next."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def send_all(self, socket: ClientConnection, conn: str, frames: Iterable[str]) -> None:
        """Send frames; a peer that does not take them is given up."""
        async with self._turn:
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    for frame in frames:
                        await socket.send(frame)
            except ConnectionClosed:
                log.info("feed_send_after_close", conn=conn)
            except TimeoutError:
                log.warning("feed_send_stuck", conn=conn)
                socket.transport.abort()


async def ping_until_gone(
    socket: ClientConnection,
    text: str | None,
    half_open_seconds: float,
    *,
    sent_text: Callable[[], None],
    answered: Callable[[float], None],
    lives: Callable[[float], bool],
) -> bool:
    """Ping until the connection is closed, or the peer neither answers nor sends anything else.

    Parameters
    ----------
    text
        Text frame sent with each ping, None for none.
    half_open_seconds
        Longest time in which a peer that answers nothing is found out.
    sent_text
        Called with each text frame that is sent.
    answered
        Told how many seconds each answer took.
    lives
        Whether a peer without an answer has shown since then, on ``time.monotonic``, that it lives.

    Returns
    -------
    bool
        Whether the peer is gone; False where the connection was closed.
    """
    patience = _PONG_SHARE * half_open_seconds
    while True:
        await asyncio.sleep(min(PING_SECONDS, half_open_seconds / 3))
        sent = time.monotonic()
        try:
            async with asyncio.timeout(patience):
                pong = await socket.ping()
                if text is not None:
                    sent_text()
                    await socket.send(text)
                answered(await pong)
        except TimeoutError:
            if not lives(sent):
                return True
        except ConnectionClosed:
            return False
