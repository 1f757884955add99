"""The coverage ledger's arithmetic."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from surveillance_collector.coverage import LEFT_NS, CoverageLine, LinesThatEnded
from surveillance_collector.rows import Row

Interval = tuple[int, int, str, str | None]
US = 1_000


def _line() -> CoverageLine:
    return CoverageLine("0xmarket", "yes", 0, "awaiting_book")


def _intervals(rows: list[Row]) -> list[Interval]:
    return [cast("Interval", (row[2], row[3], row[4], row[5])) for row in rows]


def test_a_market_is_untrusted_until_its_first_book() -> None:
    line = _line()
    rows = line.trust(5 * US) + line.cut(9 * US)
    assert _intervals(rows) == [(0, 5, "untrusted", "awaiting_book"), (5, 9, "trusted", None)]
    assert {row[:2] for row in rows} == {("0xmarket", "yes")}


def test_a_doubt_ends_trust_where_it_began_not_where_it_was_noticed() -> None:
    line = _line()
    line.trust(2 * US)
    rows = line.doubt("stalled", 6 * US, 9 * US) + line.trust(12 * US)
    assert _intervals(rows) == [(2, 6, "trusted", None), (6, 12, "untrusted", "stalled")]


def test_a_doubt_that_reaches_back_overrides_what_was_written() -> None:
    line = _line()
    line.trust(2 * US)
    line.cut(10 * US)
    rows = line.doubt("hash_mismatch", 4 * US, 12 * US) + line.trust(15 * US)
    assert _intervals(rows) == [
        (4, 10, "untrusted", "hash_mismatch"),
        (10, 15, "untrusted", "hash_mismatch"),
    ]


def test_the_first_cause_of_a_doubt_stands() -> None:
    line = _line()
    line.trust(1 * US)
    line.doubt("closed_1006", 3 * US, 3 * US)
    assert line.doubt("resubscribed", 4 * US, 4 * US) == []
    assert _intervals(line.trust(6 * US)) == [(3, 6, "untrusted", "closed_1006")]


def test_a_doubt_reaches_back_to_the_beginning_and_no_further() -> None:
    line = CoverageLine("0xmarket", "yes", 5 * US, "awaiting_book")
    line.trust(6 * US)
    rows = line.doubt("stalled", 2 * US, 9 * US)
    assert _intervals(rows) == [(5, 6, "untrusted", "stalled")]


def test_lines_that_ended_long_ago_or_on_other_connections_are_not_doubted() -> None:
    ended = LinesThatEnded()
    for conn, at_ns in (("c1", 1 * US), ("c2", LEFT_NS), ("c1", LEFT_NS + 2 * US)):
        line = CoverageLine("0xmarket", conn, 0, "awaiting_book")
        line.trust(1)
        line.cut(at_ns)
        ended.add(conn, line, at_ns)
    rows = ended.disconnect("c1", "stalled", 0)
    assert _intervals(rows) == [(0, LEFT_NS // US + 2, "untrusted", "stalled")]
    assert ended.disconnect("c1", "stalled", 0) == []


def test_an_instant_is_no_interval() -> None:
    line = _line()
    assert line.trust(0) == []
    assert line.cut(0) == []
    assert line.doubt("closed_1006", 0, 0) == []


_steps = st.lists(
    st.tuples(st.integers(0, 20), st.sampled_from(("trust", "doubt", "cut")), st.integers(0, 30)),
    max_size=40,
)


@given(_steps)
def test_rows_say_of_every_moment_what_was_known_of_it(
    steps: list[tuple[int, str, int]],
) -> None:
    line, now, state = _line(), 0, "untrusted"
    expected: list[str] = []
    rows: list[Row] = []
    reached_back: list[Row] = []
    for passed, action, back in steps:
        expected += [state] * passed
        now += passed
        if action == "trust":
            rows += line.trust(now * US)
            state = "trusted"
        elif action == "cut":
            rows += line.cut(now * US)
        else:
            since = max(0, now - back)
            begun = line.since_ns
            written = line.doubt("closed_1006", since * US, now * US)
            (reached_back if since * US < begun else rows).extend(written)
            if state == "trusted":
                expected[since:] = ["untrusted"] * (now - since)
            state = "untrusted"
    rows += line.cut((now + 1) * US)
    expected.append(state)

    tiles = _intervals(rows)
    assert tiles[0][0] == 0
    assert tiles[-1][1] == now + 1
    assert all(before[1] == after[0] for before, after in pairwise(tiles))
    told = [""] * (now + 1)
    # where a trusted and an untrusted row overlap, the untrusted one holds
    for start, end, said, _ in sorted(_intervals(rows + reached_back), key=lambda row: row[2]):
        told[start:end] = [said] * (end - start)
    assert told == expected
