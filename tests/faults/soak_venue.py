"""The venue of SOAK-1, what is done to it, and who was subscribed to what all the while."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import pytest

from surveillance_core.markets import Market, Venue
from surveillance_core.settings import MockSettings
from surveillance_core.simulated_time import receive_time_ns
from surveillance_core.venues.simulated.happenings import Phase
from surveillance_core.venues.simulated.polymarket import market_socket
from surveillance_core.venues.simulated.polymarket.frames import WireFrame
from surveillance_core.venues.simulated.servers import SimulatedVenues
from surveillance_core.venues.simulated.truth import Truth
from surveillance_core.venues.simulated.world import World
from tests.collector.live import port_of
from tests.collector.worlds import universe_of

from .gate import Gate, Way
from .soak import SPEED, Plan, Surprise

MARKETS: Final = 500
EVENTS_PER_SECOND: Final = 2.0
"""Of the venue's own seconds."""
SPOILED: Final = 3
"""Frames that a surprise which cannot be read spoils."""


class Followings:
    """When each token was subscribed by anybody, as the venue has it."""

    def __init__(self, patch: pytest.MonkeyPatch, now_ns: Callable[[], int]) -> None:
        self.spans: defaultdict[str, list[list[int]]] = defaultdict(list)
        """By token: [from, to), nanoseconds of the venue; the last may still be open (0)."""
        self.told: defaultdict[str, list[int]] = defaultdict(list)
        """By token: when its book was sent to a new subscriber."""
        sockets = market_socket.MarketSockets
        subscribe, unsubscribe = sockets._subscribe, sockets._unsubscribe

        def note_more(
            self_: market_socket.MarketSockets, client: Any, tokens: list[str], dump: bool
        ) -> None:
            new = [token for token in tokens if not self_.follows(token)]
            subscribe(self_, client, tokens, dump)
            at_ns = now_ns()
            for token in new:
                self.spans[token].append([at_ns, 0])
            if dump and not self_.stalled:
                for token in tokens:
                    self.told[token].append(at_ns)

        def note_less(self_: market_socket.MarketSockets, client: Any, tokens: list[str]) -> None:
            before = [token for token in tokens if self_.follows(token)]
            unsubscribe(self_, client, tokens)
            for token in before:
                if not self_.follows(token):
                    self.spans[token][-1][1] = now_ns()

        patch.setattr(sockets, "_subscribe", note_more)
        patch.setattr(sockets, "_unsubscribe", note_less)

    def covers(self, token: str, start_ns: int, end_ns: int) -> bool:
        """Whether the token was subscribed all that time."""
        return any(
            since <= start_ns and (not until or until >= end_ns)
            for since, until in self.spans.get(token, ())
        )

    def touches(self, token: str, start_ns: int, end_ns: int) -> bool:
        """Whether the token was subscribed at some time of that."""
        return any(
            since < end_ns and (not until or until > start_ns)
            for since, until in self.spans.get(token, ())
        )


@dataclass
class Spelling:
    """Spells the next frames of changes in another way."""

    surprise: Surprise | None = None
    left: int = 0
    spoiled: dict[str, int] = field(default_factory=dict[str, int])
    """Tokens whose changes could not be read as they were sent, and when first."""

    def spell(self, frame: WireFrame, now_ns: int) -> WireFrame:
        """The frame as it is sent."""
        if self.surprise is None or not self.left or '"price_change"' not in frame.text:
            return frame
        message: dict[str, Any] = msgspec.json.decode(frame.text)
        changes: list[dict[str, Any]] = message["price_changes"]
        match self.surprise:
            case Surprise.NEW_FIELD:
                message["venue_note"] = {"of": [1, None]}
                for change in changes:
                    change["queue"] = 17
                return self._sent(frame, message)
            case Surprise.FIELD_GONE:
                for change in changes:
                    del change["size"]
            case Surprise.TYPE_CHANGED:
                for change in changes:
                    change["price"] = {"value": change["price"], "unit": "usd"}
            case Surprise.TIME_CHANGED:
                message["timestamp"] = [message["timestamp"]]
            case Surprise.UNKNOWN_TYPE:
                return frame
        self.left -= 1
        for change in changes:
            self.spoiled.setdefault(change["asset_id"], now_ns)
        return self._sent(frame, message)

    @staticmethod
    def _sent(frame: WireFrame, message: dict[str, Any]) -> WireFrame:
        return msgspec.structs.replace(frame, text=msgspec.json.encode(message).decode())


@dataclass
class SoakVenue:
    """A venue behind gates, its clock and what it can say of the past."""

    venues: SimulatedVenues
    mock: MockSettings
    gates: tuple[Gate, Gate]
    followings: Followings
    spelling: Spelling

    def now_ns(self) -> int:
        """The time of the venue and of the collector."""
        return receive_time_ns(self.mock, time.time_ns())

    @property
    def sockets(self) -> market_socket.MarketSockets:
        return self.venues.polymarket.sockets

    @property
    def truth(self) -> Truth:
        return self.venues.truth.of(Venue.POLYMARKET)

    def at_once(self) -> None:
        """Have what was ordered happen now and not at the venue's next turn."""
        self.sockets.meet_faults()

    def turn(self, way: Way) -> None:
        """Open or close the way to the venue, REST too."""
        for gate in self.gates:
            gate.turn(way)

    def universe(self) -> list[Market]:
        """What is listed now and not over yet."""
        world = self.venues.world
        over = {
            market.market_id
            for market in world.markets
            if world.phase(market.index) in (Phase.CLOSED, Phase.RESOLVED)
        }
        listed = {m.market_id: m for e in world.listed(Venue.POLYMARKET) for m in e.markets}
        return [
            msgspec.structs.replace(
                market, tick_size=world.grid(listed[market.market_id].index).finest / 10_000
            )
            for market in universe_of(world)
            if market.market_id in listed and market.market_id not in over
        ]


@asynccontextmanager
async def soak_venue(plan: Plan, patch: pytest.MonkeyPatch) -> AsyncGenerator[SoakVenue]:
    """The venue of a plan, its time running from the plan's start."""
    start_ms = int(plan.start.timestamp() * 1_000)
    world = World(
        plan.seed, MARKETS, start_ms=start_ms, events_per_second=EVENTS_PER_SECOND,
        zipf_exponent=0.6, windows=True,
    )  # fmt: skip
    mock = MockSettings(
        enabled=True, speed=SPEED, epoch_ms=time.time_ns() // 1_000_000, start_ms=start_ms
    )

    def now_ns() -> int:
        return receive_time_ns(mock, time.time_ns())

    spelling = Spelling()
    send = market_socket.MarketSockets.send

    def spell_and_send(sockets: market_socket.MarketSockets, frame: WireFrame) -> None:
        send(sockets, spelling.spell(frame, now_ns()))

    patch.setattr(market_socket.MarketSockets, "send", spell_and_send)
    followings = Followings(patch, now_ns)
    async with SimulatedVenues(world, clock=now_ns) as venues:
        ends = venues.endpoints[Venue.POLYMARKET]
        async with Gate(port_of(ends.http_url)) as http, Gate(port_of(ends.ws_url)) as ws:
            ports = {"http_port": http.port, "ws_port": ws.port}
            mock = mock.model_copy(update=ports)
            yield SoakVenue(venues, mock, (http, ws), followings, spelling)
