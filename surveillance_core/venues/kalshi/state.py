"""What the state of this venue's connections is made of; see ``surveillance_core.checkpoints``."""

from __future__ import annotations

from typing import Final

from surveillance_core.checkpoints import Kinds
from surveillance_core.venues.kalshi.book import KalshiBook
from surveillance_core.venues.kalshi.channel import KalshiChannel
from surveillance_core.venues.kalshi.integrity import (
    SequenceTally,
    SequenceTracker,
    Stream,
    TickerTally,
)
from surveillance_core.venues.kalshi.subscriptions import Subscriptions
from surveillance_core.venues.kalshi.wire import MESSAGE_TYPES, Commands

STATE: Final = Kinds(
    {
        "kalshi.book": KalshiBook,
        "kalshi.channel": KalshiChannel,
        "kalshi.commands": Commands,
        "kalshi.sequence_tally": SequenceTally,
        "kalshi.sequence_tracker": SequenceTracker,
        "kalshi.stream": Stream,
        "kalshi.subscriptions": Subscriptions,
        "kalshi.ticker_tally": TickerTally,
    },
    {f"kalshi.{name}": kind for name, kind in MESSAGE_TYPES.items()},
)
