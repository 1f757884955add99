"""The REST interface through an ASGI client: shapes, pages, filters, budgets, signatures."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from starlette.applications import Starlette

from surveillance_core.markets import FeeTerms, GroupKind
from surveillance_core.venues.kalshi.discovery import EventReader
from surveillance_core.venues.kalshi.rest import describe_error
from surveillance_core.venues.kalshi.signing import Signer
from surveillance_core.venues.simulated.faults import Faults
from surveillance_core.venues.simulated.kalshi.limits import KalshiLimits
from surveillance_core.venues.simulated.kalshi.paging import read_cursor, spell_cursor
from surveillance_core.venues.simulated.kalshi.venue import KalshiVenue

from .stage import DAY_MS, START_MS, MarketAnnounced, Stage, event_listing, market_listing

Json = dict[str, Any]
ROOT = "/trade-api/v2"
NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
FREE = KalshiLimits(address_tokens_per_s=None)

RSA = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
ED = ed25519.Ed25519PrivateKey.generate()


class Site:
    """A venue over a stage, with a client and a wall clock that stands still."""

    def __init__(self, stage: Stage, limits: KalshiLimits = FREE) -> None:
        self.stage = stage
        self.wall_ms = START_MS
        self.faults = Faults()
        self.venue = KalshiVenue(
            stage,
            self.faults,
            public_keys={"rsa": RSA.public_key(), "ed": ED.public_key()},
            limits=limits,
            wall_ms=lambda: self.wall_ms,
        )
        transport = httpx.ASGITransport(Starlette(routes=self.venue.routes))
        self.http = httpx.AsyncClient(transport=transport, base_url="http://venue")

    async def get(self, path: str, params: Any = None, **more: Any) -> httpx.Response:
        return await self.http.get(ROOT + path, params=params, **more)

    async def body(self, path: str, **params: object) -> Json:
        answer = await self.get(path, params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def pages(self, path: str, name: str, cursor: str = "cursor", **params: object):
        found: list[Json] = []
        for _ in range(100):
            page = await self.body(path, **params)
            found += page[name]
            if not page[cursor]:
                return found
            params["cursor"] = page[cursor]
        raise AssertionError("endless")


@pytest_asyncio.fixture
async def site() -> Site:
    return Site(Stage(8))


def _signed(signer: Signer, path: str, ms: int = START_MS) -> dict[str, str]:
    return signer.headers("GET", ROOT + path, ms)


# ── what the client reads ────────────────────────────────────────────────────────────────────


async def test_the_clients_reader_keeps_every_open_market_and_wonders_at_nothing(
    site: Site,
) -> None:
    reader = EventReader(NOW)
    reader.terms.read_status(await site.body("/exchange/status"))
    reader.terms.read_series((await site.body("/series"))["series"])
    programmes = await site.pages(
        "/incentive_programs", "incentive_programs", "next_cursor", status="active", limit=2
    )
    assert reader.terms.read_incentives(programmes) == len(programmes) > 2
    events = await site.pages(
        "/events", "events", limit=3, status="open", with_nested_markets="true"
    )
    reader.read_page(events)
    found = reader.finish()
    assert found.oddities == Counter()
    assert found.set_aside == Counter()
    assert len(found.markets) == 24
    assert {m.fee_terms for m in found.markets} == {FeeTerms.SCHEDULED}
    by_id = {m.market_id: m for m in found.markets}
    between = by_id["KXDAY-0-T1"].strike
    assert between is not None
    assert (between.kind, between.floor, between.cap) == ("between", 52_200.0, 52_299.99)
    functional = by_id["KXDAY-1-T1"].strike
    assert functional is not None
    assert functional.functional == "x > previous"
    assert by_id["KXDAY-0-T2"].tick_size == 0.001
    assert [r.step for r in by_id["KXDAY-0-T2"].price_ranges] == [0.001, 0.01, 0.001]
    groups = {g.kind: g for g in by_id["KXDAY-0-T0"].groups}
    assert groups[GroupKind.EXCLUSIVE].collateral == "MECNET"
    assert groups[GroupKind.SERIES].members == 12
    assert by_id["KXDAY-1-T1"].incentives
    assert not by_id["KXDAY-4-T0"].incentives  # over for an hour


async def test_what_is_not_open_is_set_aside_under_its_status() -> None:
    stage = Stage(2)
    stage.phases.update({0: "upcoming", 1: "closed", 2: "resolved"})
    stage.results[2] = "yes"
    site = Site(stage)
    site.venue.publish(stage.resolve(3, "no", 0.0))
    reader = EventReader(NOW)
    reader.terms.read_series((await site.body("/series"))["series"])
    reader.read_page((await site.body("/events", with_nested_markets="true"))["events"])
    found = reader.finish()
    assert found.set_aside == {"unopened": 1, "closed": 1, "settled": 1, "determined": 1}
    assert found.oddities == Counter()
    assert len(found.markets) == 2


async def test_a_placeholder_is_inactive_and_what_was_over_without_a_result_is_closed() -> None:
    stage = Stage(1)
    stage.markets[0] = market_listing(0, active=False)
    stage.markets[1] = market_listing(1, closed=True)
    stage.events[0] = event_listing(0, stage.markets)
    stage.phases[1] = "resolved"
    site = Site(stage)
    markets = (await site.body("/events/KXDAY-0"))["markets"]
    assert [m["status"] for m in markets] == ["inactive", "closed", "active"]
    assert all(m["result"] == "" for m in markets)
    for ticker in ("KXDAY-0-T0", "KXDAY-0-T1"):
        book = (await site.body(f"/markets/{ticker}/orderbook"))["orderbook_fp"]
        assert book == {"yes_dollars": [], "no_dollars": []}
    paused = (await site.body("/markets", status="paused"))["markets"]
    assert [m["ticker"] for m in paused] == ["KXDAY-0-T0"]


async def test_what_was_traded_before_the_venue_opened_counts(site: Site) -> None:
    market = (await site.body("/markets/KXDAY-0-T1"))["market"]
    # 4,200 dollars at 0.42
    assert market["volume_24h_fp"] == "10000.00"
    assert float(market["volume_fp"]) >= 10_000
    assert (market["last_price_dollars"], market["previous_price_dollars"]) == ("0.4200", "0.4200")
    assert (market["previous_yes_bid_dollars"], market["previous_yes_ask_dollars"]) == (
        "0.4000",
        "0.4500",
    )


# ── what the venue's own objects look like ───────────────────────────────────────────────────


def _walk(value: Any) -> Iterator[Json]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)


def _recorded(shared: Path, *marks: str) -> list[Json]:
    """Objects of the captures in today's shape that have these members."""
    found: list[Json] = []
    for path in sorted((shared / "fixtures" / "kalshi" / "rest").rglob("*.json")):
        if "old_" not in str(path) and "transitional" not in path.name:
            page = json.loads(path.read_text())
            found += [item for item in _walk(page) if all(mark in item for mark in marks)]
    assert found
    return found


def _kind(value: object) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__


async def test_members_are_those_of_recorded_objects(site: Site, shared: Path) -> None:
    stage = site.stage
    site.venue.publish(stage.resolve(3, "yes", 1.0))
    stage.now_ms += DAY_MS // 8
    site.venue.publish(stage.batch(0, (True, 100, 1.0)))
    markets = (await site.body("/markets", limit=1000))["markets"]
    events = (await site.body("/events"))["events"]
    series = (await site.body("/series"))["series"]
    # the venue dropped ``liquidity_dollars`` on 2026-10-01, after the captures
    gone = {"liquidity_dollars"}
    for served, recorded in (
        (markets, _recorded(shared, "ticker", "event_ticker", "close_time", "yes_bid_dollars")),
        (events, _recorded(shared, "mutually_exclusive", "event_ticker", "settlement_sources")),
        (series, _recorded(shared, "fee_type", "ticker")),
    ):
        # no market of a functional strike is among the captures; the member is the spec's
        known = set().union(*recorded) | {"functional_strike"}
        always = set(recorded[0]).intersection(*recorded) - gone - {"markets"}
        for item in served:
            assert set(item) <= known, set(item) - known
            assert always <= set(item), always - set(item)
        kinds = {(name, _kind(value)) for item in recorded for name, value in item.items()}
        for item in served:
            for name, value in item.items():
                assert (name, _kind(value)) in kinds | {("functional_strike", "str")}
    statuses = {market["status"] for market in markets}
    assert statuses == {"active", "finalized"}


async def test_a_missing_quote_is_zero_or_one_and_settlement_is_stated(site: Site) -> None:
    stage = site.stage
    for side in stage.books[0]:
        side.clear()
    market = (await site.body("/markets/KXDAY-0-T0"))["market"]
    assert (market["yes_bid_dollars"], market["yes_ask_dollars"]) == ("0.0000", "1.0000")
    assert (market["no_bid_dollars"], market["no_ask_dollars"]) == ("0.0000", "1.0000")
    assert (market["yes_bid_size_fp"], market["yes_ask_size_fp"]) == ("0.00", "0.00")
    assert (market["last_price_dollars"], market["result"]) == ("0.0000", "")
    assert "settlement_ts" not in market
    site.venue.publish(stage.resolve(1, "scalar", 0.5))
    market = (await site.body("/markets/KXDAY-0-T1"))["market"]
    assert (market["status"], market["settlement_value_dollars"]) == ("determined", "0.5000")
    assert "settlement_ts" not in market
    stage.now_ms += DAY_MS // 8
    market = (await site.body("/markets/KXDAY-0-T1"))["market"]
    assert (market["status"], market["result"]) == ("finalized", "scalar")
    assert market["settlement_ts"]


async def test_books_ascend_and_the_best_is_last(site: Site) -> None:
    market = (await site.body("/markets/KXDAY-0-T0"))["market"]
    assert (market["yes_bid_dollars"], market["yes_bid_size_fp"]) == ("0.2900", "10.25")
    assert (market["yes_ask_dollars"], market["yes_ask_size_fp"]) == ("0.3100", "20.00")
    assert (market["no_bid_dollars"], market["no_ask_dollars"]) == ("0.6900", "0.7100")
    book = (await site.body("/markets/KXDAY-0-T0/orderbook"))["orderbook_fp"]
    assert book["yes_dollars"][-1] == ["0.2900", "10.25"]
    assert book["no_dollars"][-1] == ["0.6900", "20.00"]
    for side in book.values():
        assert [price for price, _ in side] == sorted(price for price, _ in side)
    best = (await site.body("/markets/KXDAY-0-T0/orderbook", depth=1))["orderbook_fp"]
    assert best == {"yes_dollars": [["0.2900", "10.25"]], "no_dollars": [["0.6900", "20.00"]]}
    assert (await site.get("/markets/KXDAY-0-T0/orderbook", {"depth": "101"})).status_code == 400


async def test_a_batch_of_books_wants_repeated_tickers(site: Site) -> None:
    path = "/markets/orderbooks"
    answer = await site.get(path, [("tickers", "KXDAY-0-T0"), ("tickers", "KXDAY-0-T1")])
    books = answer.json()["orderbooks"]
    assert [book["ticker"] for book in books] == ["KXDAY-0-T0", "KXDAY-0-T1"]
    assert all(book["orderbook_fp"]["yes_dollars"] for book in books)
    comma = await site.get(path, {"tickers": "KXDAY-0-T0,KXDAY-0-T1"})
    assert comma.json()["orderbooks"] == [
        {
            "ticker": "KXDAY-0-T0,KXDAY-0-T1",
            "orderbook_fp": {"yes_dollars": [], "no_dollars": []},
        }
    ]
    assert (await site.get(path, [("tickers", "A")] * 101)).status_code == 400
    assert (await site.get(path)).status_code == 400


# ── pages and filters ────────────────────────────────────────────────────────────────────────


async def test_pages_give_everything_once_and_an_unknown_cursor_is_page_one(site: Site) -> None:
    events = await site.pages("/events", "events", limit=3)
    assert [e["event_ticker"] for e in events] == [e.event_id for e in site.stage.events]
    assert "markets" not in events[0]
    markets = await site.pages("/markets", "markets", limit=5, mve_filter="exclude")
    assert [m["ticker"] for m in markets] == [m.market_id for m in site.stage.markets]
    first = await site.body("/events", limit=3)
    for cursor in ("nonsense", "%%%", spell_cursor(0, "KXGONE"), ""):
        assert await site.body("/events", limit=3, cursor=cursor) == first
    whole = await site.body("/events", limit=8)
    assert whole["cursor"] == ""


async def test_combinations_come_first_unless_they_are_filtered_out(site: Site) -> None:
    everything = await site.pages("/markets", "markets", limit=4)
    combos = [m for m in everything if m["ticker"].startswith("KXMVE")]
    assert len(combos) >= 3
    assert everything[: len(combos)] == combos
    assert len(everything) == len(combos) + 24
    assert await site.pages("/markets", "markets", limit=2, mve_filter="only") == combos
    assert all(c["rules_primary"] == "" and c["mve_selected_legs"] for c in combos)
    reader = EventReader(NOW)
    for combo in combos:
        reader.read_market(combo)
    assert reader.finish().set_aside == {"combo": len(combos)}
    events = await site.body("/events")
    assert not [e for e in events["events"] if e["event_ticker"].startswith("KXMVE")]


async def test_filters_have_words_of_their_own(site: Site) -> None:
    stage = site.stage
    stage.phases.update({0: "closed", 3: "upcoming", 4: "upcoming", 5: "upcoming"})
    closed = await site.body("/markets", status="closed")
    assert [m["ticker"] for m in closed["markets"]] == ["KXDAY-0-T0"]
    site.venue.publish(stage.resolve(9, "yes", 1.0))
    closed = await site.body("/markets", status="closed")
    assert [m["status"] for m in closed["markets"]] == ["closed", "determined"]
    assert (await site.body("/markets", status="settled"))["markets"] == []
    unopened = await site.body("/events", status="unopened")
    assert [e["event_ticker"] for e in unopened["events"]] == ["KXDAY-1"]
    # an event is let through for any one of its children
    for status, here in (("open", True), ("closed", True), ("settled", False)):
        found = (await site.body("/events", status=status))["events"]
        assert ("KXDAY-0" in {e["event_ticker"] for e in found}) is here
    for path in ("/events", "/markets"):
        refused = await site.get(path, {"status": "finalized"})
        assert refused.status_code == 400
        assert refused.json() == {
            "error": {
                "code": "bad_request",
                "message": "bad request",
                "details": "invalid status filter",
            }
        }
    assert describe_error(refused.json()) is not None
    named = await site.body("/markets", tickers="KXDAY-1-T1,KXDAY-0-T2,KXNONE")
    assert [m["ticker"] for m in named["markets"]] == ["KXDAY-0-T2", "KXDAY-1-T1"]
    within = await site.body("/markets", event_ticker="KXDAY-2")
    assert {m["event_ticker"] for m in within["markets"]} == {"KXDAY-2"}
    series = await site.body("/events", series_ticker="KXNIGHT")
    assert {e["series_ticker"] for e in series["events"]} == {"KXNIGHT"}


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/events", {"limit": "201"}),
        ("/events", {"limit": "0"}),
        ("/events", {"with_nested_markets": "perhaps"}),
        ("/markets", {"limit": "1001"}),
        ("/markets", {"limit": "-1"}),
        ("/markets", {"mve_filter": "some"}),
        ("/markets/trades", {"min_ts": "yesterday"}),
        ("/incentive_programs", {"status": "finished"}),
        ("/incentive_programs", {"type": "luck"}),
    ],
)
async def test_what_is_out_of_bounds_is_refused(
    site: Site, path: str, params: dict[str, str]
) -> None:
    answer = await site.get(path, params)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"


async def test_what_is_not_there_is_said_in_two_ways(site: Site) -> None:
    for path in (
        "/markets/KXNONE",
        "/events/KXNONE",
        "/series/KXNONE",
        "/markets/KXNONE/orderbook",
    ):
        answer = await site.get(path)
        assert answer.status_code == 404
        assert answer.json() == {"code": "not_found", "message": "not found", "details": ""}
    for path in ("/nothing", "/markets/a/b/c"):
        answer = await site.get(path)
        assert (answer.status_code, answer.text) == (404, "404 page not found")
        assert answer.headers["content-type"].startswith("text/plain")


async def test_one_event_has_its_markets_beside_it_or_nested(site: Site) -> None:
    beside = await site.body("/events/KXDAY-1")
    nested = await site.body("/events/KXDAY-1", with_nested_markets="true")
    assert beside["markets"] == nested["event"]["markets"]
    assert "markets" not in beside["event"]
    assert "series_ticker" not in beside["markets"][0]
    assert (await site.body("/series/KXDAY"))["series"]["fee_multiplier"] == 0.5


async def test_a_market_alone_may_be_missing_right_after_it_was_created(site: Site) -> None:
    stage = site.stage
    market = stage.add_event(30, phase="upcoming", listed_ms=stage.now_ms).markets[0]
    site.venue.publish(MarketAnnounced(market.index, stage.now_ms))
    assert (await site.get(f"/markets/{market.market_id}")).status_code == 404
    stage.now_ms += 1_000
    body = await site.body(f"/markets/{market.market_id}")
    assert body["market"]["status"] == "initialized"


async def test_an_event_is_listed_from_its_time_on(site: Site) -> None:
    site.stage.add_event(30, phase="upcoming", listed_ms=site.stage.now_ms + 5)
    assert (await site.get("/events/KXDAY-30")).status_code == 404
    site.stage.now_ms += 5
    assert (await site.get("/events/KXDAY-30")).status_code == 200


async def test_trades_come_newest_first_in_pages(site: Site) -> None:
    stage = site.stage
    fills = []
    for number in range(25):
        fills.append(fill := stage.fill(price=100 * number + 100, delay_ms=10))
        site.venue.publish(stage.batch(number % 2, (True, 100, number + 1.0), trade=fill))
        stage.now_ms += 1_000
    site.venue.publish(stage.batch(5, (True, 100, 1.0)))
    trades = await site.pages("/markets/trades", "trades", limit=4)
    prices = [trade["yes_price_dollars"] for trade in trades]
    assert prices == [f"{fill.price / 10_000:.4f}" for fill in reversed(fills)]
    assert set(trades[0]) == {
        "trade_id", "ticker", "count_fp", "yes_price_dollars", "no_price_dollars", "taker_side",
        "taker_outcome_side", "taker_book_side", "created_time", "is_block_trade",
    }  # fmt: skip
    one = await site.pages("/markets/trades", "trades", limit=3, ticker="KXDAY-0-T1")
    assert {trade["ticker"] for trade in one} == {"KXDAY-0-T1"}
    assert len(one) == 12
    since = START_MS // 1000 + 20
    late = await site.pages("/markets/trades", "trades", min_ts=since, max_ts=since + 3)
    assert 2 <= len(late) <= 4
    market = (await site.body("/markets/KXDAY-0-T0"))["market"]
    assert market["last_price_dollars"] == "0.2500"
    assert float(market["volume_24h_fp"]) == pytest.approx(13 * 2.5)


async def test_incentives_are_filtered_by_time_and_kind(site: Site) -> None:
    everything = await site.pages("/incentive_programs", "incentive_programs", "next_cursor")
    assert len(everything) == 6
    active = (await site.body("/incentive_programs", status="active"))["incentive_programs"]
    closed = (await site.body("/incentive_programs", status="closed"))["incentive_programs"]
    assert len(active) + len(closed) == 6
    volume = (await site.body("/incentive_programs", type="volume"))["incentive_programs"]
    assert {p["incentive_type"] for p in volume} == {"volume"}
    assert all("target_size_fp" not in p for p in volume)


def test_cursors_are_opaque_and_found_again() -> None:
    assert read_cursor("CgYI8OG8lQ8SE0tYTkVYVE5BVE9TRUNHRU4tOTk") == "KXNEXTNATOSECGEN-99"
    for name in ("A", "KXA-" + "9" * 150, "12"):
        assert read_cursor(spell_cursor(1_788_264_000, name)) == name


# ── who asks, and how often ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("signer", [Signer("rsa", RSA), Signer("ed", ED)])
async def test_a_right_signature_opens_the_account(site: Site, signer: Signer) -> None:
    path = "/account/limits"
    answer = await site.get(path, headers=_signed(signer, path))
    assert answer.json() == {
        "usage_tier": "basic",
        "read": {"refill_rate": 200.0, "bucket_capacity": 600.0},
        "write": {"refill_rate": 100.0, "bucket_capacity": 300.0},
        "grants": [],
    }
    # a query is no part of what is signed
    headers = _signed(signer, "/markets")
    assert (await site.get("/markets", {"limit": 1}, headers=headers)).status_code == 200
    assert (await site.get("/account/endpoint_costs")).json()["default_cost"] == 10


def _pss(salt: int, text: str) -> str:
    pss = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=salt)
    return base64.b64encode(RSA.sign(text.encode(), pss, SHA256())).decode()


@pytest.mark.parametrize(
    "spoil",
    [
        {"KALSHI-ACCESS-SIGNATURE": _pss(0, f"{START_MS}GET{ROOT}/markets")},
        {"KALSHI-ACCESS-SIGNATURE": _pss(20, f"{START_MS}GET{ROOT}/markets")},
        {"KALSHI-ACCESS-SIGNATURE": _pss(32, f"{START_MS}GET/markets")},
        {"KALSHI-ACCESS-SIGNATURE": _pss(32, f"{START_MS}GET{ROOT}/markets?limit=1")},
        {"KALSHI-ACCESS-SIGNATURE": _pss(32, f"{START_MS}POST{ROOT}/markets")},
        {"KALSHI-ACCESS-SIGNATURE": _pss(32, f"{START_MS // 1000}GET{ROOT}/markets")},
        {"KALSHI-ACCESS-SIGNATURE": "not base64!"},
        {"KALSHI-ACCESS-SIGNATURE": ""},
        {"KALSHI-ACCESS-TIMESTAMP": str(START_MS + 1)},
        {"KALSHI-ACCESS-TIMESTAMP": "soon"},
        {"KALSHI-ACCESS-KEY": "ed"},
        {"KALSHI-ACCESS-KEY": "nobody"},
    ],
)
async def test_a_wrong_signature_is_refused_even_where_none_is_needed(
    site: Site, spoil: dict[str, str]
) -> None:
    right = _signed(Signer("rsa", RSA), "/markets")
    assert (await site.get("/markets", {"limit": 1}, headers=right)).status_code == 200
    answer = await site.get("/markets", {"limit": 1}, headers=right | spoil)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthorized"


async def test_a_stale_or_a_missing_signature_opens_no_account(site: Site) -> None:
    path = "/account/limits"
    assert (await site.get(path)).status_code == 401
    for age_ms, status in ((29_000, 200), (31_000, 401), (-31_000, 401)):
        headers = _signed(Signer("ed", ED), path, START_MS - age_ms)
        assert (await site.get(path, headers=headers)).status_code == status


async def test_a_budget_is_spent_and_refilled_by_key_and_by_address() -> None:
    site = Site(Stage(1), KalshiLimits(read_capacity=30.0, address_capacity=20.0))
    signer = Signer("ed", ED)

    async def ask(**more: Any) -> int:
        return (await site.get("/exchange/status", **more)).status_code

    signed = {"headers": _signed(signer, "/exchange/status")}
    assert [await ask() for _ in range(3)] == [200, 200, 429]
    assert [await ask(**signed) for _ in range(4)] == [200, 200, 200, 429]
    assert site.venue.limited == 2
    refused = await site.get("/exchange/status")
    assert refused.json() == {"error": "too many requests"}
    assert "retry-after" not in refused.headers
    # two hundred tokens a second are one request in 50 ms
    site.wall_ms += 50
    assert [await ask(), await ask()] == [200, 429]
    assert site.venue.requests["/exchange/status"] == 10


async def test_a_batch_of_books_is_billed_by_its_items() -> None:
    site = Site(Stage(1), KalshiLimits(address_capacity=50.0))
    path = "/markets/orderbooks"
    assert (await site.get(path, [("tickers", "A")] * 6)).status_code == 429
    assert (await site.get(path, [("tickers", "A")] * 5)).status_code == 200
    whole = Site(Stage(1), KalshiLimits(address_capacity=50.0, orderbooks_item_tokens=0.0))
    assert (await whole.get(path, [("tickers", "A")] * 100)).status_code == 200


async def test_an_unsigned_answer_may_be_fifteen_seconds_old_and_then_costs_nothing() -> None:
    stage = Stage(1)
    site = Site(stage, KalshiLimits(cache_ms=15_000, address_capacity=10.0))
    path = "/markets/KXDAY-0-T0/orderbook"
    first = await site.get(path)
    assert first.headers["cache-control"] == "public, max-age=15"
    site.venue.publish(stage.batch(0, (True, 100, 1.0)))
    site.wall_ms += 14_999
    again = await site.get(path)
    assert again.json() == first.json()
    assert again.headers["x-kalshi-cache-hits"] == "1"
    assert site.venue.limited == 0
    signed = await site.get(path, headers=_signed(Signer("ed", ED), path, site.wall_ms))
    assert signed.json() != first.json()
    assert "cache-control" not in signed.headers
    site.wall_ms += 1
    assert (await site.get(path)).json() == signed.json()
    # another query is another answer
    assert (await site.get(path, {"depth": 1})).status_code == 429


# ── faults ───────────────────────────────────────────────────────────────────────────────────


async def test_ordered_faults_spoil_answers(site: Site) -> None:
    site.faults.fail_requests("/events", 503, retry_after=1.5)
    failed = await site.get("/events")
    assert (failed.status_code, failed.headers["retry-after"]) == (503, "1.5")
    site.faults.fail_requests("/events", 429)
    assert (await site.get("/events")).json() == {"error": "too many requests"}
    site.faults.fail_requests("/exchange/status", 503)
    halted = await site.get("/exchange/status")
    assert (halted.status_code, halted.json()["exchange_active"]) == (503, False)
    site.faults.malform_body("/events")
    with pytest.raises(json.JSONDecodeError):
        (await site.get("/events")).json()
    site.faults.empty_page("/incentive_programs")
    assert await site.body("/incentive_programs") == {"incentive_programs": [], "next_cursor": ""}
    site.faults.endless_cursor("/events", times=3)
    first = await site.body("/events", limit=2)
    again = await site.body("/events", limit=2, cursor=first["cursor"])
    assert again == first
    site.faults.endless_cursor("/events", fresh=True, times=2)
    cursors = {(await site.body("/events", limit=2))["cursor"] for _ in range(3)}
    assert len(cursors) == 3
