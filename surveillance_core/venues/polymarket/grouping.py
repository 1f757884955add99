"""Which groups a Gamma event makes, and which of them each of its markets is in. Pure."""

from __future__ import annotations

from collections import Counter
from typing import cast

from surveillance_core.markets import GroupKind, GroupRef
from surveillance_core.venues.listing import Json, MemberReader, encodable


class EventGroups:
    """The groups of one event.

    Parameters
    ----------
    event
        As listed.
    listed
        Its markets, tradable or not: they are what a group's size counts.
    read
        Counts what cannot be read.
    """

    def __init__(self, event: Json, listed: list[object], read: MemberReader) -> None:
        self._event = event
        self._read = read
        event_id = group_name(event.get("id"))
        if event_id is None:
            read.oddities["event_id_unreadable"] += 1
        self.event_id = event_id or ""
        title = read.text(event, "title") or ""
        contracts = Counter(
            name
            for item in listed
            if isinstance(item, dict) and (name := self._contract(cast("Json", item)))
        )
        series = self._series_named(event)
        self.sizes = {f"neg_risk:{name}": size for name, size in contracts.items()}
        """Members the event lists of groups that may span events."""
        self.sizes |= {f"series:{name}": len(listed) for name in series}
        # what cannot be read must not make a set of outcomes look complete
        augmented = event.get("negRiskAugmented") is not None and (
            read.flag(event, "negRiskAugmented") is not False
        )
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
        own = GroupRef(
            group_id=f"event:{event_id}", kind=GroupKind.EVENT, title=title, members=len(listed)
        )
        self._own = () if event_id is None else (own,)

    def of(self, market: Json) -> tuple[GroupRef, ...]:
        """Groups of one of the event's markets, its event first."""
        name = self._contract(market)
        if name is None and market.get("negRisk") is True:
            self._read.oddities["neg_risk_id_unreadable"] += 1
        contract = self._contracts.get(name or "")
        return (*self._own, *(() if contract is None else (contract,)), *self._series)

    def _contract(self, market: Json) -> str | None:
        """The contract that makes the market exclusive with others, named on it or its event."""
        if market.get("negRisk") is not True:
            return None
        return group_name(market.get("negRiskMarketID")) or group_name(
            self._event.get("negRiskMarketID")
        )

    def _series_named(self, event: Json) -> dict[str, str]:
        """Titles by the slug of the series the event is in (by its id where it has no slug)."""
        listed = event.get("series")
        found: dict[str, str] = {}
        for item in cast("list[object]", listed if isinstance(listed, list) else []):
            if isinstance(item, dict):
                series = cast("Json", item)
                name = group_name(series.get("slug")) or group_name(series.get("id"))
                if name:
                    found[name] = self._read.text(series, "title") or ""
        slug = event.get("seriesSlug")
        if not found and isinstance(slug, str) and (name := group_name(slug)):
            found[name] = ""
        return found


def group_name(value: object) -> str | None:
    """A name that tells one group from others, None if it is none."""
    if isinstance(value, str):
        return value if value and encodable(value) else None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
