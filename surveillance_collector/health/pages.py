"""The health pages: a request and the latest verdict in, an answer out. Pure.

A page in a browser may ask a loopback server under a name of its own (DNS rebinding), so a request
is answered only under a name that is known; none but GET is, and nothing is shared across origins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

import msgspec

from surveillance_collector.health.metrics import CONTENT_TYPE, exposition
from surveillance_core.status import Reason, Status

STALE_SECONDS = 4.0
"""A verdict older than this is no verdict: whoever makes it every second has stopped."""
PATHS = ("/healthz", "/readyz", "/metrics", "/status.json")
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?", re.IGNORECASE)
_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Page:
    """An answer."""

    status: HTTPStatus
    body: bytes
    content_type: str = _TEXT


def refuse(method: str, hosts: Sequence[str], known_names: frozenset[str]) -> Page | None:
    """Why a request is not answered at all; None for one that is.

    Parameters
    ----------
    hosts
        Every ``Host`` header of the request.
    """
    if method != "GET":
        return Page(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET is answered\n")
    host = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if host is None or host.group(1).lower() not in known_names:
        return Page(
            HTTPStatus.MISDIRECTED_REQUEST,
            b"not answered under this name; see health.allowed_hosts\n",
        )
    return None


def answer(target: str, status: Status, now: datetime) -> Page:
    """The page at a request's target.

    Parameters
    ----------
    status
        The latest verdict.
    now
        Judges its age.
    """
    page = _PAGES.get(target.partition("?")[0])
    if page is None:
        return Page(HTTPStatus.NOT_FOUND, f"pages: {' '.join(PATHS)}\n".encode())
    return page(status, (now - status.at).total_seconds() < STALE_SECONDS)


def _healthz(status: Status, fresh: bool) -> Page:
    alive = HTTPStatus.OK if fresh else HTTPStatus.SERVICE_UNAVAILABLE
    return _json(alive, {"alive": fresh, "at": status.at})


def _readyz(status: Status, fresh: bool) -> Page:
    reasons = status.reasons
    if not fresh:
        stale = Reason(
            code="verdict_stale", what="whoever judges readiness has stopped", since=status.at,
            next_step="look for health_failed in the log, and start the collector anew",
        )  # fmt: skip
        reasons = (stale, *reasons)
    verdict = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    return _json(verdict, {"ready": not reasons, "at": status.at, "reasons": reasons})


def _metrics(status: Status, fresh: bool) -> Page:
    shown = status if fresh else msgspec.structs.replace(status, ready=False)
    return Page(HTTPStatus.OK, exposition(shown), CONTENT_TYPE)


def _status(status: Status, fresh: bool) -> Page:
    shown = status if fresh else msgspec.structs.replace(status, ready=False)
    return _json(HTTPStatus.OK, shown)


_PAGES: Mapping[str, Callable[[Status, bool], Page]] = dict(
    zip(PATHS, (_healthz, _readyz, _metrics, _status), strict=True)
)


def _json(status: HTTPStatus, content: object) -> Page:
    return Page(status, msgspec.json.encode(content) + b"\n", _JSON)
