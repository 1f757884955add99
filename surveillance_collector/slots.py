"""How many slots each use gets, and how soon every group is visited at the latest. Pure.

A slot is one subscribed asset. Formulas: reference mm_viability.md, section 5.3.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from surveillance_collector.churn import STEP_SECONDS, ChurnShares

FIRST_VISITS_SHARE = 8
"""One in so many of the rotation's slots may hold first visits of newly listed groups."""


@dataclass(frozen=True)
class WatchedGroup:
    """Assets that are subscribed together or not at all."""

    group_id: str
    assets: tuple[str, ...]

    @property
    def slots(self) -> int:
        """Slots it takes."""
        return len(self.assets)


@dataclass(frozen=True)
class Limits:
    """What the scheduler has to keep to."""

    max_slots: int
    dwell_seconds: float
    """Least time that a group holds its slots."""
    churn_per_minute: float
    """Assets subscribed and unsubscribed in any 60 seconds."""
    exploit_share: float
    """Share of the slots beyond the pinned ones that goes to the groups of highest index."""


@dataclass(frozen=True)
class SlotPlan:
    """The division of the slots for one universe.

    With everything subscribed for good there are pinned slots alone.
    """

    steady: frozenset[str] = frozenset()
    """Groups that always have slots: the pinned ones, or all where all fit."""
    rotating: frozenset[str] = frozenset()
    aside: Mapping[str, str] = field(default_factory=dict[str, str])
    """Groups that cannot be subscribed, and why."""
    pinned_slots: int = 0
    exploit_slots: int = 0
    rotation_slots: int = 0
    """C_E: slots that groups pass through in turn."""
    first_visit_slots: int = 0
    """Of these, how many may hold newly listed groups ahead of their turn."""
    weight: int = 0
    """W: slots that all rotating groups would take together."""
    largest: int = 0
    """s_max: slots of the largest rotating group."""
    turn_seconds: float = 0.0
    """d: the dwell with what delays it, or the time in which churn changes all slots, if longer."""
    bound_seconds: float | None = None
    """No rotating group is left for longer between two visits; None where nothing rotates."""

    @property
    def rotates(self) -> bool:
        """Whether groups take turns."""
        return bool(self.rotating)


def plan_slots(
    groups: Mapping[str, WatchedGroup], pinned: Collection[str], limits: Limits
) -> SlotPlan:
    """Divide the slots between pinned groups, exploit and rotation.

    Pinned groups get at most half of the slots, in order of their ids; the others of them rotate.
    Exploit gets its share of what is left, less where the largest group would not fit the rotation
    otherwise.

    The bound is ``W * d / (C - s_max + 1) + 2 * d`` (mm_viability.md 5.3); ``C`` are the rotation's
    slots that first visits cannot take. Why it holds: go back from a group's admission. If it
    waited for slots, then for those of a group admitted one dwell before, and since then at least
    ``C - s_max + 1`` slots were given to others. If it waited for tokens, those were spent on
    unsubscribing and subscribing, two for each slot given. Go on from the earlier of the two. No
    group is admitted twice before the one that waits, so the stretches together hold at most ``W``
    slots, each at most ``d / (C - s_max + 1)`` seconds. ``d`` is ``max(dwell, 2 * C_E / r)``, ``r``
    assets a second; to the dwell of a stretch comes what two steps of the scheduler delay it, and
    the unsubscribing that fills no slot: at most ``s_max`` where a large group gives way to a small
    one, and the slots for first visits.
    """
    total = sum(group.slots for group in groups.values())
    if total <= limits.max_slots:
        return SlotPlan(steady=frozenset(groups), pinned_slots=total)
    steady, pinned_slots = _pinned(groups, pinned, limits.max_slots // 2)
    free = limits.max_slots - pinned_slots
    shares = ChurnShares.of_limit(limits.churn_per_minute)
    aside: dict[str, str] = {}
    rotating: dict[str, int] = {}
    for group_id, group in groups.items():
        if group_id in steady:
            continue
        if group.slots > free:
            aside[group_id] = f"{group.slots} slots where {free} rotate"
        elif group.slots > shares.rotation.largest:
            aside[group_id] = (
                f"{group.slots} slots where the churn limit pays for "
                f"{shares.rotation.largest} at once"
            )
        else:
            rotating[group_id] = group.slots
    if not rotating:
        return SlotPlan(steady, aside=aside, pinned_slots=pinned_slots, exploit_slots=free)
    largest, weight = max(rotating.values()), sum(rotating.values())
    rotation_slots = max(free - int(limits.exploit_share * free), largest)
    first_visit_slots = min(rotation_slots // FIRST_VISITS_SHARE, rotation_slots - largest)
    certain = rotation_slots - first_visit_slots
    per_second = shares.rotation.per_second
    turn = max(
        limits.dwell_seconds + 2 * STEP_SECONDS + (largest + first_visit_slots) / per_second,
        2 * rotation_slots / per_second,
    )
    return SlotPlan(
        steady=steady,
        rotating=frozenset(rotating),
        aside=aside,
        pinned_slots=pinned_slots,
        exploit_slots=free - rotation_slots,
        rotation_slots=rotation_slots,
        first_visit_slots=first_visit_slots,
        weight=weight,
        largest=largest,
        turn_seconds=turn,
        bound_seconds=weight * turn / (certain - largest + 1) + 2 * turn,
    )


def _pinned(
    groups: Mapping[str, WatchedGroup], pinned: Collection[str], room: int
) -> tuple[frozenset[str], int]:
    kept: set[str] = set()
    taken = 0
    for group_id in sorted(pinned):
        group = groups.get(group_id)
        if group is not None and taken + group.slots <= room:
            kept.add(group_id)
            taken += group.slots
    return frozenset(kept), taken
