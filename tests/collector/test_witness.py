"""Books beside what REST says of them: which are wrong, which connection, or the witness itself."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from surveillance_collector.coverage import TRUSTED
from surveillance_collector.following import Followed
from surveillance_collector.witness import (
    DRIFT_LEAST,
    Memory,
    Reading,
    Sample,
    agrees,
    contradicted,
    forget,
    judge,
    read_round,
    remember,
    samples_of,
)
from surveillance_core.books import BookState, OrderBook
from surveillance_core.venues.protocols import AssetTerms, BookAnswer

from .worlds import SECOND

NOW = 100 * SECOND
QUIET = 10 * SECOND
BOOK = OrderBook({4_900: 10.0, 4_000: 3.0}, {5_100: 5.0})
TRUE = BookAnswer(bids={4_000: 3.0, 4_900: 10.0}, asks={5_100: 5.0})
OTHER = BookAnswer(bids={4_800: 10.0, 4_000: 3.0}, asks={5_100: 5.0})


def _followed(asset_id: str, conn: str = "c.1", *, changed_ns: int = 50 * SECOND) -> Followed:
    state = BookState("m", asset_id, 100)
    state.book = OrderBook(dict(BOOK.bids), dict(BOOK.asks))
    state.opened, state.changed_ns = True, changed_ns
    followed = Followed(AssetTerms(market_id="m", asset_id=asset_id, tick=100), state, conn, 1, 0)
    assert followed.coverage is not None
    followed.coverage.state = TRUSTED
    return followed


def _samples(
    assets: Iterable[Followed], memory: Memory | None = None, most: int = 100
) -> list[Sample]:
    return samples_of(assets, memory or Memory(), now_ns=NOW, quiet_ns=QUIET, most=most)


def _reading(conn: str, wrong: int, agreed: int, *, speaks: bool = True) -> Reading:
    names = (f"{conn}-{number}" for number in range(wrong + agreed))
    samples = _samples([_followed(name, conn) for name in names])
    return Reading(conn, speaks, agreed=samples[wrong:], wrong=samples[:wrong])


def test_only_quiet_trusted_whole_books_are_sampled() -> None:
    quiet, busy, mid_batch, untrusted, closed, resolved = (_followed(n) for n in "abcdef")
    busy.state.changed_ns = NOW - QUIET + 1
    mid_batch.state.settles_ns = NOW + 1
    assert untrusted.coverage is not None
    untrusted.coverage.state = "untrusted"
    closed.state.opened = False
    resolved.resolved = True
    found = _samples([quiet, busy, mid_batch, untrusted, closed, resolved])
    assert [sample.asset_id for sample in found] == ["a"]
    assert found[0].agrees(TRUE)
    assert found[0].good_ns == 50 * SECOND


def test_a_connection_s_books_take_turns() -> None:
    assets = [_followed(name) for name in "abcde"] + [_followed("x", "d.1")]
    memory = Memory()
    seen: list[list[str]] = []
    for _ in range(3):
        samples = _samples(assets, memory, most=2)
        seen.append([sample.asset_id for sample in samples])
        remember(memory, [Reading("c.1", speaks=True, agreed=samples)], NOW)
    assert seen == [["a", "b", "x"], ["c", "d", "x"], ["e", "a", "x"]]
    forget(memory, ["a"])
    assert set(memory.asked) == set(memory.agreed_ns) == {"a"}


def test_an_agreement_dates_what_is_found_wrong_later() -> None:
    asset, memory = _followed("a"), Memory()
    remember(memory, [Reading("c.1", speaks=True, agreed=_samples([asset]))], 80 * SECOND)
    assert _samples([asset], memory)[0].good_ns == 80 * SECOND


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (TRUE, True),
        (OTHER, False),
        (BookAnswer(bids={4_900: 10.5, 4_000: 3.0}, asks=TRUE.asks), False),
        (BookAnswer(bids={4_900: 10.0, 4_000: 3.0 + 1e-12}, asks=TRUE.asks), True),
        (BookAnswer(bids=TRUE.bids, asks={}), False),
        (BookAnswer(bids={4_900: 10.0}, asks=TRUE.asks), False),
        (BookAnswer(bids=TRUE.bids, asks={5_100: 5.0, 5_200: 1.0}), False),
        (BookAnswer(bids=OTHER.bids, asks=TRUE.asks, ts_venue_ms=999), True),
        (BookAnswer(bids=OTHER.bids, asks=TRUE.asks, ts_venue_ms=1_001), False),
    ],
)
def test_an_answer_agrees_with_the_whole_book_or_is_older(
    told: BookAnswer, *, expected: bool
) -> None:
    assert agrees(BOOK, 1_000, told) is expected


def test_an_empty_book_agrees_with_an_empty_answer() -> None:
    assert agrees(OrderBook(), None, BookAnswer(bids={}, asks={}))


def test_a_book_that_changes_meanwhile_is_not_contradicted() -> None:
    assets = [_followed(name) for name in "abcd"]
    samples = _samples(assets)
    assets[1].state.version += 1
    assets[2].conn = "c.2"
    assets[3].state.opened = False
    told = dict.fromkeys("abcd", OTHER)
    assert [sample.asset_id for sample in contradicted(samples, told)] == ["a"]


def test_a_book_that_comes_into_doubt_meanwhile_is_not_contradicted() -> None:
    asset = _followed("a")
    samples = _samples([asset])
    assert contradicted(samples, {"a": OTHER}) == samples
    assert asset.coverage is not None
    asset.coverage.state = "untrusted"
    assert contradicted(samples, {"a": OTHER}) == []


def test_a_book_is_wrong_only_if_two_answers_say_so() -> None:
    samples = _samples([_followed(name) for name in "abcd"])
    first = {"a": OTHER, "b": OTHER, "c": TRUE}
    second = {"a": OTHER, "b": TRUE}
    (reading,) = read_round(samples, first, second, {"c.1": True})
    assert [s.asset_id for s in reading.wrong] == ["a"]
    assert [s.asset_id for s in reading.agreed] == ["c"]
    assert [s.asset_id for s in reading.unsure] == ["b", "d"]
    assert reading.speaks


def test_an_answer_that_is_older_than_the_book_neither_contradicts_nor_vouches() -> None:
    samples = _samples([_followed("a"), _followed("b", "d.1")])
    for sample in samples:
        sample.followed.state.ts_venue_ms = 1_000
    older = BookAnswer(bids=OTHER.bids, asks=OTHER.asks, ts_venue_ms=999)
    same = BookAnswer(bids=TRUE.bids, asks=TRUE.asks, ts_venue_ms=1_000)
    assert not contradicted(samples, {"a": older, "b": same})
    late, good = read_round(samples, {"a": older, "b": same}, {}, {})
    assert [s.asset_id for s in late.unsure] == ["a"]
    assert not late.agreed
    assert [s.asset_id for s in good.agreed] == ["b"]


def test_few_wrong_books_are_doubted_and_their_connection_is_kept() -> None:
    findings = judge([_reading("one", 2, 10), _reading("two", 0, 5)], Memory(), 100)
    assert [sample.asset_id for sample in findings.doubted] == ["one-0", "one-1"]
    assert not findings.condemned
    assert not findings.drift


def test_a_connection_most_of_whose_books_are_wrong_is_condemned_with_all_of_them() -> None:
    findings = judge([_reading("one", 30, 4, speaks=False), _reading("two", 0, 5)], Memory(), 100)
    assert findings.condemned == ("one",)
    assert len(findings.doubted) == 34


def test_one_wrong_book_alone_condemns_a_connection_that_speaks_only_when_it_stays_wrong() -> None:
    memory = Memory()
    reading = _reading("one", 1, 0)
    assert not judge([reading], memory, 100).condemned
    remember(memory, [reading], NOW)
    assert judge([reading], memory, 100).condemned == ("one",)
    assert judge([_reading("two", 1, 0, speaks=False)], memory, 100).condemned == ("two",)


def test_books_wrong_on_most_live_connections_at_once_are_the_witness_s_fault() -> None:
    drifting = [_reading("one", 4, 10), _reading("two", 4, 10), _reading("three", 0, 10)]
    assert judge(drifting, Memory(), 100).drift
    assert not judge(drifting, Memory(), 1_000).drift, "less than one in a hundred"
    stalled = [_reading(name, 8, 0, speaks=False) for name in ("one", "two", "three")]
    findings = judge(stalled, Memory(), 100)
    assert not findings.drift, "connections that say nothing are no proof against the witness"
    assert len(findings.condemned) == 3


def test_books_that_are_wrong_again_after_they_were_had_anew_are_the_witness_s_fault() -> None:
    memory = Memory()
    reading = _reading("one", DRIFT_LEAST + 1, 0)
    assert judge([reading], memory, 100).condemned == ("one",)
    remember(memory, [reading], NOW)
    assert judge([reading], memory, 100).drift
    remember(memory, [Reading("one", speaks=True, agreed=reading.wrong)], NOW)
    assert not judge([reading], memory, 100).drift, "it agreed in between"
