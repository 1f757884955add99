"""Which code speaks for which venue: the one place that a new venue is entered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from surveillance_core.books import tick_of
from surveillance_core.markets import Market, Venue
from surveillance_core.settings import ConfigurationError
from surveillance_core.venues.kalshi import rest as kalshi_rest
from surveillance_core.venues.kalshi import wire as kalshi_wire
from surveillance_core.venues.kalshi.channel import KalshiChannel
from surveillance_core.venues.polymarket import rest as polymarket_rest
from surveillance_core.venues.polymarket import wire as polymarket_wire
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.polymarket.integrity import spell_size
from surveillance_core.venues.polymarket.rewards import complete_rewards
from surveillance_core.venues.protocols import (
    AssetTerms,
    Discovery,
    MarketChannel,
    SettledReader,
)
from surveillance_core.venues.rest import RestClient


class SubscribeFrames(Protocol):
    """Frames that subscribe assets; ``first`` where the connection has sent nothing yet."""

    def __call__(self, asset_ids: Sequence[str], *, first: bool) -> Iterator[str]:  # noqa: D102
        ...


class Discover(Protocol):
    """A sweep of the venue's listing."""

    def __call__(  # noqa: D102
        self,
        client: RestClient,
        fetched_at: datetime,
        /,
        *,
        page_size: int,
        max_pages: int,
        on_page: Callable[[int, int], None] | None,
    ) -> Discovery: ...


@dataclass(frozen=True)
class VenueAdapter:
    """What the collector and the universe asset need of a venue."""

    venue: Venue
    discover: Discover
    new_channel: Callable[[SettledReader | None, int], MarketChannel]
    """Takes the reader of settled books and the least nanoseconds between integrity checks."""
    subscribe_frames: SubscribeFrames
    unsubscribe_frames: Callable[[Sequence[str]], Iterator[str]]
    ping: str | None
    """Text frame sent to keep a connection alive, None where the venue wants none."""
    complete: Callable[[RestClient, Discovery], None] | None = None
    """Fills in from the venue's second host what its listing left out."""
    live: bool = True
    """Whether the collector can hold its connections; otherwise it is scanned and replayed."""


def _polymarket_channel(on_settled: SettledReader | None, interval_ns: int) -> MarketChannel:
    return PolymarketChannel(on_settled, hash_interval_ns=interval_ns)


def _kalshi_channel(on_settled: SettledReader | None, interval_ns: int) -> MarketChannel:
    del interval_ns  # every frame is numbered: there is nothing to space out
    return KalshiChannel(on_settled)


_ADAPTERS = {
    Venue.KALSHI: VenueAdapter(
        venue=Venue.KALSHI,
        discover=kalshi_rest.discover,
        new_channel=_kalshi_channel,
        subscribe_frames=kalshi_wire.subscribe_frames,
        unsubscribe_frames=kalshi_wire.unsubscribe_frames,
        ping=None,
        # its commands name the connection's subscriptions and its handshake is signed
        live=False,
    ),
    Venue.POLYMARKET: VenueAdapter(
        venue=Venue.POLYMARKET,
        discover=polymarket_rest.discover,
        new_channel=_polymarket_channel,
        subscribe_frames=polymarket_wire.subscribe_frames,
        unsubscribe_frames=polymarket_wire.unsubscribe_frames,
        ping=polymarket_wire.PING,
        complete=complete_rewards,
    ),
}


def adapter_of(venue: Venue) -> VenueAdapter:
    """The venue's adapter; raises ``ConfigurationError`` where this version has none."""
    adapter = _ADAPTERS.get(venue)
    if adapter is None:
        raise ConfigurationError(
            f"venues.{venue}.enabled: this version has no adapter for {venue}; set it to false"
        )
    return adapter


def live_adapter_of(venue: Venue) -> VenueAdapter:
    """The adapter of a venue that can be collected; raises ``ConfigurationError`` otherwise."""
    adapter = adapter_of(venue)
    if not adapter.live:
        raise ConfigurationError(
            f"venues.{venue}.enabled: this version scans {venue} and replays recordings of it, but "
            f"does not collect it yet; set it to false, or name another --venue"
        )
    return adapter


def supported_venues() -> list[Venue]:
    """Venues with an adapter, alphabetically."""
    return sorted(_ADAPTERS)


def asset_terms(market: Market, *, mirror: bool) -> list[AssetTerms]:
    """What a market-data connection must know of a market's outcomes.

    The first outcome's book stands for the market; ``mirror`` adds the second, which is followed
    to check it.
    """
    tick = tick_of(market.tick_size)
    size = None if market.min_order_size is None else spell_size(market.min_order_size)
    first, *others = (outcome.outcome_id for outcome in market.outcomes)
    other = others[0] if len(others) == 1 else None
    terms = [
        AssetTerms(
            market_id=market.market_id,
            asset_id=first,
            tick=tick,
            primary=True,
            mirror_id=other,
            min_order_size=size,
            neg_risk=market.neg_risk,
        )
    ]
    if mirror and other is not None:
        terms.append(
            AssetTerms(
                market_id=market.market_id,
                asset_id=other,
                tick=tick,
                primary=False,
                mirror_id=first,
                min_order_size=size,
                neg_risk=market.neg_risk,
            )
        )
    return terms
