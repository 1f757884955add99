"""The raw archive's lines: what the engine was given is in them, and comes back exactly."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_collector.captured import CapturedInput
from surveillance_collector.journal.records import (
    Doubt,
    Kind,
    Record,
    encode_payload,
)
from surveillance_collector.journal.spelling import Speller
from surveillance_collector.output import Output
from surveillance_collector.sampling import Tier
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.raw import open_raw
from surveillance_core.markets import Venue
from surveillance_core.settings import Settings
from surveillance_core.venues.captures import (
    CaptureRecord,
    Connected,
    DoubtedAssets,
    FrameRecord,
    capture_line,
    capture_records,
    frame_record,
)
from surveillance_core.venues.protocols import AssetTerms

from .archiving import (
    collect,
    eventful,
    quick,
    raw_entries,
)
from .cutting import Step
from .worlds import VENUE

KALSHI = Venue.KALSHI


@pytest.fixture
def keeping(config: Path, tmp_path: Path) -> Settings:
    return quick(config, tmp_path / "lake")


def held(lake: Lake, venue: Venue = VENUE) -> list[list[CaptureRecord]]:
    """Lines of each file of the archive."""
    return [list(capture_records(open_raw(lake, entry))) for entry in raw_entries(lake, venue)]


class Noted:
    """Takes what is done to an engine."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def __getattr__(self, name: str) -> Callable[..., Output]:
        def note(*arguments: object) -> Output:
            if name != "advance":
                self.steps.append((name, arguments))
            return Output()

        return note


def _each_followed_alone(steps: list[Step]) -> list[Step]:
    spread: list[Step] = []
    for name, arguments in steps:
        if name == "follow":
            conn, assets, tier, ns = arguments
            spread += [("follow", (conn, [terms], tier, ns)) for terms in assets]
        elif name == "disconnect" and len(arguments) == 3:
            spread.append((name, (*arguments, None)))
        else:
            spread.append((name, arguments))
    return spread


@pytest.mark.parametrize("venue", [VENUE, KALSHI])
async def test_what_the_engine_was_given_comes_back_byte_for_byte(
    keeping: Settings, lake: Lake, venue: Venue
) -> None:
    steps = eventful(venue)
    await collect(keeping, lake, venue, steps)
    noted: Any = Noted()
    captured = CapturedInput(noted)
    for lines in held(lake, venue):
        for line in lines:
            captured.apply(line)
    *told, finish = noted.steps
    assert finish[0] == "finish"
    given = _each_followed_alone(steps)
    # a connection that had ended is not named any more by what comes after
    at = max(number for number, (name, _) in enumerate(given) if name == "forget")
    given[at] = ("forget", ("", *given[at][1][1:]))
    assert told == given
    assert captured.damaged == 0


terms_of_any_kind = st.builds(
    AssetTerms,
    market_id=st.text(max_size=5),
    asset_id=st.text(max_size=5),
    tick=st.integers(1, 10_000),
    primary=st.booleans(),
    mirror_id=st.none() | st.text(max_size=5),
    min_order_size=st.none() | st.text(max_size=5),
    neg_risk=st.none() | st.booleans(),
)


@given(terms=terms_of_any_kind, tier=st.sampled_from(Tier))
def test_terms_come_back_exactly(terms: AssetTerms, tier: Tier) -> None:
    speller = Speller()
    speller.spell(Record(Kind.CONNECT, 1, 7, b"c1"))
    payload = encode_payload((tier, [terms]))
    line = b"".join(map(capture_line, speller.spell(Record(Kind.FOLLOW, 2, 7, payload))))
    noted: Any = Noted()
    captured = CapturedInput(noted)
    captured.apply(Connected(recv_ns=1, conn="c1"))
    (read,) = _read(line)
    captured.apply(read)
    assert noted.steps[1] == ("follow", ("c1", [terms], tier, 2))


@given(payload=st.binary() | st.text().map(str.encode))
def test_a_frame_comes_back_byte_for_byte(payload: bytes) -> None:
    (read,) = _read(capture_line(frame_record(5, "c1", payload)))
    assert isinstance(read, FrameRecord)
    received = read.received
    assert (received.encode() if isinstance(received, str) else received) == payload


def _read(content: bytes) -> list[CaptureRecord]:
    return list(capture_records(io.BytesIO(content)))


def test_a_doubt_from_outside_is_a_line_of_its_own() -> None:
    speller = Speller()
    speller.spell(Record(Kind.STANDING_CONNECTION, 1, 7, b"c1"))
    payload = encode_payload(Doubt(["a", "b"], "witness_differs", 3))
    (line,) = speller.spell(Record(Kind.DOUBT, 9, 7, payload))
    told = DoubtedAssets(
        recv_ns=9, conn="c1", asset_ids=("a", "b"), cause="witness_differs", since_ns=3
    )
    assert line == told
    assert _read(capture_line(line)) == [told]
    noted: Any = Noted()
    captured = CapturedInput(noted)
    given: list[Record] = []
    captured.inputs.apply = lambda record: given.append(record)
    captured.apply(Connected(recv_ns=1, conn="c1", standing=True))
    captured.apply(told)
    assert given[1] == Record(Kind.DOUBT, 9, 1, payload)
    # of a connection that is not open there is nothing to doubt
    captured.apply(DoubtedAssets(recv_ns=9, conn="c9", asset_ids=("a",), cause="x", since_ns=3))
    assert len(given) == 2
