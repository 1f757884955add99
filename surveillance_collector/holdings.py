"""Who holds which slots, and what changes hands. Pure bookkeeping, no policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from surveillance_collector.slots import WatchedGroup


class Use(Enum):
    """What a group holds its slots for."""

    STEADY = auto()
    """Pinned, or everything fits."""
    EXPLOIT = auto()
    FIRST_VISIT = auto()
    ROTATION = auto()


@dataclass(frozen=True)
class Subscribe:
    """These assets get slots; ``steady`` where they are not meant to give them up soon."""

    group_id: str
    assets: tuple[str, ...]
    steady: bool


@dataclass(frozen=True)
class Unsubscribe:
    """These assets give up their slots."""

    group_id: str
    assets: tuple[str, ...]


Change = Subscribe | Unsubscribe


@dataclass
class Standing:
    """A group that holds slots, with its members as they were subscribed."""

    group: WatchedGroup
    use: Use
    since: float
    seen: bool = False
    """Whether all its books have been fresh at once."""


class Holdings:
    """Slots held, by group and use, with the changes since they were last drained."""

    def __init__(self) -> None:
        self._standing: dict[str, Standing] = {}
        self._holders: dict[str, str] = {}
        self._used: Counter[Use] = Counter()
        self._changes: list[Change] = []

    @property
    def standing(self) -> Mapping[str, Standing]:
        """Groups that hold slots, by id."""
        return self._standing

    def used(self, *uses: Use) -> int:
        """Slots held for these uses, for all where none is named."""
        return sum(self._used[use] for use in uses or tuple(Use))

    def held(self, use: Use) -> list[Standing]:
        """Groups that hold slots for a use."""
        return [standing for standing in self._standing.values() if standing.use is use]

    def free(self, assets: Iterable[str]) -> bool:
        """Whether no group holds a slot of any of the assets."""
        return not any(asset in self._holders for asset in assets)

    def admit(self, group: WatchedGroup, use: Use, now: float) -> None:
        """Subscribe a group whole."""
        standing = Standing(WatchedGroup(group.group_id, ()), use, now)
        self._standing[group.group_id] = standing
        self.grow(standing, group)

    def grow(self, standing: Standing, group: WatchedGroup) -> None:
        """Subscribe what a standing group lacks of ``group``, in which it is contained."""
        held = frozenset(standing.group.assets)
        added = tuple(asset for asset in group.assets if asset not in held)
        standing.group = group
        if added:
            standing.seen = False
            self._used[standing.use] += len(added)
            self._holders |= dict.fromkeys(added, group.group_id)
            steady = standing.use in (Use.STEADY, Use.EXPLOIT)
            self._changes.append(Subscribe(group.group_id, added, steady))

    def shrink(self, standing: Standing, assets: tuple[str, ...]) -> None:
        """Unsubscribe some of a group's assets; without any left it no longer stands."""
        group_id = standing.group.group_id
        gone = frozenset(assets)
        left = tuple(asset for asset in standing.group.assets if asset not in gone)
        standing.group = WatchedGroup(group_id, left)
        self._used[standing.use] -= len(assets)
        for asset in assets:
            del self._holders[asset]
        if assets:
            self._changes.append(Unsubscribe(group_id, assets))
        if not left:
            del self._standing[group_id]

    def reuse(self, standing: Standing, use: Use) -> None:
        """Count a group's slots as held for another use."""
        self._used[standing.use] -= standing.group.slots
        standing.use = use
        self._used[use] += standing.group.slots

    def pass_on(self, groups: Mapping[str, WatchedGroup]) -> None:
        """Let what stands under an id that is gone stand on as the group with its members."""
        gone = [standing for group_id, standing in self._standing.items() if group_id not in groups]
        if not gone:
            return
        owner = {asset: group.group_id for group in groups.values() for asset in group.assets}
        for standing in gone:
            heirs = Counter(owner[asset] for asset in standing.group.assets if asset in owner)
            free = [(-shared, heir) for heir, shared in heirs.items() if heir not in self._standing]
            if free:
                heir = min(free)[1]
                del self._standing[standing.group.group_id]
                self._standing[heir] = standing
                standing.group = WatchedGroup(heir, standing.group.assets)
                self._holders |= dict.fromkeys(standing.group.assets, heir)

    def drain(self) -> list[Change]:
        """What has changed hands, in order."""
        changes, self._changes = self._changes, []
        return changes
