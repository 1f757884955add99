"""When systemd may hear that data moves, on a clock that the test turns."""

from __future__ import annotations

from typing import Any

from surveillance_collector.health.watchdog import Mark, follow_progress, stuck_venues

from .statuses import connection, venue

PATIENCE = 150.0


def _after(seconds: float, *readings: dict[str, Any]) -> list[str]:
    """Who is stuck after readings that are ``seconds`` apart."""
    marks: dict[str, Mark] = {}
    now = 1_000.0
    for changed in readings:
        marks = follow_progress(marks, [venue(**changed)], now)
        now += seconds
    return stuck_venues(marks, now - seconds, PATIENCE)


def test_frames_that_come_are_progress() -> None:
    assert _after(149.0, {"frames": 1}, {"frames": 2}, {"frames": 3}) == []


def test_a_connection_that_is_up_and_silent_is_not() -> None:
    assert _after(149.0, {"frames": 1}, {"frames": 1}) == []
    assert _after(150.0, {"frames": 1}, {"frames": 1}) == ["polymarket"]


def test_a_connection_that_was_replaced_is_progress() -> None:
    replaced = (connection(reconnects={"stalled": 1}),)
    assert _after(150.0, {"connections": (connection(),)}, {"connections": replaced}) == []


def test_nothing_is_expected_of_a_venue_that_cannot_be_reached() -> None:
    down = {"connections": (connection(up=False),)}
    assert _after(1_000.0, down, down, down) == []
    assert _after(1_000.0, {"connections": ()}, {"connections": ()}) == [], "no universe yet"
    # once it is back, silence counts from then
    back = {"connections": (connection(),)}
    assert _after(149.0, down, back) == []
    assert _after(150.0, down, back) == ["polymarket"]


def test_frames_that_nobody_works_on_are_no_progress() -> None:
    driven = {"frames": 1, "engine_age_seconds": 0.0}
    stands = {"frames": 2, "engine_age_seconds": 200.0}
    assert _after(200.0, driven, stands) == ["polymarket"]


def test_one_venue_that_flows_does_not_hide_another_that_does_not() -> None:
    marks = follow_progress({}, [venue(), venue("kalshi")], 0.0)
    marks = follow_progress(marks, [venue(frames=2_000), venue("kalshi")], 200.0)
    assert stuck_venues(marks, 200.0, PATIENCE) == ["kalshi"]


def test_while_it_stops_nothing_is_expected() -> None:
    assert _after(500.0, {}, {"stopping": True}) == []
