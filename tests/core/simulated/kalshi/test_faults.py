"""Faults before they meet a connection: their order, their schedule, what they do to frames."""

from __future__ import annotations

from surveillance_core.venues.simulated.faults import (
    Drop,
    Duplicate,
    Fault,
    Faults,
    Refuse,
    Reorder,
    RestFault,
    RestKind,
    Skip,
    Stall,
)
from surveillance_core.venues.simulated.kalshi.disturbance import Disturbance


def _passed(line: Disturbance, frames: str) -> str:
    return "".join("".join(line.pass_on(frame)) for frame in frames)


def test_frames_pass_skipped_swapped_and_doubled() -> None:
    line = Disturbance()
    assert line.quiet
    line.order(Skip(2))
    line.order(Duplicate(2))
    assert _passed(line, "abcdef") == "ccddef"
    line.order(Reorder())
    assert not line.quiet
    assert _passed(line, "ab") == "ba"
    assert line.quiet
    line.order(Reorder())
    line.order(Reorder())
    assert _passed(line, "abcde") == "badce"


def test_a_schedule_orders_its_faults_when_they_are_due_and_once() -> None:
    rest = RestFault(path="/events", kind=RestKind.STATUS, times=2)
    schedule: list[tuple[int, Fault]] = [
        (30, Skip(1)),
        (10, rest),
        (20, Drop(1001, "")),
        (20, Stall(1.0)),
        (20, Refuse(503, 2)),
        (20, Duplicate(1)),
    ]
    faults = Faults(schedule)
    faults.meet(9)
    assert faults.take_rest("/events") is None
    faults.meet(25)
    assert faults.take_rest("/events/A") is not None
    assert faults.take_socket() == [Drop(1001, ""), Stall(1.0)]
    assert faults.take_stream() == [Duplicate(1)]
    assert [faults.take_handshake() for _ in range(3)] == [503, 503, None]
    faults.meet(30)
    faults.meet(31)
    assert faults.take_stream() == [Skip(1)]
    assert faults.take_stream() == []
    # the same schedule serves another run
    assert rest.times == 2
