"""What one connection has subscribed, and the frames that change it. Pure.

Facts (reference kalshi.md 3): a channel is one numbered stream (sid) on a connection, whose number
the venue tells; markets are added to it by subscribing again and taken out of it by its number.
Only a market that a stream did not have gets a book when it is added, so a book is asked for anew
with ``get_snapshot``, or by taking the market out and adding it.
"""

from __future__ import annotations

from collections.abc import Iterable

from surveillance_core.venues.kalshi.wire import (
    BOOK_CHANNEL,
    CHANNELS,
    LIFECYCLE_CHANNEL,
    Commands,
)
from surveillance_core.venues.protocols import AssetTerms


class Subscriptions:
    """The connection's streams and markets; see ``protocols.ConnectionCommands``.

    Assets are outcomes, of which the venue knows nothing: it is told tickers alone.
    """

    def __init__(self, *, use_yes_price: bool = False) -> None:
        self._commands = Commands(use_yes_price=use_yes_price)
        self._tickers: dict[str, str] = {}
        self.channels: dict[int, str] = {}
        """Channel of each stream that was announced or has carried books, and has not ended."""
        self.outbox: list[str] = []
        """Frames that something received calls for."""
        self._left: dict[str, dict[str, None]] = {channel: {} for channel in CHANNELS}
        """Markets unsubscribed before a channel's stream was announced: it has them still."""
        self._asked: set[str] = set()
        """Markets whose book was asked for with ``get_snapshot`` and has not come."""
        self._failed: list[int] = []
        """Streams of books that the venue ended by itself."""

    # ── what is sent ─────────────────────────────────────────────────────────────────────────

    def follow(self, terms: AssetTerms) -> None:
        """Learn the asset's ticker; it is known until the asset is unsubscribed."""
        self._tickers[terms.asset_id] = terms.market_id

    def opening(self) -> list[str]:
        """Subscribe what happens to every market."""
        return list(self._commands.subscribe_lifecycle())

    def subscribe(self, asset_ids: Iterable[str]) -> list[str]:
        """Subscribe the assets' markets; a later one adds to an earlier."""
        return list(self._commands.subscribe(self._tickers_of(asset_ids)))

    def unsubscribe(self, asset_ids: Iterable[str]) -> list[str]:
        """Take the assets' markets out of every stream, now or when it is announced."""
        asset_ids = list(asset_ids)
        gone = self._tickers_of(asset_ids)
        for asset_id in asset_ids:
            self._tickers.pop(asset_id, None)
        held = set(self._tickers.values())
        gone = [ticker for ticker in gone if ticker not in held]
        self._asked.difference_update(gone)
        frames: list[str] = []
        for channel in CHANNELS:
            sids = self._sids(channel)
            if not sids:
                self._left[channel] |= dict.fromkeys(gone)
            for sid in sids:
                frames += self._commands.delete_markets(sid, gone)
        return frames

    def resync(self, asset_ids: Iterable[str]) -> list[str]:
        """Have the assets' books sent anew.

        First by ``get_snapshot``; where that brought nothing, by taking the market out of the
        stream and adding it. Where the stream itself failed every market goes on a new one, and
        where none was announced yet the markets are subscribed again.
        """
        tickers = self._tickers_of(asset_ids)
        if not tickers:
            return []
        if self._failed:
            ended, self._failed = self._failed, []
            return [*self._commands.unsubscribe(ended), *self._renew(BOOK_CHANNEL)]
        sids = self._sids(BOOK_CHANNEL)
        if not sids:
            return list(self._commands.subscribe(tickers))
        in_vain = [ticker for ticker in tickers if ticker in self._asked]
        first = [ticker for ticker in tickers if ticker not in self._asked]
        self._asked.difference_update(in_vain)
        self._asked.update(first)
        frames = list(self._commands.get_snapshot(sids[-1], first))
        for sid in sids:
            frames += self._commands.delete_markets(sid, in_vain)
        return [*frames, *self._commands.subscribe(in_vain, (BOOK_CHANNEL,))]

    def listen(self, terms: AssetTerms) -> list[str]:
        """Subscribe the books of a market that the channel does not follow."""
        self.follow(terms)
        return list(self._commands.subscribe([terms.market_id], (BOOK_CHANNEL,)))

    # ── what is received ─────────────────────────────────────────────────────────────────────

    def carries_books(self, sid: int) -> bool:
        """Whether the stream is one of books."""
        return self.channels.get(sid) == BOOK_CHANNEL

    def announced(self, sid: int, channel: str) -> None:
        """The venue told a channel's stream: what waited for its number is due."""
        self.channels[sid] = channel
        left = self._left.get(channel)
        if not left:
            return
        held = set(self._tickers.values())
        gone = [ticker for ticker in left if ticker not in held]
        back = [ticker for ticker in left if ticker in held]
        left.clear()
        self.outbox += self._commands.delete_markets(sid, gone)
        if channel == BOOK_CHANNEL:
            # subscribed a second time: the book came while nobody wanted it
            self._asked.update(back)
            self.outbox += self._commands.get_snapshot(sid, back)

    def book_came(self, ticker: str) -> None:
        """A whole book of the market arrived."""
        self._asked.discard(ticker)

    def ended(self, sid: int) -> None:
        """A stream ended as asked."""
        self.channels.pop(sid, None)

    def failed(self, sid: int | None) -> None:
        """The venue ended a stream by itself, all of them where it does not say which.

        Prints and announcements are subscribed again at once. Books are when their owner, who
        has to doubt them, asks for them.
        """
        for number in list(self.channels) if sid is None else [sid]:
            channel = self.channels.pop(number, None)
            if channel == BOOK_CHANNEL:
                self._failed.append(number)
            elif channel is not None:
                self.outbox += self._commands.unsubscribe([number])
                self.outbox += self._renew(channel)

    def _renew(self, channel: str) -> list[str]:
        if channel == LIFECYCLE_CHANNEL:
            return self.opening()
        if channel not in CHANNELS:
            return []
        if channel == BOOK_CHANNEL:
            self._asked.clear()
        tickers = list(dict.fromkeys(self._tickers.values()))
        return list(self._commands.subscribe(tickers, (channel,)))

    def _sids(self, channel: str) -> list[int]:
        return [sid for sid, carried in self.channels.items() if carried == channel]

    def _tickers_of(self, asset_ids: Iterable[str]) -> list[str]:
        named = (self._tickers.get(asset_id) for asset_id in asset_ids)
        return list(dict.fromkeys(ticker for ticker in named if ticker is not None))
