"""Kalshi's event pages turned into markets. Pure: parsed JSON in, a ``Discovery`` out.

Every shape since 2025 is read (reference kalshi.md 4 and 6): ``*_dollars`` and ``*_fp`` texts where
they are, whole cents and contracts where they are not. What cannot be followed is set aside under a
reason; a value that this version does not know is counted and never taken for another.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from surveillance_core.books import DOLLARS, tick_of
from surveillance_core.markets import (
    GroupKind,
    GroupRef,
    Market,
    NamedFee,
    Outcome,
    PriceRange,
    StrikeTerms,
    Venue,
)
from surveillance_core.venues.kalshi import members as known
from surveillance_core.venues.kalshi.terms import TermsReader, fee_terms_of, read_ticker
from surveillance_core.venues.listing import (
    Json,
    MemberReader,
    MemberWatch,
    SetAside,
    as_list,
    as_number,
    as_object,
    hash_rules,
)
from surveillance_core.venues.protocols import Discovery

NO_SUFFIX: Final = ":no"
"""Makes a market's NO outcome id of its ticker; the ticker itself is YES and is subscribed."""

SET_ASIDE_BY_STATUS: Final[Mapping[str, str]] = {
    "initialized": "unopened",
    "inactive": "inactive",
    "closed": "closed",
    "determined": "determined",
    "disputed": "disputed",
    "amended": "amended",
    "finalized": "settled",
}
"""Reason by status; ``active`` alone is kept (kalshi.md 6, statuses)."""

NESTED: Final = "DIRECNET"
"""Collateral of an event whose markets are a nested ladder (kalshi.md 6)."""

_COLLATERAL: Final = frozenset({"MECNET", NESTED})
_STRIKE_BOUNDS: Final[Mapping[str, tuple[bool, bool]]] = {
    "greater": (True, False),
    "greater_or_equal": (True, False),
    "less": (False, True),
    "less_or_equal": (False, True),
    "between": (True, True),
    "functional": (False, False),
    "custom": (False, False),
    "structured": (False, False),
}
"""Whether a strike type needs a floor and a cap."""

_STEP_OF_STRUCTURE: Final[Mapping[str, float]] = {"linear_cent": 0.01, "deci_cent": 0.001}
"""Steps of the two structures that are older than ``price_ranges``, both the same everywhere."""

_STRUCTURE: Final = re.compile(
    r"linear_cent|deci_cent|tapered_deci_cent|banded_centi_cent"
    r"|center_(whole|half|quint|centi|deci)_edge_(half|quint|deci|centi)_cent"
)
_COMBO_PREFIX: Final = "KXMVE"


class EventReader:
    """Accumulates a sweep: feed it the events of each page, then finish.

    Parameters
    ----------
    fetched_at
        Stamped on every market.
    """

    def __init__(self, fetched_at: datetime) -> None:
        self._fetched_at = fetched_at
        self._markets: dict[str, Market] = {}
        self._series_sizes: dict[str, dict[str, int]] = {}
        self._found = Discovery(markets=[], set_aside=Counter(), seen=0, oddities=Counter())
        self._members = MemberReader(self._found.oddities)
        self._events = MemberWatch("event", known.EVENT_KNOWN, known.EVENT_USED)
        self._listed = MemberWatch("market", known.MARKET_KNOWN, known.MARKET_USED)
        self.terms = TermsReader(self._found.oddities)
        """Takes series, incentive programmes and the exchange's status, before the events."""

    def finish(self) -> Discovery:
        """What was found: kept and set aside make up what was seen."""
        self._found.markets = [self._with_series_size(m) for m in self._markets.values()]
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
        for item in events:
            event = as_object(item)
            if event is None:
                self._count_aside("event_not_an_object")
            else:
                self.read_event(event)

    def read_event(self, event: Json) -> None:
        """Take one event with its nested markets."""
        self._events.look(event)
        nested = event.get("markets")
        if nested is None:
            self.oddities["event_without_markets"] += 1
            return
        members = as_list(nested)
        if members is None:
            self._count_aside("event_markets_not_a_list")
            return
        groups = self._groups(event, len(members))
        fee = self.terms.named_fee(event)
        for member in members:
            self.read_market(member, event, groups, fee)

    def read_market(
        self,
        item: object,
        event: Json | None = None,
        groups: tuple[GroupRef, ...] = (),
        fee: NamedFee | None = None,
    ) -> None:
        """Take one market, of an event or standing alone."""
        self._found.seen += 1
        try:
            market = as_object(item)
            if market is None:
                raise SetAside("market_not_an_object")
            self._listed.look(market)
            parsed = self._parse(market, event or {}, groups, fee)
            if parsed.market_id in self._markets:
                raise SetAside("listed_twice")
        except SetAside as aside:
            self._found.set_aside[aside.reason] += 1
            return
        self._markets[parsed.market_id] = parsed

    def _count_aside(self, reason: str) -> None:
        self._found.seen += 1
        self._found.set_aside[reason] += 1

    def _with_series_size(self, market: Market) -> Market:
        groups = tuple(
            msgspec.structs.replace(group, members=sum(self._series_sizes[group.group_id].values()))
            if group.kind is GroupKind.SERIES
            else group
            for group in market.groups
        )
        return msgspec.structs.replace(market, groups=groups)

    def _parse(
        self, market: Json, event: Json, groups: tuple[GroupRef, ...], fee: NamedFee | None
    ) -> Market:
        ticker = read_ticker(market, "ticker")
        if ticker is None:
            raise SetAside("malformed_ticker" if market.get("ticker") else "no_ticker")
        if _is_combo(market, event, ticker):
            raise SetAside("combo")
        self._require_tradable(market)
        event_ticker = read_ticker(market, "event_ticker")
        if event and event_ticker != read_ticker(event, "event_ticker"):
            self.oddities["event_ticker_disagrees"] += 1
        series = self.terms.series_of(event)
        ranges, tick_size = self._price_grid(market)
        read = self._members
        rules = (read.text(market, "rules_primary"), read.text(market, "rules_secondary"))
        return Market(
            venue=Venue.KALSHI,
            market_id=ticker,
            title=self._title(market, event),
            outcomes=(Outcome(ticker, "Yes"), Outcome(ticker + NO_SUFFIX, "No")),
            tick_size=tick_size,
            min_order_size=None,
            neg_risk=False,
            groups=groups,
            fee_terms=fee_terms_of(fee),
            fees=None,
            rewards=None,
            close_hint=read.moment(market, "close_time"),
            volume_24h=read.number(market, "volume_24h_fp", "volume_24h"),
            liquidity=self._liquidity(market),
            category=read.text(event, "category") or (series.category if series else None),
            rules_hash=hash_rules("\n\n".join(text or "" for text in rules)),
            fetched_at=self._fetched_at,
            named_fee=fee,
            fee_waived_until=read.moment(market, "fee_waiver_expiration_time"),
            incentives=self.terms.incentives_of(ticker),
            price_ranges=ranges,
            strike=self._strike(market),
        )

    def _require_tradable(self, market: Json) -> None:
        status = market.get("status")
        if status is None or status == "":
            raise SetAside("no_status")
        if status != "active":
            reason = SET_ASIDE_BY_STATUS.get(status) if isinstance(status, str) else None
            if reason is None:
                self._members.count_unknown("status", status)
            raise SetAside(reason or "status_unknown")
        kind = market.get("market_type")
        if kind == "binary":
            return
        if kind is None or kind == "":
            raise SetAside("no_market_type")
        if kind == "scalar":
            raise SetAside("not_binary")
        self._members.count_unknown("market_type", kind)
        raise SetAside("market_type_unknown")

    def _title(self, market: Json, event: Json) -> str:
        """The market's title, with the subtitle that tells it from its siblings."""
        read = self._members
        title = read.text(market, "title") or read.text(event, "title") or ""
        part = read.text(market, "yes_sub_title") or read.text(market, "subtitle")
        if part is None or re.search(rf"(?<!\w){re.escape(part)}(?!\w)", title):
            return title
        return f"{title} ({part})" if title else part

    def _liquidity(self, market: Json) -> float | None:
        """Dollars; a zero is the placeholder the venue printed before it dropped the member."""
        dollars = self._members.number(market, "liquidity_dollars")
        if dollars is None:
            cents = self._members.number(market, "liquidity")
            dollars = None if cents is None else cents / 100
        return dollars or None

    def _price_grid(self, market: Json) -> tuple[tuple[PriceRange, ...], float]:
        """The price ranges and their smallest step, dollars (kalshi.md 4)."""
        structure = self._members.text(market, "price_level_structure")
        if structure is not None and not _STRUCTURE.fullmatch(structure):
            self._members.count_unknown("price_level_structure", structure)
        listed = market.get("price_ranges")
        if listed is None or listed == []:
            if structure in _STEP_OF_STRUCTURE:
                self.oddities["tick_size_from_structure"] += 1
                return (), _STEP_OF_STRUCTURE[structure]
            cents = as_number(market.get("tick_size"))
            if structure is None and cents is not None:
                self.oddities["tick_size_from_cents"] += 1
                step = _on_grid(cents / 100)
                if not step:
                    raise SetAside("malformed_tick_size")
                return (), step
            raise SetAside("no_tick_size")
        items = as_list(listed)
        if items is None:
            raise SetAside("malformed_price_ranges")
        ranges = sorted((_price_range(item) for item in items), key=lambda found: found.start)
        ends = [0.0, *(found.end for found in ranges)]
        if [found.start for found in ranges] != ends[:-1] or ends[-1] != 1.0:
            self.oddities["price_ranges_have_gaps"] += 1
        return tuple(ranges), min(found.step for found in ranges)

    def _strike(self, market: Json) -> StrikeTerms | None:
        read = self._members
        strike = StrikeTerms(
            kind=read.text(market, "strike_type"),
            floor=read.number(market, "floor_strike"),
            cap=read.number(market, "cap_strike"),
            functional=read.text(market, "functional_strike"),
            custom=self._custom_strike(market),
        )
        if strike == StrikeTerms(kind=None):
            return None
        if strike.kind is None:
            self.oddities["strike_without_type"] += 1
        elif strike.kind not in _STRIKE_BOUNDS:
            read.count_unknown("strike_type", strike.kind)
        else:
            floor, cap = _STRIKE_BOUNDS[strike.kind]
            if (floor and strike.floor is None) or (cap and strike.cap is None):
                self.oddities["strike_without_bound"] += 1
        return strike

    def _custom_strike(self, market: Json) -> tuple[tuple[str, str], ...]:
        value = market.get("custom_strike")
        if value is None:
            return ()
        custom = as_object(value)
        if custom is None:
            self.oddities["custom_strike_not_an_object"] += 1
            return ()
        try:
            pairs = [(n, v if isinstance(v, str) else json.dumps(v)) for n, v in custom.items()]
        except RecursionError:
            self.oddities["custom_strike_too_deep"] += 1
            return ()
        return tuple(sorted((_storable(name), _storable(text)) for name, text in pairs))

    def _groups(self, event: Json, members: int) -> tuple[GroupRef, ...]:
        read = self._members
        title = read.text(event, "title") or ""
        collateral = read.text(event, "collateral_return_type")
        if collateral is not None and collateral not in _COLLATERAL:
            read.count_unknown("collateral_return_type", collateral)
        exclusive = read.flag(event, "mutually_exclusive")
        event_ticker = read_ticker(event, "event_ticker")
        series_ticker = read_ticker(event, "series_ticker")
        groups: list[GroupRef] = []
        if event_ticker is None:
            self.oddities["event_ticker_unreadable"] += 1
        else:
            stated: list[tuple[str, GroupKind, bool]] = [
                (f"event:{event_ticker}", GroupKind.EVENT, False)
            ]
            if exclusive:
                stated.append((f"exclusive:{event_ticker}", GroupKind.EXCLUSIVE, True))
            if collateral == NESTED:
                stated.append((f"directional:{event_ticker}", GroupKind.DIRECTIONAL, True))
            groups += [
                GroupRef(
                    group_id=group_id,
                    kind=kind,
                    title=title,
                    members=members,
                    augmented=augmented,
                    collateral=collateral,
                )
                for group_id, kind, augmented in stated
            ]
        if exclusive is None:
            self.oddities["mutually_exclusive_not_said"] += 1
        if series_ticker is None:
            self.oddities["series_ticker_unreadable"] += 1
        else:
            series = self.terms.series_of(event)
            group_id = f"series:{series_ticker}"
            self._series_sizes.setdefault(group_id, {})[event_ticker or ""] = members
            groups.append(
                GroupRef(
                    group_id=group_id,
                    kind=GroupKind.SERIES,
                    title=series.title if series else "",
                    members=0,  # known when the sweep has ended
                )
            )
        return tuple(groups)


def _is_combo(market: Json, event: Json, ticker: str) -> bool:
    """Whether the market is a multivariate combination, whose legs are its rule (kalshi.md 6)."""
    owners = (ticker, market.get("event_ticker"), event.get("series_ticker"))
    return (
        bool(market.get("mve_collection_ticker"))
        or bool(market.get("mve_selected_legs"))
        or any(isinstance(owner, str) and owner.startswith(_COMBO_PREFIX) for owner in owners)
    )


def _price_range(item: object) -> PriceRange:
    found = as_object(item) or {}
    start, end, step = (_on_grid(as_number(found.get(name))) for name in ("start", "end", "step"))
    if start is None or end is None or not step or start >= end:
        raise SetAside("malformed_price_ranges")
    return PriceRange(start=start, end=end, step=step)


def _on_grid(dollars: float | None) -> float | None:
    """A price on the 0.0001 grid, None if it is off the grid or outside [0, 1]."""
    try:
        return None if dollars is None else DOLLARS[tick_of(dollars)]
    except ValueError:
        return None


def _storable(text: str) -> str:
    """The text with what UTF-8 cannot hold replaced."""
    return text.encode("utf-8", "replace").decode()
