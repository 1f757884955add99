"""Which code speaks for which venue: the one place that a new venue is entered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Protocol
from urllib.parse import urlsplit

from surveillance_core.books import tick_of
from surveillance_core.checkpoints import Kinds
from surveillance_core.markets import Market, Venue
from surveillance_core.settings import ConfigurationError, Settings
from surveillance_core.venues.kalshi import credentials as kalshi_credentials
from surveillance_core.venues.kalshi import rest as kalshi_rest
from surveillance_core.venues.kalshi import rest_books as kalshi_rest_books
from surveillance_core.venues.kalshi import state as kalshi_state
from surveillance_core.venues.kalshi import wire as kalshi_wire
from surveillance_core.venues.kalshi.channel import KalshiChannel
from surveillance_core.venues.polymarket import rest as polymarket_rest
from surveillance_core.venues.polymarket import rest_books as polymarket_rest_books
from surveillance_core.venues.polymarket import state as polymarket_state
from surveillance_core.venues.polymarket import wire as polymarket_wire
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.polymarket.integrity import spell_size
from surveillance_core.venues.polymarket.rewards import complete_rewards
from surveillance_core.venues.protocols import (
    BATCH_GAP_NS,
    AssetTerms,
    BookAnswer,
    Discovery,
    Echo,
    MarketChannel,
    SettledReader,
)
from surveillance_core.venues.rest import RestClient

HandshakeHeaders = Callable[[int], Mapping[str, str]]
"""Headers of a handshake made at a wall time, milliseconds since the epoch; never logged."""


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


class NewChannel(Protocol):
    """Makes the protocol state machine of one connection.

    Takes the reader of settled books, the least nanoseconds between two integrity checks of a book,
    and the silence after which a batch is whole.
    """

    def __call__(  # noqa: D102
        self,
        on_settled: SettledReader | None,
        interval_ns: int,
        /,
        *,
        batch_gap_ns: int = BATCH_GAP_NS,
    ) -> MarketChannel: ...


@dataclass(frozen=True)
class VenueAdapter:
    """What the collector and the universe asset need of a venue."""

    venue: Venue
    discover: Discover
    new_channel: NewChannel
    handshake: Callable[[Settings], HandshakeHeaders]
    """Reads what a handshake needs; raises ``ConfigurationError`` where that cannot be had."""
    ping: str | None
    """Text frame sent to keep a connection alive, None where the venue wants none."""
    echo: Echo
    """What an open connection can ask, to know that it has read all that was sent before."""
    mirrored: bool
    """Whether a market's second outcome has a book of its own, the mirror of the first's."""
    message_types: frozenset[str]
    """Types of message this version reads, as the venue names them."""
    book_answers: Callable[[RestClient, Sequence[AssetTerms]], Mapping[str, BookAnswer]]
    """Asks by REST for these assets' books; what it has no book of is missing.
    Raises ``VenueError``."""
    state: Kinds
    """What the state of a connection is made of, besides what all venues share."""
    complete: Callable[[RestClient, Discovery], None] | None = None
    """Fills in from the venue's second host what its listing left out."""


def _polymarket_channel(
    on_settled: SettledReader | None, interval_ns: int, /, *, batch_gap_ns: int = BATCH_GAP_NS
) -> MarketChannel:
    return PolymarketChannel(on_settled, hash_interval_ns=interval_ns, batch_gap_ns=batch_gap_ns)


def _kalshi_channel(
    on_settled: SettledReader | None, interval_ns: int, /, *, batch_gap_ns: int = BATCH_GAP_NS
) -> MarketChannel:
    del interval_ns  # every frame is numbered: there is nothing to space out
    return KalshiChannel(on_settled, batch_gap_ns=batch_gap_ns)


def _open_handshake(settings: Settings) -> HandshakeHeaders:
    del settings  # the venue's market data needs no key
    return lambda wall_ms: {}


def _signed_handshake(settings: Settings) -> HandshakeHeaders:
    signer = kalshi_credentials.signer_of(settings)
    path = urlsplit(settings.endpoints(Venue.KALSHI).ws_url).path or "/"
    return lambda wall_ms: signer.handshake_headers(wall_ms, path)


_ADAPTERS = {
    Venue.KALSHI: VenueAdapter(
        venue=Venue.KALSHI,
        discover=kalshi_rest.discover,
        new_channel=_kalshi_channel,
        handshake=_signed_handshake,
        # it pings by itself, and its pings are answered below this
        ping=None,
        echo=kalshi_wire.ECHO,
        mirrored=False,
        message_types=frozenset(kalshi_wire.TYPE_NAMES.values()),
        book_answers=kalshi_rest_books.answer_for,
        state=kalshi_state.STATE,
    ),
    Venue.POLYMARKET: VenueAdapter(
        venue=Venue.POLYMARKET,
        discover=polymarket_rest.discover,
        new_channel=_polymarket_channel,
        handshake=_open_handshake,
        ping=polymarket_wire.PING,
        echo=polymarket_wire.ECHO,
        mirrored=True,
        message_types=frozenset(polymarket_wire.TYPE_NAMES.values()),
        book_answers=polymarket_rest_books.answer_for,
        state=polymarket_state.STATE,
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


def supported_venues() -> list[Venue]:
    """Venues with an adapter, alphabetically."""
    return sorted(_ADAPTERS)


def channel_state() -> Kinds:
    """What the state of a connection is made of, at any venue."""
    return reduce(Kinds.__or__, (adapter.state for adapter in _ADAPTERS.values()))


def asset_terms(market: Market, *, mirror: bool) -> list[AssetTerms]:
    """What a market-data connection must know of a market's outcomes.

    The first outcome's book stands for the market; ``mirror`` adds the second, which is followed
    to check it where the venue keeps a book of it.
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
    if mirror and other is not None and adapter_of(market.venue).mirrored:
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
