"""The state of a machine as bytes, and from bytes: an object graph in, the same graph out. Pure.

A machine's state is plain values, containers and objects of classes that are named beforehand.
Whatever refers to the same object still does afterwards, cycles included, and dictionaries keep
their order. Nothing is run or imported because the bytes say so: a class is found by its tag among
those that the reader names, and its attributes must be the ones it has in this version.

Written is one MessagePack array ``[classes, root, objects]`` behind a head with its checksum.
Every mutable object has a number, its place in ``objects``. A value is a number, a text, bytes,
a truth value or nil as itself; ``[number]`` for an object; or a list that begins with a letter, for
what has no identity.
"""

from __future__ import annotations

import zlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, cast

import msgspec

from surveillance_core.object_layouts import UNSET, Layout, layout_of

MAGIC: Final = b"checkpoint 1\n"
"""Begins every checkpoint; the number is of the way of writing, not of the state."""

_HEAD = len(MAGIC) + 4


class CheckpointUnreadable(ValueError):
    """The bytes are damaged, cut short, or of a version whose state is another."""


@dataclass(frozen=True)
class Kinds:
    """What a state may hold besides plain values and containers."""

    classes: Mapping[str, type[Any]] = field(default_factory=dict[str, type[Any]])
    """Classes and enumerations by the tag they are written under.

    A class whose instances have a ``__dict__`` is a dataclass or can be made without arguments:
    the attributes that this leaves are those of the class.
    """
    constants: Mapping[str, object] = field(default_factory=dict[str, object])
    """What is referred to and not written: tables, classes, callbacks of whoever reads."""

    def __or__(self, other: Kinds) -> Kinds:
        """What either has."""
        return Kinds({**self.classes, **other.classes}, {**self.constants, **other.constants})


def written(root: object, kinds: Kinds) -> bytes:
    """The root and all that it refers to.

    Raises
    ------
    TypeError
        If an object is of a kind that ``kinds`` does not name, or has other attributes than its
        class: a defect of the program, whatever its input.
    """
    try:
        payload = _Writer(kinds, _PLAIN).written(root)
    except (OverflowError, UnicodeEncodeError):
        # an integer or a text that the encoding has no place for, which only a venue that has
        # lost its mind sends: then each is looked at
        payload = _Writer(kinds, _PLAIN - {int, str}).written(root)
    return MAGIC + zlib.crc32(payload).to_bytes(4, "big") + payload


def read(data: bytes, kinds: Kinds) -> object:
    """The root that was written.

    Raises
    ------
    CheckpointUnreadable
        If the bytes are no whole checkpoint, or of a program whose classes are other ones.
    """
    payload = memoryview(data)[_HEAD:]
    if data[: len(MAGIC)] != MAGIC:
        raise CheckpointUnreadable("not a checkpoint of this version")
    if zlib.crc32(payload) != int.from_bytes(data[len(MAGIC) : _HEAD], "big"):
        raise CheckpointUnreadable("damaged or cut short: the checksum is another")
    return read_payload(payload, kinds)


def read_payload(payload: bytes | memoryview, kinds: Kinds) -> object:
    """What ``read`` makes of the part behind the checksum; raises what it raises."""
    try:
        classes, root, bodies = msgspec.msgpack.decode(payload, type=tuple[Any, Any, list[Any]])
        return _Reader(kinds, classes, bodies).root(root)
    except CheckpointUnreadable:
        raise
    except (
        msgspec.MsgspecError, ArithmeticError, AttributeError, LookupError, RecursionError,
        TypeError, ValueError,
    ) as error:  # fmt: skip
        raise CheckpointUnreadable(f"not the shape of a checkpoint: {error!r}") from error


_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes})
"""Types whose values are written as they are."""

# ── writing ──────────────────────────────────────────────────────────────────────────────────


class _Writer:
    """One writing; ``plain`` are the types whose values are written without being looked at."""

    def __init__(self, kinds: Kinds, plain: frozenset[type[Any]]) -> None:
        self._plain = plain
        self._tags = {cls: tag for tag, cls in kinds.classes.items()}
        self._written: dict[int, list[Any]] = {
            id(member): ["e", tag, member.name]
            for tag, cls in kinds.classes.items()
            if issubclass(cls, Enum)
            for member in cls
        }
        self._written |= {id(it): ["x", name] for name, it in kinds.constants.items()}
        """What stands for an object, by its identity; all of them outlive the writing."""
        self._written[id(UNSET)] = UNSET
        self._objects: list[object] = []
        self._layouts: dict[type[Any], tuple[int, Layout]] = {}

    def written(self, root: object) -> bytes:
        value = self._value(root)
        # the list grows while it is gone through: no call for an object is made inside another
        bodies = [self._body(obj) for obj in self._objects]
        classes = [(self._tags[cls], layout.names) for cls, (_, layout) in self._layouts.items()]
        return msgspec.msgpack.encode((classes, value, bodies))

    def _values(self, values: Iterable[object]) -> list[object]:
        plain, value = self._plain, self._value
        return [it if type(it) in plain else value(it) for it in values]

    def _value(self, it: object) -> object:
        """What is written in the place of a value."""
        known = self._written.get(id(it))
        if known is not None:
            return known
        kind = type(it)
        if kind in self._plain:
            return it
        if kind is tuple:
            return ["t", *self._values(cast("tuple[object, ...]", it))]
        if kind is frozenset:
            return ["z", *self._values(cast("frozenset[object]", it))]
        if kind is int:
            return it if -(1 << 63) <= cast("int", it) < 1 << 64 else ["i", f"{it:x}"]
        if kind is str:
            return ["s", cast("str", it).encode("utf-8", "surrogatepass")]
        reference: list[object] = [len(self._objects)]
        self._written[id(it)] = reference
        self._objects.append(it)
        return reference

    def _body(self, it: Any) -> list[object]:
        """What an object holds."""
        kind = cast("type[Any]", type(it))
        layout = self._layouts.get(kind)
        if layout is not None:
            return [layout[0], *self._values(layout[1].values(it))]
        if kind is dict:
            if self._is_map(it):
                return ["m", it]
            return ["d", self._values(it), self._values(it.values())]
        if kind is list:
            return ["l", self._values(it)]
        if kind is Counter:
            return ["c", self._values(it), self._values(it.values())]
        if kind is OrderedDict:
            return ["o", self._values(it), self._values(it.values())]
        if kind is defaultdict:
            factory = self._value(it.default_factory)
            return ["f", self._values(it), self._values(it.values()), factory]
        if kind is set:
            return ["a", self._values(it)]
        if kind is deque:
            return ["q", self._values(it), it.maxlen]
        if kind not in self._tags:
            raise TypeError(f"a checkpoint has no way to write a {kind.__qualname__}: {it!r:.100}")
        self._layouts[kind] = len(self._layouts), layout_of(kind)
        return self._body(it)

    def _is_map(self, it: dict[object, object]) -> bool:
        """Whether the encoder's own map can hold it, which costs a tenth: levels of a book are."""
        keys = set(map(type, it))
        return (
            len(keys) == 1
            and keys <= _MAP_KEYS & self._plain
            and self._plain.issuperset(map(type, it.values()))
        )


_MAP_KEYS: Final = frozenset({int, str})

# ── reading ──────────────────────────────────────────────────────────────────────────────────


class _Reader:
    """One reading: first every object empty, then what each holds."""

    def __init__(self, kinds: Kinds, classes: Any, bodies: list[Any]) -> None:
        self._kinds = kinds
        self._layouts = [self._layout(tag, names) for tag, names in classes]
        self._objects = [self._empty(body) for body in bodies]
        for obj, body in zip(self._objects, bodies, strict=True):
            self._fill(obj, body)

    def root(self, raw: object) -> object:
        return self._value(raw)

    def _layout(self, tag: str, names: list[str]) -> Layout:
        cls = self._kinds.classes.get(tag)
        if cls is None or issubclass(cls, Enum):
            raise CheckpointUnreadable(f"this version knows no class under {tag!r}")
        layout = layout_of(cls)
        if layout.names != names:
            gone = [name for name in names if name not in layout.names]
            new = [name for name in layout.names if name not in names]
            raise CheckpointUnreadable(
                f"{tag} had other attributes when written: {gone} are unknown now, {new} were then"
            )
        return layout

    def _empty(self, body: Any) -> object:
        kind = body[0]
        if type(kind) is int:
            return self._layouts[_place(kind)].new(body[1:])
        if kind == "m":
            if type(body[1]) is not dict or len(body) != 2:
                raise CheckpointUnreadable("a map is none")
            return body[1]
        if kind == "f":
            return defaultdict[object, object](self._constant(body[3]))
        if kind == "q":
            return deque[object](maxlen=body[2])
        return _EMPTY[kind]()

    def _fill(self, obj: Any, body: Any) -> None:
        kind = body[0]
        if type(kind) is int:
            self._layouts[kind].fill(obj, self._values(body[1:]))
        elif kind in ("l", "q"):
            obj.extend(self._values(body[1]))
        elif kind == "a":
            obj.update(self._values(body[1]))
        elif kind != "m":
            keys, values = self._values(body[1]), self._values(body[2])
            for key, value in zip(keys, values, strict=True):
                obj[key] = value

    def _values(self, raw: Iterable[object]) -> list[object]:
        value = self._value
        return [it if type(it) in _PLAIN else value(it) for it in raw]

    def _value(self, raw: Any) -> object:
        if type(raw) is not list:
            if type(raw) in _PLAIN:
                return cast("object", raw)
            raise CheckpointUnreadable(f"no value of a state: {raw!r:.100}")
        items = cast("list[Any]", raw)
        kind = items[0]
        if type(kind) is int:
            (number,) = items
            return self._objects[_place(number)]
        if kind == "t":
            return tuple(self._values(items[1:]))
        if kind == "z":
            return frozenset(self._values(items[1:]))
        if kind == "e":
            return self._member(*items[1:])
        if kind == "x":
            return self._constant(items)
        if kind == "i":
            return int(items[1], 16)
        if kind == "s":
            return items[1].decode("utf-8", "surrogatepass")
        if kind == "u":
            return UNSET
        raise CheckpointUnreadable(f"no value of a state: {kind!r:.100}")

    def _member(self, tag: str, name: str) -> object:
        cls = self._kinds.classes.get(tag)
        if cls is None or not issubclass(cls, Enum):
            raise CheckpointUnreadable(f"this version knows no enumeration under {tag!r}")
        return cls[name]

    def _constant(self, raw: Any) -> Any:
        _, name = raw
        if name not in self._kinds.constants:
            raise CheckpointUnreadable(f"this version knows no constant {name!r}")
        return self._kinds.constants[name]


def _place(number: int) -> int:
    if number < 0:
        raise CheckpointUnreadable(f"no number of an object: {number}")
    return number


_EMPTY: Final[dict[str, Callable[[], object]]] = {
    "l": list, "d": dict, "c": Counter, "o": OrderedDict, "a": set,
}  # fmt: skip
