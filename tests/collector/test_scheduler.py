"""Who gets slots, and for how long nobody is forgotten."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surveillance_collector.churn import STEP_SECONDS, ChurnShares
from surveillance_collector.holdings import Subscribe, Unsubscribe, Use
from surveillance_collector.scheduler import Scheduler
from surveillance_collector.slots import WatchedGroup, plan_slots

from .rotations import Rotation, group_of, limits_of, restart_cost

SIZES = (1, 2, 2, 2, 2, 4, 6, 8)


def _universe(count: int, slots: int = 2) -> list[WatchedGroup]:
    return [group_of(f"g{number:03d}", slots) for number in range(count)]


def _held(rotation: Rotation, use: Use) -> set[str]:
    return {g for g, standing in rotation.scheduler.standing.items() if standing.use is use}


def _scores(groups: Mapping[str, WatchedGroup], chance: random.Random) -> dict[str, float]:
    """Scores that change their mind and love the large ones."""
    return {
        g: chance.random() * 10.0 ** chance.randint(-3, 9) for g in groups if chance.random() < 0.9
    }


# ── promises ─────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    groups=st.integers(1, 40),
    slots=st.integers(4, 30),
    churn=st.integers(20, 900),
    dwell=st.integers(1, 20),
    exploit=st.sampled_from((0.0, 0.3, 0.5, 0.8)),
    step=st.sampled_from((1.0, 1.5, 2.0)),
)
def test_no_gap_beyond_the_bound_no_churn_beyond_the_limit_and_no_group_split(
    seed: int,
    groups: int,
    slots: int,
    churn: int,
    dwell: int,
    exploit: float,
    step: float,
) -> None:
    """Random universes, adversarial scores, restarts in the middle, listing storms."""
    chance = random.Random(seed)
    limits = limits_of(slots, dwell=dwell, churn=churn, exploit=exploit)
    rotation = Rotation(limits)
    listed = 0

    def listing(count: int) -> list[WatchedGroup]:
        nonlocal listed
        listed += count
        return [group_of(f"g{listed - n:05d}", chance.choice(SIZES)) for n in range(count)]

    rotation.adopt(listing(groups))
    for _ in range(int(900 / step)):
        rotation.step(step)
        event = chance.random()
        if event < 0.005:
            rotation.restart(chance.uniform(1.0, 60.0))
        elif event < 0.015:
            # a storm: some leave, as many come, some of the others gain or lose a member
            kept = [
                group_of(g.group_id, max(1, g.slots + chance.choice((0, 0, 0, -1, 1))))
                for g in rotation.universe.values()
                if chance.random() < 0.7
            ]
            rotation.adopt([*kept, *listing(groups - len(kept))], rotation.scheduler._index)
        elif event < 0.2:
            rotation.scheduler.order(_scores(rotation.universe, chance))
    plan = rotation.scheduler.plan
    assert len(plan.steady) + len(plan.rotating) + len(plan.aside) == len(rotation.universe)


@pytest.mark.parametrize("seed", range(3))
def test_a_large_universe_keeps_its_bound(seed: int) -> None:
    """The note's distribution of group sizes, with scores that want everything at once."""
    chance = random.Random(seed)
    sizes = [chance.choices((2, 4, 6, 10, 20, 60), (75, 8, 6, 6, 3, 2))[0] for _ in range(200)]
    rotation = Rotation(limits_of(300, dwell=20.0, churn=1_200.0, exploit=0.4))
    rotation.adopt(group_of(f"g{n:04d}", size) for n, size in enumerate(sizes))
    plan = rotation.scheduler.plan
    assert plan.bound_seconds is not None
    while rotation.now < 1_000.0 + 2.0 * plan.bound_seconds:
        rotation.step()
        if int(rotation.now) % 30 == 0:
            rotation.scheduler.order(_scores(rotation.universe, chance))
    assert set(rotation.visited) == set(rotation.universe)
    assert 0.1 < rotation.worst <= 1.0
    assert rotation.scheduler.longest_gap <= plan.bound_seconds
    assert rotation.worst_minute <= 1_200


def test_the_bound_is_the_formula_of_the_note() -> None:
    groups = {group.group_id: group for group in _universe(100)}
    plan = plan_slots(groups, (), limits_of(60, dwell=10.0, churn=600.0))
    rate = ChurnShares.of_limit(600.0).rotation.per_second
    assert (plan.weight, plan.largest) == (200, 2)
    assert (plan.rotation_slots, plan.exploit_slots, plan.first_visit_slots) == (30, 30, 3)
    turn = max(10.0 + 2 * STEP_SECONDS + (2 + 3) / rate, 2 * 30 / rate)
    assert plan.turn_seconds == turn
    assert plan.bound_seconds == pytest.approx(200 * turn / (30 - 3 - 2 + 1) + 2 * turn)


# ── when everything fits ─────────────────────────────────────────────────────────────────────


def test_what_fits_is_subscribed_at_once_and_stays() -> None:
    rotation = Rotation(limits_of(20))
    rotation.adopt(_universe(10))
    rotation.step()
    assert len(rotation.held) == 20
    assert not rotation.scheduler.plan.rotates
    before = dict(rotation.admitted)
    rotation.run(300)
    assert rotation.admitted == before
    assert rotation.worst_minute == 0


def test_the_most_valuable_group_comes_first() -> None:
    scheduler = Scheduler(limits_of(20), {}, 0.0)
    scheduler.adopt(_universe(3), (), {"g001": 5.0, "g002": 1.0})
    changes = scheduler.step(1.0)
    assert [change.group_id for change in changes] == ["g001", "g002", "g000"]
    assert all(isinstance(change, Subscribe) and change.steady for change in changes)


def test_an_empty_universe_changes_nothing() -> None:
    rotation = Rotation(limits_of(20))
    rotation.adopt(_universe(10))
    rotation.step()
    assert not rotation.adopt([])
    assert not rotation.adopt([WatchedGroup("empty", ())])
    rotation.run(100)
    assert len(rotation.held) == 20


# ── a new universe ───────────────────────────────────────────────────────────────────────────


def test_a_newer_universe_touches_only_what_differs() -> None:
    scheduler = Scheduler(limits_of(40, churn=600.0), {}, 0.0)
    scheduler.adopt(_universe(10), (), {})
    scheduler.step(1.0)
    scheduler.adopt([*_universe(12)[3:]], (), {})
    changes = scheduler.step(30.0)
    gone = {c.group_id for c in changes if isinstance(c, Unsubscribe)}
    come = {c.group_id for c in changes if isinstance(c, Subscribe)}
    assert (gone, come) == ({"g000", "g001", "g002"}, {"g010", "g011"})


def test_members_that_stay_are_not_touched_when_others_join_and_leave() -> None:
    scheduler = Scheduler(limits_of(40), {}, 0.0)
    scheduler.adopt([WatchedGroup("g", ("a", "b", "c"))], (), {})
    scheduler.step(1.0)
    scheduler.adopt([WatchedGroup("g", ("b", "c", "d"))], (), {})
    changes = scheduler.step(30.0)
    assert changes == [Unsubscribe("g", ("a",)), Subscribe("g", ("d",), steady=True)]
    assert scheduler.standing["g"].group.assets == ("b", "c", "d")


def test_a_group_under_a_new_name_stands_on() -> None:
    scheduler = Scheduler(limits_of(40), {}, 0.0)
    scheduler.adopt([WatchedGroup("old", ("a", "b", "c"))], (), {})
    scheduler.step(1.0)
    scheduler.adopt([WatchedGroup("new", ("a", "b")), WatchedGroup("c", ("c",))], (), {})
    assert scheduler.step(30.0) == [Unsubscribe("new", ("c",)), Subscribe("c", ("c",), steady=True)]
    assert set(scheduler.standing) == {"new", "c"}


def test_groups_that_merge_are_one_group_in_the_end() -> None:
    rotation = Rotation(limits_of(40))
    rotation.adopt([WatchedGroup("x", ("a", "b")), WatchedGroup("y", ("c", "d"))])
    rotation.step()
    rotation.adopt([WatchedGroup("x", ("a", "b", "c", "d"))])
    rotation.run(30)
    assert dict.fromkeys("abcd", "x") == rotation.held


def test_a_universe_that_grows_beyond_the_slots_starts_the_rotation_without_a_break() -> None:
    rotation = Rotation(limits_of(20, dwell=5.0))
    rotation.adopt(_universe(10))
    rotation.step()
    rotation.adopt(_universe(30))
    assert rotation.scheduler.plan.rotates
    assert len(rotation.scheduler.standing) == 10, "what stands goes on standing"
    rotation.run(400)
    assert set(rotation.visited) == set(rotation.universe)
    rotation.adopt(_universe(9))
    rotation.run(60)
    assert len(rotation.held) == 18
    assert not rotation.scheduler.plan.rotates


def test_newly_listed_groups_have_their_first_visit_ahead_of_their_turn() -> None:
    rotation = Rotation(limits_of(40, dwell=20.0, churn=1_200.0))
    rotation.adopt(_universe(200))
    rotation.run(30)
    rotation.adopt([*_universe(200), group_of("new", 2)])
    rotation.run(20 + 10)
    bound = rotation.scheduler.plan.bound_seconds
    assert bound is not None
    assert bound > 200
    assert rotation.visited["new"] == 1


# ── slots ────────────────────────────────────────────────────────────────────────────────────


def test_pinned_groups_stay_and_the_exploit_slots_follow_the_index() -> None:
    rotation = Rotation(limits_of(20, dwell=5.0))
    rotation.adopt(_universe(40), {"g011": 3.0, "g012": 2.0}, pinned=["g010", "absent"])
    rotation.step()
    assert _held(rotation, Use.STEADY) == {"g010"}
    assert {"g011", "g012"} <= _held(rotation, Use.EXPLOIT)
    rotation.run(200)
    assert {"g011", "g012"} <= _held(rotation, Use.EXPLOIT)
    assert rotation.visited["g010"] == rotation.visited["g011"] == 1


def test_an_exploit_group_gives_way_only_to_a_clearly_better_one_after_its_dwell() -> None:
    rotation = Rotation(limits_of(8, dwell=30.0, exploit=0.25))
    rotation.adopt(_universe(20), {"g000": 1.0})
    rotation.step()
    assert _held(rotation, Use.EXPLOIT) == {"g000"}
    rotation.scheduler.order({"g000": 1.0, "g019": 1.19})
    rotation.run(60)
    assert _held(rotation, Use.EXPLOIT) == {"g000"}
    rotation.scheduler.order({"g000": 1.0, "g019": 1.21})
    rotation.run(60)
    assert _held(rotation, Use.EXPLOIT) == {"g019"}
    since = rotation.admitted["g019"]
    rotation.scheduler.order({"g000": 9.0, "g019": 1.21})
    rotation.run(since + 29 - rotation.now)
    assert _held(rotation, Use.EXPLOIT) == {"g019"}


def test_groups_too_large_to_rotate_are_named_with_the_reason() -> None:
    groups = [*_universe(30), group_of("giant", 50), group_of("large", 19)]
    rotation = Rotation(limits_of(20, churn=60.0))
    rotation.adopt(groups)
    assert dict(rotation.scheduler.plan.aside) == {
        "giant": "50 slots where 20 rotate",
        "large": "19 slots where the churn limit pays for 17 at once",
    }
    rotation.run(600)
    assert not {"giant", "large"} & set(rotation.visited)


def test_where_the_churn_limit_allows_no_rotation_the_slots_are_filled_once() -> None:
    rotation = Rotation(limits_of(20, churn=4.0))
    rotation.adopt(_universe(30), {"g029": 1.0})
    assert not rotation.scheduler.plan.rotates
    rotation.step()
    assert len(rotation.held) == 20
    assert "g029" in rotation.admitted
    rotation.adopt(_universe(30))
    rotation.run(120)
    assert len(rotation.held) == 20


def test_scores_that_want_something_else_all_the_time_slow_nobody_down() -> None:
    worst: list[float] = []
    for hostile in (False, True):
        chance = random.Random(1)
        rotation = Rotation(limits_of(60, dwell=2.0, churn=60.0))
        rotation.adopt(_universe(150))
        for _ in range(2_000):
            rotation.step()
            if hostile:
                rotation.scheduler.order(_scores(rotation.universe, chance))
        worst.append(rotation.worst)
    calm, harassed = worst
    assert harassed <= 1.1 * calm


def test_a_storm_of_listings_without_end_overtakes_nobody() -> None:
    rotation = Rotation(limits_of(40, dwell=10.0, churn=1_200.0, exploit=0.0))
    old = _universe(60)
    rotation.adopt(old)
    listed = 0
    for _ in range(200):
        listed += 40
        rotation.adopt([*old, *(group_of(f"n{listed - n:05d}", 2) for n in range(40))])
        rotation.run(5)
    assert set(rotation.visited) >= {group.group_id for group in old}
    fewest = min(rotation.visited[group.group_id] for group in old)
    bound = rotation.scheduler.plan.bound_seconds
    assert bound is not None
    assert fewest >= 1_000 // bound
    assert sum(rotation.visited[g] > 0 for g in rotation.visited if g.startswith("n")) > 100


# ── visits ───────────────────────────────────────────────────────────────────────────────────


def test_a_visit_without_fresh_books_is_not_complete_and_stops_nobody() -> None:
    rotation = Rotation(limits_of(8, dwell=5.0), lazy=frozenset({"g003"}))
    rotation.adopt(_universe(20))
    rotation.run(600)
    assert rotation.visited["g003"] > 1
    assert rotation.scheduler.missed > 0
    visits = rotation.scheduler.visits()
    assert visits["g003"].completed is None
    assert all(v.completed is not None for g, v in visits.items() if g != "g003")


def test_a_restart_goes_on_where_the_rotation_was() -> None:
    rotation = Rotation(limits_of(8, dwell=10.0, exploit=0.0))
    rotation.adopt(_universe(40))
    rotation.run(60)
    completed = set(rotation.scheduler.visits())
    assert 8 < len(completed) < 36
    rotation.restart()
    rotation.step()
    assert len(rotation.admitted) == 4
    assert not set(rotation.admitted) & completed, "only interrupted visits are repeated"
    rotation.run(200)
    assert set(rotation.visited) == set(rotation.universe)
    assert restart_cost(rotation.scheduler.plan) > 0
