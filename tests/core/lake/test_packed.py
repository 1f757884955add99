"""Packed lists of numbers are the lists they were."""

from __future__ import annotations

import struct
from math import isnan

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.lake.errors import SchemaError
from surveillance_core.lake.packed import pack_numbers, packed_lists, unpack_numbers
from surveillance_core.lake.publish import rows_to_table
from surveillance_core.lake.schemas import Column, Partitioning, Table

_LISTS = pa.list_(pa.field("element", pa.float64()))
_TABLE = Table(
    "books",
    "",
    Partitioning.HOUR,
    (Column("name", pa.string(), ""), Column("sizes", _LISTS, "", nullable=False)),
    ("name",),
    (),
)


@given(st.lists(st.lists(st.floats(allow_nan=False), max_size=60), max_size=30))
def test_an_array_of_packed_lists_is_the_array_of_the_lists(lists: list[list[float]]) -> None:
    packed = packed_lists([pack_numbers(numbers) for numbers in lists], _LISTS)
    packed.validate(full=True)
    assert packed.equals(pa.array(lists, _LISTS))


@given(st.lists(st.floats(), max_size=60))
def test_unpacking_gives_back_what_was_packed(numbers: list[float]) -> None:
    found = unpack_numbers(pack_numbers(numbers))
    assert [n for n in found if not isnan(n)] == [n for n in numbers if not isnan(n)]
    assert list(map(isnan, found)) == list(map(isnan, numbers))


def test_a_table_takes_lists_or_packed_lists() -> None:
    lists = [("a", [1.0, 2.5]), ("b", []), ("c", [3.0])]
    packed = [(name, pack_numbers(numbers)) for name, numbers in lists]
    assert rows_to_table(_TABLE, packed).equals(rows_to_table(_TABLE, lists))


def test_what_is_no_number_is_not_packed() -> None:
    with pytest.raises(struct.error):
        pack_numbers([1.0, "2"])  # type: ignore[list-item]


@pytest.mark.parametrize("second", [[2.0], None, "2"])
def test_a_column_that_is_packed_in_part_is_refused_by_its_name(second: object) -> None:
    with pytest.raises(SchemaError, match=r"books\.sizes"):
        rows_to_table(_TABLE, [("a", pack_numbers([1.0])), ("b", second)])


def test_rows_of_different_lengths_are_refused() -> None:
    with pytest.raises(SchemaError, match="1 values a row, 2 columns"):
        rows_to_table(_TABLE, [("a", [1.0]), ("b",)])
