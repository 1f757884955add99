"""Reading books on the receive clock's grid: due instants in, rows out. Pure.

Books are read at multiples of their tier's cadence since the epoch. One that is half-way through a
batch of its venue's then is read when the batch is whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final, cast

from surveillance_collector.following import Followed
from surveillance_collector.output import Output, Resync
from surveillance_collector.rows import Reason, Row, snapshot_row
from surveillance_collector.sampling import Sampling
from surveillance_core.books import BookState, Trust
from surveillance_core.lake.schemas import COVERAGE, SNAPSHOTS, Table
from surveillance_core.venues.protocols import ChannelEvent, MarketChannel, Opened

HELD_UP: Final = "held_up"
"""Why the ledger does not trust what may be older than what waits to be read."""


class BookReader:
    """The followed books of one venue, and when each is to be read.

    Parameters
    ----------
    sampling
        Cadences, heartbeat, depth.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._channels: dict[str, MarketChannel] = {}
        self._followed: dict[str, Followed] = {}
        self._by_cadence: dict[int, dict[str, Followed]] = {}
        self._due: dict[int, int] = {}
        self._next_cut_ns: int | None = None
        self._deferred: dict[str, Followed] = {}
        self._now_ns = 0
        self._output = Output()
        self._held_up: dict[str, None] = {}
        """Connections that bring more than has been read: their books are older than they look."""
        self.counts: Counter[str] = Counter()
        """Rows written, trades, doubts and mirror verdicts, by name."""

    def _handle(self, conn: str, events: Iterable[ChannelEvent], recv_ns: int) -> None:
        """Act on what a channel told."""
        raise NotImplementedError

    def advance(self, now_ns: int) -> None:
        """Do everything due up to ``now_ns``."""
        raise NotImplementedError

    def _opened(self, conn: str, event: Opened, recv_ns: int) -> None:
        """Take note that a book stands."""
        raise NotImplementedError

    # ── what is followed ─────────────────────────────────────────────────────────────────────

    @property
    def assets(self) -> Collection[Followed]:
        """Every asset as it is followed, to be read only."""
        return self._followed.values()

    def shed(self, asset_ids: Iterable[str], recv_ns: int) -> None:
        """These are about to be unsubscribed to spare the disk: the ledger says so."""
        self.advance(recv_ns)
        for asset_id in asset_ids:
            followed = self._followed.get(asset_id)
            if followed is not None and followed.coverage is not None:
                self._cover(followed.coverage.doubt("shed", recv_ns, recv_ns))

    def hold_up(self, conn: str, since_ns: int, recv_ns: int) -> None:
        """What the connection brings waits unread since then: its books are not to be believed.

        They go on being kept, and are neither written nor trusted until ``catch_up``.
        """
        self.advance(recv_ns)
        if conn not in self._channels or conn in self._held_up:
            return
        self._held_up[conn] = None
        for asset_id, followed in self._followed.items():
            if followed.conn != conn:
                continue
            self._deferred.pop(asset_id, None)
            followed.state.read_when_settled = False
            if followed.coverage is not None:
                self.counts[f"doubted_{HELD_UP}"] += 1
                self._cover(followed.coverage.doubt(HELD_UP, since_ns, recv_ns))

    def catch_up(self, conn: str, recv_ns: int) -> None:
        """What waited on the connection has been read, in order: its books are the venue's again.

        One that something else contradicts is still to be had anew.
        """
        self.advance(recv_ns)
        if conn not in self._held_up:
            return
        del self._held_up[conn]
        for asset_id, state in list(self._channels[conn].states.items()):
            followed = self._followed.get(asset_id)
            if state.opened and state.trust is not Trust.DIVERGED:
                self._opened(conn, Opened(asset_id), recv_ns)
            elif followed is not None and followed.awaiting_ns is not None:
                # until now it could not come
                followed.awaiting_ns = recv_ns

    @property
    def books(self) -> int:
        """Sampled books that stand."""
        return sum(f.state.opened for f in self._followed.values() if f.terms.primary)

    def all_fresh(self, asset_ids: Iterable[str], now_ns: int, within_ns: int) -> bool:
        """Whether every book among these assets stands and was told of within ``within_ns``.

        A second token, which only checks the first one's book, and a market with a result have no
        book to wait for.
        """
        for asset_id in asset_ids:
            followed = self._followed.get(asset_id)
            if followed is None:
                return False
            if followed.terms.primary and not followed.resolved:
                state = followed.state
                if not state.opened or now_ns - state.changed_ns > within_ns:
                    return False
        return True

    @property
    def followed(self) -> int:
        """Markets subscribed."""
        return sum(f.terms.primary for f in self._followed.values())

    # ── reading ──────────────────────────────────────────────────────────────────────────────

    def _let_pass(self, now_ns: int) -> None:
        if now_ns <= self._now_ns:
            return
        while True:
            instant = min(self._due.values(), default=now_ns + 1)
            if self._next_cut_ns is not None and self._next_cut_ns <= instant:
                instant = self._next_cut_ns
                if instant > now_ns:
                    break
                self._read_deferred(instant)
                self._cut(instant)
                continue
            if instant > now_ns:
                break
            self._read_deferred(instant)
            for cadence, due in self._due.items():
                if due == instant:
                    self._read_tier(cadence, instant)
                    self._due[cadence] = instant + cadence
        self._read_deferred(now_ns)
        self._now_ns = now_ns

    def _read_tier(self, cadence: int, instant: int) -> None:
        first_book_ns, held_up = self._sampling.first_book_ns, self._held_up
        for asset_id, followed in self._by_cadence[cadence].items():
            if held_up and followed.conn in held_up:
                continue
            if followed.awaiting_ns is not None:
                if instant - followed.awaiting_ns >= first_book_ns:
                    followed.awaiting_ns = instant
                    self._output.commands.append(
                        Resync(followed.conn, (asset_id,), "no_book_in_time")
                    )
                if not followed.state.opened:
                    continue
            state = followed.state
            if not state.opened:
                continue
            changed = state.version != followed.sampled_version
            if not changed and instant - followed.last_row_ns < self._sampling.heartbeat_ns:
                continue
            self._write(followed, instant)

    def _read_deferred(self, now_ns: int) -> None:
        while self._deferred:
            for asset_id, followed in list(self._deferred.items()):
                if followed.state.settles_ns > now_ns:
                    self._settle(asset_id, followed, now_ns)
            whole = [f for f in self._deferred.values() if f.state.settles_ns <= now_ns]
            if not whole:
                return
            for followed in sorted(whole, key=lambda f: f.state.settles_ns):
                self._write(followed, followed.state.settles_ns)

    def _read_settled(self, state: BookState, recv_ns: int) -> None:
        """Called by a channel with a whole book, just before its next batch."""
        followed = self._deferred.get(state.asset_id)
        if followed is None or followed.state is not state:
            state.read_when_settled = False
            return
        self._write(followed, recv_ns)

    def _write(self, followed: Followed, at_ns: int, reason: Reason | None = None) -> None:
        state = followed.state
        if reason is None:
            changed = state.version != followed.sampled_version
            reason = Reason.CHANGE if changed else Reason.HEARTBEAT
        asset_id = followed.terms.asset_id
        channel = self._channels[followed.conn]
        # whoever is called when the batch is whole would write the same row
        state.read_when_settled = False
        events = channel.settle_asset(asset_id, at_ns)
        if state.settles_ns > at_ns:
            # half-way through a batch, or what looked whole is half of one: read it when it is
            state.read_when_settled = True
            self._deferred[asset_id] = followed
            self._handle(followed.conn, events, at_ns)
            return
        self._deferred.pop(asset_id, None)
        followed.last_row_ns = at_ns
        followed.sampled_version = state.version
        self.counts["snapshots"] += 1
        self._emit(SNAPSHOTS, snapshot_row(state, at_ns, self._sampling.top_k, reason))
        self._check_mirror(followed, channel)
        if events:
            self._handle(followed.conn, events, at_ns)

    def _settle(self, asset_id: str, followed: Followed, now_ns: int) -> None:
        """Let the channel say whether a waiting book has become whole before its silence ends."""
        events = self._channels[followed.conn].settle_asset(asset_id, now_ns)
        if events:
            self._handle(followed.conn, events, now_ns)

    def _check_mirror(self, followed: Followed, channel: MarketChannel) -> None:
        """The second token's book is the first one's mirror, whenever both say the same moment."""
        mirror = channel.states.get(followed.terms.mirror_id or "")
        state = followed.state
        if mirror is None or not mirror.opened or mirror.ts_venue_ms != state.ts_venue_ms:
            return
        if mirror.book == state.book.mirrored():
            self.counts["mirror_matched"] += 1
        else:
            self.counts["mirror_mismatched"] += 1

    def _cut(self, instant: int) -> None:
        for followed in self._followed.values():
            if followed.coverage is not None:
                self._cover(followed.coverage.cut(instant))
        self._next_cut_ns = instant + self._sampling.bucket_ns

    def _cover(self, rows: list[Row]) -> None:
        for row in rows:
            self._emit(COVERAGE, row, column=2)

    def _emit(self, table: Table, row: Row, column: int = 0) -> None:
        """Hand a row over with its time, which stands in ``column``, microseconds."""
        self._output.rows.append((table, cast("int", row[column]), row))


def next_multiple(now_ns: int, step_ns: int) -> int:
    """The first multiple of ``step_ns`` after ``now_ns``."""
    return (now_ns // step_ns + 1) * step_ns
