"""What is wrong and how to mend it: the checks of ``surveillance doctor``."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx
import msgspec

from surveillance_core.lake.errors import LakeError
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.store import ObjectStoreOptions
from surveillance_core.markets import Venue
from surveillance_core.settings import Settings
from surveillance_core.venues.kalshi.signing import CredentialsError, load_signer
from surveillance_core.venues.registry import supported_venues

FREE_BYTES = 5 * 1024**3
CLOCK_SECONDS = 2.0
_TIMEOUT = 5.0


class Finding(msgspec.Struct, frozen=True):
    """One check's verdict."""

    check: str
    verdict: Literal["ok", "warning", "failed"]
    found: str
    next_step: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Every check in turn."""
    yield Finding("configuration", "ok", "every key is valid")
    yield from _venues(settings)
    credentials = _credentials(settings)
    if credentials is not None:
        yield credentials
    yield from _data_dir(settings)
    yield from _hosts(settings)


def _venues(settings: Settings) -> Iterator[Finding]:
    enabled = settings.venues.enabled
    if not enabled:
        yield Finding("venues", "failed", "none is enabled", "set venues.polymarket.enabled = true")
    for venue in enabled:
        if venue not in supported_venues():
            yield Finding(
                f"venue {venue}",
                "failed",
                "this version has no adapter for it",
                f"set venues.{venue}.enabled = false",
            )
        elif not settings.endpoints(venue).ws_url or not settings.endpoints(venue).rest_url:
            yield Finding(
                f"venue {venue}", "failed", "an address is missing", f"set venues.{venue}.*_url"
            )


def _credentials(settings: Settings) -> Finding | None:
    """Whether Kalshi's handshake can be signed; nothing of the key is shown."""
    if Venue.KALSHI not in settings.venues.enabled:
        return None
    check = "credentials kalshi"
    if settings.mock.enabled:
        return Finding(check, "ok", "simulated: made when they are first needed")
    table = settings.venues.kalshi
    try:
        load_signer(table.api_key_id_env, table.private_key_path)
    except CredentialsError as error:
        return Finding(
            check,
            "failed",
            str(error),
            "make a key in the venue's account settings, keep its file with mode 0600, and name "
            "both in venues.kalshi.api_key_id_env and private_key_path",
        )
    return Finding(check, "ok", f"${table.api_key_id_env} and {table.private_key_path} can be used")


def _data_dir(settings: Settings) -> Iterator[Finding]:
    options = ObjectStoreOptions(settings.storage.s3_endpoint_url, settings.storage.s3_region)
    local = "://" not in settings.data_dir
    try:
        lake = Lake(settings.data_dir, None, options)
        record = lake.store.size("_lake.json")
    except (LakeError, OSError) as error:
        yield Finding("lake", "failed", str(error), "check data_dir and its credentials")
        return
    state = "exists" if record else "not made yet; the first writer makes it"
    yield Finding("lake", "ok", f"{lake.store.root} ({state})")
    if not local:
        return
    root = Path(lake.store.root)
    parent = next(p for p in (root, *root.parents) if p.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=parent, prefix=".surveillance-doctor-"):
            pass
        yield Finding("directory rights", "ok", f"{parent} can be written")
    except OSError as error:
        yield Finding(
            "directory rights",
            "failed",
            f"{parent}: {error.strerror}",
            f"let user {os.getuid()} write there, or name another data_dir",
        )
    free = shutil.disk_usage(parent).free
    yield Finding(
        "disk",
        "ok" if free >= FREE_BYTES else "warning",
        f"{free / 1024**3:.1f} GiB free",
        "" if free >= FREE_BYTES else "free space: a venue-day takes up to 0.5 GiB",
    )


def _hosts(settings: Settings) -> Iterator[Finding]:
    offsets: list[float] = []
    for venue in settings.venues.enabled:
        endpoints = settings.endpoints(venue)
        addresses = {endpoints.rest_url, endpoints.clob_url, _http(endpoints.ws_url)}
        for address in sorted(a for a in addresses if a):
            try:
                answer = httpx.get(address, timeout=_TIMEOUT, trust_env=False)
            except httpx.HTTPError as error:
                yield Finding(
                    f"host {urlsplit(address).netloc}",
                    "failed",
                    f"{type(error).__name__}: {error}",
                    "check the network and the address; for the simulated venues start "
                    "`surveillance simulate`",
                )
                continue
            yield Finding(
                f"host {urlsplit(address).netloc}", "ok", f"answers ({answer.status_code})"
            )
            stated = answer.headers.get("date")
            if stated:
                moment = parsedate_to_datetime(stated)
                offsets.append((datetime.now(UTC) - moment).total_seconds())
    yield _clock(offsets)


def _clock(offsets: list[float]) -> Finding:
    if not offsets:
        return Finding("clock", "warning", "no host gave a time to compare with")
    # a Date header is cut to the second, so a right clock is 0 to 1 s ahead of it
    offset = sorted(offsets)[len(offsets) // 2] - 0.5
    if abs(offset) <= CLOCK_SECONDS:
        return Finding("clock", "ok", f"within {CLOCK_SECONDS:.0f} s of the venues'")
    return Finding(
        "clock", "failed", f"off by {offset:+.1f} s", "synchronise it (systemd-timesyncd, chrony)"
    )


def _http(ws_url: str) -> str:
    parts = urlsplit(ws_url)
    scheme = "https" if parts.scheme == "wss" else "http"
    return f"{scheme}://{parts.netloc}" if parts.netloc else ""
