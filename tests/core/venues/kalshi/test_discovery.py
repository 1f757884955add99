"""Kalshi's pages into markets: nothing raises, nothing is lost uncounted, nothing is guessed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.books import tick_of
from surveillance_core.markets import (
    FeeTerms,
    GroupKind,
    GroupRef,
    Market,
    NamedFee,
    PriceRange,
    StrikeTerms,
    Venue,
    decode_universe,
    encode_universe,
    group_markets,
)
from surveillance_core.venues.kalshi.discovery import SET_ASIDE_BY_STATUS, EventReader
from surveillance_core.venues.listing import SPELLINGS_KEPT, hash_rules
from surveillance_core.venues.protocols import Discovery
from surveillance_core.venues.registry import asset_terms

Json = dict[str, Any]
NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
CENT_GRID = [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]
REASONS = {
    "market_not_an_object", "event_not_an_object", "event_markets_not_a_list", "no_ticker",
    "malformed_ticker", "combo", "no_status", "status_unknown", "no_market_type", "not_binary",
    "market_type_unknown", "no_tick_size", "malformed_tick_size", "malformed_price_ranges",
    "listed_twice", *SET_ASIDE_BY_STATUS.values(),
}  # fmt: skip


def _market(number: int = 1, **members: object) -> Json:
    market: Json = {
        "ticker": f"KXRAIN-26OCT01-T{number}",
        "event_ticker": "KXRAIN-26OCT01",
        "market_type": "binary",
        "status": "active",
        "title": "How much rain on Oct 1?",
        "yes_sub_title": f"{number} inches or more",
        "no_sub_title": f"{number} inches or more",
        "close_time": "2026-10-01T23:59:00Z",
        "volume_24h_fp": "12.50",
        "liquidity_dollars": "100.2500",
        "price_level_structure": "linear_cent",
        "price_ranges": CENT_GRID,
        "strike_type": "greater_or_equal",
        "floor_strike": number,
        "rules_primary": "If it rains, then the market resolves to Yes.",
        "rules_secondary": "Drizzle counts.",
    }
    market |= members
    return {name: value for name, value in market.items() if value is not ...}


def _event(*markets: object, **members: object) -> Json:
    event: Json = {
        "event_ticker": "KXRAIN-26OCT01",
        "series_ticker": "KXRAIN",
        "title": "Rain on Oct 1",
        "category": "Climate and Weather",
        "mutually_exclusive": False,
        "collateral_return_type": "",
        "markets": list(markets),
    }
    event |= members
    return {name: value for name, value in event.items() if value is not ...}


def _series(**members: object) -> Json:
    series = {"ticker": "KXRAIN", "title": "Rain", "fee_type": "quadratic", "fee_multiplier": 1}
    return series | members


def _programme(**members: object) -> Json:
    return {
        "id": "p1",
        "market_ticker": "KXRAIN-26OCT01-T1",
        "incentive_type": "liquidity",
        "period_reward": 200_000,
        "start_date": "2026-09-01T00:00:00Z",
        "end_date": "2026-09-03T00:00:00Z",
        "discount_factor_bps": 5_000,
        "target_size_fp": "300.00",
    } | members


def _read(
    *events: object, series: tuple[object, ...] | None = None, incentives: tuple[object, ...] = ()
) -> Discovery:
    reader = EventReader(NOW)
    reader.terms.read_series((_series(),) if series is None else series)
    reader.terms.read_incentives(incentives)
    reader.read_page(events)
    found = reader.finish()
    assert len(found.markets) + found.set_aside.total() == found.seen
    assert set(found.set_aside) <= REASONS
    # what is kept can be published, read again and subscribed
    assert len(decode_universe(encode_universe(found.markets), "u")) == len(found.markets)
    for market in found.markets:
        assert asset_terms(market, mirror=False)[0].asset_id == market.market_id
    return found


def _one(market: object, **members: object) -> Market:
    found = _read(_event(market, **members))
    assert found.set_aside == {}
    assert found.oddities == {}
    [only] = found.markets
    return only


def test_a_market_is_read_as_listed() -> None:
    market = _one(_market())
    assert market.venue is Venue.KALSHI
    assert market.market_id == market.primary.outcome_id == "KXRAIN-26OCT01-T1"
    assert [outcome.label for outcome in market.outcomes] == ["Yes", "No"]
    assert market.outcomes[1].outcome_id == "KXRAIN-26OCT01-T1:no"
    assert market.title == "How much rain on Oct 1? (1 inches or more)"
    assert (market.tick_size, market.min_order_size) == (0.01, None)
    assert market.price_ranges == (PriceRange(start=0.0, end=1.0, step=0.01),)
    assert market.close_hint == datetime(2026, 10, 1, 23, 59, tzinfo=UTC)
    assert (market.volume_24h, market.liquidity) == (12.5, 100.25)
    assert market.category == "Climate and Weather"
    assert market.strike == StrikeTerms(kind="greater_or_equal", floor=1.0)
    assert market.rules_hash == hash_rules(
        "If it rains, then the market resolves to Yes.\n\nDrizzle counts."
    )
    assert market.fee_terms is FeeTerms.SCHEDULED
    assert market.fees is None
    assert market.named_fee == NamedFee(kind="quadratic", multiplier=1.0, set_by="series")
    assert market.fetched_at == NOW


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        *(({"status": status}, reason) for status, reason in SET_ASIDE_BY_STATUS.items()),
        ({"status": ...}, "no_status"),
        ({"status": ""}, "no_status"),
        ({"status": "open"}, "status_unknown"),
        ({"status": "Active"}, "status_unknown"),
        ({"status": True}, "status_unknown"),
        ({"status": ["active"]}, "status_unknown"),
        ({"market_type": "scalar"}, "not_binary"),
        ({"market_type": ...}, "no_market_type"),
        ({"market_type": "ternary"}, "market_type_unknown"),
        ({"ticker": ...}, "no_ticker"),
        ({"ticker": ""}, "no_ticker"),
        ({"ticker": "../../etc/passwd"}, "malformed_ticker"),
        ({"ticker": "KXA/B"}, "malformed_ticker"),
        ({"ticker": ".."}, "malformed_ticker"),
        ({"ticker": "KXA\n"}, "malformed_ticker"),
        ({"ticker": "KX<b>"}, "malformed_ticker"),
        ({"ticker": "K" * 201}, "malformed_ticker"),
        ({"ticker": "KX٣"}, "malformed_ticker"),
        ({"ticker": 12}, "malformed_ticker"),
        ({"ticker": "KXMVESPORTS-S1-2"}, "combo"),
        ({"event_ticker": "KXMVESPORTS-S1"}, "combo"),
        ({"mve_collection_ticker": "KXMVESPORTS-R"}, "combo"),
        ({"mve_selected_legs": [{"market_ticker": "KXA"}]}, "combo"),
        ({"price_ranges": ..., "price_level_structure": ...}, "no_tick_size"),
        ({"price_ranges": [], "price_level_structure": "banded_centi_cent"}, "no_tick_size"),
        ({"price_ranges": ..., "price_level_structure": "", "tick_size": 0}, "malformed_tick_size"),
        ({"price_ranges": "0.01"}, "malformed_price_ranges"),
        ({"price_ranges": {"step": "0.01"}}, "malformed_price_ranges"),
        ({"price_ranges": ["0.01"]}, "malformed_price_ranges"),
        ({"price_ranges": [CENT_GRID[0] | {"step": "0"}]}, "malformed_price_ranges"),
        ({"price_ranges": [CENT_GRID[0] | {"step": "-0.01"}]}, "malformed_price_ranges"),
        ({"price_ranges": [CENT_GRID[0] | {"step": "NaN"}]}, "malformed_price_ranges"),
        ({"price_ranges": [CENT_GRID[0] | {"step": "0.00001"}]}, "malformed_price_ranges"),
        ({"price_ranges": [CENT_GRID[0] | {"end": "100"}]}, "malformed_price_ranges"),
        ({"price_ranges": [CENT_GRID[0] | {"start": "1.0000"}]}, "malformed_price_ranges"),
    ],
    ids=str,
)
def test_what_cannot_be_followed_is_set_aside_by_reason(members: Json, reason: str) -> None:
    found = _read(_event(_market(**members)))
    assert found.markets == []
    assert found.set_aside == {reason: 1}


@pytest.mark.parametrize("market", [None, 3, "text", [], True], ids=str)
def test_a_member_that_is_no_object_is_set_aside(market: object) -> None:
    assert _read(_event(market)).set_aside == {"market_not_an_object": 1}


def test_events_that_are_none_are_counted() -> None:
    found = _read(None, "x", _event(markets=...), _event(markets={}), _event(_market()))
    assert found.set_aside == {"event_not_an_object": 2, "event_markets_not_a_list": 1}
    assert found.oddities == {"event_without_markets": 1}
    assert (found.seen, len(found.markets), found.pages) == (4, 1, 1)


def test_a_market_listed_twice_is_kept_once() -> None:
    found = _read(_event(_market(1), _market(2)), _event(_market(1, title="again")))
    assert [market.market_id[-1] for market in found.markets] == ["1", "2"]
    assert "again" not in found.markets[0].title
    assert found.set_aside == {"listed_twice": 1}


def test_the_tick_size_is_the_smallest_step_of_the_ranges() -> None:
    ranges = [
        {"start": "0.9000", "end": "1.0000", "step": "0.0010"},
        {"start": "0.0000", "end": "0.1000", "step": "0.0010"},
        {"start": "0.1000", "end": "0.9000", "step": "0.0100"},
    ]
    market = _one(_market(price_ranges=ranges, price_level_structure="tapered_deci_cent"))
    assert market.tick_size == 0.001
    assert [(found.start, found.step) for found in market.price_ranges] == [
        (0.0, 0.001), (0.1, 0.01), (0.9, 0.001),
    ]  # fmt: skip
    [terms] = asset_terms(market, mirror=False)
    assert (terms.asset_id, terms.tick, terms.market_id) == (market.market_id, 10, market.market_id)


@pytest.mark.parametrize(
    ("members", "tick", "oddity"),
    [
        ({"price_ranges": ...}, 0.01, "tick_size_from_structure"),
        ({"price_ranges": None, "price_level_structure": "deci_cent"}, 0.001,
         "tick_size_from_structure"),
        ({"price_ranges": ..., "price_level_structure": ..., "tick_size": 1}, 0.01,
         "tick_size_from_cents"),
        ({"price_ranges": CENT_GRID[:0], "price_level_structure": "", "tick_size": "0.1"}, 0.001,
         "tick_size_from_cents"),
        ({"price_ranges": [CENT_GRID[0] | {"end": "0.9"}]}, 0.01, "price_ranges_have_gaps"),
        ({"price_level_structure": "hexa_cent"}, 0.01, "price_level_structure_unknown:hexa_cent"),
    ],
    ids=str,
)  # fmt: skip
def test_a_grid_that_is_not_plainly_stated_is_counted(
    members: Json, tick: float, oddity: str
) -> None:
    found = _read(_event(_market(**members)))
    assert found.markets[0].tick_size == tick
    assert found.oddities == {oddity: 1}


@pytest.mark.parametrize(
    "name",
    ["linear_cent", "center_deci_edge_centi_cent", "center_whole_edge_half_cent", ""],
)
def test_the_documented_structures_are_known(name: str) -> None:
    _one(_market(price_level_structure=name))


def test_whole_cents_and_contracts_are_read_where_texts_are_not() -> None:
    old = _one(_market(volume_24h_fp=..., liquidity_dollars=..., volume_24h=10, liquidity=6_814))
    assert (old.volume_24h, old.liquidity) == (10.0, 68.14)
    both = _one(_market(volume_24h=99, liquidity=99))
    assert (both.volume_24h, both.liquidity) == (12.5, 100.25)
    none = _one(_market(volume_24h_fp=..., liquidity_dollars="0.0000"))
    assert (none.volume_24h, none.liquidity) == (None, None)


@pytest.mark.parametrize(
    ("members", "title"),
    [
        ({"title": "Will Ann win?", "yes_sub_title": "Ann"}, "Will Ann win?"),
        ({"title": "Who wins?", "yes_sub_title": "Ann"}, "Who wins? (Ann)"),
        ({"title": "Who wins?", "yes_sub_title": "", "subtitle": "Bo"}, "Who wins? (Bo)"),
        ({"title": "", "yes_sub_title": "Ann"}, "Rain on Oct 1 (Ann)"),
        ({"title": "Who wins?", "yes_sub_title": ...}, "Who wins?"),
        ({"title": "How many in 2027?", "yes_sub_title": "2"}, "How many in 2027? (2)"),
        ({"title": "Above (a+b)?", "yes_sub_title": "(a+b)"}, "Above (a+b)?"),
    ],
    ids=str,
)
def test_the_subtitle_tells_a_market_from_its_siblings(members: Json, title: str) -> None:
    assert _one(_market(**members)).title == title


def test_an_exclusive_event_is_a_group_that_need_not_be_exhaustive() -> None:
    found = _read(
        _event(
            _market(1),
            _market(2, status="finalized"),
            mutually_exclusive=True,
            collateral_return_type="MECNET",
        ),
        _event(_market(3, event_ticker="KXRAIN-26OCT02"), event_ticker="KXRAIN-26OCT02"),
    )
    [exclusive] = group_markets(found.markets, GroupKind.EXCLUSIVE)
    assert (exclusive.group_id, exclusive.listed_members) == ("exclusive:KXRAIN-26OCT01", 2)
    assert exclusive.augmented
    assert not exclusive.complete
    events = group_markets(found.markets, GroupKind.EVENT)
    assert [(g.group_id, g.listed_members) for g in events] == [
        ("event:KXRAIN-26OCT01", 2), ("event:KXRAIN-26OCT02", 1),
    ]  # fmt: skip
    [series] = group_markets(found.markets, GroupKind.SERIES)
    assert (series.group_id, series.title, series.listed_members) == ("series:KXRAIN", "Rain", 3)
    assert [g.collateral for g in found.markets[0].groups] == ["MECNET", "MECNET", None]
    assert found.markets[0].groups[0].kind is GroupKind.EVENT


def test_a_directional_event_is_a_nested_ladder_with_its_netting_and_not_exclusive() -> None:
    market = _one(_market(), collateral_return_type="DIRECNET")
    assert [(g.kind, g.collateral) for g in market.groups] == [
        (GroupKind.EVENT, "DIRECNET"), (GroupKind.DIRECTIONAL, "DIRECNET"),
        (GroupKind.SERIES, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("members", "strike"),
    [
        ({"strike_type": "less", "floor_strike": ..., "cap_strike": 81},
         StrikeTerms(kind="less", cap=81.0)),
        ({"strike_type": "between", "floor_strike": 52_200, "cap_strike": 52_299.99},
         StrikeTerms(kind="between", floor=52_200.0, cap=52_299.99)),
        ({"strike_type": "greater", "floor_strike": "-0.1"},
         StrikeTerms(kind="greater", floor=-0.1)),
        ({"strike_type": "custom", "floor_strike": ..., "custom_strike": {"b": "x", "a": [1]}},
         StrikeTerms(kind="custom", custom=(("a", "[1]"), ("b", "x")))),
        ({"strike_type": "functional", "floor_strike": ..., "functional_strike": "f(x)"},
         StrikeTerms(kind="functional", functional="f(x)")),
        ({"strike_type": "", "floor_strike": ...}, None),
        ({"strike_type": ..., "floor_strike": None, "custom_strike": None}, None),
    ],
    ids=str,
)  # fmt: skip
def test_strikes_are_read_from_their_members(members: Json, strike: StrikeTerms | None) -> None:
    assert _one(_market(**members)).strike == strike


def test_fees_are_the_events_before_the_series() -> None:
    event = {"fee_type_override": "quadratic_with_maker_fees", "fee_multiplier_override": 0.5}
    assert _one(_market(), **event).named_fee == NamedFee(
        kind="quadratic_with_maker_fees", multiplier=0.5, set_by="event"
    )
    assert _one(_market(), fee_multiplier_override="0.5").named_fee == NamedFee(
        kind="quadratic", multiplier=0.5, set_by="event+series"
    )
    assert _one(_market(), fee_type_override=None).named_fee == NamedFee(
        kind="quadratic", multiplier=1.0, set_by="series"
    )
    waived = _one(_market(fee_waiver_expiration_time="2026-09-09T00:00:00Z"))
    assert waived.fee_waived_until == datetime(2026, 9, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("series", "oddity"),
    [
        ((), "fee_not_said"),
        ((None,), "fee_not_said"),
        (({"ticker": "KXRAIN"},), "fee_not_said"),
        ((_series(fee_type="cubic"),), "fee_type_unknown:cubic"),
        ((_series(fee_multiplier="NaN"),), "fee_multiplier_not_a_number"),
        ((_series(fee_multiplier=None),), None),
        ((_series(fee_multiplier=-1),), None),
        ((_series(fee_type="flat"),), None),
    ],
    ids=str,
)
def test_a_fee_that_cannot_be_worked_out_is_unknown(
    series: tuple[object, ...], oddity: str | None
) -> None:
    found = _read(_event(_market()), series=series)
    assert found.markets[0].fee_terms is FeeTerms.UNKNOWN
    assert oddity is None or found.oddities[oddity] == 1


def test_incentive_programmes_are_the_markets_own() -> None:
    found = _read(
        _event(_market(1), _market(2)),
        incentives=(
            _programme(),
            _programme(id="p2", incentive_type="volume", target_size_fp=None, target_size=7,
                       discount_factor_bps=None, end_date="2026-08-01T00:00:00Z"),
            _programme(id="p3", incentive_type="lottery", market_ticker="KXOTHER"),
            _programme(period_reward="much"),
            _programme(market_ticker="../x"),
            None,
        ),
    )  # fmt: skip
    liquidity, volume = found.markets[0].incentives
    assert (liquidity.reward, liquidity.daily_rate) == (20.0, 10.0)
    assert (liquidity.target_size, liquidity.discount_factor) == (300.0, 0.5)
    assert (volume.kind, volume.target_size, volume.daily_rate) == ("volume", 7.0, None)
    assert found.markets[1].incentives == ()
    assert found.oddities == {
        "incentive_unreadable": 3,
        "incentive_type_unknown:lottery": 1,
        "period_reward_not_a_number": 1,
    }


def test_a_halted_exchange_is_counted() -> None:
    reader = EventReader(NOW)
    status = reader.terms.read_status(
        {"exchange_active": True, "trading_active": False,
         "exchange_estimated_resume_time": "2026-09-03T09:00:00Z"}
    )  # fmt: skip
    assert status is not None
    assert (status.exchange_active, status.trading_active) == (True, False)
    assert status.resumes == datetime(2026, 9, 3, 9, tzinfo=UTC)
    assert reader.terms.read_status("up") is None
    assert reader.oddities == {"trading_not_active": 1, "exchange_status_unreadable": 1}


@pytest.mark.parametrize(
    ("members", "oddity"),
    [
        ({"mutually_exclusive": ...}, "mutually_exclusive_not_said"),
        ({"collateral_return_type": "NEWNET"}, "collateral_return_type_unknown:NEWNET"),
        ({"series_ticker": "../x"}, "series_ticker_unreadable"),
        ({"event_ticker": "KXOTHER"}, "event_ticker_disagrees"),
        ({"title": 7}, "title_not_text"),
    ],
    ids=str,
)
def test_an_odd_event_is_counted_and_its_markets_stand(members: Json, oddity: str) -> None:
    found = _read(_event(_market(), **members))
    assert len(found.markets) == 1
    assert found.oddities[oddity] == 1


def test_unknown_values_cannot_flood_the_counts() -> None:
    reader = EventReader(NOW)
    for number in range(1_000):
        reader.read_market(_market(number, status=f"<b>{number}</b>" + "x" * 10_000))
    found = reader.finish()
    assert found.set_aside == {"status_unknown": 1_000}
    assert len(found.oddities) == SPELLINGS_KEPT + 1
    assert all(len(name) < 80 and "<" not in name for name in found.oddities)
    assert found.oddities["status_unknown:other"] == 1_000 - SPELLINGS_KEPT


NASTY = (
    "x" * 10_240, "<script>alert(1)</script>", "a\x00b\x1b[31m\r\n\u2028", "../../x", "\ud800",
    "NaN", "Infinity", "-1", "1e400", "9" * 400, "1_000", "٣", "", " ", "0x10", "null",
)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(NASTY),
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30),
    st.just(10**400),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(NASTY), inner, max_size=3),
        max_leaves=5,
    ),
)  # fmt: skip


def _mutated(draw: st.DrawFn, source: Json) -> Json:
    changed = dict(source)
    for name in draw(st.lists(st.sampled_from(sorted(source)), max_size=4, unique=True)):
        if draw(st.booleans()):
            changed[name] = draw(VALUES)
        elif draw(st.booleans()):
            del changed[name]
        else:
            changed[name] = str(changed[name])
    return changed


@st.composite
def _worlds(draw: st.DrawFn) -> tuple[list[Json], tuple[Json, ...], tuple[Json, ...]]:
    full = _market(
        custom_strike={"Holder": "Ann"}, functional_strike="f", cap_strike=9, volume_24h=3,
        liquidity=4, tick_size=1, mve_collection_ticker="", subtitle="s",
        fee_waiver_expiration_time="2026-09-09T00:00:00Z",
    )  # fmt: skip
    grid = _mutated(draw, CENT_GRID[0])
    markets = [_mutated(draw, full | {"price_ranges": [grid]}), _mutated(draw, full), _market(2)]
    event = _event(*markets, fee_type_override="flat", fee_multiplier_override=2)
    events = [_mutated(draw, event), _event(_market(3))]
    return events, (_mutated(draw, _series()),), (_mutated(draw, _programme(target_size=3)),)


@given(_worlds())
def test_no_change_of_a_page_raises_or_loses_a_market(
    world: tuple[list[Json], tuple[Json, ...], tuple[Json, ...]],
) -> None:
    events, series, incentives = world
    found = _read(*events, series=series, incentives=incentives)
    assert any(market.market_id.endswith("T3") for market in found.markets)
    for market in found.markets:
        assert 0 < tick_of(market.tick_size) <= 10_000
        assert all(ord(letter) < 128 and letter not in "/\\<" for letter in market.market_id)


@given(VALUES | st.lists(VALUES, max_size=3))
def test_anything_may_stand_where_an_event_is_expected(value: object) -> None:
    reader = EventReader(NOW)
    reader.terms.read_series([value])
    reader.terms.read_incentives([value])
    reader.terms.read_status(value)
    reader.read_page([value, _event(value)])
    found = reader.finish()
    lost = isinstance(value, dict) and "markets" not in value
    assert len(found.markets) + found.set_aside.total() == found.seen >= 2 - lost


def test_a_universe_of_before_these_members_still_decodes() -> None:
    market = _one(_market())
    line = msgspec.json.decode(encode_universe([market]))
    for name in ("named_fee", "fee_waived_until", "incentives", "price_ranges", "strike"):
        del line[name]
    for group in line["groups"]:
        del group["collateral"]
    [old] = decode_universe(msgspec.json.encode(line) + b"\n", "u")
    assert (old.named_fee, old.incentives, old.price_ranges, old.strike) == (None, (), (), None)
    assert all(isinstance(group, GroupRef) and group.collateral is None for group in old.groups)


@pytest.mark.parametrize(
    "override",
    [{"fee_multiplier_override": "half"}, {"fee_type_override": 7}, {"fee_type_override": []}],
    ids=str,
)
def test_an_override_that_cannot_be_read_does_not_leave_the_series_fee(override: Json) -> None:
    found = _read(_event(_market(), **override))
    [name] = override
    assert sum(count for oddity, count in found.oddities.items() if oddity.startswith(name)) == 1
    [market] = found.markets
    assert market.fee_terms is FeeTerms.UNKNOWN
    assert market.named_fee is None or market.named_fee.set_by == "event+series"


def test_a_status_that_is_no_text_is_counted_by_what_it_is() -> None:
    found = _read(_event(_market(status=["active"]), _market(2, status=5)))
    assert found.set_aside == {"status_unknown": 2}
    assert found.oddities["status_unknown:list"] == found.oddities["status_unknown:5"] == 1
