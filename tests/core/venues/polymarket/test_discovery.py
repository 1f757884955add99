"""Gamma's pages into markets: nothing raises, nothing is lost uncounted, nothing is guessed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surveillance_core.lake.layout import universe_file
from surveillance_core.markets import (
    FeeTerms,
    GroupKind,
    Market,
    Venue,
    decode_universe,
    encode_universe,
    group_markets,
)
from surveillance_core.venues.listing import GONE_AFTER, NAMES_KEPT, MemberWatch
from surveillance_core.venues.polymarket.discovery import EventReader, hash_rules
from surveillance_core.venues.protocols import Discovery

Json = dict[str, Any]
MakeMarket = Callable[..., Json]
NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)


def _read(*events: object) -> Discovery:
    reader = EventReader(NOW)
    reader.read_page(events)
    found = reader.found
    assert len(found.markets) + found.set_aside.total() == found.seen
    # what is kept can be published and read again
    assert len(decode_universe(encode_universe(found.markets), "u")) == len(found.markets)
    return found


def _event(*markets: object, **members: object) -> Json:
    return {"id": "7", "title": "Rain", "markets": list(markets)} | members


def _one(market: object, **members: object) -> Market:
    found = _read(_event(market, **members))
    assert found.set_aside == {}
    [only] = found.markets
    return only


def _reason(market: object) -> str:
    found = _read(_event(market))
    assert found.markets == []
    [reason] = found.set_aside
    return reason


def test_a_market_is_read_as_listed(make_market: MakeMarket) -> None:
    market = _one(make_market(), tags=[{"label": "Weather"}])
    assert market.venue is Venue.POLYMARKET
    assert market.market_id == f"0x{1:064x}"
    assert [(o.outcome_id, o.label) for o in market.outcomes] == [("1001", "Yes"), ("2001", "No")]
    assert market.primary.outcome_id == "1001"
    assert (market.tick_size, market.min_order_size) == (0.01, 5.0)
    assert market.close_hint == datetime(2026, 10, 1, tzinfo=UTC)
    assert (market.volume_24h, market.liquidity) == (12.5, 100.25)
    assert market.category == "Weather"
    assert market.rules_hash == hash_rules("This market resolves to Yes if it rains.")
    assert market.fetched_at == NOW
    assert [(g.group_id, g.kind, g.members) for g in market.groups] == [
        ("event:7", GroupKind.EVENT, 1)
    ]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"closed": True}, "closed"),
        ({"archived": True}, "archived"),
        ({"active": False}, "inactive"),
        ({"active": ...}, "inactive_unknown"),
        ({"active": "true"}, "inactive_unknown"),
        ({"closed": "false"}, "closed_unknown"),
        ({"enableOrderBook": False}, "no_order_book"),
        ({"enableOrderBook": None}, "no_order_book_unknown"),
        ({"acceptingOrders": False}, "not_accepting_orders"),
        ({"acceptingOrders": 1}, "not_accepting_orders_unknown"),
        ({"conditionId": ""}, "no_condition_id"),
        ({"conditionId": ...}, "no_condition_id"),
        ({"conditionId": 12}, "no_condition_id"),
        ({"clobTokenIds": ...}, "no_clobTokenIds"),
        ({"clobTokenIds": ""}, "no_clobTokenIds"),
        ({"clobTokenIds": "[1, 2]"}, "malformed_clobTokenIds"),
        ({"clobTokenIds": "["}, "malformed_clobTokenIds"),
        ({"clobTokenIds": '{"0": "1"}'}, "malformed_clobTokenIds"),
        ({"clobTokenIds": "[" * 100_000}, "malformed_clobTokenIds"),
        ({"clobTokenIds": '["\\ud800", "2"]'}, "malformed_clobTokenIds"),
        ({"clobTokenIds": "[]"}, "not_two_outcomes"),
        ({"clobTokenIds": '["1"]'}, "not_two_outcomes"),
        ({"clobTokenIds": '["1", ""]'}, "no_tokens"),
        ({"clobTokenIds": '["1", "1"]'}, "no_tokens"),
        ({"outcomes": '["A", "B", "C"]'}, "not_two_outcomes"),
        ({"outcomes": 3}, "malformed_outcomes"),
        ({"orderPriceMinTickSize": ...}, "no_tick_size"),
        ({"orderPriceMinTickSize": 0}, "malformed_tick_size"),
        ({"orderPriceMinTickSize": -0.01}, "malformed_tick_size"),
        ({"orderPriceMinTickSize": 0.00001}, "malformed_tick_size"),
        ({"orderPriceMinTickSize": "fine"}, "malformed_tick_size"),
        ({"orderPriceMinTickSize": True}, "malformed_tick_size"),
        ({"orderPriceMinTickSize": float("nan")}, "malformed_tick_size"),
        ({"orderPriceMinTickSize": 10**400}, "malformed_tick_size"),
        ({"version": "v3"}, "unknown_version"),
        ({"version": 2}, "unknown_version"),
        ({"version": "v2"}, "no_positionIds"),
    ],
    ids=str,
)
def test_a_market_that_cannot_be_traded_is_set_aside_by_reason(
    make_market: MakeMarket, members: Json, reason: str
) -> None:
    assert _reason(make_market(**members)) == reason


@pytest.mark.parametrize("market", [None, 3, "text", [], True], ids=str)
def test_a_member_that_is_no_object_is_set_aside(market: object) -> None:
    assert _reason(market) == "market_not_an_object"


def test_events_that_are_none_are_counted(make_market: MakeMarket) -> None:
    found = _read(None, "x", {"id": "1"}, {"id": "2", "markets": {}}, _event(make_market()))
    assert found.set_aside == {"event_not_an_object": 2, "event_markets_not_a_list": 1}
    assert found.oddities["event_without_markets"] == 1
    assert (found.seen, len(found.markets), found.pages) == (4, 1, 1)


def test_a_market_listed_twice_is_kept_once(make_market: MakeMarket) -> None:
    reader = EventReader(NOW)
    reader.read_page([_event(make_market(1), make_market(2))])
    reader.read_page([_event(make_market(1, question="again"), id="8")])
    assert [m.title for m in reader.found.markets] == [
        "Will it rain on day 1?", "Will it rain on day 2?",
    ]  # fmt: skip
    assert reader.found.set_aside == {"listed_twice": 1}
    assert (reader.found.seen, reader.found.pages) == (3, 2)


@pytest.mark.parametrize("tick", [0.001, "0.001", ".001", "0.0010"], ids=repr)
def test_the_tick_may_be_a_number_or_its_spelling(make_market: MakeMarket, tick: object) -> None:
    assert _one(make_market(orderPriceMinTickSize=tick)).tick_size == 0.001


@pytest.mark.parametrize("tick", [0.1, 0.01, 0.005, 0.0025, 0.001, 0.0001])
def test_every_grid_the_venue_uses_is_kept_exactly(make_market: MakeMarket, tick: float) -> None:
    assert _one(make_market(orderPriceMinTickSize=tick)).tick_size == tick


def test_token_ids_come_from_the_member_the_version_names(make_market: MakeMarket) -> None:
    both = {"clobTokenIds": '["11", "12"]', "positionIds": ["21", "22"]}
    for version, tokens in (("v1", ["11", "12"]), ("v2", ["21", "22"])):
        market = _one(make_market(version=version, **both))
        assert [outcome.outcome_id for outcome in market.outcomes] == tokens
    assert _one(make_market(**both)).primary.outcome_id == "11"


def test_lists_may_be_real_lists(make_market: MakeMarket) -> None:
    market = _one(make_market(outcomes=["Up", "Down"], clobTokenIds=["5", "6"]))
    assert [(o.outcome_id, o.label) for o in market.outcomes] == [("5", "Up"), ("6", "Down")]


SCHEDULE = {"rate": 0.07, "exponent": 1, "takerOnly": True, "rebateRate": 0.2}


@pytest.mark.parametrize(
    ("members", "terms"),
    [
        ({"feesEnabled": True, "feeSchedule": SCHEDULE, "feeType": "t"}, FeeTerms.SCHEDULED),
        ({"feesEnabled": ..., "feeSchedule": SCHEDULE}, FeeTerms.SCHEDULED),
        ({"feesEnabled": False, "feeSchedule": SCHEDULE}, FeeTerms.FREE),
        ({"feesEnabled": False}, FeeTerms.FREE),
        ({"feesEnabled": ..., "feeType": None}, FeeTerms.FREE),
        ({"feesEnabled": ...}, FeeTerms.UNKNOWN),
        ({"feesEnabled": True}, FeeTerms.UNKNOWN),
        ({"feesEnabled": ..., "feeType": "crypto_fees"}, FeeTerms.UNKNOWN),
        ({"feesEnabled": True, "feeSchedule": {"rate": 0.07}}, FeeTerms.UNKNOWN),
        ({"feesEnabled": True, "feeSchedule": SCHEDULE | {"rate": "0.07"}}, FeeTerms.UNKNOWN),
        ({"feesEnabled": True, "feeSchedule": SCHEDULE | {"rate": True}}, FeeTerms.UNKNOWN),
        ({"feesEnabled": True, "feeSchedule": SCHEDULE | {"rate": 10**400}}, FeeTerms.UNKNOWN),
        ({"feesEnabled": True, "feeSchedule": "7%"}, FeeTerms.UNKNOWN),
    ],
    ids=str,
)
def test_fees_are_scheduled_free_or_unknown_and_never_guessed(
    make_market: MakeMarket, members: Json, terms: FeeTerms
) -> None:
    market = _one(make_market(**members))
    assert market.fee_terms is terms
    if terms is FeeTerms.SCHEDULED:
        assert market.fees is not None
        assert (market.fees.rate, market.fees.exponent) == (0.07, 1.0)
        assert (market.fees.taker_only, market.fees.rebate_share) == (True, 0.2)
    else:
        assert market.fees is None


def test_rewards_are_in_dollars_and_summed_over_programmes(make_market: MakeMarket) -> None:
    pools = [{"rewardsDailyRate": 5}, {"rewardsDailyRate": "2.5"}, None, {"rewardsDailyRate": {}}]
    market = _one(make_market(rewardsMinSize=50, rewardsMaxSpread=3.5, clobRewards=pools))
    assert market.rewards is not None
    assert (market.rewards.min_size, market.rewards.max_spread) == (50.0, 0.035)
    assert market.rewards.daily_rate == 7.5
    assert _one(make_market(rewardsMinSize=0, rewardsMaxSpread=3.5)).rewards is None
    bare = _one(make_market(rewardsMinSize=50, rewardsMaxSpread=3.5)).rewards
    assert bare is not None
    assert bare.daily_rate is None


def test_a_neg_risk_group_knows_its_members_and_whether_more_may_come(
    make_market: MakeMarket,
) -> None:
    members = [make_market(n, negRisk=True, negRiskMarketID="0xabc") for n in (1, 2)]
    members.append(make_market(3, negRisk=True, negRiskMarketID="0xabc", active=False))
    found = _read(_event(*members, negRiskAugmented=True))
    [group] = group_markets(found.markets, GroupKind.NEG_RISK)
    assert (group.group_id, group.augmented) == ("neg_risk:0xabc", True)
    assert (group.listed_members, len(group.markets), group.complete) == (3, 2, False)
    assert all(market.neg_risk for market in found.markets)
    [event] = group_markets(found.markets, GroupKind.EVENT)
    assert event.augmented is False


def test_the_groups_id_may_stand_on_the_event_alone(make_market: MakeMarket) -> None:
    market = _one(make_market(negRisk=True), negRiskMarketID="0xdef", negRiskAugmented=False)
    assert [g.group_id for g in market.groups] == ["event:7", "neg_risk:0xdef"]
    assert not any(group.augmented for group in market.groups)


def test_a_market_outside_the_contract_is_in_no_neg_risk_group(make_market: MakeMarket) -> None:
    market = _one(make_market(negRisk=False), negRiskMarketID="0xdef")
    assert [g.kind for g in market.groups] == [GroupKind.EVENT]


@pytest.mark.parametrize("identity", [None, True, [], {}, 1.5], ids=repr)
def test_an_event_without_a_usable_id_makes_no_group(
    make_market: MakeMarket, identity: object
) -> None:
    assert _one(make_market(), id=identity).groups == ()


@pytest.mark.parametrize(
    ("members", "oddity"),
    [
        ({"volume24hr": "much"}, "volume24hr_not_a_number"),
        ({"volume24hr": float("nan")}, "volume24hr_not_a_number"),
        ({"volume24hr": "inf"}, "volume24hr_not_a_number"),
        ({"volume24hr": 10**400}, "volume24hr_not_a_number"),
        ({"volume24hr": [1]}, "volume24hr_not_a_number"),
        ({"endDate": "soon"}, "endDate_not_a_time"),
        ({"endDate": []}, "endDate_not_a_time"),
        ({"endDate": "0001-01-01T00:00:00+14:00"}, "endDate_not_a_time"),
        ({"endDate": "9999-12-31T23:59:59-14:00"}, "endDate_not_a_time"),
    ],
    ids=str,
)
def test_an_optional_member_that_cannot_be_read_is_an_oddity_and_none(
    make_market: MakeMarket, members: Json, oddity: str
) -> None:
    found = _read(_event(make_market(**members)))
    assert found.oddities == {oddity: 1}
    [market] = found.markets
    assert None in (market.volume_24h, market.close_hint)


def test_numbers_may_be_strings_and_the_better_member_goes_first(make_market: MakeMarket) -> None:
    market = _one(make_market(orderMinSize="15", volume24hr="1e3", liquidityNum=7))
    assert (market.min_order_size, market.volume_24h, market.liquidity) == (15.0, 1000.0, 7.0)


def test_hostile_text_is_kept_as_text_and_never_becomes_a_path(make_market: MakeMarket) -> None:
    title = "<script>alert(1)</script>\x1b[2J\x00\u202e\r\n" + "x" * 10_000
    market = _one(make_market(question=title, conditionId="../../etc/passwd"), id="../..")
    assert market.title == title
    assert market.market_id == "../../etc/passwd"
    assert market.groups[0].group_id == "event:../.."
    assert ".." not in universe_file(market.venue, NOW.date())
    content = encode_universe([market])
    assert content.count(b"\n") == 1
    assert decode_universe(content, "u") == [market]


def test_the_rules_hash_tells_texts_apart() -> None:
    assert hash_rules("Yes if it rains.") != hash_rules("Yes if it rains. ")
    assert len(hash_rules("")) == 32


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from(
        ["NaN", "-1", "1e999", "[]", '["\\ud800","x"]', "../", "9" * 5000, "x" * 10_000]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
MEMBERS = [
    "question", "conditionId", "description", "outcomes", "clobTokenIds", "active", "closed",
    "archived", "enableOrderBook", "acceptingOrders", "orderPriceMinTickSize", "orderMinSize",
    "negRisk", "negRiskMarketID", "endDate", "volume24hr", "liquidity", "liquidityNum",
    "feesEnabled", "feeSchedule", "feeType", "rewardsMinSize", "rewardsMaxSpread", "clobRewards",
    "version", "positionIds", "category",
]  # fmt: skip
EVENT_MEMBERS = ["id", "title", "tags", "category", "negRiskAugmented", "negRiskMarketID"]


@settings(max_examples=300)
@given(
    spoiled=st.dictionaries(st.sampled_from(MEMBERS), ANYTHING, max_size=4),
    left_out=st.sets(st.sampled_from(MEMBERS), max_size=2),
    around=st.dictionaries(st.sampled_from(EVENT_MEMBERS), ANYTHING, max_size=3),
)
def test_a_spoiled_market_never_raises_and_is_never_lost(
    make_market: MakeMarket, spoiled: Json, left_out: set[str], around: Json
) -> None:
    market = make_market() | spoiled
    market = {name: value for name, value in market.items() if name not in left_out}
    found = _read(_event(market, make_market(2), **around))
    assert found.seen == 2
    for kept in found.markets:
        assert (kept.fees is not None) == (kept.fee_terms is FeeTerms.SCHEDULED)
        assert 0 < kept.tick_size <= 1


@settings(max_examples=200)
@given(st.lists(ANYTHING | st.builds(lambda value: {"markets": value}, ANYTHING), max_size=4))
def test_a_page_of_anything_never_raises(events: list[object]) -> None:
    assert _read(*events).pages == 1


@given(
    st.dictionaries(
        st.sampled_from(["rate", "exponent", "takerOnly", "rebateRate", "more"]), ANYTHING
    )
)
def test_a_spoiled_fee_schedule_never_makes_a_fee(make_market: MakeMarket, schedule: Json) -> None:
    market = _one(make_market(feesEnabled=True, feeSchedule=schedule))
    assert (market.fees is not None) == (market.fee_terms is FeeTerms.SCHEDULED)


def test_a_negative_risk_flag_that_cannot_be_read_is_no_flag(make_market: MakeMarket) -> None:
    assert _reason(make_market(negRisk="true")) == "neg_risk_unknown"
    augmented = _one(
        make_market(negRisk=True, negRiskMarketID="0xab00"), negRiskAugmented="yes"
    ).groups[-1]
    # a set that may still grow must not look complete
    assert augmented.augmented


@pytest.mark.parametrize("event_id", ["", None, [], True, "\ud800"])
def test_events_without_a_name_are_not_one_group(make_market: MakeMarket, event_id: object) -> None:
    found = _read(_event(make_market(), id=event_id))
    assert found.markets[0].groups == ()
    assert found.oddities == {"event_id_unreadable": 1}


@pytest.mark.parametrize(
    ("members", "oddity"),
    [
        ({"question": 5}, "question_not_text"),
        ({"question": "a\ud800"}, "question_not_unicode"),
        ({"description": ["rules"]}, "description_not_text"),
        ({"endDate": 20261001}, "endDate_not_a_time"),
        ({"volume24hr": "1_000"}, "volume24hr_not_a_number"),
        ({"volume24hr": True}, "volume24hr_not_a_number"),
        ({"rewardsMinSize": -5, "rewardsMaxSpread": 3}, "rewards_out_of_range"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_counted_and_never_taken_for_something(
    make_market: MakeMarket, members: Json, oddity: str
) -> None:
    found = _read(_event(make_market(**members)))
    assert found.oddities == {oddity: 1}
    [market] = found.markets
    assert market.rewards is None
    if "endDate" in members:
        assert market.close_hint is None
    if "volume24hr" in members:
        assert market.volume_24h is None


def test_pools_beyond_a_number_have_no_sum(make_market: MakeMarket) -> None:
    pools = [{"rewardsDailyRate": 1e308}] * 2
    found = _read(_event(make_market(rewardsMinSize=5, rewardsMaxSpread=3, clobRewards=pools)))
    [market] = found.markets
    assert market.rewards is not None
    assert market.rewards.daily_rate is None
    assert found.oddities == {"rewards_out_of_range": 1}


SCHEDULE = {"rate": 0.05, "exponent": 1, "takerOnly": True}


@pytest.mark.parametrize(
    "members",
    [
        {"feesEnabled": "true", "feeType": None},
        {"feesEnabled": None, "feeType": None, "feeSchedule": "0.05"},
        {"feesEnabled": True, "feeSchedule": SCHEDULE | {"takerOnly": "true"}},
        {"feesEnabled": True, "feeSchedule": SCHEDULE | {"rate": -0.05}},
    ],
    ids=str,
)
def test_a_fee_that_cannot_be_read_is_unknown_and_never_free(
    make_market: MakeMarket, members: Json
) -> None:
    market = _one(make_market(**members))
    assert market.fee_terms is FeeTerms.UNKNOWN
    assert market.fees is None


def test_an_id_that_no_file_can_hold_is_set_aside(make_market: MakeMarket) -> None:
    assert _reason(make_market(conditionId="0x\ud800")) == "malformed_condition_id"


def test_a_contract_counts_its_own_members_only_over_all_its_events(
    make_market: MakeMarket,
) -> None:
    def member(number: int, contract: str, **members: object) -> Json:
        return make_market(number, negRisk=True, negRiskMarketID=contract, **members)

    reader = EventReader(NOW)
    reader.read_page(
        [
            {"id": "1", "title": "A", "markets": [member(1, "0xa"), member(2, "0xb"),
                                                  make_market(3)]},
            {"id": "2", "title": "B", "markets": [member(4, "0xa", active=False),
                                                  member(5, "0xa")]},
        ]
    )  # fmt: skip
    groups = {g.group_id: g for g in group_markets(reader.found.markets, GroupKind.NEG_RISK)}
    counts = {name: (g.listed_members, g.missing) for name, g in groups.items()}
    assert counts == {"neg_risk:0xa": (3, 1), "neg_risk:0xb": (1, 0)}


def test_a_series_is_named_by_its_slug_and_counts_the_sweep(make_market: MakeMarket) -> None:
    fomc = {"id": "35", "slug": "fomc", "title": "FOMC"}
    events = [
        {"id": "1", "series": [fomc], "seriesSlug": "fomc", "markets": [make_market(1)]},
        {"id": "2", "seriesSlug": "fomc", "markets": [make_market(2), make_market(3, closed=True)]},
        {"id": "3", "series": [{"id": "9"}, None, {}], "markets": [make_market(4)]},
        {"id": "4", "series": "x", "seriesSlug": 5, "markets": [make_market(5)]},
    ]
    reader = EventReader(NOW)
    reader.read_page(events)
    reader.read_page(events[:1])
    series = group_markets(reader.found.markets, GroupKind.SERIES)
    assert [(g.group_id, g.title, g.listed_members, g.missing) for g in series] == [
        ("series:fomc", "FOMC", 3, 1), ("series:9", "", 1, 0),
    ]  # fmt: skip
    assert reader.found.markets[0].groups[0].kind is GroupKind.EVENT


def test_new_members_and_fee_types_are_news_and_gone_ones_too(make_market: MakeMarket) -> None:
    reader = EventReader(NOW)
    reader.read_page(
        [
            {"id": str(n), "title": "x", "markets": [
                make_market(n, question=..., newThing=1, feeType="lunar_fees")
            ], "od\x1bd": 1}
            for n in range(GONE_AFTER)
        ]
    )  # fmt: skip
    found = reader.found
    assert found.unknown_members == {"market.newThing": GONE_AFTER, "event.od?d": GONE_AFTER}
    assert found.oddities["feeType_unknown:lunar_fees"] == GONE_AFTER
    assert "market.question" in found.gone_members
    assert "event.negRisk" in found.gone_members
    assert "market.conditionId" not in found.gone_members


def test_a_flood_of_new_members_is_counted_within_bounds() -> None:
    watch = MemberWatch("market", frozenset(), frozenset({"id"}))
    for n in range(10 * NAMES_KEPT):
        watch.look({f"m{n}": 1})
    assert len(watch.unknown) <= NAMES_KEPT + 1
    assert watch.unknown.total() == 10 * NAMES_KEPT
    assert watch.gone == ["market.id"]
