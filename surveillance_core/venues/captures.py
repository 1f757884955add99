"""Recordings of a venue's sockets, read record by record.

One JSON object a line, plain, gzip or zstandard: a connection was opened, what REST says of an
asset and the socket does not, or a frame as received. The raw archive and the quarantine keep
frames in the same format; members beyond these are ignored.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec
import zstandard


class Connected(msgspec.Struct, frozen=True):
    """A connection was opened."""

    recv_ns: int
    conn: str


class AssetRecord(msgspec.Struct, frozen=True):
    """What a market-data connection must know of an asset, spelled as on the wire."""

    recv_ns: int
    conn: str
    market: str
    asset_id: str
    min_order_size: str
    tick_size: str
    neg_risk: bool


class FrameRecord(msgspec.Struct, frozen=True):
    """A frame's text and when it was received."""

    recv_ns: int
    conn: str
    frame: str


class Damaged(msgspec.Struct, frozen=True):
    """A line that is no record, and why."""

    line: int
    cause: str


class _Line(msgspec.Struct):
    event: str | None = None
    frame: str | None = None


Record = Connected | AssetRecord | FrameRecord | Damaged

_decode_line = msgspec.json.Decoder(_Line).decode
_decode_frame = msgspec.json.Decoder(FrameRecord).decode
_decode_connected = msgspec.json.Decoder(Connected).decode
_decode_asset = msgspec.json.Decoder(AssetRecord).decode


def read_capture(path: Path) -> Iterator[Record]:
    """Records of a recording in order.

    Raises
    ------
    OSError, EOFError
        If the file cannot be opened or its compression ends early; records before that point
        have been yielded.
    """
    with _open(path) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _record(number, line)


def _record(number: int, line: bytes) -> Record:
    try:
        kind = _decode_line(line)
        if kind.frame is not None:
            return _decode_frame(line)
        if kind.event == "connected":
            return _decode_connected(line)
        if kind.event == "asset":
            return _decode_asset(line)
    except (msgspec.DecodeError, RecursionError) as error:
        return Damaged(number, str(error))
    return Damaged(number, "neither a frame nor a known event")


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.open(path, "rb"))  # type: ignore[arg-type]
    if path.suffix == ".zst":
        stream = zstandard.ZstdDecompressor().stream_reader(
            path.open("rb"), closefd=True, read_across_frames=True
        )
        return io.BufferedReader(stream)  # type: ignore[arg-type]
    return path.open("rb")
