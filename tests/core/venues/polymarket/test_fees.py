"""Fees and rebates against the venue's published figures."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.books import SPELLING
from surveillance_core.markets import FeeSchedule, FeeTerms, Market, Outcome, Venue
from surveillance_core.venues.polymarket.fees import (
    FEE_GRID,
    FeeRounding,
    FeesUnknown,
    estimate_rebate,
    fee_equivalent,
    maker_fee,
    maker_rebate,
    pay,
    schedule_in_force,
    taker_fee,
)

D = Decimal


def schedule(rate: float, exponent: float = 1, **members: object) -> FeeSchedule:
    return FeeSchedule(rate=rate, exponent=exponent, **{"taker_only": True, **members})  # type: ignore[arg-type]


def market(fee_terms: FeeTerms, fees: FeeSchedule | None) -> Market:
    return Market(
        venue=Venue.POLYMARKET,
        market_id="0xm",
        title="",
        outcomes=(Outcome("1", "Yes"), Outcome("2", "No")),
        tick_size=0.01,
        min_order_size=5.0,
        neg_risk=False,
        groups=(),
        fee_terms=fee_terms,
        fees=fees,
        rewards=None,
        close_hint=None,
        volume_24h=None,
        liquidity=None,
        category=None,
        rules_hash="",
        fetched_at=datetime(2026, 9, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("rate", "exponent", "peak"),
    [
        (0.07, 1, "1.75000"),
        (0.05, 1, "1.25000"),
        (0.04, 1, "1.00000"),
        (0.03, 1, "0.75000"),
        (0.25, 2, "1.56250"),
        (0.0, 1, "0.00000"),
    ],
)
def test_a_hundred_contracts_at_even_odds_cost_what_the_venue_publishes(
    rate: float, exponent: float, peak: str
) -> None:
    assert taker_fee(schedule(rate, exponent), D("0.5"), D(100)) == D(peak)


@pytest.mark.parametrize(
    ("rate", "share", "cents"),
    [
        (0.07, 0.20, ("0.350", "0.224", "0.067")),
        (0.05, 0.15, ("0.188", "0.120", "0.036")),
        (0.04, 0.25, ("0.250", "0.160", "0.048")),
        (0.05, 0.25, ("0.313", "0.200", "0.059")),
    ],
)
def test_rebates_per_contract_are_the_published_ones(
    rate: float, share: float, cents: tuple[str, ...]
) -> None:
    terms = schedule(rate, rebate_share=share)
    for price, published in zip(("0.5", "0.2", "0.05"), cents, strict=True):
        own = fee_equivalent(terms, D(price), D(1))
        exact = estimate_rebate(terms, own, minimum=D(0)) * 100
        assert abs(exact - D(published)) <= D("0.0005")


def test_the_two_roundings_differ_where_the_sixth_decimal_is_half_or_more() -> None:
    terms = schedule(0.07)
    # 0.07 * 0.23 * 0.77 = 0.0123970; 0.07 * 0.01 * 0.99 = 0.000693
    assert taker_fee(terms, D("0.23"), D(1)) == D("0.01239")
    assert taker_fee(terms, D("0.23"), D(1), FeeRounding.NEAREST) == D("0.01240")
    assert taker_fee(terms, D("0.01"), D(1), FeeRounding.NEAREST) == D("0.00069")


def test_a_fee_under_the_grid_is_free_and_the_smallest_is_one_step() -> None:
    terms = schedule(0.05)
    assert taker_fee(terms, D("0.01"), D("0.02")) == 0
    assert taker_fee(terms, D("0.01"), D("0.03")) == FEE_GRID


def test_the_rate_is_the_decimal_that_was_written() -> None:
    # the binary neighbour of 0.07 is above it and would not land on an exact product
    assert fee_equivalent(schedule(0.07), D("0.5"), D(4)) == D("0.07")


def test_an_exponent_that_is_not_whole_is_followed() -> None:
    assert taker_fee(schedule(1.0, 0.5), D("0.5"), D(1)) == D("0.50000")


@pytest.mark.parametrize("price", ["0", "1"])
@pytest.mark.parametrize("exponent", [0, 0.5, 1, 2])
def test_a_certain_price_is_free(price: str, exponent: float) -> None:
    assert taker_fee(schedule(0.07, exponent), D(price), D(1000)) == 0


def test_makers_pay_only_where_the_schedule_does_not_spare_them() -> None:
    assert maker_fee(schedule(0.05), D("0.5"), D(100)) == 0
    charged = schedule(0.05, taker_only=False)
    assert maker_fee(charged, D("0.5"), D(100)) == taker_fee(charged, D("0.5"), D(100))


@given(
    rate=st.integers(0, 300),
    tick=st.integers(0, 10_000),
    contracts=st.decimals("0", "1000000", places=6),
)
def test_rounding_stays_within_one_step_and_is_the_same_for_both_outcomes(
    rate: int, tick: int, contracts: Decimal
) -> None:
    terms, price = schedule(rate / 1000), D(SPELLING[tick])
    exact = fee_equivalent(terms, price, contracts)
    down = taker_fee(terms, price, contracts)
    nearest = taker_fee(terms, price, contracts, FeeRounding.NEAREST)
    assert exact == contracts * D(str(rate / 1000)) * price * (1 - price)
    assert down <= exact < down + FEE_GRID
    assert down <= nearest <= down + FEE_GRID
    assert down == taker_fee(terms, 1 - price, contracts)


def test_a_rebate_is_the_own_part_of_the_shared_fees_from_a_dollar_on() -> None:
    assert maker_rebate(D(30), D(120), D("0.25"), D(118)) == D("7.375")
    assert maker_rebate(D(1), D(3), D("0.2"), D(100)) == D("6.666666")
    assert maker_rebate(D(4), D(100), D("0.25"), D(100)) == D(1)
    assert maker_rebate(D("3.99"), D(100), D("0.25"), D(100)) == 0
    assert maker_rebate(D(0), D(0), D("0.25"), D(0)) == 0


@given(own=st.decimals("0", "10000", places=4), rest=st.decimals("0", "10000", places=4))
def test_the_pool_cancels_where_fees_equal_equivalents(own: Decimal, rest: Decimal) -> None:
    terms, pool = schedule(0.05, rebate_share=0.25), own + rest
    assert estimate_rebate(terms, own) == maker_rebate(own, pool, D("0.25"), pool)


def test_a_payment_under_the_minimum_is_not_made() -> None:
    assert pay(D("0.999999")) == 0
    assert pay(D("1.0000009")) == D("1.000000")


def test_unknown_terms_are_never_free() -> None:
    terms = schedule(0.05)
    assert schedule_in_force(market(FeeTerms.SCHEDULED, terms)) is terms
    free = schedule_in_force(market(FeeTerms.FREE, None))
    assert taker_fee(free, D("0.5"), D(100)) == 0
    assert estimate_rebate(free, D(0)) == 0
    for unknown in (market(FeeTerms.UNKNOWN, None), market(FeeTerms.SCHEDULED, None)):
        with pytest.raises(FeesUnknown, match="0xm"):
            schedule_in_force(unknown)
    with pytest.raises(FeesUnknown):
        estimate_rebate(terms, D(8))


@pytest.mark.parametrize("rate", [-0.01, float("nan"), float("inf")])
def test_a_schedule_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(FeesUnknown):
        taker_fee(schedule(rate), D("0.5"), D(1))


@pytest.mark.parametrize(
    ("price", "contracts"),
    [("1.01", "1"), ("-0.1", "1"), ("NaN", "1"), ("0.5", "-1"), ("0.5", "Infinity")],
)
def test_figures_out_of_range_are_refused(price: str, contracts: str) -> None:
    with pytest.raises(ValueError, match=r"outside|at least"):
        taker_fee(schedule(0.05), D(price), D(contracts))


@pytest.mark.parametrize(
    ("own", "total", "share", "fees"),
    [
        ("-1", "1", "0.2", "1"),
        ("2", "1", "0.2", "1"),
        ("1", "1", "1.2", "1"),
        ("1", "1", "0.2", "-1"),
    ],
)
def test_rebates_of_impossible_figures_are_refused(
    own: str, total: str, share: str, fees: str
) -> None:
    with pytest.raises(ValueError, match=r"outside|not in|at least"):
        maker_rebate(D(own), D(total), D(share), D(fees))
