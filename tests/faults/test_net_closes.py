"""NET-03: each close code, while idle, in a burst and in the middle of a frame."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from surveillance_collector import reconnection
from surveillance_collector.feed import Feed
from surveillance_collector.receive_clock import ReceiveClock
from surveillance_collector.reconnection import REFUSED_MOST_TIMES, REFUSED_TIMES, HandshakeBudget
from surveillance_collector.sampling import Tier as ReadTier
from surveillance_collector.silence import Silence
from surveillance_core.lake.schemas import COVERAGE
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.registry import adapter_of
from tests.collector.live import until
from tests.collector.worlds import VENUE, Emitted, UnjournaledEngine, rows_of, sampled

from .closing_peer import ClosingPeer, Cut, Moment, serving
from .matrix import Tier, Trial

ENDINGS: tuple[int | Cut, ...] = (
    1000, 1001, Cut.RESET, 1008, 1009, 1011, 1012, 1013, Cut.FIN,
)  # fmt: skip
MOST_SECONDS = 0.2
FIRST_SECONDS = 0.02
REFUSED = 1008
CLOSES, REFUSED_CLOSES = 8, 3
"""In a row, so that the back-off grows to its cap."""
SLACK_SECONDS = 2.0
"""What a busy machine may take beyond the wait."""


@dataclass
class Outcome:
    """What came of one way of ending."""

    peer: ClosingPeer
    rows: list[Emitted]
    waits: list[float]
    received: int
    book_is_true: bool
    causes: dict[str, int]

    @property
    def cause(self) -> str:
        """How the ledger is to name it."""
        ending = self.peer.ending
        return "closed_1006" if isinstance(ending, Cut) else f"closed_{ending}"

    def ceiling(self, failures: int) -> float:
        """The longest wait after so many failures."""
        growth = 2.0 ** (failures - 1)
        if self.peer.ending == REFUSED:
            return min(REFUSED_MOST_TIMES, REFUSED_TIMES * growth) * MOST_SECONDS
        return min(MOST_SECONDS, FIRST_SECONDS * growth)


async def _end_again_and_again(name: str, ending: int | Cut, moment: Moment) -> Outcome:
    peer = ClosingPeer(ending, moment, REFUSED_CLOSES if ending == REFUSED else CLOSES)
    engine = UnjournaledEngine(lambda reader: PolymarketChannel(reader), sampled())
    async with serving(peer) as url:
        feed = Feed(
            name,
            url,
            engine,
            ReceiveClock(),
            handshake=lambda wall_ms: {},
            ping=adapter_of(VENUE).ping,
            echo=adapter_of(VENUE).echo,
            silence=Silence(60.0),
            half_open_seconds=30.0,
            reconnect_max_seconds=MOST_SECONDS,
            budget=HandshakeBudget(0.0, 0.0),
        )
        await feed.add([peer.market.terms], ReadTier.HOT)
        task = asyncio.create_task(feed.run())
        try:
            await until(
                lambda: len(peer.attempts) == peer.closes + 1 and engine.books == 1,
                f"{name} resumed",
                30.0,
            )
            (followed,) = engine.assets
            true = followed.state.book == peer.market.book
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    return Outcome(peer, engine.drain().rows, [], engine.frames, true, dict(feed.endings))


def _judge(outcome: Outcome, trial: Trial) -> None:
    peer = outcome.peer
    assert outcome.book_is_true
    assert outcome.causes == {outcome.cause: peer.closes}
    rows = [row for row in rows_of(outcome.rows, COVERAGE) if row["cause"] == outcome.cause]
    # a gap in which a bucket ends goes on in the next row
    ends = {row["ts_end"] for row in rows}
    gaps = [row for row in rows if row["ts_start"] not in ends]
    assert len(gaps) == peer.closes, f"{len(gaps)} of {peer.closes} ends in the ledger"
    for row, (_, at_ns) in zip(gaps, peer.ended, strict=True):
        trial.detected_after(max(0.0, cast("int", row["ts_start"]) / 1e6 - at_ns / 1e9))
    if peer.ending is not Cut.RESET:
        # a reset may overtake what was sent before it
        assert outcome.received == peer.whole_frames, f"{outcome.received} of {peer.whole_frames}"
    assert len(outcome.waits) == peer.closes
    for failures, wait in enumerate(outcome.waits, 1):
        least = outcome.ceiling(failures) / 2 if peer.ending == REFUSED else 0.0
        assert least <= wait + 1e-3
        assert wait <= outcome.ceiling(failures) + 1e-3
    for (ended, _), attempt, wait in zip(peer.ended, peer.attempts[1:], outcome.waits, strict=True):
        assert wait - 0.01 <= attempt - ended <= wait + SLACK_SECONDS
    assert all(before < after for before, after in pairwise(peer.attempts))


@pytest.mark.fault("NET-03")
async def test_every_close_is_come_back_from(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnection, "FIRST_SECONDS", FIRST_SECONDS)
    moments = list(Moment)
    ways = list(product(ENDINGS, moments))
    if trial.tier is Tier.QUICK:
        ways = [(ending, moments[n % len(moments)]) for n, ending in enumerate(ENDINGS)]
    assert len(ways) == trial.quantity
    with capture_logs() as logs:
        outcomes = await asyncio.gather(
            *(_end_again_and_again(f"way-{n}", *way) for n, way in enumerate(ways))
        )
    shares: list[float] = []
    for number, ((ending, moment), outcome) in enumerate(zip(ways, outcomes, strict=True)):
        outcome.waits += _waits(logs, f"way-{number}")
        with trial.case(f"{ending} {moment}"):
            _judge(outcome, trial)
        if ending != REFUSED:
            shares += [
                wait / outcome.ceiling(failures) for failures, wait in enumerate(outcome.waits, 1)
            ]
    mean = sum(shares) / len(shares)
    # four standard deviations of a mean of that many evenly spread draws
    assert abs(mean - 0.5) < 4 * 0.289 / len(shares) ** 0.5, f"mean wait {mean:.2f} of the ceiling"
    trial.notes.append(
        f"{sum(outcome.peer.closes for outcome in outcomes)} closes; "
        f"mean wait {mean:.2f} of the ceiling over {len(shares)}"
    )


def _waits(logs: list[Any], name: str) -> list[float]:
    return [
        entry["seconds"]
        for entry in logs
        if entry["event"] == "feed_reconnecting" and entry["conn"] == name
    ]
