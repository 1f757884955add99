"""Cursors, limits and filters of the REST interface (reference kalshi.md 1).

Pure. A cursor is opaque base64 of a time and an id, as the venue's are; one that says nothing is
answered with the first page, silently.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

Params = Mapping[str, str]


class BadRequest(Exception):
    """A parameter the venue refuses with 400; the argument is what it says of it."""


def spell_cursor(seconds: int, identity: str) -> str:
    """The cursor that leads on after the item with that id.

    Examples
    --------
    >>> spell_cursor(4070908800, "KXNEXTNATOSECGEN-99")
    'CgYIgMeUlQ8SE0tYTkVYVE5BVE9TRUNHRU4tOTk'
    """
    stamp = b"\x08" + _varint(max(0, seconds))
    name = identity.encode()
    raw = b"\x0a" + _varint(len(stamp)) + stamp + b"\x12" + _varint(len(name)) + name
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def read_cursor(cursor: str | None) -> str | None:
    """The id in a cursor, None where there is none to read.

    Examples
    --------
    >>> read_cursor("CgYI8OG8lQ8SE0tYTkVYVE5BVE9TRUNHRU4tOTk"), read_cursor("what")
    ('KXNEXTNATOSECGEN-99', None)
    """
    if not cursor:
        return None
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        stamp = raw[1]
        name = raw[2 + stamp :]
        if raw[0] != 0x0A or name[0] != 0x12 or len(name) < 3:
            return None
        # ids are shorter than 128 bytes or have a length of two
        start = 2 if name[1] < 0x80 else 3
        return name[start:].decode()
    except (binascii.Error, ValueError, IndexError):
        return None


def read_limit(params: Params, *, default: int, least: int, most: int) -> int:
    """Items a page; raises ``BadRequest`` outside of the endpoint's bounds."""
    text = params.get("limit", "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or not least <= int(text[:9]) <= most:
        raise BadRequest("invalid limit")
    return int(text) or default


def read_time(params: Params, name: str, default_ms: int) -> int:
    """A bound in whole seconds, as milliseconds."""
    text = params.get(name, "")
    if not text:
        return default_ms
    if not text.lstrip("-").isdigit() or len(text) > 15:
        raise BadRequest(f"invalid {name}")
    return int(text) * 1000


def read_flag(params: Params, name: str) -> bool:
    """A flag; what is neither true nor false is refused."""
    text = params.get(name, "").lower()
    if text in ("", "false", "0"):
        return False
    if text in ("true", "1"):
        return True
    raise BadRequest(f"invalid {name}")


STATUS_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "unopened": frozenset({"initialized"}),
    "open": frozenset({"active"}),
    "paused": frozenset({"inactive"}),
    "closed": frozenset({"closed", "determined", "disputed", "amended"}),
    "settled": frozenset({"finalized"}),
}
"""Statuses by the filter's word: the words are not the statuses (reference kalshi.md 0, 12)."""


def read_status(params: Params, words: frozenset[str]) -> frozenset[str] | None:
    """The statuses a filter lets through, None for all; a status itself is refused."""
    word = params.get("status", "")
    if not word:
        return None
    if word not in words:
        raise BadRequest("invalid status filter")
    return STATUS_WORDS[word]


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
