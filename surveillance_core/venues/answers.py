"""What a venue's error bodies say, in every shape they come in. Pure.

Three JSON shapes are known (reference kalshi.md 1): an object under ``error`` with a code, a
message and details; the same members at the top; and a bare text under ``error``, which Polymarket
sends too. What is not JSON is quoted as text.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from surveillance_core.venues.listing import as_object

QUOTED: Final = 200
"""Characters of a venue's text that are quoted at most."""

_NOT_CODE: Final = re.compile(r"[^a-z0-9]+")


class Refusal(msgspec.Struct, frozen=True):
    """An error body as read."""

    code: str
    """What to branch on: the venue's own code, or its bare text spelled like one."""
    said: str
    """For people: quoted and cut."""


def read_refusal(body: object) -> Refusal | None:
    """What an error body says; None if the body is no error.

    Examples
    --------
    >>> read_refusal({"error": "too many requests"})
    Refusal(code='too_many_requests', said="'too many requests'")
    """
    answer = as_object(body)
    if answer is None:
        return None
    error = answer.get("error")
    if isinstance(error, str):
        code = _NOT_CODE.sub("_", error[:QUOTED].casefold()).strip("_")
        return Refusal(code, repr(error[:QUOTED]))
    error = as_object(error) or answer
    code = error.get("code")
    if not isinstance(code, str | int):
        return None
    parts = (error.get(name) for name in ("code", "message", "details"))
    # an object or a list has no end, and nothing to say to people
    said = ", ".join(
        repr(part[:QUOTED] if isinstance(part, str) else part)
        for part in parts
        if part and isinstance(part, str | int)
    )
    return Refusal(str(code)[:QUOTED], said)


def describe_error(body: object) -> str | None:
    """What an error body says, in any of its three shapes; None if the body is no error.

    Examples
    --------
    >>> describe_error({"error": {"code": "bad_request", "details": "invalid status filter"}})
    "'bad_request', 'invalid status filter'"
    """
    refusal = read_refusal(body)
    return None if refusal is None else refusal.said


def describe_content(content: bytes) -> tuple[str | None, str]:
    """Code and description of an error's body as sent, which need not be JSON."""
    try:
        refusal = read_refusal(msgspec.json.decode(content))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        refusal = None
    if refusal is not None:
        return refusal.code, refusal.said
    return None, repr(content[:QUOTED].decode("utf-8", "replace"))
