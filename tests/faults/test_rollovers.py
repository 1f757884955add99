"""TIM-02: the hour, midnight, the month, the year and the leap day pass while it collects."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import pytest

from surveillance_collector.service import VenueCollector
from surveillance_core.lake.manifest import manifest_days, read_manifest
from surveillance_core.lake.publish import Lake, publish_universe
from surveillance_core.lake.schemas import SNAPSHOTS, TRADES
from surveillance_core.settings import Settings, load_settings
from tests.collector.live import busy_venue, port_of, until, world_of
from tests.collector.worlds import VENUE, lake_rows, listed_market, universe_of
from tests.faults.children import PATIENCE_S, quick_processes
from tests.faults.driven import roll_over

from .matrix import Tier, Trial

ZONES = ("UTC", "America/New_York", "Europe/London", "Asia/Kolkata")
"""Of the process's environment, to which nothing may pay heed."""
LIVE = {Tier.QUICK: 1, Tier.FULL: 4}

_EDGES = (
    "2028-02-29 00:00", "2028-03-01 00:00", "2026-12-31 23:00", "2027-01-01 00:00",
    "2027-03-01 00:00", "2026-10-01 00:00",
    # where the zones above set their clocks
    "2026-10-25 01:00", "2026-11-01 06:00", "2027-03-14 07:00", "2027-03-28 01:00",
)  # fmt: skip


def _edges(chance: random.Random) -> Iterator[datetime]:
    """The moments that are special, then any hour and any midnight, and so on."""
    special = cycle(datetime.fromisoformat(f"{text}:00+00:00") for text in _EDGES)
    first = datetime(2026, 9, 1, tzinfo=UTC)
    while True:
        yield next(special)
        yield first + timedelta(hours=chance.randrange(24 * 900))
        yield first + timedelta(days=chance.randrange(900))


@pytest.mark.process
@pytest.mark.fault("TIM-02")
def test_rows_are_conserved_across_each_edge_in_every_zone(trial: Trial, tmp_path: Path) -> None:
    """In processes that have the zone in their environment."""
    edges = list(islice(_edges(random.Random(trial.seed)), trial.quantity // 2))
    context = quick_processes()
    for number, zone in enumerate(ZONES):
        ours, theirs = context.Pipe()
        share = edges[number :: len(ZONES)]
        roots = [str(tmp_path / f"{number}-{place}") for place in range(len(share))]
        child = context.Process(target=roll_over, args=(zone, share, roots, theirs))
        child.start()
        theirs.close()
        for edge in share:
            assert ours.poll(PATIENCE_S), f"nothing of {edge} in {zone}"
            missing, made, failure = ours.recv()
            with trial.case(f"{edge:%Y-%m-%d %H:%M} in {zone}"):
                assert not failure, failure
                trial.rows_lost += missing
                assert not missing, f"{missing} of {made} rows are in no file"
        child.join(PATIENCE_S)
    trial.notes.append(f"with TZ={', '.join(ZONES)}")


def _settings(root: Path, **mock: int) -> Settings:
    config = root / "surveillance.toml"
    config.write_text("")
    polymarket = {
        "enabled": True,
        "snapshot_interval_ms_hot": 100,
        "snapshot_interval_ms_warm": 200,
    }
    overrides = {
        "data_dir": str(root / "lake"),
        "venues": {"polymarket": polymarket},
        "storage": {"bucket_minutes": 0.05, "flush_seconds": 0.0, "heartbeat_seconds": 1.0},
        "universe": {"poll_seconds": 0.1},
        "mock": {"enabled": True, **mock},
    }
    return load_settings(config, overrides).settings


def _ns(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000


@pytest.mark.fault("TIM-02")
async def test_the_next_days_universe_is_adopted_and_not_before_its_day(
    trial: Trial, tmp_path: Path
) -> None:
    edges = islice(_edges(random.Random(trial.seed)), trial.quantity)
    for number in range(trial.quantity - trial.quantity // 2 - LIVE[trial.tier]):
        edge = next(edges).replace(hour=0)
        root = tmp_path / f"{number}"
        root.mkdir()
        lake = Lake(str(root / "lake"), "simulated")
        after = edge.date()
        before = after - timedelta(days=1)
        markets = [listed_market(f"0x{n}", volume=1.0) for n in range(4)]
        publish_universe(lake, VENUE, before, markets[:3], writer="universe")
        publish_universe(lake, VENUE, after, markets[1:], writer="universe")
        clock = [0]
        wall_ns = partial(clock.__getitem__, 0)
        collector = VenueCollector(_settings(root), lake, VENUE, wall_ns=wall_ns)
        adopted: list[date | None] = []
        for clock[0] in (_ns(edge) - 1_000_000, _ns(edge)):
            collector._adopt_universe()
            adopted.append(collector.status().universe)
        with trial.case(f"{edge:%Y-%m-%d}"):
            assert adopted == [before, after], f"adopted are {adopted}"
        shutil.rmtree(root)


@pytest.mark.fault("TIM-02")
async def test_a_running_collector_passes_midnight(trial: Trial, tmp_path: Path) -> None:
    for number in range(LIVE[trial.tier]):
        midnight = datetime.fromisoformat(f"{_EDGES[number]}:00+00:00").replace(hour=0)
        root = tmp_path / f"live-{number}"
        root.mkdir()
        lake = Lake(str(root / "lake"), "simulated")
        counts = await _collected_across(midnight, root, lake)
        days = [midnight.date() - timedelta(days=1), midnight.date()]
        with trial.case(f"a running collector, {midnight:%Y-%m-%d}"):
            assert manifest_days(lake.store, VENUE) == days
            for day in days:
                _assert_files_of(lake, day)
            for table, name in ((SNAPSHOTS, "snapshots"), (TRADES, "trades")):
                missing = counts[name] - len(lake_rows(lake, table))
                trial.rows_lost += abs(missing)
                assert not missing, f"{missing} {name} are in no file"


async def _collected_across(midnight: datetime, root: Path, lake: Lake) -> dict[str, int]:
    """Collect from seconds before it until the next day's universe has brought rows."""
    off_ns = _ns(midnight) - time.time_ns() - 3_000_000_000
    async with busy_venue(markets=8) as venue:
        markets = universe_of(world_of(venue))
        days = [midnight.date() - timedelta(days=1), midnight.date()]
        publish_universe(lake, VENUE, days[0], markets[:-2], writer="universe")
        publish_universe(lake, VENUE, days[1], markets[2:], writer="universe")
        ports = {"http_port": port_of(venue.http_url), "ws_port": port_of(venue.ws_url)}
        settings = _settings(root, **ports)
        collector = VenueCollector(settings, lake, VENUE, wall_ns=lambda: time.time_ns() + off_ns)
        task = asyncio.create_task(collector.run())
        tokens = {o.outcome_id for market in markets[2:] for o in market.outcomes}
        await until(lambda: venue.sockets.subscribed == tokens, "the next day's markets")
        made = collector.report().counts["snapshots"]
        await until(lambda: collector.report().counts["snapshots"] > made + 50, "rows of it")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return collector.report().counts


def _assert_files_of(lake: Lake, day: date) -> None:
    files = read_manifest(lake.store, VENUE, day).files(SNAPSHOTS.name)
    assert files, f"nothing of {day}"
    for entry in files:
        assert entry.first_us is not None
        assert entry.last_us is not None
        first = datetime.fromtimestamp(entry.first_us / 1e6, UTC).date()
        last = datetime.fromtimestamp(entry.last_us / 1e6, UTC).date()
        assert (first, last) == (day, day), f"{entry.path} is of another day too"
