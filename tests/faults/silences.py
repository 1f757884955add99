"""Silences that were put into a running collector, and the ledger held against them.

Everything runs ``SCALE`` times as fast as it is deployed: a venue's minute takes ten seconds. What
a busy machine is late by counts as often.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from surveillance_collector.coverage import TRUSTED
from surveillance_collector.following import Followed
from surveillance_collector.service import VenueCollector
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.schemas import SNAPSHOTS
from surveillance_core.venues.simulated.judge import compare_books
from surveillance_core.venues.simulated.servers import SimulatedPolymarket
from tests.collector.live import collecting, publish_world, trust, until, world_of
from tests.collector.worlds import lake_rows

from .matrix import Trial
from .quick_collector import quick_settings

SCALE = 6.0
STALL_S = 60.0 / SCALE
SCALED: dict[str, Any] = {
    "stall_seconds": 55.0 / SCALE,
    "first_book_seconds": 30.0 / SCALE,
    "half_open_seconds": 30.0 / SCALE,
    "witness_seconds": 35.0 / SCALE,
    "witness_again_seconds": 5.0 / SCALE,
    "witness_quiet_seconds": 10.0 / SCALE,
    "connection_minutes": 0.0,
    "assets_per_connection": 4,
}
EXACT_US = int(1e6 / SCALE)
"""A second of the venue's."""
HEALED_S = 4 * STALL_S
ON_ITS_WAY_S = 0.1
"""What was sent before a silence has come by then."""
MARKETS = 6
RATE = 60.0


@dataclass(frozen=True)
class Silence:
    """What was withheld, when it began, was found, and each book was had again, µs of the epoch."""

    name: str
    began_us: int
    found_us: int
    healed_us: Mapping[str, int]
    """By when each was seen to be trusted again, which a busy machine sees late."""
    sent_us: Mapping[str, int]
    """When the venue first sent each anew."""
    told_us: int | None = None
    """When the collector was last told anything, where what was on its way is lost too."""

    @property
    def detection_s(self) -> float:
        """Seconds of the venue's from the beginning until it was found."""
        return (self.found_us - self.began_us) / 1e6 * SCALE


@dataclass(frozen=True)
class Quiet:
    """A collector on its venue, and its lake."""

    venue: SimulatedPolymarket
    collector: VenueCollector
    lake: Lake
    sent: dict[str, list[int]]
    """When the venue sent each token's book because somebody subscribed, µs of the epoch."""

    @property
    def primary(self) -> dict[str, Followed]:
        """Assets with books of their own."""
        assets = self.collector._engine.assets
        return {each.terms.asset_id: each for each in assets if each.terms.primary}

    def trusted(self, outcomes: Collection[str]) -> int:
        """How many of the books the ledger trusts at present."""
        lines = [self.primary[outcome].coverage for outcome in outcomes]
        return sum(line is not None and line.state == TRUSTED for line in lines)

    async def all_trusted(self) -> None:
        """Wait until every book stands."""
        primary = self.primary
        await until(lambda: self.trusted(primary) == len(primary), "every book trusted", HEALED_S)

    async def watch(self, name: str, outcomes: Collection[str], began_us: int) -> Silence:
        """Wait until all the books have been doubted and had again.

        A doubt may be over at once: a book that has changed although nothing of it came is one
        that was asked for anew.
        """
        await asyncio.sleep(ON_ITS_WAY_S)
        before = {outcome: self._mark(outcome) for outcome in outcomes}
        found: dict[str, int] = {}
        healed: dict[str, int] = {}

        def look() -> bool:
            for outcome in outcomes:
                changed = self._mark(outcome) != before[outcome]
                trusted = self.trusted([outcome])
                if changed or not trusted:
                    found.setdefault(outcome, now_us())
                if changed and trusted:
                    healed.setdefault(outcome, now_us())
            return len(healed) == len(outcomes)

        await until(look, f"{name}: found and healed", HEALED_S)
        sent = {
            outcome: min((at for at in self.sent.get(outcome, ()) if at >= began_us), default=at_us)
            for outcome, at_us in healed.items()
        }
        return Silence(name, began_us, max(found.values()), healed, sent)

    def _mark(self, outcome: str) -> tuple[str, int]:
        followed = self.primary[outcome]
        return followed.conn, followed.state.version


def now_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1_000


@asynccontextmanager
async def on_lake(
    folder: Path, venue: SimulatedPolymarket, ws_url: str, **polymarket: Any
) -> AsyncGenerator[Quiet]:
    """A collector on a venue that it reaches at ``ws_url``."""
    folder.mkdir()  # noqa: ASYNC240  # before anything is timed
    lake = Lake(str(folder / "lake"), "simulated")
    publish_world(lake, venue)
    settings = quick_settings(folder, ws_url, http_url=venue.http_url, **(SCALED | polymarket))
    async with collecting(settings, lake) as collector:
        quiet = Quiet(venue, collector, lake, _noted_books(venue))
        markets = len(world_of(venue).tradable)
        await until(lambda: len(quiet.primary) == markets, "everything followed")
        yield quiet
        # the last row of each book is to be one of after
        await asyncio.sleep(0.5)


def _noted_books(venue: SimulatedPolymarket) -> dict[str, list[int]]:
    """Have it noted when the venue answers a subscription with books."""
    noted: dict[str, list[int]] = {}
    source = venue.sockets._source
    answer = source.initial_books

    def answered(tokens: Sequence[str]) -> str:
        for token in tokens:
            noted.setdefault(token, []).append(now_us())
        return answer(tokens)

    source.initial_books = answered
    return noted


@dataclass(frozen=True)
class Told:
    """What a collector has written of its silences, all of it published."""

    lake: Lake
    venue: SimulatedPolymarket
    silences: Collection[Silence]


def judge_ledgers(trial: Trial, told: Iterable[Told]) -> None:
    """Judge each ledger, once no collector runs: judging takes long and would hold them up."""
    for number, each in enumerate(told):
        with trial.case(f"ledger of collector {number}"):
            _judge_ledger(each.lake, each.venue, each.silences)
        trial.runs -= 1


def _judge_ledger(lake: Lake, venue: SimulatedPolymarket, silences: Collection[Silence]) -> None:
    """The ledger has every silence, to a second of the venue's, and none that was not.

    A silence is exact where it begins between the last change that came and the first that was
    withheld, and ends when the book was had anew.

    Raises
    ------
    AssertionError
        If it does not, or if a row that is trusted is not true.
    """
    ledger = trust(lake)
    doubts: dict[str, list[dict[str, Any]]] = {}
    for row in ledger.filter(pl.col("state") == "untrusted").rows(named=True):
        doubts.setdefault(row["outcome_id"], []).append(row)
    excused: dict[str, list[tuple[int, int]]] = {}
    for silence in silences:
        for outcome, healed_us in silence.healed_us.items():
            last_us, first_us = _around(venue, outcome, silence.began_us)
            if silence.told_us is not None:
                last_us = min(last_us, silence.told_us)
            excused.setdefault(outcome, []).append((last_us - EXACT_US, healed_us + EXACT_US))
            until_us = min(healed_us, silence.sent_us[outcome]) - EXACT_US
            told = (max(first_us, silence.began_us) + EXACT_US, until_us)
            left = _without(told, [(row["start_us"], row["end_us"]) for row in doubts[outcome]])
            what = f"{silence.name} of {outcome[:8]}, {_in_words(told, silence.began_us)}"
            assert not left, f"{what}, is trusted at {_in_words(left[0], silence.began_us)}"
    for row in _unexplained(ledger, doubts):
        left = _without((row["start_us"], row["end_us"]), excused.get(row["outcome_id"], []))
        assert not left, (
            f"{row['outcome_id'][:8]} is not trusted for {row['cause']} at "
            f"{_in_words(left[0], left[0][0])} without a silence"
        )
    _judge_trusted(ledger, lake, venue)


def _without(whole: tuple[int, int], taken: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is left of an interval without others."""
    left: list[tuple[int, int]] = []
    start_us, end_us = whole
    for first_us, last_us in sorted(taken):
        if first_us > start_us:
            left.append((start_us, min(first_us, end_us)))
        start_us = max(start_us, last_us)
        if start_us >= end_us:
            break
    else:
        left.append((start_us, end_us))
    return [(first_us, last_us) for first_us, last_us in left if last_us > first_us]


def _in_words(interval: tuple[int, int], since_us: int) -> str:
    start_s, end_s = ((at_us - since_us) / 1e6 for at_us in interval)
    return f"{start_s:.3f} to {end_s:.3f} s"


def _unexplained(
    ledger: pl.DataFrame, doubts: Mapping[str, Iterable[dict[str, Any]]]
) -> Iterable[dict[str, Any]]:
    """Doubts between the first and the last trust of each book.

    Those in which a new price grid has come and the book on it has not are the venue's own.
    """
    trusted = ledger.filter(pl.col("state") == "trusted")
    for outcome, rows in doubts.items():
        own = trusted.filter(pl.col("outcome_id") == outcome)
        starts, ends = own["start_us"].to_list(), own["end_us"].to_list()
        for row in rows:
            between = row["start_us"] >= min(starts) and row["end_us"] <= max(ends)
            if between and row["cause"] != "tick_size_change":
                yield row


def _around(venue: SimulatedPolymarket, outcome: str, moment_us: int) -> tuple[int, int]:
    """When the book last changed before a moment, and first after it, as it was sent, µs."""
    index, _ = venue.truth.outcomes()[outcome]
    sent = [b.sent_ns // 1_000 for b in venue.truth.batches.get(index, []) if b.changes]
    before = max((at for at in sent if at < moment_us), default=0)
    after = min((at for at in sent if at >= moment_us), default=moment_us)
    return before, after


def _judge_trusted(ledger: pl.DataFrame, lake: Lake, venue: SimulatedPolymarket) -> None:
    rows = lake_rows(lake, SNAPSHOTS).with_row_index()
    at_us = pl.col("ts_recv").dt.epoch("us")
    trusted = ledger.filter(pl.col("state") == "trusted")
    kept = rows.join(trusted.select("outcome_id", "start_us", "end_us"), on="outcome_id").filter(
        at_us.ge(pl.col("start_us")), at_us.lt(pl.col("end_us"))
    )["index"]
    books = compare_books(
        rows.filter(pl.col("index").is_in(kept.to_list())).drop("index"), venue.truth
    )
    assert books.compared >= len(world_of(venue).tradable), "nothing is trusted"
    assert not books.different, f"{books.different} trusted rows not true: {books.examples[:1]}"
    last = rows.sort("ts_recv").group_by("outcome_id").last().select(rows.columns).drop("index")
    after = compare_books(last.sort("outcome_id"), venue.truth)
    assert after.compared == len(world_of(venue).tradable), "a book is missing in the end"
    assert not after.different, f"a book is not true in the end: {after.examples[:1]}"
