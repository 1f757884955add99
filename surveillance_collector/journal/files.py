"""Where a journal's segments lie: one directory a venue and shard, on a local disk."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from surveillance_core.lake.layout import parse_segment_name


class SegmentFiles(Protocol):
    """A directory of segments; tests put others in its place."""

    def names(self) -> list[str]:
        """Segments, the first written first."""
        ...

    def read(self, name: str) -> bytes:
        """A segment's content."""
        ...

    def create(self, name: str) -> int:
        """A new file, and a descriptor to write it by; it lasts from its first sync on."""
        ...

    def write(self, descriptor: int, content: bytes) -> None:
        """Append; raises ``OSError`` where not all of it could be."""
        ...

    def sync(self, descriptor: int) -> None:
        """What has been written is on the disk, under its name, when this returns."""
        ...

    def close(self, descriptor: int) -> None:
        """Let go of the descriptor; what was synced stays."""
        ...

    def remove(self, names: list[str]) -> None:
        """Delete segments, those first written first, durably on return."""
        ...

    def allocate_reserve(self, size: int) -> None:
        """Have so many bytes of the disk set aside.

        Raises ``OSError`` where there are not twice as many: with the last of a disk set aside
        nothing else would work.
        """
        ...

    def release_reserve(self) -> None:
        """Give back what was set aside."""
        ...


_RESERVE = "reserve"


class LocalSegments:
    """Segments in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lasts = False
        """Whether the directory has been synced into those above it."""
        self._new: set[int] = set()
        """Descriptors of files whose names have not been synced yet."""

    def open(self) -> None:
        """Make the directory where there is none; raises ``OSError`` where it is not to be used."""
        self._lasts = self._lasts and self._directory.is_dir()
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(self._directory, os.W_OK | os.X_OK):
            read_only = os.statvfs(self._directory).f_flag & os.ST_RDONLY
            number = errno.EROFS if read_only else errno.EACCES
            raise OSError(number, os.strerror(number), str(self._directory))
        if self._lasts:
            return
        for parent in self._directory.absolute().parents:
            # whoever made them may have died before; what is not to be synced is not ours
            with suppress(OSError):
                _sync_directory(parent)
        self._lasts = True

    def names(self) -> list[str]:
        """Segments, the first written first."""
        try:
            found = [entry.name for entry in os.scandir(self._directory)]
        except FileNotFoundError:
            return []
        return sorted(name for name in found if parse_segment_name(name) is not None)

    def read(self, name: str) -> bytes:
        """A segment's content."""
        return (self._directory / name).read_bytes()

    def create(self, name: str) -> int:
        """A new file, and a descriptor to write it by.

        Its name is synced with its content: until then a killed process loses nothing of either.
        """
        self.open()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(self._directory / name, flags, 0o600)
        self._new.add(descriptor)
        return descriptor

    def write(self, descriptor: int, content: bytes) -> None:
        """Append all of it."""
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]

    def sync(self, descriptor: int) -> None:
        """Have what was written on the disk, and of a new file its name."""
        os.fdatasync(descriptor)
        if descriptor in self._new:
            _sync_directory(self._directory)
            self._new.discard(descriptor)

    def close(self, descriptor: int) -> None:
        """Let go of the descriptor."""
        self._new.discard(descriptor)
        # what a close could still complain of was synced, or is written again elsewhere
        with suppress(OSError):
            os.close(descriptor)

    def remove(self, names: list[str]) -> None:
        """Delete segments in their order, so that none is left behind a hole."""
        for name in sorted(names):
            (self._directory / name).unlink(missing_ok=True)
            # nothing else keeps a later name from going first
            _sync_directory(self._directory)

    def allocate_reserve(self, size: int) -> None:
        """Set bytes of the disk aside in a file, which is made whole or not at all."""
        self.open()
        path = self._directory / _RESERVE
        with suppress(FileNotFoundError):
            if path.stat().st_size == size:
                return
        disk = os.statvfs(self._directory)
        if disk.f_bavail * disk.f_frsize < 2 * size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, 0)
            os.posix_fallocate(descriptor, 0, size)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    def release_reserve(self) -> None:
        """Give back what was set aside."""
        (self._directory / _RESERVE).unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
