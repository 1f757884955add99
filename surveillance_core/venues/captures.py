"""Reader of recorded frames: JSON lines, plain, gzip or zstd, as typed records.

The format: ``{"recv_ns", "conn", "event": "connected"}`` where a connection was opened,
``"disconnected"`` where it ended, ``{"recv_ns", "conn", "event": "asset", "market", "asset_id",
"min_order_size", "tick_size", "neg_risk"}`` for what REST says of an asset and the socket does not,
and ``{"recv_ns", "conn", "frame"}`` for a frame as received. Damage is reported line by line and
never stops the reading.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, cast

import msgspec
import zstandard

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
CAPTURE_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".zst")


class Connected(msgspec.Struct, frozen=True, kw_only=True):
    """A connection was opened."""

    recv_ns: int
    conn: str


class Disconnected(msgspec.Struct, frozen=True, kw_only=True):
    """A connection ended."""

    recv_ns: int
    conn: str


class AssetRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What REST said of an asset; prices and sizes as spelled there, None where not recorded."""

    recv_ns: int
    conn: str
    market: str
    asset_id: str
    min_order_size: str | None = None
    tick_size: str | None = None
    neg_risk: bool | None = None


class FrameRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One frame as received, ``recv_ns`` nanoseconds since the epoch."""

    recv_ns: int
    conn: str
    frame: str


class Damaged(msgspec.Struct, frozen=True, kw_only=True):
    """A line that could not be read; ``line`` counts from 1."""

    line: int
    cause: str


CaptureRecord = Connected | Disconnected | AssetRecord | FrameRecord | Damaged


class _Line(msgspec.Struct):
    """Any line, before it is known which kind it is."""

    recv_ns: int
    conn: str
    event: Literal["connected", "disconnected", "asset"] | None = None
    frame: str | None = None


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_asset = msgspec.json.Decoder(AssetRecord).decode


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
        if found.event == "asset":
            return _decode_asset(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Damaged(line=number, cause=str(error))
    if found.event == "connected":
        return Connected(recv_ns=found.recv_ns, conn=found.conn)
    if found.event == "disconnected":
        return Disconnected(recv_ns=found.recv_ns, conn=found.conn)
    if found.frame is None:
        return Damaged(line=number, cause="neither a frame nor a known event")
    return FrameRecord(recv_ns=found.recv_ns, conn=found.conn, frame=found.frame)
