"""Fees against the exchange's own worked examples and the laws of its rounding."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, Inexact

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.books import SPELLING
from surveillance_core.markets import FeeTerms, Market, NamedFee, Outcome, Venue
from surveillance_core.venues.kalshi.fees import (
    CENT,
    CENTICENT,
    Action,
    FeeKind,
    FeesUnknown,
    Fill,
    Liquidity,
    TradingFees,
    assume_maker_fees,
    charge_fill,
    charge_order,
    fees_in_force,
    model_fee,
    read_fees,
)

D = Decimal
NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
QUADRATIC = TradingFees(kind=FeeKind.QUADRATIC, multiplier=D(1))


def buy(price: str, contracts: str, liquidity: Liquidity = Liquidity.TAKER) -> Fill:
    return Fill(price=D(price), contracts=D(contracts), liquidity=liquidity)


def listed(kind: str, multiplier: float | None) -> NamedFee:
    return NamedFee(kind=kind, multiplier=multiplier, set_by="series")


@pytest.mark.parametrize(
    ("price", "contracts", "trade", "rows"),
    [
        (
            "0.50",
            "0.30",
            "0.0053",
            [("0.0047", "0"), ("0.0047", "0"), ("0.0047", "0.01")],
        ),
        (
            "0.055",
            "1",
            "0.0037",
            [("0.0013", "0"), ("0.0013", "0"), ("0.0013", "0")],
        ),
    ],
)
def test_three_matches_of_one_order_at_the_listed_coefficient(
    price: str, contracts: str, trade: str, rows: list[tuple[str, str]]
) -> None:
    fees = charge_order(QUADRATIC, [buy(price, contracts)] * 3, balance_grid=CENT)
    assert {fee.trade_fee for fee in fees} == {D(trade)}
    assert [(fee.rounding_fee, fee.rebate) for fee in fees] == [(D(r), D(b)) for r, b in rows]


@pytest.mark.parametrize(
    ("price", "contracts", "trade", "rounding", "accumulated", "rebates", "net"),
    [
        (
            "0.055",
            "1",
            "0.0085",
            "0.0065",
            ("0.0065", "0.0030", "0.0095"),
            ("0", "0.01", "0"),
            ("0.0150", "0.0050", "0.0150"),
        ),
        (
            "0.50",
            "0.30",
            "0.0041",
            "0.0059",
            ("0.0059", "0.0018", "0.0077"),
            ("0", "0.01", "0"),
            ("0.0100", "0.0000", "0.0100"),
        ),
        (
            "0.3301",
            "0.03",
            "0.0005",
            "0.009597",
            ("0.009597", "0.009194", "0.008791"),
            ("0", "0.01", "0.01"),
            ("0.010097", "0.000097", "0.000097"),
        ),
    ],
)
def test_the_exchanges_worked_examples(
    price: str,
    contracts: str,
    trade: str,
    rounding: str,
    accumulated: tuple[str, ...],
    rebates: tuple[str, ...],
    net: tuple[str, ...],
) -> None:
    """The page does not state its examples' coefficient; one is chosen that gives its trade fee."""
    fill = buy(price, contracts)
    variance = fill.contracts * fill.price * (1 - fill.price)
    # a hair under the published fee, so that the rounding up has something to do
    coefficient = ((D(trade) - D("0.00003")) / variance).quantize(D("0.000001"))
    terms = TradingFees(kind="quadratic", multiplier=D(1), taker_coefficient=coefficient)
    fees = charge_order(terms, [fill] * 3, balance_grid=CENT)
    assert [fee.trade_fee for fee in fees] == [D(trade)] * 3
    assert [fee.rounding_fee for fee in fees] == [D(rounding)] * 3
    assert [fee.accumulated for fee in fees] == [D(each) for each in accumulated]
    assert [fee.rebate for fee in fees] == [D(each) for each in rebates]
    assert [fee.net for fee in fees] == [D(each) for each in net]


def test_a_direct_member_pays_to_the_centicent() -> None:
    fee = charge_fill(QUADRATIC, buy("0.055", "1"))
    assert (fee.trade_fee, fee.rounding_fee) == (D("0.0037"), 0)
    fractional = charge_fill(QUADRATIC, buy("0.001", "90.90"))
    assert fractional.trade_fee == D("0.0064")
    assert fractional.rounding_fee == 0


def test_the_finer_fee_grid_is_a_parameter() -> None:
    fee = charge_fill(QUADRATIC, buy("0.001", "90.90"), fee_grid=D("0.000001"))
    assert fee.trade_fee == D("0.006357")
    assert fee.charged == D("0.0064")


@pytest.mark.parametrize(
    ("kind", "multiplier", "taker", "maker"),
    [
        (FeeKind.QUADRATIC, 1, "1.75", "0"),
        (FeeKind.QUADRATIC, 0.5, "0.875", "0"),
        (FeeKind.QUADRATIC, 0, "0", "0"),
        (FeeKind.MAKER, 1, "1.75", "0.4375"),
        (FeeKind.MAKER, 0.5, "0.875", "0.21875"),
        (FeeKind.COMBO_MAKER, 1, "1.75", "0.875"),
    ],
)
def test_what_each_kind_charges_for_a_hundred_at_even_odds(
    kind: str, multiplier: float, taker: str, maker: str
) -> None:
    terms = read_fees(listed(kind, multiplier))
    assert model_fee(terms, buy("0.5", "100")) == D(taker)
    assert model_fee(terms, buy("0.5", "100", Liquidity.MAKER)) == D(maker)


@pytest.mark.parametrize("kind", ["flat", "margin_market_maker_program_fees", "of tomorrow"])
def test_a_kind_without_a_formula_is_refused_unless_assumed(kind: str) -> None:
    terms = read_fees(listed(kind, 1))
    for liquidity in Liquidity:
        with pytest.raises(FeesUnknown, match="no formula"):
            charge_fill(terms, buy("0.5", "1", liquidity))
    assumed = assume_maker_fees(terms)
    assert model_fee(assumed, buy("0.5", "100", Liquidity.MAKER)) == D("0.4375")
    assert assume_maker_fees(QUADRATIC) is QUADRATIC


@pytest.mark.parametrize("fee", [None, listed("quadratic", None), listed("quadratic", -1.0)])
def test_fees_that_are_not_said_are_never_free(fee: NamedFee | None) -> None:
    with pytest.raises(FeesUnknown):
        read_fees(fee)


def test_a_waiver_holds_until_its_time() -> None:
    market = Market(
        venue=Venue.KALSHI,
        market_id="KX-1",
        title="",
        outcomes=(Outcome("KX-1:yes", "Yes"), Outcome("KX-1:no", "No")),
        tick_size=0.01,
        min_order_size=None,
        neg_risk=False,
        groups=(),
        fee_terms=FeeTerms.SCHEDULED,
        fees=None,
        rewards=None,
        close_hint=None,
        volume_24h=None,
        liquidity=None,
        category=None,
        rules_hash="",
        fetched_at=NOON,
        named_fee=listed("quadratic", 1),
        fee_waived_until=NOON,
    )
    fill = buy("0.5", "100")
    assert model_fee(fees_in_force(market, NOON - timedelta(seconds=1)), fill) == 0
    assert model_fee(fees_in_force(market, NOON), fill) == D("1.75")


fills = st.builds(
    Fill,
    price=st.integers(1, 9_999).map(lambda tick: D(SPELLING[tick])),
    contracts=st.decimals("0.01", "5000", places=2),
    action=st.sampled_from(Action),
    liquidity=st.sampled_from(Liquidity),
)
kinds = st.sampled_from([kind.value for kind in FeeKind])
grids = st.sampled_from([CENT, CENTICENT])


@given(kinds, fills, grids)
def test_a_fill_is_rounded_against_the_member_by_less_than_both_grids(
    kind: str, fill: Fill, grid: Decimal
) -> None:
    terms = TradingFees(kind=kind, multiplier=D(1))
    fee = charge_fill(terms, fill, balance_grid=grid)
    exact = model_fee(terms, fill)
    assert exact <= fee.trade_fee < exact + CENTICENT
    assert 0 <= fee.rounding_fee < grid
    revenue = fill.price * fill.contracts * (1 if fill.action is Action.SELL else -1)
    assert (revenue - fee.charged) % grid == 0


@given(kinds, st.lists(fills, max_size=12), grids)
def test_an_orders_rebates_are_whole_cents_and_never_exceed_what_was_overpaid(
    kind: str, matches: list[Fill], grid: Decimal
) -> None:
    terms = TradingFees(kind=kind, multiplier=D(1))
    fees = charge_order(terms, matches, balance_grid=grid)
    overpaid = D(0)
    for fee in fees:
        overpaid += fee.rounding_fee
        assert fee.net >= 0
        assert fee.rebate % CENT == 0
        overpaid -= fee.rebate
        assert fee.accumulated == overpaid >= 0


def test_a_rebate_waits_for_a_fill_that_can_bear_it() -> None:
    first = charge_fill(QUADRATIC, buy("0.0901", "1"), balance_grid=CENT, accumulated=D("0.0099"))
    assert first.charged == D("0.0099")
    assert (first.rebate, first.accumulated) == (0, D("0.0099") + first.rounding_fee)


def test_figures_out_of_range_are_refused() -> None:
    for fill in (buy("1.01", "1"), buy("NaN", "1"), buy("0.5", "-1"), buy("0.5", "Infinity")):
        with pytest.raises(ValueError, match=r"outside|at least"):
            charge_fill(QUADRATIC, fill)


def test_nothing_is_ever_rounded_unasked() -> None:
    with pytest.raises(Inexact):
        charge_fill(QUADRATIC, buy("0." + "3" * 60, "1." + "7" * 60))
