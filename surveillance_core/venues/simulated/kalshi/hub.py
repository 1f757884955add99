"""Market data as the venue sends it: the world's events turned into frames for whoever follows.

Pure but for the outlets it hands frames to. Facts: reference kalshi.md 0 and 3. Prints come when
they are due, tickers at most once a second a market, an empty book some seconds after trading has
ended, settlement some time after determination: all by the venue's clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from heapq import heappop, heappush
from typing import Any, Final

import msgspec

from surveillance_core.books import TICKS_PER_DOLLAR
from surveillance_core.venues.simulated.kalshi.answers import Answers
from surveillance_core.venues.simulated.kalshi.catalogue import Catalogue
from surveillance_core.venues.simulated.kalshi.commands import Channel
from surveillance_core.venues.simulated.kalshi.frames import (
    close_date_body,
    created_body,
    delta_bodies,
    determined_body,
    event_body,
    grid_body,
    settled_body,
    snapshot_body,
    takes_yes,
    ticker_body,
    trade_body,
)
from surveillance_core.venues.simulated.kalshi.ledger import Ledger, MarketRecord
from surveillance_core.venues.simulated.kalshi.objects import settlement_timer_s
from surveillance_core.venues.simulated.kalshi.spelling import market_uuid, trade_uuid
from surveillance_core.venues.simulated.kalshi.stage import (
    Batch,
    Fill,
    Happening,
    KalshiWorld,
    Levels,
    Resolution,
)
from surveillance_core.venues.simulated.kalshi.subscriptions import Stream

TICKER_EVERY_MS: Final = 1_000
_EARLY_MS: Final = 1_000
"""Further than this from the listed close, trading has ended at another time than was said."""

_EMPTIED_LEAST_MS: Final = 500
_EMPTIED_RATIO: Final = 50
"""The empty book comes 0.5 to 25 s after the close, in the middle 6 (reference kalshi.md 0, 5)."""


class OpeningLevel(msgspec.Struct, frozen=True):
    """A level that rests as trading begins."""

    bid: bool
    tick: int
    size: float
    before: float = 0.0


class Hub:
    """Followers of every market and what they are sent; see ``subscriptions.Floor``."""

    def __init__(
        self, world: KalshiWorld, catalogue: Catalogue, ledger: Ledger, answers: Answers
    ) -> None:
        self._world = world
        self._catalogue = catalogue
        self._ledger = ledger
        self._answers = answers
        self._everything: dict[str, list[Stream]] = {}
        self._all_tickers = self._everything.setdefault(Channel.TICKER, [])
        self._all_trades = self._everything.setdefault(Channel.TRADE, [])
        self._lifecycle = self._everything.setdefault(Channel.LIFECYCLE, [])
        self._due: list[tuple[int, int, Callable[[int], None]]] = []
        self._scheduled = 0
        self._opening: list[MarketRecord] = []
        self._events_told: set[str] = set()
        # the world's own classes by name: this venue is not to import the world that it serves
        self._takes: Mapping[str, Callable[[MarketRecord, Any], None]] = {
            "EngineEvent": self._take_batch,
            "MarketAnnounced": self._announce,
            "MarketOpened": self._open,
            "MarketClosed": self._close,
            "MarketResolved": self._resolve,
        }

    @property
    def now_ms(self) -> int:
        """The venue's time."""
        return self._world.now_ms

    # ── what sessions ask ────────────────────────────────────────────────────────────────────

    def standing(self, ticker: str, stream: Stream) -> tuple[str, tuple[Levels, Levels]]:
        """What a stream is shown: a market's id and book; an unknown one has no id and no level."""
        combo = self._answers.combo(ticker)
        if combo is not None:
            return market_uuid(ticker), combo.book
        record = self._record(ticker)
        if record is None:
            return "", ((), ())
        record.unopened.discard(stream)
        if record.levels is None and self._world.phase(record.index) == "upcoming":
            record.unopened.add(stream)
        return record.market_id, self._ledger.book(record)

    def ticker_of(self, market_id: str) -> str | None:
        """The ticker of a market by its id."""
        return self._catalogue.ticker_of(market_id)

    def top_body(self, ticker: str) -> str | None:
        """The ticker channel's body for a market, None for an unknown one."""
        record = self._record(ticker)
        if record is None:
            return None
        return ticker_body(record, self._ledger.book(record), self.now_ms)

    def follow(self, stream: Stream, tickers: Iterable[str]) -> None:
        """Send the stream what happens to these markets; unknown ones pass silently."""
        for ticker in tickers:
            streams = self._streams(stream, ticker)
            if streams is not None:
                streams.append(stream)

    def leave(self, stream: Stream, tickers: Iterable[str]) -> None:
        """Send the stream nothing more of these markets."""
        for ticker in tickers:
            streams = self._streams(stream, ticker)
            if streams is not None and stream in streams:
                streams.remove(stream)
                record = self._record(ticker)
                if record is not None:
                    record.unopened.discard(stream)

    def follow_everything(self, stream: Stream) -> None:
        """Send the stream what happens to any market."""
        self._everything.setdefault(stream.channel, []).append(stream)

    def leave_everything(self, stream: Stream) -> None:
        """Send the stream nothing more."""
        self._everything[stream.channel].remove(stream)

    # ── what the world does ──────────────────────────────────────────────────────────────────

    def publish(self, event: Happening) -> None:
        """Send what an event of the world means, after what was due before it."""
        if self._due and self._due[0][0] <= event.ts_ms:
            self._release(event.ts_ms)
        record = self._ledger.of(event.market)
        if record is not None:
            self._takes[type(event).__name__](record, event)

    def next_due_ms(self, default_ms: int) -> int:
        """When the next thing falls due, ``default_ms`` where nothing waits."""
        return self._due[0][0] if self._due else default_ms

    def release(self) -> None:
        """Send what is due by now; every event of the world until now was published."""
        self._release(self.now_ms)
        for record in self._opening:
            if record.unopened:
                book = self._ledger.book(record)
                self._open_streams(record, book, self.now_ms)
        self._opening.clear()

    def _take_batch(self, record: MarketRecord, batch: Batch) -> None:
        if record.unopened:
            self._open_streams(record, _before(batch), batch.ts_ms)
        record.levels = batch.bids, batch.asks
        record.grid = batch.grid
        if batch.old_grid is not None:
            self._tell(self._lifecycle, Channel.LIFECYCLE, grid_body(record.ticker, batch.grid))
        if record.book_streams and batch.changes:
            bodies = delta_bodies(record, batch.changes, batch.ts_ms)
            self._send_changes(record.book_streams, bodies)
        if batch.trade is not None:
            self._at(batch.trade.print_ms, partial(self._print, record, batch.trade))
        if record.ticker_streams or self._all_tickers:
            top = (
                batch.bids[-1][0] if batch.bids else 0,
                batch.asks[-1][0] if batch.asks else TICKS_PER_DOLLAR,
            )
            if top != record.top:
                record.top = top
                self._touch_ticker(record, batch.ts_ms)

    def _announce(self, record: MarketRecord, event: Happening) -> None:
        listed = self._catalogue.announce(record.index)
        if listed is None:
            return
        self._answers.created_ms[record.ticker] = event.ts_ms
        if not self._lifecycle:
            return
        terms = self._catalogue.market_object(listed)
        if listed.event.event_id not in self._events_told:
            self._events_told.add(listed.event.event_id)
            described = self._catalogue.event_object(listed.event, with_markets=False)
            self._tell(self._lifecycle, "event_lifecycle", event_body(listed.event, described))
        body = created_body(listed.market, listed.event, terms)
        self._tell(self._lifecycle, Channel.LIFECYCLE, body)

    def _open(self, record: MarketRecord, event: Happening) -> None:
        # the venue says nothing; whoever was shown an empty book gets the first orders as changes
        if record.unopened:
            self._opening.append(record)

    def _close(self, record: MarketRecord, event: Happening) -> None:
        listed_ms = self._world.markets[record.index].closes_ms
        record.closed_ms = listed_ms
        if abs(event.ts_ms - listed_ms) > _EARLY_MS:
            record.closed_ms = event.ts_ms
            body = close_date_body(record.ticker, event.ts_ms)
            self._tell(self._lifecycle, Channel.LIFECYCLE, body)
        self._at(event.ts_ms + emptied_after_ms(record.ticker), partial(self._empty, record))

    def _resolve(self, record: MarketRecord, event: Resolution) -> None:
        self._empty(record, event.ts_ms)
        record.result, record.value = event.result, event.value
        record.determined_ms = event.ts_ms
        if record.closed_ms is None:
            record.closed_ms = event.ts_ms
        body = determined_body(record, event.ts_ms)
        self._tell(self._lifecycle, Channel.LIFECYCLE, body)
        listed = self._catalogue.market(record.ticker)
        wait_ms = 0 if listed is None else settlement_timer_s(listed.event) * 1000
        record.settled_ms = event.ts_ms + wait_ms
        self._at(record.settled_ms, partial(self._settle, record))

    # ── what comes later ─────────────────────────────────────────────────────────────────────

    def _at(self, due_ms: int, act: Callable[[int], None]) -> None:
        self._scheduled += 1
        heappush(self._due, (due_ms, self._scheduled, act))

    def _release(self, until_ms: int) -> None:
        while self._due and self._due[0][0] <= until_ms:
            due_ms, _, act = heappop(self._due)
            act(due_ms)

    def _print(self, record: MarketRecord, fill: Fill, due_ms: int) -> None:
        found = self._ledger.add_print(
            record,
            trade_id=trade_uuid(fill.transaction_hash),
            price=fill.price,
            size=fill.size,
            taker_yes=takes_yes(fill),
            ts_ms=due_ms,
        )
        if record.trade_streams or self._all_trades:
            body = trade_body(found)
            self._tell(record.trade_streams, Channel.TRADE, body)
            self._tell(self._all_trades, Channel.TRADE, body)
        if record.ticker_streams or self._all_tickers:
            self._touch_ticker(record, due_ms)

    def _empty(self, record: MarketRecord, due_ms: int) -> None:
        if record.emptied:
            return
        record.emptied = True
        record.levels = (), ()
        record.unopened.clear()
        body = snapshot_body(record.ticker, record.market_id, ((), ()), yes_price=False)
        self._tell(record.book_streams, "orderbook_snapshot", body)

    def _settle(self, record: MarketRecord, due_ms: int) -> None:
        self._tell(self._lifecycle, Channel.LIFECYCLE, settled_body(record.ticker, due_ms))

    def _touch_ticker(self, record: MarketRecord, ts_ms: int) -> None:
        """Send a ticker now, or once a second has passed since the last."""
        if record.ticker_due:
            return
        record.ticker_due = True
        due_ms = record.ticker_ms + TICKER_EVERY_MS
        if due_ms <= ts_ms:
            self._send_ticker(record, ts_ms)
        else:
            self._at(due_ms, partial(self._send_ticker, record))

    def _send_ticker(self, record: MarketRecord, ts_ms: int) -> None:
        record.ticker_due = False
        record.ticker_ms = ts_ms
        body = ticker_body(record, self._ledger.book(record), ts_ms)
        self._tell(record.ticker_streams, Channel.TICKER, body)
        self._tell(self._all_tickers, Channel.TICKER, body)

    # ── sending ──────────────────────────────────────────────────────────────────────────────

    def _open_streams(self, record: MarketRecord, book: tuple[Levels, Levels], ts_ms: int) -> None:
        levels = [
            OpeningLevel(bid, tick, size)
            for bid, side in ((True, book[0]), (False, book[1]))
            for tick, size in side
        ]
        # in the order they subscribed, which a set does not keep
        streams = [stream for stream in record.book_streams if stream in record.unopened]
        record.unopened.clear()
        self._send_changes(streams, delta_bodies(record, levels, ts_ms))

    def _send_changes(self, streams: list[Stream], bodies: list[tuple[str, str]]) -> None:
        now_ms = self._world.now_ms
        for stream in streams:
            data, yes_price = stream.session.outlet.data, stream.yes_price
            for body in bodies:
                data(stream, "orderbook_delta", body[yes_price], now_ms)

    def _tell(self, streams: list[Stream], kind: str, body: str) -> None:
        now_ms = self._world.now_ms
        for stream in streams:
            stream.session.outlet.data(stream, kind, body, now_ms)

    def _record(self, ticker: str) -> MarketRecord | None:
        listed = self._catalogue.market(ticker)
        return None if listed is None else listed.record

    def _streams(self, stream: Stream, ticker: str) -> list[Stream] | None:
        record = self._record(ticker)
        if record is None:
            return None
        if stream.channel == Channel.BOOK:
            return record.book_streams
        if stream.channel == Channel.TICKER:
            return record.ticker_streams
        return record.trade_streams if stream.channel == Channel.TRADE else None


def emptied_after_ms(ticker: str) -> int:
    """How long after trading has ended the market's book is taken down; the ticker decides."""
    drawn = int.from_bytes(hashlib.blake2b(ticker.encode(), digest_size=4).digest(), "big")
    return round(_EMPTIED_LEAST_MS * _EMPTIED_RATIO ** ((drawn / 2**32) ** 0.65))


def _before(batch: Batch) -> tuple[Levels, Levels]:
    """The book that a batch began with."""
    sides = dict(batch.asks), dict(batch.bids)
    for change in reversed(batch.changes):
        sides[change.bid][change.tick] = change.before
    asks, bids = (sorted((t, s) for t, s in side.items() if s > 0) for side in sides)
    return bids, asks[::-1]
