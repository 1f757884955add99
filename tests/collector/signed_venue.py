"""A test double of Kalshi's WebSocket: a signed handshake, numbered streams, books by hand.

No market moves by itself; a test says what happens and may have the venue lose numbers, fail
streams and refuse handshakes. Rules: reference kalshi.md 0, 2 and 3.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from surveillance_core.books import OrderBook, tick_of

PATH = "/trade-api/ws/v2"
BOOKS, TRADES, LIFECYCLE = "orderbook_delta", "trade", "market_lifecycle_v2"
_SIDES = ("yes", "no")


class _Connection:
    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.sids: dict[str, int] = {}
        self.markets: dict[str, set[str]] = defaultdict(set)
        self.seqs: Counter[int] = Counter()
        self.next_sid = 1

    async def send(self, channel: str, kind: str, body: object, **more: object) -> None:
        sid = self.sids[channel]
        self.seqs[sid] += 1
        frame = {"type": kind, "sid": sid, "seq": self.seqs[sid], "msg": body, **more}
        await self.socket.send(json.dumps(frame))


class SignedVenue:
    """The venue as an async context manager.

    Attributes
    ----------
    handshakes
        Time of each handshake that verified, milliseconds.
    refused
        Handshakes refused, by status.
    commands
        Everything that clients sent.
    answers_requests
        Whether ``get_snapshot`` brings a book.
    open
        Cleared by a test, it holds back the answers to subscriptions.
    """

    def __init__(self, key: rsa.RSAPublicKey, tickers: Iterable[str], *, port: int = 0) -> None:
        self._key = key
        self._port = port
        self._server: Server | None = None
        self._connections: list[_Connection] = []
        self._levels: dict[str, dict[str, dict[str, float]]] = {
            ticker: {"yes": {"0.4800": 10.0}, "no": {"0.5000": 7.5}} for ticker in tickers
        }
        self.handshakes: list[int] = []
        self.refused: Counter[int] = Counter()
        self.refuse_with: HTTPStatus | None = None
        self.commands: list[dict[str, Any]] = []
        self.answers_requests = True
        self.open = asyncio.Event()
        self.open.set()
        self.prints = 0
        self.ws_url = ""

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self._port,
            compression=None,
            process_request=self._check,
            close_timeout=0.5,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        self.ws_url = f"ws://127.0.0.1:{self.port}{PATH}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    # ── what is true ─────────────────────────────────────────────────────────────────────────

    def book(self, ticker: str) -> OrderBook:
        """The market's book in terms of YES."""
        levels = self._levels[ticker]
        return OrderBook(
            {tick_of(price): size for price, size in levels["yes"].items()},
            {10_000 - tick_of(price): size for price, size in levels["no"].items()},
        )

    def subscribed(self, channel: str = BOOKS) -> set[str]:
        """Markets on a channel, over all connections."""
        return {t for c in self._connections for t in c.markets[channel] if channel in c.sids}

    def streams(self, channel: str) -> int:
        """Connections that have a stream of the channel."""
        return sum(channel in connection.sids for connection in self._connections)

    def actions(self) -> list[str]:
        """What clients asked for, in order."""
        return [c.get("params", {}).get("action", c["cmd"]) for c in self.commands]

    # ── what happens ─────────────────────────────────────────────────────────────────────────

    async def change(
        self, ticker: str, side: str, price: str, delta: float, *, lost: bool = False
    ) -> None:
        """One level changes; where ``lost`` the change takes a number and is never sent."""
        level = self._levels[ticker][side]
        level[price] = level.get(price, 0.0) + delta
        if not level[price]:
            del level[price]
        body = {
            "market_ticker": ticker, "market_id": "", "price_dollars": price,
            "delta_fp": f"{delta:.2f}", "side": side,
        }  # fmt: skip
        for connection in self._with(BOOKS, ticker):
            if lost:
                connection.seqs[connection.sids[BOOKS]] += 1
            else:
                await connection.send(BOOKS, "orderbook_delta", body)

    async def print(self, ticker: str, taker: str = "no") -> None:
        """A trade of 1.50 contracts at 0.36 of YES."""
        self.prints += 1
        body = {
            "trade_id": f"trade-{self.prints}", "market_ticker": ticker,
            "yes_price_dollars": "0.3600", "no_price_dollars": "0.6400", "count_fp": "1.50",
            "taker_outcome_side": taker, "ts_ms": 1_790_000_000_000,
        }  # fmt: skip
        for connection in self._with(TRADES, ticker):
            await connection.send(TRADES, "trade", body)

    async def announce(self, ticker: str, event_type: str, **members: object) -> None:
        """Something happens to a market."""
        body = {"market_ticker": ticker, "event_type": event_type, **members}
        for connection in self._connections:
            if LIFECYCLE in connection.sids:
                await connection.send(LIFECYCLE, "market_lifecycle_v2", body)

    async def close_market(self, ticker: str) -> None:
        """Its orders go, and an empty book comes unasked."""
        self._levels[ticker] = {"yes": {}, "no": {}}
        for connection in self._with(BOOKS, ticker):
            await self._send_book(connection, ticker)

    async def fail(self, channel: str, code: int) -> None:
        """The venue ends every stream of a channel by itself."""
        for connection in self._connections:
            if channel in connection.sids:
                await connection.send(channel, "error", {"code": code, "msg": "bye"})
                connection.markets[channel].clear()

    def drop(self) -> None:
        """Every connection is cut."""
        for connection in self._connections:
            connection.socket.transport.abort()

    # ── the protocol ─────────────────────────────────────────────────────────────────────────

    def _check(self, connection: ServerConnection, request: Request) -> Response | None:
        status = self.refuse_with or self._judge(request)
        if status is None:
            return None
        self.refused[status.value] += 1
        return connection.respond(status, "refused\n")

    def _judge(self, request: Request) -> HTTPStatus | None:
        signature = request.headers.get("KALSHI-ACCESS-SIGNATURE", "")
        stamp = request.headers.get("KALSHI-ACCESS-TIMESTAMP", "")
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
        text = f"{stamp}GET{request.path}".encode()
        try:
            self._key.verify(base64.b64decode(signature), text, pss, hashes.SHA256())
        except (InvalidSignature, ValueError):
            return HTTPStatus.UNAUTHORIZED
        self.handshakes.append(int(stamp))
        return None

    async def _serve(self, socket: ServerConnection) -> None:
        connection = _Connection(socket)
        self._connections.append(connection)
        try:
            async for text in socket:
                command = json.loads(text)
                self.commands.append(command)
                await self._obey(connection, command)
        except ConnectionClosed:
            pass
        finally:
            self._connections.remove(connection)

    async def _obey(self, connection: _Connection, command: dict[str, Any]) -> None:
        if command["cmd"] == "list_subscriptions":
            streams = [{"channel": name, "sid": sid} for name, sid in connection.sids.items()]
            told = {"id": command["id"], "type": "ok", "msg": streams}
            await connection.socket.send(json.dumps(told))
            return
        params = command["params"]
        tickers = params.get("market_tickers", [])
        if command["cmd"] == "subscribe":
            await self.open.wait()
            for channel in params["channels"]:
                await self._subscribe(connection, channel, tickers, command["id"])
            return
        (sid,) = params["sids"]
        channel = next((name for name, known in connection.sids.items() if known == sid), None)
        if channel is None:
            error = {"type": "error", "id": command["id"], "msg": {"code": 7, "msg": "sid"}}
            await connection.socket.send(json.dumps(error))
        elif command["cmd"] == "unsubscribe":
            await connection.send(channel, "unsubscribed", {}, id=command["id"])
            del connection.sids[channel]
            connection.markets[channel].clear()
        elif params["action"] == "delete_markets":
            connection.markets[channel] -= set(tickers)
            left = sorted(connection.markets[channel])
            await connection.send(channel, "ok", {"market_tickers": left}, id=command["id"])
        elif params["action"] == "get_snapshot":
            for ticker in tickers if self.answers_requests else ():
                await self._send_book(connection, ticker, id=command["id"])

    async def _subscribe(
        self, connection: _Connection, channel: str, tickers: list[str], number: int
    ) -> None:
        if channel in connection.sids:
            await connection.send(channel, "ok", {}, id=number)
        else:
            sid = connection.sids[channel] = connection.next_sid
            connection.next_sid += 1
            body = {"channel": channel, "sid": sid}
            await connection.socket.send(
                json.dumps({"type": "subscribed", "id": number, "msg": body})
            )
        new = [ticker for ticker in tickers if ticker not in connection.markets[channel]]
        connection.markets[channel] |= set(new)
        for ticker in new if channel == BOOKS else ():
            await self._send_book(connection, ticker)

    async def _send_book(self, connection: _Connection, ticker: str, **more: object) -> None:
        body: dict[str, object] = {"market_ticker": ticker, "market_id": ""}
        for side in _SIDES:
            levels = self._levels[ticker][side]
            if levels:
                body[f"{side}_dollars_fp"] = [
                    [price, f"{size:.2f}"] for price, size in sorted(levels.items())
                ]
        await connection.send(BOOKS, "orderbook_snapshot", body, **more)

    def _with(self, channel: str, ticker: str) -> list[_Connection]:
        return [c for c in self._connections if channel in c.sids and ticker in c.markets[channel]]
