"""Market-channel frames made from a seed, in the proportions of a busy day.

94.5 % ``price_change`` (mostly mirrored pairs), 3 % ``last_trade_price``, 2.5 % ``book``; 500
binary markets of which the k-th busiest has a share as k ** -0.8; about 34 levels a side and 720
bytes a message. Books never cross and every hash is the venue's own recipe over the token's
resulting book, so a receiver that checks finds each of them right.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate
from math import exp
from random import Random

from surveillance_core.books import SPELLING, TICKS_PER_DOLLAR, OrderBook
from surveillance_core.venues.polymarket.integrity import HashTerms, hash_book, spell_size
from surveillance_core.venues.protocols import AssetTerms

MARKETS = 500
MESSAGES_PER_SECOND = 2_000
START_MS = 1_790_000_000_000
_ZIPF = 0.8


@dataclass
class Token:
    """One outcome token and its book as the venue has it."""

    terms: HashTerms
    book: OrderBook


@dataclass
class _Market:
    grid: int
    mid: int
    levels: int
    yes: Token
    no: Token


@dataclass
class Stream:
    """Frames with their receive times, and what a receiver must know beforehand."""

    assets: list[AssetTerms]
    opening: list[bytes]
    """Arrays of full books, to be received before the frames."""
    frames: list[tuple[bytes, int]] = field(default_factory=list[tuple[bytes, int]])
    """Frame and receive time in nanoseconds."""
    kinds: Counter[str] = field(default_factory=Counter[str])

    @property
    def opened_ns(self) -> int:
        """Receive time of the opening books."""
        return START_MS * 1_000_000

    @property
    def seconds(self) -> float:
        """Span of the receive times."""
        return (self.frames[-1][1] - self.frames[0][1]) / 1e9

    @property
    def mean_bytes(self) -> float:
        """Mean size of a frame."""
        return sum(len(frame) for frame, _ in self.frames) / len(self.frames)


class FrameMaker:
    """Makes streams; the same seed makes the same."""

    def __init__(self, seed: int = 11, markets: int = MARKETS) -> None:
        self._rng = Random(seed)
        self._markets = [self._market() for _ in range(markets)]
        self._shares = list(accumulate((rank + 1) ** -_ZIPF for rank in range(markets)))

    def make(self, messages: int) -> Stream:
        """The opening books and then ``messages`` messages at the mean rate."""
        stream = Stream(assets=[], opening=[])
        books: list[str] = []
        for market in self._markets:
            yes, no = market.yes.terms, market.no.terms
            for terms, mirror in ((yes, no), (no, yes)):
                stream.assets.append(
                    AssetTerms(
                        market_id=terms.market_id,
                        asset_id=terms.asset_id,
                        tick=market.grid,
                        primary=terms is yes,
                        mirror_id=mirror.asset_id,
                        min_order_size=terms.min_order_size,
                        neg_risk=terms.neg_risk,
                    )
                )
            books += (_book_frame(token, START_MS) for token in (market.yes, market.no))
        stream.opening = [
            f"[{','.join(books[start : start + 100])}]".encode()
            for start in range(0, len(books), 100)
        ]
        now_ns = stream.opened_ns + 1_000_000_000
        for _ in range(messages):
            now_ns += round(self._rng.expovariate(MESSAGES_PER_SECOND) * 1e9)
            kind, text = self._message(now_ns // 1_000_000)
            stream.kinds[kind] += 1
            stream.frames.append((text.encode(), now_ns))
        return stream

    def _market(self) -> _Market:
        rng = self._rng
        levels = min(116, max(4, round(30 * exp(rng.gauss(0, 0.5)))))
        grid = 100 if levels <= 25 else 10
        mid = rng.randrange(3_000, 7_000, grid)
        market_id = f"0x{rng.getrandbits(256):064x}"
        yes, no = (
            Token(
                HashTerms(
                    market_id=market_id,
                    asset_id=str(rng.randrange(10**76, 10**77)),
                    min_order_size="5",
                    neg_risk=False,
                    tick_size=SPELLING[grid],
                    last_trade_price=f"{mid / TICKS_PER_DOLLAR:.3f}",
                ),
                OrderBook(),
            )
            for _ in range(2)
        )
        market = _Market(grid, mid, levels, yes, no)
        for bid in (True, False):
            while len(yes.book.bids if bid else yes.book.asks) < levels:
                yes_tick = self._tick(market, bid=bid)
                (yes.book.bids if bid else yes.book.asks)[yes_tick] = self._size()
        no.book = yes.book.mirrored()
        return market

    def _tick(self, market: _Market, *, bid: bool) -> int:
        reach = (TICKS_PER_DOLLAR // 2 - 2_000) // market.grid - 1
        step = 1 + min(int(self._rng.expovariate(2.0 / market.levels)), reach)
        return market.mid - step * market.grid if bid else market.mid + step * market.grid

    def _size(self) -> float:
        size = max(5.0, exp(self._rng.gauss(5.5, 1.4)))
        return float(round(size)) if self._rng.random() < 0.6 else round(size, 2)

    def _message(self, ts_ms: int) -> tuple[str, str]:
        rng = self._rng
        found = bisect(self._shares, rng.random() * self._shares[-1])
        market = self._markets[min(found, len(self._markets) - 1)]
        token = market.yes if rng.random() < 0.5 else market.no
        draw = rng.random()
        if draw < 0.945:
            return "price_change", self._changes(market, ts_ms)
        if draw < 0.975:
            return "last_trade_price", self._print(market, token, ts_ms)
        return "book", _book_frame(token, ts_ms)

    def _changes(self, market: _Market, ts_ms: int) -> str:
        draw = self._rng.random()
        pairs = 1 if draw < 0.80 else 2
        mirrored = draw >= 0.06
        yes, no = market.yes, market.no
        changes: list[tuple[Token, int, float, bool]] = []
        for _ in range(pairs):
            bid = self._rng.random() < 0.5
            tick, size = self._change(market, bid=bid)
            changes.append((yes, tick, size, bid))
            if mirrored:
                changes.append((no, TICKS_PER_DOLLAR - tick, size, not bid))
        for token, tick, size, bid in changes:
            side = token.book.bids if bid else token.book.asks
            if size:
                side[tick] = size
            else:
                side.pop(tick, None)
        ends = {id(token): _change_end(token, ts_ms) for token, *_ in changes}
        body = ", ".join(
            f'{{"asset_id":"{token.terms.asset_id}", "price":"{SPELLING[tick]}", '
            f'"size":"{spell_size(size)}", "side":"{"BUY" if bid else "SELL"}", '
            f"{ends[id(token)]}"
            for token, tick, size, bid in changes
        )
        return (
            f'{{"market":"{yes.terms.market_id}", "price_changes":[{body}], '
            f'"timestamp":"{ts_ms}", "event_type":"price_change"}}'
        )

    def _change(self, market: _Market, *, bid: bool) -> tuple[int, float]:
        side = market.yes.book.bids if bid else market.yes.book.asks
        if len(side) > 2 and self._rng.random() < 0.35 * len(side) / market.levels:
            return self._rng.choice(list(side)), 0.0
        return self._tick(market, bid=bid), self._size()

    def _print(self, market: _Market, token: Token, ts_ms: int) -> str:
        tick = max(token.book.bids, default=market.mid)
        spelling = f"{tick / TICKS_PER_DOLLAR:.3f}"
        market.yes.terms.last_trade_price = market.no.terms.last_trade_price = spelling
        return (
            f'{{"market":"{token.terms.market_id}", "asset_id":"{token.terms.asset_id}", '
            f'"price":"{SPELLING[tick]}", "size":"{spell_size(self._size())}", '
            f'"fee_rate_bps":"0", "side":"SELL", "timestamp":"{ts_ms}", '
            f'"event_type":"last_trade_price", '
            f'"transaction_hash":"0x{self._rng.getrandbits(256):064x}"}}'
        )


def _change_end(token: Token, ts_ms: int) -> str:
    book = token.book
    return (
        f'"hash":"{hash_book(token.terms, ts_ms, book)}", '
        f'"best_bid":"{SPELLING[book.best_bid or 0]}", '
        f'"best_ask":"{SPELLING[book.best_ask or TICKS_PER_DOLLAR]}"}}'
    )


def _book_frame(token: Token, ts_ms: int) -> str:
    terms = token.terms
    bids = ", ".join(_level(*level) for level in sorted(token.book.bids.items()))
    asks = ", ".join(_level(*level) for level in sorted(token.book.asks.items(), reverse=True))
    return (
        f'{{"market":"{terms.market_id}", "asset_id":"{terms.asset_id}", '
        f'"timestamp":"{ts_ms}", "hash":"{hash_book(terms, ts_ms, token.book)}", '
        f'"bids":[{bids}], "asks":[{asks}], "tick_size":"{terms.tick_size}", '
        f'"last_trade_price":"{terms.last_trade_price}", "event_type":"book"}}'
    )


def _level(tick: int, size: float) -> str:
    return f'{{"price":"{SPELLING[tick]}", "size":"{spell_size(size)}"}}'
