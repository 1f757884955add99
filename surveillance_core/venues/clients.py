"""The REST clients of a venue, as configured: the one place where an address meets a key."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx

from surveillance_core.markets import Venue
from surveillance_core.settings import Settings
from surveillance_core.venues.kalshi.credentials import signer_if_any
from surveillance_core.venues.kalshi.signing import Signer
from surveillance_core.venues.rest import ATTEMPTS, RestClient, Sign


def venue_client(
    settings: Settings,
    venue: Venue,
    *,
    transport: httpx.BaseTransport | None = None,
) -> RestClient:
    """A client of the venue's listing; signs every request where a key is configured.

    Raises
    ------
    ConfigurationError
        If a key is configured and cannot be used.
    """
    return _client(settings, venue, settings.endpoints(venue).rest_url, transport)


def book_client(
    settings: Settings,
    venue: Venue,
    *,
    transport: httpx.BaseTransport | None = None,
    attempts: int = ATTEMPTS,
) -> RestClient:
    """A client of the venue's books and rewards, which Polymarket has on a host of its own."""
    return _client(settings, venue, settings.endpoints(venue).clob_url, transport, attempts)


def signed_by(signer: Signer, now_ms: Callable[[], int] | None = None) -> Sign:
    """Headers for each request, stamped with the time it is sent at."""
    moment = now_ms or (lambda: time.time_ns() // 1_000_000)
    return lambda method, path: signer.headers(method, path, moment())


def _client(
    settings: Settings,
    venue: Venue,
    address: str,
    transport: httpx.BaseTransport | None,
    attempts: int = ATTEMPTS,
) -> RestClient:
    table = settings.venues[venue]
    signer = signer_if_any(settings) if venue is Venue.KALSHI else None
    return RestClient(
        address,
        requests_per_second=table.requests_per_second,
        burst=table.request_burst,
        sign=None if signer is None else signed_by(signer),
        transport=transport,
        attempts=attempts,
    )
