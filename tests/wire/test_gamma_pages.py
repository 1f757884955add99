"""Captured Gamma pages through discovery: all shapes of 2024 to 2026, none lost, none guessed.

Three shapes hold markets: lists of events with their markets nested (some wrapped in a search
answer or a page's state), lists of bare markets, and rows that carry a market as ``raw``. Left out
are ``snapshot_*`` (they describe shapes by type names and hold no page), ``forecastbench*``
(questions and rules without the venue's objects) and ``*tags*`` (labels only).
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from surveillance_core.books import tick_of
from surveillance_core.groups import subscription_groups
from surveillance_core.markets import (
    FeeTerms,
    GroupKind,
    decode_universe,
    encode_universe,
    group_markets,
)
from surveillance_core.venues.polymarket.discovery import EventReader
from surveillance_core.venues.protocols import Discovery

Json = dict[str, Any]
NOW = datetime(2026, 9, 1, tzinfo=UTC)
NOT_PAGES = ("snapshot_", "forecastbench")
UNTRADABLE = {"closed", "archived", "inactive", "no_order_book", "not_accepting_orders"}
INCOMPLETE = {"no_condition_id", "no_clobTokenIds", "no_tick_size", "no_tokens", "not_two_outcomes"}
TRADABLE = {
    "active": True, "closed": False, "archived": False, "enableOrderBook": True,
    "acceptingOrders": True,
}  # fmt: skip


def _page(path: Path) -> tuple[list[Json], list[Json]]:
    """Events and bare markets of a captured page; one of the two is empty."""
    if path.suffix == ".jsonl":
        rows = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
        return [], [row["raw"] for row in rows]
    content: Any = msgspec.json.decode(path.read_bytes())
    if "props" in content:
        queries = content["props"]["pageProps"]["dehydratedState"]["queries"]
        data = [query["state"]["data"] for query in queries]
        pages = [page for d in data if isinstance(d, dict) for page in d.get("pages", [])]
        return [event for page in pages for event in page["events"]], []
    if "pagination" in content:
        return content["events"], []
    objects = content if isinstance(content, list) else [content]
    return (objects, []) if "markets" in objects[0] else ([], objects)


def _pages(shared: Path) -> dict[str, tuple[list[Json], list[Json]]]:
    folder = shared / "fixtures" / "polymarket" / "gamma"
    return {
        path.name: _page(path)
        for path in sorted(folder.iterdir())
        if not path.name.startswith(NOT_PAGES) and "tags" not in path.name
    }


def _discover(events: list[Json], markets: list[Json]) -> Discovery:
    reader = EventReader(NOW)
    reader.read_page(events)
    for market in markets:
        reader.read_market(market, None)
    return reader.found


@pytest.fixture(scope="module")
def pages(shared: Path) -> dict[str, tuple[list[Json], list[Json]]]:
    return _pages(shared)


def test_every_market_of_every_page_is_kept_or_set_aside(
    pages: dict[str, tuple[list[Json], list[Json]]],
) -> None:
    assert len(pages) >= 25
    reasons: Counter[str] = Counter()
    for name, (events, bare) in pages.items():
        listed = [market for event in events for market in event["markets"]] + bare
        found = _discover(events, bare)
        assert found.seen == len(listed) > 0, name
        assert len(found.markets) + found.set_aside.total() == found.seen, name
        assert found.oddities == {}, name
        assert found.unknown_members == {}, name
        tradable = [m["conditionId"] for m in listed if TRADABLE.items() <= m.items()]
        assert [market.market_id for market in found.markets] == tradable, name
        reasons += found.set_aside
    assert set(reasons) <= UNTRADABLE
    assert {"closed", "inactive", "no_order_book", "archived"} <= set(reasons)


def test_what_is_kept_is_as_listed_and_can_be_published(
    pages: dict[str, tuple[list[Json], list[Json]]],
) -> None:
    kept = 0
    for name, (events, bare) in pages.items():
        listed = {m["conditionId"]: m for event in events for m in event["markets"]}
        listed |= {market["conditionId"]: market for market in bare}
        found = _discover(events, bare)
        content = encode_universe(found.markets)
        assert {m.market_id for m in decode_universe(content, name)} == {
            m.market_id for m in found.markets
        }
        for market in found.markets:
            raw = listed[market.market_id]
            assert market.title == raw["question"]
            tokens = raw["clobTokenIds"]
            tokens = msgspec.json.decode(tokens) if isinstance(tokens, str) else tokens
            assert [outcome.outcome_id for outcome in market.outcomes] == tokens
            assert tick_of(market.tick_size) == round(raw["orderPriceMinTickSize"] * 10_000)
            assert market.min_order_size == raw["orderMinSize"]
            assert market.neg_risk == bool(raw.get("negRisk"))
            kept += 1
    assert kept > 1_000


def test_closed_markets_reread_as_open_show_every_shape_of_their_years(
    pages: dict[str, tuple[list[Json], list[Json]]],
) -> None:
    """Old listings spell their members in other ways; the reader must name what it lacks."""
    reader = EventReader(NOW)
    for events, bare in pages.values():
        for event in events:
            reader.read_event(
                event | {"markets": [market | TRADABLE for market in event["markets"]]}
            )
        for market in bare:
            reader.read_market(market | TRADABLE, None)
    found = reader.found
    assert len(found.markets) + found.set_aside.total() == found.seen
    assert set(found.set_aside) <= INCOMPLETE | {"listed_twice"}
    assert len(found.markets) > found.seen // 2


def test_fees_are_free_before_there_were_any_and_scheduled_after(
    pages: dict[str, tuple[list[Json], list[Json]]],
) -> None:
    terms: Counter[FeeTerms] = Counter()
    for events, bare in pages.values():
        for market in _discover(events, bare).markets:
            assert (market.fees is not None) == (market.fee_terms is FeeTerms.SCHEDULED)
            if market.fees is not None:
                assert 0 < market.fees.rate < 1
                assert market.fees.exponent > 0
            terms[market.fee_terms] += 1
    assert terms[FeeTerms.SCHEDULED] > 0
    assert terms[FeeTerms.FREE] > 0


def test_the_captured_neg_risk_event_is_one_group(
    pages: dict[str, tuple[list[Json], list[Json]]],
) -> None:
    events, bare = pages["event_negrisk_fed_june_2026-05-17.json"]
    [group] = group_markets(_discover(events, bare).markets, GroupKind.NEG_RISK)
    assert group.complete
    assert len(group.markets) == 5
    assert group.group_id == f"neg_risk:{events[0]['negRiskMarketID']}"


def test_a_captured_series_is_a_group_of_its_event(
    pages: dict[str, tuple[list[Json], list[Json]]],
) -> None:
    events, bare = pages["event_negrisk_fed_june_2026-05-17.json"]
    [series] = group_markets(_discover(events, bare).markets, GroupKind.SERIES)
    assert (series.group_id, series.title, len(series.markets)) == ("series:fomc", "FOMC", 5)


def test_no_captured_event_is_split_between_subscriptions(
    pages: dict[str, tuple[list[Json], list[Json]]],
) -> None:
    for name, (events, bare) in pages.items():
        markets = _discover(events, bare).markets
        groups = subscription_groups(markets)
        assert sum(len(group.markets) for group in groups) == len(markets), name
        listed = {f"event:{e['id']}" for e in events}
        named = {group.group_id for group in groups if group.kind is GroupKind.EVENT}
        assert named <= listed, name
