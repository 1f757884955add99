"""What can be used of a frame that the typed decoder refused.

The slow path: types nobody uses, unknown types, malformed frames. A frame's place in its stream is
kept even where its content cannot be used, so that damage is not taken for loss.
"""

from __future__ import annotations

from typing import cast

import msgspec

from surveillance_core.venues.kalshi.wire import (
    MESSAGE_TYPES,
    TOLERATED_TYPES,
    Delta,
    Message,
    Snapshot,
    convert_message,
)
from surveillance_core.venues.protocols import Rejected

NAME_LIMIT = 64
"""Characters kept of a type the venue invented."""


class Tolerated(msgspec.Struct, frozen=True):
    """A well-formed frame of a known type that nothing uses."""

    kind: str
    sid: int | None
    seq: int | None


class Broken(msgspec.Struct, frozen=True):
    """A frame that cannot be used."""

    reason: str
    detail: str
    kind: str | None = None
    """Its message type, where it names one."""
    sid: int | None = None
    seq: int | None = None
    ticker: str | None = None
    """The market whose book it may have changed."""
    changes_books: bool = False
    """Whether it may have changed a book, of ``ticker`` or, if that is None, of its stream."""


Salvaged = Message | Tolerated | Broken


def salvage_frame(frame: bytes | str) -> Salvaged:
    """The frame as a message, as one that is tolerated, or as broken."""
    try:
        parsed: object = msgspec.json.decode(frame)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        return Broken("not_json", str(error))
    if not isinstance(parsed, dict):
        return Broken("not_an_object", type(parsed).__name__)
    members = cast("dict[str, object]", parsed)
    sid, seq = _whole(members.get("sid")), _whole(members.get("seq"))
    kind = members.get("type")
    # a number on a stream of books may have been a change of one: nothing else will tell of it
    numbered = sid is not None and seq is not None
    if not isinstance(kind, str):
        return Broken("no_type", "", sid=sid, seq=seq, changes_books=numbered)
    if kind in TOLERATED_TYPES:
        return Tolerated(kind, sid, seq)
    known = MESSAGE_TYPES.get(kind)
    if known is None:
        name = kind[:NAME_LIMIT]
        return Broken("unknown_type", name, name, sid, seq, changes_books=numbered)
    try:
        return convert_message(members, known)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        body = members.get("msg")
        ticker = (
            cast("dict[str, object]", body).get("market_ticker") if isinstance(body, dict) else None
        )
        return Broken(
            f"malformed_{kind}",
            str(error),
            kind,
            sid,
            seq,
            ticker if isinstance(ticker, str) else None,
            known in (Snapshot, Delta),
        )


_LEVEL_MEMBERS = frozenset(
    f"{side}{suffix}" for side in ("yes", "no") for suffix in ("", "_dollars", "_dollars_fp")
)
_PLAIN_MEMBERS = frozenset({"market_ticker", "market_id", "ts", "ts_ms"})


def unread_levels(frame: bytes | str) -> list[str]:
    """Members of a snapshot without known levels that may be its levels in a new spelling.

    An empty book has no level members at all (reference kalshi.md 0, item 4), so a snapshot without
    them is empty only if it has nothing else either.

    The typed decoder passes over what it does not know; damage in there shows here alone.
    """
    try:
        parsed = cast("dict[str, dict[str, object]]", msgspec.json.decode(frame))
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return ["not_json"]
    names = parsed["msg"].keys()
    return [] if names & _LEVEL_MEMBERS else sorted(names - _PLAIN_MEMBERS)


def rejected(reason: str, detail: str, frame: bytes | str) -> Rejected:
    """The frame set aside, with why."""
    payload = frame.encode("utf-8", "surrogatepass") if isinstance(frame, str) else frame
    return Rejected(reason, detail, payload)


def _whole(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value < 1 << 53 else None
