"""Object graphs as bytes and back: identity, order, and one refusal of all that is not whole."""

from __future__ import annotations

import zlib
from collections import Counter, OrderedDict, defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.checkpoints import (
    MAGIC,
    CheckpointUnreadable,
    Kinds,
    read,
    read_payload,
    written,
)

TABLE = {"a": 1}


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Pair(Enum):
    ONE = (1, 2)


class Slotted:
    __slots__ = ("left", "other")

    def __init__(self, left: object = None) -> None:
        self.left = left


class Hiding(Slotted):
    """Its ``left`` is a property over a slot of its own."""

    __slots__ = ("_left",)

    @property
    def left(self) -> object:  # type: ignore[override]
        return ("got", self._left)

    @left.setter
    def left(self, left: object) -> None:
        self._left = ("set", left)


class Open:
    def __init__(self) -> None:
        self.items: list[object] = []
        self.friend: object = None


@dataclass(frozen=True)
class Frozen:
    name: str
    items: list[int] = field(default_factory=list)


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    colour: Colour | None = None
    items: list[int] | None = None


KINDS = Kinds(
    {
        "colour": Colour, "pair": Pair, "slotted": Slotted, "hiding": Hiding, "open": Open,
        "frozen": Frozen, "terms": Terms,
    },
    {"table": TABLE, "int": int, "len": len},
)  # fmt: skip


def _again(root: Any) -> Any:
    return read(written(root, KINDS), KINDS)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=()))
    | st.binary()
    | st.sampled_from([*Colour, *Pair])
)
KEYS = SCALARS | st.tuples(SCALARS, SCALARS) | st.frozensets(SCALARS, max_size=3)
GRAPHS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(KEYS, inner)
        | st.dictionaries(KEYS, inner).map(OrderedDict)
        | st.dictionaries(KEYS, st.integers()).map(Counter)
        | st.sets(KEYS)
        | st.lists(inner).map(lambda items: deque(items, maxlen=len(items) + 1))
        | st.builds(Terms, name=st.text(), colour=st.none() | st.sampled_from(Colour))
        | st.lists(st.tuples(inner, inner))
    ),
    max_leaves=40,
)


@given(GRAPHS)
def test_values_come_back_as_they_were(root: object) -> None:
    again = _again(root)
    assert again == root
    assert repr(again) == repr(root) or "{" in repr(root), "types and order"
    assert type(again) is type(root)


@given(st.dictionaries(KEYS, SCALARS))
def test_dictionaries_keep_their_order_and_the_types_of_keys(held: dict[Any, Any]) -> None:
    again = _again(held)
    assert [(type(k), k) for k in again] == [(type(k), k) for k in held]
    assert list(again.values()) == list(held.values())


@pytest.mark.parametrize(
    "value",
    [2**64, -(2**63) - 1, 10**400, float("inf"), -0.0, "\ud800", "", b"", (), frozenset(), [()],
     [(1, 2), (3,)], [((1, "x"), (2, Colour.RED))] * 3, {1: True, 2: None}, {}, {"": {}}, Pair.ONE],
)  # fmt: skip
def test_what_the_encoding_has_no_place_for_comes_back_too(value: object) -> None:
    assert repr(_again([value, {"k": value}, (value, value)])) == repr(
        [value, {"k": value}, (value, value)]
    )


def test_what_refers_to_one_object_still_does() -> None:
    shared: dict[int, float] = {4_900: 10.0}
    one, other = Slotted(shared), Open()
    one.other = other
    other.friend, other.items = one, [shared, other.items, TABLE, len]
    left, right = _again([one, other])
    assert type(left) is Slotted
    assert type(right) is Open
    assert left.other is right
    assert right.friend is left
    assert right.items[0] is left.left
    assert left.left == shared
    assert right.items[2] is TABLE
    assert right.items[3] is len


def test_a_list_in_itself_and_a_chain_of_any_length() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    again = _again(ring)
    assert again[1] is again
    chain: list[Any] = []
    for _ in range(50_000):
        chain = [chain]
    depth, again = 0, _again(chain)
    while again:
        depth, again = depth + 1, again[0]
    assert depth == 50_000


def test_slots_are_taken_from_behind_their_properties_and_may_be_unset() -> None:
    hiding = Hiding(7)
    again = _again(hiding)
    assert again._left == ("set", 7)
    with pytest.raises(AttributeError):
        _ = again.other
    # another one has it: unset is each object's own
    hiding.other = [1]
    first, second = _again([hiding, Hiding(8)])
    assert first.other == [1]
    assert not hasattr(second, "other")


def test_a_value_behind_the_back_of_its_property_is_not_lost_in_silence() -> None:
    hiding = Hiding(7)
    Slotted.left.__set__(hiding, 8)  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="behind a property"):
        written(hiding, KINDS)


def test_containers_keep_what_makes_them_what_they_are() -> None:
    counts = defaultdict(int, {"a": 1})
    last = deque(["a", "b"], maxlen=2)
    frozen = Frozen("x", [1])
    terms = Terms(name="n", items=frozen.items)
    again = _again((counts, last, frozen, terms, {(frozen.name, Colour.BLUE): terms}))
    again[0]["b"] += 2
    assert again[0] == {"a": 1, "b": 2}
    again[1].append("c")
    assert list(again[1]) == ["b", "c"]
    assert again[2] == frozen
    assert again[3] == terms
    assert again[3].items is again[2].items
    assert again[4] == {("x", Colour.BLUE): terms}
    assert again[4]["x", Colour.BLUE] is again[3]


@pytest.mark.parametrize("held", [object(), lambda: None, {1: [sum]}, (Counter,)])
def test_what_is_not_named_is_not_written(held: object) -> None:
    with pytest.raises(TypeError, match="no way to write"):
        written(held, KINDS)


def test_an_object_with_an_attribute_that_its_class_does_not_make_is_not_written() -> None:
    odd = Open()
    odd.added = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="added"):
        written(odd, KINDS)


# ── what cannot be read ──────────────────────────────────────────────────────────────────────


class Renamed:
    __slots__ = ("left", "third")


class Grown:
    def __init__(self) -> None:
        self.items: list[object] = []
        self.friend = None
        self.more = 0


@pytest.mark.parametrize(
    ("held", "changed", "named"),
    [
        (Slotted(1), {"slotted": Renamed}, r"slotted.*\['other'\].*\['third'\]"),
        (Open(), {"open": Grown}, r"open.*\['more'\]"),
        (Slotted(1), {}, "slotted"),
        (Slotted(1), {"slotted": Colour}, "slotted"),
        ([Colour.RED], {}, "colour"),
        ([Colour.RED], {"colour": Open}, "colour"),
        ([Colour.RED], {"colour": Pair}, "RED"),
        (TABLE, {}, "table"),
    ],
)
def test_another_version_is_named(held: object, changed: dict[str, type], named: str) -> None:
    with pytest.raises(CheckpointUnreadable, match=named):
        read(written(held, KINDS), Kinds(changed))


def _example() -> list[object]:
    one, other = Slotted({1: 2.0}), Open()
    other.friend, other.items = one, [(1, "a"), (2, "b"), b"x", Colour.RED, TABLE]
    return [
        one, other, Frozen("x"), Terms(name="n", items=[1]), Counter(a=1), deque([1], maxlen=3),
        defaultdict(int, a=1), OrderedDict(a=[2]), {"s"}, {("a", 1): None, ("b", 2): None},
    ]  # fmt: skip


def test_whatever_is_cut_or_flipped_is_refused() -> None:
    data = written(_example(), KINDS)
    for end in range(len(data)):
        with pytest.raises(CheckpointUnreadable):
            read(data[:end], KINDS)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CheckpointUnreadable):
            read(bytes(flipped), KINDS)
    with pytest.raises(CheckpointUnreadable):
        read(data + b"\0", KINDS)


def _payload(data: bytes) -> bytes:
    payload = data[len(MAGIC) + 4 :]
    assert zlib.crc32(payload) == int.from_bytes(data[len(MAGIC) :][:4], "big")
    return payload


@given(st.data())
def test_bytes_that_no_checksum_guards_are_read_or_refused(data: st.DataObject) -> None:
    payload = bytearray(_payload(written(_example(), KINDS)))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    with suppress(CheckpointUnreadable):
        read_payload(bytes(payload), KINDS)


JUNK = st.recursive(
    st.none() | st.integers(-2, 12) | st.sampled_from(["t", "d", "m", "q", "f", "l", "x", "int"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["t", "x"]), inner),
    max_leaves=12,
)


@given(st.data())
def test_shapes_that_no_writer_makes_are_read_or_refused(data: st.DataObject) -> None:
    decoded = msgspec.msgpack.decode(_payload(written(_example(), KINDS)))
    for _ in range(data.draw(st.integers(1, 3))):
        place: Any = decoded
        while isinstance(place, list) and place:
            at = data.draw(st.integers(0, len(place) - 1))
            if not isinstance(place[at], list) or data.draw(st.booleans()):
                place[at] = data.draw(JUNK)
                break
            place = place[at]
    with suppress(CheckpointUnreadable):
        read_payload(msgspec.msgpack.encode(decoded), KINDS)


def test_no_number_of_an_object_is_counted_from_the_end() -> None:
    payload = msgspec.msgpack.encode([[], [-1], [["l", []]]])
    with pytest.raises(CheckpointUnreadable):
        read_payload(payload, KINDS)
