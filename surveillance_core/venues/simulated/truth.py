"""The truth log: every book, trade, result and plant of a simulated world, and frames if wanted.

A log is zstd-compressed JSON, an array a line: the opening book of each market before anything
happens in it, then each batch as its level changes and each fill, with the time the venue sent it.
Any true book is exact from those. Levels are kept in Yes terms. ``judge`` holds records against it.
"""

from __future__ import annotations

import io
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import zstandard

from surveillance_core.markets import Venue
from surveillance_core.venues.protocols import Side
from surveillance_core.venues.simulated.happenings import (
    BookImage,
    EngineEvent,
    Levels,
    MarketResolved,
    PlantPlaced,
    WorldEvent,
)
from surveillance_core.venues.simulated.listings import MarketListing
from surveillance_core.venues.simulated.plants import Plant
from surveillance_core.venues.simulated.world import World


class TrueMarket(msgspec.Struct, frozen=True, array_like=True, tag="market"):
    """A market and its book as it opened, or as it stood when the log began."""

    market: int
    venue: Venue
    market_id: str
    yes_id: str
    no_id: str
    ts_ms: int
    bids: Levels
    asks: Levels


class TrueBatch(msgspec.Struct, frozen=True, array_like=True, tag="batch"):
    """Changes of one engine batch: (is bid, ticks, contracts), sizes absolute."""

    market: int
    ts_ms: int
    sent_ns: int
    changes: tuple[tuple[bool, int, float], ...]


class TrueTrade(msgspec.Struct, frozen=True, array_like=True, tag="trade"):
    """A fill in Yes terms; ``sent_ns`` is when its batch was sent, the print follows."""

    market: int
    batch_ms: int
    print_ms: int
    sent_ns: int
    price: int
    size: float
    side: Side
    on_yes: bool
    informed: bool
    transaction_hash: str


class TrueResult(msgspec.Struct, frozen=True, array_like=True, tag="result"):
    """What a market resolved to, and what Yes pays in dollars."""

    market: int
    ts_ms: int
    result: str
    value: float


class TruePlant(msgspec.Struct, frozen=True, array_like=True, tag="plant"):
    """A planted violation or decoy that stood in the books."""

    ts_ms: int
    plant: Plant


class TrueFrame(msgspec.Struct, frozen=True, array_like=True, tag="frame"):
    """A frame as it was sent to one connection."""

    venue: Venue
    connection: int
    sent_ns: int
    text: str


_Record = TrueMarket | TrueBatch | TrueTrade | TrueResult | TruePlant | TrueFrame


class Truth(msgspec.Struct):
    """What really happened, in memory."""

    markets: dict[int, TrueMarket]
    batches: dict[int, list[TrueBatch]]
    """By market, in time order."""
    trades: list[TrueTrade]
    results: dict[int, TrueResult] = {}
    plants: list[TruePlant] = []
    frames: list[TrueFrame] = []

    def outcomes(self) -> dict[str, tuple[int, bool]]:
        """Market and whether it is Yes, by outcome id."""
        return {
            outcome: (market.market, yes)
            for market in self.markets.values()
            for outcome, yes in ((market.yes_id, True), (market.no_id, False))
        }

    def of(self, venue: Venue) -> Truth:
        """What happened on one venue; plants span venues and are all kept."""
        mine = {m for m, market in self.markets.items() if market.venue is venue}
        return Truth(
            markets={m: market for m, market in self.markets.items() if m in mine},
            batches={m: batches for m, batches in self.batches.items() if m in mine},
            trades=[trade for trade in self.trades if trade.market in mine],
            results={m: result for m, result in self.results.items() if m in mine},
            plants=self.plants,
            frames=[frame for frame in self.frames if frame.venue is venue],
        )


class TruthLog:
    """Collects the truth as it happens; writes it to ``path`` where one is given.

    Use as a context manager, or call ``close``: until then a file may be incomplete. ``truth``
    holds the same in memory where no path is given, and is empty otherwise.

    Parameters
    ----------
    frames
        Whether frames are kept too: everything sent to every connection, which is much.
    """

    def __init__(self, path: Path | None = None, *, frames: bool = False) -> None:
        self.truth = Truth({}, {}, [])
        self.frames = frames
        self._encode = msgspec.json.Encoder().encode
        self._file = (
            None if path is None else zstandard.ZstdCompressor().stream_writer(path.open("wb"))
        )

    def watch(self, world: World) -> None:
        """Note each book as it is made and each plant as it is placed, from now on."""
        world.on_book = self._open
        world.on_plant = self._note_plant

    def record(self, event: WorldEvent, sent_ns: int) -> None:
        """Note a batch and its fill, sent at ``sent_ns``, or a result."""
        if isinstance(event, MarketResolved):
            self._keep(TrueResult(event.market, event.ts_ms, event.result, event.value))
        if not isinstance(event, EngineEvent):
            return
        changes = tuple([(change.bid, change.tick, change.size) for change in event.changes])
        self._keep(TrueBatch(event.market, event.ts_ms, sent_ns, changes))
        trade = event.trade
        if trade is not None:
            self._keep(
                TrueTrade(
                    event.market,
                    event.ts_ms,
                    trade.print_ms,
                    sent_ns,
                    trade.price,
                    trade.size,
                    trade.side,
                    trade.on_yes,
                    trade.informed,
                    trade.transaction_hash,
                )
            )

    def record_frame(self, venue: Venue, connection: int, sent_ns: int, text: str) -> None:
        """Note a frame, if frames are kept."""
        if self.frames:
            self._keep(TrueFrame(venue, connection, sent_ns, text))

    def close(self) -> None:
        """Flush and close the file; harmless when repeated."""
        if self._file is not None and not self._file.closed:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, listing: MarketListing, image: BookImage) -> None:
        self._keep(
            TrueMarket(
                listing.index,
                listing.venue,
                listing.market_id,
                listing.yes_id,
                listing.no_id,
                image.ts_ms,
                image.bids,
                image.asks,
            )
        )

    def _note_plant(self, placed: PlantPlaced) -> None:
        self._keep(TruePlant(placed.ts_ms, placed.plant))

    def _keep(self, record: _Record) -> None:
        if self._file is None:
            _add(self.truth, record)
        else:
            self._file.write(self._encode(record) + b"\n")


def read_truth(path: Path) -> Truth:
    """The truth of a closed log.

    Raises
    ------
    msgspec.DecodeError
        If a line is not a record, as the last one of a log that was not closed may be.
    """
    truth = Truth({}, {}, [])
    decode = msgspec.json.Decoder(_Record).decode
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        for line in io.TextIOWrapper(stream, encoding="utf-8"):
            _add(truth, decode(line))
    return truth


def _add(truth: Truth, record: _Record) -> None:
    match record:
        case TrueBatch():
            truth.batches.setdefault(record.market, []).append(record)
        case TrueTrade():
            truth.trades.append(record)
        case TrueMarket():
            truth.markets[record.market] = record
        case TrueResult():
            truth.results[record.market] = record
        case TruePlant():
            truth.plants.append(record)
        case TrueFrame():
            truth.frames.append(record)
