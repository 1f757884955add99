"""What the state of this venue's connections is made of; see ``surveillance_core.checkpoints``."""

from __future__ import annotations

from typing import Final

from surveillance_core.checkpoints import Kinds
from surveillance_core.venues.polymarket.book import PolymarketBook
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.polymarket.integrity import HashTerms, Recipe
from surveillance_core.venues.polymarket.subscriptions import Subscriptions

STATE: Final = Kinds(
    {
        "polymarket.book": PolymarketBook,
        "polymarket.channel": PolymarketChannel,
        "polymarket.hash_terms": HashTerms,
        "polymarket.recipe": Recipe,
        "polymarket.subscriptions": Subscriptions,
    }
)
