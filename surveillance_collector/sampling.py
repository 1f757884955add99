"""How often and how deep books are read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Tier(StrEnum):
    """How often a market's book is read."""

    HOT = "hot"
    WARM = "warm"


@dataclass(frozen=True)
class Sampling:
    """When and how deep books are read. Durations in nanoseconds."""

    cadence_ns: dict[Tier, int]
    heartbeat_ns: int
    bucket_ns: int
    top_k: int
    first_book_ns: int
    """Wait for a book after subscribing before the asset is subscribed again."""
