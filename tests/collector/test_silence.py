"""How long a source may be silent: learned from it, bounded, and forgiving where it was wrong."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_collector.silence import BLOCK_SECONDS, BLOCKS_NEEDED, LEAST_SECONDS, Silence

WEEK = 7 * 86_400.0
MOST = 60.0

Draw = Callable[[random.Random], float]


def _poisson(mean: float) -> Draw:
    return lambda chance: chance.expovariate(1.0 / mean)


def _bursts(lull: float) -> Draw:
    """Nineteen gaps of twenty a twentieth of a second, the others lulls."""
    return lambda chance: chance.expovariate(20.0 if chance.random() < 0.95 else 1.0 / lull)


def _listen(silence: Silence, draw: Draw, seconds: float, seed: int = 1) -> tuple[float, int]:
    """Let a live source speak; the time at the end, and how often it was suspected in vain."""
    chance, now, alarms = random.Random(seed), 0.0, 0
    silence.begin(now)
    while now < seconds:
        gap = draw(chance)
        if gap >= silence.deadline:
            alarms += 1
            silence.was_wrong()
            silence.begin(now + gap)
        now += gap
        silence.heard(now)
    return now, alarms


@pytest.mark.parametrize(
    ("draw", "days", "shortest", "longest"),
    [
        (_poisson(0.5), 1, LEAST_SECONDS, 13.0),
        (_poisson(1.0), 7, 12.0, 22.0),
        (_poisson(2.0), 7, 23.0, 42.0),
        (_bursts(2.0), 1, 20.0, 42.0),
    ],
    ids=["two a second", "one a second", "one in two seconds", "bursts"],
)
def test_a_live_source_is_not_suspected_and_a_stall_is_found_soon(
    draw: Draw, days: int, shortest: float, longest: float
) -> None:
    silence = Silence(MOST)
    now, alarms = _listen(silence, draw, days * WEEK / 7)
    assert alarms == 0
    assert silence.speaks
    assert shortest <= silence.deadline <= longest
    assert not silence.overdue(now + 0.99 * shortest)
    assert silence.overdue(now + longest)


def test_heavy_tails_are_suspected_in_vain_a_few_times_and_then_watched_by_others() -> None:
    silence = Silence(MOST)
    _, alarms = _listen(silence, lambda chance: chance.lognormvariate(-0.7, 1.2), WEEK)
    assert 0 < alarms <= 5
    assert silence.doublings


def test_nothing_is_concluded_from_a_few_minutes() -> None:
    silence = Silence(MOST)
    _listen(silence, _poisson(0.1), (BLOCKS_NEEDED - 2) * BLOCK_SECONDS)
    assert silence.learned is None
    assert silence.deadline == MOST
    _listen(silence, _poisson(0.1), 4 * BLOCK_SECONDS)
    assert silence.deadline == LEAST_SECONDS


def test_a_quiet_source_is_suspected_less_and_less_often_until_it_did_stall() -> None:
    silence = Silence(MOST)
    silence.begin(0.0)
    deadlines: list[float] = []
    for _ in range(6):
        deadlines.append(silence.deadline)
        silence.was_wrong()
    assert deadlines == [60.0, 120.0, 240.0, 480.0, 960.0, 960.0]
    silence.was_right()
    assert silence.deadline == MOST


def test_a_suspicion_in_vain_is_forgotten_after_a_week() -> None:
    silence = Silence(MOST)
    _listen(silence, _poisson(1.0), 3_600.0)
    before = silence.deadline
    silence.was_wrong(before)
    assert silence.deadline >= 2 * before
    _listen(silence, _poisson(1.0), 1.1 * WEEK)
    assert silence.doublings == 0
    assert silence.deadline <= 22.0


def test_the_time_between_two_connections_is_no_silence_of_the_source() -> None:
    silence = Silence(MOST)
    for start in range(40):
        silence.begin(start * 10_000.0)
        for second in range(62):
            silence.heard(start * 10_000.0 + second)
    assert silence.deadline == LEAST_SECONDS


@given(
    most=st.floats(0.1, 600.0),
    gaps=st.lists(st.floats(0.0, 1e5), max_size=80),
    wrong=st.integers(0, 8),
)
def test_the_deadline_stays_between_its_bounds(most: float, gaps: list[float], wrong: int) -> None:
    silence, now = Silence(most), 0.0
    silence.begin(now)
    for gap in gaps:
        now += gap
        silence.heard(now)
    # rounding in the sum of times is beside the point
    assert min(LEAST_SECONDS, most) <= silence.deadline <= most
    for _ in range(wrong):
        silence.was_wrong()
        assert silence.deadline <= 16 * most
    assert silence.left(now) == pytest.approx(silence.deadline, abs=1e-3)
