"""How the objects of a class are taken apart into attributes and put together again. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
        Its attributes, in the order in which they are written.
    """

    def __init__(self, cls: type[Any], names: Sequence[str]) -> None:
        self.cls = cls
        self.names = list(names)

    def values(self, obj: Any) -> Iterable[object]:
        """The object's attributes, as they are underneath any property."""
        raise NotImplementedError

    def new(self, raw: list[Any]) -> object:
        """An object to be filled; ``raw`` are its values, lists where they are not plain."""
        del raw
        return object.__new__(self.cls)

    def fill(self, obj: Any, values: Iterable[object]) -> None:
        """Give a new object its attributes."""
        raise NotImplementedError


class Slotted(Layout):
    """Objects whose attributes are slots, some of them hidden by a property of a subclass."""

    def __init__(self, cls: type[Any]) -> None:
        slots = {
            (base, name): base.__dict__[name]
            for base in reversed(cls.__mro__)
            for name in _slots_of(base)
        }
        # what no property hides is had by one call
        visible = [name for (_, name), slot in slots.items() if getattr(cls, name) is slot]
        hidden = {key: slot for key, slot in slots.items() if getattr(cls, key[1]) is not slot}
        super().__init__(cls, [*visible, *(f"{base.__name__}.{name}" for base, name in hidden)])
        self._slots = [*(getattr(cls, name) for name in visible), *hidden.values()]
        self._hidden = list(hidden.values())
        self._visible: Callable[[Any], tuple[object, ...]] | None = (
            attrgetter(*visible) if len(visible) > 1 else None
        )

    def values(self, obj: Any) -> Iterable[object]:
        """The slots, ``UNSET`` for each that has no value."""
        if self._visible is not None:
            try:
                seen = self._visible(obj)
            except AttributeError:
                pass
            else:
                return [*seen, *(_value_or_unset(slot, obj) for slot in self._hidden)]
        return [_value_or_unset(slot, obj) for slot in self._slots]

    def fill(self, obj: Any, values: Iterable[object]) -> None:
        """Set the slots, past any property."""
        for slot, value in zip(self._slots, values, strict=True):
            if value is not UNSET:
                slot.__set__(obj, value)


class Open(Layout):
    """Objects with a ``__dict__``: dataclasses, or such as can be made without arguments."""

    def __init__(self, cls: type[Any]) -> None:
        if any(_slots_of(base) for base in cls.__mro__):
            raise TypeError(f"{cls.__name__} has slots and a __dict__: its attributes are unclear")
        if is_dataclass(cls):
            super().__init__(cls, [member.name for member in fields(cls)])
        else:
            super().__init__(cls, list(cast("dict[str, object]", vars(cls()))))

    def values(self, obj: Any) -> Iterable[object]:
        """The attributes; raises ``TypeError`` where they are not the class's."""
        held = cast("dict[str, object]", vars(obj))
        if held.keys() != set(self.names):
            differing = sorted(held.keys() ^ set(self.names))
            raise TypeError(f"{self.cls.__name__} has other attributes than made: {differing}")
        return map(held.__getitem__, self.names)

    def fill(self, obj: Any, values: Iterable[object]) -> None:
        """Set the attributes, of a frozen dataclass too."""
        vars(obj).update(zip(self.names, values, strict=True))


class Structure(Layout):
    """Structs, frozen ones too: made with what is plain, the rest put in afterwards."""

    def __init__(self, cls: type[msgspec.Struct]) -> None:
        super().__init__(cls, cls.__struct_fields__)

    def values(self, obj: Any) -> Iterable[object]:
        """The fields."""
        return [getattr(obj, name) for name in self.names]

    def new(self, raw: list[Any]) -> object:
        """A struct that lacks what is not plain."""
        plain = (None if type(value) is list else value for value in raw)
        return cast("object", self.cls(**dict(zip(self.names, plain, strict=True))))

    def fill(self, obj: Any, values: Iterable[object]) -> None:
        """Put in what was lacking."""
        for name, value in zip(self.names, values, strict=True):
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


def _slots_of(cls: type[Any]) -> tuple[str, ...]:
    slots = cls.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _value_or_unset(slot: Any, obj: object) -> object:
    try:
        return slot.__get__(obj)
    except AttributeError:
        return UNSET
