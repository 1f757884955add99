"""Records held against the truth: snapshot rows against true books, trades against true fills.

Rows about a No outcome are mirrored when they are judged.
"""

# Polars annotates its arguments with numpy types, and numpy is not a dependency
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import polars as pl

from surveillance_core.books import TICKS_PER_DOLLAR
from surveillance_core.markets import Venue
from surveillance_core.venues.simulated.kalshi.spelling import trade_uuid
from surveillance_core.venues.simulated.truth import Truth

STALE_AFTER_NS = 1_000_000_000
"""A row that ignores a batch sent this long before it was taken is stale."""

EXAMPLES = 10


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
    snapshots: pl.DataFrame,
    truth: Truth,
    *,
    top_k: int | None = None,
    stale_after_ns: int = STALE_AFTER_NS,
) -> BookComparison:
    """Judge snapshot rows against the true books.

    A row is right when the true book at (outcome, ``ts_venue``) has exactly its levels, cut at
    ``top_k``, and no later batch of the market had been sent more than ``stale_after_ns`` before
    ``ts_recv``. On Polymarket ``ts_venue`` must be a batch's; on Kalshi it may also be when a
    snapshot was sent, whose book is the one after the last batch until then.

    Parameters
    ----------
    snapshots
        Columns ts_recv (timestamp UTC), ts_venue (timestamp ms), outcome_id, bid_px, bid_sz,
        ask_px, ask_sz (lists, best first, dollars and contracts), and trust where there is one.
    top_k
        Levels a row holds at most; by default the longest list in the frame.
    stale_after_ns
        Nanoseconds of the venue's time that a batch may take from its sending into a row.
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
        elif replay.superseded_ns() < row["recv_ns"] - stale_after_ns:
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
        market = truth.markets[fill.market]
        print_id = fill.transaction_hash
        if market.venue is Venue.KALSHI:
            print_id = trade_uuid(print_id)
        key = (print_id, fill.market, fill.price, fill.size, str(fill.side))
        allowed[key] += 1
        token = market.yes_id if fill.on_yes else market.no_id
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
        self._any_time = opening.venue is Venue.KALSHI
        batches = truth.batches.get(market, [])
        # a new price grid changes no level, and on Kalshi it is not told with the book
        self._batches = [b for b in batches if b.changes] if self._any_time else batches
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
        last_ms = self._times[upto - 1] if upto else self._opened_ms
        known = last_ms == ts_ms or (self._any_time and last_ms < ts_ms)
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


def _differs(result: BookComparison, example: str) -> None:
    result.different += 1
    _note(result.examples, example)


def _note(examples: list[str], example: str) -> None:
    if len(examples) < EXAMPLES:
        examples.append(example)
