"""Records of the journal: the engine's inputs in order, each with its checksum. Pure.

A record is ``length`` and ``crc`` (little-endian, 32 bits each; CRC-32C of the body), then the
body: kind (8 bits), receive time (64 bits, nanoseconds since the epoch), the connection's number
(32 bits), and the payload: a frame as it came, or what else the kind says in MessagePack.

Inputs have a *position*, one more than that of the input before them; what only describes the
state at a segment's beginning has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple, cast

import google_crc32c
import msgspec

from surveillance_collector.sampling import Sampling, Tier
from surveillance_core.markets import Venue
from surveillance_core.venues.protocols import AssetTerms, ReceivedFrame

FORMAT: Final = 1
"""Version of the records; a reader knows its own and the one before."""

crc32c = cast("Callable[[bytes], int]", google_crc32c.value)

_HEAD: Final = Struct("<II")
_BODY: Final = Struct("<BqI")
_pack_head, _pack_body = _HEAD.pack, _BODY.pack


class Kind(IntEnum):
    """What a record says."""

    HEADER = 1
    CHECKPOINT = 2
    """The engine's state before the first input of the segment."""
    STANDING_CONNECTION = 3
    STANDING_ASSETS = 4
    """What was open and followed then: what is to be had where the checkpoint cannot be read."""
    CONNECT = 16
    FOLLOW = 17
    FORGET = 18
    DISCONNECT = 19
    DOUBT = 20
    FRAME = 21
    MARK = 22
    """Time passed, and what had been produced so far was taken to be published."""
    FINISH = 23
    """The end of input: everything was judged and covered."""
    SHED = 24
    """Assets that are about to be unsubscribed because what they bring could not be kept."""
    HOLD_UP = 25
    """What a connection brings waits to be read."""
    CATCH_UP = 26
    """What waited on a connection has been read."""

    @property
    def is_input(self) -> bool:
        """Whether it has a position."""
        return self >= Kind.CONNECT


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a segment is."""

    venue: Venue
    shard: str
    first: int
    """Position of the first input that it may hold."""
    run: int
    """Position of the first input of the process that wrote it: another one, another run."""
    continues: bool
    """Whether it only goes on where the file before it failed: there is no checkpoint."""
    sampling: Sampling
    """How the run read its books: recovery reads them at the same instants."""
    format: int = FORMAT


class Follow(msgspec.Struct, frozen=True, array_like=True):
    """Assets and how often they are read."""

    tier: Tier
    assets: list[AssetTerms]


class Disconnect(msgspec.Struct, frozen=True, array_like=True):
    """Why a connection ended, and since when it told nothing, if that is not its end."""

    cause: str
    since_ns: int | None


class Doubt(msgspec.Struct, frozen=True, array_like=True):
    """Assets that something outside the connection contradicts."""

    asset_ids: list[str]
    cause: str
    since_ns: int


class Record(NamedTuple):
    """One record as read."""

    kind: int
    recv_ns: int
    conn: int
    payload: bytes


class JournalDamaged(ValueError):
    """A segment's beginning, or a record's payload, is not what this program writes."""


encode_payload: Final = msgspec.msgpack.Encoder().encode
decode_header: Final = msgspec.msgpack.Decoder(Header).decode
decode_follow: Final = msgspec.msgpack.Decoder(Follow).decode
decode_forget: Final = msgspec.msgpack.Decoder(list[str]).decode
decode_shed: Final = decode_forget
decode_disconnect: Final = msgspec.msgpack.Decoder(Disconnect).decode
decode_doubt: Final = msgspec.msgpack.Decoder(Doubt).decode
decode_hold_up: Final = msgspec.msgpack.Decoder(int).decode
"""Since when nothing was read, nanoseconds on the receive clock."""


def encode_record(kind: int, recv_ns: int, conn: int, payload: bytes) -> bytes:
    """A record's bytes.

    Examples
    --------
    >>> [r.payload for r in Segment(encode_record(Kind.FRAME, 5, 1, b"{}"))]
    [b'{}']
    """
    body = _pack_body(kind, recv_ns, conn) + payload
    return _pack_head(len(body), crc32c(body)) + body


def frame_records(conn: int, frames: Iterable[ReceivedFrame]) -> list[bytes]:
    """The records of frames as they came, text or bytes."""
    pack_head, pack_body, kind, checksum = _pack_head, _pack_body, int(Kind.FRAME), crc32c
    records: list[bytes] = []
    for frame, recv_ns in frames:
        payload = frame if isinstance(frame, bytes) else frame.encode("utf-8", "surrogatepass")
        body = pack_body(kind, recv_ns, conn) + payload
        records.append(pack_head(len(body), checksum(body)) + body)
    return records


class Segment:
    """Records of a file's content, up to the first that is not sound.

    After the reading ``sound_bytes`` is where that is: the content's length where all are.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.sound_bytes = 0

    @property
    def skipped_bytes(self) -> int:
        """What could not be read, once all that can be has been."""
        return len(self._content) - self.sound_bytes

    def __iter__(self) -> Iterator[Record]:
        view = memoryview(self._content)
        total, at = len(view), 0
        self.sound_bytes = 0
        head, body_head, body_start = _HEAD.size, _BODY.unpack_from, _BODY.size
        while at + head <= total:
            length, crc = _HEAD.unpack_from(view, at)
            end = at + head + length
            if length < body_start or end > total:
                return
            body = bytes(view[at + head : end])
            if crc32c(body) != crc:
                return
            kind, recv_ns, conn = body_head(body)
            at = self.sound_bytes = end
            yield Record(kind, recv_ns, conn, body[body_start:])


def read_header(content: bytes) -> tuple[Header, int]:
    """The header that a segment's content begins with, and when that was written, nanoseconds.

    Raises
    ------
    JournalDamaged
        If it does not, or is of a format that this program does not read.
    """
    record = next(iter(Segment(content)), None)
    if record is None or record.kind != Kind.HEADER:
        raise JournalDamaged("no header")
    try:
        header = decode_header(record.payload)
    except msgspec.DecodeError as error:
        raise JournalDamaged(f"header: {error}") from error
    if not FORMAT - 1 <= header.format <= FORMAT:
        raise JournalDamaged(f"format {header.format}; this program reads {FORMAT}")
    return header, record.recv_ns
