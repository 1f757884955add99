"""Both venues' listings over loopback: numbered markets, and faults where a test wants them."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
MARKETS_AN_EVENT = 4
RULES = "This market resolves to Yes if it rains before the end of the day it names. " * 20


@dataclass
class Listings:
    """What is listed, and what goes wrong."""

    polymarket: int = 40
    kalshi: int = 40
    page_limit: int = 500
    statuses: dict[str, list[int]] = field(default_factory=lambda: dict[str, list[int]]())
    """Statuses answered instead of a page, by path, one a request."""
    hang_after: int | None = None
    """Pages after which answers no longer come."""
    extra: Json = field(default_factory=lambda: Json())
    """Members added to every market of Polymarket."""
    requests: Counter[str] = field(default_factory=lambda: Counter[str]())
    hung: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)


def gamma_event(number: int, extra: Json) -> Json:
    markets = [
        {
            "id": str(n), "conditionId": f"0x{n:064x}", "questionID": f"0x{n:064x}",
            "question": f"Will it rain on day {number} in town {n}?", "description": RULES,
            "outcomes": '["Yes", "No"]',
            "clobTokenIds": json.dumps([str(10**70 + 2 * n), str(10**70 + 2 * n + 1)]),
            "active": True, "closed": False, "archived": False, "enableOrderBook": True,
            "acceptingOrders": True, "orderPriceMinTickSize": 0.01, "orderMinSize": 5,
            "endDate": "2030-10-01T00:00:00Z", "volume24hr": float(n), "liquidityNum": 10.0 * n,
            "feesEnabled": False, "feeType": None, "rewardsMinSize": 50, "rewardsMaxSpread": 3.5,
            "negRisk": True, "negRiskMarketID": f"0xneg{number}", "feeSchedule": None,
        } | extra
        for n in range(number * MARKETS_AN_EVENT, (number + 1) * MARKETS_AN_EVENT)
    ]  # fmt: skip
    return {
        "id": str(number), "title": f"Rain on day {number}", "negRisk": True,
        "tags": [{"label": "Weather"}], "series": [{"slug": "rain", "title": "Rain"}],
        "markets": markets,
    }  # fmt: skip


def kalshi_event(number: int) -> Json:
    ticker = f"KXRAIN-{number}"
    markets = [
        {
            "ticker": f"{ticker}-T{n}", "event_ticker": ticker, "market_type": "binary",
            "status": "active", "title": f"Rain above {n} on day {number}?", "yes_sub_title": "",
            "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
            "rules_primary": RULES, "rules_secondary": "", "strike_type": "greater",
            "floor_strike": n, "cap_strike": None, "volume_24h_fp": "12.00",
            "close_time": "2030-10-01T00:00:00Z",
        }
        for n in range(MARKETS_AN_EVENT)
    ]  # fmt: skip
    return {
        "event_ticker": ticker, "series_ticker": "KXRAIN", "title": f"Rain on day {number}",
        "category": "Climate", "mutually_exclusive": False, "collateral_return_type": "DIRECNET",
        "markets": markets,
    }  # fmt: skip


def _body(listings: Listings, path: str, query: dict[str, str]) -> tuple[int, Json | list[Any]]:
    if path in ("/events/keyset", "/events"):
        gamma = path == "/events/keyset"
        total = (listings.polymarket if gamma else listings.kalshi) // MARKETS_AN_EVENT
        start = int(query.get("after_cursor" if gamma else "cursor", "0"))
        end = min(total, start + min(int(query["limit"]), listings.page_limit))
        events = [
            gamma_event(n, listings.extra) if gamma else kalshi_event(n) for n in range(start, end)
        ]
        following = str(end) if end < total else ""
        return 200, {"events": events, "next_cursor" if gamma else "cursor": following}
    if path == "/series":
        return 200, {"series": [
            {"ticker": "KXRAIN", "title": "Rain", "fee_type": "quadratic", "fee_multiplier": 1}
        ]}  # fmt: skip
    if path == "/exchange/status":
        return 200, {"exchange_active": True, "trading_active": True}
    if path == "/incentive_programs":
        return 200, {"incentive_programs": [], "next_cursor": ""}
    if path == "/rewards/markets/current":
        reward = {
            "condition_id": f"0x{1:064x}", "rewards_max_spread": 3.5, "rewards_min_size": 50,
            "native_daily_rate": 8, "sponsored_daily_rate": 2.5,
        }  # fmt: skip
        return 200, {"data": [reward], "next_cursor": "LTE=", "limit": 500, "count": 1}
    return 404, {"error": "not found"}


@contextmanager
def serving(listings: Listings) -> Generator[str]:
    """The venues' address while they serve."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            listings.requests[parts.path] += 1
            pages = listings.requests["/events/keyset"] + listings.requests["/events"]
            if listings.hang_after is not None and pages > listings.hang_after:
                listings.hung.set()
                listings.released.wait(60)
            waiting = listings.statuses.get(parts.path, [])
            status = waiting.pop(0) if waiting else 200
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            if status == 200:
                status, body = _body(listings, parts.path, query)
            else:
                body = {"error": "too many requests" if status == 429 else "trouble"}
            content = json.dumps(body).encode()
            with suppress(ConnectionError):
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        listings.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
