"""What keeps a listed market out, as configured. Pure.

The scan applies it to what it publishes and the scheduler again to what it subscribes, because the
time until the close passes and the configuration may have changed since. What a filter needs and
the venue does not say is never guessed: without an end date a market is kept, without a volume or a
liquidity it does not reach a minimum that is asked for, and is counted apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from surveillance_core.markets import Market
from surveillance_core.settings_tables import VenueSettings


@dataclass(frozen=True)
class Filters:
    """The filters of one venue; the defaults keep everything.

    ``deny`` goes before ``allow``, and ``allow`` before all others. Both name markets or groups,
    by the id the system gives (``event:123``) or the venue's own (``123``).
    """

    exclude_title_patterns: tuple[str, ...] = ()
    min_hours_until_close: float = 0.0
    min_volume_24h: float = 0.0
    min_liquidity: float = 0.0
    categories: tuple[str, ...] = ()
    exclude_categories: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def reason(self, market: Market, now: datetime) -> str | None:
        """Why the market is kept out, None where it passes."""
        if self.deny and is_named(market, self.deny):
            return "denied"
        if self.allow and is_named(market, self.allow):
            return None
        title = market.title.casefold()
        if any(pattern.casefold() in title for pattern in self.exclude_title_patterns):
            return "title_pattern"
        if self.min_hours_until_close > 0 and market.close_hint is not None:
            soonest = now + timedelta(hours=self.min_hours_until_close)
            if market.close_hint < soonest:
                return "closes_soon"
        return (
            _below("volume_24h", market.volume_24h, self.min_volume_24h)
            or _below("liquidity", market.liquidity, self.min_liquidity)
            or self._category(market.category)
        )

    def _category(self, category: str | None) -> str | None:
        if self.categories and category is None:
            return "category_unknown"
        if self.categories and not _one_of(category, self.categories):
            return "category"
        return "category_excluded" if _one_of(category, self.exclude_categories) else None


def filters_of(table: VenueSettings) -> Filters:
    """The filters that a venue's table of the configuration holds."""
    return Filters(
        exclude_title_patterns=table.exclude_title_patterns,
        min_hours_until_close=table.min_hours_until_close,
        min_volume_24h=table.min_volume_24h,
        min_liquidity=table.min_liquidity,
        categories=table.categories,
        exclude_categories=table.exclude_categories,
        allow=table.allow,
        deny=table.deny,
    )


def filter_markets(
    markets: Iterable[Market], filters: Filters, now: datetime
) -> tuple[list[Market], Counter[str]]:
    """Markets that pass, in their order, and how many did not, by reason."""
    kept: list[Market] = []
    filtered: Counter[str] = Counter()
    for market in markets:
        reason = filters.reason(market, now)
        if reason is None:
            kept.append(market)
        else:
            filtered[reason] += 1
    return kept, filtered


def is_named(market: Market, names: tuple[str, ...]) -> bool:
    """Whether a name is the market's or a group's, as the system or the venue spells it."""
    if market.market_id in names:
        return True
    ids = (group.group_id for group in market.groups)
    return any(name in names or name.partition(":")[2] in names for name in ids)


def _below(what: str, value: float | None, least: float) -> str | None:
    if least <= 0:
        return None
    if value is None:
        return f"{what}_unknown"
    return f"{what}_low" if value < least else None


def _one_of(category: str | None, names: tuple[str, ...]) -> bool:
    return category is not None and category.casefold() in {name.casefold() for name in names}
