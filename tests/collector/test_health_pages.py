"""The pages: what is answered, to whom, and what a stale verdict is worth."""

from __future__ import annotations

import json
from datetime import timedelta
from http import HTTPStatus

import msgspec
import pytest

from surveillance_collector.health.pages import LOOPBACK_NAMES, PATHS, answer, refuse
from surveillance_collector.health.readiness import assess
from surveillance_core.status import Status

from .statuses import LIMITS, NOON, process, venue

WELL = assess(process(), [venue()], LIMITS, NOON)
ILL = assess(process(), [venue(universe=None)], LIMITS, NOON)
LATER = NOON + timedelta(seconds=10)


def test_a_ready_collector_says_so_on_every_page() -> None:
    pages = {path: answer(path, WELL, NOON) for path in PATHS}
    assert {page.status for page in pages.values()} == {HTTPStatus.OK}
    assert json.loads(pages["/healthz"].body)["alive"] is True
    assert json.loads(pages["/readyz"].body)["reasons"] == []
    assert b"surveillance_ready 1.0" in pages["/metrics"].body
    assert msgspec.json.decode(pages["/status.json"].body, type=Status) == WELL


def test_an_unready_one_is_alive_and_names_reasons_and_next_steps() -> None:
    assert answer("/healthz", ILL, NOON).status == HTTPStatus.OK
    page = answer("/readyz", ILL, NOON)
    assert page.status == HTTPStatus.SERVICE_UNAVAILABLE
    (reason,) = json.loads(page.body)["reasons"]
    assert reason["code"] == "universe_missing"
    assert reason["since"] == "2026-09-01T12:00:00Z"
    assert "surveillance scan" in reason["next_step"]
    assert answer("/status.json", ILL, NOON).status == HTTPStatus.OK


def test_a_verdict_that_nobody_renews_is_none() -> None:
    assert answer("/healthz", WELL, LATER).status == HTTPStatus.SERVICE_UNAVAILABLE
    page = answer("/readyz", WELL, LATER)
    assert page.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert json.loads(page.body)["reasons"][0]["code"] == "verdict_stale"
    assert b"surveillance_ready 0.0" in answer("/metrics", WELL, LATER).body
    assert json.loads(answer("/status.json", WELL, LATER).body)["ready"] is False


@pytest.mark.parametrize(
    "target", ["/", "/metrics/", "//metrics", "/../etc/passwd", "/STATUS.JSON"]
)
def test_nothing_else_is_there(target: str) -> None:
    assert answer(target, WELL, NOON).status == HTTPStatus.NOT_FOUND


def test_a_query_changes_nothing() -> None:
    assert answer("/readyz?verbose", WELL, NOON) == answer("/readyz", WELL, NOON)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8810", "LOCALHOST", "[::1]:8810"])
def test_loopback_names_are_answered(host: str) -> None:
    assert refuse("GET", [host], LOOPBACK_NAMES) is None


@pytest.mark.parametrize(
    "hosts",
    [
        [], ["evil.example"], ["evil.example:8810"], ["127.0.0.1.evil.example"], ["localhost."],
        ["127.0.0.1", "evil.example"], ["127.0.0.1@evil.example"], ["localhost:8810:1"], [""],
        ["localhost\t"], ["::1"], ["0.0.0.0"],  # noqa: S104
    ],
)  # fmt: skip
def test_no_other_name_is(hosts: list[str]) -> None:
    refusal = refuse("GET", hosts, LOOPBACK_NAMES)
    assert refusal is not None
    assert refusal.status == HTTPStatus.MISDIRECTED_REQUEST


def test_a_name_of_the_configuration_is_answered() -> None:
    assert refuse("GET", ["collector:8810"], LOOPBACK_NAMES | {"collector"}) is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "get"])
def test_only_get_is_answered(method: str) -> None:
    refusal = refuse(method, ["localhost"], LOOPBACK_NAMES)
    assert refusal is not None
    assert refusal.status == HTTPStatus.METHOD_NOT_ALLOWED
