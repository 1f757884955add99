"""How many bytes a process holds, of what its two allocators say of themselves.

Nothing has to be noted on the way, so that nothing is slower for it: CPython counts the blocks that
it gave out up to 512 bytes, the C library all larger ones and those of extensions.
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
import tempfile

_IN_BLOCKS = re.compile(rb"# bytes in allocated blocks\s+=\s+([\d,]+)")


class _Mallinfo2(ctypes.Structure):
    """As in ``malloc.h``; every field is of bytes, or a number."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    ]  # fmt: skip


def held_bytes() -> int:
    """Bytes given out and not given back, once everything that is unreachable is collected.

    Raises
    ------
    OSError
        If the C library does not say (any but glibc).
    """
    gc.collect()
    libc = ctypes.CDLL(None)
    try:
        mallinfo2 = libc.mallinfo2
    except AttributeError as error:
        raise OSError("the C library counts no memory: glibc 2.33 or newer is needed") from error
    mallinfo2.restype = _Mallinfo2
    of_libc = mallinfo2()
    return _of_python() + of_libc.uordblks + of_libc.hblkhd


def _of_python() -> int:
    """Bytes in the small blocks, which the interpreter tells to standard error alone."""
    shown = os.dup(2)
    try:
        with tempfile.TemporaryFile() as told:
            sys.stderr.flush()
            os.dup2(told.fileno(), 2)
            try:
                sys._debugmallocstats()
            finally:
                os.dup2(shown, 2)
            told.seek(0)
            found = _IN_BLOCKS.search(told.read())
    finally:
        os.close(shown)
    assert found is not None, "the interpreter's small blocks are not its own: PYTHONMALLOC?"
    return int(found[1].replace(b",", b""))
