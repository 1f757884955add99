"""SOAK-1's day as it happens: a collector after the other, faults as planned, all written down."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from surveillance_assets.demo import variables
from surveillance_core.lake.publish import Lake, publish_universe
from tests.collector.live import until
from tests.collector.worlds import VENUE

from .gate import Way
from .mounted import filled
from .soak import SPEED, Fault, Kind, Plan, Surprise
from .soak_venue import SPOILED, SoakVenue

SYNC_MS: Final = 200
HEARTBEAT_S: Final = 300.0
"""Of the venue's time, as are the cadences."""
HOT_MS, WARM_MS = 10_000, 20_000
BUCKET_MINUTES: Final = 5.0
PATIENCE_S: Final = 30.0
CALM_S: Final = 1.0
"""From recovery to the next fault, so that each fault's traces are its own."""
UNIVERSE_S: Final = 10.0
PAGE = os.sysconf("SC_PAGESIZE")

SETTINGS: Final[dict[str, object]] = {
    "venues": {
        "polymarket": {
            "enabled": True,
            # a fifth of what is listed, so that groups take turns
            "max_subs": 200,
            "assets_per_connection": 100,
            "hot_count": 10,
            "rotation_period_secs": 2,
            "subscription_churn_limit_per_minute": 3_000,
            "snapshot_interval_ms_hot": HOT_MS,
            "snapshot_interval_ms_warm": WARM_MS,
            "stall_seconds": 1.0,
            "stall_least_seconds": 1.0,
            "half_open_seconds": 1.5,
            "first_book_seconds": 1.0,
            "reconnect_max_seconds": 0.3,
            # two connections, each renewed about seventy times
            "connection_minutes": 0.08,
        }
    },
    "storage": {
        "bucket_minutes": BUCKET_MINUTES,
        "flush_seconds": 0.0,
        "heartbeat_seconds": HEARTBEAT_S,
    },
    "journal": {"sync_ms": SYNC_MS, "reserve_mb": 4},
    "universe": {"poll_seconds": 0.2},
    "health": {"port": 0, "least_free_gib": 0.0},
}


@dataclass
class Injected:
    """A fault as it was done; times are the venue's, nanoseconds."""

    fault: Fault
    start_ns: int
    end_ns: int = 0
    """When it was over: data is sent again, the way is open, the process has been started."""
    recovered_ns: int = 0
    """When every connection was there again."""
    followed: set[str] = field(default_factory=set[str])
    """Tokens subscribed as it began."""
    spoiled: dict[str, int] = field(default_factory=dict[str, int])


class Sample(NamedTuple):
    """A collector's process at a moment."""

    at_ns: int
    age_s: float
    """Of the process, on the wall."""
    rss: int
    descriptors: int


@dataclass
class Day:
    """The collector of a plan, and what was noted while it ran."""

    root: Path
    plan: Plan
    venue: SoakVenue
    disk: Path | None = None
    """A small file system for the lake and the journal, where there is one; then it can be full."""
    injected: list[Injected] = field(default_factory=list[Injected])
    samples: list[Sample] = field(default_factory=list[Sample])
    universes: dict[date, set[str]] = field(default_factory=dict[date, set[str]])
    """Markets that any universe of a day had."""
    ended_ns: int = 0

    def __post_init__(self) -> None:
        self.lake = Lake(str((self.disk or self.root) / "lake"), "simulated")
        self.log = self.root / "collector.log"
        self.config = self.root / "empty.toml"
        self.config.touch()
        mock = self.venue.mock.model_dump(exclude_defaults=True)
        tree = {**SETTINGS, "data_dir": self.lake.store.root, "mock": mock}
        self.environment = os.environ | dict(variables(tree))
        self._started = 0.0
        self._publishing = asyncio.Lock()

    # ── the collector ────────────────────────────────────────────────────────────────────────

    async def _start(self) -> None:
        with self.log.open("ab") as log:
            self.process: Process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "surveillance_collector.cli", "run",
                "--config", str(self.config),
                env=self.environment, stdin=DEVNULL, stdout=DEVNULL, stderr=log,
            )  # fmt: skip
        self._started = time.monotonic()

    async def _connected(self) -> None:
        """Wait for both connections and for books on them."""
        sockets = self.venue.sockets

        def told() -> bool:
            return sockets.connections >= 2 and len(sockets.subscribed) > 150

        await until(told, "two connections with what they are to follow", PATIENCE_S)

    async def _stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(self.process.wait(), PATIENCE_S)
        assert code == 0, f"exit code {code}"

    # ── beside it ────────────────────────────────────────────────────────────────────────────

    def publish(self) -> None:
        """Publish what is listed, of the day that it is for the venue."""
        day = datetime.fromtimestamp(self.venue.now_ns() / 1e9, UTC).date()
        markets = self.venue.universe()
        self.universes.setdefault(day, set()).update(market.market_id for market in markets)
        publish_universe(self.lake, VENUE, day, markets, writer="soak")

    async def _list(self) -> None:
        """Publish a universe now and then, and each day's as it begins."""
        while True:
            before = self.venue.now_ns() // 86_400_000_000_000
            due = time.monotonic() + UNIVERSE_S
            while time.monotonic() < due:
                await asyncio.sleep(0.05)
                if self.venue.now_ns() // 86_400_000_000_000 != before:
                    break
            async with self._publishing:
                self.publish()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            with suppress(OSError):
                self.samples.append(self._sample())

    def _sample(self) -> Sample:
        home = Path(f"/proc/{self.process.pid}")
        pages = int((home / "statm").read_text().split()[1])
        descriptors = len(list((home / "fd").iterdir()))
        age_s = time.monotonic() - self._started
        return Sample(self.venue.now_ns(), age_s, pages * PAGE, descriptors)

    # ── the day ──────────────────────────────────────────────────────────────────────────────

    async def live(self) -> None:
        """From the first start to the last stop."""
        self.publish()
        begun_ns = self.venue.now_ns()
        await self._start()
        await self._connected()
        beside = [asyncio.create_task(self._list()), asyncio.create_task(self._watch())]
        try:
            for fault in self.plan.faults:
                due_ns = begun_ns + int(fault.at_s * 1e9)
                await asyncio.sleep(max(0.0, (due_ns - self.venue.now_ns()) / SPEED / 1e9))
                if fault.kind is not Kind.DISK or self.disk is not None:
                    await self._inject(fault)
                    await asyncio.sleep(CALM_S)
                assert self.process.returncode is None, "it has ended by itself"
            until_ns = int(self.plan.start.timestamp() * 1e9 + self.plan.hours * 3.6e12)
            await asyncio.sleep(max(0.0, (until_ns - self.venue.now_ns()) / SPEED / 1e9))
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            if self.process.returncode is None:
                self.ended_ns = self.venue.now_ns()
                await self._stop()

    async def _inject(self, fault: Fault) -> None:
        venue = self.venue
        done = Injected(fault, venue.now_ns(), followed=set(venue.sockets.subscribed))
        self.injected.append(done)
        made = venue.sockets.connections_made
        match fault.kind:
            case Kind.STALL:
                venue.venues.faults[VENUE].stall(fault.wall_s)
                venue.at_once()
                await until(lambda: not venue.sockets.stalled, "the end of the stall")
            case Kind.DROP:
                venue.venues.faults[VENUE].drop_connections(int(fault.detail))
                venue.at_once()
                await until(lambda: venue.sockets.connections_made >= made + 2, "new connections")
            case Kind.REFUSED | Kind.HOLE:
                venue.turn(Way.REFUSED if fault.kind is Kind.REFUSED else Way.HOLE)
                await asyncio.sleep(fault.wall_s)
                venue.turn(Way.OPEN)
            case Kind.KILL:
                self.process.kill()
                done.start_ns = venue.now_ns()
                await self.process.wait()
                await asyncio.sleep(fault.wall_s)
                await self._start()
            case Kind.DISK:
                await self._fill(fault.wall_s)
            case Kind.SURPRISE:
                await self._surprise(Surprise(fault.detail), fault.wall_s)
                done.spoiled = dict(venue.spelling.spoiled)
        done.end_ns = venue.now_ns()
        if fault.kind is not Kind.SURPRISE:
            await self._connected()
        done.recovered_ns = venue.now_ns()

    async def _fill(self, seconds: float) -> None:
        """Leave no room; a universe is published before or after that."""
        assert self.disk is not None
        async with self._publishing:
            full = filled(self.disk)
            await asyncio.to_thread(full.__enter__)
            try:
                await asyncio.sleep(seconds)
            finally:
                full.__exit__(None, None, None)

    async def _surprise(self, surprise: Surprise, seconds: float) -> None:
        spelling = self.venue.spelling
        spelling.spoiled.clear()
        if surprise is Surprise.UNKNOWN_TYPE:
            token = min(self.venue.sockets.subscribed)
            told = {"event_type": "depth_heat", "asset_id": token, "levels": [["0.5", 1]]}
            self.venue.venues.faults[VENUE].inject(msgspec.json.encode(told).decode())
            self.venue.at_once()
            return
        spelling.surprise, spelling.left = surprise, SPOILED
        if surprise is Surprise.NEW_FIELD:
            spelling.left = 1
            await asyncio.sleep(seconds)
            spelling.left = 0
        else:
            await until(lambda: not spelling.left, "frames that were spoiled")
        spelling.surprise = None


def faults_in_text(day: Day) -> list[dict[str, Any]]:
    """The log of what was injected, as it is kept beside the lake."""
    return [
        {
            "kind": done.fault.kind,
            "detail": done.fault.detail,
            "start": datetime.fromtimestamp(done.start_ns / 1e9, UTC).isoformat(),
            "end": datetime.fromtimestamp(done.end_ns / 1e9, UTC).isoformat(),
            "tokens": len(done.followed),
        }
        for done in day.injected
    ]
