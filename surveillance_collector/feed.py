"""One market-data connection: connect, subscribe, keep alive, notice silence, come back.

The thin edge under the engine. It stamps each frame with its receive time and hands it over at
once, in the event loop's own thread, and has what one read of the socket held applied together; it
decides nothing about what a frame means.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count

import structlog
from websockets.exceptions import ConnectionClosed

from surveillance_collector.arriving import ArrivingConnection
from surveillance_collector.backlog import Backlog
from surveillance_collector.dialling import Dialling
from surveillance_collector.feed_sink import FeedSink
from surveillance_collector.feed_state import FeedState
from surveillance_collector.handshakes import miss_a_dead_peer
from surveillance_collector.reading import HELD_UP
from surveillance_collector.receive_clock import ReceiveClock
from surveillance_collector.reconnection import Backoff, Ending, HandshakeBudget, Temper
from surveillance_collector.sampling import Tier
from surveillance_collector.sending import Sending, ping_until_gone
from surveillance_collector.silence import Silence
from surveillance_core.venues.protocols import AssetTerms, ConnectionCommands, Echo
from surveillance_core.venues.registry import HandshakeHeaders

HEALTHY_SECONDS = 10.0
"""A connection that has brought data for this long owes nothing to the failures before it."""
LATE_SECONDS, LATE_TURNS = 0.05, 20
"""What a loop that was held up gets to read what has come meanwhile, at least: on a busy machine a
single turn may take as long."""
STALLED, HALF_OPEN = "stalled", "half_open"
CATCH_UP_SECONDS = 1.0
_TOO_BIG = 1009

log = structlog.get_logger()


class Feed(FeedState):
    """Keeps one connection up for a set of assets until cancelled.

    Parameters
    ----------
    name
        The connection's place in the plan; each reconnection gets an id of its own after it.
    sink
        Is told what comes, and gives each connection the commands it may send.
    handshake
        Headers of each handshake, made afresh from the wall's time.
    ping
        Text frame sent to keep the connection alive, None for none.
    echo
        What tells that everything sent before has been read.
    silence
        How long data may stay away, pings aside, before the connection is replaced; shared by
        whoever holds the place in the plan, before and after.
    half_open_seconds
        Longest time in which a peer that answers nothing is given up.
    on_silent
        Called with the connection's id before one that fell silent is given up; returns whether
        somebody vouches for it, so that it may be silent for longer.
    reconnect_max_seconds
        Longest wait after a plain failure.
    budget
        The venue's, shared by all its connections.
    numbers
        Numbers the connections under this name; shared with the one that this one replaces, which
        may come back while it does. From 1 on where there is none.
    wall_ms
        The wall's time in milliseconds since the epoch, which is never the simulated one.
    """

    def __init__(
        self,
        name: str,
        url: str,
        sink: FeedSink,
        clock: ReceiveClock,
        *,
        handshake: HandshakeHeaders,
        ping: str | None,
        echo: Echo,
        silence: Silence,
        half_open_seconds: float,
        reconnect_max_seconds: float,
        budget: HandshakeBudget,
        numbers: Iterator[int] | None = None,
        on_silent: Callable[[str], bool] = lambda conn: False,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        super().__init__(name, silence, numbers or count(1))
        self._sink = sink
        self._clock = clock
        self._dialling = Dialling(name, url, handshake, budget, wall_ms)
        self._ping = ping
        self._echo = echo
        self._half_open_seconds = half_open_seconds
        self._on_silent = on_silent
        self._backoff = Backoff(reconnect_max_seconds, random.uniform)
        self._wanted = asyncio.Event()
        self._commands: ConnectionCommands | None = None
        self._sending = Sending()
        self._verdict: tuple[str, int] | None = None
        """Why the open connection is given up, and since when nothing of it is believed."""
        self._backlog = self._new_backlog()
        self._apply_due = False
        """Whether what was read is about to be applied."""
        self._failure: BaseException | None = None
        """What went wrong in applying it: a failure of our own."""
        self._answers: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Hold the connection until cancelled; every failure is a reason to come back."""
        while True:
            await self._wanted.wait()
            await self._dialling.turn()
            try:
                ending = await self._dialling.attempt(self._hold)
            except BaseException as error:
                stopped = isinstance(error, asyncio.CancelledError)
                self._stop_hearing("stopped" if stopped else "failed")
                raise
            self._stop_hearing(ending.cause)
            self.endings[ending.cause] += 1
            self.refused = ending.temper is Temper.REFUSED
            wait = self._backoff.after(ending)
            log.info(
                "feed_reconnecting", conn=self.name, cause=ending.cause, seconds=round(wait, 3)
            )
            await asyncio.sleep(wait)

    async def add(self, assets: Sequence[AssetTerms], tier: Tier) -> None:
        """Subscribe more assets, now or when the connection next opens."""
        if any(terms == self._listened for terms in assets):
            # what is subscribed already would be given no book
            await self.listen(None)
        self._assets |= {terms.asset_id: (terms, tier) for terms in assets}
        self._wanted.set()
        if self._commands is not None:
            self._sink.follow(self._conn, assets, tier, self._clock.now_ns())
            await self._send_all(self._commands.subscribe([terms.asset_id for terms in assets]))

    async def remove(self, asset_ids: Sequence[str], *, others_follow: bool = False) -> None:
        """Unsubscribe assets; without any left the connection is let go, unless others follow."""
        held = [asset_id for asset_id in asset_ids if self._assets.pop(asset_id, None)]
        if held:
            self._sink.forget(self._conn, held, self._clock.now_ns())
            if self._assets or others_follow:
                if self._commands is not None:
                    await self._send_all(self._commands.unsubscribe(held))
                return
            # nothing left to hear: silence would pass for a stall, so let the connection go
            self._wanted.clear()
            self._announces = False
            if self._socket is not None:
                await self._socket.close()

    async def announce(self) -> None:
        """Hear what the venue announces of every market too, now or when it next opens."""
        if not self._announces:
            self._announces = True
            if self._commands is not None:
                await self._send_all(self._commands.opening())

    async def listen(self, terms: AssetTerms | None) -> None:
        """Subscribe an asset of another connection only to hear that something comes, or none.

        Its frames reach the sink, which does not follow it here and makes nothing of them.
        """
        before, self._listened = self._listened, terms
        self._listened_name = b"" if terms is None else terms.asset_id.encode()
        self.listened_at, self.listened_ns = time.monotonic(), self._clock.now_ns()
        if self._commands is not None:
            left = [] if before is None else self._commands.unsubscribe([before.asset_id])
            await self._send_all([*left, *self._listening(self._commands)])

    def _listening(self, commands: ConnectionCommands) -> list[str]:
        return [] if self._listened is None else commands.listen(self._listened)

    def give_up(self, cause: str, since_ns: int) -> None:
        """End the open connection at once: somebody has found that it cannot be believed."""
        if self._socket is not None and self._verdict is None:
            self._verdict = (cause, since_ns)
            # a peer that is gone may never answer a close handshake
            self._socket.transport.abort()

    async def resync(self, conn: str, asset_ids: Sequence[str]) -> None:
        """Ask for the assets' books anew, if the connection is still the one that was meant."""
        held = [asset_id for asset_id in asset_ids if asset_id in self._assets]
        if self._commands is not None and conn == self._conn and held:
            await self._send_all(self._commands.resync(held))

    async def catch_up(self) -> None:
        """Wait until what the peer had sent by now has been read, a second at most.

        Frames keep their order: whatever went before the answer to a ping has come before it.
        """
        socket = self._socket
        if socket is None:
            return
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(CATCH_UP_SECONDS):
                await (await socket.ping())
                # the answer overtakes what has come and waits to be taken
                await asyncio.sleep(CATCH_UP_SECONDS / 20)

    async def _hold(self, socket: ArrivingConnection) -> Ending:
        self._conn = f"{self.name}.{next(self.numbers)}"
        self._socket = socket
        self._verdict = None
        self._backlog = self._new_backlog()
        self._failure = None
        self.ping_seconds = None
        miss_a_dead_peer(socket, self._half_open_seconds)
        opened, opened_ns = time.monotonic(), self._clock.now_ns()
        self._last_data_ns = self.listened_ns = opened_ns
        self.listened_at = opened
        self.silence.begin(opened)
        commands = self._commands = self._sink.connect(self._conn, opened_ns)
        for tier in Tier:
            assets = [terms for terms, held in self._assets.values() if held is tier]
            if assets:
                self._sink.follow(self._conn, assets, tier, opened_ns)
        frames = commands.subscribe(list(self._assets))
        if self._announces:
            frames += commands.opening()
        if frames:
            # nothing of a venue's may come before the assets of its own
            frames += self._listening(commands)
        await self._send_all(frames)
        log.info("feed_open", conn=self._conn, assets=len(self._assets))
        keep_alive = asyncio.create_task(self._keep_alive(socket))
        keep_alive.add_done_callback(partial(self._end_with, socket))
        try:
            ending = await self._receive(socket, commands)
        except asyncio.CancelledError:
            self._stop_hearing("stopped")
            raise
        finally:
            keep_alive.cancel()
        self._stop_hearing(ending.cause)
        return replace(ending, healthy=self._heard - opened >= HEALTHY_SECONDS)

    def _stop_hearing(self, cause: str) -> None:
        """Tell the sink, before the close handshake: what comes in while it lasts is not read."""
        self._backlog.stop()
        self._socket = self._commands = None
        if self._conn:
            # what a stalled peer withheld is missing from its last frame on
            since_ns = self._verdict[1] if self._verdict is not None else None
            self._sink.disconnect(self._conn, self._clock.now_ns(), cause, since_ns)
            self._conn = ""

    async def _receive(self, socket: ArrivingConnection, commands: ConnectionCommands) -> Ending:
        """Have what comes applied until the connection ends or stalls."""
        reader = asyncio.create_task(self._read(socket, commands))
        try:
            while not reader.done():
                if await self._fell_silent(reader):
                    if self._verdict is None and self._on_silent(self._conn):
                        continue
                    self.give_up(STALLED, self._last_data_ns)
                    break
            if self._failure is not None:
                raise self._failure
            if self._verdict is not None:
                return Ending(self._verdict[0])
            return reader.result()
        finally:
            reader.cancel()
            for answer in self._answers:
                answer.cancel()

    async def _fell_silent(self, reader: asyncio.Task[Ending]) -> bool:
        """Wait until data has stayed away for too long; False where the connection ended first."""
        while not reader.done():
            left = self.silence.left(time.monotonic())
            if left <= 0.0 and not (self._backlog.paused and self._verdict is None):
                # what came while the loop was held up has still to be read
                await asyncio.wait({reader}, timeout=LATE_SECONDS)
                for _ in range(LATE_TURNS):
                    await asyncio.sleep(0)
                if self.silence.left(time.monotonic()) <= 0.0:
                    return not reader.done()
                continue
            await asyncio.wait({reader}, timeout=max(LATE_SECONDS, left))
        return False

    def _fail(self, error: BaseException) -> None:
        """End the connection, and the feed, because something of our own is wrong."""
        self._failure = error
        if self._socket is not None:
            self._socket.transport.abort()

    def _apply_read(self, commands: ConnectionCommands) -> None:
        """Apply what one turn of the loop has read, and answer what it calls for."""
        self._apply_due = False
        try:
            self._sink.apply_taken()
        except Exception as error:
            self._fail(error)
            return
        self.silence.heard(max(self._heard, self.silence.since))
        if commands.outbox:
            called_for, commands.outbox = commands.outbox, []
            answer = asyncio.create_task(self._send_all(called_for))
            self._answers.add(answer)
            answer.add_done_callback(self._answers.discard)

    async def _read(self, socket: ArrivingConnection, commands: ConnectionCommands) -> Ending:
        """Hand over each frame with its time; why there are no more.

        Frames that are there already are read without a pause and are applied together in the same
        turn of the loop, by a callback: a task that waits for them would cost as much again.
        """
        conn, backlog = self._conn, self._backlog
        loop = asyncio.get_running_loop()
        try:
            while True:
                if self._sink.crowded:
                    # the peer waits, as far as its buffers and ours go: nothing is left out
                    backlog.pause(self._last_data_ns)
                    await self._sink.room()
                    backlog.go_on()
                    # the silence was ours
                    self.silence.begin(time.monotonic())
                frame = socket.arrived()
                if frame is None:
                    frame = await socket.recv(decode=False)
                recv_ns = self._clock.now_ns()
                self._sink.take(conn, frame, recv_ns)
                if not self._apply_due:
                    self._apply_due = True
                    loop.call_soon(self._apply_read, commands)
                is_data = frame[:1] in (b"{", b"[")
                if (not is_data or backlog.asking) and self._echo.is_answer(frame):
                    backlog.note_answer()
                if is_data:
                    self._heard, self._last_data_ns = time.monotonic(), recv_ns
                    if self._listened_name and self._listened_name in frame:
                        self.listened_at, self.listened_ns = self._heard, recv_ns
        except ConnectionClosed as closed:
            # ours, where it was we who could not take a frame
            close = closed.rcvd or closed.sent
            code = close.code if close is not None else 1006
            if code == _TOO_BIG:
                log.warning("frame_too_big", conn=conn, next_step="fewer assets_per_connection")
            if isinstance(closed.__cause__, TimeoutError):
                # the kernel has missed its acknowledgements
                self._verdict = self._verdict or (HALF_OPEN, self._last_data_ns)
            return Ending(f"closed_{code}", close_code=code)

    def _new_backlog(self) -> Backlog:
        conn, ledger, now_ns = self._conn, self._sink, self._clock.now_ns
        return Backlog(
            conn,
            ledger,
            now_ns,
            ask=lambda: self._send_all([self._echo.command]),
            lost=partial(self.give_up, HELD_UP),
            failed=self._fail,
        )

    async def _keep_alive(self, socket: ArrivingConnection) -> None:
        """Ping, and give up a peer that is gone."""

        def answered(seconds: float) -> None:
            self.ping_seconds = seconds

        def lives(sent: float) -> bool:
            # an answer may stand behind megabytes of data on a slow line
            return self._heard >= sent or self._backlog.paused

        if await ping_until_gone(
            socket,
            self._ping,
            self._half_open_seconds,
            sent_text=self._backlog.note_asked,
            answered=answered,
            lives=lives,
        ):
            log.warning("peer_gone", conn=self._conn, seconds=self._half_open_seconds)
            self.give_up(HALF_OPEN, self._last_data_ns)

    def _end_with(self, socket: ArrivingConnection, keep_alive: asyncio.Task[None]) -> None:
        """A connection that nothing keeps alive any more is replaced by one that is."""
        if not keep_alive.cancelled() and keep_alive.exception() is not None:
            log.error("feed_keep_alive_failed", conn=self._conn, cause=repr(keep_alive.exception()))
            socket.transport.abort()

    async def _send_all(self, frames: Iterable[str]) -> None:
        if self._socket is not None:
            await self._sending.send_all(self._socket, self._conn, frames)
