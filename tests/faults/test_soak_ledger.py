"""The judgement of SOAK-1 can tell ledgers that lack a gap, have one too many, or are inexact."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from .soak import DAY, KILLED_UNTIL, MIDNIGHT, Fault, Kind, plan_soak
from .soak_day import Injected
from .soak_ledger import (
    SECOND_NS,
    Gap,
    due_gaps,
    hidden_ns,
    joined,
    judge_gaps,
    modelled_trust_s,
    trusted_spans,
)
from .soak_venue import Followings

NEVER = {"yes": 1 << 62}


def _at(seconds: float) -> int:
    """Nanoseconds of the venue's at a second of the wall's."""
    return int(seconds * SECOND_NS)


@pytest.fixture
def followings(monkeypatch: pytest.MonkeyPatch) -> Followings:
    """One token, followed from second 1 to 60, told at 1 and after a stall of 10 to 12."""
    made = Followings(monkeypatch, lambda: 0)
    made.spans["yes"] = [[_at(1), _at(60)]]
    made.told["yes"] = [_at(1), _at(13)]
    return made


STALL = Injected(Fault(Kind.STALL, 0.0, 2.0), _at(10), _at(12), _at(12.5), followed={"yes", "no"})
GAP = Gap("yes", "stalled", _at(9.9), _at(13.1))


def test_a_gap_that_is_due_and_there_is_found(followings: Followings) -> None:
    due = due_gaps([STALL], followings, NEVER)
    assert [(want.token, want.start_ns, want.end_ns) for want in due] == [("yes", _at(10), _at(13))]
    verdict = judge_gaps([GAP], due, [STALL], followings)
    assert (verdict.found, verdict.missing, verdict.unexplained, verdict.inexact) == (1, [], [], [])
    assert verdict.worst_edge_s == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("gaps", "missing", "unexplained", "inexact"),
    [
        ([], 1, 0, 0),
        ([GAP._replace(cause="closed_1006")], 1, 1, 0),
        ([GAP._replace(start_ns=_at(11.2))], 0, 0, 1),
        ([GAP._replace(end_ns=_at(15))], 0, 0, 1),
        ([GAP, Gap("yes", "stalled", _at(30), _at(31))], 0, 1, 0),
        ([GAP, Gap("yes", "restarted", _at(11), _at(13))], 0, 1, 0),
        ([GAP, Gap("yes", "awaiting_book", _at(30), _at(31.5))], 0, 1, 0),
        ([GAP, Gap("yes", "awaiting_book", _at(30), _at(30.5))], 0, 0, 0),
        ([GAP, Gap("yes", "hash_mismatch", _at(20), _at(20.5))], 0, 1, 0),
        ([GAP, Gap("other", "stalled", _at(10), _at(13))], 0, 1, 0),
    ],
)
def test_what_is_wrong_with_a_ledger_is_told(
    followings: Followings, gaps: list[Gap], missing: int, unexplained: int, inexact: int
) -> None:
    due = due_gaps([STALL], followings, NEVER)
    verdict = judge_gaps(gaps, due, [STALL], followings)
    found = (len(verdict.missing), len(verdict.unexplained), len(verdict.inexact))
    assert found == (missing, unexplained, inexact)


def test_what_was_resolved_or_just_subscribed_owes_no_gap(followings: Followings) -> None:
    assert due_gaps([STALL], followings, {"yes": _at(5)}) == []
    followings.spans["yes"] = [[_at(9.8), _at(60)]]
    assert due_gaps([STALL], followings, NEVER) == []


def test_trust_by_the_venues_account(followings: Followings) -> None:
    # seconds 1 to 10, and 13 to the end at 60 or before
    for end, seconds in ((60, 56), (20, 16), (8, 7)):
        found = modelled_trust_s([STALL], followings, NEVER, 0, _at(end))
        assert found == pytest.approx(seconds * SECOND_NS / 1e9)
    late = modelled_trust_s([STALL], followings, NEVER, _at(15), _at(60))
    assert late == pytest.approx(45 * SECOND_NS / 1e9)


def test_trust_while_nothing_came_through_is_seen() -> None:
    spans = {"yes": [(_at(1), _at(10)), (_at(13), _at(20))], "late": [(_at(1), _at(11))]}
    assert hidden_ns(spans, [STALL]) == [("late", 0, _at(1))]


def test_an_untrusted_row_overrides_trusted_ones() -> None:
    rows = [(0, 10, "trusted"), (10, 20, "trusted"), (4, 6, "untrusted"), (25, 30, "trusted")]
    frame = pl.DataFrame(
        [("yes", start, end, state) for start, end, state in rows],
        schema=["outcome_id", "ts_start", "ts_end", "state"],
        orient="row",
    ).with_columns(pl.col("ts_start", "ts_end").cast(pl.Datetime("us", "UTC")))
    assert trusted_spans(frame) == {"yes": [(0, 4_000), (6_000, 20_000), (25_000, 30_000)]}


def test_a_gap_across_midnight_is_one() -> None:
    before, midnight, after = (MIDNIGHT + timedelta(minutes=minutes) for minutes in (-3, 0, 2))
    ends = {"start": before, "end": midnight}, {"start": midnight, "end": after}
    (gap,) = joined([[{"outcome_id": "yes", "cause": "stalled", **end}] for end in ends])
    assert gap.start_ns == int(before.timestamp()) * 10**9
    assert gap.end_ns == int(after.timestamp()) * 10**9


def test_a_day_has_all_that_it_is_to_have_and_nobody_is_killed_in_its_last_quarter() -> None:
    for seed in range(20):
        day = plan_soak(seed, 24.0)
        kinds = [fault.kind for fault in day.faults]
        assert {kind: kinds.count(kind) for kind in Kind} == DAY
        times = [fault.at_s for fault in day.faults]
        assert times == sorted(times)
        kills = [fault.at_s for fault in day.faults if fault.kind is Kind.KILL]
        assert max(kills) <= KILLED_UNTIL * 86_400
