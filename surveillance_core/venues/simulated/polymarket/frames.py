"""A world's engine batches as the venue's market channel and CLOB spell them.

Pure. Facts: reference polymarket.md 2, 3.4 to 3.6. Both tokens' levels are spelled once per book;
the No book is the exact mirror of the Yes book at 1 - p. Every hash is the proved recipe V4 over
the token's whole resulting book.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from heapq import heappop, heappush
from typing import Final

import msgspec

from surveillance_core.books import SPELLING, TICKS_PER_DOLLAR
from surveillance_core.markets import Venue
from surveillance_core.venues.polymarket.integrity import HashTerms, hash_members, spell_size
from surveillance_core.venues.protocols import Side
from surveillance_core.venues.simulated.happenings import BookImage, EngineEvent, Levels, Phase
from surveillance_core.venues.simulated.listings import MarketListing
from surveillance_core.venues.simulated.world import World

MIN_ORDER_SIZE: Final = "5"
FEE_RATE_BPS: Final = ""

_Members = tuple[str, str]
"""A book's bids and asks as compact JSON members, without brackets."""


class WireFrame(msgspec.Struct, frozen=True, gc=False):
    """One frame, who gets it and when the venue sends it."""

    due_ms: int
    market: int
    text: str
    assets: tuple[str, ...]
    """Sent to a connection subscribed to any of these; to every connection where empty."""
    custom: bool = False
    """Sent only where custom features are enabled."""


class _Spelled(msgspec.Struct):
    """What stands for one market between two batches."""

    listing: MarketListing
    yes: HashTerms
    no: HashTerms
    tokens: tuple[str, str]
    best: tuple[str, str, str, str] = ("", "", "", "")
    """Best bid and ask of Yes, then of No, as last sent."""


@lru_cache(maxsize=262_144)
def _level(tick: int, size: float) -> str:
    return f'{{"price":"{SPELLING[tick]}","size":"{spell_size(size)}"}}'


def spell_members(bids: Levels, asks: Levels) -> tuple[_Members, _Members]:
    """The Yes and the No book's members from the Yes levels (bids ascending, asks descending)."""
    level = _level
    yes = (
        ",".join([level(tick, size) for tick, size in bids]),
        ",".join([level(tick, size) for tick, size in asks]),
    )
    no = (
        ",".join([level(TICKS_PER_DOLLAR - tick, size) for tick, size in asks]),
        ",".join([level(TICKS_PER_DOLLAR - tick, size) for tick, size in bids]),
    )
    return yes, no


def _tops(bids: Levels, asks: Levels) -> tuple[str, str, str, str]:
    bid = bids[-1][0] if bids else 0
    ask = asks[-1][0] if asks else TICKS_PER_DOLLAR
    spell = SPELLING
    return spell[bid], spell[ask], spell[TICKS_PER_DOLLAR - ask], spell[TICKS_PER_DOLLAR - bid]


def _spaced(members: str) -> str:
    # post-trade books have ", " between members, initial ones do not (reference 3.4)
    return members.replace('","size', '", "size').replace("},{", "}, {")


class FrameEncoder:
    """Spells one world's batches; holds what the wire repeats of each market.

    Parameters
    ----------
    world
        Read for listings and for the book as it stands; never advanced here.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._markets: dict[int, _Spelled] = {}
        self._by_token = {
            token: listing.index
            for listing in world.tradable
            if listing.venue is Venue.POLYMARKET
            for token in (listing.yes_id, listing.no_id)
        }

    def market_of(self, token: str) -> int | None:
        """Index of the market a token belongs to, None where it never has a book."""
        return self._by_token.get(token)

    def encode(self, event: EngineEvent) -> list[WireFrame]:
        """The batch's frames in sending order; a fill's print comes last and is due later."""
        spelled = self._spelled(event.market)
        tick = SPELLING[event.grid.finest]
        for terms in (spelled.yes, spelled.no):
            terms.tick_size = tick
            terms.last_trade_price = event.last_trade_price
        members = spell_members(event.bids, event.asks)
        ts = event.ts_ms
        hashes = (
            hash_members(spelled.yes, ts, members[0]),
            hash_members(spelled.no, ts, members[1]),
        )
        frames: list[WireFrame] = []
        if event.old_grid is not None:
            self._tick_frames(spelled, event, members, hashes, frames)
            return frames
        best = _tops(event.bids, event.asks)
        if best != spelled.best:
            self._top_frames(spelled, event, best, frames)
            spelled.best = best
        self._change_frames(spelled, event, hashes, best, frames)
        if event.trade is not None:
            for token, sides, digest in zip(spelled.tokens, members, hashes, strict=True):
                frames.append(
                    WireFrame(
                        ts,
                        event.market,
                        f'{{"market":"{spelled.listing.market_id}", "asset_id":"{token}", '
                        f'"bids":[{_spaced(sides[0])}], "asks":[{_spaced(sides[1])}], '
                        f'"hash":"{digest}", "timestamp":"{ts}", "event_type":"book"}}',
                        (token,),
                    )
                )
            frames.append(self._print(spelled, event))
        return frames

    def announce(self, market: int, ts_ms: int) -> WireFrame:
        """A listing, sent to every connection with custom features (reference 3.5)."""
        listing, event = self._world.markets[market], self._world.event_of[market]
        message: dict[str, object] = {
            "id": str(500_000 + market),
            "question": listing.title,
            "market": listing.market_id,
            "slug": f"market-{market}",
            "description": listing.rules,
            "assets_ids": [listing.yes_id, listing.no_id],
            "outcomes": list(listing.outcomes),
            "event_message": {"id": event.event_id, "title": event.title, "description": ""},
            "timestamp": str(ts_ms),
            "tags": [event.category],
            "condition_id": listing.market_id,
            "active": listing.active,
            "clob_token_ids": [listing.yes_id, listing.no_id],
            "order_price_min_tick_size": SPELLING[listing.grid.finest],
            "group_item_title": listing.label or "",
            "fees_enabled": listing.fees is not None,
            "event_type": "new_market",
        }
        return WireFrame(ts_ms, market, _encode(message), (), custom=True)

    def resolve(self, market: int, ts_ms: int, value: float) -> WireFrame:
        """A result, sent to every connection with custom features; 50-50 names no winner."""
        listing = self._world.markets[market]
        tokens = (listing.yes_id, listing.no_id)
        won = {1.0: 0, 0.0: 1}.get(value)
        message: dict[str, object] = {
            "id": str(500_000 + market),
            "market": listing.market_id,
            "assets_ids": list(tokens),
            "winning_asset_id": "" if won is None else tokens[won],
            "winning_outcome": "" if won is None else listing.outcomes[won],
            "timestamp": str(ts_ms),
            "tags": [],
            "event_type": "market_resolved",
        }
        return WireFrame(ts_ms, market, _encode(message), (), custom=True)

    def initial_books(self, tokens: Iterable[str]) -> str:
        """One array frame with the book of each token that has one, as sent on subscription."""
        books = [self._book(token) for token in tokens if self._has_book(token)]
        return f"[{','.join(books)}]"

    def rest_book(self, token: str) -> str | None:
        """The CLOB's answer for one token, None where it has no book or the book is empty."""
        if not self._has_book(token):
            return None
        image, terms, sides = self._standing(token)
        if not image.bids and not image.asks:
            return None
        neg_risk = "true" if terms.neg_risk else "false"
        return (
            f"{_book_head(terms, image.ts_ms, sides)},"
            f'"min_order_size":"{MIN_ORDER_SIZE}","tick_size":"{terms.tick_size}",'
            f'"neg_risk":{neg_risk},"last_trade_price":"{terms.last_trade_price}"}}'
        )

    def _has_book(self, token: str) -> bool:
        index = self._by_token.get(token)
        return index is not None and self._world.phase(index) is Phase.OPEN

    def _book(self, token: str) -> str:
        image, terms, sides = self._standing(token)
        return (
            f'{_book_head(terms, image.ts_ms, sides)},"tick_size":"{terms.tick_size}",'
            f'"last_trade_price":"{terms.last_trade_price}","event_type":"book"}}'
        )

    def _spelled(self, market: int) -> _Spelled:
        spelled = self._markets.get(market)
        if spelled is None:
            listing = self._world.markets[market]
            neg_risk = self._world.event_of[market].exclusive
            tokens = (listing.yes_id, listing.no_id)
            yes, no = (_terms(listing, token, neg_risk) for token in tokens)
            spelled = self._markets[market] = _Spelled(listing, yes, no, tokens)
        return spelled

    def _standing(self, token: str) -> tuple[BookImage, HashTerms, _Members]:
        spelled = self._spelled(self._by_token[token])
        image = self._world.image(spelled.listing.index)
        primary = token == spelled.tokens[0]
        terms = spelled.yes if primary else spelled.no
        terms.tick_size = SPELLING[image.grid.finest]
        terms.last_trade_price = image.last_trade_price
        yes, no = spell_members(image.bids, image.asks)
        return image, terms, yes if primary else no

    def _top_frames(
        self,
        spelled: _Spelled,
        event: EngineEvent,
        best: tuple[str, str, str, str],
        frames: list[WireFrame],
    ) -> None:
        ask_tick = event.asks[-1][0] if event.asks else TICKS_PER_DOLLAR
        spread = SPELLING[ask_tick - (event.bids[-1][0] if event.bids else 0)]
        for token, bid, ask in zip(spelled.tokens, best[::2], best[1::2], strict=True):
            text = (
                f'{{"market":"{spelled.listing.market_id}", "asset_id":"{token}", '
                f'"best_bid":"{bid}", "best_ask":"{ask}", "spread":"{spread}", '
                f'"timestamp":"{event.ts_ms + 1}", "event_type":"best_bid_ask"}}'
            )
            frames.append(WireFrame(event.ts_ms, event.market, text, (token,), custom=True))

    def _change_frames(
        self,
        spelled: _Spelled,
        event: EngineEvent,
        hashes: tuple[str, str],
        best: tuple[str, str, str, str],
        frames: list[WireFrame],
    ) -> None:
        ts = event.ts_ms
        head = f'{{"market":"{spelled.listing.market_id}", "price_changes":['
        tail = f'], "timestamp":"{ts}", "event_type":"price_change"}}'
        yes_end = f'"hash":"{hashes[0]}", "best_bid":"{best[0]}", "best_ask":"{best[1]}"}}'
        no_end = f'"hash":"{hashes[1]}", "best_bid":"{best[2]}", "best_ask":"{best[3]}"}}'
        # the token the order is on comes first; which one a maker uses is as good as random
        yes_first = event.trade.on_yes if event.trade is not None else bool(ts & 1)
        for position, change in enumerate(event.changes):
            size = spell_size(change.size)
            yes = (
                f'{{"asset_id":"{spelled.tokens[0]}", "price":"{SPELLING[change.tick]}", '
                f'"size":"{size}", "side":"{"BUY" if change.bid else "SELL"}", {yes_end}'
            )
            no = (
                f'{{"asset_id":"{spelled.tokens[1]}", '
                f'"price":"{SPELLING[TICKS_PER_DOLLAR - change.tick]}", '
                f'"size":"{size}", "side":"{"SELL" if change.bid else "BUY"}", {no_end}'
            )
            first, second = (yes, no) if yes_first != bool(position & 1) else (no, yes)
            frame = WireFrame(ts, event.market, f"{head}{first}, {second}{tail}", spelled.tokens)
            frames.append(frame)
            if ts % 61 == 0 and position == len(event.changes) - 1:
                # the venue repeats a frame now and then
                frames.append(frame)

    def print_of(self, event: EngineEvent) -> WireFrame:
        """A fill's print, due some time after its batch; raises ``ValueError`` without a fill."""
        return self._print(self._spelled(event.market), event)

    def _print(self, spelled: _Spelled, event: EngineEvent) -> WireFrame:
        trade = event.trade
        if trade is None:
            raise ValueError("only a fill has a print")
        token = spelled.tokens[0 if trade.on_yes else 1]
        buys = (trade.side is Side.BUY) == trade.on_yes
        text = (
            f'{{"market":"{spelled.listing.market_id}", "asset_id":"{token}", '
            f'"price":"{SPELLING[trade.printed_price]}", "size":"{spell_size(trade.size)}", '
            f'"fee_rate_bps":"{FEE_RATE_BPS}", "side":"{"BUY" if buys else "SELL"}", '
            f'"timestamp":"{trade.print_ms}", "event_type":"last_trade_price", '
            f'"transaction_hash":"{trade.transaction_hash}"}}'
        )
        return WireFrame(trade.print_ms, event.market, text, (token,))

    def _tick_frames(
        self,
        spelled: _Spelled,
        event: EngineEvent,
        members: tuple[_Members, _Members],
        hashes: tuple[str, str],
        frames: list[WireFrame],
    ) -> None:
        ts, new = event.ts_ms, SPELLING[event.grid.finest]
        old = SPELLING[event.old_grid.finest] if event.old_grid is not None else new
        for token in spelled.tokens:
            text = (
                f'{{"market":"{spelled.listing.market_id}", "asset_id":"{token}", '
                f'"old_tick_size":"{old}", "new_tick_size":"{new}", "timestamp":"{ts}", '
                f'"event_type":"tick_size_change"}}'
            )
            frames.append(WireFrame(ts, event.market, text, (token,)))
        if ts % 4 == 0:
            # a book follows some tick changes, not all (reference 3.5)
            return
        for token, sides, digest in zip(spelled.tokens, members, hashes, strict=True):
            text = (
                f'{{"market":"{spelled.listing.market_id}","asset_id":"{token}",'
                f'"timestamp":"{ts}","hash":"{digest}","bids":[{sides[0]}],"asks":[{sides[1]}],'
                f'"tick_size":"{new}","last_trade_price":"{event.last_trade_price}",'
                '"event_type":"book"}'
            )
            frames.append(WireFrame(ts, event.market, text, (token,)))


class FrameQueue:
    """Frames in the order the venue sends them: prints wait until they are due."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, WireFrame]] = []
        self._taken = 0

    def before(self, ts_ms: int) -> Iterator[WireFrame]:
        """Waiting frames due at or before ``ts_ms``, in order of their time."""
        while self._waiting and self._waiting[0][0] <= ts_ms:
            yield heappop(self._waiting)[2]

    def put(self, frames: list[WireFrame], ts_ms: int) -> Iterator[WireFrame]:
        """Pass frames of the batch at ``ts_ms`` on, keeping back those due later."""
        for frame in frames:
            if frame.due_ms <= ts_ms:
                yield frame
            else:
                self._taken += 1
                heappush(self._waiting, (frame.due_ms, self._taken, frame))


def _terms(listing: MarketListing, token: str, neg_risk: bool) -> HashTerms:
    return HashTerms(
        market_id=listing.market_id,
        asset_id=token,
        min_order_size=MIN_ORDER_SIZE,
        neg_risk=neg_risk,
        tick_size=SPELLING[listing.grid.finest],
        last_trade_price="",
    )


def _encode(message: dict[str, object]) -> str:
    return msgspec.json.encode(message).decode()


def _book_head(terms: HashTerms, ts_ms: int, sides: _Members) -> str:
    return (
        f'{{"market":"{terms.market_id}","asset_id":"{terms.asset_id}","timestamp":"{ts_ms}",'
        f'"hash":"{hash_members(terms, ts_ms, sides)}","bids":[{sides[0]}],"asks":[{sides[1]}]'
    )
