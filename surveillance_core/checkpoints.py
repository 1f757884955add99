"""The state of a machine as bytes, and from bytes: an object graph in, the same graph out. Pure.

A machine's state is plain values, containers and objects of classes that are named beforehand.
Whatever refers to the same object still does afterwards, cycles included, and dictionaries keep
their order. Nothing is run or imported because the bytes say so: a class is found by its tag among
those that the reader names, and its attributes must be the ones it has in this version.

Written is one MessagePack array ``[classes, root, blocks]`` behind a head with its checksum. A
block holds objects of one kind, and every object has a number, counted through the blocks. A value
is a number, a text, bytes, a truth value or nil as itself; ``[number]`` for an object; or a list
that begins with a letter, for what has no identity. A column of values is a list, or a map with the
columns that tuples of one length consist of.
"""

from __future__ import annotations

import zlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
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
        classes, root, blocks = msgspec.msgpack.decode(payload, type=tuple[Any, Any, list[Any]])
        return _Reader(kinds, classes, blocks).root(root)
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
        """What stands for an object, by its identity; all of them outlive the writing."""
        self._written |= {id(it): ["x", name] for name, it in kinds.constants.items()}
        self._written[id(UNSET)] = UNSET
        self._waiting: dict[type[Any], list[tuple[Any, list[int]]]] = {}
        """Objects that were met and are not written yet, each with what stands for it."""
        self._numbered = 0
        self._classes: dict[type[Any], tuple[int, Layout]] = {}

    def written(self, root: object) -> bytes:
        value = self._value(root)
        blocks: list[list[object]] = []
        while self._waiting:
            kind, met = self._waiting.popitem()
            blocks += self._blocks(kind, met)
        classes = [(self._tags[cls], layout.names) for cls, (_, layout) in self._classes.items()]
        return msgspec.msgpack.encode((classes, value, blocks))

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
        reference: list[int] = []
        self._written[id(it)] = reference
        waiting = self._waiting.get(kind)
        if waiting is None:
            waiting = self._waiting[kind] = []
        waiting.append((it, reference))
        return reference

    def _values(self, values: Iterable[object]) -> list[object]:
        plain, value = self._plain, self._value
        return [it if type(it) in plain else value(it) for it in values]

    def _column(self, values: list[Any]) -> object:
        """Many values at once, which mostly are of one kind."""
        kinds = set(map(type, values))
        if kinds <= self._plain:
            return values
        if kinds == _TUPLES and len(widths := set(map(len, values))) == 1 and 0 not in widths:
            return {"t": [self._column(list(part)) for part in zip(*values, strict=True)]}
        return self._values(values)

    def _blocks(self, kind: type[Any], met: list[tuple[Any, list[int]]]) -> Iterator[list[object]]:
        """Write objects of a kind, those of what they hold that are new to be written next."""
        if kind is dict:
            # the encoder's own map holds the levels of a book at a tenth of the cost
            maps = [one for one in met if self._is_map(one[0])]
            if maps:
                yield ["m", *self._number(maps)]
            met = [one for one in met if not one[1]]
        if not met:
            return
        objects = self._number(met)
        if kind is list:
            yield ["l", *(self._column(it) for it in objects)]
        elif kind is set:
            yield ["a", *(self._column(list(it)) for it in objects)]
        elif kind is deque:
            yield ["q", *((it.maxlen, self._column(list(it))) for it in objects)]
        elif kind is defaultdict:
            yield ["f", *((self._value(it.default_factory), *self._items(it)) for it in objects)]
        elif kind in _DICTS:
            yield [_DICTS[kind], *map(self._items, objects)]
        else:
            place, layout = self._class(kind, objects[0])
            yield [place, *map(self._column, layout.columns(objects))]

    def _number(self, met: list[tuple[Any, list[int]]]) -> list[Any]:
        for number, (_, reference) in enumerate(met, self._numbered):
            reference.append(number)
        self._numbered += len(met)
        return [it for it, _ in met]

    def _items(self, it: dict[object, object]) -> tuple[object, object]:
        return self._column(list(it)), self._column(list(it.values()))

    def _is_map(self, it: dict[object, object]) -> bool:
        keys = set(map(type, it))
        return (
            len(keys) <= 1
            and keys <= _MAP_KEYS & self._plain
            and self._plain.issuperset(map(type, it.values()))
        )

    def _class(self, kind: type[Any], example: object) -> tuple[int, Layout]:
        if kind not in self._tags:
            name = kind.__qualname__
            raise TypeError(f"a checkpoint has no way to write a {name}: {example!r:.100}")
        if kind not in self._classes:
            self._classes[kind] = len(self._classes), layout_of(kind)
        return self._classes[kind]


_MAP_KEYS: Final = frozenset({int, str})
_TUPLES: Final = {tuple}
_DICTS: Final[dict[type[Any], str]] = {dict: "d", Counter: "c", OrderedDict: "o"}

# ── reading ──────────────────────────────────────────────────────────────────────────────────


class _Reader:
    """One reading: first every object empty, then what each holds."""

    def __init__(self, kinds: Kinds, classes: Any, blocks: list[list[Any]]) -> None:
        self._kinds = kinds
        self._layouts = [self._layout(tag, names) for tag, names in classes]
        empty = [self._empty(block[0], block[1:]) for block in blocks]
        self._objects = [it for block in empty for it in block]
        for block, objects in zip(blocks, empty, strict=True):
            self._fill(block[0], objects, block[1:])

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

    def _empty(self, kind: Any, raw: list[Any]) -> list[Any]:
        """A block's objects, without what they hold."""
        if type(kind) is int:
            # tuples may hold objects: like these they are put in when all objects are there
            columns: list[list[Any]] = [
                [[]] * self._length(it["t"][0]) if type(it) is dict else it for it in raw
            ]
            return self._layouts[_place(kind)].new(columns)
        if kind == "m":
            if any(type(it) is not dict for it in raw):
                raise CheckpointUnreadable("a map is none")
            return raw
        if kind == "q":
            return [deque[object](maxlen=most) for most, _ in raw]
        if kind == "f":
            return [defaultdict[object, object](self._value(factory)) for factory, _, _ in raw]
        return [_EMPTY[kind]() for _ in raw]

    def _fill(self, kind: Any, objects: list[Any], raw: list[Any]) -> None:
        if type(kind) is int:
            self._layouts[kind].fill(objects, map(self._column, raw))
        elif kind == "q":
            for it, (_, items) in zip(objects, raw, strict=True):
                it.extend(self._column(items))
        elif kind == "l":
            for it, items in zip(objects, raw, strict=True):
                it.extend(self._column(items))
        elif kind == "a":
            for it, items in zip(objects, raw, strict=True):
                it.update(self._column(items))
        elif kind != "m":
            for it, (*_, keys, values) in zip(objects, raw, strict=True):
                for key, value in zip(self._column(keys), self._column(values), strict=True):
                    it[key] = value

    def _length(self, raw: Any) -> int:
        return self._length(raw["t"][0]) if type(raw) is dict else len(raw)

    def _column(self, raw: Any) -> list[Any]:
        if type(raw) is dict:
            parts = cast("list[Any]", raw["t"])
            return list(zip(*map(self._column, parts), strict=True))
        if type(raw) is not list:
            raise CheckpointUnreadable(f"no column of values: {raw!r:.100}")
        column = cast("list[Any]", raw)
        return column if _PLAIN.issuperset(map(type, column)) else self._values(column)

    def _values(self, raw: Iterable[object]) -> list[object]:
        value = self._value
        return [it if type(it) in _PLAIN else value(it) for it in raw]

    def _value(self, raw: Any) -> Any:
        if type(raw) is not list:
            if type(raw) in _PLAIN:
                return raw
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
            return self._constant(*items[1:])
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

    def _constant(self, name: str) -> object:
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
