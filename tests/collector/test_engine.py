"""The engine: rows depend on frames and their times alone, and say what was true."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import cycle, pairwise
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surveillance_collector.output import Resync
from surveillance_collector.sampling import Tier
from surveillance_core.books import BookStatus
from surveillance_core.lake.schemas import COVERAGE, LIFECYCLE, SNAPSHOTS, TRADES
from surveillance_core.venues.polymarket.channel import BATCH_GAP_NS, PolymarketChannel
from surveillance_core.venues.simulated.judge import compare_books, compare_trades

from .worlds import (
    MS,
    SECOND,
    START_MS,
    START_NS,
    Emitted,
    OneMarket,
    Recording,
    frame_of,
    new_engine,
    recorded,
    rows_of,
    run_engine,
    sampled,
)

CADENCE_MS = 200
SHORT = {"seed": 3, "seconds": 20, "rate": 15.0}


def _us(moment_ns: int) -> int:
    return moment_ns // 1_000


def _opened(market: OneMarket, **sampling: float):
    """An engine with the market's book standing since START + 10 ms."""
    engine = new_engine(sampled(**sampling))  # type: ignore[arg-type]
    engine.connect("c1", START_NS)
    engine.follow("c1", [market.terms], Tier.HOT, START_NS)
    engine.receive("c1", market.book_frame(START_MS), START_NS + 10 * MS)
    return engine


# ── determinism ──────────────────────────────────────────────────────────────────────────────


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 21 * SECOND), max_size=80))
def test_rows_do_not_depend_on_when_the_caller_woke_up(extra: list[int]) -> None:
    recording = recorded(**SHORT)
    _, alone = run_engine(recording)
    _, woken = run_engine(recording, extra_ns=[START_NS + moment for moment in extra])
    assert woken == alone


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_waking_inside_batches_changes_no_row(data: st.DataObject) -> None:
    recording = recorded(**SHORT)
    places = data.draw(st.lists(st.integers(1, len(recording.frames) - 1), max_size=60))
    # just before, at and just after a frame, and where its batch is taken to be whole
    shifts = data.draw(
        st.lists(
            st.sampled_from((-1, 0, 1, BATCH_GAP_NS - 1, BATCH_GAP_NS, BATCH_GAP_NS + 1)),
            min_size=len(places),
            max_size=len(places),
        )
    )
    extra = [recording.frames[at][0] + by for at, by in zip(places, shifts, strict=True)]
    _, alone = run_engine(recording, sampled(7))
    _, woken = run_engine(recording, sampled(7), extra_ns=extra)
    assert woken == alone


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_frames_taken_together_make_the_rows_of_frames_taken_one_by_one(
    data: st.DataObject,
) -> None:
    recording = recorded(**SHORT)
    cadence_ms = data.draw(st.sampled_from((7, CADENCE_MS)))
    sizes = data.draw(st.lists(st.integers(1, 200), min_size=1, max_size=40))
    one_by_one, alone = run_engine(recording, sampled(cadence_ms))
    engine = new_engine(sampled(cadence_ms))
    other = new_engine(sampled(cadence_ms))
    for taking in (engine, other):
        for conn in ("c1", "c2"):
            taking.connect(conn, recording.begin_ns)
        taking.follow("c1", recording.terms, Tier.HOT, recording.begin_ns)
    size = cycle(sizes)
    left = next(size)
    for recv_ns, frame in recording.frames:
        engine.take("c1", frame, recv_ns)
        # two connections in turn: each frame of the other ends the run
        other.take("c1", frame, recv_ns)
        other.take("c2", "PONG", recv_ns)
        left -= 1
        if not left:
            engine.apply_taken()
            left = next(size)
    for taking in (engine, other):
        taking.finish(recording.end_ns)
    together = engine.drain().rows
    assert together == alone
    assert other.drain().rows == alone
    assert engine.tallies == one_by_one.tallies
    assert engine.counts == one_by_one.counts
    assert (engine.frames, other.frames) == (one_by_one.frames, 2 * one_by_one.frames)


def test_a_clock_that_goes_back_changes_nothing() -> None:
    engine = _opened(OneMarket())
    engine.advance(START_NS + 3 * SECOND)
    before = engine.drain().rows
    engine.advance(START_NS + SECOND)
    engine.advance(START_NS + 3 * SECOND)
    assert before
    assert engine.drain().rows == []


# ── when rows are written ────────────────────────────────────────────────────────────────────


def test_rows_sit_on_the_grid_or_where_a_batch_became_whole() -> None:
    recording = recorded(**SHORT)
    _, emitted = run_engine(recording)
    changed: dict[str, list[int]] = {terms.asset_id: [] for terms in recording.terms}
    for recv_ns, text in recording.frames:
        if '"price_change"' in text:
            for asset_id, times in changed.items():
                if asset_id in text:
                    times.append(recv_ns)
    on_grid = settled = 0
    for row in rows_of(emitted, SNAPSHOTS):
        at_us = cast("int", row["ts_recv"])
        if row["reason"] in ("opened", "resync"):
            continue
        since_grid_us = at_us % (CADENCE_MS * 1_000)
        if not since_grid_us:
            on_grid += 1
            continue
        settled += 1
        instant_ns = (at_us - since_grid_us) * 1_000
        times = changed[cast("str", row["outcome_id"])]
        last_ns = max(moment for moment in times if moment <= instant_ns)
        assert instant_ns - last_ns < BATCH_GAP_NS, "deferred although no batch was under way"
        assert since_grid_us * 1_000 <= BATCH_GAP_NS + 5 * MS
    assert on_grid > 100
    assert settled > 10


@pytest.mark.parametrize("cadence_ms", [7, 100, 200])
def test_no_book_is_written_twice_at_one_moment(cadence_ms: int) -> None:
    _, emitted = run_engine(recorded(**SHORT), sampled(cadence_ms))
    rows = [(row["outcome_id"], row["ts_recv"]) for row in rows_of(emitted, SNAPSHOTS)]
    assert len(rows) == len(set(rows)) > 150


def test_a_book_is_never_read_inside_a_batch() -> None:
    recording = recorded(5, seconds=120, rate=20.0)
    # read as fast as frames come, so that every crossed moment would be met
    _, emitted = run_engine(recording, sampled(1))
    assert _crossed_instants(recording) > 3, "the history never crosses: nothing is tested"
    rows = rows_of(emitted, SNAPSHOTS)
    assert {row["status"] for row in rows} <= {"ok", "one_sided", "empty"}
    result = compare_books(frame_of(emitted, SNAPSHOTS), recording.truth)
    assert (result.different, result.examples) == (0, [])


def _crossed_instants(recording: Recording) -> int:
    """Milliseconds of the grid at which a book stood crossed, half-way through a fill."""
    channel = PolymarketChannel()
    channel.follow(recording.terms)
    count = 0
    for (recv_ns, text), (next_ns, _) in pairwise(recording.frames):
        channel.receive(text, recv_ns)
        if recv_ns // MS != next_ns // MS and "price_change" in text:
            books = [channel.states[t.asset_id].book for t in recording.terms if t.primary]
            count += any(book.status is BookStatus.CROSSED for book in books)
    return count


def test_an_unchanged_book_is_written_at_heartbeats_only() -> None:
    engine = _opened(OneMarket(), heartbeat_s=2.0)
    engine.advance(START_NS + 10 * SECOND)
    rows = rows_of(engine.drain(), SNAPSHOTS)
    assert [row["reason"] for row in rows] == ["opened"] + ["heartbeat"] * 4
    gaps = [cast("int", b["ts_recv"]) - cast("int", a["ts_recv"]) for a, b in pairwise(rows)]
    assert all(2_000_000 <= gap < 2_000_000 + CADENCE_MS * 1_000 for gap in gaps)


def test_a_repeated_frame_at_a_heartbeat_is_not_called_a_change() -> None:
    market = OneMarket()
    engine = _opened(market, heartbeat_s=2.0)
    frame = market.change(START_MS + 100, ("BUY", 4_800, 9.0))[0]
    engine.receive("c1", frame, START_NS + 100 * MS)
    engine.advance(START_NS + SECOND)
    engine.drain()
    # the row of the change is at 200 ms, so the heartbeat is due at 2200 ms: inside the repeat
    engine.receive("c1", frame, START_NS + 2_190 * MS)
    engine.advance(START_NS + 3 * SECOND)
    rows = rows_of(engine.drain(), SNAPSHOTS)
    assert [row["reason"] for row in rows] == ["heartbeat"]


def test_warm_markets_are_read_on_their_own_grid() -> None:
    recording = recorded(**SHORT)
    engine = new_engine()
    engine.connect("c1", recording.begin_ns)
    engine.follow("c1", recording.terms, Tier.WARM, recording.begin_ns)
    for recv_ns, frame in recording.frames:
        engine.receive("c1", frame, recv_ns)
    rows = rows_of(engine.drain(), SNAPSHOTS)
    off_grid = [
        row
        for row in rows
        if row["reason"] != "opened"
        and cast("int", row["ts_recv"]) % (5 * CADENCE_MS * 1_000) > BATCH_GAP_NS // 1_000 + 5_000
    ]
    assert len(rows) > 30
    assert off_grid == []


# ── what rows say ────────────────────────────────────────────────────────────────────────────


def test_tops_mids_and_depths_equal_a_naive_recomputation() -> None:
    recording = recorded(4, markets=8, seconds=30, rate=30.0)
    whole = rows_of(run_engine(recording, sampled(top_k=10_000))[1], SNAPSHOTS)
    shallow = rows_of(run_engine(recording, sampled(top_k=3))[1], SNAPSHOTS)
    lists = ("bid_px", "bid_sz", "ask_px", "ask_sz")
    two_sided = 0
    for full, cut in zip(whole, shallow, strict=True):
        sides = {name: cast("list[float]", full[name]) for name in lists}
        for name in lists:
            assert cut[name] == sides[name][:3]
        assert {k: v for k, v in cut.items() if k not in lists} == {
            k: v for k, v in full.items() if k not in lists
        }, "what is derived from a book must not depend on how much of it is kept"
        bids = [round(px * 10_000) for px in sides["bid_px"]]
        asks = [round(px * 10_000) for px in sides["ask_px"]]
        assert bids == sorted(bids, reverse=True)
        assert asks == sorted(asks)
        if not bids or not asks:
            assert full["mid"] is full["spread"] is full["bid_depth_1c"] is None
            assert full["status"] in ("one_sided", "empty")
            continue
        two_sided += 1
        mid = Fraction(bids[0] + asks[0], 2)
        assert full["mid"] == pytest.approx(float(mid) / 10_000, abs=1e-12)
        assert full["spread"] == pytest.approx((asks[0] - bids[0]) / 10_000, abs=1e-12)
        for cents in (1, 2, 5):
            for side, ticks in (("bid", bids), ("ask", asks)):
                near = [
                    size
                    for tick, size in zip(ticks, sides[f"{side}_sz"], strict=True)
                    if abs(tick - mid) <= cents * 100
                ]
                assert full[f"{side}_depth_{cents}c"] == pytest.approx(sum(near), abs=1e-6)
    assert two_sided > 300


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_an_hour_of_rows_equals_the_truth(seed: int) -> None:
    recording = recorded(seed, markets=6, seconds=3_600, rate=4.0, trades=0.08)
    engine, emitted = run_engine(recording, sampled(2_000, heartbeat_s=60.0, bucket_s=300.0))
    books = compare_books(frame_of(emitted, SNAPSHOTS), recording.truth, top_k=50)
    assert books.compared > 3_000
    assert (books.different, books.diverged, books.examples) == (0, 0, [])
    # a fill of the last tenth of a second is printed after the end
    until = (recording.until_ms - 100) * MS
    windows = {terms.asset_id: [(0, until)] for terms in recording.terms}
    trades = compare_trades(frame_of(emitted, TRADES), recording.truth, windows=windows)
    assert trades.matched > 200
    assert (trades.missing, trades.extra, trades.examples) == (0, 0, [])
    assert engine.tallies.hashes.due == engine.tallies.hashes.matched > 10_000
    assert engine.counts["mirror_mismatched"] == 0
    assert engine.counts["mirror_matched"] > 3_000
    assert engine.tallies.crossed_at_batch_end == 0
    assert not engine.rejected


# ── trust ────────────────────────────────────────────────────────────────────────────────────


def _states(emitted: list[Emitted]) -> list[tuple[object, ...]]:
    return [
        (row["ts_start"], row["ts_end"], row["state"], row["cause"])
        for row in rows_of(emitted, COVERAGE)
    ]


def test_a_disconnect_ends_trust_and_the_next_book_is_a_resync() -> None:
    market = OneMarket()
    engine = _opened(market)
    lost, back, book = (START_NS + s * SECOND for s in (2, 3, 4))
    engine.disconnect("c1", lost, "closed_1006")
    engine.advance(lost + SECOND // 2)
    during = rows_of(engine.drain(), SNAPSHOTS)
    assert all(cast("int", row["ts_recv"]) <= _us(lost) for row in during)
    engine.connect("c2", back)
    engine.follow("c2", [market.terms], Tier.HOT, back)
    engine.receive("c2", market.book_frame(START_MS + 4_000), book)
    engine.finish(book + SECOND)
    output = engine.drain()
    assert rows_of(output, SNAPSHOTS)[0]["reason"] == "resync"
    assert rows_of(output, SNAPSHOTS)[0]["ts_recv"] == _us(book)
    assert _states(output.rows) == [
        (_us(lost), _us(book), "untrusted", "closed_1006"),
        (_us(book), _us(book + SECOND), "trusted", None),
    ]


def test_a_disconnect_inside_a_batch_neither_reads_the_half_nor_fails() -> None:
    market = OneMarket()
    engine = _opened(market)
    # the first half of a batch, a tick of the grid, and the connection is gone before the rest
    first, _ = market.change(START_MS + 190, ("BUY", 5_100, 4.0), ("SELL", 5_100, 0.0))
    engine.receive("c1", first, START_NS + 190 * MS)
    engine.advance(START_NS + 205 * MS)
    engine.disconnect("c1", START_NS + 210 * MS, "closed_1006")
    engine.advance(START_NS + SECOND)
    rows = rows_of(engine.drain(), SNAPSHOTS)
    assert [row["reason"] for row in rows] == ["opened"]
    assert engine.books == 0


def test_silence_found_late_is_distrusted_from_its_beginning() -> None:
    engine = _opened(OneMarket())
    silent, found = START_NS + 2 * SECOND, START_NS + 7 * SECOND
    engine.disconnect("c1", found, "stalled", since_ns=silent)
    engine.finish(found + SECOND)
    rows = engine.drain().rows
    assert (_us(silent), _us(found + SECOND), "untrusted", "stalled") in _states(rows)
    assert [end for _, end, state, _ in _states(rows) if state == "trusted"][-1] == _us(silent)


def test_what_was_let_go_before_the_silence_was_found_is_distrusted_too() -> None:
    market = OneMarket()
    engine = _opened(market)
    silent, left, found = (START_NS + seconds * SECOND for seconds in (2, 5, 7))
    engine.forget("c1", [market.asset_id], left)
    engine.disconnect("c1", found, "stalled", since_ns=silent)
    engine.finish(found + SECOND)
    rows = engine.drain().rows
    assert (_us(silent), _us(left), "untrusted", "stalled") in _states(rows)
    assert max(end for _, end, *_ in _states(rows)) == _us(left)


def test_what_was_let_go_before_the_silence_began_stays_trusted() -> None:
    market = OneMarket()
    engine = _opened(market)
    left, silent = START_NS + 2 * SECOND, START_NS + 5 * SECOND
    engine.forget("c1", [market.asset_id], left)
    engine.disconnect("c1", silent + SECOND, "stalled", since_ns=silent)
    assert "stalled" not in [cause for *_, cause in _states(engine.drain().rows)]


def test_no_book_in_time_asks_for_it_again() -> None:
    market = OneMarket()
    engine = new_engine(sampled(first_book_s=1.0))
    engine.connect("c1", START_NS)
    engine.follow("c1", [market.terms], Tier.HOT, START_NS)
    engine.advance(START_NS + 900 * MS)
    assert engine.drain().commands == []
    engine.advance(START_NS + 1_900 * MS)
    wanted = Resync("c1", (market.asset_id,), "no_book_in_time")
    assert engine.drain().commands == [wanted]
    engine.advance(START_NS + 2_900 * MS)
    assert engine.drain().commands == [wanted]
    engine.receive("c1", market.book_frame(START_MS + 2_900), START_NS + 2_950 * MS)
    engine.advance(START_NS + 20 * SECOND)
    assert engine.drain().commands == []


def test_a_diverged_book_is_asked_for_again_and_distrusted_since_it_was_last_proved() -> None:
    market = OneMarket()
    engine = _opened(market)
    for second in (1, 2):
        for frame in market.change(START_MS + second * 1_000, ("BUY", 4_800, second), wrong=True):
            engine.receive("c1", frame, START_NS + second * SECOND)
    # the rest of the second batch is waited for in vain
    engine.advance(START_NS + 5 * SECOND)
    output = engine.drain()
    assert output.commands == [Resync("c1", (market.asset_id,), "hash_mismatch")]
    proved, noticed = START_NS + 10 * MS, START_NS + 4 * SECOND
    rows = rows_of(output, SNAPSHOTS)
    assert rows[-1]["trust"] == "diverged"
    engine.receive("c1", market.book_frame(START_MS + 6_000), START_NS + 6 * SECOND)
    engine.finish(START_NS + 7 * SECOND)
    states = _states(output.rows + engine.drain().rows)
    distrusted = [(start, end) for start, end, state, _ in states if state == "untrusted"]
    assert (_us(proved), _us(START_NS + 6 * SECOND)) in distrusted
    assert states[-1] == (_us(6 * SECOND + START_NS), _us(START_NS + 7 * SECOND), "trusted", None)
    assert noticed > proved


def test_a_new_price_grid_is_a_row_and_distrust_until_the_next_book() -> None:
    market = OneMarket()
    engine = _opened(market)
    changed, book = START_NS + 2 * SECOND, START_NS + 5 * SECOND
    engine.receive("c1", market.tick_change(START_MS + 2_000, "0.001"), changed)
    output = engine.drain()
    (row,) = rows_of(output, LIFECYCLE)
    assert (row["event"], row["old"], row["new"]) == ("tick_size_change", "0.01", "0.001")
    assert row["ts_recv"] == _us(changed)
    assert output.commands == [Resync("c1", (market.asset_id,), "tick_size_change")]
    engine.advance(START_NS + 4 * SECOND)
    assert rows_of(engine.drain(), SNAPSHOTS) == []
    engine.receive("c1", market.book_frame(START_MS + 5_000), book)
    engine.finish(book + SECOND)
    after = engine.drain()
    assert rows_of(after, SNAPSHOTS)[0]["tick"] == 0.001
    states = _states(output.rows + after.rows)
    assert (_us(changed), _us(book), "untrusted", "tick_size_change") in states


def test_forgetting_ends_coverage_and_rows() -> None:
    market = OneMarket()
    engine = _opened(market)
    gone = START_NS + 2 * SECOND
    engine.forget("c1", [market.asset_id], gone)
    assert engine.followed == 0
    for frame in market.change(START_MS + 3_000, ("BUY", 4_800, 1.0)):
        engine.receive("c1", frame, gone + SECOND)
    engine.finish(gone + 60 * SECOND)
    rows = engine.drain().rows
    assert _states(rows)[-1][1:3] == (_us(gone), "trusted")
    assert max(cast("int", row["ts_recv"]) for row in rows_of(rows, SNAPSHOTS)) <= _us(gone)


def test_what_was_lost_while_down_can_be_forgotten() -> None:
    market = OneMarket()
    engine = _opened(market)
    engine.disconnect("c1", START_NS + SECOND, "closed_1006")
    engine.forget("", [market.asset_id], START_NS + 2 * SECOND)
    engine.finish(START_NS + 60 * SECOND)
    last = _states(engine.drain().rows)[-1]
    assert last == (
        _us(START_NS + SECOND), _us(START_NS + 2 * SECOND), "untrusted", "closed_1006",
    )  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 20), st.integers(1, 900)), max_size=5, unique_by=lambda p: p[0]
    )
)
def test_coverage_tiles_the_subscribed_time(outages: list[tuple[int, int]]) -> None:
    recording = recorded(**SHORT)
    engine = new_engine(sampled(bucket_s=3.0))
    plan = sorted((START_NS + s * SECOND, START_NS + s * SECOND + ms * MS) for s, ms in outages)
    engine.connect("c", START_NS)
    engine.follow("c", recording.terms, Tier.HOT, START_NS)
    up, number = "c", 0
    for recv_ns, frame in recording.frames:
        while plan and plan[0][0] <= recv_ns:
            lost, back = plan.pop(0)
            engine.disconnect(up, lost, "closed_1006")
            number += 1
            up = f"c{number}"
            engine.connect(up, back)
            engine.follow(up, recording.terms, Tier.HOT, back)
        engine.receive(up, frame, recv_ns)
    end = max(recording.end_ns, recording.frames[-1][0]) + 5 * SECOND
    engine.finish(end)
    rows = rows_of(engine.drain(), COVERAGE)
    bucket_us = 3_000_000
    for terms in recording.terms:
        line = [row for row in rows if row["outcome_id"] == terms.asset_id]
        if not terms.primary:
            assert line == []
            continue
        assert line[0]["ts_start"] == _us(START_NS)
        assert line[-1]["ts_end"] == _us(end)
        for before, after in pairwise(line):
            assert before["ts_end"] == after["ts_start"]
        for row in line:
            start, stop = cast("int", row["ts_start"]), cast("int", row["ts_end"])
            assert start < stop
            assert start // bucket_us == (stop - 1) // bucket_us, "a row spans two buckets"


def test_every_row_is_filed_under_its_own_time() -> None:
    _, emitted = run_engine(recorded(**SHORT))
    for table, column in ((SNAPSHOTS, "ts_recv"), (TRADES, "ts_recv"), (COVERAGE, "ts_start")):
        position = [c.name for c in table.columns].index(column)
        found = [(time_us, row[position]) for kind, time_us, row in emitted if kind is table]
        assert found
        assert all(time_us == own for time_us, own in found)


def test_counts_survive_the_connections_they_were_made_on() -> None:
    recording = recorded(**SHORT)
    engine, _ = run_engine(recording)
    before = engine.tallies
    assert before.messages["price_change"] > 100
    engine.disconnect("c1", recording.end_ns + SECOND, "closed_1000")
    assert engine.tallies == before


def test_a_result_is_a_row_once_and_ends_trust_without_asking_for_a_new_book() -> None:
    market = OneMarket()
    engine = _opened(market)
    resolved = START_NS + 3 * SECOND
    result = json.dumps(
        {
            "event_type": "market_resolved", "id": "7", "market": "0xmarket",
            "assets_ids": [market.asset_id, "no-token"], "winning_asset_id": market.asset_id,
            "winning_outcome": "Yes", "timestamp": str(START_MS + 3_000), "tags": ["a"],
        }
    )  # fmt: skip
    engine.connect("c2", START_NS + SECOND)
    engine.receive("c1", result, resolved)
    engine.receive("c2", result, resolved + 1)
    engine.finish(resolved + 100 * SECOND)
    output = engine.drain()
    (row,) = rows_of(output, LIFECYCLE)
    assert (row["event"], row["outcome_id"], row["new"]) == ("resolved", market.asset_id, "Yes")
    assert row["ts_recv"] == _us(resolved)
    assert output.commands == [], "a resolved market has no new book to ask for"
    assert _states(output.rows)[-1][2:] == ("untrusted", "resolved")
    assert all(cast("int", r["ts_recv"]) <= _us(resolved) for r in rows_of(output, SNAPSHOTS))


def test_a_listing_is_a_row_once_with_its_title() -> None:
    engine = _opened(OneMarket())
    listing = json.dumps(
        {
            "event_type": "new_market", "market": "0xother", "question": "Will it rain?",
            "assets_ids": ["1", "2"], "timestamp": str(START_MS),
        }
    )  # fmt: skip
    for moment in (1, 2, 3):
        engine.receive("c1", listing, START_NS + moment * SECOND)
    (row,) = rows_of(engine.drain(), LIFECYCLE)
    assert (row["event"], row["market_id"], row["new"]) == ("listed", "0xother", "Will it rain?")
    assert engine.counts["listed"] == 1
