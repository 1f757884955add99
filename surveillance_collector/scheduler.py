"""Which groups hold slots: pinned, exploit and rotation. Pure: the clock is passed in.

Policy: reference mm_viability.md, section 5.3. Groups rotate first in, first out by the end of
their last visit, and nobody overtakes: a newly listed group joins at the end like everybody else,
and may besides have its first visit ahead of its turn in slots that the bound does not count on.
The index orders the exploit slots alone, so no score can starve a group. A group whose dwell is
over keeps its slots until another one wants them.

A group found in a new universe with other members is brought up to date where it stands; its
members that stay are not touched. A group that stands under an id that is gone, with members that
another group now has, stands on as that one.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Mapping

from surveillance_collector.churn import ChurnShares, TokenBucket
from surveillance_collector.holdings import Change, Holdings, Standing, Use
from surveillance_collector.slots import Limits, SlotPlan, WatchedGroup, plan_slots
from surveillance_collector.visits import Visit, without_long_gone

SWAP_GAIN = 1.2
"""An exploit group gives way to one whose index is more than this many times its own (5.3)."""


class Scheduler:
    """Slots of one venue.

    Parameters
    ----------
    visits
        What an earlier run has kept.
    now
        Seconds since the epoch on a clock that does not go back; every later time is on it.
    """

    def __init__(self, limits: Limits, visits: Mapping[str, Visit], now: float) -> None:
        self._limits = limits
        self._now = now
        self._visits = dict(visits)
        self._shares = ChurnShares.of_limit(limits.churn_per_minute)
        self._rotation = TokenBucket(self._shares.rotation, now)
        self._rest = TokenBucket(self._shares.rest, now)
        self._opening = True
        self._groups: dict[str, WatchedGroup] = {}
        self._index: Mapping[str, float] = {}
        self._by_index: list[str] = []
        self._holdings = Holdings()
        self._waiting: OrderedDict[str, float] = OrderedDict()
        """Rotating groups without slots, the longest unvisited first, and since when."""
        self._unseen: deque[str] = deque()
        """Newly listed groups that have not had a visit."""
        self._unwanted: set[str] = set()
        self._outdated: set[str] = set()
        self.plan = SlotPlan()
        self.longest_gap = 0.0
        """Longest time from a group's last visit, or its listing, to the end of its next dwell."""
        self.missed = 0
        """Visits that ended without all books having been fresh at once."""

    # ── input ────────────────────────────────────────────────────────────────────────────────

    def adopt(
        self,
        groups: Iterable[WatchedGroup],
        pinned: Collection[str],
        index: Mapping[str, float],
        *,
        back: bool = False,
    ) -> bool:
        """Take over a universe; False, and nothing changes, where it is empty.

        Parameters
        ----------
        groups, pinned
            Disjoint groups, and those of them that have slots whatever the others do.
        index
            Value of watching a group, per slot and second; absent is zero.
        back
            Whether groups that are new here were listed before: each has its old place in line.
        """
        adopted = {group.group_id: group for group in groups if group.assets}
        if not adopted:
            return False
        arrived = adopted.keys() - self._groups.keys()
        first = back or not self._groups
        self._groups = adopted
        self._visits = without_long_gone(self._visits, adopted.keys(), self._now)
        self.plan = plan_slots(adopted, pinned, self._limits)
        self.order(index)
        self._holdings.pass_on(adopted)
        self._reassign()
        self._line_up(set() if first else arrived, unknown=0.0 if first else self._now)
        return True

    def order(self, index: Mapping[str, float]) -> None:
        """Take over an index; only the exploit slots follow it."""
        self._index = index
        self._by_index = sorted(self._groups, key=lambda group: (-self._worth(group), group))

    def step(self, now: float, fresh: Collection[str] = ()) -> list[Change]:
        """What to subscribe and unsubscribe now, in this order.

        The first step after a start fills the slots at once: see ``churn``.

        Parameters
        ----------
        fresh
            Standing groups all of whose books are known and fresh at this moment.
        """
        self._now = max(now, self._now)
        self._rotation.refill(self._now)
        self._rest.refill(self._now)
        for group_id in fresh:
            if group_id in self.standing:
                self.standing[group_id].seen = True
        self._release_unwanted()
        self._update_outdated()
        self._fill_steady()
        self._swap_exploit()
        self._visit_new()
        self._rotate()
        if self._groups:
            self._opening = False
        return self._holdings.drain()

    # ── output ───────────────────────────────────────────────────────────────────────────────

    @property
    def standing(self) -> Mapping[str, Standing]:
        """Groups that hold slots."""
        return self._holdings.standing

    @property
    def slots_held(self) -> int:
        """Slots held by all groups."""
        return self._holdings.used()

    @property
    def awaiting(self) -> list[WatchedGroup]:
        """Standing groups whose books have not been fresh at once."""
        return [standing.group for standing in self.standing.values() if not standing.seen]

    @property
    def unaffordable(self) -> list[str]:
        """Groups that are to stand and are larger than a change the churn limit can pay for."""
        if self._opening:
            return []
        return [
            group_id
            for group_id in sorted(self.plan.steady)
            if group_id not in self.standing and self._groups[group_id].slots > self._largest_change
        ]

    def visits(self) -> dict[str, Visit]:
        """Visits to keep; a group whose visit is complete counts as left now."""
        left = {
            group_id: Visit(self._now, self._now)
            for group_id, standing in self.standing.items()
            if standing.seen and self._dwelt(standing)
        }
        return self._visits | left

    # ── a new universe ───────────────────────────────────────────────────────────────────────

    def _reassign(self) -> None:
        """Give what stands its use under the new plan; no slot changes hands by that."""
        plan = self.plan
        self._unwanted, self._outdated = set(), set()
        exploit = 0
        for group_id in sorted(self.standing, key=lambda group: (-self._worth(group), group)):
            standing = self.standing[group_id]
            if group_id not in self._groups or (plan.rotates and group_id in plan.aside):
                self._unwanted.add(group_id)
                continue
            if group_id in plan.steady:
                self._holdings.reuse(standing, Use.STEADY)
            elif standing.use in (Use.STEADY, Use.EXPLOIT):
                exploit += standing.group.slots
                fits = exploit <= plan.exploit_slots
                self._holdings.reuse(standing, Use.EXPLOIT if fits else Use.ROTATION)
            wanted = self._groups[group_id].assets
            if wanted != standing.group.assets:
                shared = set(wanted) & set(standing.group.assets)
                (self._outdated if shared else self._unwanted).add(group_id)

    def _line_up(self, arrived: Collection[str], unknown: float) -> None:
        """Order what rotates by its last visit. Whoever was not there before joins at the end."""
        absent = [group_id for group_id in self.plan.rotating if group_id not in self.standing]
        ended = {g: visit.ended for g, visit in self._visits.items()} | self._waiting
        places = {g: self._now if g in arrived else ended.get(g, unknown) for g in absent}
        self._waiting = OrderedDict(sorted(places.items(), key=lambda item: (item[1], item[0])))
        self._unseen.extend(sorted(group for group in arrived if group not in self._visits))

    # ── a step ───────────────────────────────────────────────────────────────────────────────

    def _release_unwanted(self) -> None:
        """Unsubscribe what is gone or set aside; being watched no more, it may go in parts."""
        for group_id in sorted(self._unwanted):
            standing = self.standing[group_id]
            self._drop(standing, standing.group.assets, self._rest)

    def _update_outdated(self) -> None:
        for group_id in sorted(self._outdated):
            if group_id not in self.standing:
                continue  # it made room for another one's new members
            standing, wanted = self.standing[group_id], self._groups[group_id]
            kept, held = frozenset(wanted.assets), frozenset(standing.group.assets)
            gone = tuple(asset for asset in standing.group.assets if asset not in kept)
            added = [asset for asset in wanted.assets if asset not in held]
            if (
                self._drop(standing, gone, self._rest)
                and self._holdings.free(added)
                and (not added or self._makes_room(standing.use, len(added)))
                and group_id in self.standing
                and self._pay(self._rest, len(added))
            ):
                self._holdings.grow(standing, wanted)
                self._outdated.discard(group_id)

    def _fill_steady(self) -> None:
        if self._holdings.used(Use.STEADY) == self.plan.pinned_slots:
            return
        for group_id in self._by_index:
            if group_id not in self.plan.steady or group_id in self.standing:
                continue
            group = self._groups[group_id]
            admitted = self._admit(group, Use.STEADY, self._rest)
            if not admitted and group.slots <= self._largest_change:
                return

    def _swap_exploit(self) -> None:
        """Give the exploit slots to the groups of highest index that are not on a visit."""
        held = sorted(
            self._holdings.held(Use.EXPLOIT),
            key=lambda standing: (self._worth(standing.group.group_id), standing.group.group_id),
        )
        free = self.plan.exploit_slots - self._holdings.used(Use.EXPLOIT)
        for group_id in self._by_index:
            limit = self._worth(group_id) / SWAP_GAIN
            if free <= 0 and not (held and self._worth(held[0].group.group_id) < limit):
                return
            group = self._groups[group_id]
            if not self._exploitable(group):
                continue
            leaving: list[Standing] = []
            room = free
            for standing in held:
                if room >= group.slots or self._worth(standing.group.group_id) >= limit:
                    break
                if self._dwelt(standing):
                    leaving.append(standing)
                    room += standing.group.slots
            if room < group.slots:
                continue
            for standing in leaving:
                if not self._evict(standing, self._rest):
                    return
                held.remove(standing)
            if not self._admit(group, Use.EXPLOIT, self._rest):
                return
            free = self.plan.exploit_slots - self._holdings.used(Use.EXPLOIT)

    def _visit_new(self) -> None:
        """First visits of newly listed groups ahead of their turn, in slots set apart for them."""
        for standing in self._holdings.held(Use.FIRST_VISIT):
            if self._waiting and self._dwelt(standing):
                self._evict(standing, self._rest)
        largest = min(self.plan.first_visit_slots, self._shares.rest.largest)
        while self._unseen:
            group_id = self._unseen[0]
            waits = group_id in self._waiting and group_id not in self._visits
            if not waits or self._groups[group_id].slots > largest:
                self._unseen.popleft()
            elif not self._admit(self._groups[group_id], Use.FIRST_VISIT, self._rest):
                return

    def _rotate(self) -> None:
        while self._waiting:
            group = self._groups[next(iter(self._waiting))]
            if not self._admit(group, Use.ROTATION, self._rotation):
                return

    # ── slots ────────────────────────────────────────────────────────────────────────────────

    def _admit(self, group: WatchedGroup, use: Use, bucket: TokenBucket) -> bool:
        """Subscribe a group whole, if there is or can be made room and it can be paid for."""
        # another group may hold an asset until a change of members is paid for
        if not self._makes_room(use, group.slots) or not self._holdings.free(group.assets):
            return False
        if not self._pay(bucket, group.slots):
            return False
        since = self._waiting.pop(group.group_id, None)
        if since and use in (Use.ROTATION, Use.FIRST_VISIT):
            gap = self._now - since + self._limits.dwell_seconds
            self.longest_gap = max(self.longest_gap, gap)
        self._holdings.admit(group, use, self._now)
        return True

    def _makes_room(self, use: Use, slots: int) -> bool:
        """Have groups of the rotation leave, the longest on a visit first, until there is room."""
        used, plan = self._holdings.used, self.plan
        own = {
            Use.STEADY: plan.pinned_slots - used(Use.STEADY),
            Use.EXPLOIT: plan.exploit_slots - used(Use.EXPLOIT),
            Use.FIRST_VISIT: plan.first_visit_slots - used(Use.FIRST_VISIT),
            Use.ROTATION: plan.rotation_slots,
        }
        if own[use] < slots:
            return False
        rotating = (Use.ROTATION, Use.FIRST_VISIT)
        while self._limits.max_slots - used() < slots or (
            use in rotating and plan.rotation_slots - used(*rotating) < slots
        ):
            on_visit = self._holdings.held(Use.ROTATION)
            oldest = min(
                on_visit,
                key=lambda s: (s.group.group_id not in self._unwanted, s.since),
                default=None,
            )
            if oldest is None or not (
                oldest.group.group_id in self._unwanted or self._dwelt(oldest)
            ):
                return False
            swap = oldest.group.slots + slots
            affordable = self._rotation.affordable
            if use is Use.ROTATION and affordable < swap <= self._shares.rotation.largest:
                # slots given up before they can be given away would be idle
                return False
            if not self._evict(oldest, self._rotation):
                return False
        return True

    def _evict(self, standing: Standing, bucket: TokenBucket) -> bool:
        if not self._pay(bucket, standing.group.slots):
            return False
        self._holdings.shrink(standing, standing.group.assets)
        self._leave(standing)
        return True

    def _drop(self, standing: Standing, assets: tuple[str, ...], bucket: TokenBucket) -> bool:
        """Unsubscribe as many of the assets as can be paid for; whether that is all of them."""
        if not self._opening and not self.plan.rotates:
            bucket = max(self._rotation, self._rest, key=lambda b: b.affordable)
        paid = assets if self._opening else assets[: bucket.affordable]
        if paid and (self._opening or bucket.spend(len(paid))):
            self._holdings.shrink(standing, paid)
            if standing.group.group_id not in self.standing:
                self._leave(standing)
        return len(paid) == len(assets)

    def _leave(self, standing: Standing) -> None:
        """The visit is over: the group is the last in line."""
        group_id = standing.group.group_id
        known = self._visits.get(group_id)
        completed = known.completed if known is not None else None
        if standing.seen and self._dwelt(standing):
            completed = self._now
        elif self._dwelt(standing):
            self.missed += 1
        self._visits[group_id] = Visit(self._now, completed)
        self._unwanted.discard(group_id)
        self._outdated.discard(group_id)
        if group_id in self.plan.rotating:
            self._waiting[group_id] = self._now

    def _pay(self, bucket: TokenBucket, assets: int) -> bool:
        if self._opening:
            return True
        if not self.plan.rotates and self._rotation.spend(assets):
            # nothing rotates: the rotation's share is there for everything else
            return True
        return bucket.spend(assets)

    @property
    def _largest_change(self) -> int:
        shares = self._shares
        return shares.rest.largest if self.plan.rotates else shares.rotation.largest

    def _exploitable(self, group: WatchedGroup) -> bool:
        """Whether a group may come to the exploit slots, as far as it alone matters."""
        group_id, plan = group.group_id, self.plan
        if group_id in self.standing or group_id in plan.steady:
            return False
        if plan.rotates and (group_id in plan.aside or group.slots > self._shares.rest.largest):
            return False
        return self._holdings.free(group.assets)

    def _dwelt(self, standing: Standing) -> bool:
        return self._now - standing.since >= self._limits.dwell_seconds

    def _worth(self, group_id: str) -> float:
        return self._index.get(group_id, 0.0)
