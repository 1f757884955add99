"""Lists of numbers packed as a file holds them: eight bytes a number and no object for any.

A book's levels are packed while they are at hand. To gather them as objects when the file is
written, long after, takes four times as long, for the memory they lie in is cold by then.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate
from struct import Struct
from typing import Any

import pyarrow as pa

_BYTES = 8


def pack_numbers(numbers: Sequence[float]) -> bytes:
    """The numbers as native float64.

    Raises
    ------
    struct.error
        If one of them is not a number.
    """
    return _packer(len(numbers))(*numbers)


def unpack_numbers(packed: bytes) -> list[float]:
    """What ``pack_numbers`` packed."""
    return array("d", packed).tolist()


def packed_lists(values: Sequence[bytes], kind: pa.DataType) -> pa.Array[Any]:
    """An Arrow array of lists of float64, from one ``pack_numbers`` a list."""
    numbers = b"".join(values)
    offsets = array("i", accumulate((len(value) // _BYTES for value in values), initial=0))
    flat = pa.Array.from_buffers(
        pa.float64(), len(numbers) // _BYTES, [None, pa.py_buffer(numbers)]
    )
    return pa.ListArray.from_buffers(
        kind, len(values), [None, pa.py_buffer(offsets)], children=[flat]
    )


@cache
def _packer(count: int) -> Callable[..., bytes]:
    return Struct(f"{count}d").pack
