"""A collector in a process of its own, on a simulated venue that the test runs."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Sequence
from pathlib import Path

from surveillance_core.lake.publish import Lake
from surveillance_core.venues.simulated.servers import SimulatedPolymarket
from tests.collector.live import port_of, publish_world

END_PATIENCE_S = 60.0


class Collecting:
    """A collector's process, and its lake."""

    def __init__(
        self,
        root: Path,
        venue: SimulatedPolymarket,
        *,
        cadence_ms: int = 100,
        storage: str = "bucket_minutes = 0.05\nflush_seconds = 0.0\n",
        more: str = "",
        under: Sequence[str] = (),
    ) -> None:
        root.mkdir()
        self._under = under
        """A command that runs the one after it in its own place."""
        self.lake = Lake(str(root / "lake"), "simulated")
        publish_world(self.lake, venue)
        self.config = root / "collector.toml"
        self.config.write_text(
            f'data_dir = "{root / "lake"}"\n'
            f"[venues.polymarket]\nenabled = true\nsnapshot_interval_ms_hot = {cadence_ms}\n"
            f"snapshot_interval_ms_warm = {cadence_ms}\n"
            f"[storage]\n{storage}"
            "[health]\nport = 0\n"
            f"[mock]\nenabled = true\nhttp_port = {port_of(venue.http_url)}\n"
            f"ws_port = {port_of(venue.ws_url)}\n{more}"
        )
        self.signalled_us = 0

    async def start(self) -> Process:
        self.process = await asyncio.create_subprocess_exec(
            *self._under, sys.executable, "-m", "surveillance_collector.cli", "run", "--json",
            "--config", str(self.config),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return self.process

    def tell(self, number: signal.Signals) -> None:
        self.signalled_us = self.signalled_us or time.time_ns() // 1_000
        self.process.send_signal(number)

    async def end(self) -> tuple[float, bytes, str]:
        """Seconds until it is gone, what it printed, and its log."""
        began = time.monotonic()
        try:
            out, log = await asyncio.wait_for(self.process.communicate(), END_PATIENCE_S)
        except TimeoutError:
            self.process.kill()
            out, log = await self.process.communicate()
        return time.monotonic() - began, out, log.decode()
