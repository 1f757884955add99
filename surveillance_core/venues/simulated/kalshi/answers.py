"""What each endpoint answers (reference kalshi.md 0, 1 and 6).

Pure: parameters in, an answer out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from surveillance_core.venues.simulated.kalshi.catalogue import Catalogue, Listed, in_series
from surveillance_core.venues.simulated.kalshi.combos import Combo, make_combos
from surveillance_core.venues.simulated.kalshi.frames import JsonObject
from surveillance_core.venues.simulated.kalshi.ledger import Ledger
from surveillance_core.venues.simulated.kalshi.limits import KalshiLimits
from surveillance_core.venues.simulated.kalshi.objects import (
    orderbook_object,
    programme_object,
    series_object,
    trade_object,
)
from surveillance_core.venues.simulated.kalshi.paging import (
    BadRequest,
    Params,
    read_cursor,
    read_flag,
    read_limit,
    read_status,
    read_time,
    spell_cursor,
)
from surveillance_core.venues.simulated.kalshi.stage import KalshiWorld, Levels

MOST_ORDERBOOKS: Final = 100
LISTING_LAG_MS: Final = 400
"""How long after its creation a market alone is still answered with 404."""

_FOREVER_MS: Final = 1 << 62
_EVENT_WORDS: Final = frozenset({"unopened", "open", "closed", "settled"})
_MARKET_WORDS: Final = _EVENT_WORDS | {"paused"}
_PROGRAMME_WORDS: Final = frozenset({"", "all", "active", "upcoming", "closed", "paid_out"})
_DAYS: Final = (
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday",
)  # fmt: skip


class Answer(msgspec.Struct, frozen=True):
    """An HTTP status and a JSON body."""

    body: JsonObject
    status: int = 200


class Answers:
    """The endpoints over the venue's listing and records."""

    def __init__(
        self, world: KalshiWorld, catalogue: Catalogue, ledger: Ledger, limits: KalshiLimits
    ) -> None:
        self._world = world
        self._catalogue = catalogue
        self._ledger = ledger
        self._limits = limits
        self.created_ms: dict[str, int] = {}
        """When markets were announced, of those announced while the venue runs."""
        opened = [
            listed
            for listed in catalogue.markets_after(None)
            if catalogue.status(listed) == "active"
        ]
        self._combos = {combo.ticker: combo for combo in make_combos(opened, world.now_ms)}

    def combo(self, ticker: str) -> Combo | None:
        """A combination by ticker."""
        return self._combos.get(ticker)

    # ── the exchange ─────────────────────────────────────────────────────────────────────────

    def exchange_status(self, *, active: bool = True, status: int = 200) -> Answer:
        """Exchange and trading up, on every shard, or all of it down.

        It is answered with an error's HTTP status too (reference kalshi.md 1, maintenance).
        """
        names = {0: "default", 1: "combos", 2: "crypto"}
        shards = [
            {
                "exchange_index": index,
                "description": name,
                "exchange_active": active,
                "trading_active": active,
            }
            for index, name in names.items()
        ]
        return Answer(
            {
                "exchange_active": active,
                "trading_active": active,
                "exchange_estimated_resume_time": None,
                "intra_exchange_transfers_active": active,
                "exchange_index_statuses": shards,
            },
            status,
        )

    def exchange_schedule(self) -> Answer:
        """Trading around the clock but for Thursday from three to five (reference 1)."""
        hours: JsonObject = {
            "start_time": "2024-12-01T00:00:00Z",
            "end_time": "2200-12-01T00:00:00Z",
        }
        for day in _DAYS:
            hours[day] = [{"open_time": "00:00", "close_time": "00:00"}]
        hours["thursday"] = [
            {"open_time": "00:00", "close_time": "03:00"},
            {"open_time": "05:00", "close_time": "00:00"},
        ]
        return Answer({"schedule": {"standard_hours": [hours], "maintenance_windows": []}})

    def account_limits(self) -> Answer:
        """The caller's tier and buckets."""
        limits = self._limits
        return Answer(
            {
                "usage_tier": limits.tier,
                "read": {
                    "refill_rate": limits.read_tokens_per_s,
                    "bucket_capacity": limits.read_capacity,
                },
                "write": {
                    "refill_rate": limits.write_tokens_per_s,
                    "bucket_capacity": 3 * limits.write_tokens_per_s,
                },
                "grants": [],
            }
        )

    def endpoint_costs(self) -> Answer:
        """Costs that are not the default; a batch of books is billed by its items."""
        costs: list[JsonObject] = [
            {"method": "DELETE", "path": "/trade-api/v2/portfolio/orders/:order_id", "cost": 2},
            {"method": "GET", "path": "/trade-api/v2/portfolio/orders/:order_id", "cost": 2},
        ]
        return Answer({"default_cost": round(self._limits.request_tokens), "endpoint_costs": costs})

    # ── series and events ────────────────────────────────────────────────────────────────────

    def series_list(self, params: Params) -> Answer:
        """Every series at once: this listing has no pages."""
        category = params.get("category", "")
        start_ms = self._world.now_ms
        return Answer(
            {
                "series": [
                    series_object(series, start_ms)
                    for series in self._catalogue.series
                    if not category or series.category == category
                ]
            }
        )

    def series(self, ticker: str) -> Answer:
        """One series."""
        for series in self._catalogue.series:
            if series.series_id == ticker:
                return Answer({"series": series_object(series, self._world.now_ms)})
        return not_found()

    def events(self, params: Params) -> Answer:
        """A page of events; a status filter lets through whatever has one child that matches."""
        limit = read_limit(params, default=200, least=1, most=200)
        statuses = read_status(params, _EVENT_WORDS)
        with_markets = read_flag(params, "with_nested_markets")
        series = params.get("series_ticker", "")
        catalogue = self._catalogue
        found: list[JsonObject] = []
        cursor = last = ""
        for event in catalogue.events_after(read_cursor(params.get("cursor"))):
            if not in_series(event, series):
                continue
            if statuses is not None and not any(
                catalogue.status(listed) in statuses for listed in catalogue.nested(event)
            ):
                continue
            if len(found) == limit:
                cursor = last
                break
            found.append(catalogue.event_object(event, with_markets=with_markets))
            last = spell_cursor(event.deadline_ms // 1000, event.event_id)
        return Answer({"cursor": cursor, "events": found})

    def event(self, ticker: str, params: Params) -> Answer:
        """One event, its markets beside it unless they are asked to be nested."""
        event = self._catalogue.event(ticker)
        if event is None:
            return not_found()
        nested = read_flag(params, "with_nested_markets")
        body: JsonObject = {"event": self._catalogue.event_object(event, with_markets=nested)}
        if not nested:
            body["markets"] = [
                self._catalogue.market_object(listed) for listed in self._catalogue.nested(event)
            ]
        return Answer(body)

    # ── markets ──────────────────────────────────────────────────────────────────────────────

    def markets(self, params: Params) -> Answer:
        """A page of markets: combinations come first unless they are filtered out."""
        limit = read_limit(params, default=100, least=0, most=1000)
        statuses = read_status(params, _MARKET_WORDS)
        mve = params.get("mve_filter", "")
        if mve not in ("", "only", "exclude"):
            raise BadRequest("invalid mve_filter")
        tickers = frozenset(params["tickers"].split(",")) if params.get("tickers") else None
        series, event = params.get("series_ticker", ""), params.get("event_ticker", "")
        after = read_cursor(params.get("cursor"))
        found: list[JsonObject] = []
        cursor = last = ""
        for ticker, closes_ms, make in self._listed(after, mve, statuses, series, event):
            if tickers is not None and ticker not in tickers:
                continue
            if len(found) == limit:
                cursor = last
                break
            found.append(make())
            last = spell_cursor(closes_ms // 1000, ticker)
        return Answer({"cursor": cursor, "markets": found})

    def _listed(
        self, after: str | None, mve: str, statuses: frozenset[str] | None, series: str, event: str
    ) -> Iterator[tuple[str, int, Callable[[], JsonObject]]]:
        if mve != "exclude" and (statuses is None or "active" in statuses):
            combos = list(self._combos.values())
            names = [combo.ticker for combo in combos]
            if after is None or after in names or self._catalogue.market(after) is None:
                start = names.index(after) + 1 if after in names else 0
                for combo in combos[start:]:
                    if event in ("", combo.event_ticker) and not series:
                        yield combo.ticker, self._world.now_ms, lambda body=combo.body: body
                after = None
        if mve == "only":
            return
        catalogue = self._catalogue
        for listed in catalogue.markets_after(after):
            if (
                event in ("", listed.event.event_id)
                and in_series(listed.event, series)
                and (statuses is None or catalogue.status(listed) in statuses)
            ):
                yield (
                    listed.market.market_id,
                    listed.market.closes_ms,
                    lambda listed=listed: catalogue.market_object(listed),
                )

    def market(self, ticker: str) -> Answer:
        """One market; one that was just created may not be there yet."""
        combo = self._combos.get(ticker)
        if combo is not None:
            return Answer({"market": combo.body})
        listed = self._visible(ticker)
        if listed is None:
            return not_found()
        return Answer({"market": self._catalogue.market_object(listed)})

    def orderbook(self, ticker: str, params: Params) -> Answer:
        """One book, whole or its best levels."""
        text = params.get("depth", "0")
        if not (text.isascii() and text.isdigit()) or int(text[:9]) > 100:
            raise BadRequest("invalid depth")
        if ticker not in self._combos and self._visible(ticker) is None:
            return not_found()
        return Answer({"orderbook_fp": orderbook_object(self.book(ticker), int(text))})

    def orderbooks(self, tickers: Sequence[str]) -> Answer:
        """Books of several markets; a name that is no market has an empty one, commas or not."""
        if not tickers:
            raise BadRequest("tickers are required")
        if len(tickers) > MOST_ORDERBOOKS:
            raise BadRequest("too many tickers")
        books = [
            {"ticker": ticker, "orderbook_fp": orderbook_object(self.book(ticker))}
            for ticker in tickers
        ]
        return Answer({"orderbooks": books})

    def book(self, ticker: str) -> tuple[Levels, Levels]:
        """Bids and asks of Yes, best last; empty for what is no market."""
        combo = self._combos.get(ticker)
        if combo is not None:
            return combo.book
        listed = self._catalogue.market(ticker)
        return ((), ()) if listed is None else self._ledger.book(listed.record)

    def trades(self, params: Params) -> Answer:
        """A page of prints, newest first."""
        limit = read_limit(params, default=100, least=0, most=1000)
        since_ms = read_time(params, "min_ts", 0)
        until_ms = read_time(params, "max_ts", _FOREVER_MS)
        ticker = params.get("ticker", "")
        record = None
        if ticker:
            listed = self._catalogue.market(ticker)
            if listed is None:
                return Answer({"cursor": "", "trades": []})
            record = listed.record
        after = read_cursor(params.get("cursor"))
        before = int(after) if after is not None and after.isdigit() else None
        found = self._ledger.page_of_prints(record, before, since_ms, until_ms)
        cursor = ""
        if len(found) > limit:
            last = found[limit - 1]
            cursor = spell_cursor(last.ts_ms // 1000, str(last.serial))
        return Answer({"cursor": cursor, "trades": [trade_object(p) for p in found[:limit]]})

    def incentives(self, params: Params) -> Answer:
        """A page of incentive programmes; the cursor has another name here."""
        limit = read_limit(params, default=100, least=1, most=10_000)
        status, kind = params.get("status", ""), params.get("type", "")
        if status not in _PROGRAMME_WORDS:
            raise BadRequest("invalid status filter")
        if kind not in ("", "all", "liquidity", "volume"):
            raise BadRequest("invalid type filter")
        found: list[JsonObject] = []
        cursor = last = ""
        for listed in self._catalogue.markets_after(read_cursor(params.get("cursor"))):
            programme = programme_object(listed.market, self._world.now_ms)
            if programme is None or not self._matches(listed, programme, status, kind):
                continue
            if len(found) == limit:
                cursor = last
                break
            found.append(programme)
            last = spell_cursor(self._world.now_ms // 1000, listed.market.market_id)
        return Answer({"incentive_programs": found, "next_cursor": cursor})

    def _matches(self, listed: Listed, programme: JsonObject, status: str, kind: str) -> bool:
        terms = listed.market.incentive
        if terms is None or kind not in ("", "all", terms.kind):
            return False
        if status in ("", "all"):
            return True
        now_ms = self._world.now_ms
        if status == "paid_out":
            return programme["paid_out"] is True
        if now_ms < terms.starts_ms:
            return status == "upcoming"
        return status == ("active" if now_ms <= terms.ends_ms else "closed")

    def _visible(self, ticker: str) -> Listed | None:
        created = self.created_ms.get(ticker)
        if created is not None and self._world.now_ms < created + LISTING_LAG_MS:
            return None
        return self._catalogue.market(ticker)


def not_found() -> Answer:
    """The flat error body of what is not there."""
    return Answer({"code": "not_found", "message": "not found", "details": ""}, 404)


def nested_error(status: int, code: str, message: str, details: str) -> Answer:
    """The nested error body of a request that is refused."""
    return Answer({"error": {"code": code, "message": message, "details": details}}, status)
