"""Worlds to collect from: simulated histories, a market spelled by hand, universes, recordings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import polars as pl

from surveillance_collector.engine import Engine
from surveillance_collector.journal.files import LocalSegments
from surveillance_collector.output import Output
from surveillance_collector.rows import Row
from surveillance_collector.sampling import Sampling, Tier
from surveillance_core.books import SPELLING, OrderBook
from surveillance_core.lake.layout import QUARANTINE_SUFFIX, rejected_frames_file
from surveillance_core.lake.manifest import manifest_days
from surveillance_core.lake.packed import unpack_numbers
from surveillance_core.lake.publish import Lake, rows_to_table
from surveillance_core.lake.read import scan_table
from surveillance_core.lake.schemas import Table
from surveillance_core.markets import FeeTerms, GroupKind, GroupRef, Market, Outcome, Venue
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.polymarket.integrity import HashTerms, hash_book, spell_size
from surveillance_core.venues.protocols import AssetTerms
from surveillance_core.venues.registry import asset_terms
from surveillance_core.venues.simulated.polymarket.history import record_history
from surveillance_core.venues.simulated.truth import Truth, TruthLog
from surveillance_core.venues.simulated.world import World

START_MS = 1_790_000_000_000
START_NS = START_MS * 1_000_000
MS = 1_000_000
SECOND = 1_000_000_000
VENUE = Venue.POLYMARKET


class UnjournaledEngine(Engine):
    """An engine that feeds can be given as it is: nothing is written down, so nothing is full."""

    crowded = False

    async def room(self) -> None:
        return


def opened_segments(directory: Path) -> LocalSegments:
    """A journal's directory, made where there is none."""
    files = LocalSegments(directory)
    files.open()
    return files


# ── universes ────────────────────────────────────────────────────────────────────────────────


def listed_market(
    market_id: str,
    *,
    group: str | None = None,
    volume: float | None = None,
    title: str = "Will it happen?",
    close: datetime | None = None,
    tokens: Sequence[str] | None = None,
    tick: float = 0.01,
    neg_risk: bool = False,
) -> Market:
    """A market as discovery would publish it."""
    names = tokens if tokens is not None else (f"{market_id}-yes", f"{market_id}-no")
    return Market(
        venue=VENUE,
        market_id=market_id,
        title=title,
        outcomes=tuple(Outcome(name, label) for name, label in zip(names, "YN", strict=False)),
        tick_size=tick,
        min_order_size=5.0,
        neg_risk=neg_risk,
        groups=()
        if group is None
        else (GroupRef(group_id=group, kind=GroupKind.EVENT, title=group, members=1),),
        fee_terms=FeeTerms.UNKNOWN,
        fees=None,
        rewards=None,
        close_hint=close,
        volume_24h=volume,
        liquidity=None,
        category=None,
        rules_hash="00",
        fetched_at=datetime(2026, 9, 1, tzinfo=UTC),
    )


def universe_of(world: World) -> list[Market]:
    """Every tradable market of a world, an event a group."""
    return [
        listed_market(
            listing.market_id,
            group=event.event_id,
            volume=float(1_000 - listing.index),
            title=listing.title,
            tokens=(listing.yes_id, listing.no_id),
            tick=listing.grid.finest / 10_000,
            neg_risk=event.exclusive,
        )
        for event in world.events
        for listing in event.markets
        if listing.tradable
    ]


# ── histories ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Recording:
    """What one connection received of a simulated world, and what was true."""

    terms: tuple[AssetTerms, ...]
    frames: tuple[tuple[int, str], ...]
    truth: Truth
    until_ms: int

    @property
    def begin_ns(self) -> int:
        return START_NS

    @property
    def end_ns(self) -> int:
        return self.until_ms * MS + SECOND


@lru_cache(maxsize=8)
def recorded(
    seed: int = 1, *, markets: int = 4, seconds: int = 60, rate: float = 10.0, trades: float = 0.2
) -> Recording:
    """A history of a world; both tokens of every market, on one connection."""
    world = World(seed, markets, start_ms=START_MS, events_per_second=rate, trade_share=trades)
    terms = [t for market in universe_of(world) for t in asset_terms(market, mirror=True)]
    log = TruthLog()
    until_ms = START_MS + seconds * 1_000
    frames = tuple(record_history(world, until_ms, log))
    return Recording(tuple(terms), frames, log.truth, until_ms)


def sampled(
    cadence_ms: int = 200,
    *,
    heartbeat_s: float = 2.0,
    bucket_s: float = 10.0,
    top_k: int = 50,
    first_book_s: float = 5.0,
) -> Sampling:
    """When and how deep books are read, in the units people think in."""
    return Sampling(
        cadence_ns={Tier.HOT: cadence_ms * MS, Tier.WARM: 5 * cadence_ms * MS},
        heartbeat_ns=int(heartbeat_s * SECOND),
        bucket_ns=int(bucket_s * SECOND),
        top_k=top_k,
        first_book_ns=int(first_book_s * SECOND),
    )


def new_engine(sampling: Sampling | None = None) -> Engine:
    """An engine that checks the hash of every batch."""
    return Engine(
        lambda reader: PolymarketChannel(reader, hash_interval_ns=0), sampling or sampled()
    )


Emitted = tuple[Table, int, Row]


def run_engine(
    recording: Recording, sampling: Sampling | None = None, extra_ns: Sequence[int] = ()
) -> tuple[Engine, list[Emitted]]:
    """The history through an engine, with time let pass at the extra moments as well."""
    engine = new_engine(sampling)
    engine.connect("c1", recording.begin_ns)
    engine.follow("c1", recording.terms, Tier.HOT, recording.begin_ns)
    emitted: list[Emitted] = []
    waiting = sorted(extra_ns, reverse=True)
    for recv_ns, frame in recording.frames:
        while waiting and waiting[-1] <= recv_ns:
            engine.advance(waiting.pop())
            emitted += engine.drain().rows
        engine.receive("c1", frame, recv_ns)
    for extra in reversed(waiting):
        engine.advance(min(extra, recording.end_ns))
    engine.finish(recording.end_ns)
    emitted += engine.drain().rows
    return engine, emitted


def rows_of(emitted: Output | Iterable[Emitted], table: Table) -> list[dict[str, object]]:
    """One table's rows by column name, in the order they were written."""
    rows = emitted.rows if isinstance(emitted, Output) else emitted
    return [named(table, row) for kind, _, row in rows if kind is table]


def named(table: Table, row: Row) -> dict[str, object]:
    """A row by column name, its lists of numbers unpacked."""
    values = (unpack_numbers(value) if isinstance(value, bytes) else value for value in row)
    return dict(zip((column.name for column in table.columns), values, strict=True))


def frame_of(emitted: Iterable[Emitted], table: Table) -> pl.DataFrame:
    """One table's rows with the lake's types."""
    found = pl.from_arrow(rows_to_table(table, [row for kind, _, row in emitted if kind is table]))
    assert isinstance(found, pl.DataFrame)
    return found


class OneMarket:
    """A single market whose frames are spelled by hand, with true hashes."""

    def __init__(self, bids: dict[int, float] | None = None, asks: dict[int, float] | None = None):
        self.asset_id = "yes-token"
        self.book = OrderBook(
            {4_900: 10.0, 4_700: 3.0} if bids is None else bids,
            {5_100: 5.0, 5_200: 7.0} if asks is None else asks,
        )
        self.terms = AssetTerms(
            market_id="0xmarket",
            asset_id=self.asset_id,
            tick=100,
            min_order_size="5",
            neg_risk=False,
        )
        self._hashed = HashTerms(
            market_id="0xmarket",
            asset_id=self.asset_id,
            min_order_size="5",
            neg_risk=False,
            tick_size="0.01",
            last_trade_price="0.500",
        )

    def book_frame(self, ts_ms: int) -> str:
        """The whole book as it stands."""
        return json.dumps(
            {
                "event_type": "book",
                "market": "0xmarket",
                "asset_id": self.asset_id,
                "timestamp": str(ts_ms),
                "hash": hash_book(self._hashed, ts_ms, self.book),
                "bids": _levels(sorted(self.book.bids.items())),
                "asks": _levels(sorted(self.book.asks.items(), reverse=True)),
                "tick_size": self._hashed.tick_size,
                "last_trade_price": "0.500",
            }
        )

    def change(
        self, ts_ms: int, *changes: tuple[str, int, float], wrong: bool = False
    ) -> list[str]:
        """A batch, a change a frame; ``wrong`` gives it a hash of another book."""
        for side, tick, size in changes:
            levels = self.book.bids if side == "BUY" else self.book.asks
            if size:
                levels[tick] = size
            else:
                levels.pop(tick, None)
        digest = "0" * 40 if wrong else hash_book(self._hashed, ts_ms, self.book)
        return [
            json.dumps(
                {
                    "event_type": "price_change",
                    "market": "0xmarket",
                    "timestamp": str(ts_ms),
                    "price_changes": [
                        {
                            "asset_id": self.asset_id,
                            "price": SPELLING[tick],
                            "size": spell_size(size),
                            "side": side,
                            "hash": digest,
                            "best_bid": SPELLING[self.book.best_bid or 0],
                            "best_ask": SPELLING[self.book.best_ask or 10_000],
                        }
                    ],
                }
            )
            for side, tick, size in changes
        ]

    def tick_change(self, ts_ms: int, new: str) -> str:
        """The price grid becomes ``new``."""
        old, self._hashed.tick_size = self._hashed.tick_size, new
        return json.dumps(
            {
                "event_type": "tick_size_change",
                "market": "0xmarket",
                "asset_id": self.asset_id,
                "old_tick_size": old,
                "new_tick_size": new,
                "timestamp": str(ts_ms),
            }
        )


def _levels(levels: Iterable[tuple[int, float]]) -> list[dict[str, str]]:
    return [{"price": SPELLING[tick], "size": spell_size(size)} for tick, size in levels]


# ── recordings in files ──────────────────────────────────────────────────────────────────────


def capture_lines(recording: Recording) -> list[bytes]:
    """The recording in the capture format."""
    opened: list[dict[str, object]] = [
        {"recv_ns": recording.begin_ns, "conn": "c1", "event": "connected"}
    ]
    assets: list[dict[str, object]] = [
        {
            "recv_ns": recording.begin_ns,
            "conn": "c1",
            "event": "asset",
            "market": terms.market_id,
            "asset_id": terms.asset_id,
            "min_order_size": terms.min_order_size,
            "tick_size": SPELLING[terms.tick],
            "neg_risk": terms.neg_risk,
        }
        for terms in recording.terms
    ]
    frames = [{"recv_ns": ns, "conn": "c1", "frame": text} for ns, text in recording.frames]
    return [json.dumps(line).encode() + b"\n" for line in (*opened, *assets, *frames)]


# ── what is in a lake ────────────────────────────────────────────────────────────────────────


def lake_rows(lake: Lake, table: Table) -> pl.DataFrame:
    """Every listed row of a table, in the table's own order."""
    days = manifest_days(lake.store, VENUE)
    scan = scan_table(lake, table, VENUE, days)
    assert scan.damaged == ()
    return scan.frame.sort(table.sort_by).collect()


def rejected_file(lake: Lake, moment: datetime) -> Path:
    """Where the rejected frames of a day are kept."""
    return Path(lake.store.root + QUARANTINE_SUFFIX) / rejected_frames_file(VENUE, moment.date())
