"""Strategies that damage real payloads: one capture in, one that no venue should send out.

A damaged payload is text, since much of what goes wrong cannot be said in parsed JSON: numbers
beyond a float, members twice, bytes that are no UTF-8, nesting without end.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

_GONE = object()
_RAW = "\u0001raw:"
"""Begins a text that stands for the JSON text after it."""

LONG = "x" * 10_000
PATHS = ("../../../etc/passwd", "/etc/passwd", "..", "a/../../b", "C:\\x", "venue=kalshi/date=1")
TEXTS = (
    "", " ", "NaN", "-0", "1_000", "١٢", "1e400", "true", "null", "[]", '["a","b"]',
    "<script>alert(1)</script>", "\u0000", "a\nb\r\n{}", "\u2028", "\ud800", "a\udfff",
    "2026-13-45T99:99:99Z", "0001-01-01T00:00:00+23:59", "20260101", "9999-12-31T23:59:59-23:59",
    "0x1", "Ünïcødé 🎲", LONG, *PATHS,
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 0.5, 0.01, 1e-9, 1e300, 1.7e308, -1e308, 1e11, 20260101, 2**53,
    2**63, 10**30, -(10**30),
)  # fmt: skip
RAW_NUMBERS = ("NaN", "Infinity", "-Infinity", "1e400", "-0", "-0.0", "1" + "0" * 400, "9" * 5_000)
CONTAINERS = ([], {}, [[]], [None], {"a": {}}, ["a", "b"], [1, 2])
DEEP = 10_000

JsonPath = tuple[str | int, ...]

# the middle depths are read by every reader, however deep the test itself stands
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, *TEXTS, *NUMBERS, *CONTAINERS, *(_RAW + number for number in RAW_NUMBERS),
    _RAW + "[" * DEEP + "]" * DEEP, *(_RAW + "[" * n + "]" * n for n in (500, 700, 800)),
)  # fmt: skip
"""Values of every JSON type, and such that only text can say."""

odd_values = st.sampled_from(ODD_VALUES)


def places(value: Any) -> list[JsonPath]:
    """Paths to everything inside a value, in its order."""
    found: list[JsonPath] = []
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        found.append((key,))
        found += [(key, *rest) for rest in places(inner)]
    return found


@st.composite
def damaged(draw: st.DrawFn, payloads: Sequence[Any], favoured: Sequence[str] = ()) -> bytes:
    """One of the payloads with one to three of its values damaged, sometimes as text too.

    ``favoured`` names members that are damaged as often as all others together.
    """
    value = copy.deepcopy(draw(st.sampled_from(payloads)))
    for _ in range(draw(st.integers(0, 3))):
        paths = places(value)
        named = [path for path in paths if path[-1] in favoured]
        if named and draw(st.booleans()):
            paths = named
        if paths:
            _damage(draw, value, draw(st.sampled_from(paths)))
    if draw(st.integers(0, 15)) == 0:
        value = draw(
            st.sampled_from([[value], [[value]], {"a": value}, [value, None], [value, value]])
        )
    text = as_text(value)
    change = draw(st.sampled_from(TEXT_CHANGES)) if draw(st.integers(0, 3)) == 0 else None
    return text if change is None else change(text, draw(st.integers(0, max(0, len(text) - 1))))


def with_odd_member(payload: Any, member: str) -> Iterator[bytes]:
    """The payload once for each odd value, given to every member of that name, and without it.

    Within a member of that name another one is left alone.
    """
    for odd in (*ODD_VALUES, _GONE):
        value = copy.deepcopy(payload)
        for path in places(payload):
            if path[-1] != member or member in path[:-1]:
                continue
            holder = value
            for key in path[:-1]:
                holder = holder[key]
            if odd is _GONE:
                del holder[member]
            else:
                holder[member] = copy.deepcopy(odd)
        yield as_text(value)


def as_text(value: Any) -> bytes:
    """JSON text; a text that stands for JSON is put in as it is."""
    text = json.dumps(value)
    if _RAW_TEXT not in text:
        return text.encode()
    parts = text.split(f'"{_RAW_TEXT}')
    return "".join(parts[:1] + [part.replace('"', "", 1) for part in parts[1:]]).encode()


def _damage(draw: st.DrawFn, value: Any, path: JsonPath) -> None:
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    last: Any = path[-1]
    old = holder[last]
    kind = draw(st.sampled_from(("gone", "odd", "odd", "odd", "spelled", "longer", "twice")))
    if kind == "gone":
        del holder[last]
    elif kind == "spelled":
        holder[last] = _respelled(old)
    elif kind == "longer" and isinstance(old, str):
        holder[last] = draw(st.sampled_from(PATHS)) + old + draw(st.sampled_from(("", LONG, "\n")))
    elif kind == "twice" and isinstance(holder, list):
        holder.append(copy.deepcopy(old))
    else:
        holder[last] = copy.deepcopy(draw(odd_values))


def _respelled(old: Any) -> Any:
    """A number as text, a text that is a number as one, anything else as text of JSON."""
    if isinstance(old, str):
        try:
            return float(old) if "." in old else int(old)
        except ValueError:
            return [old]
    return str(old) if isinstance(old, int | float) and not isinstance(old, bool) else as_name(old)


def as_name(value: Any) -> str:
    """Any JSON value as text of it."""
    return json.dumps(value)


_RAW_TEXT = json.dumps(_RAW)[1:-1]

TEXT_CHANGES: tuple[Callable[[bytes, int], bytes], ...] = (
    lambda text, at: text[:at],
    lambda text, at: text[:at] + b"\xff\xfe" + text[at:],
    lambda text, at: text[:at] + b"\x00" + text[at + 1 :],
    lambda text, at: text[at:],
    lambda text, at: text + b"\n",
    lambda text, at: b"\xef\xbb\xbf" + text,
    lambda text, at: text[:-1] + b',"\xff":1}' if text.endswith(b"}") else text + text,
    lambda text, at: _twice(text, at),
    lambda text, at: b"[" * DEEP + text + b"]" * DEEP,
    lambda text, at: b"",
)


def _twice(text: bytes, at: int) -> bytes:
    """A member that is there is given once more with another value, before or after the first."""
    end = text.rfind(b'":', 0, at)
    start = text.rfind(b'"', 0, max(end, 0))
    if end < 0 or start < 0:
        return text
    member = text[start : end + 2] + (b"null" if at % 2 else b'"0.5"')
    return text[:start] + member + b"," + text[start:]
