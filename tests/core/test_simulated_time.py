"""Simulated time: the wall's own where none is configured, else the same line in every process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.settings_tables import MockSettings
from surveillance_core.simulated_time import receive_ns_of_wall, receive_time_ns

MS = 1_000_000
EPOCH_MS = 1_790_000_000_000
WALL_NS = st.integers(EPOCH_MS * MS - 10**15, EPOCH_MS * MS + 10**17)
SPEEDS = st.floats(0.01, 10_000.0)


@given(WALL_NS)
def test_without_an_epoch_or_a_simulation_it_is_the_walls(wall_ns: int) -> None:
    assert receive_time_ns(MockSettings(enabled=True), wall_ns) == wall_ns
    unused = MockSettings(enabled=False, speed=60.0, epoch_ms=EPOCH_MS, start_ms=5)
    assert receive_time_ns(unused, wall_ns) == wall_ns
    same = MockSettings(enabled=True, epoch_ms=EPOCH_MS)
    assert receive_time_ns(same, wall_ns) == wall_ns, "to the nanosecond"


@given(WALL_NS, st.integers(0, 10**13), SPEEDS)
def test_it_never_goes_back_and_runs_at_its_speed(wall_ns: int, later: int, speed: float) -> None:
    mock = MockSettings(enabled=True, speed=speed, epoch_ms=EPOCH_MS, start_ms=1_700_000_000_000)
    before, after = receive_time_ns(mock, wall_ns), receive_time_ns(mock, wall_ns + later)
    assert after >= before
    # a float of 53 bits holds the product to the part in 2**52
    assert after - before == pytest.approx(later * speed, rel=1e-9, abs=2e17 * speed / 2**50)


@pytest.mark.parametrize("speed", [0.5, 1.0, 288.0])
def test_at_the_epoch_it_is_the_start(speed: float) -> None:
    start_ms = 1_700_000_000_000
    mock = MockSettings(enabled=True, speed=speed, epoch_ms=EPOCH_MS, start_ms=start_ms)
    assert receive_time_ns(mock, EPOCH_MS * MS) == start_ms * MS
    assert receive_time_ns(mock, (EPOCH_MS + 1_000) * MS) == (start_ms + int(1_000 * speed)) * MS


def test_a_day_passes_in_five_minutes() -> None:
    mock = MockSettings(enabled=True, speed=288.0, epoch_ms=EPOCH_MS)
    passed = receive_time_ns(mock, (EPOCH_MS + 300_000) * MS) - EPOCH_MS * MS
    assert passed == 86_400_000 * MS


def test_a_wait_of_the_walls_is_longer_in_a_faster_time() -> None:
    assert receive_ns_of_wall(MockSettings(enabled=True), 0.05) == 50_000_000
    fast = MockSettings(enabled=True, speed=60.0, epoch_ms=1)
    assert receive_ns_of_wall(fast, 0.05) == 3_000_000_000
    assert receive_ns_of_wall(MockSettings(speed=60.0, epoch_ms=1), 0.05) == 50_000_000
