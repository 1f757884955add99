"""Faults to order: what can go wrong with a venue, queued by a test and met by the servers.

Pure state: nothing happens here. The REST side asks ``take_rest`` for each request, the socket side
``take_socket`` and ``take_stream`` at each turn of its pump, ``take_handshake`` for each handshake.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
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
    after: int = 0
    """Requests that pass before."""
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


class Skip(msgspec.Struct, frozen=True):
    """Withhold so many numbered frames of data on each connection; their numbers are used up."""

    frames: int


class Duplicate(msgspec.Struct, frozen=True):
    """Send the next so many numbered frames twice."""

    frames: int


class Reorder(msgspec.Struct, frozen=True):
    """Swap the next two numbered frames."""


class HalfOpen(msgspec.Struct, frozen=True):
    """Send and answer nothing, pings included, for so many seconds of wall time; then cut."""

    seconds: float


class Slow(msgspec.Struct, frozen=True):
    """Delay each of the next so many frames by seconds of wall time."""

    seconds: float
    frames: int


class Fail(msgspec.Struct, frozen=True):
    """End streams with a terminal error: 10 those of books, 25 all of them and the connection."""

    code: int


class Refuse(msgspec.Struct, frozen=True):
    """Answer the next so many handshakes with an HTTP status."""

    status: int
    times: int


StreamFault = Skip | Duplicate | Reorder | HalfOpen | Slow | Fail
"""Faults of a venue whose connections carry numbered streams."""

Fault = RestFault | SocketFault | StreamFault | Refuse


class Faults:
    """The faults waiting to happen, in the order they were asked for.

    Parameters
    ----------
    schedule
        Faults that order themselves, each with the venue's time in milliseconds; see ``meet``.
    """

    def __init__(self, schedule: Iterable[tuple[int, Fault]] = ()) -> None:
        self._rest: list[RestFault] = []
        self._socket: deque[SocketFault] = deque()
        self._stream: deque[StreamFault] = deque()
        self._refusals: deque[int] = deque()
        # stable: faults of one moment keep the order they were given in
        self._schedule = deque(sorted(schedule, key=lambda item: item[0]))

    def meet(self, now_ms: int) -> None:
        """Order what the schedule has until then."""
        while self._schedule and self._schedule[0][0] <= now_ms:
            self.order(self._schedule.popleft()[1])

    def order(self, fault: Fault) -> None:
        """Have a fault happen next."""
        if isinstance(fault, RestFault):
            # a fault counts itself off: the schedule's own is left as it was written
            self._rest.append(msgspec.structs.replace(fault))
        elif isinstance(fault, Refuse):
            self._refusals.extend([fault.status] * fault.times)
        elif isinstance(fault, SocketFault):
            self._socket.append(fault)
        else:
            self._stream.append(fault)

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
            if path.startswith(fault.path) and fault.after > 0:
                fault.after -= 1
            elif path.startswith(fault.path) and fault.times > 0:
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

    def take_stream(self) -> list[StreamFault]:
        """The faults of numbered streams that are due, in order."""
        due = list(self._stream)
        self._stream.clear()
        return due

    def take_handshake(self) -> int | None:
        """The status that this handshake is refused with, counted off."""
        return self._refusals.popleft() if self._refusals else None
