"""Kalshi's spellings of prices, sizes and times over three eras, and the commands sent."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.books import TICKS_PER_DOLLAR
from surveillance_core.venues.kalshi.spelling import (
    UNITS,
    finest_step,
    markets_named,
    price_tick,
    size_units,
    units_of,
    venue_ms,
)
from surveillance_core.venues.kalshi.wire import (
    MARKETS_A_COMMAND,
    Commands,
    PriceRange,
)


@pytest.mark.parametrize(
    ("dollars", "cents", "tick"),
    [
        ("0.9600", None, 9600), ("0.960", 96, 9600), (None, 96, 9600), ("0.0001", None, 1),
        ("0.123400", None, 1234), ("0.12340", None, 1234), (".5", None, 5000),
        ("1.0000", None, 10_000), ("1.0100", None, None), ("-0.01", None, None),
        ("0.00005", None, None), ("nan", None, None),
        ("", None, None), (None, None, None), (None, 101, None), (None, -1, None),
    ],
)  # fmt: skip
def test_a_price_in_any_spelling_is_one_tick(
    dollars: str | None, cents: int | None, tick: int | None
) -> None:
    assert price_tick(dollars, cents) == tick


@given(st.integers(0, TICKS_PER_DOLLAR), st.integers(4, 8))
def test_decimals_do_not_matter(tick: int, decimals: int) -> None:
    assert price_tick(f"{tick / TICKS_PER_DOLLAR:.{decimals}f}", None) == tick


@given(st.integers(-(10**11), 10**11))
def test_hundredths_of_a_contract_are_exact(hundredths: int) -> None:
    assert units_of(float(f"{hundredths / 100:.2f}")) == hundredths * (UNITS // 100)


@pytest.mark.parametrize("size", [float("nan"), float("inf"), -float("inf"), 1e12, 0.00001])
def test_what_is_no_size_is_refused(size: float) -> None:
    assert units_of(size) is None


def test_the_newest_spelling_of_a_size_wins() -> None:
    assert size_units(2.5, 2) == 25_000
    assert size_units(None, 2) == 20_000
    assert size_units(None, None) is None
    assert size_units(None, 10**40) is None


def test_the_venue_time_is_read_in_every_spelling() -> None:
    assert venue_ms(1_787_838_983_996, "2020-01-01T00:00:00Z") == 1_787_838_983_996
    assert venue_ms(None, "2026-08-27T13:56:23.996443Z") == 1_787_838_983_996
    assert venue_ms(None, 1_787_838_983) == 1_787_838_983_000
    assert venue_ms(None, "yesterday") is None
    assert venue_ms(-1, None) is None
    assert venue_ms(None, None) is None


def test_the_grid_is_the_finest_step() -> None:
    assert finest_step([PriceRange("0.0100"), PriceRange("0.0010")]) == 10
    assert finest_step([PriceRange("0.0100"), PriceRange("x")]) is None
    assert finest_step([]) is None


def test_commands_have_rising_ids_and_say_how_prices_are_meant() -> None:
    commands = Commands(use_yes_price=True)
    frames = [
        *commands.subscribe([f"T{n}" for n in range(MARKETS_A_COMMAND + 1)]),
        *commands.delete_markets(3, ["T1"]),
        *commands.get_snapshot(3, ["T2"]),
        *commands.unsubscribe([3, 4]),
        *commands.subscribe_lifecycle(),
        *commands.unsubscribe([]),
        *commands.subscribe([]),
    ]
    sent = [json.loads(frame) for frame in frames]
    assert [frame["id"] for frame in sent] == [1, 2, 3, 4, 5, 6]
    assert [frame["cmd"] for frame in sent] == [
        "subscribe", "subscribe", "update_subscription", "update_subscription", "unsubscribe",
        "subscribe",
    ]  # fmt: skip
    assert [len(frame["params"]["market_tickers"]) for frame in sent[:2]] == [400, 1]
    assert sent[0]["params"]["channels"] == ["orderbook_delta", "trade"]
    assert sent[0]["params"]["use_yes_price"] is True
    assert sent[2]["params"] == {
        "sids": [3], "market_tickers": ["T1"], "action": "delete_markets",
    }  # fmt: skip
    assert sent[3]["params"]["action"] == "get_snapshot"
    assert sent[4]["params"] == {"sids": [3, 4]}


@pytest.mark.parametrize(
    ("levels", "tick"),
    [([["0.0100", "1.00"]], 100), ([["0.0130", "1.00"]], 10), ([["0.0131", "1"]], 1), ([], 100)],
)
def test_a_recording_names_its_markets_and_shows_their_grid(
    levels: list[list[str]], tick: int
) -> None:
    frame = {
        "type": "orderbook_snapshot", "sid": 1, "seq": 1,
        "msg": {"market_ticker": "M", "no_dollars_fp": levels},
    }  # fmt: skip
    (terms,) = markets_named(json.dumps(frame))
    assert (terms.market_id, terms.asset_id, terms.tick, terms.primary) == ("M", "M", tick, True)
    assert markets_named('{"type":"ticker"}') == []
    assert markets_named('{"type":"orderbook_snapshot"') == []
