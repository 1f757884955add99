"""Faults to order: what can go wrong with a venue, queued by a test and met by the servers.

Pure state: nothing happens here. The REST side asks ``take_rest`` for each request, the socket side
``take_socket`` at each turn of its pump.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum

import msgspec


class RestKind(StrEnum):
    """How an answer is spoiled."""

    STATUS = "status"
    MALFORMED = "malformed"
    EMPTY_PAGE = "empty_page"
    ENDLESS_CURSOR = "endless_cursor"


class RestFault(msgspec.Struct, kw_only=True):
    """Spoils the next ``times`` requests whose path starts with ``path``."""

    path: str
    kind: RestKind
    times: int
    status: int = 500
    retry_after: float | None = None
    """Seconds for the ``Retry-After`` header; None leaves the header out."""
    fresh_cursor: bool = False


class Inject(msgspec.Struct, frozen=True):
    """A frame to every open socket, as it is."""

    frame: str | bytes


class Drop(msgspec.Struct, frozen=True):
    """Close every socket; code 1006 cuts the connection without a close frame."""

    code: int
    reason: str


class Stall(msgspec.Struct, frozen=True):
    """Send no data for so many seconds of wall time; what would have been sent is lost."""

    seconds: float


SocketFault = Inject | Drop | Stall


class Faults:
    """The faults waiting to happen, in the order they were asked for."""

    def __init__(self) -> None:
        self._rest: list[RestFault] = []
        self._socket: deque[SocketFault] = deque()

    def fail_requests(
        self, path: str, status: int, *, retry_after: float | None = None, times: int = 1
    ) -> None:
        """Answer with an error status, with or without ``Retry-After``."""
        self._rest.append(
            RestFault(
                path=path,
                kind=RestKind.STATUS,
                times=times,
                status=status,
                retry_after=retry_after,
            )
        )

    def malform_body(self, path: str, *, times: int = 1) -> None:
        """Answer 200 with a body that breaks off in the middle."""
        self._rest.append(RestFault(path=path, kind=RestKind.MALFORMED, times=times))

    def empty_page(self, path: str, *, times: int = 1) -> None:
        """Answer a listing with no events and no cursor."""
        self._rest.append(RestFault(path=path, kind=RestKind.EMPTY_PAGE, times=times))

    def endless_cursor(self, path: str, *, fresh: bool = False, times: int = 1) -> None:
        """Answer a listing with its first page and a cursor that leads back to it.

        ``fresh`` gives another cursor each time, otherwise it never changes.
        """
        self._rest.append(
            RestFault(path=path, kind=RestKind.ENDLESS_CURSOR, times=times, fresh_cursor=fresh)
        )

    def inject(self, frame: str | bytes) -> None:
        """Send a raw frame to every socket."""
        self._socket.append(Inject(frame))

    def drop_connections(self, code: int = 1006, reason: str = "") -> None:
        """Close every socket with a code."""
        self._socket.append(Drop(code, reason))

    def stall(self, seconds: float) -> None:
        """Stop sending data while the sockets stay open and still answer PING."""
        self._socket.append(Stall(seconds))

    def take_rest(self, path: str) -> RestFault | None:
        """The fault this request meets, counted off."""
        for fault in self._rest:
            if path.startswith(fault.path) and fault.times > 0:
                fault.times -= 1
                if not fault.times:
                    self._rest.remove(fault)
                return fault
        return None

    def take_socket(self) -> list[SocketFault]:
        """The socket faults that are due, in order."""
        due = list(self._socket)
        self._socket.clear()
        return due
