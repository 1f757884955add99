"""Messages of older recordings in today's shape. Pure; off the path of live frames.

``price_change`` had one asset a message until 15 September 2025, its changes in ``changes``
(reference polymarket.md 3.5) and, in 2024, a single one in the message itself. Prices may be JSON
numbers where a recorder parsed them.
"""

from __future__ import annotations

from typing import cast

from surveillance_core.books import tick_of
from surveillance_core.venues.polymarket.integrity import spell_last_trade

_PRICES = ("price", "tick_size", "old_tick_size", "new_tick_size")
_LISTS = ("bids", "asks", "price_changes")
_LEVEL = ("price", "size", "side")

Members = dict[str, object]


def modern_members(members: Members) -> Members:
    """The message's members as they would be sent today; what is unknown stays as it is."""
    modern = _spelled(_listed(members))
    for name in _LISTS:
        elements = modern.get(name)
        if isinstance(elements, list):
            modern[name] = [
                _spelled(cast("Members", element)) if isinstance(element, dict) else element
                for element in cast("list[object]", elements)
            ]
    return modern


def _listed(members: Members) -> Members:
    """A ``price_change`` of one asset with its changes in a list of today's."""
    if members.get("event_type") != "price_change" or "price_changes" in members:
        return dict(members)
    changes = members.get("changes")
    if changes is None and all(name in members for name in _LEVEL):
        changes = [{name: members[name] for name in _LEVEL}]
    if not isinstance(changes, list):
        return dict(members)
    shared = {name: members[name] for name in ("asset_id", "hash") if name in members}
    listed = [
        shared | cast("Members", change) if isinstance(change, dict) else change
        for change in cast("list[object]", changes)
    ]
    return members | {"price_changes": listed}


def _spelled(members: Members) -> Members:
    """Prices that are numbers as the texts they would be on the wire."""
    spelled = dict(members)
    for name in _PRICES:
        value = spelled.get(name)
        if _is_number(value):
            spelled[name] = repr(value)
    last_trade = spelled.get("last_trade_price")
    if isinstance(last_trade, int | float) and _is_number(last_trade):
        try:
            spelled["last_trade_price"] = spell_last_trade(tick_of(last_trade))
        except ValueError:
            del spelled["last_trade_price"]
    return spelled


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
