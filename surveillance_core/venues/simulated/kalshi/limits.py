"""Where the simulated Kalshi stops, and the token buckets it counts requests with.

Pure: the caller brings the time. Facts: reference kalshi.md 1 (tokens, Basic tier, 429 without any
header) and 3 (connections, commands, markets a subscription). What the venue does not publish is
configuration here.
"""

from __future__ import annotations

import msgspec


class KalshiLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Budgets and bounds; the defaults are the Basic tier's where it is published."""

    tier: str = "basic"
    read_tokens_per_s: float = 200.0
    read_capacity: float = 600.0
    write_tokens_per_s: float = 100.0
    request_tokens: float = 10.0
    """Cost of a request that has no cost of its own."""
    orderbooks_item_tokens: float = 10.0
    """Cost of each ticker of a batch of books; zero bills the batch as one request."""
    address_tokens_per_s: float | None = 200.0
    """Refill for callers without a signature, by address; None does not limit them."""
    address_capacity: float = 600.0
    cache_ms: int = 0
    """How old an answer without a signature may be, as the venue's network of caches has them for
    15 s; zero turns the cache off, since a world may run faster than the wall."""
    skew_ms: int = 30_000
    """Furthest that a signature's time may be from the wall clock."""
    connections: int = 200
    """Sockets a key may hold; one more is refused with 429."""
    markets_a_subscription: int = 20_000
    """Beyond it error 26; the venue's own number is not published."""
    markets_a_session: int = 500_000
    commands_per_s: float = 10_000.0
    """Beyond it error 27."""
    backlog_bytes: int = 64 * 2**20
    """Unsent bytes after which a slow reader gets error 25 and is cut."""
    heartbeat_s: float = 10.0
    """Between two server pings."""
    missed_heartbeats: int = 3
    """Pings without a pong after which the connection is given up."""


class TokenBucket:
    """A budget that refills with time.

    Examples
    --------
    >>> bucket = TokenBucket(refill=10.0, capacity=20.0, now_ms=0)
    >>> bucket.take(20.0, 0), bucket.take(10.0, 500), bucket.take(10.0, 1000)
    (True, False, True)
    """

    __slots__ = ("_at_ms", "_capacity", "_refill", "_tokens")

    def __init__(self, refill: float, capacity: float, now_ms: int) -> None:
        self._refill = refill
        self._capacity = capacity
        self._tokens = capacity
        self._at_ms = now_ms

    def take(self, tokens: float, now_ms: int) -> bool:
        """Spend tokens if there are enough; a clock that goes back refills nothing."""
        gained = max(0, now_ms - self._at_ms) * self._refill / 1000
        self._tokens = min(self._capacity, self._tokens + gained)
        self._at_ms = now_ms
        if tokens > self._tokens:
            return False
        self._tokens -= tokens
        return True


class Meter:
    """One bucket a key, and one an address for callers without a signature."""

    def __init__(self, limits: KalshiLimits) -> None:
        self._limits = limits
        self._keys: dict[str, TokenBucket] = {}
        self._addresses: dict[str, TokenBucket] = {}

    def admit(self, key_id: str | None, address: str, tokens: float, now_ms: int) -> bool:
        """Whether the caller may have what costs so many tokens."""
        limits = self._limits
        if key_id is not None:
            bucket = self._keys.get(key_id)
            if bucket is None:
                bucket = self._keys[key_id] = TokenBucket(
                    limits.read_tokens_per_s, limits.read_capacity, now_ms
                )
            return bucket.take(tokens, now_ms)
        if limits.address_tokens_per_s is None:
            return True
        bucket = self._addresses.get(address)
        if bucket is None:
            bucket = self._addresses[address] = TokenBucket(
                limits.address_tokens_per_s, limits.address_capacity, now_ms
            )
        return bucket.take(tokens, now_ms)
