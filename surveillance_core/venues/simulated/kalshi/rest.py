"""The REST interface below ``/trade-api/v2``: who asks, what it costs, what goes wrong.

Edge code on Starlette; what is answered comes from ``answers``. Facts: reference kalshi.md 1.
Market data is public, but a signature that is there has to be right; a 429 has neither
``Retry-After`` nor any other hint; an unknown path is answered in plain text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final, cast

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from surveillance_core.venues.simulated.faults import Faults, RestFault, RestKind
from surveillance_core.venues.simulated.kalshi.answers import Answer, Answers, nested_error
from surveillance_core.venues.simulated.kalshi.cache import AnswerCache
from surveillance_core.venues.simulated.kalshi.frames import JsonObject
from surveillance_core.venues.simulated.kalshi.limits import KalshiLimits, Meter
from surveillance_core.venues.simulated.kalshi.paging import BadRequest, Params, spell_cursor
from surveillance_core.venues.simulated.kalshi.signatures import Caller, Verifier

REST_ROOT: Final = "/trade-api/v2"
STATUS_PATH: Final = "/exchange/status"
_DOWN: Final = frozenset({500, 503, 504})
UNKNOWN_PATH: Final = "404 page not found"

Make = Callable[[Request, Params], Answer]


class Rest:
    """The endpoints as routes.

    Attributes
    ----------
    requests
        By path below the root, parameters in braces: ``/markets/{ticker}``.
    limited
        Requests refused for their cost.
    """

    def __init__(
        self,
        answers: Answers,
        verifier: Verifier,
        limits: KalshiLimits,
        faults: Faults,
        wall_ms: Callable[[], int],
    ) -> None:
        self.requests: Counter[str] = Counter()
        self.limited = 0
        self._answers = answers
        self._verifier = verifier
        self._limits = limits
        self._meter = Meter(limits)
        self._cache = AnswerCache(limits.cache_ms)
        self._faults = faults
        self._wall_ms = wall_ms
        self._fresh = 0

    @property
    def routes(self) -> list[BaseRoute]:
        """Everything below the root, unknown paths included."""
        a = self._answers
        endpoints: list[tuple[str, Make, bool]] = [
            (STATUS_PATH, lambda _, __: a.exchange_status(), False),
            ("/exchange/schedule", lambda _, __: a.exchange_schedule(), False),
            ("/series", lambda _, p: a.series_list(p), False),
            ("/series/{ticker}", lambda r, _: a.series(_ticker(r)), False),
            ("/events", lambda _, p: a.events(p), False),
            ("/events/{ticker}", lambda r, p: a.event(_ticker(r), p), False),
            ("/markets", lambda _, p: a.markets(p), False),
            ("/markets/trades", lambda _, p: a.trades(p), False),
            ("/markets/orderbooks", lambda r, _: a.orderbooks(_named(r)), False),
            ("/markets/{ticker}", lambda r, _: a.market(_ticker(r)), False),
            ("/markets/{ticker}/orderbook", lambda r, p: a.orderbook(_ticker(r), p), False),
            ("/incentive_programs", lambda _, p: a.incentives(p), False),
            ("/account/limits", lambda _, __: a.account_limits(), True),
            ("/account/endpoint_costs", lambda _, __: a.endpoint_costs(), False),
        ]
        routes: list[BaseRoute] = [
            Route(path, self._endpoint(path, make, signed), methods=["GET"])
            for path, make, signed in endpoints
        ]
        every = ["GET", "POST", "PUT", "DELETE", "PATCH"]
        routes.append(Route("/{path:path}", unknown_path, methods=every))
        return [Mount(REST_ROOT, routes=routes)]

    def _endpoint(
        self, path: str, make: Make, signed: bool
    ) -> Callable[[Request], Awaitable[Response]]:
        async def serve(request: Request) -> Response:
            self.requests[path] += 1
            below = request.url.path.removeprefix(REST_ROOT)
            fault = self._faults.take_rest(below)
            if fault is not None and fault.kind is RestKind.STATUS:
                if path == STATUS_PATH and fault.status in _DOWN:
                    return _json(self._answers.exchange_status(active=False, status=fault.status))
                return _failing(fault)
            now_ms = self._wall_ms()
            caller = self._identify(request, now_ms)
            if caller.refusal is not None or (signed and caller.key_id is None):
                details = caller.refusal or "missing header"
                return _json(nested_error(401, "unauthorized", "unauthorized", details))
            cached = caller.key_id is None and fault is None
            asked = f"{below}?{request.url.query}"
            kept = self._cache.find(asked, now_ms) if cached else None
            if kept is not None:
                hits = {"x-kalshi-cache-hits": str(kept.hits)}
                return _raw(kept.body, kept.status, self._cache.headers | hits)
            address = request.client.host if request.client is not None else ""
            if not self._meter.admit(caller.key_id, address, self._cost(request), now_ms):
                self.limited += 1
                return _json(Answer({"error": "too many requests"}, 429))
            params = dict(request.query_params)
            if fault is not None and fault.kind is RestKind.ENDLESS_CURSOR:
                params.pop("cursor", None)
            try:
                answer = make(request, params)
            except BadRequest as bad:
                answer = nested_error(400, "bad_request", "bad request", str(bad))
            if not cached:
                return self._spoil(fault, answer)
            body = msgspec.json.encode(answer.body)
            self._cache.keep(asked, answer.status, body, now_ms)
            return _raw(body, answer.status, self._cache.headers)

        return serve

    def _identify(self, request: Request, now_ms: int) -> Caller:
        raw = cast("bytes", request.scope.get("raw_path", request.url.path.encode()))
        return self._verifier.identify(
            request.headers, request.method, raw.decode("latin-1"), now_ms
        )

    def _cost(self, request: Request) -> float:
        each = self._limits.orderbooks_item_tokens
        if each and request.url.path == f"{REST_ROOT}/markets/orderbooks":
            return max(self._limits.request_tokens, each * len(_named(request)))
        return self._limits.request_tokens

    def _spoil(self, fault: RestFault | None, answer: Answer) -> Response:
        if fault is None:
            return _json(answer)
        if fault.kind is RestKind.MALFORMED:
            whole = msgspec.json.encode(answer.body)
            return _raw(whole[: max(1, len(whole) // 2)], answer.status)
        body = dict(answer.body)
        cursor = "next_cursor" if "next_cursor" in body else "cursor"
        if fault.kind is RestKind.EMPTY_PAGE:
            body = _emptied(body)
        elif fault.kind is RestKind.ENDLESS_CURSOR:
            self._fresh += fault.fresh_cursor
            body[cursor] = spell_cursor(self._fresh, "nowhere")
        return _json(Answer(body, answer.status))


def _emptied(body: JsonObject) -> JsonObject:
    """A listing's body with nothing in it."""
    nothing: list[object] = []
    return {name: nothing if isinstance(value, list) else "" for name, value in body.items()}


async def unknown_path(request: Request) -> Response:
    """What the venue says where it has nothing."""
    return PlainTextResponse(UNKNOWN_PATH, status_code=404)


def _failing(fault: RestFault) -> Response:
    if fault.status == HTTPStatus.TOO_MANY_REQUESTS:
        answer = _json(Answer({"error": "too many requests"}, fault.status))
    else:
        phrase = HTTPStatus(fault.status).phrase.lower()
        answer = _json(nested_error(fault.status, phrase.replace(" ", "_"), phrase, ""))
    if fault.retry_after is not None:
        answer.headers["Retry-After"] = f"{fault.retry_after:g}"
    return answer


def _json(answer: Answer) -> Response:
    return _raw(msgspec.json.encode(answer.body), answer.status)


def _raw(body: bytes, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def _ticker(request: Request) -> str:
    return str(request.path_params["ticker"])


def _named(request: Request) -> list[str]:
    """Repeated ``tickers``; a comma is no separator here (reference kalshi.md 0, 13)."""
    return [name for name in request.query_params.getlist("tickers") if name]
