"""A connection that brings more than is read: what the ledger says of it, and what is written."""

from __future__ import annotations

import pytest

from surveillance_collector.engine import Engine
from surveillance_collector.output import Output
from surveillance_collector.sampling import Tier
from surveillance_core.lake.schemas import COVERAGE, SNAPSHOTS

from .test_doubts import Kalshi, Polymarket
from .worlds import SECOND, START_MS, START_NS, rows_of

US = START_NS // 1_000
SINCE, HELD, CAUGHT = (START_NS + n * SECOND for n in (3, 4, 20))


def _followed(line: Polymarket | Kalshi, conn: str, second: int = 0) -> Engine:
    engine, at_ns = line.engine, START_NS + second * SECOND
    engine.connect(conn, at_ns)
    engine.follow(conn, [line.terms], Tier.HOT, at_ns)
    return engine


def _spans(output: Output) -> list[tuple[object, object, float, float]]:
    """State, cause, and from when to when, seconds; neighbours of one state are one."""
    spans: list[tuple[object, object, float, float]] = []
    for row in rows_of(output, COVERAGE):
        begin, end = (((int(str(row[key])) - US) / 1e6) for key in ("ts_start", "ts_end"))
        state, cause = row["state"], row["cause"]
        if spans and spans[-1][:2] == (state, cause) and spans[-1][3] == begin:
            begin = spans.pop()[2]
        spans.append((state, cause, begin, end))
    return spans


def _written(output: Output) -> list[float]:
    """When books were written, seconds."""
    return [(int(str(row["ts_recv"])) - US) / 1e6 for row in rows_of(output, SNAPSHOTS)]


@pytest.mark.parametrize("kind", [Polymarket, Kalshi])
def test_late_books_are_neither_trusted_nor_written_until_what_waits_is_read(
    kind: type[Polymarket | Kalshi],
) -> None:
    line = kind()
    engine = _followed(line, "c1")
    engine.receive("c1", line.book(), START_NS + SECOND)
    engine.hold_up("c1", SINCE, HELD)
    engine.hold_up("c1", SINCE + 1, HELD + 1)
    engine.catch_up("c0", HELD + 2)
    # of what waited, a whole book is no newer than the rest
    engine.receive("c1", line.book(), START_NS + 10 * SECOND)
    engine.advance(START_NS + 19 * SECOND)
    engine.catch_up("c1", CAUGHT)
    engine.catch_up("c1", CAUGHT + 1)
    engine.finish(START_NS + 21 * SECOND)
    output = engine.drain()
    assert _spans(output) == [
        ("untrusted", "awaiting_book", 0.0, 1.0),
        ("trusted", None, 1.0, 3.0),
        ("untrusted", "held_up", 3.0, 20.0),
        ("trusted", None, 20.0, 21.0),
    ]
    assert [at for at in _written(output) if 4.0 < at < 20.0] == []
    assert 20.0 in _written(output)
    assert output.commands == [], "nothing is asked for: nothing was lost"
    assert engine.counts["doubted_held_up"] == 1


def test_what_waited_is_in_the_first_book_written_after_it() -> None:
    line = Polymarket()
    engine = _followed(line, "c1")
    engine.receive("c1", line.book(), START_NS + SECOND)
    engine.hold_up("c1", SINCE, HELD)
    for frame in line.market.change(START_MS + 3_500, ("BUY", 4_950, 9.0)):
        engine.receive("c1", frame, START_NS + 19 * SECOND)
    engine.catch_up("c1", CAUGHT)
    last = rows_of(engine.drain(), SNAPSHOTS)[-1]
    assert (last["ts_recv"], last["bid_px"]) == (CAUGHT // 1_000, [0.495, 0.49, 0.47])


def test_a_batch_that_was_half_read_is_not_written_while_the_rest_waits() -> None:
    line = Polymarket()
    engine = _followed(line, "c1")
    engine.receive("c1", line.book(), START_NS + SECOND)
    half, _ = line.market.change(START_MS + 3_000, ("BUY", 4_950, 9.0), ("SELL", 5_100, 1.0))
    engine.receive("c1", half, SINCE)
    engine.advance(SINCE + SECOND // 2)
    engine.hold_up("c1", SINCE, SINCE + SECOND // 2)
    engine.advance(CAUGHT)
    assert [at for at in _written(engine.drain()) if at > 3.5] == []


def test_a_book_that_is_contradicted_besides_waits_for_a_whole_one() -> None:
    line = Polymarket()
    engine = _followed(line, "c1")
    engine.receive("c1", line.book(), START_NS + SECOND)
    engine.hold_up("c1", SINCE, HELD)
    engine.doubt("c1", line.terms.asset_id, "witness_mismatch", SINCE, HELD + SECOND)
    engine.catch_up("c1", CAUGHT)
    engine.advance(CAUGHT + SECOND)
    engine.receive("c1", line.book(), CAUGHT + 2 * SECOND)
    engine.finish(CAUGHT + 3 * SECOND)
    assert [span[2:] for span in _spans(engine.drain()) if span[0] == "trusted"] == [
        (1.0, 3.0),
        (22.0, 23.0),
    ]


@pytest.mark.parametrize("kind", [Polymarket, Kalshi])
def test_a_first_book_that_waited_is_trusted_once_the_rest_is_read(
    kind: type[Polymarket | Kalshi],
) -> None:
    line = kind()
    engine = _followed(line, "c1")
    engine.hold_up("c1", START_NS, START_NS + SECOND)
    engine.receive("c1", line.book(), HELD)
    engine.catch_up("c1", CAUGHT)
    engine.finish(CAUGHT + SECOND)
    output = engine.drain()
    assert _spans(output) == [
        ("untrusted", "awaiting_book", 0.0, 20.0),
        ("trusted", None, 20.0, 21.0),
    ]
    assert [row["reason"] for row in rows_of(output, SNAPSHOTS)][:1] == ["opened"]
    assert min(_written(output)) == 20.0


def test_a_book_that_could_not_come_is_given_time_again() -> None:
    line = Polymarket()
    engine = _followed(line, "c1")
    engine.hold_up("c1", START_NS, START_NS + SECOND)
    engine.advance(CAUGHT)
    engine.catch_up("c1", CAUGHT)
    engine.advance(CAUGHT + 4 * SECOND)
    assert engine.drain().commands == []
    engine.advance(CAUGHT + 6 * SECOND)
    (command,) = engine.drain().commands
    assert command.cause == "no_book_in_time"


def test_a_late_connection_takes_no_book_over_before_it_has_caught_up() -> None:
    line = Polymarket()
    engine = _followed(line, "c1")
    engine.receive("c1", line.book(), START_NS + SECOND)
    _followed(line, "c2", 2)
    engine.hold_up("c2", START_NS + 2 * SECOND, SINCE)
    engine.receive("c2", line.book(), HELD)
    assert engine.waiting("c2") == 1
    engine.catch_up("c2", CAUGHT)
    assert engine.waiting("c2") == 0
    engine.disconnect("c1", CAUGHT + SECOND, "renewed")
    engine.finish(CAUGHT + 2 * SECOND)
    assert _spans(engine.drain())[1:] == [("trusted", None, 1.0, 22.0)]


def test_a_connection_that_is_not_late_relieves_one_that_is() -> None:
    line = Polymarket()
    engine = _followed(line, "c1")
    engine.receive("c1", line.book(), START_NS + SECOND)
    engine.hold_up("c1", SINCE, HELD)
    _followed(line, "c2", 5)
    engine.receive("c2", line.book(), START_NS + 6 * SECOND)
    engine.disconnect("c1", START_NS + 7 * SECOND, "renewed")
    engine.finish(START_NS + 8 * SECOND)
    assert _spans(engine.drain())[1:] == [
        ("trusted", None, 1.0, 3.0),
        ("untrusted", "held_up", 3.0, 6.0),
        ("trusted", None, 6.0, 8.0),
    ]


def test_a_connection_that_ends_late_leaves_no_trust_behind() -> None:
    line = Polymarket()
    engine = _followed(line, "c1")
    engine.receive("c1", line.book(), START_NS + SECOND)
    engine.hold_up("c1", SINCE, HELD)
    engine.disconnect("c1", START_NS + 6 * SECOND, "backpressure", SINCE)
    _followed(line, "c1", 7)
    engine.receive("c1", line.book(), START_NS + 8 * SECOND)
    engine.finish(START_NS + 9 * SECOND)
    assert _spans(engine.drain())[2:] == [
        ("untrusted", "held_up", 3.0, 8.0),
        ("trusted", None, 8.0, 9.0),
    ]
