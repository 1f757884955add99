"""Gamma's event pages turned into markets. Pure: parsed JSON in, a ``Discovery`` out.

Gamma is read tolerantly (reference polymarket.md 1): unknown members are ignored, array members
are strings that hold JSON, optional members may be absent or of another type. What cannot be a
tradable market is set aside under a reason; nothing is dropped uncounted and nothing is guessed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from math import isfinite
from typing import cast

import msgspec

from surveillance_core.books import DOLLARS, tick_of
from surveillance_core.markets import (
    FeeSchedule,
    FeeTerms,
    Market,
    Outcome,
    RewardTerms,
    Venue,
)
from surveillance_core.venues.listing import (
    Json,
    MemberReader,
    MemberWatch,
    SetAside,
    encodable,
    hash_rules,
)
from surveillance_core.venues.polymarket import members
from surveillance_core.venues.polymarket.grouping import EventGroups
from surveillance_core.venues.protocols import Discovery


class EventReader:
    """Accumulates a sweep: feed it the events of each page, then take the discovery.

    Parameters
    ----------
    fetched_at
        Stamped on every market.
    """

    def __init__(self, fetched_at: datetime) -> None:
        self._fetched_at = fetched_at
        self._markets: dict[str, Market] = {}
        self._sizes: dict[str, dict[str, int]] = {}
        self._found = Discovery(markets=[], set_aside=Counter(), seen=0, oddities=Counter())
        self._reader = MemberReader(self._found.oddities)
        self._events = MemberWatch("event", members.EVENT_KNOWN, members.EVENT_USED)
        self._listed = MemberWatch("market", members.MARKET_KNOWN, members.MARKET_USED)

    @property
    def found(self) -> Discovery:
        """What was found so far, with the sizes of groups that span events as known so far."""
        self._found.markets = [self._sized(market) for market in self._markets.values()]
        self._found.unknown_members = self._events.unknown + self._listed.unknown
        self._found.gone_members = self._events.gone + self._listed.gone
        return self._found

    @property
    def seen(self) -> int:
        """Markets seen so far."""
        return self._found.seen

    @property
    def pages(self) -> int:
        """Pages of events read so far."""
        return self._found.pages

    @property
    def oddities(self) -> Counter[str]:
        """What could not be read or is not known, by member and cause."""
        return self._found.oddities

    def read_page(self, events: Iterable[object]) -> None:
        """Take the events of one page."""
        self._found.pages += 1
        for event in events:
            if not isinstance(event, dict):
                self._count_aside("event_not_an_object")
                continue
            self.read_event(cast("Json", event))

    def read_event(self, event: Json) -> None:
        """Take one event with its nested markets."""
        self._events.look(event)
        nested = event.get("markets")
        if nested is None:
            self.oddities["event_without_markets"] += 1
            return
        if not isinstance(nested, list):
            self._count_aside("event_markets_not_a_list")
            return
        listed = cast("list[object]", nested)
        groups = EventGroups(event, listed, self._reader)
        for group_id, size in groups.sizes.items():
            self._sizes.setdefault(group_id, {})[groups.event_id] = size
        for market in listed:
            self.read_market(market, event, groups)

    def read_market(
        self, market: object, event: Json | None = None, groups: EventGroups | None = None
    ) -> None:
        """Take one market, nested in an event or (older captures) standing alone."""
        self._found.seen += 1
        try:
            if not isinstance(market, dict):
                raise SetAside("market_not_an_object")
            parsed = self._parse(cast("Json", market), event, groups)
        except SetAside as aside:
            self._found.set_aside[aside.reason] += 1
            return
        if parsed.market_id in self._markets:
            self._found.set_aside["listed_twice"] += 1
            return
        self._markets[parsed.market_id] = parsed

    def _sized(self, market: Market) -> Market:
        """The market with the sizes of its groups summed over the events that list them."""
        sizes = {
            group.group_id: sum(self._sizes[group.group_id].values())
            for group in market.groups
            if group.group_id in self._sizes
        }
        if all(sizes.get(g.group_id, g.members) == g.members for g in market.groups):
            return market
        groups = tuple(
            msgspec.structs.replace(group, members=sizes.get(group.group_id, group.members))
            for group in market.groups
        )
        return msgspec.structs.replace(market, groups=groups)

    def _count_aside(self, reason: str) -> None:
        self._found.seen += 1
        self._found.set_aside[reason] += 1

    def _parse(self, market: Json, event: Json | None, groups: EventGroups | None) -> Market:
        self._listed.look(market)
        _require_tradable(market)
        market_id = _text(market, "conditionId")
        if not market_id:
            raise SetAside("no_condition_id")
        if not encodable(market_id):
            raise SetAside("malformed_condition_id")
        tokens = _tokens(market)
        labels = _string_list(market, "outcomes")
        if len(tokens) != 2 or len(labels) != 2:
            raise SetAside("not_two_outcomes")
        if not all(tokens) or len(set(tokens)) != 2:
            raise SetAside("no_tokens")
        read = self._reader
        fees, fee_terms = self._fees(market), _fee_terms(market)
        if fee_terms is FeeTerms.SCHEDULED and fees is None:
            fee_terms = FeeTerms.UNKNOWN
        fee_type = _text(market, "feeType")
        if fee_type and fee_type not in members.FEE_TYPES:
            self._reader.count_unknown("feeType", fee_type)
        return Market(
            venue=Venue.POLYMARKET,
            market_id=market_id,
            title=read.text(market, "question") or "",
            outcomes=tuple(
                Outcome(token, label) for token, label in zip(tokens, labels, strict=True)
            ),
            tick_size=_tick_size(market),
            min_order_size=read.number(market, "orderMinSize"),
            neg_risk=_neg_risk(market),
            groups=() if groups is None else groups.of(market),
            fee_terms=fee_terms,
            fees=fees,
            rewards=self._rewards(market),
            close_hint=read.moment(market, "endDate"),
            volume_24h=read.number(market, "volume24hr"),
            liquidity=read.number(market, "liquidityNum", "liquidity"),
            category=self._category(market, event),
            rules_hash=hash_rules(self._rules(market)),
            fetched_at=self._fetched_at,
        )

    def _rules(self, market: Json) -> str:
        """The rules as fetched, to the letter: what cannot be stored still has a hash."""
        text = market.get("description")
        if text is not None and not isinstance(text, str):
            self.oddities["description_not_text"] += 1
        return text if isinstance(text, str) else ""

    def _fees(self, market: Json) -> FeeSchedule | None:
        schedule = market.get("feeSchedule")
        if not isinstance(schedule, dict) or _fee_terms(market) is not FeeTerms.SCHEDULED:
            return None
        terms = cast("Json", schedule)
        read = self._reader
        rate, exponent = read.number(terms, "rate"), read.number(terms, "exponent")
        taker_only = read.flag(terms, "takerOnly")
        if rate is None or exponent is None or taker_only is None:
            return None
        if rate < 0 or exponent < 0:
            self.oddities["fee_out_of_range"] += 1
            return None
        return FeeSchedule(
            rate=rate,
            exponent=exponent,
            taker_only=taker_only,
            rebate_share=read.number(terms, "rebateRate"),
            kind=read.text(market, "feeType"),
        )

    def _rewards(self, market: Json) -> RewardTerms | None:
        read = self._reader
        min_size = read.number(market, "rewardsMinSize")
        max_spread_cents = read.number(market, "rewardsMaxSpread")
        if not min_size or not max_spread_cents:
            return None
        if min_size < 0 or max_spread_cents < 0:
            self.oddities["rewards_out_of_range"] += 1
            return None
        pools = market.get("clobRewards")
        rates = [
            read.number(cast("Json", pool), "rewardsDailyRate")
            for pool in cast("list[object]", pools if isinstance(pools, list) else [])
            if isinstance(pool, dict)
        ]
        known = [rate for rate in rates if rate is not None]
        daily_rate = sum(known) if known else None
        if daily_rate is not None and not isfinite(daily_rate):
            self.oddities["rewards_out_of_range"] += 1
            daily_rate = None
        return RewardTerms(
            min_size=min_size, max_spread=max_spread_cents / 100, daily_rate=daily_rate
        )

    def _category(self, market: Json, event: Json | None) -> str | None:
        read = self._reader
        named = read.text(market, "category") or (read.text(event, "category") if event else None)
        if named or event is None:
            return named
        tags = event.get("tags")
        for tag in cast("list[object]", tags if isinstance(tags, list) else []):
            label = read.text(cast("Json", tag), "label") if isinstance(tag, dict) else None
            if label:
                return label
        return None


def _require_tradable(market: Json) -> None:
    """Tradable = active, not closed, not archived, order book enabled, accepting orders."""
    for name, wanted, reason in (
        ("closed", False, "closed"),
        ("archived", False, "archived"),
        ("active", True, "inactive"),
        ("enableOrderBook", True, "no_order_book"),
        ("acceptingOrders", True, "not_accepting_orders"),
    ):
        value = market.get(name)
        if value is None and wanted is False:
            continue
        if value is not wanted:
            raise SetAside(reason if isinstance(value, bool) else f"{reason}_unknown")


def _neg_risk(market: Json) -> bool:
    """Whether the market is one of a negative-risk set; older listings leave it out."""
    value = market.get("negRisk")
    if value is not None and not isinstance(value, bool):
        raise SetAside("neg_risk_unknown")
    return value is True


def _tokens(market: Json) -> list[str]:
    """Token ids, from the member that the market's protocol version names."""
    version = market.get("version")
    if version in (None, "v1"):
        return _string_list(market, "clobTokenIds")
    if version == "v2":
        return _string_list(market, "positionIds")
    raise SetAside("unknown_version")


def _string_list(market: Json, name: str) -> list[str]:
    """A list of strings that Gamma gives as a string of JSON, or as a list."""
    value = market.get(name)
    if value is None or value == "":
        raise SetAside(f"no_{name}")
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise SetAside(f"malformed_{name}") from None
    if not isinstance(value, list):
        raise SetAside(f"malformed_{name}")
    items = cast("list[object]", value)
    # json reads a lone surrogate that no file can hold
    if not all(isinstance(item, str) and encodable(item) for item in items):
        raise SetAside(f"malformed_{name}")
    return cast("list[str]", items)


def _text(source: Json, name: str) -> str | None:
    value = source.get(name)
    return value if isinstance(value, str) else None


def _tick_size(market: Json) -> float:
    value = market.get("orderPriceMinTickSize")
    if value is None:
        raise SetAside("no_tick_size")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise SetAside("malformed_tick_size")
    try:
        tick = tick_of(value)
    except ValueError:
        raise SetAside("malformed_tick_size") from None
    if not tick:
        raise SetAside("malformed_tick_size")
    return DOLLARS[tick]


def _fee_terms(market: Json) -> FeeTerms:
    schedule, enabled = market.get("feeSchedule"), market.get("feesEnabled")
    if enabled is not None and not isinstance(enabled, bool):
        return FeeTerms.UNKNOWN
    if isinstance(schedule, dict) and enabled is not False:
        terms = cast("Json", schedule)
        known = all(
            isinstance(terms.get(name), int | float) and not isinstance(terms.get(name), bool)
            for name in ("rate", "exponent")
        )
        return FeeTerms.SCHEDULED if known else FeeTerms.UNKNOWN
    if enabled is True or market.get("feeType"):
        return FeeTerms.UNKNOWN
    if enabled is False:
        return FeeTerms.FREE
    if schedule is not None:
        return FeeTerms.UNKNOWN
    # neither a flag nor a schedule: pages from before fees existed, or a member that went away
    return FeeTerms.FREE if "feeType" in market else FeeTerms.UNKNOWN
