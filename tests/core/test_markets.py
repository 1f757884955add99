"""The market model and the universe file."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.markets import (
    FeeSchedule,
    FeeTerms,
    GroupKind,
    GroupRef,
    Market,
    Outcome,
    RewardTerms,
    UniverseError,
    Venue,
    decode_universe,
    encode_universe,
    group_markets,
)

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
TEXTS = st.text(max_size=20)
AMOUNTS = st.none() | st.floats(0, 1e12, allow_nan=False)
GROUPS = st.builds(
    GroupRef,
    group_id=TEXTS,
    kind=st.sampled_from(GroupKind),
    title=TEXTS,
    members=st.integers(1, 200),
    augmented=st.booleans(),
)
MARKETS = st.builds(
    Market,
    venue=st.sampled_from(Venue),
    market_id=TEXTS,
    title=st.text(max_size=200),
    outcomes=st.tuples(st.builds(Outcome, TEXTS, TEXTS), st.builds(Outcome, TEXTS, TEXTS)),
    tick_size=st.sampled_from([0.01, 0.001, 0.0001, 0.0025]),
    min_order_size=AMOUNTS,
    neg_risk=st.booleans(),
    groups=st.lists(GROUPS, max_size=3).map(tuple),
    fee_terms=st.sampled_from(FeeTerms),
    fees=st.none()
    | st.builds(FeeSchedule, rate=st.just(0.07), exponent=st.just(1.0), taker_only=st.booleans()),
    rewards=st.none() | st.builds(RewardTerms, min_size=st.just(20.0), max_spread=st.just(0.03)),
    close_hint=st.none() | st.datetimes(timezones=st.just(UTC)),
    volume_24h=AMOUNTS,
    liquidity=AMOUNTS,
    category=st.none() | TEXTS,
    rules_hash=TEXTS,
    fetched_at=st.just(NOW),
)


def _market(market_id: str, *groups: GroupRef) -> Market:
    return Market(
        venue=Venue.POLYMARKET,
        market_id=market_id,
        title=f"Will {market_id} happen?",
        outcomes=(Outcome(f"{market_id}-yes", "Yes"), Outcome(f"{market_id}-no", "No")),
        tick_size=0.01,
        min_order_size=5.0,
        neg_risk=False,
        groups=groups,
        fee_terms=FeeTerms.FREE,
        fees=None,
        rewards=None,
        close_hint=None,
        volume_24h=None,
        liquidity=None,
        category=None,
        rules_hash="",
        fetched_at=NOW,
    )


def _group(kind: GroupKind, name: str, members: int) -> GroupRef:
    return GroupRef(group_id=name, kind=kind, title=name, members=members)


@given(st.lists(MARKETS, max_size=5))
def test_a_universe_reads_back_as_it_was_written(markets: list[Market]) -> None:
    content = encode_universe(markets)
    assert content.count(b"\n") == len(markets)
    assert decode_universe(content, "u") == sorted(markets, key=lambda m: m.market_id)


def test_the_same_markets_make_the_same_file_in_any_order() -> None:
    markets = [_market(name) for name in "cab"]
    assert encode_universe(markets) == encode_universe(markets[::-1])


def test_a_universe_cut_anywhere_inside_a_line_is_refused() -> None:
    content = encode_universe([_market("a"), _market("b")])
    ends = {0, content.index(b"\n") + 1, len(content)}
    for cut in set(range(len(content))) - ends:
        with pytest.raises(UniverseError, match="cut off"):
            decode_universe(content[:cut], "universe.jsonl")


@pytest.mark.parametrize("place", [1, 2, 3])
@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"null",
        b"[" * 100_000,
        b"not json",
        b'{"venue":"\xff\xfe"}',
        b"\x00\x00\x00\x00",
        b'{"venue":"nowhere"}',
        encode_universe([_market("a")])[:-20],
        encode_universe([_market("a")]).strip() * 2,
        encode_universe([_market("a")]).strip().replace(b"0.01", b'"fine"'),
    ],
    ids=lambda line: line[:12],
)
def test_a_line_that_is_no_market_is_named(line: bytes, place: int) -> None:
    good = encode_universe([_market("a"), _market("b")]).splitlines()
    lines = [*good[: place - 1], line, *good[place - 1 :]]
    with pytest.raises(UniverseError, match=rf"^here: line {place}: .*Materialise"):
        decode_universe(b"\n".join(lines) + b"\n", "here")


def test_a_carriage_return_in_a_title_does_not_split_its_line() -> None:
    odd = msgspec.structs.replace(_market("a"), title="one\r\ntwo\u2028three\x85")
    assert decode_universe(encode_universe([odd]), "u") == [odd]


def test_groups_gather_their_members_in_order_of_appearance() -> None:
    ladder = _group(GroupKind.EVENT, "ladder", 2)
    whole, partial = _group(GroupKind.NEG_RISK, "whole", 2), _group(GroupKind.NEG_RISK, "part", 3)
    markets = [_market("a", ladder, whole), _market("b", partial), _market("c", ladder, whole)]
    groups = group_markets(markets, GroupKind.NEG_RISK)
    assert [(g.group_id, [m.market_id for m in g.markets], g.complete) for g in groups] == [
        ("whole", ["a", "c"], True),
        ("part", ["b"], False),
    ]
    assert [g.group_id for g in group_markets(markets, GroupKind.EVENT)] == ["ladder"]
