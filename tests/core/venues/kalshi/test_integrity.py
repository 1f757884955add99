"""Sequence numbers: holes, repeats, late frames, and a stream that counts anew."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.venues.kalshi.integrity import (
    REMEMBERED_MISSING,
    RESTART_RUN,
    SequenceTracker,
    Verdict,
)


def test_an_announced_stream_begins_at_one() -> None:
    tracker = SequenceTracker()
    tracker.begin(1, 10)
    assert tracker.observe(1, 2, 20) is Verdict.GAP
    assert tracker.heard_ns(1, 20) == 10
    assert (tracker.tally.streams, tracker.tally.gaps, tracker.tally.lost) == (1, 1, 1)


def test_a_stream_met_in_its_middle_is_taken_as_it_comes() -> None:
    tracker = SequenceTracker()
    assert [tracker.observe(4, seq, 0) for seq in (108, 109)] == [Verdict.IN_ORDER] * 2
    assert tracker.tally.gaps == 0


def test_an_announcement_that_comes_after_its_frames_changes_nothing() -> None:
    tracker = SequenceTracker()
    tracker.observe(1, 1, 0)
    tracker.begin(1, 0)
    assert tracker.observe(1, 2, 0) is Verdict.IN_ORDER


def test_an_ended_stream_may_begin_again() -> None:
    tracker = SequenceTracker()
    tracker.begin(1, 0)
    tracker.observe(1, 1, 0)
    tracker.end(1)
    tracker.begin(1, 0)
    assert tracker.observe(1, 1, 0) is Verdict.IN_ORDER
    assert tracker.tally.streams == 2


@given(st.integers(2, 60), st.data())
def test_whatever_is_dropped_but_the_end_is_found(frames: int, data: st.DataObject) -> None:
    dropped = data.draw(st.sets(st.integers(1, frames - 1), min_size=1))
    tracker = SequenceTracker()
    tracker.begin(1, 0)
    for seq in range(1, frames + 1):
        if seq not in dropped:
            tracker.observe(1, seq, seq)
    assert tracker.tally.lost == len(dropped)
    runs = sum(seq - 1 not in dropped for seq in dropped)
    assert tracker.tally.gaps == runs


@given(st.permutations(range(1, 12)), st.data())
def test_late_and_repeated_frames_are_told_apart(order: list[int], data: st.DataObject) -> None:
    repeats = data.draw(st.lists(st.sampled_from(order), max_size=5))
    tracker = SequenceTracker()
    tracker.begin(1, 0)
    for seq in [*order, *repeats]:
        tracker.observe(1, seq, 0)
    assert tracker.tally.duplicates == len(repeats)
    assert tracker.tally.lost == tracker.tally.out_of_order
    assert tracker.tally.streams == 1


def test_one_damaged_number_does_not_silence_a_stream() -> None:
    tracker = SequenceTracker()
    tracker.observe(1, 1, 0)
    tracker.observe(1, 10**30, 0)
    verdicts = [tracker.observe(1, seq, 0) for seq in range(2, 2 + RESTART_RUN + 1)]
    assert verdicts[-2:] == [Verdict.GAP, Verdict.IN_ORDER]
    assert tracker.tally.gaps == 2


def test_what_is_remembered_is_bounded() -> None:
    tracker = SequenceTracker()
    tracker.observe(1, 1, 0)
    tracker.observe(1, 10**9, 0)
    tracker.observe(1, 2 * 10**9, 0)
    assert tracker.observe(1, 2 * 10**9 - REMEMBERED_MISSING, 0) is Verdict.LATE
    assert tracker.observe(1, 10**9 - 1, 0) is Verdict.DUPLICATE
