"""The universe as a frame, for joins and for looking at, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import polars as pl

from surveillance_core.groups import LOGIC, logic_groups
from surveillance_core.markets import GroupKind, Market

UNIVERSE_SCHEMA: Final = pl.Schema(
    {
        "venue": pl.String(),
        "date": pl.Date(),
        "market_id": pl.String(),
        "title": pl.String(),
        "category": pl.String(),
        "group": pl.String(),
        "neg_risk": pl.Boolean(),
        "tick_size": pl.Float64(),
        "volume_24h": pl.Float64(),
        "liquidity": pl.Float64(),
        "close_hint": pl.Datetime("us", "UTC"),
        "fee_rate": pl.Float64(),
        "reward_daily_rate": pl.Float64(),
    }
)
"""Prices in dollars; one row a market."""


CONTRACTS: Final = (GroupKind.NEG_RISK, GroupKind.EXCLUSIVE)
"""Kinds whose constraints change their meaning where a member lacks."""

HALF_TO_DOUBLE: Final = (0.5, 2.0)
"""Markets of a day as a multiple of the day before's, beyond which somebody should look."""


@dataclass(frozen=True)
class GroupCount:
    """Groups of one kind and how many of them lack members."""

    kind: GroupKind
    groups: int
    incomplete: int
    missing: int
    """Members lacking, over all groups."""


def count_groups(markets: Sequence[Market]) -> list[GroupCount]:
    """Groups by kind, of the kinds that there are; one market alone lacks nothing."""
    counts: list[GroupCount] = []
    for kind in LOGIC:
        groups = logic_groups(markets, (kind,))
        lacking = [group.missing for group in groups if not group.complete]
        if groups:
            counts.append(GroupCount(kind, len(groups), len(lacking), sum(lacking)))
    return counts


def incomplete_contracts(markets: Sequence[Market], top: int = 20) -> list[dict[str, object]]:
    """Exclusive groups that lack members, most traded first."""
    lacking = [group for group in logic_groups(markets, CONTRACTS) if not group.complete]
    lacking.sort(key=lambda g: (-sum(m.volume_24h or 0.0 for m in g.markets), g.group_id))
    return [
        {
            "group": group.group_id,
            "title": group.title,
            "kind": group.kind.value,
            "listed": group.listed_members,
            "kept": len(group.markets),
            "more may come": "yes" if group.augmented else "no",
        }
        for group in lacking[:top]
    ]


def _reward_rate(market: Market) -> float | None:
    """Dollars a day of every reward the market's listing names; None where none says."""
    if market.rewards is not None:
        return market.rewards.daily_rate
    return sum(terms.daily_rate or 0.0 for terms in market.incentives) or None


def universe_frame(markets: Iterable[Market], day: date) -> pl.DataFrame:
    """One row a market with what joins and people need; the full record is in the JSONL file."""
    return pl.DataFrame(
        [
            (
                market.venue.value,
                day,
                market.market_id,
                market.title,
                market.category,
                market.groups[0].title if market.groups else None,
                market.neg_risk,
                market.tick_size,
                market.volume_24h,
                market.liquidity,
                market.close_hint,
                market.fees.rate if market.fees else None,
                _reward_rate(market),
            )
            for market in markets
        ],
        schema=UNIVERSE_SCHEMA,
        orient="row",
    )
