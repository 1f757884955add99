"""File systems of a test's own: small, and full, read only, broken or stalled when it says so.

They need root and a kernel that lets it mount; where that is not so the test is skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_SKIPPED = "mounts a file system, which takes root"


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@contextmanager
def small_memory_disk(place: Path, megabytes: int) -> Generator[Path]:
    """A file system of that size in memory, mounted at ``place``."""
    _mount_or_skip(place, "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs")
    try:
        yield place
    finally:
        _run("umount", "-l", place)


@contextmanager
def loop_disk(place: Path, megabytes: int) -> Generator[Path]:
    """An ext4 file system in a file, mounted at ``place``; the first error makes it read only."""
    image = place.with_suffix(".image")
    with image.open("wb") as file:
        file.truncate(megabytes * 1_000_000)
    _run("mkfs.ext4", "-q", image)
    _mount_or_skip(place, "-o", "loop,errors=remount-ro", image)
    try:
        yield place
    finally:
        while place.is_mount():
            _run("umount", "-l", place)


def _mount_or_skip(place: Path, *arguments: str | Path) -> None:
    if os.geteuid():
        pytest.skip(_SKIPPED)
    place.mkdir()
    try:
        _run("mount", *arguments, place)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(_SKIPPED)


def make_read_only(place: Path, *, read_only: bool) -> None:
    """Mount it anew; nobody may have a file open for writing."""
    _run("mount", "-o", f"remount,{'ro' if read_only else 'rw'}", place)


def break_ext4(place: Path) -> None:
    """Have the kernel find an error in it: from now on it is read only."""
    number = place.stat().st_dev
    device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve().name
    Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("1")


def mend_ext4(place: Path) -> None:
    """Put a repaired copy of it in its place; whoever has a file open keeps the broken one.

    It is mounted over the broken one. Were that gone first, whoever writes in between would write
    to the directory that both are mounted on, and what is there nobody sees again.
    """
    images = list(place.parent.glob(f"{place.name}*.image"))
    before = place.with_suffix(f".{len(images) - 1}.image" if len(images) > 1 else ".image")
    # under another name: the loop device of the old one would be taken again
    image = place.with_suffix(f".{len(images)}.image")
    shutil.copyfile(before, image)
    # 1: errors were corrected
    checked = subprocess.run(["e2fsck", "-fy", image], check=False, capture_output=True)
    assert checked.returncode in (0, 1), checked.stdout.decode()
    _run("mount", "-o", "loop,errors=remount-ro", image, place)


@contextmanager
def filled(place: Path) -> Generator[None]:
    """While the block runs there is not a page left."""
    ballast = place / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                with suppress(OSError):
                    while True:
                        file.write(b"\0" * size)
        yield
    finally:
        ballast.unlink()


@contextmanager
def stalled(place: Path) -> Generator[None]:
    """While the block runs every write waits."""
    _run("fsfreeze", "-f", place)
    try:
        yield
    finally:
        _run("fsfreeze", "-u", place)
