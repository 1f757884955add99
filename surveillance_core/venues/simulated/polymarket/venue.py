"""The simulated Polymarket's edge: Gamma and CLOB over HTTP, the market channel over sockets.

Owns neither clock nor ports: whoever runs it passes frames on as the venue's time goes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from typing import cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request as HandshakeRequest
from websockets.http11 import Response as HandshakeResponse

from surveillance_core.venues.simulated.faults import Faults, RestFault, RestKind
from surveillance_core.venues.simulated.polymarket.gamma import page_events, spell_cursor
from surveillance_core.venues.simulated.polymarket.market_socket import MarketSockets, SocketLimits
from surveillance_core.venues.simulated.polymarket.pacing import RequestLimits, RequestPacing
from surveillance_core.venues.simulated.polymarket.source import VenueSource

SOCKET_PATH = "/ws/market"
_NO_BOOK = "No orderbook exists for the requested token id"


class PolymarketVenue:
    """REST routes and sockets on one source.

    Attributes
    ----------
    requests
        Requests by the path's first part, as ``/events``, ``/book``.
    pacing
        The request limits, and what was refused by them.
    """

    def __init__(
        self,
        source: VenueSource,
        faults: Faults,
        limits: SocketLimits | None = None,
        request_limits: RequestLimits | None = None,
    ) -> None:
        self.source = source
        self.faults = faults
        self.sockets = MarketSockets(source, faults, limits or SocketLimits())
        self.requests: Counter[str] = Counter()
        self.pacing = RequestPacing(request_limits or RequestLimits())

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """Gamma and the CLOB, which the simulation serves from one port."""
        return [
            Route("/events/keyset", self._events),
            Route("/events/{event_id}", self._event),
            Route("/book", self._book),
            Route("/books", self._books, methods=["POST"]),
            Route("/clob-markets/{condition_id}", self._clob_market),
            Route("/rewards/markets/current", self._rewards),
        ]

    async def not_found(self, request: Request, error: Exception) -> Response:
        """What an unknown path is answered."""
        del request, error
        return _json({"error": "not found"}, 404)

    def check_handshake(
        self, connection: ServerConnection, request: HandshakeRequest
    ) -> HandshakeResponse | None:
        """Refuse every path but the market channel's, and what the faults say."""
        status = self.faults.take_handshake()
        if status is not None:
            return connection.respond(HTTPStatus(status), "")
        if request.path.partition("?")[0] == SOCKET_PATH:
            return None
        return connection.respond(HTTPStatus.NOT_FOUND, "not found\n")

    async def _events(self, request: Request) -> Response:
        fault, refused = self._admit(request)
        if refused is not None:
            return refused
        if fault is not None and fault.kind is RestKind.EMPTY_PAGE:
            return _json({"events": []})
        params = dict(request.query_params)
        if fault is not None and fault.kind is RestKind.ENDLESS_CURSOR:
            params.pop("after_cursor", None)
        wanted = {"true": True, "false": False}.get(params.get("closed", ""))
        source = self.source

        def event_of(event_id: str) -> dict[str, object]:
            return source.event(event_id) or {}

        page = page_events(source.event_ids(wanted), event_of, params)
        if fault is not None and fault.kind is RestKind.ENDLESS_CURSOR:
            place = self.requests["/events"] if fault.fresh_cursor else 1
            page.body["next_cursor"] = spell_cursor(place)
        return _spoil(fault, _json(page.body, page.status))

    async def _event(self, request: Request) -> Response:
        fault, refused = self._admit(request)
        if refused is not None:
            return refused
        event = self.source.event(request.path_params["event_id"])
        if event is None:
            answer = _json({"type": "not found error", "error": "id not found"}, 404)
        else:
            answer = _json(event)
        return _spoil(fault, answer)

    async def _book(self, request: Request) -> Response:
        fault, refused = self._admit(request)
        if refused is not None:
            return refused
        token = request.query_params.get("token_id", "")
        if not token:
            return _spoil(fault, _json({"error": "Invalid token id"}, 400))
        book = self.source.rest_book(token)
        answer = _json({"error": _NO_BOOK}, 404) if book is None else _text(book)
        return _spoil(fault, answer)

    async def _books(self, request: Request) -> Response:
        fault, refused = self._admit(request)
        if refused is not None:
            return refused
        try:
            asked: object = msgspec.json.decode(await request.body())
        except msgspec.DecodeError:
            asked = None
        if not isinstance(asked, list):
            return _spoil(fault, _json({"error": "Invalid payload"}, 400))
        members = [
            cast("dict[str, object]", member)
            for member in cast("list[object]", asked)
            if isinstance(member, dict)
        ]
        tokens = dict.fromkeys(str(member.get("token_id", "")) for member in members)
        books = [book for token in tokens if (book := self.source.rest_book(token)) is not None]
        # the venue promises no order; sorted by content is none that a client could rely on
        return _spoil(fault, _text(f"[{','.join(sorted(books))}]"))

    async def _clob_market(self, request: Request) -> Response:
        fault, refused = self._admit(request)
        if refused is not None:
            return refused
        market = self.source.clob_market(request.path_params["condition_id"])
        answer = _json({"error": "market not found"}, 404) if market is None else _json(market)
        return _spoil(fault, answer)

    async def _rewards(self, request: Request) -> Response:
        fault, refused = self._admit(request)
        if refused is not None:
            return refused
        cursor = request.query_params.get("next_cursor", "")
        return _spoil(fault, _json(self.source.rewards(cursor)))

    def _admit(self, request: Request) -> tuple[RestFault | None, Response | None]:
        """The fault the request meets, and the answer to one that is too much."""
        path = "/" + request.url.path.split("/")[1]
        self.requests[path] += 1
        if not self.pacing.admits(path, time.monotonic()):
            return None, _json({"error": "too many requests"}, 429)
        return self.faults.take_rest(request.url.path), None


def _spoil(fault: RestFault | None, answer: Response) -> Response:
    if fault is None:
        return answer
    if fault.kind is RestKind.STATUS:
        spoiled = _json({"error": HTTPStatus(fault.status).phrase.lower()}, fault.status)
        if fault.retry_after is not None:
            spoiled.headers["Retry-After"] = f"{fault.retry_after:g}"
        return spoiled
    if fault.kind is RestKind.MALFORMED:
        return _text(bytes(answer.body)[: max(1, len(answer.body) // 2)])
    return answer


def _json(body: object, status: int = 200) -> Response:
    return _text(msgspec.json.encode(body), status)


def _text(body: str | bytes, status: int = 200) -> Response:
    return Response(body, status_code=status, media_type="application/json")
