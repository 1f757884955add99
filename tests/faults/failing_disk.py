"""A disk that fails at the n-th operation: under the journal, and under the lake's store."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Literal

import pytest

from surveillance_collector.journal.files import LocalSegments
from surveillance_core.lake import store

Layer = Literal["journal", "lake"]


class FailingDisk:
    """Counts operations below a directory, and refuses those it is told to.

    What it refuses may be half done. What lies elsewhere is another disk.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self._root = str(root)
        self._layer: Layer = "journal"
        self._after = 0
        self._left = 0
        self._number = 0
        self._bad: set[int] = set()
        self.synced_again: list[int] = []
        """Descriptors that were synced after an error."""
        create, write, sync = LocalSegments.create, LocalSegments.write, LocalSegments.sync

        def created(files: LocalSegments, name: str) -> int:
            if self._has(files._directory):
                self._pass("journal")
            descriptor = create(files, name)
            # its number may have been another file's
            self._bad.discard(descriptor)
            return descriptor

        def written(files: LocalSegments, descriptor: int, content: bytes) -> None:
            if self._has(files._directory):
                self._pass("journal", lambda: self._halve(files, write, descriptor, content))
            write(files, descriptor, content)

        def synced(files: LocalSegments, descriptor: int) -> None:
            if self._has(files._directory):
                if descriptor in self._bad:
                    self.synced_again.append(descriptor)
                self._pass("journal", lambda: self._bad.add(descriptor))
            sync(files, descriptor)

        monkeypatch.setattr(LocalSegments, "create", created)
        monkeypatch.setattr(LocalSegments, "write", written)
        monkeypatch.setattr(LocalSegments, "sync", synced)
        write_all, fsync_file, fsync_dir = store._write_all, store._fsync_file, store._fsync_dir

        def all_written(file: FileIO, content: bytes) -> None:
            if self._has(file.name):
                self._pass("lake", lambda: write_all(file, content[: len(content) // 2]))
            write_all(file, content)

        def file_synced(path: Path) -> None:
            if self._has(path):
                self._pass("lake")
            fsync_file(path)

        def directory_synced(path: Path) -> None:
            if self._has(path):
                self._pass("lake")
            fsync_dir(path)

        monkeypatch.setattr(store, "_write_all", all_written)
        monkeypatch.setattr(store, "_fsync_file", file_synced)
        monkeypatch.setattr(store, "_fsync_dir", directory_synced)

    def arm(self, layer: Layer, after: int, times: int, number: int) -> None:
        """Refuse ``times`` operations of a layer once ``after`` more have passed."""
        self._layer, self._after, self._number = layer, after, number
        self._left = times

    @property
    def spent(self) -> bool:
        """Whether everything was refused that was to be."""
        return not self._left

    def _has(self, path: object) -> bool:
        return str(path).startswith(f"{self._root}/")

    def _pass(self, layer: Layer, halfway: Callable[[], object] = lambda: None) -> None:
        if layer != self._layer or not self._left:
            return
        if self._after:
            self._after -= 1
            return
        self._left -= 1
        halfway()
        raise OSError(self._number, os.strerror(self._number))

    def _halve(
        self,
        files: LocalSegments,
        write: Callable[[LocalSegments, int, bytes], None],
        descriptor: int,
        content: bytes,
    ) -> None:
        write(files, descriptor, content[: len(content) // 2])
        self._bad.add(descriptor)
