"""Damaged listings of both venues: set aside or kept as they are, never fatal, never guessed."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from functools import cache
from pathlib import PurePosixPath
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surveillance_core.lake.publish import Lake, publish_universe
from surveillance_core.markets import Market, Venue, decode_universe, encode_universe
from surveillance_core.venues.kalshi import rest as kalshi_rest
from surveillance_core.venues.kalshi.discovery import EventReader as KalshiReader
from surveillance_core.venues.polymarket import rest as polymarket_rest
from surveillance_core.venues.polymarket.discovery import EventReader as GammaReader
from surveillance_core.venues.protocols import Discovery
from surveillance_core.venues.rest import RestClient, VenueError
from tests.wire import readings
from tests.wire.captured import FIXTURES, Json, held
from tests.wire.mutations import damaged, places, with_odd_member

NOW = datetime(2026, 9, 1, tzinfo=UTC)
GAMMA_MEMBERS = (
    "conditionId", "clobTokenIds", "outcomes", "question", "orderPriceMinTickSize", "orderMinSize",
    "volume24hr", "liquidityNum", "liquidity", "endDate", "negRisk", "negRiskMarketID", "id",
    "feeSchedule", "rate", "exponent", "takerOnly", "rewardsMinSize", "rewardsMaxSpread",
    "clobRewards", "rewardsDailyRate", "active", "closed", "archived", "acceptingOrders", "markets",
    "description", "category", "tags", "title", "feesEnabled", "feeType", "version",
)  # fmt: skip
KALSHI_MEMBERS = (
    "ticker", "event_ticker", "series_ticker", "status", "market_type", "title", "price_ranges",
    "start", "end", "step", "price_level_structure", "tick_size", "volume_24h_fp", "volume_24h",
    "liquidity_dollars", "close_time", "fee_waiver_expiration_time", "strike_type", "floor_strike",
    "cap_strike", "custom_strike", "yes_sub_title", "markets", "mutually_exclusive",
    "rules_primary", "collateral_return_type", "fee_type_override", "fee_multiplier_override",
    "category",
)  # fmt: skip
SWEEP_MEMBERS = (
    "events", "next_cursor", "cursor", "id", "event_ticker", "series", "error", "code", "details",
)  # fmt: skip
ERROR = {"error": {"code": "bad_request", "message": "bad request", "details": "no"}}
TERMS = (
    {"ticker": "KXA", "title": "A", "category": "C", "fee_type": "quadratic", "fee_multiplier": 1},
    {
        "id": "p", "market_ticker": "KXA-1", "incentive_type": "liquidity", "period_reward": 10_000,
        "start_date": "2026-09-01T00:00:00Z", "end_date": "2026-09-02T00:00:00Z",
        "target_size_fp": "300.00", "discount_factor_bps": 9_000,
    },
    {"exchange_active": True, "trading_active": True, "exchange_estimated_resume_time": None},
)  # fmt: skip
KXBTCD = {"ticker": "KXBTCD", "title": "B", "fee_type": "quadratic", "fee_multiplier": 1}
needs_captures = pytest.mark.skipif(
    not FIXTURES.is_dir(), reason=f"no fixtures in {FIXTURES}; name them in SURVEILLANCE_SHARED"
)


@cache
def _gamma_events() -> list[Json]:
    """Events of several years with two markets each, open ones first."""
    events: list[Json] = []
    for name in (
        "events_2026-07-25.json", "event_negrisk_fed_june_2026-05-17.json",
        "events_100_2025-06-24.json", "nautilus_search_response.json", "search_fed_2026-05-17.json",
    ):  # fmt: skip
        for event in held(f"polymarket/gamma/{name}").events[:3]:
            markets = sorted(event["markets"], key=lambda market: market.get("closed") is True)
            small = {key: value for key, value in event.items() if key not in ("series", "tags")}
            events.append(small | {"markets": markets[:2], "tags": event.get("tags", [])[:2]})
    return events


def _tradable_gamma_event() -> Json:
    """An open event of exclusive outcomes, with every member that is read."""
    name = "polymarket/gamma/event_negrisk_fed_june_2026-05-17.json"
    event: Json = json.loads(json.dumps(held(name).events[0]))
    event["markets"] = event["markets"][:2]
    for market in event["markets"]:
        market |= {
            "active": True, "closed": False, "archived": False, "acceptingOrders": True,
            "enableOrderBook": True, "negRisk": True, "negRiskMarketID": "0xabc00",
            "feesEnabled": True, "feeType": "general_fees", "rewardsMinSize": 50,
            "rewardsMaxSpread": 3.5,
            "clobRewards": [{"rewardsDailyRate": 5}, {"rewardsDailyRate": 7}],
            "feeSchedule": {"exponent": 1, "rate": 0.05, "takerOnly": True, "rebateRate": 0.25},
        }  # fmt: skip
    return event | {"negRisk": True, "negRiskAugmented": False}


@cache
def _kalshi_events() -> list[Json]:
    """Events of every shape with two markets each, and bare ones given an event."""
    events: list[Json] = []
    for name in (
        "events_nested_mutually_exclusive_custom_2026-07.json",
        "events_sports_nested_2026-08.json",
        "events_mlb_props_nested_2026-08.json",
    ):
        found = [event for event in held(f"kalshi/rest/{name}").events if event.get("markets")]
        events += [event | {"markets": event["markets"][:2]} for event in found[:3]]
    override = {"fee_type_override": "quadratic", "fee_multiplier_override": 0.5}
    for name in ("markets_kxbtcd_ladder_2026-07.json", "old_2026-01/markets_list_response.json"):
        markets = held(f"kalshi/rest/{name}").markets[:2]
        ticker = markets[0]["event_ticker"]
        event = {"event_ticker": ticker, "series_ticker": "KXBTCD", "mutually_exclusive": False}
        events.append(event | override | {"title": "One", "markets": markets})
    return events


def _parsed(text: bytes) -> Iterator[Any]:
    """The payload as the client parses it, and by a parser that lets more through."""
    for parse in (msgspec.json.decode, json.loads):
        try:
            yield parse(text)
        except (ValueError, RecursionError, msgspec.MsgspecError):
            continue


def _places(page: Any, key: str) -> dict[str, list[tuple[Json, Json | None]]]:
    """Every market on a page by its id, with its event."""
    found: dict[str, list[tuple[Json, Json | None]]] = {}
    for event in page if isinstance(page, list) else [page]:
        markets = event.get("markets") if isinstance(event, dict) else None
        for market in markets if isinstance(markets, list) else []:
            if isinstance(market, dict) and isinstance(market.get(key), str):
                found.setdefault(market[key], []).append((market, event))
    return found


Check = Callable[[Market, Json, Json | None], None]


def _judge(found: Discovery, page: Any, key: str, check: Check) -> None:
    assert len(found.markets) + found.set_aside.total() == found.seen
    listed = _places(page, key)
    for market in found.markets:
        check(market, *listed[market.market_id][0])
    published = decode_universe(encode_universe(found.markets), "damaged")
    assert published == sorted(found.markets, key=lambda market: market.market_id)


def _judge_gamma(text: bytes) -> None:
    for page in _parsed(text):
        reader = GammaReader(NOW)
        reader.read_page(page if isinstance(page, list) else [page])
        _judge(reader.found, page, "conditionId", readings.polymarket_market)


def _judge_kalshi(text: bytes) -> None:
    for page in _parsed(text):
        reader = KalshiReader(NOW)
        reader.terms.read_series([KXBTCD])
        reader.read_page(page if isinstance(page, list) else [page])
        _judge(reader.finish(), page, "ticker", readings.kalshi_market)


@needs_captures
@pytest.mark.parametrize("member", GAMMA_MEMBERS)
def test_any_odd_value_in_a_member_of_gamma(member: str) -> None:
    found = GammaReader(NOW)
    found.read_event(_tradable_gamma_event())
    assert len(found.found.markets) == 2
    for text in with_odd_member(_tradable_gamma_event(), member):
        _judge_gamma(text)


@needs_captures
@pytest.mark.parametrize("member", KALSHI_MEMBERS)
def test_any_odd_value_in_a_member_of_kalshi(member: str) -> None:
    events = [event for event in _kalshi_events() if "fee_type_override" in event]
    for text in with_odd_member(events[0], member):
        _judge_kalshi(text)


@needs_captures
@settings(max_examples=300)
@given(st.data())
def test_a_damaged_gamma_page(data: st.DataObject) -> None:
    _judge_gamma(data.draw(damaged(_gamma_events(), GAMMA_MEMBERS)))


@needs_captures
@settings(max_examples=300)
@given(st.data())
def test_a_damaged_kalshi_page(data: st.DataObject) -> None:
    _judge_kalshi(data.draw(damaged(_kalshi_events(), KALSHI_MEMBERS)))


def _nested(depth: int) -> list[Any]:
    """Lists in lists, deeper than anything that recurses can follow."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def _with_nested(payload: Json, member: str) -> Json:
    value: Json = json.loads(json.dumps(payload))
    for path in places(payload):
        if path[-1] == member and member not in path[:-1]:
            holder = value
            for key in path[:-1]:
                holder = holder[key]
            holder[member] = _nested(5_000)
    return value


class _Answers:
    """A client whose venue gives the same answer to everything."""

    signed = False

    def __init__(self, body: Json) -> None:
        self._body = body

    def get(self, path: str, params: object = None) -> Json:
        del path, params
        return self._body


@needs_captures
@pytest.mark.parametrize("member", sorted({*GAMMA_MEMBERS, *KALSHI_MEMBERS, *SWEEP_MEMBERS}))
def test_nesting_without_end(member: str) -> None:
    """Whatever the parser let through, no reader follows it down."""
    for event in (_tradable_gamma_event(), _kalshi_events()[-2]):
        deep = _with_nested(event, member)
        gamma, kalshi = GammaReader(NOW), KalshiReader(NOW)
        gamma.read_page([deep])
        kalshi.read_page([deep])
        for found in (gamma.found, kalshi.finish()):
            assert len(found.markets) + found.set_aside.total() == found.seen > 0
    steered = {
        "events": [{"id": "1", "event_ticker": "KXA-1", "markets": [{"ticker": "KXA-1-T1"}]}],
        "next_cursor": "", "cursor": "", "series": [TERMS[0]], "incentive_programs": [TERMS[1]],
    }  # fmt: skip
    for answer in (_with_nested(steered, member), _with_nested(ERROR, member)):
        client: Any = _Answers(answer)
        for discover in (polymarket_rest.discover, kalshi_rest.discover):
            with contextlib.suppress(VenueError):
                discover(client, NOW, max_pages=5)
    reader = KalshiReader(NOW)
    for terms in TERMS:
        deep = _with_nested(terms, member)
        reader.terms.read_series([deep])
        reader.terms.read_incentives([deep])
        reader.terms.read_status(deep)


@settings(max_examples=150)
@given(damaged(TERMS))
def test_damaged_terms(text: bytes) -> None:
    for item in _parsed(text):
        reader = KalshiReader(NOW)
        listed: list[object] = item if isinstance(item, list) else [item]
        reader.terms.read_series(listed)
        reader.terms.read_incentives(listed)
        reader.terms.read_status(item)
        for terms in reader.terms.incentives_of("KXA-1"):
            raw = listed[-1]
            assert isinstance(raw, dict)
            read = readings.number(raw["period_reward"])
            assert read is not None
            assert terms.reward == pytest.approx(float(read) / 10_000)
            readings.check_moment(terms.starts, raw.get("start_date"))
        fee = reader.terms.named_fee({"series_ticker": "KXA"})
        assert fee is None or fee.multiplier is None or abs(fee.multiplier) < float("inf")


def _swept(
    discover: Callable[..., Discovery], answers: Callable[[httpx.Request], bytes]
) -> Discovery | None:
    """A sweep of a venue that answers these bytes; None where it refused them."""

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=answers(request))

    with (
        RestClient(
            "https://venue.example", transport=httpx.MockTransport(answer),
            requests_per_second=1e9, attempts=1,
        ) as client,
    ):  # fmt: skip
        try:
            return discover(client, NOW, max_pages=5)
        except VenueError:
            return None


def _judge_gamma_sweep(page: bytes) -> None:
    found = _swept(polymarket_rest.discover, lambda _: page)
    assert found is None or len(found.markets) + found.set_aside.total() == found.seen > 0


def _judge_kalshi_sweep(page: bytes, terms: bytes) -> None:
    found = _swept(
        kalshi_rest.discover, lambda request: page if "event" in request.url.path else terms
    )
    assert found is None or len(found.markets) + found.set_aside.total() == found.seen > 0


@needs_captures
@pytest.mark.parametrize("member", SWEEP_MEMBERS)
def test_any_odd_value_in_what_a_sweep_is_steered_by(member: str) -> None:
    event = {"id": "1", "markets": [{}]}
    for page in with_odd_member({"events": [event], "next_cursor": "more"}, member):
        _judge_gamma_sweep(page)
    event = {"event_ticker": "KXA-1", "markets": [{"ticker": "KXA-1-T1", "event_ticker": "KXA-1"}]}
    terms = {"series": [TERMS[0]], "incentive_programs": [TERMS[1]], "next_cursor": ""}
    for page in with_odd_member({"events": [event], "cursor": "more"}, member):
        _judge_kalshi_sweep(page, b"{}")
    for page in with_odd_member(ERROR, member):
        _judge_kalshi_sweep(page, page)
    for answer in with_odd_member(terms, member):
        _judge_kalshi_sweep(b'{"events":[]}', answer)


@needs_captures
@settings(max_examples=60)
@given(st.data())
def test_a_damaged_answer_is_a_listing_or_a_venue_error(data: st.DataObject) -> None:
    gamma = {"events": _gamma_events()[:2], "next_cursor": "more"}
    kalshi = {"events": _kalshi_events()[:2], "cursor": "more"}
    series = {"series": [TERMS[0]], "incentive_programs": [TERMS[1]], "cursor": ""}
    _judge_gamma_sweep(data.draw(damaged([gamma], SWEEP_MEMBERS)))
    page = data.draw(damaged([kalshi, kalshi, ERROR], SWEEP_MEMBERS))
    _judge_kalshi_sweep(page, data.draw(damaged([series, TERMS[2]], SWEEP_MEMBERS)))


@needs_captures
@pytest.mark.parametrize(
    "odd", ["../../x", "/etc/passwd", "..", "a/b", "\u0000", "é🎲", "x" * 10_000]
)
def test_no_id_becomes_a_path(tmp_path: Any, odd: str) -> None:
    """Ids are content: what is written lies where dates and venues say, whatever they are."""
    lake = Lake(str(tmp_path / "lake"), "real")
    event = json.loads(json.dumps(_gamma_events()[0]))
    for market in event["markets"]:
        market |= {
            "conditionId": odd, "question": odd, "clobTokenIds": json.dumps([odd, odd + "2"]),
            "active": True, "closed": False, "acceptingOrders": True, "enableOrderBook": True,
        }  # fmt: skip
    event["id"] = odd
    reader = GammaReader(NOW)
    reader.read_page([event])
    assert [market.market_id for market in reader.found.markets] == [odd]
    entry = publish_universe(
        lake, Venue.POLYMARKET, date(2026, 9, 1), reader.found.markets, writer="test"
    )
    assert entry.path == "metadata/venue=polymarket/date=2026-09-01/universe.jsonl"
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.is_relative_to(tmp_path / "lake") for path in written)
    assert all(odd not in PurePosixPath(path).parts for path in written)
    content = lake.store.read_bytes(entry.path)
    assert decode_universe(content, entry.path) == reader.found.markets
    # Kalshi's tickers go into addresses and commands: only letters, digits, . _ - are taken
    kalshi = KalshiReader(NOW)
    found = json.loads(json.dumps(_kalshi_events()[0]))
    for market in found["markets"]:
        market["ticker"] = odd
    kalshi.read_page([found])
    assert kalshi.finish().set_aside == Counter(malformed_ticker=len(found["markets"]))
