"""The verdict: what makes a collector unready, since when, and what to do about it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from surveillance_collector.health.readiness import assess, limits_of
from surveillance_core.settings import Settings
from surveillance_core.status import JournalStatus, Status

from .statuses import LIMITS, NOON, connection, process, venue


def _codes(status: Status) -> list[str]:
    return [reason.code for reason in status.reasons]


def test_what_is_well_is_ready() -> None:
    status = assess(process(), [venue(), venue("kalshi")], LIMITS, NOON)
    assert status.ready
    assert status.reasons == ()


@pytest.mark.parametrize(
    ("changed", "code", "told"),
    [
        ({"universe": None, "universe_age_seconds": None}, "universe_missing", "scan --venue poly"),
        ({"engine_age_seconds": None, "markets": 0}, "starting", "wait"),
        ({"universe_age_seconds": 49 * 3_600.0}, "universe_old", "49 hours"),
        ({"markets": 0, "books_expected": 0, "books": 0}, "nothing_followed", "filters"),
        ({"books": 8}, "books_missing", "8 of 10 books"),
        ({"connections": (connection(up=False),)}, "disconnected", "polymarket-0"),
        ({"connections": (connection(data_age_seconds=31.0),)}, "no_data", "31 s"),
        ({"publish_failing": True}, "publish_failing", "surveillance doctor"),
        ({"engine_age_seconds": 31.0}, "engine_stuck", "31 s"),
        ({"journal": JournalStatus(blocked="No space left")}, "recording_blocked", "goes on alone"),
        ({"journal": JournalStatus(causes=("reserve",))}, "recording_full", "only its reserve"),
        ({"journal": JournalStatus(causes=("journal",))}, "recording_full", "cannot be written"),
        ({"journal": JournalStatus(sockets_paused=True)}, "sockets_paused", "storage.held_rows"),
        ({"failed": "ArithmeticError"}, "task_failed", "ArithmeticError"),
        ({"stopping": True}, "collection_stopped", "nothing more"),
    ],
)
def test_each_fault_of_a_venue_is_a_reason(changed: dict[str, Any], code: str, told: str) -> None:
    status = assess(process(), [venue("kalshi"), venue(**changed)], LIMITS, NOON)
    assert not status.ready
    (reason,) = status.reasons
    assert (reason.code, reason.venue, reason.since) == (code, "polymarket", NOON)
    assert told in f"{reason.what} {reason.next_step}"
    assert reason.next_step


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"disk_free_bytes": 1024**3 - 1}, "disk_low"),
        ({"loop_lag_seconds": 1.0}, "loop_lag"),
        ({"stopping": True}, "stopping"),
    ],
)
def test_each_fault_of_the_process_is_a_reason(changed: dict[str, Any], code: str) -> None:
    status = assess(process(**changed), [venue()], LIMITS, NOON)
    assert _codes(status) == [code]


def test_a_process_that_collects_nothing_is_not_ready() -> None:
    assert _codes(assess(process(), [], LIMITS, NOON)) == ["no_venue"]


@pytest.mark.parametrize(
    "changed",
    [
        {"books": 9},
        {"connections": (connection(data_age_seconds=None),)},
        {"books_expected": 0, "books": 0},
    ],
)
def test_what_is_only_young_or_over_is_no_fault(changed: dict[str, Any]) -> None:
    assert assess(process(disk_free_bytes=None), [venue(**changed)], LIMITS, NOON).ready


def test_a_reason_that_stays_keeps_its_beginning_and_one_that_returns_begins_anew() -> None:
    quiet = venue(connections=(connection(data_age_seconds=40.0),))
    first = assess(process(), [quiet], LIMITS, NOON)
    later = assess(process(), [quiet], LIMITS, NOON + timedelta(seconds=9), first.reasons)
    assert later.reasons[0].since == NOON
    mended = assess(process(), [venue()], LIMITS, NOON + timedelta(seconds=10), later.reasons)
    again = NOON + timedelta(seconds=20)
    assert assess(process(), [quiet], LIMITS, again, mended.reasons).reasons[0].since == again


def test_many_connections_are_named_by_the_first_few() -> None:
    down = tuple(connection(f"polymarket-{n}", up=False) for n in range(6))
    (reason,) = assess(process(), [venue(connections=down)], LIMITS, NOON).reasons
    assert reason.what.endswith("polymarket-0, polymarket-1, polymarket-2 and 3 more")


def test_limits_come_from_the_settings() -> None:
    limits = limits_of(Settings())
    assert limits.least_free_bytes == 1024**3
    assert limits.universe_age_seconds == 48 * 3_600
