"""One connection's streams and the commands that make, change and end them.

A pure state machine. Facts: reference kalshi.md 3. A stream (sid) is one channel on one connection.
All its markets share one sequence, which snapshots, changes, ``ok``, ``unsubscribed`` and errors of
the stream consume; ``subscribed`` and tickers have no number.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec

from surveillance_core.venues.simulated.kalshi.commands import (
    COMMANDS,
    KNOWN,
    UNFILTERED,
    Channel,
    Json,
    Refused,
    as_members,
    error_body,
    read_flag,
    read_id,
    read_sids,
    read_texts,
    read_tickers,
)
from surveillance_core.venues.simulated.kalshi.frames import frame, snapshot_body
from surveillance_core.venues.simulated.kalshi.limits import KalshiLimits, TokenBucket
from surveillance_core.venues.simulated.kalshi.stage import Levels


class Stream:
    """One channel on one connection."""

    __slots__ = (
        "channel",
        "everything",
        "seq",
        "session",
        "sid",
        "skip_ack",
        "tickers",
        "yes_price",
    )

    def __init__(self, session: Session, sid: int, channel: str) -> None:
        self.session = session
        self.sid = sid
        self.channel = channel
        self.tickers: dict[str, None] = {}
        self.everything = False
        """Whether it carries every market."""
        self.seq = 0
        self.yes_price = False
        self.skip_ack = False

    def number(self) -> int:
        """The next sequence number, consumed."""
        self.seq += 1
        return self.seq


class Outlet(Protocol):
    """Takes what the venue publishes to one connection."""

    def data(self, stream: Stream, kind: str, body: str, now_ms: int) -> None: ...


class Floor(Protocol):
    """What a session needs of the venue: books, and who follows what."""

    @property
    def now_ms(self) -> int: ...

    def standing(self, ticker: str, stream: Stream) -> tuple[str, tuple[Levels, Levels]]:
        """What a stream is shown: a market's id and book; an unknown one has no id and no level."""
        ...

    def ticker_of(self, market_id: str) -> str | None:
        """The ticker of a market by its id."""
        ...

    def top_body(self, ticker: str) -> str | None:
        """The ticker channel's body for a market, None for an unknown one."""
        ...

    def follow(self, stream: Stream, tickers: Iterable[str]) -> None: ...
    def leave(self, stream: Stream, tickers: Iterable[str]) -> None: ...
    def follow_everything(self, stream: Stream) -> None: ...
    def leave_everything(self, stream: Stream) -> None: ...


class Session:
    """The commands of one connection.

    Parameters
    ----------
    floor
        The venue.
    outlet
        Takes the frames of data that the venue publishes; see ``venue``.
    """

    def __init__(self, floor: Floor, limits: KalshiLimits, outlet: Outlet, wall_ms: int) -> None:
        self.outlet = outlet
        self.streams: dict[int, Stream] = {}
        self._by_channel: dict[str, Stream] = {}
        self._floor = floor
        self._limits = limits
        self._next_sid = 1
        self._budget = TokenBucket(limits.commands_per_s, limits.commands_per_s, wall_ms)

    def command(self, text: str | bytes, wall_ms: int) -> tuple[str, list[str]]:
        """Do what a client's frame asks for; its kind, and the answers in sending order."""
        try:
            parsed: object = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            parsed = None
        request = as_members(parsed)
        if request is None:
            return "invalid", [self.error(1)]
        ident = read_id(request.get("id"))
        kind = request.get("cmd")
        name = kind if isinstance(kind, str) and kind in COMMANDS else "unknown"
        if not self._budget.take(1.0, wall_ms):
            return name, [self.error(27, ident)]
        if name == "unknown":
            return name, [self.error(5, ident)]
        if name == "list_subscriptions":
            return name, [self._list(ident)]
        params = as_members(request.get("params"))
        if params is None:
            return name, [self.error(2, ident)]
        try:
            if name == "subscribe":
                return name, self._subscribe(params, ident)
            if name == "unsubscribe":
                return name, self._unsubscribe(params, ident)
            return name, self._update(params, ident)
        except Refused as refused:
            return name, [self.error(refused.code, ident)]

    def error(self, code: int, ident: int = 0) -> str:
        """An error that belongs to no stream."""
        echo = f'"id":{ident},' if ident else ""
        return (
            f'{{{echo}"type":"error","msg":{error_body(code)},'
            f'"sending_ts_ms":{self._floor.now_ms}}}'
        )

    def fail(self, stream: Stream, code: int) -> str:
        """A terminal error: the stream sends nothing more and its sid is gone."""
        text = self._stream_error(stream, code)
        self._end(stream)
        return text

    def end_all(self) -> None:
        """The connection is over."""
        for stream in list(self.streams.values()):
            self._end(stream)

    def _subscribe(self, params: Json, ident: int) -> list[str]:
        channels = read_texts(params.get("channels"))
        if not channels:
            raise Refused(3)
        tickers = read_tickers(params)
        answers: list[str] = []
        for channel in dict.fromkeys(channels):
            try:
                answers += self._subscribe_channel(channel, tickers, params, ident)
            except Refused as refused:
                answers.append(self.error(refused.code, ident))
        return answers

    def _subscribe_channel(
        self, channel: str, tickers: list[str] | None, params: Json, ident: int
    ) -> list[str]:
        if channel not in KNOWN:
            raise Refused(8)
        if channel == Channel.TICKER and tickers is None:
            tickers = self._tickers_by_id(params)
        elif channel in UNFILTERED:
            tickers = None
        elif channel == Channel.BOOK and not tickers:
            raise Refused(14)
        stream = self._by_channel.get(channel)
        known = stream.tickers if stream is not None else {}
        new = [] if tickers is None else [t for t in tickers if t not in known]
        self._check_room(len(known), len(new))
        answers: list[str] = []
        if stream is None:
            stream = self._begin(channel, params)
            answers.append(self._subscribed(stream, ident))
            self._follow(stream, tickers, new)
        else:
            stream.skip_ack = read_flag(params, "skip_ticker_ack") or stream.skip_ack
            self._follow(stream, tickers, new)
            answers.append(self._ok(stream, ident))
        if channel == Channel.BOOK:
            answers += [self._snapshot(stream, ticker) for ticker in new]
        elif channel == Channel.TICKER and read_flag(params, "send_initial_snapshot"):
            answers += self._tops(stream, new)
        return answers

    def _begin(self, channel: str, params: Json) -> Stream:
        stream = Stream(self, self._next_sid, channel)
        self._next_sid += 1
        stream.yes_price = read_flag(params, "use_yes_price")
        stream.skip_ack = read_flag(params, "skip_ticker_ack")
        self.streams[stream.sid] = self._by_channel[channel] = stream
        return stream

    def _follow(self, stream: Stream, tickers: list[str] | None, new: list[str]) -> None:
        if tickers is None:
            if not stream.everything:
                stream.everything = True
                self._floor.leave(stream, stream.tickers)
                self._floor.follow_everything(stream)
            return
        stream.tickers.update(dict.fromkeys(new))
        if not stream.everything:
            self._floor.follow(stream, new)

    def _check_room(self, known: int, new: int) -> None:
        held = sum(len(stream.tickers) for stream in self.streams.values())
        limits = self._limits
        if known + new > limits.markets_a_subscription or held + new > limits.markets_a_session:
            raise Refused(26)

    def _unsubscribe(self, params: Json, ident: int) -> list[str]:
        sids = read_sids(params)
        if not sids:
            raise Refused(4)
        answers: list[str] = []
        for sid in sids:
            stream = self.streams.get(sid)
            if stream is None:
                answers.append(self.error(7, ident))
                continue
            echo = f'"id":{ident},' if ident else ""
            answers.append(
                f'{{{echo}"sid":{sid},"seq":{stream.number()},"type":"unsubscribed",'
                f'"sending_ts_ms":{self._floor.now_ms}}}'
            )
            self._end(stream)
        return answers

    def _end(self, stream: Stream) -> None:
        del self.streams[stream.sid]
        del self._by_channel[stream.channel]
        if stream.everything:
            self._floor.leave_everything(stream)
        else:
            self._floor.leave(stream, stream.tickers)

    def _update(self, params: Json, ident: int) -> list[str]:
        sids = read_sids(params)
        if len(sids) != 1:
            raise Refused(12)
        stream = self.streams.get(sids[0])
        if stream is None:
            raise Refused(7)
        action = params.get("action")
        if not action:
            raise Refused(15)
        if action not in actions_of(stream):
            return [self._stream_error(stream, 13)]
        tickers = read_tickers(params)
        if tickers is None and stream.channel == Channel.TICKER:
            tickers = self._tickers_by_id(params)
        if not tickers:
            raise Refused(14)
        if action == "get_snapshot":
            known = [ticker for ticker in tickers if ticker in stream.tickers]
            return [self._snapshot(stream, ticker, ident) for ticker in known]
        stream.skip_ack = read_flag(params, "skip_ticker_ack") or stream.skip_ack
        if action == "delete_markets":
            return self._delete(stream, tickers, ident)
        return self._add(stream, tickers, params, ident)

    def _delete(self, stream: Stream, tickers: list[str], ident: int) -> list[str]:
        gone = [ticker for ticker in tickers if ticker in stream.tickers]
        for ticker in gone:
            del stream.tickers[ticker]
        if not stream.everything:
            self._floor.leave(stream, gone)
        return [self._ok(stream, ident)]

    def _add(self, stream: Stream, tickers: list[str], params: Json, ident: int) -> list[str]:
        new = [ticker for ticker in tickers if ticker not in stream.tickers]
        self._check_room(len(stream.tickers), len(new))
        self._follow(stream, tickers, new)
        answers = [self._ok(stream, ident)]
        if stream.channel == Channel.BOOK:
            answers += [self._snapshot(stream, ticker) for ticker in new]
        elif stream.channel == Channel.TICKER and read_flag(params, "send_initial_snapshot"):
            answers += self._tops(stream, new)
        return answers

    def _snapshot(self, stream: Stream, ticker: str, ident: int = 0) -> str:
        market_id, book = self._floor.standing(ticker, stream)
        body = snapshot_body(ticker, market_id, book, yes_price=stream.yes_price)
        return frame(
            "orderbook_snapshot", stream.sid, stream.number(), body, self._floor.now_ms, ident
        )

    def _tops(self, stream: Stream, tickers: Iterable[str]) -> list[str]:
        bodies = [self._floor.top_body(ticker) for ticker in tickers]
        now_ms = self._floor.now_ms
        return [frame("ticker", stream.sid, None, body, now_ms) for body in bodies if body]

    def _tickers_by_id(self, params: Json) -> list[str] | None:
        ids = read_texts(params.get("market_ids")) or read_texts([params.get("market_id")])
        if not ids:
            return None
        named = (self._floor.ticker_of(market_id) for market_id in ids)
        return list(dict.fromkeys(ticker for ticker in named if ticker is not None))

    def _subscribed(self, stream: Stream, ident: int) -> str:
        echo = f'"id":{ident},' if ident else ""
        return (
            f'{{"type":"subscribed",{echo}"msg":{{"channel":"{stream.channel}",'
            f'"sid":{stream.sid}}},"sending_ts_ms":{self._floor.now_ms}}}'
        )

    def _ok(self, stream: Stream, ident: int) -> str:
        listed: Json = {} if stream.skip_ack else {"market_tickers": list(stream.tickers)}
        body = msgspec.json.encode(listed).decode()
        return frame("ok", stream.sid, stream.number(), body, self._floor.now_ms, ident)

    def _list(self, ident: int) -> str:
        streams = [{"channel": s.channel, "sid": s.sid} for s in self.streams.values()]
        echo = f'"id":{ident},' if ident else ""
        body = msgspec.json.encode(streams).decode()
        return f'{{{echo}"type":"ok","msg":{body},"sending_ts_ms":{self._floor.now_ms}}}'

    def _stream_error(self, stream: Stream, code: int) -> str:
        # such an error echoes no command id (observed on a get_snapshot to a stream of trades)
        body = error_body(code)
        return frame("error", stream.sid, stream.number(), body, self._floor.now_ms)


def actions_of(stream: Stream) -> frozenset[str]:
    """What ``update_subscription`` can do to a stream."""
    if stream.channel in UNFILTERED:
        return frozenset()
    lists = frozenset({"add_markets", "delete_markets"})
    return lists | {"get_snapshot"} if stream.channel == Channel.BOOK else lists
