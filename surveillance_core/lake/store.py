"""A lake's storage: one interface over a local directory and an object store.

Two operations carry all promises. ``publish_file`` makes a finished local file visible whole or
not at all; ``append_line`` adds one durable line. Locally these are fsync, rename, fsync of the
directory, and an fsynced append; on an object store a single PUT each.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Protocol

import pyarrow.fs as pafs

from surveillance_core.lake.errors import LakeError
from surveillance_core.lake.layout import QUARANTINE_SUFFIX, STAGING_SUFFIX, STATE_SUFFIX


@dataclass(frozen=True)
class ObjectStoreOptions:
    """How to reach an S3 server other than by the AWS environment's defaults."""

    endpoint_url: str = ""
    region: str = "us-east-1"


class Store(Protocol):
    """Where a lake's bytes are. Paths are relative to the root and come from ``layout``."""

    root: str

    def staging(self) -> Path:
        """A local directory for files that are being written; beside the lake, never inside."""
        ...

    def state_dir(self) -> Path:
        """A local directory for locks and other state of this lake's processes."""
        ...

    def publish_file(self, staged: Path, path: str) -> None:
        """Move a finished staged file to its place, visible whole and durable on return."""
        ...

    def append_line(self, path: str, line: bytes) -> None:
        """Add a line or more (newlines included), durable on return. One writer a path."""
        ...

    def read_bytes(self, path: str) -> bytes:
        """The whole file; raises ``FileNotFoundError``."""
        ...

    def size(self, path: str) -> int | None:
        """Bytes, None where there is no such file."""
        ...

    def list_names(self, directory: str) -> list[str]:
        """Names directly below a directory, sorted; empty where it does not exist."""
        ...

    def quarantine(self, path: str) -> str:
        """Take a file out of the lake, keeping it; returns where it went."""
        ...

    def delete_files(self, paths: Iterable[str]) -> None:
        """Remove files for good, durably on return; those that are not there count as removed."""
        ...

    def append_aside(self, path: str, line: bytes) -> None:
        """Keep a line beside the lake, locally; not durable, never part of the lake."""
        ...

    def read_aside(self, path: str) -> bytes:
        """What is kept beside the lake, nothing where there is nothing."""
        ...

    def write_aside(self, path: str, content: bytes) -> None:
        """Keep a file beside the lake, locally, durable on return; it replaces an earlier one."""
        ...

    def scan_path(self, path: str) -> str:
        """The path as Polars or DuckDB take it."""
        ...

    def scan_options(self) -> dict[str, str] | None:
        """Polars' storage options, None for local files."""
        ...


def open_store(data_dir: str, options: ObjectStoreOptions | None = None) -> Store:
    """The store behind a ``data_dir``: ``s3://bucket/prefix`` or a local directory."""
    if data_dir.startswith("s3://"):
        return S3Store(data_dir, options or ObjectStoreOptions())
    if "://" in data_dir:
        raise LakeError(f"{data_dir}: not a store this version knows; use a directory or s3://")
    return LocalStore(Path(data_dir))


class LocalStore:
    """A directory on a local file system."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self.root = str(self._root)
        self._lasting: set[Path] = set()
        """What will be in its directory after a power cut, since that was synced."""

    def staging(self) -> Path:
        return _private_dir(Path(self.root + STAGING_SUFFIX))

    def state_dir(self) -> Path:
        return _private_dir(Path(self.root + STATE_SUFFIX))

    def publish_file(self, staged: Path, path: str) -> None:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        _fsync_file(staged)
        staged.replace(target)
        _fsync_dir(target.parent)
        self._make_last(target.parent)

    def append_line(self, path: str, line: bytes) -> None:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # nothing is buffered: a close would write again what could not be written
        with target.open("ab", buffering=0) as file:
            end = file.tell()
            # a crash tore the last line: close it so that only that line is lost
            torn = end and not _ends_with_newline(target)
            try:
                _write_all(file, b"\n" + line if torn else line)
                os.fsync(file.fileno())
                self._make_last(target)
            except OSError:
                # it may be there all the same, and whoever is told that it is not says it again
                with suppress(OSError):
                    file.truncate(end)
                raise

    def read_bytes(self, path: str) -> bytes:
        return (self._root / path).read_bytes()

    def size(self, path: str) -> int | None:
        try:
            return (self._root / path).stat().st_size
        except FileNotFoundError:
            return None

    def list_names(self, directory: str) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self._root / directory))
        except FileNotFoundError:
            return []

    def quarantine(self, path: str) -> str:
        target = Path(self.root + QUARANTINE_SUFFIX) / path
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.move(self._root / path, target)
        return str(target)

    def delete_files(self, paths: Iterable[str]) -> None:
        targets = [self._root / path for path in paths]
        for target in targets:
            target.unlink(missing_ok=True)
        for directory in {target.parent for target in targets}:
            if directory.is_dir():
                _fsync_dir(directory)

    def append_aside(self, path: str, line: bytes) -> None:
        _append_aside(Path(self.root + QUARANTINE_SUFFIX), path, line)

    def read_aside(self, path: str) -> bytes:
        return _read_aside(Path(self.root + QUARANTINE_SUFFIX), path)

    def write_aside(self, path: str, content: bytes) -> None:
        _write_aside(Path(self.root + QUARANTINE_SUFFIX), path, content)

    def scan_path(self, path: str) -> str:
        return str(self._root / path)

    def scan_options(self) -> dict[str, str] | None:
        return None

    def _make_last(self, path: Path) -> None:
        """Have a path's name on the disk, and those of its parents.

        They may be there without: who made them may have died before.
        """
        for entry in (path, *path.parents):
            if entry in self._lasting:
                break
            _fsync_dir(entry.parent)
            self._lasting.add(entry)
            if entry == self._root:
                break


class S3Store:
    """A bucket and prefix on an S3 server, through ``pyarrow.fs``."""

    def __init__(self, uri: str, options: ObjectStoreOptions) -> None:
        self.root = uri.rstrip("/")
        self._prefix = self.root.removeprefix("s3://")
        if not all(self._prefix.partition("/")[::2]):
            # beside a bucket's root there is no place for what is taken out of the lake
            raise LakeError(f"{uri}: name a prefix in the bucket, s3://bucket/prefix")
        self._options = options
        scheme, _, host = options.endpoint_url.partition("://")
        self._fs = pafs.S3FileSystem(
            region=options.region,
            endpoint_override=host or None,
            scheme="http" if scheme == "http" else "https",
            allow_bucket_creation=False,
        )

    def staging(self) -> Path:
        return _private_dir(self._local(STAGING_SUFFIX))

    def state_dir(self) -> Path:
        return _private_dir(self._local(STATE_SUFFIX))

    def _local(self, suffix: str) -> Path:
        """A directory of this machine that belongs to this lake alone."""
        name = hashlib.blake2b(self.root.encode(), digest_size=8).hexdigest()
        return Path(tempfile.gettempdir()) / f"surveillance-{os.getuid()}-{name}{suffix}"

    def publish_file(self, staged: Path, path: str) -> None:
        self._put(path, staged.read_bytes())
        staged.unlink()

    def append_line(self, path: str, line: bytes) -> None:
        try:
            content = self.read_bytes(path)
        except FileNotFoundError:
            content = b""
        self._put(path, content + line)

    def read_bytes(self, path: str) -> bytes:
        with self._fs.open_input_stream(self._key(path)) as stream:
            return stream.read()

    def size(self, path: str) -> int | None:
        info = self._info(path)
        return info.size if info.type == pafs.FileType.File else None

    def list_names(self, directory: str) -> list[str]:
        selector = pafs.FileSelector(self._key(directory), allow_not_found=True)
        return sorted(info.base_name for info in self._fs.get_file_info(selector))

    def quarantine(self, path: str) -> str:
        target = f"{self._prefix}{QUARANTINE_SUFFIX}/{path}"
        self._fs.move(self._key(path), target)
        return f"s3://{target}"

    def delete_files(self, paths: Iterable[str]) -> None:
        for path in paths:
            with suppress(FileNotFoundError):
                self._fs.delete_file(self._key(path))

    def append_aside(self, path: str, line: bytes) -> None:
        _append_aside(self._local(QUARANTINE_SUFFIX), path, line)

    def read_aside(self, path: str) -> bytes:
        return _read_aside(self._local(QUARANTINE_SUFFIX), path)

    def write_aside(self, path: str, content: bytes) -> None:
        _write_aside(self._local(QUARANTINE_SUFFIX), path, content)

    def scan_path(self, path: str) -> str:
        return f"{self.root}/{path}"

    def scan_options(self) -> dict[str, str] | None:
        options = {"aws_region": self._options.region}
        if self._options.endpoint_url:
            options["aws_endpoint_url"] = self._options.endpoint_url
            if self._options.endpoint_url.startswith("http://"):
                options["aws_allow_http"] = "true"
        return options

    def _key(self, path: str) -> str:
        return f"{self._prefix}/{path}"

    def _info(self, path: str) -> pafs.FileInfo:
        return self._fs.get_file_info(self._key(path))

    def _put(self, path: str, content: bytes) -> None:
        with self._fs.open_output_stream(self._key(path)) as stream:
            stream.write(content)


def _private_dir(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def _append_aside(root: Path, path: str, line: bytes) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with target.open("ab") as file:
        file.write(line)


def _read_aside(root: Path, path: str) -> bytes:
    try:
        return (root / path).read_bytes()
    except FileNotFoundError:
        return b""


def _write_aside(root: Path, path: str, content: bytes) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    target.write_bytes(content)
    _fsync_file(target)
    for directory in (target.parent, root, root.parent):
        _fsync_dir(directory)


def _write_all(file: RawIOBase, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[file.write(view) or 0 :]


def _fsync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _fsync_dir(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
