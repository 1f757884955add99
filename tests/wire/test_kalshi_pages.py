"""Captured Kalshi pages through discovery: shapes of 2025 to 2026, none lost, none guessed.

Every JSON file of the REST captures is walked for the three shapes that hold markets: events with
their markets nested, an event with its markets beside it, and bare markets wherever they stand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from surveillance_core.books import DOLLARS
from surveillance_core.markets import FeeTerms, GroupKind, decode_universe, encode_universe
from surveillance_core.venues.answers import describe_error
from surveillance_core.venues.kalshi.discovery import SET_ASIDE_BY_STATUS, EventReader
from surveillance_core.venues.kalshi.rest import discover
from surveillance_core.venues.protocols import Discovery
from surveillance_core.venues.rest import RestClient, VenueError

Json = dict[str, Any]
NOT_THE_VENUES = {
    f"market.{name}" for name in ("family", "src", "yes_price", "yes_bid_norm", "yes_ask_norm")
}
"""Members that whoever captured a page put beside the venue's own."""
NOW = datetime(2026, 9, 1, tzinfo=UTC)
REASONS = {"combo", "no_status", "listed_twice", *SET_ASIDE_BY_STATUS.values()}


def _pages(shared: Path) -> dict[str, Any]:
    folder = shared / "fixtures" / "kalshi" / "rest"
    pages: dict[str, Any] = {}
    for path in sorted(folder.rglob("*.json*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".jsonl":
            pages[name] = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
        elif path.suffix == ".json":
            pages[name] = msgspec.json.decode(path.read_bytes())
    return pages


def _objects(value: Any) -> Iterator[Json]:
    """Every object of a page, events before what is nested in them and not entering those."""
    if isinstance(value, dict):
        yield value
        if not _is_event(value):
            for inner in value.values():
                yield from _objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner)


def _is_event(item: Json) -> bool:
    return "mutually_exclusive" in item


def _is_market(item: Json) -> bool:
    return {"ticker", "event_ticker", "close_time"} <= item.keys()


def _events(page: Any) -> list[Json]:
    return [item for item in _objects(page) if _is_event(item)]


def _nested(page: Any) -> list[Json]:
    return [market for event in _events(page) for market in event.get("markets", [])]


def _bare(page: Any) -> list[Json]:
    return [item for item in _objects(page) if _is_market(item)]


def _discover(page: Any) -> Discovery:
    reader = EventReader(NOW)
    reader.terms.read_series(item for item in _objects(page) if "fee_type" in item)
    reader.read_page(_events(page))
    for market in _bare(page):
        reader.read_market(market)
    return reader.finish()


@pytest.fixture(scope="module")
def pages(shared: Path) -> dict[str, Any]:
    found = _pages(shared)
    return {name: page for name, page in found.items() if _events(page) or _bare(page)}


def test_every_market_of_every_page_is_kept_or_set_aside(pages: dict[str, Any]) -> None:
    assert len(pages) >= 15
    reasons: Counter[str] = Counter()
    kept = 0
    for name, page in pages.items():
        found = _discover(page)
        assert found.seen == len(_nested(page)) + len(_bare(page)), name
        assert len(found.markets) + found.set_aside.total() == found.seen, name
        reasons += found.set_aside
        kept += len(found.markets)
        alone = sum("markets" not in event for event in _events(page))
        assert found.oddities["event_without_markets"] == alone, name
        assert set(found.oddities) <= {"event_without_markets", "fee_not_said"}, name
        assert set(found.unknown_members) <= NOT_THE_VENUES, name
    assert set(reasons) <= REASONS
    assert reasons["combo"] > 0
    assert kept > 1_000


def test_what_is_kept_is_as_listed_and_can_be_published(pages: dict[str, Any]) -> None:
    for name, page in pages.items():
        listed = {market["ticker"]: market for market in _bare(page) + _nested(page)}
        found = _discover(page)
        content = encode_universe(found.markets)
        assert {market.market_id for market in decode_universe(content, name)} == {
            market.market_id for market in found.markets
        }
        for market in found.markets:
            raw = listed[market.market_id]
            assert raw["status"] == "active"
            assert market.title.startswith(raw["title"])
            assert market.primary.outcome_id == raw["ticker"]
            steps = [float(found["step"]) for found in raw["price_ranges"]]
            assert market.tick_size == min(steps) in DOLLARS
            strike = market.strike
            assert (strike.floor if strike else None) == raw.get("floor_strike")
            assert (strike.cap if strike else None) == raw.get("cap_strike")
            assert (strike.kind if strike else None) == raw.get("strike_type")
            if "volume_24h_fp" in raw:
                assert market.volume_24h == float(raw["volume_24h_fp"])
            else:
                assert market.volume_24h == raw["volume_24h"]


def test_exclusive_events_are_groups_with_their_netting(pages: dict[str, Any]) -> None:
    netting: Counter[tuple[GroupKind, str | None]] = Counter()
    for page in pages.values():
        for market in _discover(page).markets:
            netting.update((group.kind, group.collateral) for group in market.groups)
    assert netting[GroupKind.EXCLUSIVE, "MECNET"] > 100
    assert netting[GroupKind.EXCLUSIVE, None] == 0
    assert netting[GroupKind.EVENT, "MECNET"] == netting[GroupKind.EXCLUSIVE, "MECNET"]


def test_the_captured_series_and_programmes_are_read_whole(shared: Path) -> None:
    reader = EventReader(NOW)
    series: set[str] = set()
    programmes = 0
    for page in _pages(shared).values():
        found = list(_objects(page))
        listed = [item for item in found if "fee_type" in item and "ticker" in item]
        series |= {item["ticker"] for item in listed}
        reader.terms.read_series(listed)
        programmes += reader.terms.read_incentives(
            item for item in found if "incentive_type" in item
        )
        statuses = [item for item in found if set(item) >= {"exchange_active", "trading_active"}]
        assert all(reader.terms.read_status(status) for status in statuses)
    assert reader.oddities == {}
    assert programmes == 5
    assert len(series) > 200
    for ticker in series:
        terms = reader.terms.named_fee({"series_ticker": ticker})
        assert terms is not None
        assert terms.multiplier in {0.5, 1.0}


def test_a_captured_page_and_its_series_make_scheduled_fees(pages: dict[str, Any]) -> None:
    [event, *_] = _events(pages["events_nested_mutually_exclusive_custom_2026-07.json"])
    reader = EventReader(NOW)
    reader.terms.read_series(
        [{"ticker": event["series_ticker"], "fee_type": "quadratic", "fee_multiplier": 1}]
    )
    reader.read_page([event])
    found = reader.finish()
    assert {market.fee_terms for market in found.markets} == {FeeTerms.SCHEDULED}
    assert found.oddities == {}


def test_the_captured_error_bodies_are_recognised(shared: Path) -> None:
    cases = msgspec.json.decode(
        (shared / "fixtures" / "kalshi" / "rest" / "error_bodies.json").read_bytes()
    )
    assert len(cases) == 3
    for case in cases:
        said = describe_error(case["body"])
        assert said is not None
        for status in (200, case["status"]):
            transport = httpx.MockTransport(
                lambda _, status=status, body=case["body"]: httpx.Response(status, json=body)
            )
            with (
                RestClient(
                    "https://kalshi.example", transport=transport, attempts=1, sleep=lambda _: None
                ) as client,
                pytest.raises(VenueError, match="/events: ") as raised,
            ):
                discover(client, NOW)
            assert (said if status == 200 else f"status {status}") in str(raised.value)
