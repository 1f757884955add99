"""Damaged frames by the hundred thousand: values cut out of a real frame and others put in.

The strategies of ``tests.wire.mutations`` find more in a try; this puts the same values into the
text of a frame in microseconds, so that a million frames take minutes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import NamedTuple

from tests.wire.mutations import ODD_VALUES, TEXT_CHANGES, as_text

_PIECES = [as_text(value) for value in ODD_VALUES]
SHORT_PIECES = tuple(piece for piece in _PIECES if len(piece) < 500)
LONG_PIECES = tuple(piece for piece in _PIECES if len(piece) >= 500)
_DECODER = json.JSONDecoder()
_LONG_SHARE = 0.02
_TEXT_SHARE = 0.2


class Span(NamedTuple):
    """Where a value stands in a text, and where its member begins if it has a name."""

    start: int
    end: int
    member: int | None


@dataclass(frozen=True)
class SoundFrame:
    """A frame as it was captured."""

    text: bytes

    @cached_property
    def spans(self) -> Sequence[Span]:
        """Every value in it, the whole of it left out."""
        text = self.text.decode()
        found: list[Span] = []
        _scan(text, 0, None, found)
        if not text.isascii():
            raise ValueError("spans are those of ASCII text")
        return [span for span in found if span.start]

    def damaged(self, draws: Random) -> bytes:
        """The frame with one to three of its values damaged, now and then its text too."""
        text = self.text
        below = len(text)
        spans = self.spans
        chosen = draws.sample(spans, min(draws.randint(1, 3), len(spans)))
        for span in sorted(chosen, reverse=True):
            if span.end <= below:
                text = _damage(text, span, draws)
                below = span.start if span.member is None else span.member
        if draws.random() < _TEXT_SHARE:
            text = draws.choice(TEXT_CHANGES)(text, draws.randrange(max(1, len(text))))
        return text


def sound_frame(text: str | bytes) -> SoundFrame:
    """A frame spelled in ASCII, so that places in it are places in its bytes."""
    return SoundFrame(json.dumps(json.loads(text), separators=(",", ":")).encode())


def _damage(text: bytes, span: Span, draws: Random) -> bytes:
    start, end, member = span
    value = text[start:end]
    kind = draws.randrange(8)
    if kind == 0 and member is not None:
        # with the comma before it, or the one behind it
        if text[member - 1 : member] == b",":
            return text[: member - 1] + text[end:]
        return text[:member] + text[end + (text[end : end + 1] == b",") :]
    if kind == 1:
        value = value[1:-1] if value[:1] == b'"' else b'"' + value.replace(b'"', b"'") + b'"'
    elif kind == 2 and member is not None:
        value += b"," + text[member:start] + draws.choice(SHORT_PIECES)
    elif kind == 3 and value[-1:] == b'"':
        value = value[:-1] + draws.choice((b"9", b"e3", b" ", b"\\u0000", b"\\ud800")) + b'"'
    else:
        long = draws.random() < _LONG_SHARE
        value = draws.choice(LONG_PIECES if long else SHORT_PIECES)
    return text[:start] + value + text[end:]


def _scan(text: str, at: int, member: int | None, found: list[Span]) -> int:
    """Note the value that begins at a place of compact JSON, and all inside; where it ends."""
    start = at
    if text[at] in "{[":
        named = text[at] == "{"
        at += 1
        while text[at] not in "}]":
            inner = at if named else None
            if named:
                at = _DECODER.raw_decode(text, at)[1] + 1
            at = _scan(text, at, inner, found)
            at += text[at] == ","
        at += 1
    elif text[at] == '"':
        at = _DECODER.raw_decode(text, at)[1]
    else:
        while at < len(text) and text[at] not in ",]}":
            at += 1
    found.append(Span(start, at, member))
    return at
