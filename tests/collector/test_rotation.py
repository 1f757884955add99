"""The rotating scheduler in the running collector, against a simulated venue."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from structlog.testing import capture_logs

from surveillance_collector.service import VenueCollector
from surveillance_core.groups import subscription_groups
from surveillance_core.lake.priorities import publish_priorities
from surveillance_core.lake.publish import Lake, publish_universe
from surveillance_core.lake.schemas import COVERAGE
from surveillance_core.markets import Market
from surveillance_core.settings import Settings, load_settings
from surveillance_core.venues.simulated.servers import SimulatedPolymarket

from .conftest import MakeSettings
from .live import busy_venue, collecting, judge, publish, publish_world, trust, until, world_of
from .worlds import VENUE, lake_rows, universe_of


def _rotating(make_settings: MakeSettings, venue: SimulatedPolymarket, **more: object) -> Settings:
    """A third of the slots that the world wants, and visits of a second."""
    return make_settings(
        venue,
        **{
            "max_subs": 40,
            "hot_count": 2,
            "rotation_period_secs": 1,
            "subscription_churn_limit_per_minute": 3_000,
            **more,
        },
    )


def _visited(collector: VenueCollector) -> set[str]:
    """Groups that have had a complete visit."""
    visits = collector._scheduling.scheduler.visits()
    return {group_id for group_id, visit in visits.items() if visit.completed is not None}


def _groups(markets: list[Market]) -> set[str]:
    return {group.group_id for group in subscription_groups(markets)}


async def test_every_market_is_visited_though_there_are_more_than_slots(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue(markets=60) as venue:
        markets = publish_world(lake, venue)
        most = 0
        with capture_logs() as logs:
            async with collecting(_rotating(make_settings, venue), lake) as collector:

                def all_visited() -> bool:
                    nonlocal most
                    most = max(most, len(venue.sockets.subscribed))
                    return _groups(markets) <= _visited(collector)

                await until(all_visited, "a visit of every group", 60.0)
                plan = collector._scheduling.scheduler.plan
        report = collector.report()
    judge(lake, venue, rows=20)
    assert report.reconnects == 0
    assert not report.rejected
    assert 0 < most <= 40 < 2 * len(markets)
    assert plan.rotates
    assert not plan.aside
    (said,) = [entry for entry in logs if entry["event"] == "schedule"]
    assert plan.bound_seconds is not None
    assert said["bound_seconds"] == pytest.approx(plan.bound_seconds, abs=0.1)
    assert (said["weight"], said["rotation_slots"]) == (2 * len(markets), plan.rotation_slots)
    assert said["turn_seconds"] > said["dwell_seconds"] == 1
    covered = {outcome: line for (outcome,), line in trust(lake).group_by("outcome_id")}
    assert set(covered) == {market.primary.outcome_id for market in markets}
    for line in covered.values():
        assert "trusted" in line["state"].to_list(), "a market was subscribed and never seen"
    _no_group_was_split(lake, markets)


def _no_group_was_split(lake: Lake, markets: list[Market]) -> None:
    """Coverage of a group's markets begins and ends together."""
    rows = lake_rows(lake, COVERAGE).with_columns(pl.col("ts_start", "ts_end").dt.epoch("ms"))
    spans: dict[str, list[tuple[int, int]]] = {}
    for (market_id,), line in rows.group_by("market_id"):
        joined: list[tuple[int, int]] = []
        for start, end in sorted(line.select("ts_start", "ts_end").rows()):
            if joined and start <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((start, end))
        spans[str(market_id)] = joined
    for group in subscription_groups(markets):
        first, *others = (spans[market.market_id] for market in group.markets)
        for other in others:
            assert len(other) == len(first)
            for (start, end), (other_start, other_end) in zip(first, other, strict=True):
                assert abs(start - other_start) < 500
                assert abs(end - other_end) < 500


async def test_what_was_visited_is_remembered_by_the_next_run(
    make_settings: MakeSettings, lake: Lake
) -> None:
    async with busy_venue(markets=60) as venue:
        publish_world(lake, venue)
        settings = _rotating(make_settings, venue, rotation_period_secs=2)
        async with collecting(settings, lake) as collector:
            await until(lambda: len(_visited(collector)) >= 2, "visits")
        seen = collector._scheduling.scheduler.visits()
        async with collecting(settings, lake) as again:
            assert again._scheduling.scheduler.visits() == seen
    (state,) = _state_files(lake)
    assert set(json.loads(state.read_bytes())["visits"]) >= set(seen)


def _state_files(lake: Lake) -> list[Path]:
    return list(lake.store.state_dir().glob("visits-*"))


async def test_the_exploit_slots_follow_the_priorities(
    make_settings: MakeSettings, lake: Lake, config: Path
) -> None:
    async with busy_venue(markets=60) as venue:
        markets = publish_world(lake, venue)
        group_ids = sorted(_groups(markets))
        wanted = _rotating(make_settings, venue).model_dump()
        wanted["rotation"]["revisit_target_minutes"] = 0.01
        settings = load_settings(config, wanted).settings

        def exploited(collector: VenueCollector) -> set[str]:
            standing = collector._scheduling.scheduler.standing.values()
            return {s.group.group_id for s in standing if s.use.name == "EXPLOIT"}

        with capture_logs() as logs:
            async with collecting(settings, lake) as collector:
                await until(lambda: exploited(collector), "groups of most trade")
                (worst,) = group_ids[-1:]
                publish_priorities(lake, VENUE, {worst: 1.0}, datetime.now(UTC))
                await until(lambda: worst in exploited(collector), "the group of highest index")
    causes = [e["cause"] for e in logs if e["event"] == "priorities_unused"]
    assert len(causes) == 1
    assert "absent" in causes[0]
    assert [e["groups"] for e in logs if e["event"] == "priorities_read"] == [1]
    (infeasible,) = [e for e in logs if e["event"] == "schedule_infeasible"]
    assert infeasible["smallest_feasible_seconds"] > infeasible["asked_seconds"] == 0.6


async def test_without_rotation_the_most_traded_groups_stay(
    make_settings: MakeSettings, lake: Lake, config: Path
) -> None:
    async with busy_venue(markets=60) as venue:
        publish_world(lake, venue)
        rotating = _rotating(make_settings, venue).model_dump()
        settings = load_settings(config, rotating | {"rotation": {"enabled": False}}).settings
        async with collecting(settings, lake) as collector:
            await until(lambda: collector._engine.books > 0, "books")
            subscribed = set(venue.sockets.subscribed)
            begun = time.monotonic()
            await until(lambda: time.monotonic() > begun + 4.0, "time for visits")
            assert venue.sockets.subscribed == subscribed
    assert not _state_files(lake)


async def test_a_new_day_is_taken_over_at_midnight_without_a_gap(
    make_settings: MakeSettings, lake: Lake
) -> None:
    """Yesterday's universe holds until today's comes; who is in both is not touched."""
    async with busy_venue(markets=8) as venue:
        markets = universe_of(world_of(venue))
        today = datetime.now(UTC).date()
        yesterday = today - timedelta(days=1)
        publish_universe(lake, VENUE, yesterday, markets[:-2], writer="universe")
        async with collecting(make_settings(venue), lake) as collector:
            await until(lambda: collector._engine.books == len(markets) - 2, "yesterday's books")
            publish(lake, markets[2:])
            tokens = {o.outcome_id for market in markets[2:] for o in market.outcomes}
            await until(lambda: venue.sockets.subscribed == tokens, "today's markets")
            await until(lambda: collector._engine.books == len(markets) - 2, "today's books")
        assert collector.report().reconnects == 0
    judge(lake, venue)
    stayed = {market.primary.outcome_id for market in markets[2:-2]}
    for (outcome,), line in trust(lake).group_by("outcome_id"):
        if outcome in stayed:
            rows = line.sort("start_us").rows(named=True)
            assert rows[0]["cause"] == "awaiting_book"
            assert all(a["end_us"] == b["start_us"] for a, b in pairwise(rows))
            assert "resubscribed" not in [row["cause"] for row in rows]
