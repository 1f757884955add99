"""The time that simulated venues and the collector share, a function of the settings alone. Pure.

Two processes that have the same ``[mock]`` table agree on it without talking to each other: at the
wall time ``epoch_ms`` it is ``start_ms``, and from there it runs ``speed`` times as fast.
"""

from __future__ import annotations

from collections.abc import Callable

from surveillance_core.settings_tables import MockSettings

_NS = 1_000_000


def receive_time_ns(mock: MockSettings, wall_ns: int) -> int:
    """The time in force at a wall time: simulated where that is configured, else the wall's own.

    Parameters
    ----------
    wall_ns
        Nanoseconds since the epoch of Unix.

    Examples
    --------
    >>> mock = MockSettings(enabled=True, speed=60.0, epoch_ms=1_000, start_ms=5_000)
    >>> receive_time_ns(mock, 2_000 * 1_000_000) // 1_000_000
    65000
    """
    if not mock.enabled or not mock.epoch_ms:
        return wall_ns
    elapsed_ns = wall_ns - mock.epoch_ms * _NS
    if mock.speed != 1.0:
        elapsed_ns = int(elapsed_ns * mock.speed)
    return (mock.start_ms or mock.epoch_ms) * _NS + elapsed_ns


def receive_clock_of(mock: MockSettings, wall_ns: Callable[[], int]) -> Callable[[], int]:
    """A clock of the time in force: the wall's own where nothing is simulated."""
    if not mock.enabled or not mock.epoch_ms:
        return wall_ns
    return lambda: receive_time_ns(mock, wall_ns())


def receive_ns_of_wall(mock: MockSettings, seconds: float) -> int:
    """Nanoseconds of the time in force that pass in so many seconds of the wall's."""
    return int(seconds * 1e9 * (mock.speed if mock.enabled else 1.0))
