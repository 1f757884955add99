"""simulated venue: frames made per CPU-second, for information.

Forty markets, both tokens followed, every hash computed as the venue does: what bounds the demo and
the length of a recorded day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.harness import Row, Scale, run_in_turn
from surveillance_core.venues.simulated.polymarket.history import record_history
from surveillance_core.venues.simulated.world import World

NAME = "simulated venue"
_START_MS = 1_790_000_000_000


def measure(scale: Scale) -> Iterator[Row]:
    """One row: frames per CPU-second."""
    seconds = scale.pick(60, 300)
    frames = 0

    def prepare() -> Callable[[], object]:
        world = World(7, start_ms=_START_MS)

        def make() -> None:
            nonlocal frames
            frames = sum(1 for _ in record_history(world, _START_MS + seconds * 1_000))

        return make

    timings = run_in_turn({"ours": prepare}, 3)
    yield Row(
        workload=NAME,
        unit="frames/CPU-s",
        ours=timings.rate("ours", frames),
        note=f"{frames} frames of {seconds} s",
    )
