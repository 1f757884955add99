"""What channels counted, over the connections of a venue, closed ones included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from surveillance_core.venues.protocols import IntegrityTally, MarketChannel


@dataclass
class Tallies:
    """Sums over channels."""

    messages: Counter[str] = field(default_factory=Counter[str])
    """Messages by type."""
    ignored: Counter[str] = field(default_factory=Counter[str])
    """Well-formed input that changed nothing, by reason."""
    hashes: IntegrityTally = field(default_factory=IntegrityTally)
    """Integrity verdicts."""
    crossed_at_batch_end: int = 0
    """Books found crossed when a batch was whole."""

    def add(self, channel: MarketChannel) -> None:
        """Count what a channel has counted so far."""
        self.messages += channel.messages
        self.ignored += channel.ignored
        self.hashes.due += channel.hashes.due
        self.hashes.matched += channel.hashes.matched
        self.hashes.mismatched += channel.hashes.mismatched
        self.crossed_at_batch_end += channel.crossed_at_batch_end

    def with_open(self, channels: Iterable[MarketChannel]) -> Self:
        """These tallies and those of channels that are still at work."""
        total = type(self)()
        total.messages += self.messages
        total.ignored += self.ignored
        tally = self.hashes
        total.hashes = IntegrityTally(tally.due, tally.matched, tally.mismatched)
        total.crossed_at_batch_end = self.crossed_at_batch_end
        for channel in channels:
            total.add(channel)
        return total
