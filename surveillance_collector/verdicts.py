"""Whether a connection that was given up for its silence had stalled: known once it is back.

If the books that come are those that it had, nothing was missed and the silence was the venue's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from surveillance_collector.following import Followed
from surveillance_collector.silence import Silence
from surveillance_core.books import OrderBook

PATIENCE_SECONDS = 60.0
"""A verdict whose books have not come by then is let be."""


@dataclass
class _Suspicion:
    conn: str
    silence: Silence
    silent: float
    until: float
    left: dict[str, OrderBook] = field(default_factory=dict[str, OrderBook])
    missed: bool = False


class Verdicts:
    """Silences on which connections were given up, judged by the books after them.

    Parameters
    ----------
    assets
        Every asset as the engine follows it, now.
    """

    def __init__(self, assets: Callable[[], Iterable[Followed]]) -> None:
        self._assets = assets
        self._open: list[_Suspicion] = []
        self.judged: Counter[str] = Counter()
        """Verdicts that were ``right``, and ``wrong`` ones."""

    def note(self, conn: str, silence: Silence, now: float) -> None:
        """The connection is being given up: remember its books."""
        suspicion = _Suspicion(conn, silence, silence.deadline, now + PATIENCE_SECONDS)
        for followed in self._assets():
            if followed.conn == conn and followed.terms.primary and followed.state.opened:
                book = followed.state.book
                suspicion.left[followed.terms.asset_id] = OrderBook(
                    dict(book.bids), dict(book.asks)
                )
        # a connection that had brought no book was no source that may be quiet
        if suspicion.left:
            self._open.append(suspicion)

    def settle(self, now: float) -> None:
        """Compare what has come since."""
        if not self._open:
            return
        followed = {each.terms.asset_id: each for each in self._assets()}
        for suspicion in list(self._open):
            self._compare(suspicion, followed)
            if not suspicion.left:
                self._judge(suspicion)
            if not suspicion.left or now >= suspicion.until:
                self._open.remove(suspicion)

    def _compare(self, suspicion: _Suspicion, followed: dict[str, Followed]) -> None:
        for asset_id, before in list(suspicion.left.items()):
            now = followed.get(asset_id)
            if now is None or now.resolved:
                del suspicion.left[asset_id]
            elif now.conn != suspicion.conn and now.state.opened:
                suspicion.missed |= now.state.book != before
                del suspicion.left[asset_id]

    def _judge(self, suspicion: _Suspicion) -> None:
        self.judged["right" if suspicion.missed else "wrong"] += 1
        if suspicion.missed:
            suspicion.silence.was_right()
        else:
            suspicion.silence.was_wrong(suspicion.silent)
