"""NET-04 and NET-05: a venue that refuses is asked seldom, and never while it forbids it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random
from typing import Any

import httpx
import pytest

from surveillance_collector import dialling, sending
from surveillance_collector import feed as feed_module
from surveillance_core.venues.rest import RETRY_AFTER_LIMIT, RestClient, VenueError

from .matrix import Trial
from .refusing_peer import ACCEPTED, Answer, RefusingPeer, asked_by_feeds
from .virtual_time import VirtualTimeLoop, clock_of

REFUSALS = 1_000
FEEDS = 40
WINDOW_SECONDS = 10.0
POLL_SECONDS = 100.0
"""Of virtual time."""
MOST_CPU_SHARE = 0.05
LIVE_SECONDS = 15.0
STORM_ASKED = 150
"""Handshakes, and REST requests, of one storm."""
DATE_SLACK_SECONDS = 0.1
"""A date is turned into seconds twice, at two moments."""


def _in_virtual_time(
    monkeypatch: pytest.MonkeyPatch, test: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        for module in (dialling, feed_module, sending):
            monkeypatch.setattr(module, "time", clock_of(runner.get_loop()))
        runner.run(test())


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # nothing announces it, and the time is not real
        await asyncio.sleep(POLL_SECONDS)


def _most_in_a_window(times: list[float]) -> int:
    """Most attempts in any window, which is open at its end."""
    most = first = 0
    for last, at in enumerate(times):
        # what the clock's own rounding puts into the window is not in it
        while at - times[first] >= WINDOW_SECONDS - 1e-6:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.fault("NET-04")
def test_a_thousand_refusals_are_spread_out(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = Random(trial.seed)
    peer = RefusingPeer(
        lambda now: (
            (draws.choice((500, 502, 503)), {})
            if len(peer.attempts) <= REFUSALS
            else (ACCEPTED, {})
        )
    )

    async def be_refused() -> None:
        cpu = time.process_time()
        async with asked_by_feeds(peer, FEEDS) as feeds:
            await _until(lambda: all(feed.connected for feed in feeds))
        share = (time.process_time() - cpu) / peer.attempts[-1]
        with trial.case("in virtual time"):
            assert len(peer.attempts) == REFUSALS + FEEDS
            assert _most_in_a_window(peer.attempts[:REFUSALS]) <= WINDOW_SECONDS
            assert share < MOST_CPU_SHARE, f"{share:.1%} of a processor"
        trial.notes.append(
            f"{REFUSALS:,} refusals of {FEEDS} connections in {peer.attempts[REFUSALS - 1]:,.0f} s "
            f"of virtual time, {share:.2%} of a processor"
        )

    _in_virtual_time(monkeypatch, be_refused)


@pytest.mark.fault("NET-04")
async def test_refusals_in_real_time(trial: Trial) -> None:
    peer = RefusingPeer(lambda now: (503, {}))
    cpu = time.process_time()
    async with asked_by_feeds(peer, FEEDS):
        await asyncio.sleep(LIVE_SECONDS)
    share = (time.process_time() - cpu) / LIVE_SECONDS
    assert len(peer.attempts) >= 3
    assert _most_in_a_window(peer.attempts) <= WINDOW_SECONDS
    assert share < MOST_CPU_SHARE, f"{share:.1%} of a processor"
    trial.notes.append(
        f"live: {len(peer.attempts)} attempts in {LIVE_SECONDS:.0f} s, {share:.1%} of a processor"
    )


class Storm:
    """Says 429 to some, each time with how long it wants to be left alone, and watches."""

    def __init__(self, draws: Random, *, most_seconds: int, now: Callable[[], float]) -> None:
        self._draws = draws
        self._most_seconds = most_seconds
        self._now = now
        self._forbidden_until = 0.0
        self.asked = 0
        self.forbidden = 0
        """Times that it asked to be left alone."""
        self.inside: list[str] = []
        """Requests that came all the same."""

    def answer(self) -> Answer:
        """The answer to the request that came just now."""
        now = self._now()
        self.asked += 1
        if now < self._forbidden_until:
            self.inside.append(f"at {now:.3f}, forbidden until {self._forbidden_until:.3f}")
        if self.asked > STORM_ASKED or self._draws.random() < 0.3:
            return ACCEPTED, {}
        seconds = self._draws.randint(1, self._most_seconds)
        self.forbidden += 1
        if self._draws.random() < 0.5:
            self._forbidden_until = now + seconds - 1e-6
            return 429, {"Retry-After": str(seconds)}
        wall = datetime.now(UTC)
        date = (wall + timedelta(seconds=seconds)).replace(microsecond=0)
        self._forbidden_until = now + (date - wall).total_seconds() - DATE_SLACK_SECONDS
        return 429, {"Retry-After": format_datetime(date, usegmt=True)}


@pytest.mark.fault("NET-05")
def test_no_handshake_while_it_is_forbidden(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = Random(trial.seed)

    async def storm() -> None:
        loop = asyncio.get_running_loop()
        found = Storm(draws, most_seconds=600, now=loop.time)
        peer = RefusingPeer(lambda now: found.answer(), close_code=1013)
        async with asked_by_feeds(peer, 6):
            await _until(lambda: found.asked > STORM_ASKED)
        with trial.case("handshakes"):
            assert found.forbidden > STORM_ASKED // 3
            assert not found.inside, f"{len(found.inside)} inside: {found.inside[0]}"

    for _ in range(trial.quantity):
        _in_virtual_time(monkeypatch, storm)
    trial.notes.append(f"{trial.quantity * STORM_ASKED:,} handshakes")


@pytest.mark.fault("NET-05")
def test_no_request_while_it_is_forbidden(trial: Trial) -> None:
    draws = Random(trial.seed)
    for _ in range(trial.quantity):
        _rest_storm(trial, draws)
    trial.notes.append(f"{trial.quantity * STORM_ASKED:,} REST requests")


def _rest_storm(trial: Trial, draws: Random) -> None:
    passed = [0.0]

    def sleep(seconds: float) -> None:
        passed[0] += seconds

    # longer than the client waits by itself, too
    storm = Storm(draws, most_seconds=int(1.2 * RETRY_AFTER_LIMIT), now=lambda: passed[0])

    def answer(request: httpx.Request) -> httpx.Response:
        status, headers = storm.answer()
        if status == ACCEPTED:
            return httpx.Response(200, json={})
        return httpx.Response(status, headers=dict(headers))

    client = RestClient(
        "https://venue.example", requests_per_second=100.0, attempts=3, sleep=sleep,
        clock=lambda: passed[0], transport=httpx.MockTransport(answer),
    )  # fmt: skip
    errors = 0
    with client:
        while storm.asked <= STORM_ASKED:
            passed[0] += draws.random()
            try:
                client.get("/markets")
            except VenueError:
                # whoever asks next must keep away no less
                errors += 1
    with trial.case("requests"):
        assert errors > 0
        assert not storm.inside, f"{len(storm.inside)} inside: {storm.inside[0]}"
