"""Kalshi frames made from a seed, in the proportions of a busy day.

96 % ``orderbook_delta``, the rest prints, tickers and whole books; 1,000 binary markets of which
the k-th busiest has a share as k ** -0.8; about 250 bytes a frame. Books and prints are streams of
their own, numbered without holes; changes are signed, sum to no negative level and never leave a
book crossed; whole books and tickers say what the changes made.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from random import Random
from uuid import UUID

from surveillance_core.books import TICKS_PER_DOLLAR
from surveillance_core.venues.protocols import AssetTerms

MARKETS = 1_000
MESSAGES_PER_SECOND = 2_000
START_MS = 1_792_000_000_000
BOOKS, PRINTS, TICKERS = 1, 2, 3
"""Streams, as the venue numbers them."""
_ZIPF = 0.8
_LEVELS = 25
_SHARES_OF_KINDS = {"orderbook_delta": 0.96, "trade": 0.02, "ticker": 0.018}


@dataclass
class _Market:
    ticker: str
    market_id: str
    mid: int
    """Ticks; YES is bid below it, NO below its complement."""
    sides: dict[str, dict[int, int]]
    """Hundredths of a contract by tick, of bids for YES and for NO."""


@dataclass
class KalshiStream:
    """Frames with their receive times, and what a receiver must know beforehand."""

    assets: list[AssetTerms]
    opening: list[bytes]
    """Announced streams and whole books, to be received before the frames."""
    frames: list[tuple[bytes, int]] = field(default_factory=list[tuple[bytes, int]])
    """Frame and receive time in nanoseconds."""
    kinds: Counter[str] = field(default_factory=Counter[str])

    @property
    def opened_ns(self) -> int:
        """Receive time of the opening books."""
        return START_MS * 1_000_000

    @property
    def mean_bytes(self) -> float:
        """Mean size of a frame."""
        return sum(len(frame) for frame, _ in self.frames) / len(self.frames)


class KalshiFrameMaker:
    """Makes a stream; the same seed makes the same."""

    def __init__(self, seed: int = 13, markets: int = MARKETS) -> None:
        self._rng = Random(seed)
        self._numbers = {BOOKS: 0, PRINTS: 0}
        self._markets = [self._market(number) for number in range(markets)]
        self._shares = list(accumulate((rank + 1) ** -_ZIPF for rank in range(markets)))

    def make(self, messages: int) -> KalshiStream:
        """The opening and then ``messages`` messages at the mean rate."""
        rng = self._rng
        stream = KalshiStream(
            assets=[
                AssetTerms(
                    market_id=market.ticker,
                    asset_id=market.ticker,
                    tick=100,
                    mirror_id=f"{market.ticker}:no",
                )
                for market in self._markets
            ],
            opening=[
                f'{{"id":1,"type":"subscribed","msg":{{"channel":"{channel}","sid":{sid}}}}}'.encode()
                for channel, sid in (("orderbook_delta", BOOKS), ("trade", PRINTS))
            ],
        )
        stream.opening += (self._book(market).encode() for market in self._markets)
        now_us = START_MS * 1_000 + 1_000_000
        for _ in range(messages):
            now_us += round(rng.expovariate(MESSAGES_PER_SECOND) * 1e6)
            found = bisect(self._shares, rng.random() * self._shares[-1])
            market = self._markets[min(found, len(self._markets) - 1)]
            kind, text = self._message(market, now_us)
            stream.kinds[kind] += 1
            stream.frames.append((text.encode(), now_us * 1_000))
        return stream

    def _market(self, number: int) -> _Market:
        rng = self._rng
        mid = rng.randrange(2_000, 8_000, 100)
        market = _Market(
            f"KXBTCD-26NOV{number // 40 + 1:02d}17-T{60_000 + 250 * number}.99",
            str(UUID(int=rng.getrandbits(128), version=4)),
            mid,
            {"yes": {}, "no": {}},
        )
        for side, levels in market.sides.items():
            while len(levels) < min(_LEVELS, self._room(market, side)):
                levels[self._tick(market, side)] = self._size()
        return market

    def _room(self, market: _Market, side: str) -> int:
        return (market.mid if side == "yes" else TICKS_PER_DOLLAR - market.mid) // 100 - 1

    def _tick(self, market: _Market, side: str) -> int:
        reach = self._room(market, side)
        step = 1 + min(int(self._rng.expovariate(0.1)), reach - 1)
        return (market.mid if side == "yes" else TICKS_PER_DOLLAR - market.mid) - 100 * step

    def _size(self) -> int:
        whole = max(1, round(self._rng.lognormvariate(5, 1.4)))
        return 100 * whole + (self._rng.randrange(100) if self._rng.random() < 0.3 else 0)

    def _message(self, market: _Market, now_us: int) -> tuple[str, str]:
        draw = self._rng.random()
        for kind, share in _SHARES_OF_KINDS.items():
            if draw < share:
                return kind, getattr(self, f"_{kind}")(market, now_us)
            draw -= share
        return "orderbook_snapshot", self._book(market)

    def _head(self, kind: str, sid: int) -> str:
        self._numbers[sid] += 1
        return f'{{"type":"{kind}","sid":{sid},"seq":{self._numbers[sid]},'

    def _orderbook_delta(self, market: _Market, now_us: int) -> str:
        rng = self._rng
        side = rng.choice(("yes", "no"))
        levels = market.sides[side]
        if len(levels) > 2 and rng.random() < 0.4:
            tick = rng.choice(list(levels))
            change = -levels.pop(tick)
        else:
            tick = self._tick(market, side)
            before = levels.get(tick, 0)
            levels[tick] = self._size()
            change = levels[tick] - before
        return (
            self._head("orderbook_delta", BOOKS)
            + f'"msg":{{"market_ticker":"{market.ticker}","market_id":"{market.market_id}",'
            f'"price_dollars":"{_dollars(tick)}","delta_fp":"{_contracts(change)}",'
            f'"side":"{side}","ts":"{_spell(now_us)}","ts_ms":{now_us // 1_000}}}}}'
        )

    def _trade(self, market: _Market, now_us: int) -> str:
        yes = max(market.sides["yes"])
        return (
            self._head("trade", PRINTS)
            + f'"msg":{{"trade_id":"{UUID(int=self._rng.getrandbits(128), version=4)}",'
            f'"market_ticker":"{market.ticker}","yes_price_dollars":"{_dollars(yes)}",'
            f'"no_price_dollars":"{_dollars(TICKS_PER_DOLLAR - yes)}",'
            f'"count_fp":"{_contracts(self._size())}","taker_outcome_side":"no",'
            f'"taker_book_side":"ask","ts":{now_us // 1_000_000},"ts_ms":{now_us // 1_000}}}}}'
        )

    def _ticker(self, market: _Market, now_us: int) -> str:
        bid, no_bid = max(market.sides["yes"]), max(market.sides["no"])
        return (
            f'{{"type":"ticker","sid":{TICKERS},"msg":{{"market_ticker":"{market.ticker}",'
            f'"market_id":"{market.market_id}","price_dollars":"{_dollars(bid)}",'
            f'"yes_bid_dollars":"{_dollars(bid)}",'
            f'"yes_ask_dollars":"{_dollars(TICKS_PER_DOLLAR - no_bid)}",'
            f'"yes_bid_size_fp":"{_contracts(market.sides["yes"][bid])}",'
            f'"ts_ms":{now_us // 1_000}}}}}'
        )

    def _book(self, market: _Market) -> str:
        sides = "".join(
            f',"{side}_dollars_fp":['
            + ",".join(
                f'["{_dollars(tick)}","{_contracts(size)}"]'
                for tick, size in sorted(levels.items())
            )
            + "]"
            for side, levels in market.sides.items()
        )
        return (
            self._head("orderbook_snapshot", BOOKS)
            + f'"msg":{{"market_ticker":"{market.ticker}","market_id":"{market.market_id}"'
            + f"{sides}}}}}"
        )


def _dollars(tick: int) -> str:
    return f"{tick / TICKS_PER_DOLLAR:.4f}"


def _contracts(hundredths: int) -> str:
    sign, size = ("-" if hundredths < 0 else ""), abs(hundredths)
    return f"{sign}{size // 100}.{size % 100:02d}"


def _spell(now_us: int) -> str:
    return datetime.fromtimestamp(now_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
