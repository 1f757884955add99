"""socket to Parquet: everything the collector does with a frame, against receiving and decoding it.

Frames come over a loopback WebSocket from another process. The limit receives and decodes them with
the same libraries and does nothing else. Ours is the collector as it runs: journal with group
fsync, books, integrity, snapshots on the grid, prints, coverage, Parquet published and listed.

CPU-seconds are those of the receiving process alone, all threads, from the first connection until
everything is published. Bounds: half of the limit; and 8% of one processor for 2,000 messages a
second. What these cost when each comes by itself and wakes the process stands beside it, with what
it costs the bare receiver: of that most is the machine's.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.flood import sending
from benchmarks.harness import Row, Scale, at_least
from benchmarks.polymarket_frames import MESSAGES_PER_SECOND, FrameMaker, Stream

NAME = "socket to Parquet"
BOUND = 0.5
CPU_SHARE = 0.08
_MARKETS = 350
"""Two assets each: as many as one connection may have."""


def measure(scale: Scale) -> Iterator[Row]:
    """Rows: messages per CPU-second as a ratio; the share of a processor at 2,000 a second."""
    stream = FrameMaker(markets=_MARKETS).make(scale.pick(40_000, 200_000))
    ours: list[float] = []
    limit: list[float] = []
    for number in range(scale.pick(3, 5)):
        turns = [("limit", limit), ("ours", ours)]
        for name, seconds in turns if number % 2 else reversed(turns):
            seconds.append(_run(name, stream, None))
    ratio = median(bare / full for bare, full in zip(limit, ours, strict=True))
    messages = len(stream.frames)
    yield Row(
        workload=NAME,
        unit="msg/CPU-s",
        limit=messages / median(limit),
        ours=messages / median(ours),
        note="limit: received and decoded alone; journal, books and files included in ours",
        **at_least(ratio, BOUND, "limit"),  # type: ignore[arg-type]
    )
    share = MESSAGES_PER_SECOND / (messages / median(ours))
    yield Row(
        workload="a processor at 2,000 messages/s",
        unit="share",
        limit=MESSAGES_PER_SECOND / (messages / median(limit)),
        ours=share,
        ratio=share,
        bound=f"<= {CPU_SHARE:.0%} of one processor",
        holds=share <= CPU_SHARE,
        note="of the messages per CPU-second above, as the reference has it",
    )
    seconds = scale.pick(10, 30)
    paced = FrameMaker(markets=_MARKETS).make(seconds * MESSAGES_PER_SECOND)
    bare, full = (
        _run(name, paced, float(MESSAGES_PER_SECOND)) / seconds for name in ("limit", "ours")
    )
    yield Row(
        workload="a processor at 2,000 messages/s, each as it comes",
        unit="share",
        limit=bare,
        ours=full,
        ratio=bare / full,
        note=f"{seconds} s; every message wakes the process, whoever receives it; for information",
    )


def _run(name: str, stream: Stream, rate: float | None) -> float:
    """CPU-seconds of a process that takes the stream."""
    with (
        TemporaryDirectory() as directory,
        sending(stream.opening, [frame for frame, _ in stream.frames], rate) as port,
    ):
        work = {
            "name": name,
            "port": port,
            "frames": len(stream.opening) + len(stream.frames),
            "directory": directory,
            "assets": [
                [terms.market_id, terms.asset_id, terms.mirror_id, terms.tick]
                for terms in stream.assets
                if terms.primary
            ],
        }
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.capturing"],
            input=json.dumps(work),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-2_000:])
    return float(done.stdout.splitlines()[-1])


def _child() -> None:
    # imported here: only one of the two is needed, and none of it by the parent
    from benchmarks.capturing_child import collect, receive

    work = json.load(sys.stdin)
    run = collect if work["name"] == "ours" else receive
    print(asyncio.run(run(work, Path(work["directory"]))))


if __name__ == "__main__":
    _child()
