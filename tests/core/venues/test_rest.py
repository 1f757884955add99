"""The HTTP edge: what is tried again, what is not, how long it waits, and what it refuses."""

from __future__ import annotations

import gzip
from asyncio import to_thread
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from surveillance_core.venues import rest
from surveillance_core.venues.rest import RestClient, VenueError, retry_after
from surveillance_core.venues.simulated.servers import SimulatedPolymarket

Answer = httpx.Response | Exception
NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)


@pytest.fixture
def waits() -> list[float]:
    """What a client would have waited, in order; nothing waits."""
    return []


def _noting(waits: list[float] | None) -> Callable[[float], None]:
    """A sleep that notes what a person would call a wait; pacing at 1e9 a second is none."""

    def sleep(seconds: float) -> None:
        if waits is not None and seconds > 1e-6:
            waits.append(seconds)

    return sleep


class Venue:
    """Answers in the order given; the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        place = min(len(self.requests), len(self.answers)) - 1
        answer = self.answers[place]
        if isinstance(answer, Exception):
            raise answer
        # a response object serves once
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def client(self, waits: list[float] | None = None, **options: object) -> RestClient:
        settings: dict[str, object] = {
            "requests_per_second": 1e9, "attempts": 4, "sleep": _noting(waits),
            "chance": lambda: 0.5,
        }  # fmt: skip
        settings |= options
        return RestClient(
            "https://venue.example",
            transport=httpx.MockTransport(self),
            **settings,  # type: ignore[arg-type]
        )


OK = httpx.Response(200, json={"ok": True})


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.Response(500),
        httpx.Response(502, text="<html>bad gateway</html>"),
        httpx.Response(425),
        httpx.Response(429),
        httpx.Response(200, content=b'{"ok": tr'),
        httpx.Response(200, content=b'{"ok": "\xff\xfe"}'),
        httpx.Response(200, content=b""),
        httpx.Response(200, content=b"[" * 100_000 + b"]" * 100_000),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut"),
    ],
    ids=lambda trouble: type(trouble).__name__ if isinstance(trouble, Exception) else "",
)
def test_what_may_pass_is_tried_again(trouble: Answer, waits: list[float]) -> None:
    venue = Venue(trouble, trouble, OK)
    with venue.client(waits) as client:
        assert client.get("/x", {"limit": 5}) == {"ok": True}
        assert client.answers["200"] >= 1
    assert [str(r.url) for r in venue.requests] == ["https://venue.example/x?limit=5"] * 3
    assert len(waits) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 204, 206])
def test_what_is_refused_as_it_is_is_not_tried_again(status: int, waits: list[float]) -> None:
    venue = Venue(httpx.Response(status, text="no \x1b[2J such thing" if status != 204 else None))
    with venue.client(waits) as client, pytest.raises(VenueError) as caught:
        client.get("/markets/7")
    assert f"https://venue.example/markets/7: status {status}" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert (len(venue.requests), waits) == (1, [])


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int, waits: list[float]) -> None:
    venue = Venue(httpx.Response(status, headers={"location": "https://elsewhere.example/"}), OK)
    with venue.client(waits) as client, pytest.raises(VenueError, match=f"status {status}"):
        client.get("/x")
    assert [request.url.host for request in venue.requests] == ["venue.example"]


def test_trouble_without_end_is_an_error_that_says_how_often(waits: list[float]) -> None:
    venue = Venue(httpx.Response(503))
    with (
        venue.client(waits) as client,
        pytest.raises(VenueError, match=r"venue\.example/x: status 503, 4 times in a row"),
    ):
        client.get("/x")
    assert len(venue.requests) == 4
    assert client.answers == {"503": 4}
    assert all(0 < wait <= 31 for wait in waits)


def test_retry_after_in_seconds_is_waited_for(waits: list[float]) -> None:
    answers = [httpx.Response(429, headers={"retry-after": s}) for s in ("7", "0", "1.5")]
    with Venue(*answers, OK).client(waits) as client:
        client.get("/x")
    assert waits == pytest.approx([7.0, 1.5])


def test_retry_after_as_a_date_is_waited_for(waits: list[float]) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    with Venue(httpx.Response(503, headers={"retry-after": date}), OK).client(waits) as client:
        client.get("/x")
    assert len(waits) == 1
    assert 50 < waits[0] <= 60


def test_without_retry_after_the_back_off_is_our_own(waits: list[float]) -> None:
    with Venue(httpx.Response(429), httpx.Response(429), OK).client(waits) as client:
        client.get("/x")
    assert [wait > 0 for wait in waits] == [True, True]


@pytest.mark.parametrize("value", ["3600", "inf", "Wed, 01 Jan 2120 00:00:00 GMT"])
def test_a_wait_beyond_patience_is_an_error_at_once(value: str, waits: list[float]) -> None:
    venue = Venue(httpx.Response(429, headers={"retry-after": value}), OK)
    with venue.client(waits) as client, pytest.raises(VenueError, match="asks to wait"):
        client.get("/x")
    assert len(venue.requests) == 1


def test_what_the_venue_asked_for_holds_for_the_next_request_too() -> None:
    """Given up or not: who asks next waits as long, or is told how long if that is too long."""
    now, arrived = [0.0], list[float]()
    asked = iter(("7", "8", "300"))

    def answer(request: httpx.Request) -> httpx.Response:
        arrived.append(now[0])
        wait = next(asked, None)
        return OK if wait is None else httpx.Response(429, headers={"retry-after": wait})

    def sleep(seconds: float) -> None:
        now[0] += seconds

    client = RestClient(
        "https://venue.example", requests_per_second=1e9, attempts=2, sleep=sleep,
        clock=lambda: now[0], transport=httpx.MockTransport(answer),
    )  # fmt: skip
    with client:
        with pytest.raises(VenueError, match="2 times in a row"):
            client.get("/x")
        with pytest.raises(VenueError, match="asks to wait 300 s"):
            client.get("/x")
        with pytest.raises(VenueError, match="asks to wait 300 s"):
            client.get("/y")
        assert arrived == pytest.approx([0.0, 7.0, 15.0], abs=1e-3)
        now[0] += 200.0
        assert client.get("/y") == {"ok": True}
    assert arrived[3] == pytest.approx(315.0, abs=1e-3)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", 0.0),
        ("nan", 0.0),
        ("2.5", 2.5),
        (format_datetime(NOW + timedelta(seconds=9), usegmt=True), 9.0),
        (format_datetime(NOW - timedelta(days=9), usegmt=True), 0.0),
        ("Tue, 01 Sep 2026 12:00:30 -0000", 30.0),
        ("Tue, 01 Sep 2026 14:00:30 +0200", 30.0),
        ("Tue, 01 Sep 99999 12:00:30 GMT", None),
        ("Tue, 01 Sep 99999999999999999999 12:00:30 GMT", None),
        ("Tue, 01 Sep 2026 12:00:30 +999999999999999", None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip bomb"])
def test_an_oversized_body_is_refused(
    packed: bool, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "BODY_LIMIT", 1 << 20)
    body = b" " * ((1 << 20) + 1)
    venue = Venue(OK)

    def answer(request: httpx.Request) -> httpx.Response:
        venue.requests.append(request)
        headers = {"content-encoding": "gzip"} if packed else {}
        return httpx.Response(
            200, headers=headers, stream=httpx.ByteStream(gzip.compress(body) if packed else body)
        )

    client = RestClient("https://venue.example", transport=httpx.MockTransport(answer))
    with client, pytest.raises(VenueError, match="more than 1 MiB"):
        client.get("/x")
    assert len(venue.requests) == 1


def test_a_body_just_within_the_limit_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b"1" + b" " * 99
    monkeypatch.setattr(rest, "BODY_LIMIT", len(body))
    with Venue(httpx.Response(200, content=body)).client() as client:
        assert client.get("/x") == 1


def test_requests_are_spaced() -> None:
    now, slept = [100.0], []

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))
        now[0] += seconds

    with Venue(OK).client(requests_per_second=4, clock=lambda: now[0], sleep=sleep) as client:
        for _ in range(3):
            client.get("/x")
        now[0] += 10
        client.get("/x")
    assert slept == [0.25, 0.25]


def test_a_posted_body_is_sent_again_with_each_try(waits: list[float]) -> None:
    venue = Venue(httpx.Response(500), OK)
    with venue.client(waits) as client:
        assert client.post("/books", [{"token_id": "1"}]) == {"ok": True}
    assert [request.content for request in venue.requests] == [b'[{"token_id":"1"}]'] * 2
    assert venue.requests[0].headers["user-agent"].startswith("surveillance/")


def test_the_environments_proxies_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:1")
    with RestClient("https://venue.example") as client:
        assert client._client._mounts == {}


@pytest.mark.asyncio
async def test_a_served_venues_faults_are_survived(waits: list[float]) -> None:
    """The same over a socket: an answer cut off, an error and a limit, then the listing."""
    async with SimulatedPolymarket(seed=5, markets=4, start_ms=1_790_000_000_000) as venue:
        venue.faults.fail_requests("/events", 500)
        venue.faults.fail_requests("/events", 429, retry_after=3)
        venue.faults.malform_body("/events")
        with RestClient(venue.http_url, requests_per_second=1e9, sleep=_noting(waits)) as client:
            page = await to_thread(client.get, "/events/keyset", {"limit": 1})
            with pytest.raises(VenueError, match=r"status 404.*not found"):
                await to_thread(client.get, "/events/0")
            await to_thread(client.get, "/events/keyset")
        assert isinstance(page, dict)
        assert len(page["events"]) == 1
        assert client.answers == {"500": 1, "429": 1, "200": 3, "404": 1, "malformed_json": 1}
    assert len(waits) == 3
    assert waits[1] == pytest.approx(3.0)


def test_each_try_is_signed_afresh_over_the_path_from_the_hosts_root(waits: list[float]) -> None:
    signed: list[tuple[str, str]] = []

    def sign(method: str, path: str) -> dict[str, str]:
        signed.append((method, path))
        return {"KALSHI-ACCESS-TIMESTAMP": str(len(signed))}

    venue = Venue(httpx.Response(500), OK)
    client = RestClient(
        "https://venue.example/trade-api/v2", transport=httpx.MockTransport(venue), sign=sign,
        sleep=_noting(waits),
    )  # fmt: skip
    with client:
        client.get("/markets", {"limit": 1})
        assert client.signed
    assert signed == [("GET", "/trade-api/v2/markets")] * 2
    stamps = [request.headers["kalshi-access-timestamp"] for request in venue.requests]
    assert stamps == ["1", "2"]
    assert not any("accept-language" in request.headers for request in venue.requests)


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        (httpx.Response(400, json={"error": {"code": "bad_request", "details": "no status"}}),
         "bad_request", "'no status'"),
        (httpx.Response(401, json={"code": "unauthorized", "message": "no key"}),
         "unauthorized", "Check the key"),
        (httpx.Response(404, text="404 page not found"), None, "'404 page not found'"),
        (httpx.Response(400, json={"error": "Invalid token id"}),
         "invalid_token_id", "'Invalid token id'"),
    ],
    ids=lambda part: str(part)[:20],
)  # fmt: skip
def test_an_error_says_what_the_venue_said_and_carries_its_code(
    answer: httpx.Response, code: str | None, told: str
) -> None:
    with Venue(answer).client() as client, pytest.raises(VenueError) as caught:
        client.get("/x")
    assert (caught.value.status, caught.value.code) == (answer.status_code, code)
    assert told in str(caught.value)


def test_too_many_requests_slows_the_client_down_and_is_counted(waits: list[float]) -> None:
    limit = httpx.Response(429, json={"error": "too many requests"})
    venue = Venue(limit, limit, OK)
    with venue.client(waits, requests_per_second=8.0, clock=lambda: 0.0) as client:
        client.get("/x")
        assert client.requests_per_second == 2.0
        traffic = client.traffic
    assert (traffic.requests, traffic.throttled, traffic.retries) == (3, 2, 2)
    assert traffic.waits == len(waits) == 4, "a back-off and the pace, twice"
    assert traffic.waited_seconds == pytest.approx(sum(waits))


def test_the_venues_word_for_too_fast_counts_under_any_status(waits: list[float]) -> None:
    venue = Venue(httpx.Response(400, json={"error": {"code": "too_many_requests"}}), OK)
    with venue.client(waits) as client:
        client.get("/x")
        assert client.traffic.throttled == 1


def test_an_answer_that_drips_for_ever_is_given_up(waits: list[float]) -> None:
    now = [0.0]

    def drip() -> Iterator[bytes]:
        while True:
            now[0] += 50
            yield b" "

    class Dripping(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            return drip()

    client = RestClient(
        "https://venue.example", attempts=2, clock=lambda: now[0], sleep=_noting(waits),
        transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=Dripping())),
    )  # fmt: skip
    with client, pytest.raises(VenueError, match="took more than 120 s, 2 times"):
        client.get("/x")
