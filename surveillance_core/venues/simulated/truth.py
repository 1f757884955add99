"""The truth log: every book and trade of a simulated world, and the judging of records against it.

A log is zstd-compressed JSON, an array a line: the opening book of each market, then each batch as
its level changes and each fill, with the time the venue sent it. Any true book is exact from those.
Levels are kept in Yes terms; rows about a No token are mirrored when they are judged.
"""

# Polars annotates its arguments with numpy types, and numpy is not a dependency
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import io
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import polars as pl
import zstandard

from surveillance_core.books import TICKS_PER_DOLLAR
from surveillance_core.venues.protocols import Side
from surveillance_core.venues.simulated.listings import MarketListing
from surveillance_core.venues.simulated.makers import EngineEvent, Levels
from surveillance_core.venues.simulated.world import World

STALE_AFTER_NS = 1_000_000_000
"""A row that ignores a batch sent this long before it was taken is stale."""

EXAMPLES = 10


class TrueMarket(msgspec.Struct, frozen=True, array_like=True, tag="market"):
    """A market and its book when the log began."""

    market: int
    condition_id: str
    yes_token: str
    no_token: str
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


_Record = TrueMarket | TrueBatch | TrueTrade


class Truth(msgspec.Struct):
    """What really happened, in memory."""

    markets: dict[int, TrueMarket]
    batches: dict[int, list[TrueBatch]]
    """By market, in time order."""
    trades: list[TrueTrade]

    def outcomes(self) -> dict[str, tuple[int, bool]]:
        """Market and whether it is Yes, by token."""
        return {
            token: (market.market, yes)
            for market in self.markets.values()
            for token, yes in ((market.yes_token, True), (market.no_token, False))
        }


class TruthLog:
    """Collects the truth as it happens; writes it to ``path`` where one is given.

    Use as a context manager, or call ``close``: until then a file may be incomplete. ``truth``
    holds the same in memory where no path is given, and is empty otherwise.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.truth = Truth({}, {}, [])
        self._encode = msgspec.json.Encoder().encode
        self._file = (
            None if path is None else zstandard.ZstdCompressor().stream_writer(path.open("wb"))
        )

    def open_markets(self, world: World) -> None:
        """Note every market's book as it stands; call once, before the first batch."""
        for listing in world.tradable:
            image = world.image(listing.index)
            self._keep(_opening(listing, image.ts_ms, image.bids, image.asks))

    def record(self, event: EngineEvent, sent_ns: int) -> None:
        """Note a batch and its fill, sent at ``sent_ns``."""
        changes = tuple((change.bid, change.tick, change.size) for change in event.changes)
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


class BookComparison(msgspec.Struct, kw_only=True):
    """How many snapshot rows agree with the truth."""

    compared: int = 0
    different: int = 0
    """Rows that are wrong, the stale ones among them."""
    stale: int = 0
    diverged: int = 0
    """Rows marked as not to be trusted: counted, not compared."""
    examples: list[str] = []


class TradeComparison(msgspec.Struct, kw_only=True):
    """How the recorded trades agree with the fills."""

    matched: int = 0
    missing: int = 0
    extra: int = 0
    """Recorded but never printed, or recorded twice."""
    examples: list[str] = []


def compare_books(
    snapshots: pl.DataFrame, truth: Truth, *, top_k: int | None = None
) -> BookComparison:
    """Judge snapshot rows against the true books.

    A row is right when the true book at (outcome, ``ts_venue``) has exactly its levels, cut at
    ``top_k``, and no later batch of the market had been sent more than a second before ``ts_recv``.

    Parameters
    ----------
    snapshots
        Columns ts_recv (timestamp UTC), ts_venue (timestamp ms), outcome_id, bid_px, bid_sz,
        ask_px, ask_sz (lists, best first, dollars and contracts), and trust where there is one.
    top_k
        Levels a row holds at most; by default the longest list in the frame.
    """
    result = BookComparison()
    outcomes = truth.outcomes()
    if top_k is None:
        longest = snapshots.select(
            pl.max_horizontal(pl.col("bid_px").list.len().max(), pl.col("ask_px").list.len().max())
        ).item()
        top_k = int(longest or 0)
    columns = ["outcome_id", "bid_px", "bid_sz", "ask_px", "ask_sz"]
    trust = pl.col("trust").cast(pl.String) if "trust" in snapshots.columns else pl.lit("verified")
    rows = snapshots.select(
        *columns,
        pl.col("ts_venue").dt.epoch("ms").alias("ts_ms"),
        (pl.col("ts_recv").dt.epoch("us") * 1000).alias("recv_ns"),
        trust.alias("trust"),
    )
    result.diverged = rows.filter(pl.col("trust") == "diverged").height
    rows = rows.filter(pl.col("trust") != "diverged").sort("outcome_id", "ts_ms", "recv_ns")
    result.compared = rows.height
    replay: _Replay | None = None
    for row in rows.iter_rows(named=True):
        outcome: str = row["outcome_id"]
        found = outcomes.get(outcome)
        if found is None or row["ts_ms"] is None:
            _differs(result, f"{outcome}: unknown outcome or no venue time")
            continue
        if replay is None or replay.outcome != outcome:
            replay = _Replay(truth, outcome, *found)
        expected = replay.top(row["ts_ms"], top_k)
        recorded = (
            _levels(row["bid_px"], row["bid_sz"]),
            _levels(row["ask_px"], row["ask_sz"]),
        )
        place = f"{outcome} at {row['ts_ms']}"
        if expected is None:
            _differs(result, f"{place}: the venue had no batch at that time")
        elif recorded != expected:
            _differs(result, f"{place}: recorded {recorded}, true {expected}")
        elif replay.superseded_ns() < row["recv_ns"] - STALE_AFTER_NS:
            result.stale += 1
            late = (row["recv_ns"] - replay.superseded_ns()) / 1e9
            _differs(result, f"{place}: stale, the next batch had been sent {late:.3f} s before")
    return result


def compare_trades(
    trades: pl.DataFrame,
    truth: Truth,
    *,
    windows: Mapping[str, Sequence[tuple[int, int]]] | None = None,
) -> TradeComparison:
    """Judge recorded trades against the fills; each fill must be there exactly once.

    Parameters
    ----------
    trades
        Columns outcome_id, price (dollars), size, taker_side, and transaction_id or
        transaction_hash; in terms of either token.
    windows
        Nanosecond intervals [from, to) by token in which that token was subscribed. Where given,
        only fills printed on a token within one of its windows are missed when absent.
    """
    result = TradeComparison()
    outcomes = truth.outcomes()
    due: Counter[tuple[object, ...]] = Counter()
    allowed: Counter[tuple[object, ...]] = Counter()
    for fill in truth.trades:
        key = (fill.transaction_hash, fill.market, fill.price, fill.size, str(fill.side))
        allowed[key] += 1
        market = truth.markets[fill.market]
        token = market.yes_token if fill.on_yes else market.no_token
        sent_ns = fill.sent_ns
        if windows is None or any(a <= sent_ns < b for a, b in windows.get(token, ())):
            due[key] += 1
    column = "transaction_hash" if "transaction_hash" in trades.columns else "transaction_id"
    recorded: Counter[tuple[object, ...]] = Counter()
    for row in trades.iter_rows(named=True):
        market_index, yes = outcomes.get(row["outcome_id"], (-1, True))
        tick, side = round(row["price"] * TICKS_PER_DOLLAR), row["taker_side"]
        if not yes:
            tick, side = TICKS_PER_DOLLAR - tick, "sell" if side == "buy" else "buy"
        recorded[(row[column], market_index, tick, row["size"], side)] += 1
    for key, count in recorded.items():
        result.matched += min(count, allowed[key])
        if count > allowed[key]:
            result.extra += count - allowed[key]
            _note(result.examples, f"extra: {key}")
    for key, count in due.items():
        if count > recorded[key]:
            result.missing += count - recorded[key]
            _note(result.examples, f"missing: {key}")
    return result


class _Replay:
    """One market's true book moved forward in time, read from one token's side."""

    def __init__(self, truth: Truth, outcome: str, market: int, yes: bool) -> None:
        opening = truth.markets[market]
        self.outcome = outcome
        self._yes = yes
        self._batches = truth.batches.get(market, [])
        self._times = [batch.ts_ms for batch in self._batches]
        self._opened_ms = opening.ts_ms
        self._bids, self._asks = dict(opening.bids), dict(opening.asks)
        self._applied = 0

    def top(
        self, ts_ms: int, top_k: int
    ) -> tuple[list[tuple[int, float]], list[tuple[int, float]]] | None:
        """Best levels after the batch at ``ts_ms``; None if there was none. Times never fall."""
        upto = bisect_right(self._times, ts_ms)
        for batch in self._batches[self._applied : upto]:
            for bid, tick, size in batch.changes:
                side = self._bids if bid else self._asks
                if size:
                    side[tick] = size
                else:
                    side.pop(tick, None)
        self._applied = upto
        known = self._times[upto - 1] == ts_ms if upto else self._opened_ms == ts_ms
        if not known:
            return None
        bids = sorted(self._bids.items(), reverse=True)[:top_k]
        asks = sorted(self._asks.items())[:top_k]
        if self._yes:
            return bids, asks
        return _mirrored(asks), _mirrored(bids)

    def superseded_ns(self) -> float:
        """When the batch after the one last read was sent; infinite if there is none."""
        if self._applied == len(self._batches):
            return float("inf")
        return self._batches[self._applied].sent_ns


def _mirrored(levels: list[tuple[int, float]]) -> list[tuple[int, float]]:
    return [(TICKS_PER_DOLLAR - tick, size) for tick, size in levels]


def _levels(prices: Sequence[float], sizes: Sequence[float]) -> list[tuple[int, float]]:
    ticks = [round(price * TICKS_PER_DOLLAR) for price in prices]
    return list(zip(ticks, sizes, strict=True))


def _opening(listing: MarketListing, ts_ms: int, bids: Levels, asks: Levels) -> TrueMarket:
    return TrueMarket(
        listing.index,
        listing.condition_id,
        listing.yes_token,
        listing.no_token,
        ts_ms,
        bids,
        asks,
    )


def _add(truth: Truth, record: _Record) -> None:
    if isinstance(record, TrueBatch):
        truth.batches.setdefault(record.market, []).append(record)
    elif isinstance(record, TrueTrade):
        truth.trades.append(record)
    else:
        truth.markets[record.market] = record


def _differs(result: BookComparison, example: str) -> None:
    result.different += 1
    _note(result.examples, example)


def _note(examples: list[str], example: str) -> None:
    if len(examples) < EXAMPLES:
        examples.append(example)
