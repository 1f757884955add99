"""Gamma's event pages turned into markets. Pure: parsed JSON in, a ``Discovery`` out.

Gamma is read tolerantly (reference polymarket.md 1): unknown members are ignored, array members
are strings that hold JSON, optional members may be absent or of another type. What cannot be a
tradable market is set aside under a reason; nothing is dropped uncounted and nothing is guessed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import cast

import msgspec

from surveillance_core.books import DOLLARS, tick_of
from surveillance_core.markets import (
    FeeSchedule,
    FeeTerms,
    GroupKind,
    GroupRef,
    Market,
    Outcome,
    RewardTerms,
    Venue,
)
from surveillance_core.venues.listing import Json, MemberReader, MemberWatch, SetAside, hash_rules
from surveillance_core.venues.polymarket import members
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
        groups = EventGroups(event, listed)
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
        tokens = _tokens(market)
        labels = _string_list(market, "outcomes")
        if len(tokens) != 2 or len(labels) != 2:
            raise SetAside("not_two_outcomes")
        if not all(tokens) or len(set(tokens)) != 2:
            raise SetAside("no_tokens")
        fees, fee_terms = self._fees(market), _fee_terms(market)
        if fee_terms is FeeTerms.SCHEDULED and fees is None:
            fee_terms = FeeTerms.UNKNOWN
        fee_type = _text(market, "feeType")
        if fee_type and fee_type not in members.FEE_TYPES:
            self._reader.count_unknown("feeType", fee_type)
        return Market(
            venue=Venue.POLYMARKET,
            market_id=market_id,
            title=_text(market, "question") or "",
            outcomes=tuple(
                Outcome(token, label) for token, label in zip(tokens, labels, strict=True)
            ),
            tick_size=_tick_size(market),
            min_order_size=self._number(market, "orderMinSize"),
            neg_risk=market.get("negRisk") is True,
            groups=() if groups is None else groups.of(market),
            fee_terms=fee_terms,
            fees=fees,
            rewards=self._rewards(market),
            close_hint=self._moment(market, "endDate"),
            volume_24h=self._number(market, "volume24hr"),
            liquidity=self._number(market, "liquidityNum", "liquidity"),
            category=_category(market, event),
            rules_hash=hash_rules(_text(market, "description") or ""),
            fetched_at=self._fetched_at,
        )

    def _number(self, source: Json, *names: str) -> float | None:
        """A finite number or None; an unreadable one is counted as an oddity."""
        for name in names:
            value = source.get(name)
            if value is None or isinstance(value, bool):
                continue
            if isinstance(value, int | float | str):
                try:
                    number = float(value)
                except (ValueError, OverflowError):
                    number = float("nan")
                if abs(number) < float("inf"):
                    return number
            self.oddities[f"{name}_not_a_number"] += 1
        return None

    def _moment(self, source: Json, name: str) -> datetime | None:
        value = source.get(name)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(str(value))
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            self.oddities[f"{name}_not_a_time"] += 1
            return None

    def _fees(self, market: Json) -> FeeSchedule | None:
        schedule = market.get("feeSchedule")
        if not isinstance(schedule, dict) or _fee_terms(market) is not FeeTerms.SCHEDULED:
            return None
        terms = cast("Json", schedule)
        rate, exponent = self._number(terms, "rate"), self._number(terms, "exponent")
        if rate is None or exponent is None:
            return None
        return FeeSchedule(
            rate=rate,
            exponent=exponent,
            taker_only=terms.get("takerOnly") is True,
            rebate_share=self._number(terms, "rebateRate"),
            kind=_text(market, "feeType"),
        )

    def _rewards(self, market: Json) -> RewardTerms | None:
        min_size = self._number(market, "rewardsMinSize")
        max_spread_cents = self._number(market, "rewardsMaxSpread")
        if not min_size or not max_spread_cents:
            return None
        pools = market.get("clobRewards")
        rates = [
            self._number(cast("Json", pool), "rewardsDailyRate")
            for pool in cast("list[object]", pools if isinstance(pools, list) else [])
            if isinstance(pool, dict)
        ]
        known = [rate for rate in rates if rate is not None]
        return RewardTerms(
            min_size=min_size,
            max_spread=max_spread_cents / 100,
            daily_rate=sum(known) if known else None,
        )


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
    if not all(isinstance(item, str) and _encodable(item) for item in items):
        raise SetAside(f"malformed_{name}")
    return cast("list[str]", items)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
    # neither a flag nor a schedule: pages from before fees existed, or a member that went away
    return FeeTerms.FREE if "feeType" in market else FeeTerms.UNKNOWN


class EventGroups:
    """The groups of one event, and which of them each of its markets is in.

    Parameters
    ----------
    event
        As listed.
    listed
        Its markets, tradable or not: they are what a group's size counts.
    """

    def __init__(self, event: Json, listed: list[object]) -> None:
        self._event = event
        identity = event.get("id")
        usable = isinstance(identity, str | int) and not isinstance(identity, bool)
        self.event_id = str(identity) if usable else ""
        title = _text(event, "title") or ""
        contracts = Counter(
            name
            for item in listed
            if isinstance(item, dict) and (name := self._contract(cast("Json", item)))
        )
        series = _series(event)
        self.sizes = {f"neg_risk:{name}": size for name, size in contracts.items()}
        """Members the event lists of groups that may span events."""
        self.sizes |= {f"series:{name}": len(listed) for name in series}
        augmented = event.get("negRiskAugmented") is True
        self._contracts = {
            name: GroupRef(
                group_id=f"neg_risk:{name}",
                kind=GroupKind.NEG_RISK,
                title=title,
                members=size,
                augmented=augmented,
            )
            for name, size in contracts.items()
        }
        self._series = tuple(
            GroupRef(
                group_id=f"series:{name}",
                kind=GroupKind.SERIES,
                title=series_title,
                members=len(listed),
            )
            for name, series_title in series.items()
        )
        self._own = (
            (
                GroupRef(
                    group_id=f"event:{identity}",
                    kind=GroupKind.EVENT,
                    title=title,
                    members=len(listed),
                ),
            )
            if usable
            else ()
        )

    def of(self, market: Json) -> tuple[GroupRef, ...]:
        """Groups of one of the event's markets, its event first."""
        contract = self._contracts.get(self._contract(market) or "")
        return (*self._own, *(() if contract is None else (contract,)), *self._series)

    def _contract(self, market: Json) -> str | None:
        """The contract that makes the market exclusive with others, named on it or its event."""
        if market.get("negRisk") is not True:
            return None
        return _text(market, "negRiskMarketID") or _text(self._event, "negRiskMarketID")


def _series(event: Json) -> dict[str, str]:
    """Titles by the slug of the series the event belongs to (by its id where it has no slug)."""
    listed = event.get("series")
    found: dict[str, str] = {}
    for item in cast("list[object]", listed if isinstance(listed, list) else []):
        if isinstance(item, dict):
            series = cast("Json", item)
            name = _text(series, "slug") or _text(series, "id")
            if name:
                found[name] = _text(series, "title") or ""
    slug = _text(event, "seriesSlug")
    if slug and not found:
        found[slug] = ""
    return found


def _category(market: Json, event: Json | None) -> str | None:
    named = _text(market, "category") or (_text(event, "category") if event else None)
    if named or event is None:
        return named
    tags = event.get("tags")
    for tag in cast("list[object]", tags if isinstance(tags, list) else []):
        if isinstance(tag, dict):
            label = _text(cast("Json", tag), "label")
            if label:
                return label
    return None
