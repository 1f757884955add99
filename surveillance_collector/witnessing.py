"""The witness at work: books asked for by REST, and what is wrong had anew.

REST may fail, be slow or lie; none of it stops the collection. It is asked in a thread of its own
that nobody waits for when the process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from surveillance_collector.feed import Feed
from surveillance_collector.following import Followed
from surveillance_collector.witness import (
    Findings,
    Memory,
    Sample,
    contradicted,
    forget,
    judge,
    read_round,
    remember,
    samples_of,
)
from surveillance_core.venues.protocols import AssetTerms, BookAnswer
from surveillance_core.venues.rest import VenueError

MISMATCH = "witness_mismatch"
DEMOTED_SECONDS = 600.0
"""How long a witness that contradicts too much is not asked."""

AskVenue = Callable[[Sequence[AssetTerms]], Mapping[str, BookAnswer]]
"""Books by asset, by REST; may take long, and raises ``VenueError``."""

log = structlog.get_logger()


class Books(Protocol):
    """Whose books are compared, and who is told of the wrong ones."""

    @property
    def assets(self) -> Collection[Followed]:
        """Every asset as it is followed, to be read only."""
        ...

    def doubt(self, conn: str, asset_id: str, cause: str, since_ns: int, recv_ns: int) -> None:
        """The connection's book of the asset is wrong, and has been since then."""
        ...


@dataclass(frozen=True)
class WitnessTimes:
    """When and how much is asked."""

    every: float
    """Seconds between two rounds; 0 where nothing is asked."""
    again: float
    """Seconds between the two answers that have to agree."""
    quiet: float
    """Seconds of silence of a book that is compared."""
    quiet_ns: int
    """The same on the receive clock."""
    most: int
    """Books of one connection in a round."""


class Witness:
    """Compares quiet books with REST's, again and again.

    Parameters
    ----------
    feeds
        The connections as they are now.
    replace
        Has another connection take over from one that is not to be believed; whether it has.
    """

    def __init__(
        self,
        books: Books,
        ask: AskVenue,
        times: WitnessTimes,
        *,
        now_ns: Callable[[], int],
        feeds: Callable[[], Sequence[Feed]],
        replace: Callable[[Feed], Awaitable[bool]],
    ) -> None:
        self._books = books
        self._ask = ask
        self._times = times
        self._now_ns = now_ns
        self._feeds = feeds
        self._replace = replace
        self._memory = Memory()
        self._vouched: dict[str, float] = {}
        self._wanted: dict[str, None] = {}
        self._woken = asyncio.Event()
        self._demoted_until = 0.0
        self._failing = False
        self.counts: Counter[str] = Counter()
        """Books by what the witness said of them, failed rounds, connections it had replaced."""

    @property
    def demoted(self) -> bool:
        """Whether it contradicted so much that it is not asked for a while."""
        return time.monotonic() < self._demoted_until

    @property
    def answers(self) -> bool:
        """Whether it can be asked now."""
        return bool(self._times.every) and not self._failing and not self.demoted

    def agreed_ns(self, asset_id: str) -> int:
        """When it last agreed with the asset's book, on the receive clock; 0 if never."""
        return self._memory.agreed_ns.get(asset_id, 0)

    def vouched(self, conn: str) -> float:
        """When the last round began in which all compared books of the connection agreed.

        On the monotonic clock; 0 if none did or one was contradicted since.
        """
        return self._vouched.get(conn, 0.0)

    def ask_about(self, conn: str) -> None:
        """Have a connection's books compared now."""
        self._wanted[conn] = None
        self._woken.set()

    async def run(self) -> None:
        """Compare until cancelled."""
        every = self._times.every
        if not every:
            return
        due = time.monotonic() + every
        while True:
            try:
                async with asyncio.timeout(max(0.0, due - time.monotonic())):
                    await self._woken.wait()
            except TimeoutError:
                due = time.monotonic() + every
                conns = None
            else:
                conns = set(self._wanted)
            self._wanted.clear()
            self._woken.clear()
            if self.demoted:
                continue
            try:
                await self._round(conns)
            except VenueError as error:
                self.counts["failed"] += 1
                if not self._failing:
                    log.warning("witness_failed", cause=str(error)[:300])
                self._failing = True
            else:
                self._failing = False

    async def _round(self, conns: set[str] | None) -> None:
        """One round over all connections, or over these."""
        asked_ns = self._now_ns()
        began = time.monotonic()
        samples = self._samples(asked_ns, self._times.most, conns)
        if not samples:
            return
        first = await _in_thread(self._ask, [sample.followed.terms for sample in samples])
        suspected = contradicted(samples, first)
        second: Mapping[str, BookAnswer] = {}
        if suspected:
            await asyncio.sleep(self._times.again)
            suspected = [sample for sample in suspected if sample.unchanged]
        if suspected:
            second = await _in_thread(self._ask, [sample.followed.terms for sample in suspected])
        lately = began - self._times.quiet
        speaks = {feed.conn: (feed.heard or 0.0) >= lately for feed in self._feeds()}
        readings = read_round(samples, first, second, speaks)
        followed = [each.terms.asset_id for each in self._books.assets if each.terms.primary]
        findings = judge(readings, self._memory, len(followed))
        forget(self._memory, followed)
        remember(self._memory, readings, asked_ns)
        open_conns = {feed.conn for feed in self._feeds()}
        self._vouched = {c: at for c, at in self._vouched.items() if c in open_conns}
        for reading in readings:
            if reading.wrong:
                self._vouched.pop(reading.conn, None)
            elif reading.agreed:
                self._vouched[reading.conn] = began
            self.counts["agreed"] += len(reading.agreed)
            self.counts["mismatched"] += len(reading.wrong)
            self.counts["unsure"] += len(reading.unsure)
        await self._act(findings)

    def _samples(self, now_ns: int, most: int, conns: set[str] | None) -> list[Sample]:
        found = samples_of(
            self._books.assets,
            self._memory,
            now_ns=now_ns,
            quiet_ns=self._times.quiet_ns,
            most=most,
        )
        return found if conns is None else [sample for sample in found if sample.conn in conns]

    async def _act(self, findings: Findings) -> None:
        if findings.drift:
            self.counts["drifted"] += 1
            self._demoted_until = time.monotonic() + DEMOTED_SECONDS
            log.error(
                "recipe_drift",
                method="witness",
                next_step="compare the REST books with the venue's page; collection goes on",
            )
            return
        now_ns = self._now_ns()
        self.counts["stalls"] += len({sample.conn for sample in findings.doubted})
        for sample in findings.doubted:
            self._doubt(sample, now_ns)
        if not findings.condemned:
            return
        condemned = set(findings.condemned)
        for sample in self._samples(now_ns, len(self._books.assets), condemned):
            # what was not asked about may have missed as much
            self._doubt(sample, now_ns)
        for feed in list(self._feeds()):
            if feed.conn in condemned:
                self.counts["replaced"] += 1
                conn = feed.conn
                log.warning("connection_contradicted", conn=conn)
                if not await self._replace(feed) and feed.conn == conn:
                    feed.give_up(MISMATCH, feed.heard_ns)

    def _doubt(self, sample: Sample, now_ns: int) -> None:
        if sample.unchanged:
            self._books.doubt(sample.conn, sample.asset_id, MISMATCH, sample.good_ns, now_ns)


async def _in_thread(ask: AskVenue, assets: Sequence[AssetTerms]) -> Mapping[str, BookAnswer]:
    """Ask in a thread that ends with the process, whether it has an answer by then or not."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Mapping[str, BookAnswer]] = loop.create_future()

    def settle(found: Mapping[str, BookAnswer] | None, error: Exception | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        elif found is not None:
            answer.set_result(found)

    def work() -> None:
        found, failure = None, None
        try:
            found = ask(assets)
        except Exception as error:
            failure = error
        if not loop.is_closed():
            with contextlib.suppress(RuntimeError):  # closed since
                loop.call_soon_threadsafe(settle, found, failure)

    threading.Thread(target=work, name="witness", daemon=True).start()
    return await answer
