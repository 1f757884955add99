"""A restored engine of Kalshi's books goes on as if never stopped, broken streams and all."""

from __future__ import annotations

import json
from functools import lru_cache

from hypothesis import given, settings
from hypothesis import strategies as st

from surveillance_collector.engine import Engine
from surveillance_collector.sampling import Tier
from surveillance_core.markets import Venue
from surveillance_core.venues.protocols import AssetTerms
from surveillance_core.venues.simulated.happenings import Phase
from surveillance_core.venues.simulated.kalshi.history import record_history
from surveillance_core.venues.simulated.world import World

from .cutting import Step, check, cuts_of, new_kalshi
from .worlds import MS, SECOND, START_MS, START_NS, sampled


@lru_cache(maxsize=1)
def _kalshi_history() -> tuple[tuple[AssetTerms, ...], tuple[tuple[int, str], ...]]:
    world = World(
        1, 2, kalshi_markets=6, start_ms=START_MS, events_per_second=20, windows=True,
        trade_share=0.2, plants_an_hour=30.0,
    )  # fmt: skip
    terms = tuple(
        AssetTerms(market_id=m.market_id, asset_id=m.yes_id, tick=m.grid.finest)
        for m in world.tradable
        if m.venue is Venue.KALSHI and world.phase(m.index) is Phase.OPEN
    )
    return terms, tuple(record_history(world, START_MS + 20_000))


@st.composite
def kalshi_steps(draw: st.DrawFn) -> list[Step]:
    """A history with numbers lost and repeated, and the whole of it on another connection."""
    terms, frames = _kalshi_history()
    at = st.integers(0, len(frames) - 1)
    lost, twice = draw(st.sets(at, max_size=3)), draw(st.sets(at, max_size=4))
    drains, wakes = draw(st.sets(at, max_size=12)), draw(st.sets(at, max_size=12))
    # another connection that hears all from its beginning, some seconds late
    late = draw(st.none() | st.integers(1, 8))
    ends = draw(at)
    verb = draw(st.sampled_from(("take", "receive")))
    events: list[tuple[int, int, Step]] = []

    def add(ns: int, *steps: Step) -> None:
        events.extend((ns, len(events) + n, step) for n, step in enumerate(steps))

    add(START_NS, ("connect", ("c1", START_NS)), ("follow", ("c1", terms, Tier.HOT, START_NS)))
    if late is not None:
        ns = START_NS + late * SECOND
        add(ns, ("connect", ("c2", ns)), ("follow", ("c2", terms, Tier.WARM, ns)))
    for n, (ns, frame) in enumerate(frames):
        if n not in lost and (late is None or n <= ends):
            add(ns, *[(verb, ("c1", frame, ns))] * (2 if n in twice else 1))
        if late is not None:
            add(ns + late * SECOND, (verb, ("c2", frame, ns + late * SECOND)))
        if n in wakes:
            add(ns, ("advance", (ns + draw(st.integers(0, 3 * SECOND)),)))
        if n in drains:
            add(ns, ("drain", ()))
        if late is not None and n == ends:
            add(ns, ("disconnect", ("c1", ns, "closed_1006")))
    steps = [step for _, _, step in sorted(events, key=lambda event: event[:2])]
    return [*steps, ("finish", (START_NS + 40 * SECOND,))]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_kalshi_history_goes_on_from_any_cut(data: st.DataObject) -> None:
    steps = data.draw(kalshi_steps())
    cadence_ms = data.draw(st.sampled_from((7, 200)))
    cuts, cold = cuts_of(data, steps), data.draw(st.booleans())
    check(new_kalshi, sampled(cadence_ms), steps, cuts, cold=cold)


def _kalshi_frame(kind: str, body: dict[str, object], seq: int | None = None, sid: int = 1) -> str:
    numbered: dict[str, object] = {} if seq is None else {"seq": seq}
    return json.dumps({"type": kind, "sid": sid, **numbered, "msg": body})


def _snapshot(ticker: str, seq: int) -> str:
    body = {"market_ticker": ticker, "yes_dollars_fp": [["0.4800", "10.00"]]}
    return _kalshi_frame("orderbook_snapshot", body, seq)


def _delta(ticker: str, seq: int, size: str, ts: int, side: str = "yes") -> str:
    body = {
        "market_ticker": ticker, "price_dollars": "0.4800", "delta_fp": size, "side": side,
        "ts": f"2026-09-21T10:00:{ts:02d}Z",
    }  # fmt: skip
    return _kalshi_frame("orderbook_delta", body, seq)


BOOK_CHANNEL = "orderbook_delta"


def _announced(sid: int) -> str:
    return _kalshi_frame("subscribed", {"channel": BOOK_CHANNEL, "sid": sid})


def _spelled(kind: str, ticker: str, seq: int, ns: int, size: str) -> str:
    """A frame of the kind on a market; numbers that no venue counts to, and nonsense, too."""
    named: dict[str, object] = {"market_ticker": ticker}
    match kind:
        case "subscribed":
            return _announced(1)
        case "snapshot":
            return _snapshot(ticker, seq)
        case "late":
            return _delta(ticker, max(1, seq - 1), size, 0)
        case "delta" | "gap" | "repeat":
            return _delta(ticker, seq, size, (ns - START_NS) // SECOND % 60)
        case "trade":
            told = {"trade_id": f"t{ns % 5}", "count_fp": "2.00", "yes_price_dollars": "0.4800"}
            return _kalshi_frame("trade", {**named, **told, "taker_side": "yes"}, sid=2)
        case "ticker":
            top = {"yes_bid_dollars": "0.4800", "yes_ask_dollars": "0.5200"}
            return _kalshi_frame("ticker", {**named, **top}, sid=3)
        case "ok":
            return _kalshi_frame("ok", {"market_tickers": [ticker]}, seq)
        case "unsubscribed":
            return _kalshi_frame("unsubscribed", {}, seq)
        case "error":
            return _kalshi_frame("error", {"code": 25, "msg": "slow"}, seq)
        case "settled":
            return _kalshi_frame("market_lifecycle_v2", {**named, "event_type": kind}, sid=4)
        case "huge":
            return json.dumps({"type": "x\ud800", "seq": 10**30, "sid": 2**70, "msg": {}})
        case _:
            return "{"


NUMBERED = ("snapshot", *["delta"] * 12, "gap", "ok", "unsubscribed", "error")
UNNUMBERED = (
    "subscribed", "repeat", "late", "trade", "ticker", "settled", "huge", "odd", "drain", "renew"
)  # fmt: skip


@st.composite
def kalshi_spelled(draw: st.DrawFn) -> list[Step]:
    """Frames spelled by hand of two markets: gaps, repeats, ends of streams, results, nonsense."""
    terms = [
        AssetTerms(market_id=name, asset_id=name, tick=100, mirror_id=f"{name}:no") for name in "AB"
    ]
    follow = ("follow", ("c1", terms, Tier.HOT, START_NS))
    steps: list[Step] = [("connect", ("c1", START_NS)), follow]
    ns, seq, verb = START_NS, 0, draw(st.sampled_from(("take", "receive")))
    happening = st.tuples(
        st.sampled_from(NUMBERED + UNNUMBERED),
        st.sampled_from("AB"),
        st.integers(0, 20 * MS) | st.integers(0, 800 * MS),
        st.sampled_from(("1.00", "-3.00", "2.00", "-20.00")),
    )
    begun = [(kind, ticker, 0, "") for kind in ("subscribed", "snapshot") for ticker in "AB"]
    for kind, ticker, wait, size in [*begun, *draw(st.lists(happening, min_size=5, max_size=60))]:
        ns += wait
        if kind == "drain":
            steps.append(("drain", ()))
        elif kind == "renew":
            seq = 0
            steps += [("disconnect", ("c1", ns, "closed_1006")), ("connect", ("c1", ns))]
            steps += [follow, (verb, ("c1", _announced(1), ns))]
        else:
            seq += 3 if kind == "gap" else kind in NUMBERED
            steps.append((verb, ("c1", _spelled(kind, ticker, seq, ns, size), ns)))
            seq = 0 if kind == "unsubscribed" else seq
    return [*steps, ("finish", (ns + 9 * SECOND,))]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_kalshi_streams_that_break_go_on_broken_from_any_cut(data: st.DataObject) -> None:
    steps = data.draw(kalshi_spelled())
    sampling = sampled(50, heartbeat_s=1.0, bucket_s=5.0, first_book_s=1.0)
    check(new_kalshi, sampling, steps, cuts_of(data, steps), cold=data.draw(st.booleans()))


def test_numbers_that_are_missing_are_known_as_such_when_they_come_late() -> None:
    terms = AssetTerms(market_id="A", asset_id="A", tick=100)
    told = (_announced(1), _snapshot("A", 1), _delta("A", 5, "1.00", 1), _delta("A", 3, "1.00", 1))
    steps: list[Step] = [
        ("connect", ("c1", START_NS)),
        ("follow", ("c1", [terms], Tier.HOT, START_NS)),
        *(("receive", ("c1", frame, START_NS + n * MS)) for n, frame in enumerate(told)),
        ("drain", ()),
    ]
    for cut in range(len(steps)):
        check(new_kalshi, sampled(), steps, [cut])


def test_what_a_connection_sends_next_is_what_it_would_have_sent() -> None:
    """Streams, markets and numbers of commands are state as well."""
    engine = Engine(new_kalshi, sampled())
    commands = engine.connect("c1", START_NS)
    terms = AssetTerms(market_id="A", asset_id="A", tick=100)
    engine.follow("c1", [terms], Tier.HOT, START_NS)
    sent = [*commands.opening(), *commands.subscribe(["A"])]
    engine.receive("c1", _announced(1), START_NS)
    sent += commands.resync(["A"])
    restored = Engine.restored(engine.checkpoint(), new_kalshi, sampled())
    after = restored._channels["c1"].commands
    assert len(sent) == 3
    for ask in ("resync", "resync", "unsubscribe"):
        told = getattr(after, ask)(["A"])
        assert told == getattr(commands, ask)(["A"])
        assert told
