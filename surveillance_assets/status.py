"""Asking the running collector how it is: what ``surveillance status`` reads."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec

from surveillance_core.command_line import CommandFailed
from surveillance_core.lake.layout import (
    collector_health_file,
    collector_holder_file,
    parse_collector_shard,
)
from surveillance_core.lake.store import Store
from surveillance_core.status import HealthAddress, Status

ANSWER_SECONDS = 5.0
_Record = TypeVar("_Record", bound=msgspec.Struct)
_START = "start one with: surveillance collect"


class _Holder(msgspec.Struct):
    """Who holds a collector's lock; written by the collector."""

    pid: int
    host: str


class CollectorStatus(msgspec.Struct, frozen=True):
    """One running collector."""

    shard: str
    url: str
    status: Status


def read_statuses(store: Store) -> list[CollectorStatus]:
    """The status of every collector that runs on a lake.

    Raises
    ------
    CommandFailed
        If none runs, or one does not answer; with the next step.
    """
    state = store.state_dir()
    names = sorted(entry.name for entry in os.scandir(state))
    shards = [shard for name in names if (shard := parse_collector_shard(name)) is not None]
    if not shards:
        raise CommandFailed(f"no collector runs on {store.root}: {_START}")
    return [CollectorStatus(shard, *_read(store, state, shard)) for shard in shards]


def _read(store: Store, state: Path, shard: str) -> tuple[str, Status]:
    holder = _decode(state / collector_holder_file(shard), _Holder)
    address = _decode(state / collector_health_file(shard), HealthAddress)
    if holder is not None and not _lives(holder):
        raise CommandFailed(
            f"no collector runs on {store.root}: the last one (process {holder.pid}) ended without "
            f"a word, as a killed one does; {_START}"
        )
    if holder is None:
        raise CommandFailed(f"no collector runs on {store.root}: {_START}")
    if address is None or address.pid != holder.pid:
        raise CommandFailed(
            f"a collector runs on {store.root} (process {holder.pid} on {holder.host}) without "
            "health pages: set health.enabled = true, or see health_unavailable in its log"
        )
    try:
        answer = httpx.get(f"{address.url}/status.json", timeout=ANSWER_SECONDS, trust_env=False)
        return address.url, msgspec.json.decode(answer.content, type=Status)
    except (httpx.HTTPError, msgspec.DecodeError) as error:
        raise CommandFailed(
            f"the collector (process {holder.pid}) does not answer at {address.url}: "
            f"{type(error).__name__}. See its log; if it stays silent, start it anew"
        ) from error


def _decode(path: Path, kind: type[_Record]) -> _Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None


def _lives(holder: _Holder) -> bool:
    """Whether the holder still runs; one on another machine is believed."""
    if holder.host != socket.gethostname():
        return True
    with suppress(PermissionError):
        try:
            os.kill(holder.pid, 0)
        except ProcessLookupError:
            return False
    return True
