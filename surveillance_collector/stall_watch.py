"""What watches over a venue's connections besides the connections themselves.

Stalls are found in four ways that know nothing of each other's: a connection's peer that answers
nothing (``feed``, half open), its data that stays away (``silence``), its sentinel that stays away
while it is heard elsewhere or contradicted by REST (``sentinels``), and books that REST contradicts
(``witness``). Here the last three are looked after.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

import structlog

from surveillance_collector.feed import HALF_OPEN, STALLED, Feed
from surveillance_collector.following import Followed
from surveillance_collector.sentinels import (
    AHEAD_SECONDS,
    GAPS_A_DEADLINE,
    Changes,
    Choice,
    Sentinel,
    choose,
)
from surveillance_collector.silence import Silence
from surveillance_collector.verdicts import Verdicts
from surveillance_collector.witnessing import Books, Witness

LOOK_SECONDS = 0.5
SENTINEL: Final = "sentinel_silent"

log = structlog.get_logger()


class StallWatch:
    """Sentinels, and verdicts on silences.

    Parameters
    ----------
    feeds
        The connections, as the one who plans them keeps them: read anew each time.
    choose_seconds
        How often sentinels are chosen, and the longest silence of one whose history is unknown.
    sentinels
        Whether there are any.
    """

    def __init__(
        self,
        books: Books,
        feeds: list[Feed],
        witness: Witness,
        *,
        choose_seconds: float,
        sentinels: bool,
    ) -> None:
        self._books = books
        self._feeds = feeds
        self._witness = witness
        self._choose_seconds = choose_seconds
        self._wanted = sentinels
        self._changes = Changes()
        self._chosen = time.monotonic()
        self._sentinels: dict[str, Sentinel] = {}
        self._asked: dict[str, tuple[Sentinel, int]] = {}
        """Sentinels by connection that the witness was asked about, and how it had spoken."""
        self._verdicts = Verdicts(lambda: books.assets)
        self.vouched = 0
        """Times that a connection was not given up because REST had the same books."""
        self.missed = 0
        """Times that a sentinel was silent for too long."""

    @property
    def verdicts(self) -> Mapping[str, int]:
        """How silences that were too long have turned out."""
        return {**self._verdicts.judged, "vouched": self.vouched}

    def sentinel_of(self, name: str) -> str:
        """Whose the connection's sentinel is: ``own``, ``other`` or empty."""
        sentinel = self._sentinels.get(name)
        return "" if sentinel is None else "own" if sentinel.choice.own else "other"

    def stalls(self, endings: Mapping[str, int]) -> dict[str, int]:
        """Stalls found, by the tier that found them, from the causes of endings."""
        return {
            "keep_alive": endings.get(HALF_OPEN, 0),
            "silence": endings.get(STALLED, 0),
            "sentinel": endings.get(SENTINEL, 0),
            "witness": self._witness.counts["stalls"],
        }

    def fell_silent(self, conn: str) -> bool:
        """Whether REST vouches for a connection that is to be given up because no data came.

        It does where the source is not known to speak often and the books have been found to be
        the venue's since its last data, and for as long after that as it may be silent.
        """
        for feed in self._feeds:
            if feed.conn != conn:
                continue
            if not feed.silence.speaks and feed.silence.excuse(self._witness.vouched(conn)):
                self.vouched += 1
                return True
            self._verdicts.note(conn, feed.silence, time.monotonic())
        return False

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = time.monotonic()
            self._verdicts.settle(now)
            if self._wanted:
                if now - self._chosen >= self._choose_seconds:
                    self._chosen = now
                    await self._choose(now)
                self._look(now)

    async def _choose(self, now: float) -> None:
        """Give each open connection the sentinel it can have; one that is good is kept."""
        changes = self._changes.take(self._books.assets)
        least = GAPS_A_DEADLINE
        held = {
            feed.name: [asset_id for asset_id in changes if feed.holds(asset_id)]
            for feed in self._feeds
            if feed.connected
        }
        choices = choose(changes, held, least)
        terms = {each.terms.asset_id: each.terms for each in self._books.assets}
        for feed in list(self._feeds):
            if feed.name not in held:
                continue
            sentinel, choice = self._sentinels.get(feed.name), choices.get(feed.name)
            if sentinel is not None and self._watches(sentinel.choice, feed):
                busy = changes.get(sentinel.choice.asset_id, 0) >= least
                # a foreign one gives way to one of the connection's own
                if busy and (sentinel.choice.own or choice is None or not choice.own):
                    continue
            if choice is None:
                self._sentinels.pop(feed.name, None)
            else:
                silence = Silence(self._choose_seconds)
                self._sentinels[feed.name] = Sentinel(choice, silence, now)
            wanted = terms.get(choice.asset_id) if choice is not None and not choice.own else None
            if feed.listened != wanted:
                await feed.listen(wanted)

    @staticmethod
    def _watches(choice: Choice, feed: Feed) -> bool:
        """Whether the connection still carries the asset as it was chosen."""
        if choice.own:
            return feed.holds(choice.asset_id)
        return feed.listened is not None and feed.listened.asset_id == choice.asset_id

    def _look(self, now: float) -> None:
        followed = {each.terms.asset_id: each for each in self._books.assets}
        for feed in list(self._feeds):
            sentinel = self._sentinels.get(feed.name)
            if sentinel is None or not feed.connected:
                continue
            known = followed.get(sentinel.choice.asset_id)
            if known is None or known.resolved or not self._watches(sentinel.choice, feed):
                del self._sentinels[feed.name]
            elif feed.held_up:
                # it may have spoken
                sentinel.silence.begin(now)
            elif sentinel.choice.own:
                self._look_at_own(feed, sentinel, known, now)
            else:
                self._listen_to_other(feed, sentinel, known, now)

    def _look_at_own(self, feed: Feed, sentinel: Sentinel, known: Followed, now: float) -> None:
        """Its market may have gone quiet: what REST says of it decides, where REST answers."""
        asset_id = known.terms.asset_id
        if known.conn == feed.conn and known.state.opened:
            sentinel.look(known.conn, known.state.version, now)
        asked = self._asked.pop(feed.name, None)
        if asked is not None and asked[0] is sentinel:
            if self._witness.agreed_ns(asset_id) != asked[1]:
                sentinel.silence.was_wrong()
            else:
                self._asked[feed.name] = asked
        if not sentinel.missed(now):
            return
        self.missed += 1
        if self._witness.answers:
            self._asked[feed.name] = (sentinel, self._witness.agreed_ns(asset_id))
            self._witness.ask_about(feed.conn)
        else:
            self._verdicts.note(feed.conn, sentinel.silence, now)
            feed.give_up(SENTINEL, known.state.changed_ns)

    def _listen_to_other(self, feed: Feed, sentinel: Sentinel, known: Followed, now: float) -> None:
        """It is missed here where it is heard where it belongs."""
        sentinel.hear(feed.listened_at)
        heard_here_ns = feed.listened_ns + int(AHEAD_SECONDS * 1e9)
        if known.state.opened and known.state.changed_ns > heard_here_ns and sentinel.missed(now):
            self.missed += 1
            self._verdicts.note(feed.conn, sentinel.silence, now)
            feed.give_up(SENTINEL, feed.listened_ns)
            sentinel.silence.begin(now)
