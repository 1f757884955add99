"""How the objects of a class are taken apart into attributes and put together again. Pure.

Many objects of a class at a time, an attribute's values in a column, which costs a third of going
through them one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from operator import attrgetter
from typing import Any, Final, cast

import msgspec

UNSET: Final[list[object]] = ["u"]
"""Stands for the value of a slot that has none."""


class Layout:
    """The attributes of one class.

    Parameters
    ----------
    cls
        The class; nothing that it defines is run but what each kind of it says.
    names
        Its attributes, in the order of the columns.

    Raises
    ------
    TypeError
        If there are none.
    """

    def __init__(self, cls: type[Any], names: Sequence[str]) -> None:
        if not names:
            raise TypeError(f"{cls.__name__} has no attributes")
        self.cls = cls
        self.names = list(names)

    def columns(self, objects: Sequence[Any]) -> Iterator[list[object]]:
        """The attributes of objects, as they are underneath any property."""
        raise NotImplementedError

    def new(self, columns: Sequence[Sequence[Any]]) -> list[object]:
        """Objects to be filled; ``columns`` are as written, lists where values are not plain."""
        return [object.__new__(self.cls) for _ in columns[0]]

    def fill(self, objects: Sequence[Any], columns: Iterable[Sequence[object]]) -> None:
        """Give new objects their attributes."""
        raise NotImplementedError


class Slotted(Layout):
    """Objects whose attributes are slots.

    A slot that a property of a subclass hides holds nothing, since whatever is assigned to it the
    property takes.
    """

    def __init__(self, cls: type[Any]) -> None:
        slots = [
            (name, base.__dict__[name])
            for base in reversed(cls.__mro__)
            for name in _slots_of(base)
        ]
        seen = [(name, slot) for name, slot in slots if getattr(cls, name) is slot]
        super().__init__(cls, [name for name, _ in seen])
        self._slots = [slot for _, slot in seen]
        self._hidden = [slot for _, slot in slots if slot not in self._slots]

    def columns(self, objects: Sequence[Any]) -> Iterator[list[object]]:
        """The slots, ``UNSET`` for each that has no value.

        Raises
        ------
        TypeError
            If a hidden slot was given a value behind its property's back.
        """
        if any(_value_or_unset(slot, objects[0]) is not UNSET for slot in self._hidden):
            raise TypeError(f"{self.cls.__name__} keeps something in a slot behind a property")
        for name, slot in zip(self.names, self._slots, strict=True):
            try:
                yield list(map(attrgetter(name), objects))
            except AttributeError:
                yield [_value_or_unset(slot, obj) for obj in objects]

    def fill(self, objects: Sequence[Any], columns: Iterable[Sequence[object]]) -> None:
        """Set the slots."""
        for slot, column in zip(self._slots, columns, strict=True):
            assign = slot.__set__
            for obj, value in zip(objects, column, strict=True):
                if value is not UNSET:
                    assign(obj, value)


class Open(Layout):
    """Objects with a ``__dict__``: dataclasses, or such as can be made without arguments."""

    def __init__(self, cls: type[Any]) -> None:
        if any(_slots_of(base) for base in cls.__mro__):
            raise TypeError(f"{cls.__name__} has slots and a __dict__: its attributes are unclear")
        if is_dataclass(cls):
            super().__init__(cls, [member.name for member in fields(cls)])
        else:
            super().__init__(cls, list(cast("dict[str, object]", vars(cls()))))

    def columns(self, objects: Sequence[Any]) -> Iterator[list[object]]:
        """The attributes; raises ``TypeError`` where they are not the class's."""
        names = set(self.names)
        held = [cast("dict[str, object]", vars(obj)) for obj in objects]
        for one in held:
            if one.keys() != names:
                differing = sorted(one.keys() ^ names)
                raise TypeError(f"{self.cls.__name__} has other attributes than made: {differing}")
        return ([one[name] for one in held] for name in self.names)

    def fill(self, objects: Sequence[Any], columns: Iterable[Sequence[object]]) -> None:
        """Set the attributes, of a frozen dataclass too."""
        for obj, values in zip(objects, zip(*columns, strict=True), strict=True):
            vars(obj).update(zip(self.names, values, strict=True))


class Structure(Layout):
    """Structs, frozen ones too: made with what is plain, the rest put in afterwards."""

    def __init__(self, cls: type[msgspec.Struct]) -> None:
        super().__init__(cls, cls.__struct_fields__)

    def columns(self, objects: Sequence[Any]) -> Iterator[list[object]]:
        """The fields."""
        return (list(map(attrgetter(name), objects)) for name in self.names)

    def new(self, columns: Sequence[Sequence[Any]]) -> list[object]:
        """Structs that lack what is not plain."""
        return [
            self.cls(**dict(zip(self.names, values, strict=True)))
            for values in zip(*map(_plain_of, columns), strict=True)
        ]

    def fill(self, objects: Sequence[Any], columns: Iterable[Sequence[object]]) -> None:
        """Put in what was lacking."""
        for name, column in zip(self.names, columns, strict=True):
            for obj, value in zip(objects, column, strict=True):
                if getattr(obj, name) is not value:
                    msgspec.structs.force_setattr(obj, name, value)


def layout_of(cls: type[Any]) -> Layout:
    """How objects of exactly this class are taken apart.

    Raises
    ------
    TypeError
        If that cannot be said of the class.
    """
    if issubclass(cls, msgspec.Struct):
        return Structure(cls)
    return Open(cls) if cls.__dictoffset__ else Slotted(cls)


def _plain_of(column: Sequence[Any]) -> Sequence[Any]:
    return (
        [None if type(value) is list else value for value in column]
        if (list in set(map(type, column)))
        else column
    )


def _slots_of(cls: type[Any]) -> tuple[str, ...]:
    slots = cls.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _value_or_unset(slot: Any, obj: object) -> object:
    try:
        return slot.__get__(obj)
    except AttributeError:
        return UNSET
