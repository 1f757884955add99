"""Fault schedules: what is written happens at its time, on its venue, once."""

from __future__ import annotations

import pytest

from surveillance_core.markets import Venue
from surveillance_core.venues.simulated.fault_schedule import FaultScheduleError, read_schedule
from surveillance_core.venues.simulated.faults import Drop, Skip, Stall

START_MS = 1_000_000

SCHEDULE = """
[[fault]]
venue = "kalshi"
at_seconds = 10
kind = "skip"
frames = 3

[[fault]]
venue = "polymarket"
at_seconds = 5.5
kind = "stall"
seconds = 2.0

[[fault]]
venue = "polymarket"
at_seconds = 5.5
kind = "drop"
code = 1012

[[fault]]
venue = "kalshi"
at_seconds = 1
kind = "rest_status"
path = "/events"
status = 503
times = 2
after = 1

[[fault]]
venue = "kalshi"
at_seconds = 2
kind = "refuse"
status = 429
times = 2
"""


def test_faults_happen_at_their_time_and_once() -> None:
    faults = read_schedule(SCHEDULE, START_MS)
    polymarket, kalshi = faults[Venue.POLYMARKET], faults[Venue.KALSHI]
    polymarket.meet(START_MS + 5_499)
    assert polymarket.take_socket() == []
    polymarket.meet(START_MS + 5_500)
    assert polymarket.take_socket() == [Stall(2.0), Drop(1012, "")]
    polymarket.meet(START_MS + 100_000)
    assert polymarket.take_socket() == []
    kalshi.meet(START_MS + 10_000)
    assert kalshi.take_stream() == [Skip(3)]
    assert kalshi.take_rest("/markets") is None
    answers = [kalshi.take_rest("/events") for _ in range(4)]
    assert [fault and fault.status for fault in answers] == [None, 503, 503, None]
    assert [kalshi.take_handshake() for _ in range(3)] == [429, 429, None]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[[fault]", "TOML|Expected"),
        ('[[fault]]\nvenue = "nowhere"\nat_seconds = 1\nkind = "drop"', "nowhere"),
        ('[[fault]]\nvenue = "kalshi"\nat_seconds = 1\nkind = "explode"', "explode"),
        ('[[fault]]\nvenue = "kalshi"\nkind = "drop"', "at_seconds"),
        ('[[fault]]\nvenue = "kalshi"\nat_seconds = 1\nkind = "drop"\nsecond = 1', "second"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_cause(text: str, cause: str) -> None:
    with pytest.raises(FaultScheduleError, match=cause):
        read_schedule(text, START_MS)
