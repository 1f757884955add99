"""What can be used of a frame that the typed decoder refused, element by element.

The slow path: control texts, unknown types, shapes of older recordings, and frames of which a part
is malformed. Nothing is dropped without a name, and nothing well-formed is lost because of its
neighbour.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import msgspec

from surveillance_core.venues.polymarket.eras import modern_members
from surveillance_core.venues.polymarket.wire import (
    CONTROL_TEXTS,
    MESSAGE_TYPES,
    BookMessage,
    Message,
    PriceChanges,
    convert_message,
)

NAME_LIMIT = 64
"""Characters kept of a type the venue invented."""


class ControlText(msgspec.Struct, frozen=True):
    """A text frame that is not JSON and means no harm."""

    text: str


class Broken(msgspec.Struct, frozen=True):
    """A frame or an element of one that cannot be used."""

    reason: str
    detail: str
    kind: str | None = None
    """Its message type, where it names one."""
    assets: frozenset[str] = frozenset()
    """Assets whose book it may have changed."""


Salvaged = Message | ControlText | Broken


def salvage_frame(frame: bytes | str) -> Iterator[Salvaged]:
    """The frame's elements in order, each a message, a control text or broken."""
    try:
        text = frame if isinstance(frame, str) else frame.decode()
    except UnicodeDecodeError as error:
        yield Broken("not_utf8", str(error))
        return
    if text.strip() in CONTROL_TEXTS:
        yield ControlText(text.strip())
        return
    try:
        parsed: object = msgspec.json.decode(frame)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        yield Broken("not_json", str(error))
        return
    for element in cast("list[object]", parsed) if isinstance(parsed, list) else [parsed]:
        yield _salvage_element(element)


def _salvage_element(element: object) -> Salvaged:
    members = cast("dict[str, object]", element) if isinstance(element, dict) else {}
    kind = members.get("event_type")
    if not isinstance(kind, str):
        return Broken("no_event_type", "")
    known = MESSAGE_TYPES.get(kind)
    if known is None:
        return Broken("unknown_event_type", kind[:NAME_LIMIT], kind[:NAME_LIMIT])
    try:
        # what today's decoder refuses may be well-formed in the shape of an older recording
        return convert_message(modern_members(members), known)
    except (msgspec.ValidationError, RecursionError) as error:
        changes_a_book = known in (BookMessage, PriceChanges)
        assets = frozenset(_assets_named(members)) if changes_a_book else frozenset[str]()
        return Broken(f"malformed_{kind}", str(error), kind, assets)


def _assets_named(element: object) -> set[str]:
    """Every ``asset_id`` in a message that could not be typed, however deep it is nested."""
    named: set[str] = set()
    left = [element]
    while left:
        inner = left.pop()
        if isinstance(inner, list):
            left += cast("list[object]", inner)
        elif isinstance(inner, dict):
            members = cast("dict[str, object]", inner)
            asset_id = members.get("asset_id")
            if isinstance(asset_id, str):
                named.add(asset_id)
            left += members.values()
    return named
