"""What really drives prices: probabilities of a family's worlds, which no trader sees.

Pure. Every price-relevant number of a family is a sum of these, on both venues, so related markets
cannot contradict each other. Each probability is an exact martingale: moves are two equally likely
steps of one size, and a result is drawn with the probability it had.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from random import Random

SETTLED = 1e-9
"""A probability this close to 0 or 1 no longer moves."""


class Latent:
    """Probabilities of mutually exclusive worlds, one of which comes true; they sum to 1."""

    __slots__ = ("initial", "weights")

    def __init__(self, weights: Sequence[float]) -> None:
        total = sum(weights)
        self.weights = [weight / total for weight in weights]
        self.initial = tuple(self.weights)
        """As the world began."""

    def probability(self, atoms: tuple[int, ...]) -> float:
        """Probability that one of the worlds comes true."""
        weights = self.weights
        return sum([weights[atom] for atom in atoms])

    def initial_probability(self, atoms: tuple[int, ...]) -> float:
        """The same, as the world began."""
        return sum(self.initial[atom] for atom in atoms)

    def move(self, atoms: tuple[int, ...], target: float) -> None:
        """Give the worlds ``target`` together, scaling them and the others in proportion.

        In proportion every other set's probability is a linear function of the target, so it is a
        martingale where the target is one, and nested sets stay nested.
        """
        p = self.probability(atoms)
        if not SETTLED < p < 1.0 - SETTLED:
            return
        inside, outside = target / p, (1.0 - target) / (1.0 - p)
        weights = [weight * outside for weight in self.weights]
        for atom in atoms:
            weights[atom] = self.weights[atom] * inside
        self.weights = weights

    def diffuse(
        self,
        atoms: tuple[int, ...],
        hours: float,
        *,
        volatility: float,
        jumps_an_hour: float,
        rng: Random,
    ) -> None:
        """Let time pass: a small step, or now and then a jump, up or down with equal chances.

        ``volatility`` is that of the log-odds, per square root of an hour; the step is
        ``volatility * p * (1 - p) * sqrt(hours)``, at most half the way to 0 or 1.
        """
        p = self.probability(atoms)
        room = min(p, 1.0 - p)
        if room <= SETTLED:
            return
        if rng.random() < jumps_an_hour * hours:
            step = room * rng.uniform(0.3, 0.8)
        else:
            step = min(volatility * p * (1.0 - p) * sqrt(hours), room / 2)
        self.move(atoms, p + step if rng.random() < 0.5 else p - step)

    def settle(self, atoms: tuple[int, ...], rng: Random) -> bool:
        """Draw whether one of the worlds came true; from then on that is certain."""
        happened = rng.random() < self.probability(atoms)
        self.move(atoms, 1.0 if happened else 0.0)
        return happened
