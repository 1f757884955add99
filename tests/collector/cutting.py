"""Engines that are stopped and go on: the same input with a cut anywhere in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hypothesis import strategies as st

from surveillance_collector.engine import Engine
from surveillance_collector.output import Output
from surveillance_collector.sampling import Sampling
from surveillance_core.books import SEEN_COMPLEMENT_OF, SEEN_TICK_OF
from surveillance_core.lake.schemas import SNAPSHOTS
from surveillance_core.venues.kalshi.channel import KalshiChannel
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.protocols import MarketChannel, SettledReader

Step = tuple[str, tuple[Any, ...]]
"""A method of the engine and its arguments."""
NewChannel = Callable[[SettledReader], MarketChannel]


def new_polymarket(reader: SettledReader) -> MarketChannel:
    return PolymarketChannel(reader, hash_interval_ns=0)


def new_kalshi(reader: SettledReader) -> MarketChannel:
    return KalshiChannel(reader)


def take_step(engine: Engine, step: Step) -> list[Output]:
    name, arguments = step
    told = getattr(engine, name)(*arguments)
    return [told] if name == "drain" else []


def _ended(engine: Engine) -> tuple[object, ...]:
    waiting = {conn: engine.waiting(conn) for conn in ("c1", "c2", "c3")}
    return (
        engine.counts, engine.rejected, engine.tallies, engine.frames, engine.books,
        engine.followed, waiting, [followed.terms for followed in engine.assets],
    )  # fmt: skip


def _told_alone(new: NewChannel, sampling: Sampling, steps: Sequence[Step]) -> list[Output]:
    engine = Engine(new, sampling)
    told = [output for step in steps for output in take_step(engine, step)]
    return [*told, engine.drain()]


def check(
    new: NewChannel,
    sampling: Sampling,
    steps: Sequence[Step],
    cuts: Iterable[int],
    *,
    cold: bool = False,
) -> int:
    """Restore at each cut and go on from there, beside one that is only written at each.

    ``cold`` forgets what prices were looked up before, as a new process has. Returns how many
    snapshots were taken after the first cut.
    """
    alone = _told_alone(new, sampling, steps)
    written, restored = Engine(new, sampling), Engine(new, sampling)
    told: tuple[list[Output], list[Output]] = ([], [])
    places = set(cuts)
    for at, step in enumerate([*steps, ("drain", ())]):
        if at in places:
            written.checkpoint()
            data = restored.checkpoint()
            if cold:
                SEEN_TICK_OF.clear()
                SEEN_COMPLEMENT_OF.clear()
            restored = Engine.restored(data, new, sampling)
            assert _ended(restored) == _ended(written)
        told[0].extend(take_step(written, step))
        told[1].extend(take_step(restored, step))
    assert told[0] == alone, "writing changes nothing"
    assert told[1] == alone
    assert _ended(restored) == _ended(written)
    return sum(table is SNAPSHOTS for output in alone for table, _, _ in output.rows)


def cuts_of(data: st.DataObject, steps: Sequence[Step]) -> list[int]:
    """Places to cut at, anywhere or soon after something else than a frame or the time."""
    frames = ("take", "receive", "advance", "drain")
    turns = [at for at, (name, _) in enumerate(steps) if name not in frames]
    soon_after = st.builds(int.__add__, st.sampled_from(turns), st.integers(0, 20))
    anywhere = st.integers(0, len(steps))
    return data.draw(st.lists(anywhere | soon_after, min_size=1, max_size=4), label="cuts")
