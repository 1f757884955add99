"""What a client's frames can say: channels, commands, their parameters and the errors' codes.

Pure. Facts: reference kalshi.md 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, cast

Json = Mapping[str, object]


class Channel(StrEnum):
    """Channels that carry something here."""

    BOOK = "orderbook_delta"
    TICKER = "ticker"
    TRADE = "trade"
    LIFECYCLE = "market_lifecycle_v2"


SILENT: Final = frozenset(
    {
        "multivariate_market_lifecycle", "fill", "user_orders", "market_positions",
        "order_group_updates", "communications",
    }
)  # fmt: skip
"""Channels that exist and on which an account without orders hears nothing."""

UNFILTERED: Final = frozenset({"market_lifecycle_v2", *SILENT})
KNOWN: Final = frozenset({*(str(channel) for channel in Channel), *SILENT})

ERRORS: Final[Mapping[int, str]] = {
    1: "Unable to process message",
    2: "Params required",
    3: "Channels required",
    4: "Subscription IDs required",
    5: "Unknown command",
    7: "Unknown subscription ID",
    8: "Unknown channel name",
    10: "Channel error",
    11: "Invalid parameter",
    12: "Exactly one subscription ID is required",
    13: "Unsupported action",
    14: "Market Ticker required",
    15: "Action required",
    25: "Subscription buffer overflow",
    26: "Subscription market limit exceeded",
    27: "Too many requests",
}


class Refused(Exception):
    """A command that cannot be done; the argument is the error's code."""

    def __init__(self, code: int) -> None:
        super().__init__(ERRORS[code])
        self.code = code


COMMANDS: Final = frozenset(
    {"subscribe", "unsubscribe", "update_subscription", "list_subscriptions"}
)


def error_body(code: int) -> str:
    """An error frame's message."""
    return f'{{"code":{code},"msg":"{ERRORS[code]}"}}'


def as_members(value: object) -> Json | None:
    """The value if it is a JSON object."""
    return cast("Json", value) if isinstance(value, dict) else None


def read_id(value: object) -> int:
    """A command's id; zero, which is never echoed, where it has none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def read_flag(params: Json, name: str) -> bool:
    """A flag, false where it is absent."""
    value = params.get(name)
    if value is not None and not isinstance(value, bool):
        raise Refused(11)
    return value is True


def read_texts(value: object) -> list[str]:
    """The texts of a list that are not empty."""
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [item for item in items if isinstance(item, str) and item]


def read_tickers(params: Json) -> list[str] | None:
    """The markets a command names, None where it names none."""
    named = params.get("market_tickers")
    if named is not None:
        if not isinstance(named, list):
            raise Refused(11)
        tickers = read_texts(cast("list[object]", named))
        if len(tickers) != len(cast("list[object]", named)):
            raise Refused(11)
        return list(dict.fromkeys(tickers)) or None
    return read_texts([params.get("market_ticker")]) or None


def read_sids(params: Json) -> list[int]:
    """The streams a command names, alone or in a list."""
    single = params.get("sid")
    listed = params.get("sids")
    items = cast("list[object]", listed) if isinstance(listed, list) else []
    if single is not None:
        items = [*items, single]
    return [item for item in items if isinstance(item, int) and not isinstance(item, bool)]
