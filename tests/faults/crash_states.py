"""What may be on a disk after a crash between any two operations, by what had been synced.

The operations of the real code are noted as they happen: what appears or grows is seen before each
of them; moves, removals and syncs as they are called for. The model promises no more than POSIX:
a file's content is there up to where it was synced, and any part of what was appended since; a name
is there, or gone, or another file's, as it was when its directory was synced or as any subset of
what was done in the directory since makes it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

ROOT = 0
_Path = str | Path


class Link(NamedTuple):
    """A name in a directory stands for a file or directory."""

    directory: int
    name: str
    node: int


class Unlink(NamedTuple):
    """A name in a directory stands for nothing any more."""

    directory: int
    name: str


class Written(NamedTuple):
    """A file's whole content, as a process sees it."""

    node: int
    content: bytes


class Synced(NamedTuple):
    """A file's content, or a directory's names, are on the disk."""

    node: int


Operation = Link | Unlink | Written | Synced


@dataclass
class Noted:
    """Operations in order, and what was promised after how many of them."""

    root: Path
    unseen: str
    """Ends the names of directories of which nothing is ever read."""
    operations: list[Operation] = field(default_factory=list[Operation])
    promises: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    _nodes: dict[str, int] = field(default_factory=dict[str, int])
    _contents: dict[int, bytes] = field(default_factory=dict[int, bytes])
    _last: int = ROOT

    def promise(self, position: int) -> None:
        """From now on everything up to a position has to be there."""
        self.promises.append((len(self.operations), position))

    def promised(self, operations: int) -> int:
        """The position that had been promised after so many operations; 0 where none was."""
        return max((p for at, p in self.promises if at <= operations), default=0)

    def look(self) -> None:
        """Note what has appeared, grown and gone."""
        found = dict(self._walk())
        for path in [path for path in self._nodes if path not in found]:
            self.operations.append(Unlink(self._parent(path), _name(path)))
            del self._nodes[path]

    def _walk(self) -> Iterator[tuple[str, int]]:
        for directory, names, files in os.walk(self.root):
            for name in (*names, *files):
                path = f"{directory}/{name}"
                known = self._nodes.get(path)
                self._last += known is None
                node = self._nodes[path] = self._last if known is None else known
                if name in files:
                    content = Path(path).read_bytes()
                    if self._contents.get(node) != content:
                        self._contents[node] = content
                        self.operations.append(Written(node, content))
                if known is None:
                    self.operations.append(Link(self._parent(path), name, node))
                yield path, node

    def _parent(self, path: str) -> int:
        directory = path.rpartition("/")[0]
        return ROOT if directory == str(self.root) else self._nodes[directory]

    def moved(self, source: str, target: str) -> None:
        """A file was given another name."""
        node = self._nodes.pop(source)
        self._nodes[target] = node
        self.operations.append(Link(self._parent(target), _name(target), node))
        self.operations.append(Unlink(self._parent(source), _name(source)))

    def removed(self, path: str) -> None:
        """A name was taken away."""
        if self._nodes.pop(path, None) is not None:
            self.operations.append(Unlink(self._parent(path), _name(path)))

    def synced(self, path: str) -> None:
        """A file or directory was synced."""
        self.operations.append(Synced(ROOT if path == str(self.root) else self._nodes[path]))

    def has(self, path: str) -> bool:
        """Whether a path is one of those noted."""
        return path == str(self.root) or path.startswith(f"{self.root}/")


@contextmanager
def noting(noted: Noted, before_sync: Callable[[str], None]) -> Generator[None]:
    """Note what happens below the root; ``before_sync`` may end the process at a path's sync."""
    unlink = os.unlink

    def noted_sync(original: Callable[[int], None], descriptor: int) -> None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if not noted.has(path):
            original(descriptor)
            return
        noted.look()
        before_sync(path)
        noted.synced(path)

    def noted_move(original: Callable[[_Path, _Path], None], source: _Path, target: _Path) -> None:
        noted.look()
        original(source, target)
        if noted.has(str(source)):
            noted.moved(str(source), str(target))

    def noted_unlink(path: str | Path) -> None:
        noted.look()
        unlink(path)
        noted.removed(str(path))

    with (
        patch.object(os, "fsync", partial(noted_sync, os.fsync)),
        patch.object(os, "fdatasync", partial(noted_sync, os.fdatasync)),
        patch.object(os, "replace", partial(noted_move, os.replace)),
        patch.object(os, "rename", partial(noted_move, os.rename)),
        patch.object(os, "unlink", noted_unlink),
    ):
        yield
        noted.look()


State = Mapping[str, bytes | None]
"""Contents by path, None for a directory."""


class Disk:
    """What is on the disk for certain, and what may be."""

    def __init__(self, unseen: str, cuts: int) -> None:
        self._unseen = unseen
        self._cuts = cuts
        """Places at which something that was appended may end, besides its ends."""
        self._names: dict[int, dict[str, int]] = {ROOT: {}}
        self._pending: dict[int, list[Link | Unlink]] = {}
        self._certain: dict[int, bytes] = {}
        self._written: dict[int, bytes] = {}
        self._directories = {ROOT}
        self._hidden: set[int] = set()

    def do(self, operation: Operation) -> None:
        """One operation, of a process."""
        match operation:
            case Written(node, content):
                self._written[node] = content
            case Link(directory, name, node):
                if name.endswith(self._unseen) or directory in self._hidden:
                    # once moved elsewhere a file is seen
                    self._hidden.add(node)
                else:
                    self._hidden.discard(node)
                    self._pending.setdefault(directory, []).append(operation)
            case Unlink(directory, _):
                if directory not in self._hidden:
                    self._pending.setdefault(directory, []).append(operation)
            case Synced(node):
                if node in self._written:
                    self._certain[node] = self._written[node]
                else:
                    _apply(self._names.setdefault(node, {}), self._pending.pop(node, []))

    def states(self, limit: int, chance: random.Random) -> Iterator[State]:
        """What may be there after a crash: everything, or so many of it."""
        moves = [move for pending in self._pending.values() for move in pending]
        torn = [
            node
            for node, content in self._written.items()
            if node not in self._hidden and self._certain.get(node, b"") != content
        ]
        options = [(False, True)] * len(moves) + [self._lengths(n, chance) for n in torn]
        for choice in _choices(options, limit, chance):
            kept = {id(move) for move, keep in zip(moves, choice, strict=False) if keep}
            cut = dict(zip(torn, choice[len(moves) :], strict=True))
            yield self._state(kept, cut)

    def _lengths(self, node: int, chance: random.Random) -> tuple[int, ...]:
        certain, written = len(self._certain.get(node, b"")), len(self._written[node])
        if written <= certain:
            return (certain, -1)
        middle = (chance.randint(certain, written) for _ in range(self._cuts))
        return tuple(sorted({certain, written, *middle}))

    def _state(self, kept: set[int], cut: Mapping[int, int]) -> State:
        found: dict[str, bytes | None] = {}
        unresolved = [(ROOT, "")]
        while unresolved:
            directory, path = unresolved.pop()
            names = dict(self._names.get(directory, {}))
            _apply(names, [m for m in self._pending.get(directory, []) if id(m) in kept])
            for name, node in names.items():
                inner = f"{path}/{name}" if path else name
                if node in self._written:
                    certain = self._certain.get(node, b"")
                    length = cut.get(node)
                    found[inner] = (
                        certain if length is None or length < 0 else self._written[node][:length]
                    )
                else:
                    found[inner] = None
                    unresolved.append((node, inner))
        return found


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _apply(names: dict[str, int], moves: list[Link | Unlink]) -> None:
    for move in moves:
        if isinstance(move, Link):
            names[move.name] = move.node
        else:
            names.pop(move.name, None)


def _choices(
    options: list[tuple[int, ...]], limit: int, chance: random.Random
) -> Iterator[tuple[int, ...]]:
    combinations = 1
    for option in options:
        combinations *= len(option)
    if combinations <= limit:
        yield from product(*options)
        return
    yield tuple(option[0] for option in options)
    yield tuple(option[-1] for option in options)
    for _ in range(limit - 2):
        yield tuple(chance.choice(option) for option in options)


def make(state: State, root: Path) -> None:
    """Put a state into an empty directory."""
    root.mkdir()
    for path in sorted(state):
        content = state[path]
        if content is None:
            (root / path).mkdir(parents=True, exist_ok=True)
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
