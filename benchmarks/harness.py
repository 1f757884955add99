"""Contenders run in turn in one process, compared in CPU-seconds.

The machine is shared and its speed drifts, so nothing is compared across time: each round runs
every contender once, in alternating order, and a ratio is the median over the rounds of the ratio
within a round. Times are ``time.process_time``: all threads of the process, no waiting.
"""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from types import ModuleType

import msgspec


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table. Figures are in ``unit``; ``ratio`` is what ``bound`` speaks of."""

    workload: str
    unit: str
    limit: float | None = None
    peer: float | None = None
    ours: float
    ratio: float | None = None
    bound: str | None = None
    holds: bool | None = None
    note: str = ""


@dataclass(frozen=True)
class Scale:
    """How much is run."""

    quick: bool

    def pick(self, quick: int, full: int) -> int:
        """The size for this run."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Timings:
    """CPU-seconds of each contender, a list entry a round."""

    seconds: Mapping[str, list[float]]

    def rate(self, name: str, items: int) -> float:
        """Items per CPU-second, median round."""
        return items / median(self.seconds[name])

    def rate_if_run(self, name: str, items: int) -> float | None:
        """``rate``, or None where the contender was left out."""
        return self.rate(name, items) if name in self.seconds else None

    def ratio(self, fast: str, slow: str) -> float:
        """How many times ``fast``'s time goes into ``slow``'s, median over the rounds."""
        pairs = zip(self.seconds[fast], self.seconds[slow], strict=True)
        return median(slow_s / fast_s for fast_s, slow_s in pairs)


Contender = Callable[[], Callable[[], object]]
"""Prepares a round, untimed, and returns what is timed."""


def run_in_turn(contenders: Mapping[str, Contender], rounds: int, warm_up: int = 1) -> Timings:
    """Time each contender ``rounds`` times, the order reversed every other round."""
    names = list(contenders)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(warm_up + rounds):
        for name in names if number % 2 else reversed(names):
            run = contenders[name]()
            gc.collect()
            started = time.process_time()
            run()
            spent = time.process_time() - started
            if number >= warm_up:
                seconds[name].append(spent)
    return Timings(seconds)


def at_least(ratio: float | None, bound: float, of: str) -> dict[str, object]:
    """The row members of a lower bound on a ratio."""
    return {
        "ratio": ratio,
        "bound": f">= {bound:.3g} of {of}",
        "holds": None if ratio is None else ratio >= bound,
    }


def at_most(ratio: float | None, bound: float, of: str) -> dict[str, object]:
    """The row members of an upper bound on a ratio."""
    return {
        "ratio": ratio,
        "bound": f"<= {bound:.3g} of {of}",
        "holds": None if ratio is None else ratio <= bound,
    }


def import_peer(name: str) -> ModuleType | None:
    """A peer's module, None where it is not installed (``benchmarks/requirements.txt``)."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
