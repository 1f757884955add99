"""The thin HTTP edge every venue's REST interface is reached through.

One client a venue: requests paced by a bucket that learns, signed where there is a key, retried
with back-off where a retry can help, ``Retry-After`` honoured, bodies capped, errors that name the
address, the cause and the next step.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Final, Self

import httpx
import msgspec

from surveillance_core.venues.answers import describe_content
from surveillance_core.venues.pacing import Limits, Pace

BODY_LIMIT = 64 * 1024 * 1024
"""Bytes of one answer, after decompression."""

ANSWER_SECONDS: Final = 120.0
"""Longest time one answer may take to arrive, however steadily it drips."""

RETRY_AFTER_LIMIT: Final = 120.0
"""Longest wait a venue may ask for, seconds; a longer one is an error to report."""

FIRST_BACKOFF: Final = 0.5
LONGEST_BACKOFF: Final = 30.0

ATTEMPTS: Final = 6
"""Tries a request gets where nothing else is said."""
_USER_AGENT: Final = "surveillance/0.1 (market data research)"
_PASSING: Final = frozenset({425, 429})
_TOO_FAST: Final = "too_many_requests"
_NEXT_STEPS: Final[Mapping[int, str]] = {
    401: "Check the key, its file and this machine's clock.",
    403: "Check the key, or whether the venue serves this address and place.",
    404: "Check the address in the configuration.",
}

Sign = Callable[[str, str], Mapping[str, str]]
"""Headers that authorise one request, from its method and its path from the host's root."""


class VenueError(Exception):
    """A venue did not answer usefully; the message names address, cause and next step.

    Attributes
    ----------
    status
        HTTP status, None where there was no answer.
    code
        The venue's own code for the error, None where it gave none.
    """

    def __init__(self, message: str, *, status: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class _Retryable(Exception):
    def __init__(
        self,
        cause: str,
        wait: float | None = None,
        status: int | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.wait = wait
        self.status = status
        self.code = code


class Traffic(msgspec.Struct):
    """What a client sent and how long it held back."""

    requests: int = 0
    """Requests sent, every try counted."""
    throttled: int = 0
    """Answers of "too many requests"."""
    retries: int = 0
    waits: int = 0
    waited_seconds: float = 0.0
    """Pacing and back-off together."""


class RestClient:
    """GET and POST of JSON from one host.

    Parameters
    ----------
    base_url
        Scheme and host, with a path prefix where the venue has one.
    requests_per_second, burst
        Pace: the rate in the long run, and how many requests may go at once after a rest.
    attempts
        Tries a request gets before it is an error.
    sign
        Makes the headers of each try afresh; None sends no key.
    clock, sleep, chance
        Injected by tests: seconds that only grow, waiting, and a number in [0, 1) that spreads
        the back-off.
    """

    def __init__(
        self,
        base_url: str,
        *,
        requests_per_second: float = 5.0,
        burst: float = 1.0,
        attempts: int = ATTEMPTS,
        sign: Sign | None = None,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
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
        self._pace = Pace(requests_per_second, burst)
        self._attempts = attempts
        self._sign = sign
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._quiet_until = float("-inf")
        """Until then the venue has forbidden requests, and nobody has waited yet."""
        self.answers: Counter[str] = Counter()
        """Answers by status code, and failures by kind."""
        self.traffic = Traffic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    @property
    def signed(self) -> bool:
        """Whether requests carry a key."""
        return self._sign is not None

    @property
    def requests_per_second(self) -> float:
        """The pace at present, in requests of the default cost."""
        return self._pace.requests_per_second

    def adopt_limits(self, limits: Limits) -> None:
        """Keep to what the venue says the account may do, and never faster than configured."""
        self._pace.adopt(limits)

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
        for attempt in range(1, self._attempts + 1):
            try:
                return self._once(method, path, params, body)
            except _Retryable as error:
                if attempt == self._attempts:
                    raise VenueError(
                        f"{self._base_url}{path}: {error.cause}, {self._attempts} times in a row. "
                        "Check the venue's status and the address in the configuration.",
                        status=error.status,
                        code=error.code,
                    ) from error
                self.traffic.retries += 1
                self._wait(self._backoff(attempt) if error.wait is None else error.wait)
                self._quiet_until = float("-inf")
        raise AssertionError("the last attempt returns or raises")

    def _once(
        self, method: str, path: str, params: Mapping[str, str | int] | None, body: object
    ) -> object:
        self._keep_quiet(path)
        self._wait(self._pace.reserve(self._clock(), method, path))
        self.traffic.requests += 1
        request = self._client.build_request(method, path, params=params, json=body)
        if self._sign is not None:
            # a signature is good for its moment alone: a retry is signed again
            request.headers.update(self._sign(method, request.url.path))
        try:
            answer = self._client.send(request, stream=True)
            try:
                content = self._read(answer)
            finally:
                answer.close()
        except httpx.HTTPError as error:
            self.answers[type(error).__name__] += 1
            raise _Retryable(f"{type(error).__name__}: {error}") from error
        self.answers[str(answer.status_code)] += 1
        if answer.status_code != 200:
            self._refuse(path, answer, content)
        try:
            return msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self.answers["malformed_json"] += 1
            raise _Retryable(f"the answer is not JSON ({error})") from error

    def _refuse(self, path: str, answer: httpx.Response, content: bytes) -> None:
        """Raise what an answer other than 200 means."""
        status = answer.status_code
        code, said = describe_content(content)
        throttled = status == 429 or code == _TOO_FAST
        if throttled:
            self.traffic.throttled += 1
            self._pace.throttled(self._clock())
        if throttled or status >= 500 or status in _PASSING:
            wait = retry_after(answer.headers.get("retry-after"))
            if wait is not None:
                self._quiet_until = self._clock() + wait
                if wait > RETRY_AFTER_LIMIT:
                    raise self._asked_to_wait(path, wait, status, code)
            cause = f"status {status}" if code is None else f"status {status}: {said}"
            raise _Retryable(cause, wait, status, code)
        step = _NEXT_STEPS.get(status, "The request is refused as it is.")
        raise VenueError(
            f"{self._base_url}{path}: status {status}: {said}. {step} It is not tried again.",
            status=status,
            code=code,
        )

    def _keep_quiet(self, path: str) -> None:
        """Wait as long as the venue asked when the request before was given up."""
        left = self._quiet_until - self._clock()
        if left > RETRY_AFTER_LIMIT:
            raise self._asked_to_wait(path, left)
        self._wait(left)

    def _asked_to_wait(
        self, path: str, seconds: float, status: int | None = None, code: str | None = None
    ) -> VenueError:
        return VenueError(
            f"{self._base_url}{path}: the venue asks to wait {seconds:.0f} s. "
            "Try again after that.",
            status=status,
            code=code,
        )

    def _read(self, answer: httpx.Response) -> bytes:
        parts: list[bytes] = []
        total = 0
        started = self._clock()
        for part in answer.iter_bytes():
            total += len(part)
            if total > BODY_LIMIT:
                raise VenueError(
                    f"{self._base_url}: an answer of more than {BODY_LIMIT >> 20} MiB; "
                    "ask for smaller pages."
                )
            if self._clock() - started > ANSWER_SECONDS:
                self.answers["too_slow"] += 1
                raise _Retryable(f"the answer took more than {ANSWER_SECONDS:.0f} s")
            parts.append(part)
        return b"".join(parts)

    def _backoff(self, attempt: int) -> float:
        """Seconds after the ``attempt``-th failure: doubling, spread over its upper half."""
        longest = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** (attempt - 1))
        return longest * (0.5 + 0.5 * self._chance())

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self.traffic.waits += 1
            self.traffic.waited_seconds += seconds
            self._sleep(seconds)


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
