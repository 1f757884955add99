"""A restored engine goes on as the one that was never stopped: the same rows, from any cut on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surveillance_collector.captured import CapturedInput, read_untold
from surveillance_collector.checkpoint import ENGINE_STATE
from surveillance_collector.engine import Engine
from surveillance_collector.following import Followed
from surveillance_collector.output import Output
from surveillance_collector.sampling import Tier
from surveillance_core import checkpoints
from surveillance_core.checkpoints import CheckpointUnreadable, Kinds
from surveillance_core.markets import Venue
from surveillance_core.venues.captures import read_capture
from surveillance_core.venues.protocols import AssetTerms
from surveillance_core.venues.registry import adapter_of

from .cutting import NewChannel, Step, check, cuts_of, new_polymarket, take_step
from .worlds import MS, SECOND, START_MS, START_NS, OneMarket, recorded, sampled

# ── Polymarket ───────────────────────────────────────────────────────────────────────────────

SHORT = {"seed": 3, "seconds": 12, "rate": 15.0}
ODD_FRAMES = (
    "", "[]", "PONG", "{", '{"event_type":"surprise"}', '{"event_type":"price_change"}',
    b"\xff", '{"event_type":"last_trade_price","asset_id":"\\ud800"}',
)  # fmt: skip


def _resolved(terms: AssetTerms) -> str:
    return json.dumps(
        {
            "event_type": "market_resolved", "id": "7", "market": terms.market_id,
            "assets_ids": [terms.asset_id], "winning_asset_id": terms.asset_id,
            "winning_outcome": "Yes", "timestamp": str(START_MS + 3_000), "tags": [],
        }
    )  # fmt: skip


@st.composite
def polymarket_steps(draw: st.DrawFn) -> list[Step]:
    """A history on one connection, which another takes over, with whatever else may happen."""
    recording = recorded(**SHORT)
    frames = recording.frames
    at = st.integers(0, len(frames) - 1)
    begin, end = sorted((draw(at), draw(at)))
    whole = [n for n, (_, frame) in enumerate(frames) if '"event_type":"book"' in frame]
    books = draw(st.sets(st.sampled_from(whole[: len(recording.terms)]), max_size=4))
    odd = draw(st.dictionaries(at, st.sampled_from(ODD_FRAMES), max_size=4))
    lost = draw(st.sets(at, max_size=4))
    results = draw(st.dictionaries(at, st.sampled_from(recording.terms), max_size=2))
    forgotten = draw(st.dictionaries(at, st.sampled_from(recording.terms), max_size=2))
    held_up = draw(st.dictionaries(at, st.sampled_from(("c1", "c2")), max_size=3))
    caught_up = draw(st.dictionaries(at, st.sampled_from(("c1", "c2")), max_size=3))
    drains, wakes = draw(st.sets(at, max_size=12)), draw(st.sets(at, max_size=12))
    verb = draw(st.sampled_from(("take", "receive")))
    steps: list[Step] = [
        ("connect", ("c1", START_NS)),
        ("follow", ("c1", recording.terms, Tier.HOT, START_NS)),
    ]
    for n, (ns, frame) in enumerate(frames):
        if n == begin:
            tier = draw(st.sampled_from(Tier))
            steps += [("connect", ("c2", ns)), ("follow", ("c2", recording.terms, tier, ns))]
            # the answer to a subscription: whole books, here of an earlier moment
            steps += [(verb, ("c2", frames[place][1], ns)) for place in sorted(books)]
        if n not in lost and n <= end:
            steps.append((verb, ("c1", frame, ns)))
        if n >= begin:
            steps.append((verb, ("c2", frame, ns)))
        if n in odd:
            steps.append((verb, ("c1" if n <= end else "c2", odd[n], ns)))
        if n in results:
            steps.append((verb, ("c2" if n >= begin else "c1", _resolved(results[n]), ns)))
        if n in forgotten:
            steps.append(("forget", ("c1", [forgotten[n].asset_id], ns)))
        if n in held_up:
            steps.append(("hold_up", (held_up[n], ns - SECOND, ns)))
        if n in caught_up and (caught_up[n] != "c1" or n < end):
            steps.append(("catch_up", (caught_up[n], ns)))
        if n in wakes:
            steps.append(("advance", (ns + draw(st.integers(0, 2 * MS)),)))
        if n in drains:
            steps.append(("drain", ()))
        if n == end:
            steps.append(("disconnect", ("c1", ns, "stopped", ns - draw(st.integers(0, SECOND)))))
    steps.append(("finish", (recording.end_ns,)))
    return steps


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_polymarket_history_goes_on_from_any_cut(data: st.DataObject) -> None:
    steps = data.draw(polymarket_steps())
    cadence_ms = data.draw(st.sampled_from((7, 200)))
    check(
        new_polymarket,
        sampled(cadence_ms),
        steps,
        cuts_of(data, steps),
        cold=data.draw(st.booleans()),
    )


def _batch_cut_in_the_middle() -> list[Step]:
    market = OneMarket()
    first, second = market.change(START_MS + 190, ("BUY", 4_800, 4.0), ("SELL", 5_100, 0.0))
    later = market.change(START_MS + 900, ("BUY", 4_800, 5.0))
    return [
        ("connect", ("c1", START_NS)),
        ("follow", ("c1", [market.terms], Tier.HOT, START_NS)),
        ("take", ("c1", market.book_frame(START_MS), START_NS + 10 * MS)),
        ("take", ("c1", first, START_NS + 190 * MS)),
        ("advance", (START_NS + 205 * MS,)),
        ("take", ("c1", second, START_NS + 210 * MS)),
        *(("take", ("c1", frame, START_NS + 900 * MS)) for frame in later),
        ("finish", (START_NS + 3 * SECOND,)),
    ]


@pytest.mark.parametrize("cut", range(9))
def test_a_reading_that_waits_for_its_batch_waits_on(cut: int) -> None:
    steps = _batch_cut_in_the_middle()
    if cut == 5:
        engine = Engine(new_polymarket, sampled())
        for step in steps[:cut]:
            take_step(engine, step)
        assert engine._deferred, "the case is what it says"
    assert check(new_polymarket, sampled(), steps, [cut]) >= 3


# ── real captures ────────────────────────────────────────────────────────────────────────────


SHARED = Path(os.environ.get("SURVEILLANCE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
CAPTURES = sorted((SHARED / "fixtures" / "captures").rglob("*.jsonl.gz"))
NO_CAPTURES = pytest.param(None, marks=pytest.mark.skip(reason=f"no captures below {SHARED}"))


class _Noted:
    """Takes what a replay does to an engine."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def __getattr__(self, name: str) -> Callable[..., Output]:
        def note(*arguments: object) -> Output:
            self.steps.append((name, arguments))
            return Output()

        return note


def _replayed(path: Path, venue: Venue) -> list[Step]:
    noted: Any = _Noted()
    captured = CapturedInput(noted, read_untold(path, adapter_of(venue)))
    for record in read_capture(path):
        captured.apply(record)
        noted.drain()
    return [*noted.steps, ("finish", (captured.last_ns + SECOND,))]


@pytest.mark.parametrize("path", CAPTURES or [NO_CAPTURES], ids=lambda path: path.name)
def test_a_real_recording_goes_on_from_cuts_all_along_it(path: Path) -> None:
    venue = Venue(path.parent.name)
    steps = _replayed(path, venue)
    new: NewChannel = lambda reader: adapter_of(venue).new_channel(reader, 0)  # noqa: E731
    pieces = 7 if len(steps) > 20_000 else 40
    cuts = range(1, len(steps), max(1, len(steps) // pieces))
    assert check(new, sampled(100), steps, cuts) > 1


# ── what cannot be restored ──────────────────────────────────────────────────────────────────


def _some_engine() -> Engine:
    engine = Engine(new_polymarket, sampled())
    for step in _batch_cut_in_the_middle()[:6]:
        take_step(engine, step)
    return engine


def test_the_same_state_is_the_same_bytes() -> None:
    data = _some_engine().checkpoint()
    assert Engine.restored(data, new_polymarket, sampled()).checkpoint() == data


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_is_refused(data: st.DataObject) -> None:
    whole = _some_engine().checkpoint()
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 3))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    if bytes(damaged) != whole:
        with pytest.raises(CheckpointUnreadable):
            Engine.restored(bytes(damaged), new_polymarket, sampled())


def test_a_version_with_another_attribute_of_the_engine_is_refused() -> None:
    data = _some_engine().checkpoint()

    class Newer(Engine):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.more = 0

    with pytest.raises(CheckpointUnreadable, match="more"):
        Newer.restored(data, new_polymarket, sampled())


def test_a_version_with_another_attribute_of_a_book_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = _some_engine().checkpoint()

    class Renamed:
        __slots__ = (*Followed.__slots__, "more")

    monkeypatch.setitem(ENGINE_STATE.classes, "followed", Renamed)  # type: ignore[arg-type]
    with pytest.raises(CheckpointUnreadable, match=r"followed.*more"):
        Engine.restored(data, new_polymarket, sampled())


@pytest.mark.parametrize("root", [None, [], {}, {"frames": 1}])
def test_a_checkpoint_of_something_else_is_refused(root: object) -> None:
    data = checkpoints.written(root, Kinds())
    with pytest.raises(CheckpointUnreadable):
        Engine.restored(data, new_polymarket, sampled())


def test_under_another_sampling_coverage_is_cut_at_its_buckets() -> None:
    engine = _some_engine()
    engine.drain()
    restored = Engine.restored(engine.checkpoint(), new_polymarket, sampled(bucket_s=1.0))
    restored.finish(START_NS + 4 * SECOND)
    ends = [row[3] for table, _, row in restored.drain().rows if table.name.endswith("coverage")]
    assert ends == [(START_NS + second * SECOND) // 1_000 for second in (1, 2, 3, 4)]
