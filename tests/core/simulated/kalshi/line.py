"""A connection without a socket: commands in, frames out, and the client's channel that judges."""

from __future__ import annotations

import json
from typing import Any

from surveillance_core.books import OrderBook
from surveillance_core.venues.kalshi.channel import KalshiChannel
from surveillance_core.venues.protocols import AssetTerms, ChannelEvent
from surveillance_core.venues.simulated.kalshi.answers import Answers
from surveillance_core.venues.simulated.kalshi.catalogue import Catalogue
from surveillance_core.venues.simulated.kalshi.frames import frame
from surveillance_core.venues.simulated.kalshi.hub import Hub
from surveillance_core.venues.simulated.kalshi.ledger import Ledger
from surveillance_core.venues.simulated.kalshi.limits import KalshiLimits
from surveillance_core.venues.simulated.kalshi.subscriptions import Session, Stream

from .stage import Stage

Json = dict[str, Any]


class Floor:
    """The venue's pure part over a stage."""

    def __init__(self, stage: Stage, limits: KalshiLimits | None = None) -> None:
        self.stage = stage
        self.limits = limits or KalshiLimits()
        ledger = Ledger(stage)
        self.catalogue = Catalogue(stage, ledger)
        self.answers = Answers(stage, self.catalogue, ledger, self.limits)
        self.hub = Hub(stage, self.catalogue, ledger, self.answers)


class Line:
    """One client of a floor; every frame goes through a ``KalshiChannel`` as well."""

    def __init__(self, floor: Floor, *, yes_price: bool = False) -> None:
        self.floor = floor
        self.frames: list[Json] = []
        self.events: list[ChannelEvent] = []
        self.session = Session(floor.hub, floor.limits, self, 0)
        self.channel = KalshiChannel(use_yes_price=yes_price)
        self.channel.follow(
            AssetTerms(market_id=m.market_id, asset_id=m.market_id, tick=1, mirror_id=m.no_id)
            for m in floor.stage.markets
        )
        self.wall_ms = 0
        self._id = 0
        self._now_ns = 1

    def data(self, stream: Stream, kind: str, body: str, now_ms: int) -> None:
        seq = None if kind == "ticker" else stream.number()
        self.take(frame(kind, stream.sid, seq, body, now_ms))

    def take(self, text: str) -> None:
        self._now_ns += 1_000_000
        self.frames.append(json.loads(text))
        self.events += self.channel.receive(text, self._now_ns)

    def send(self, command: object) -> list[Json]:
        """Send a raw command; the answers."""
        text = command if isinstance(command, str | bytes) else json.dumps(command)
        _, answers = self.session.command(text, self.wall_ms)
        for answer in answers:
            self.take(answer)
        return [json.loads(answer) for answer in answers]

    def command(self, name: str, **params: object) -> list[Json]:
        self._id += 1
        return self.send({"id": self._id, "cmd": name, "params": params})

    def subscribe(self, *tickers: str, channels: tuple[str, ...] = ("orderbook_delta",), **more):
        named = {"market_tickers": list(tickers)} if tickers else {}
        return self.command("subscribe", channels=list(channels), **named, **more)

    def update(self, sid: int, action: str, *tickers: str) -> list[Json]:
        return self.command(
            "update_subscription", sids=[sid], action=action, market_tickers=list(tickers)
        )

    def taken(self) -> list[Json]:
        """Frames since the last call."""
        frames, self.frames = self.frames, []
        return frames

    def book(self, ticker: str) -> OrderBook:
        return self.channel.states[ticker].book
