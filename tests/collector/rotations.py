"""A simulated clock and venue for the scheduler, with an observer that trusts only what it is told.

The observer knows the changes and when they came. From them it judges what the scheduler promises:
slots, churn, whole groups, and how long each group has been left.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from surveillance_collector.churn import WINDOW_SECONDS
from surveillance_collector.holdings import Subscribe
from surveillance_collector.scheduler import Scheduler
from surveillance_collector.slots import Limits, SlotPlan, WatchedGroup
from surveillance_collector.visits import decode_visits, encode_visits

from .worlds import VENUE


def group_of(group_id: str, slots: int, version: str = "") -> WatchedGroup:
    """A group with assets of its own."""
    return WatchedGroup(group_id, tuple(f"{group_id}{version}-{n}" for n in range(slots)))


def limits_of(
    slots: int, *, dwell: float = 10.0, churn: float = 600.0, exploit: float = 0.5
) -> Limits:
    """Limits spelled shortly."""
    return Limits(slots, dwell, churn, exploit)


def restart_cost(plan: SlotPlan) -> float:
    """Seconds by which interrupted visits, begun anew, can put off those behind them."""
    if plan.bound_seconds is None:
        return 0.0
    certain = plan.rotation_slots - plan.first_visit_slots
    return plan.rotation_slots * plan.turn_seconds / (certain - plan.largest + 1)


@dataclass
class Wait:
    """A rotating group without slots."""

    since: float
    allowed: float = 0.0
    """The largest bound that was in force meanwhile."""
    restarts: float = 0.0
    """Seconds that restarts may have cost."""


@dataclass
class Rotation:
    """A scheduler under observation."""

    limits: Limits
    now: float = 1_000.0
    lazy: frozenset[str] = frozenset()
    """Groups whose books are never fresh at once."""
    held: dict[str, str] = field(default_factory=dict[str, str])
    """Group by asset subscribed."""
    admitted: dict[str, float] = field(default_factory=dict[str, float])
    waits: dict[str, Wait] = field(default_factory=dict[str, Wait])
    visited: Counter[str] = field(default_factory=lambda: Counter[str]())
    spent: deque[tuple[float, int]] = field(default_factory=lambda: deque[tuple[float, int]]())
    worst: float = 0.0
    """Longest gap as a share of the bound."""
    worst_minute: int = 0
    universe: dict[str, WatchedGroup] = field(default_factory=dict[str, WatchedGroup])
    changed: set[str] = field(default_factory=set[str])
    """Groups that were ever listed with other members, or came back before they had gone."""

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.limits, {}, self.now)
        self._opening = True

    def adopt(
        self,
        groups: Iterable[WatchedGroup],
        index: Mapping[str, float] | None = None,
        pinned: Iterable[str] = (),
    ) -> bool:
        """Publish a universe."""
        listed = {group.group_id: group for group in groups}
        before = self.universe
        adopted = self.scheduler.adopt(listed.values(), set(pinned), index or {})
        if adopted:
            self.changed |= {g for g in listed if before.get(g, listed[g]) != listed[g]}
            self.universe = listed
            for group in listed.values():
                # wanted again while it was going in parts
                if 0 < sum(asset in self.held for asset in group.assets) < group.slots:
                    self.changed.add(group.group_id)
            for group_id in [g for g in self.waits if g not in listed]:
                del self.waits[group_id]
            for group_id in self.scheduler.plan.rotating:
                if group_id not in self.admitted:
                    self.waits.setdefault(group_id, Wait(self.now))
        return adopted

    def run(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self.now < until:
            self.step(step)

    def step(self, seconds: float = 1.0) -> None:
        """One step, judged."""
        self.now += seconds
        fresh = [g.group_id for g in self.scheduler.awaiting if g.group_id not in self.lazy]
        paid = 0
        for change in self.scheduler.step(self.now, fresh):
            paid += len(change.assets)
            for asset in change.assets:
                if isinstance(change, Subscribe):
                    assert asset not in self.held
                    self.held[asset] = change.group_id
                else:
                    del self.held[asset]
            assert len(self.held) <= self.limits.max_slots
        if not self._opening:
            self._judge_churn(paid)
        self._opening = self._opening and not self.universe
        self._judge_groups()
        self._judge_waits()

    def restart(self, down: float = 5.0) -> None:
        """Stop, and start again with what was kept."""
        kept = encode_visits(VENUE, self.scheduler.visits(), self.now)
        cost = restart_cost(self.scheduler.plan) + down
        for group_id, since in self.admitted.items():
            if self.now - since >= self.limits.dwell_seconds and group_id not in self.lazy:
                self.waits[group_id] = Wait(self.now)
        self.now += down
        self.held.clear()
        self.admitted.clear()
        self.scheduler = Scheduler(self.limits, decode_visits(VENUE, kept, self.now), self.now)
        self._opening = True
        for wait in self.waits.values():
            wait.restarts += cost
        universe, self.universe = self.universe, {}
        self.adopt(universe.values())

    def _judge_churn(self, paid: int) -> None:
        self.spent.append((self.now, paid))
        while self.spent[0][0] < self.now - WINDOW_SECONDS:
            self.spent.popleft()
        self.worst_minute = max(self.worst_minute, sum(count for _, count in self.spent))
        assert self.worst_minute <= self.limits.churn_per_minute

    def _judge_groups(self) -> None:
        standing = self.scheduler.standing
        for group_id, group in self.universe.items():
            held = sum(asset in self.held for asset in group.assets)
            if group_id not in self.changed and group_id not in self.scheduler.plan.aside:
                assert held in (0, group.slots), f"{group_id} is split"
            if held and group_id in standing and group_id not in self.admitted:
                self.admitted[group_id] = standing[group_id].since
                self.visited[group_id] += 1
                wait = self.waits.pop(group_id, None)
                if wait is not None:
                    self._judge_gap(group_id, wait)
        for group_id in [g for g in self.admitted if g not in standing]:
            del self.admitted[group_id]
            if group_id in self.scheduler.plan.rotating:
                self.waits[group_id] = Wait(self.now)

    def _judge_waits(self) -> None:
        bound = self.scheduler.plan.bound_seconds
        rotating = self.scheduler.plan.rotating
        for group_id, wait in list(self.waits.items()):
            if group_id not in rotating:
                del self.waits[group_id]
                continue
            assert bound is not None
            wait.allowed = max(wait.allowed, bound)
            self._judge_gap(group_id, wait)

    def _judge_gap(self, group_id: str, wait: Wait) -> None:
        gap = self.now - wait.since + self.limits.dwell_seconds
        bound = max(wait.allowed, self.scheduler.plan.bound_seconds or 0.0)
        if bound:
            assert gap <= bound + wait.restarts, f"{group_id}: {gap} s where {bound} were promised"
            if not wait.restarts:
                self.worst = max(self.worst, gap / bound)
