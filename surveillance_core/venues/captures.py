"""Recorded frames: JSON lines, plain, gzip or zstd, read and written as typed records.

The format: ``{"recv_ns", "conn", "event": "connected"}`` where a connection was opened,
``"disconnected"`` where it ended, ``{"recv_ns", "conn", "event": "asset", "market", "asset_id",
"min_order_size", "tick_size", "neg_risk"}`` for what REST says of an asset and the socket does not,
and ``{"recv_ns", "conn", "frame"}`` for a frame as received. Damage is reported line by line and
never stops the reading.

What the raw archive keeps says more, so that the engine can be given the very same input again:

- ``"began"`` begins a file of the archive: the process by its ``run``, and the position of its
  ``first`` input, as the journal counts them. What such a file does not say did not happen.
- ``"connected"`` and ``"asset"`` with ``"standing": true`` only tell how things stood then.
- ``"asset"`` has the exact terms besides: ``tier``, ``primary``, ``mirror_id``, ``tick``.
- ``"disconnected"`` has ``cause`` and ``since_ns``; ``"forgotten"`` (``asset_ids``) and
  ``"doubted"`` (``asset_ids``, ``cause``, ``since_ns``) tell what else was decided, as does
  ``"shed"`` (``asset_ids``) of what is given up to spare the disk.
- ``"held_up"`` (``since_ns``) and ``"caught_up"`` tell between when what a connection brought
  waited to be read.
- ``"passed"`` tells that time passed (``"standing": true``: the file ends),
  ``"finished"`` that the input ended and all was judged.
- A frame that is no valid UTF-8 is in hexadecimal, ``frame_hex``.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Literal, cast

import msgspec
import zstandard

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
CAPTURE_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".zst")


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=True):
    """A line that is no frame."""

    recv_ns: int


class Began(_Event, frozen=True, kw_only=True, tag="began"):
    """A file of the archive begins, with the input at the position ``first`` of a run."""

    run: int
    first: int


class Connected(_Event, frozen=True, kw_only=True, tag="connected"):
    """A connection was opened; where ``standing``, at some time before."""

    conn: str
    standing: bool = False


class Disconnected(_Event, frozen=True, kw_only=True, tag="disconnected"):
    """A connection ended, and had told nothing since ``since_ns`` if that was earlier."""

    conn: str
    cause: str | None = None
    since_ns: int | None = None


class AssetRecord(_Event, frozen=True, kw_only=True, tag="asset"):
    """What REST said of an asset; prices and sizes as spelled there, None where not recorded.

    From ``tier`` on it is what the archive alone has: ``tick`` in ticks of 0.0001 dollars.
    """

    conn: str
    market: str
    asset_id: str
    min_order_size: str | None = None
    tick_size: str | None = None
    neg_risk: bool | None = None
    tier: str | None = None
    primary: bool | None = None
    mirror_id: str | None = None
    tick: int | None = None
    standing: bool = False


class Forgotten(_Event, frozen=True, kw_only=True, tag="forgotten"):
    """Assets were unsubscribed; without a connection where it had ended before."""

    conn: str
    asset_ids: tuple[str, ...]


class DoubtedAssets(_Event, frozen=True, kw_only=True, tag="doubted"):
    """Something outside the connection contradicted the assets' books."""

    conn: str
    asset_ids: tuple[str, ...]
    cause: str
    since_ns: int


class ShedAssets(_Event, frozen=True, kw_only=True, tag="shed"):
    """Assets were about to be given up to spare the disk."""

    asset_ids: tuple[str, ...]


class HeldUp(_Event, frozen=True, kw_only=True, tag="held_up"):
    """What the connection brought had not been read since then."""

    conn: str
    since_ns: int


class CaughtUp(_Event, frozen=True, kw_only=True, tag="caught_up"):
    """What had waited on the connection had been read."""

    conn: str


class Passed(_Event, frozen=True, kw_only=True, tag="passed"):
    """Time passed up to here; where ``standing``, only the file ends here."""

    standing: bool = False


class Finished(_Event, frozen=True, kw_only=True, tag="finished"):
    """The input ended, and what stood was judged."""


class FrameRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One frame as received, ``recv_ns`` nanoseconds since the epoch."""

    recv_ns: int
    conn: str
    frame: str
    """As text; where it is none, what can be shown of it."""
    raw: bytes | None = None
    """The frame itself where it is no text."""

    @property
    def received(self) -> str | bytes:
        """The frame as it came."""
        return self.frame if self.raw is None else self.raw


class Damaged(msgspec.Struct, frozen=True, kw_only=True):
    """A line that could not be read; ``line`` counts from 1."""

    line: int
    cause: str


EventRecord = (
    Began
    | Connected
    | Disconnected
    | AssetRecord
    | Forgotten
    | DoubtedAssets
    | ShedAssets
    | HeldUp
    | CaughtUp
    | Passed
    | Finished
)
CaptureRecord = EventRecord | FrameRecord | Damaged


class _Line(msgspec.Struct):
    """Any line, before it is known which kind it is."""

    recv_ns: int
    conn: str | None = None
    event: (
        Literal[
            "began", "connected", "disconnected", "asset", "forgotten", "doubted", "shed",
            "held_up", "caught_up", "passed", "finished",
        ]
        | None
    ) = None  # fmt: skip
    frame: str | None = None
    frame_hex: str | None = None


class _HexLine(msgspec.Struct):
    recv_ns: int
    conn: str
    frame_hex: str


class _TextLine(msgspec.Struct):
    recv_ns: int
    conn: str
    frame: str


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_event: Final = msgspec.json.Decoder(EventRecord).decode
_encode = msgspec.json.Encoder().encode


def frame_record(recv_ns: int, conn: str, payload: bytes) -> FrameRecord:
    """A frame as it came, as text where it is some."""
    try:
        return FrameRecord(recv_ns=recv_ns, conn=conn, frame=payload.decode())
    except UnicodeDecodeError:
        shown = payload.decode("utf-8", "backslashreplace")
        return FrameRecord(recv_ns=recv_ns, conn=conn, frame=shown, raw=payload)


def capture_line(record: EventRecord | FrameRecord) -> bytes:
    r"""The line of a record, its end included.

    Examples
    --------
    >>> capture_line(frame_record(5, "c1", b"{}"))
    b'{"recv_ns":5,"conn":"c1","frame":"{}"}\n'
    >>> capture_line(frame_record(5, "c1", b"\xff"))
    b'{"recv_ns":5,"conn":"c1","frame_hex":"ff"}\n'
    """
    if not isinstance(record, FrameRecord):
        return _encode(record) + b"\n"
    if record.raw is None:
        return _encode(_TextLine(record.recv_ns, record.conn, record.frame)) + b"\n"
    return _encode(_HexLine(record.recv_ns, record.conn, record.raw.hex())) + b"\n"


def read_capture(path: Path) -> Iterator[CaptureRecord]:
    """Records of one capture in the order of the file.

    The compression is told by the first bytes, not by the name. A file that breaks off inside its
    compression ends with a ``Damaged`` record.

    Raises
    ------
    OSError
        If the file cannot be opened or read.
    """
    with path.open("rb") as file:
        yield from capture_records(file)


def capture_records(file: BinaryIO) -> Iterator[CaptureRecord]:
    """As ``read_capture``, of an open file that can be sought."""
    number = 0
    try:
        for number, line in enumerate(_opened(file), start=1):
            if line.strip():
                yield _read_line(line, number)
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        yield Damaged(line=number + 1, cause=f"the compression breaks off: {error}")


def _opened(file: BinaryIO) -> Iterator[bytes]:
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(_GZIP_MAGIC):
        return iter(gzip.GzipFile(fileobj=file))
    if magic == _ZSTD_MAGIC:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        return iter(io.BufferedReader(cast("io.RawIOBase", reader), buffer_size=1 << 20))
    return iter(file)


def _read_line(line: bytes, number: int) -> CaptureRecord:
    try:
        found = _decode_line(line)
        if found.event is not None:
            return _decode_event(line)
        if found.conn is not None and found.frame is not None:
            return FrameRecord(recv_ns=found.recv_ns, conn=found.conn, frame=found.frame)
        if found.conn is not None and found.frame_hex is not None:
            return frame_record(found.recv_ns, found.conn, bytes.fromhex(found.frame_hex))
    except (ValueError, RecursionError) as error:
        # what msgspec raises is a ValueError too, as what is not UTF-8 or hexadecimal
        return Damaged(line=number, cause=str(error))
    return Damaged(line=number, cause="neither a frame of a connection nor a known event")
