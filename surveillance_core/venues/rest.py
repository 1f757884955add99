"""The thin HTTP edge every venue's REST interface is reached through.

One client a venue: paced requests, retries with back-off where a retry can help, ``Retry-After``
honoured, bodies capped, errors that name the address, the cause and the next step.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import httpx
import msgspec
import stamina

BODY_LIMIT = 64 * 1024 * 1024
"""Bytes of one answer, after decompression."""

RETRY_AFTER_LIMIT = 120.0
"""Longest wait a venue may ask for, seconds; a longer one is an error to report."""

_ATTEMPTS = 6
_USER_AGENT = "surveillance/0.1 (market data research)"


class VenueError(Exception):
    """A venue did not answer usefully; the message names address, cause and next step."""


class _Retryable(Exception):
    def __init__(self, cause: str, wait: float | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.wait = wait


class RestClient:
    """GET and POST of JSON from one host.

    Parameters
    ----------
    base_url
        Scheme and host, with a path prefix where the venue has one.
    requests_per_second
        Pace; requests are spaced at least this far apart.
    attempts
        Tries a request gets before it is an error.
    clock, sleep
        Injected by tests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        requests_per_second: float = 5.0,
        attempts: int = _ATTEMPTS,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = httpx.Client(
            base_url=base_url,
            headers={"user-agent": _USER_AGENT},
            timeout=httpx.Timeout(30.0, connect=10.0),
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )
        self._base_url = base_url
        self._spacing = 1.0 / requests_per_second
        self._attempts = attempts
        self._clock = clock
        self._sleep = sleep
        self._next = 0.0
        self.answers: Counter[str] = Counter()
        """Answers by status code, and failures by kind."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def get(self, path: str, params: Mapping[str, str | int] | None = None) -> object:
        """Parsed JSON of an address; raises ``VenueError``."""
        return self._request("GET", path, params=params)

    def post(self, path: str, body: object) -> object:
        """Parsed JSON answered to a JSON body; raises ``VenueError``."""
        return self._request("POST", path, body=body)

    def _request(
        self,
        method: str,
        path: str,
        params: Mapping[str, str | int] | None = None,
        body: object = None,
    ) -> object:
        address = f"{self._base_url}{path}"
        try:
            for attempt in stamina.retry_context(
                on=_backoff, attempts=self._attempts, timeout=None, wait_initial=0.5, wait_max=30.0
            ):
                with attempt:
                    return self._once(method, path, params, body)
        except _Retryable as error:
            raise VenueError(
                f"{address}: {error.cause}, {self._attempts} times in a row. "
                "Check the venue's status and the address in the configuration."
            ) from error
        raise AssertionError("a retry context ends by returning or raising")

    def _once(
        self, method: str, path: str, params: Mapping[str, str | int] | None, body: object
    ) -> object:
        now = self._clock()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + self._spacing
        try:
            with self._client.stream(method, path, params=params, json=body) as answer:
                content = self._read(answer)
        except httpx.HTTPError as error:
            self.answers[type(error).__name__] += 1
            raise _Retryable(f"{type(error).__name__}: {error}") from error
        self.answers[str(answer.status_code)] += 1
        if answer.status_code == 429 or answer.status_code >= 500 or answer.status_code == 425:
            wait = retry_after(answer.headers.get("retry-after"))
            if wait is not None and wait > RETRY_AFTER_LIMIT:
                raise VenueError(
                    f"{self._base_url}{path}: the venue asks to wait {wait:.0f} s. "
                    "Try again after that."
                )
            raise _Retryable(f"status {answer.status_code}", wait)
        if answer.status_code != 200:
            excerpt = content[:200].decode("utf-8", "replace")
            raise VenueError(
                f"{self._base_url}{path}: status {answer.status_code}: {excerpt!r}. "
                "The request is refused as it is; it is not tried again."
            )
        try:
            return msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self.answers["malformed_json"] += 1
            raise _Retryable(f"the answer is not JSON ({error})") from error

    def _read(self, answer: httpx.Response) -> bytes:
        parts: list[bytes] = []
        total = 0
        for part in answer.iter_bytes():
            total += len(part)
            if total > BODY_LIMIT:
                raise VenueError(
                    f"{self._base_url}: an answer of more than {BODY_LIMIT >> 20} MiB; "
                    "ask for smaller pages."
                )
            parts.append(part)
        return b"".join(parts)


def _backoff(error: Exception) -> bool | float:
    """Whether to try again, and after how many seconds where the venue said so."""
    if not isinstance(error, _Retryable):
        return False
    return True if error.wait is None else error.wait


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds a ``Retry-After`` header asks to wait, as seconds or as a date; None without one.

    Examples
    --------
    >>> retry_after("3")
    3.0
    """
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:  # the zone -0000: UTC, of a place that is not said
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
