"""How the venue spells prices, sizes, times and identities (reference kalshi.md 3 and 4)."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

from surveillance_core.books import TICKS_PER_DOLLAR

PRICES: Final = tuple(f"{tick / TICKS_PER_DOLLAR:.4f}" for tick in range(TICKS_PER_DOLLAR + 1))
"""Each tick in dollars with four decimals: ``PRICES[9600] == "0.9600"``."""


def spell_size(contracts: float) -> str:
    """Contracts with two decimals; a change may be negative, and nothing is never ``-0.00``.

    Examples
    --------
    >>> spell_size(-54.0), spell_size(-0.0)
    ('-54.00', '0.00')
    """
    return f"{round(contracts * 100) / 100 + 0.0:.2f}"


def spell_moment(ts_ms: int) -> str:
    """RFC 3339 to the second, with milliseconds only where there are any.

    Examples
    --------
    >>> spell_moment(1_788_264_000_000), spell_moment(1_788_264_000_250)
    ('2026-09-01T12:00:00Z', '2026-09-01T12:00:00.25Z')
    """
    seconds, ms = divmod(ts_ms, 1000)
    if not ms:
        return _second(seconds) + "Z"
    fraction = f"{ms:03d}".rstrip("0")
    return f"{_second(seconds)}.{fraction}Z"


def spell_batch_moment(ts_ms: int, market: int) -> str:
    """The moment of an engine batch to the microsecond; the world's milliseconds are kept.

    The microseconds are as good as random and the same for the whole batch.
    """
    seconds, ms = divmod(ts_ms, 1000)
    return f"{_second(seconds)}.{ms:03d}{(ts_ms * 7919 + market * 31) % 1000:03d}Z"


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def market_uuid(ticker: str) -> str:
    """The market's id beside its ticker."""
    return str(uuid5(NAMESPACE_URL, f"market:{ticker}"))


def trade_uuid(transaction_hash: str) -> str:
    """A print's id, from the hash that the world gave its fill."""
    return str(UUID(hex=transaction_hash.removeprefix("0x")[:32]))
