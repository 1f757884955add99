"""The scheduler at work: universe, priorities and visits in, subscriptions out.

Rotation goes by the wall's time even where the venues' time is simulated, because what it waits
for (a connection, a book) and what it spares (the venue) do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

import structlog

from surveillance_collector.holdings import Change, Unsubscribe
from surveillance_collector.scheduler import Scheduler
from surveillance_collector.selection import Watchlist, fixed_selection, watchlist_of
from surveillance_collector.share import Share
from surveillance_collector.slots import Limits
from surveillance_collector.subscriptions import Subscriptions
from surveillance_collector.visit_store import VisitStore
from surveillance_core.lake.priorities import Priorities, PrioritiesError, read_priorities
from surveillance_core.lake.publish import Lake
from surveillance_core.markets import Market, Venue
from surveillance_core.settings import Settings
from surveillance_core.venues.filters import filters_of

STEP_EVERY_SECONDS = 1.0
SAVE_EVERY_SECONDS = 30.0
FRESH_SECONDS = 2.0
"""Age up to which books count as seen together (mm_viability.md 5.3)."""

_UNLIMITED = 1e12

log = structlog.get_logger()


class BookWatch(Protocol):
    """Who knows the books; the engine, in the collector."""

    def all_fresh(self, asset_ids: Sequence[str], now_ns: int, within_ns: int) -> bool: ...


class Scheduling:
    """Keeps one venue's subscriptions to what the scheduler says.

    Parameters
    ----------
    now_ns, fresh_ns
        The receive clock, and the age on it up to which a book is fresh.
    wall_ns
        The wall's nanoseconds since the epoch, read once: from there on the time is one that
        nobody sets.
    pressed
        Whether warm markets are to be given up.
    shed
        Is told which assets are, just before they are unsubscribed.
    """

    def __init__(
        self,
        settings: Settings,
        lake: Lake,
        venue: Venue,
        share: Share,
        books: BookWatch,
        subscriptions: Subscriptions,
        *,
        now_ns: Callable[[], int],
        fresh_ns: int,
        wall_ns: Callable[[], int],
        pressed: Callable[[], bool] = lambda: False,
        shed: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._lake = lake
        self._share = share
        self._venue = venue
        self._books = books
        self._subscriptions = subscriptions
        self._now_ns = now_ns
        self._fresh_ns = fresh_ns
        self._offset = wall_ns() / 1e9 - time.monotonic()
        self._visits = VisitStore(lake.store, venue, share.name)
        self._saved_at = self._now()
        self._pressed = pressed
        self._shed = shed
        self._kept: frozenset[str] | None = None
        """Groups that alone may stand, None where all may."""
        self._watchlist: Watchlist | None = None
        self._priorities_said = ""
        table, rotation = settings.venues[venue], settings.rotation
        churn = table.subscription_churn_limit_per_minute if rotation.enabled else _UNLIMITED
        limits = Limits(
            max_slots=table.max_subs,
            dwell_seconds=table.rotation_period_secs,
            churn_per_minute=churn,
            exploit_share=rotation.exploit_share,
        )
        kept = self._visits.load(self._now()) if rotation.enabled else {}
        self.scheduler = Scheduler(limits, kept, self._now())

    def adopt(self, markets: Sequence[Market], now: datetime, day: date) -> bool:
        """Take over a universe; False, and nothing changes, where none of it may be watched."""
        table = self._settings.venues[self._venue]
        watchlist = watchlist_of(
            self._share.of(markets),
            now,
            mirror=table.mirror_check,
            filters=filters_of(table),
            pinned=table.pinned,
        )
        if not self._settings.rotation.enabled:
            watchlist = fixed_selection(watchlist, table.max_subs)
        index = self._read_index(watchlist, self._receive_time())
        if not self._schedule(watchlist, index):
            return False
        self._watchlist = watchlist
        log.info(
            "universe_adopted",
            venue=self._venue.value,
            date=day.isoformat(),
            groups=len(watchlist.groups),
            markets=len(watchlist.markets(a for g in watchlist.groups for a in g.assets)),
            slots=watchlist.slots,
            left_out=dict(watchlist.left_out),
        )
        self._log_plan()
        return True

    def _schedule(
        self, watchlist: Watchlist, index: dict[str, float], *, back: bool = False
    ) -> bool:
        kept = self._kept
        groups = [g for g in watchlist.groups if kept is None or g.group_id in kept]
        return self.scheduler.adopt(groups, watchlist.pinned, index, back=back)

    def _give_way(self, watchlist: Watchlist) -> None:
        """Let the hot groups alone stand while the disk is full, and all again after it."""
        standing = self.scheduler.standing
        if self._pressed() == (self._kept is not None) or not standing:
            return
        index = self._read_index(watchlist, self._receive_time())
        if self._kept is None:
            hot = set(self._subscriptions.hot)
            kept = {g for g, s in standing.items() if not hot.isdisjoint(s.group.assets)}
            # where nothing is hot nothing is spared by giving it up: what stands stays, unrelieved
            self._kept = frozenset(kept or standing)
            if not self._schedule(watchlist, index):
                # the universe has none of them any more
                self._kept = None
                return
            log.warning(
                "warm_given_up",
                venue=self._venue.value,
                kept=len(self._kept),
                given_up=len(standing) - len(self._kept),
            )
        else:
            self._kept = None
            self._schedule(watchlist, index, back=True)
            log.info("warm_comes_back", venue=self._venue.value)

    async def run(self) -> None:
        """Step until cancelled."""
        read_at = self._now()
        while True:
            await self._step()
            now = self._now()
            if now - self._saved_at >= SAVE_EVERY_SECONDS and self._keeps:
                self._saved_at = now
                await asyncio.to_thread(self._visits.save, self.scheduler.visits(), now)
            if now - read_at >= self._settings.universe.poll_seconds:
                read_at = now
                watchlist, moment = self._watchlist, self._receive_time()
                if watchlist is not None and self.scheduler.plan.rotates:
                    index = await asyncio.to_thread(self._read_index, watchlist, moment)
                    if watchlist is self._watchlist:
                        self.scheduler.order(index)
            await asyncio.sleep(STEP_EVERY_SECONDS)

    def save(self) -> None:
        """Keep the visits for the next run."""
        if self._keeps:
            self._visits.save(self.scheduler.visits(), self._now())

    @property
    def _keeps(self) -> bool:
        return self._settings.rotation.enabled and self._watchlist is not None

    async def _step(self) -> None:
        if self._watchlist is None:
            return
        self._give_way(self._watchlist)
        now_ns = self._now_ns()
        fresh = [
            group.group_id
            for group in self.scheduler.awaiting
            if self._books.all_fresh(group.assets, now_ns, self._fresh_ns)
        ]
        changes = self.scheduler.step(self._now(), fresh)
        kept = self._kept
        if kept is not None and (left := [a for c in changes for a in _left_of(c, kept)]):
            self._shed(left)
        if changes:
            await self._subscriptions.apply(changes, self._watchlist)

    def _now(self) -> float:
        return time.monotonic() + self._offset

    def _receive_time(self) -> datetime:
        return datetime.fromtimestamp(self._now_ns() / 1e9, UTC)

    def _read_index(self, watchlist: Watchlist, now: datetime) -> dict[str, float]:
        """The index that is to order the exploit slots; says once whose it is."""
        rotation = self._settings.rotation
        if not rotation.enabled:
            return dict(watchlist.worth)
        max_age = timedelta(minutes=rotation.priorities_max_age_minutes)
        priorities: Priorities | None = None
        try:
            priorities = read_priorities(self._lake, self._venue, now, max_age)
            said = f"{len(priorities.index)} {dict(priorities.ignored)}"
        except PrioritiesError as error:
            said = str(error)
        if said != self._priorities_said:
            self._priorities_said = said
            if priorities is None:
                log.info("priorities_unused", venue=self._venue.value, cause=said[:300])
            else:
                log.info(
                    "priorities_read",
                    venue=self._venue.value,
                    groups=len(priorities.index),
                    ignored=dict(priorities.ignored),
                )
        return dict(watchlist.worth) if priorities is None else priorities.index

    def _log_plan(self) -> None:
        scheduler, rotation = self.scheduler, self._settings.rotation
        plan = scheduler.plan
        venue = self._venue.value
        log.info(
            "schedule",
            venue=venue,
            bound_seconds=None if plan.bound_seconds is None else round(plan.bound_seconds, 1),
            weight=plan.weight,
            rotation_slots=plan.rotation_slots,
            first_visit_slots=plan.first_visit_slots,
            exploit_slots=plan.exploit_slots,
            pinned_slots=plan.pinned_slots,
            largest_group=plan.largest,
            dwell_seconds=self._settings.venues[self._venue].rotation_period_secs,
            turn_seconds=plan.turn_seconds,
        )
        target = 60.0 * rotation.revisit_target_minutes
        if target and plan.bound_seconds is not None and plan.bound_seconds > target:
            log.warning(
                "schedule_infeasible",
                venue=venue,
                asked_seconds=target,
                smallest_feasible_seconds=round(plan.bound_seconds, 1),
                next_step="raise max_subs or the churn limit, or shorten rotation_period_secs",
            )
        if plan.aside:
            log.warning(
                "groups_set_aside",
                venue=venue,
                groups=len(plan.aside),
                first=dict(sorted(plan.aside.items())[:10]),
            )
        if scheduler.unaffordable:
            log.warning(
                "groups_too_large_for_churn_limit",
                venue=venue,
                groups=scheduler.unaffordable[:10],
                next_step="they are subscribed at the next start",
            )


def _left_of(change: Change, kept: frozenset[str]) -> tuple[str, ...]:
    """Assets that are unsubscribed because their group is not among those kept."""
    gone = isinstance(change, Unsubscribe) and change.group_id not in kept
    return change.assets if gone else ()
