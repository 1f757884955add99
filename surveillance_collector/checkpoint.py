"""What the engine's state is made of, whatever its venue; see ``surveillance_core.checkpoints``."""

from __future__ import annotations

from typing import Final

from surveillance_collector.announcements import Announcements
from surveillance_collector.coverage import CoverageLine, LinesThatEnded
from surveillance_collector.following import Followed
from surveillance_collector.output import Output, RejectedFrame, Resync
from surveillance_collector.tallies import Tallies
from surveillance_core.books import SEEN_COMPLEMENT_OF, SEEN_TICK_OF, OrderBook, Trust
from surveillance_core.checkpoints import Kinds
from surveillance_core.lake.schemas import COLLECTED
from surveillance_core.venues.protocols import AssetTerms, IntegrityTally, Rejected, Side
from surveillance_core.venues.recent import RecentKeys
from surveillance_core.venues.registry import channel_state

ENGINE_STATE: Final = channel_state() | Kinds(
    {
        "announcements": Announcements,
        "asset_terms": AssetTerms,
        "coverage_line": CoverageLine,
        "followed": Followed,
        "integrity_tally": IntegrityTally,
        "lines_that_ended": LinesThatEnded,
        "order_book": OrderBook,
        "output": Output,
        "recent_keys": RecentKeys,
        "rejected": Rejected,
        "rejected_frame": RejectedFrame,
        "resync": Resync,
        "side": Side,
        "tallies": Tallies,
        "trust": Trust,
    },
    {
        "int": int,
        "seen_complement_of": SEEN_COMPLEMENT_OF,
        "seen_tick_of": SEEN_TICK_OF,
        **{f"table.{table.name}": table for table in COLLECTED},
    },
)
"""All but what is supplied by whoever restores an engine."""
