"""Handshakes of WebSockets, why they were refused, and the sockets under them."""

from __future__ import annotations

import socket
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from surveillance_collector.reconnection import Ending
from surveillance_core.venues.rest import retry_after

_CLOCK_SECONDS: Final = 5
"""A signature made on a clock that is off by more is likely to be refused."""
_LONGEST_SECONDS: Final = 3_600.0
"""Within what kernels take for the times below."""
_REFUSED_BY_KEY: Final = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


class Connect(connect):
    """A handshake that is made with the host it was signed for and with no other."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Refuse to be sent elsewhere."""
        return exc


def miss_a_dead_peer(connection: ClientConnection, seconds: float) -> None:
    """Have the kernel end a connection whose peer acknowledges nothing, where it can."""
    found: object = connection.transport.get_extra_info("socket")
    if found is None:
        return
    seconds = min(seconds, _LONGEST_SECONDS)
    options = {
        "TCP_KEEPIDLE": max(1, int(seconds / 3)),
        "TCP_KEEPINTVL": max(1, int(seconds / 6)),
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": int(seconds * 1_000),
    }
    transport = cast("socket.socket", found)
    transport.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in options.items():
        option = getattr(socket, name, None)
        if option is not None:
            transport.setsockopt(socket.IPPROTO_TCP, option, value)


def ending_of(refusal: InvalidStatus) -> Ending:
    """How an attempt ended whose handshake was refused."""
    status = refusal.response.status_code
    asked = retry_after(refusal.response.headers.get("retry-after"))
    return Ending(f"handshake_{status}", status=status, retry_after=asked)


def advice_after(refusal: InvalidStatus, wall_ms: int) -> dict[str, str]:
    """The next step after a refused handshake, where it is known."""
    if refusal.response.status_code not in _REFUSED_BY_KEY:
        return {}
    try:
        told = parsedate_to_datetime(refusal.response.headers.get("date", "")).timestamp()
    except (ValueError, OverflowError):
        told = wall_ms / 1e3
    off_seconds = round(wall_ms / 1e3 - told)
    if abs(off_seconds) > _CLOCK_SECONDS:
        return {"next_step": f"set this machine's clock: it is {off_seconds:+d} s off the venue's"}
    return {"next_step": "check the key, that it is this host's, and this machine's clock"}
