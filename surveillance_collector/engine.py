"""The collector's heart: frames and ticks in, rows out. No I/O, no clock, deterministic.

Live capture, replay and tests are this code on different sources of frames and time. Books are read
at instants of a fixed grid of the receive clock (multiples of the tier's cadence since the epoch),
so the rows depend on the frames and their receive times alone, never on when the caller woke up:
``receive`` and ``advance`` first do everything that was due before the time they are given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from operator import length_hint
from typing import Self, cast

from msgspec.structs import replace

from surveillance_collector.announcements import Announcement, Announcements
from surveillance_collector.checkpoint import ENGINE_STATE
from surveillance_collector.coverage import TRUSTED, LinesThatEnded
from surveillance_collector.following import Followed
from surveillance_collector.output import Output, RejectedFrame, Resync
from surveillance_collector.reading import BookReader, next_multiple
from surveillance_collector.rows import Reason, trade_row
from surveillance_collector.sampling import Sampling, Tier
from surveillance_collector.tallies import Tallies
from surveillance_core import checkpoints
from surveillance_core.books import Trust
from surveillance_core.checkpoints import CheckpointUnreadable, Kinds
from surveillance_core.lake.schemas import LIFECYCLE, TRADES
from surveillance_core.venues.protocols import (
    AssetTerms,
    ChannelEvent,
    ConnectionCommands,
    Doubted,
    MarketChannel,
    MarketListed,
    MarketResolved,
    Opened,
    ReceivedFrame,
    Rejected,
    SettledReader,
    Status,
    StatusChanged,
    TickSizeChanged,
    Trade,
)
from surveillance_core.venues.recent import RecentKeys


class Engine(BookReader):
    """Books of one venue over any number of connections, turned into lake rows.

    Parameters
    ----------
    new_channel
        Makes the venue's protocol state machine for one connection.
    sampling
        Cadences, heartbeat, depth.
    """

    def __init__(
        self, new_channel: Callable[[SettledReader], MarketChannel], sampling: Sampling
    ) -> None:
        super().__init__(sampling)
        self._new_channel = new_channel
        self._reader = self._read_settled
        """Who is told of settled books: always the same object, which a checkpoint can name."""
        self._announcements = Announcements()
        self._prints = RecentKeys()
        """What two connections may both tell while one takes over from the other."""
        self._heirs: dict[str, str] = {}
        """The connection that is to take an asset over, until its book is there."""
        self._ended = LinesThatEnded()
        self.frames = 0
        self.rejected: Counter[str] = Counter()
        self._tallies = Tallies()
        self._taken: list[ReceivedFrame] = []
        self._taken_conn = ""

    # ── state ────────────────────────────────────────────────────────────────────────────────

    def checkpoint(self) -> bytes:
        """The whole state, with what was taken and not applied, or produced and not drained.

        Raises
        ------
        TypeError
            If the state holds something that a checkpoint has no way to write: a defect.
        """
        return checkpoints.written(vars(self), self._kinds())

    @classmethod
    def restored(
        cls,
        data: bytes,
        new_channel: Callable[[SettledReader], MarketChannel],
        sampling: Sampling,
    ) -> Self:
        """An engine that goes on where the one that wrote the checkpoint was.

        With the same sampling and the same input it makes the same rows. With another one it reads
        what is followed as often as before and cuts coverage at the buckets that are its own. Its
        open connections are as they were made; ``new_channel`` makes the next.

        Raises
        ------
        CheckpointUnreadable
            If the data are damaged or another version's.
        """
        engine = cls(new_channel, sampling)
        held = vars(engine)
        state = checkpoints.read(data, engine._kinds())
        if not isinstance(state, dict):
            raise CheckpointUnreadable("not an engine's state")
        state = cast("dict[str, object]", state)
        if state.keys() != held.keys():
            differing = sorted(map(str, state.keys() ^ held.keys()))
            raise CheckpointUnreadable(f"the engine had other attributes when written: {differing}")
        held.update(state)
        if engine._next_cut_ns is not None:
            bucket_ends_ns = next_multiple(engine._now_ns, sampling.bucket_ns)
            engine._next_cut_ns = min(engine._next_cut_ns, bucket_ends_ns)
        return engine

    def _kinds(self) -> Kinds:
        supplied = {
            "new_channel": self._new_channel,
            "reader": self._reader,
            "sampling": self._sampling,
        }
        return ENGINE_STATE | Kinds(constants=supplied)

    # ── input ────────────────────────────────────────────────────────────────────────────────

    def connect(self, conn: str, recv_ns: int) -> ConnectionCommands:
        """A connection opened; its books start from nothing. Returns what it is to send."""
        self.advance(recv_ns)
        channel = self._channels[conn] = self._new_channel(self._reader)
        return channel.commands

    def follow(self, conn: str, assets: Iterable[AssetTerms], tier: Tier, recv_ns: int) -> None:
        """These assets were subscribed on the connection.

        Where another one that is up has them, this one is to take them over: the other's books are
        read until this one's have arrived, so that no moment is without one; see ``waiting``.
        """
        self.advance(recv_ns)
        channel = self._channels[conn]
        cadence = self._sampling.cadence_ns[tier]
        if cadence not in self._due:
            self._due[cadence] = next_multiple(recv_ns, cadence)
            self._by_cadence[cadence] = {}
        if self._next_cut_ns is None:
            self._next_cut_ns = next_multiple(recv_ns, self._sampling.bucket_ns)
        for terms in assets:
            channel.follow([terms])
            known = self._followed.get(terms.asset_id)
            grid = self._announcements.grid_of(terms.asset_id)
            if grid is not None and known is not None and known.terms.tick == terms.tick:
                # the terms are of before the change
                channel.regrid(terms.asset_id, grid)
            if known is not None and known.conn != conn and known.conn in self._channels:
                self._heirs[terms.asset_id] = conn
                continue
            self._heirs.pop(terms.asset_id, None)
            followed = Followed(terms, channel.states[terms.asset_id], conn, cadence, recv_ns)
            if known is not None:
                followed.ever_opened = known.ever_opened
                followed.last_row_ns = known.last_row_ns
                if known.resolved:
                    followed.resolved, followed.awaiting_ns = True, None
                if known.coverage is not None:
                    self._cover(known.coverage.doubt("resubscribed", recv_ns, recv_ns))
                    followed.coverage = known.coverage
                self._by_cadence[known.cadence_ns].pop(terms.asset_id, None)
            self._followed[terms.asset_id] = followed
            if terms.primary:
                self._by_cadence[cadence][terms.asset_id] = followed

    def waiting(self, conn: str) -> int:
        """Standing books that the connection is to take over and has not got yet."""
        return sum(
            heir == conn and self._followed[asset_id].state.opened
            for asset_id, heir in self._heirs.items()
        )

    def forget(self, conn: str, asset_ids: Sequence[str], recv_ns: int) -> None:
        """These assets were unsubscribed: their coverage ends here."""
        self.advance(recv_ns)
        channel = self._channels.get(conn)
        for asset_id in asset_ids:
            followed = self._followed.get(asset_id)
            other = followed is not None and followed.conn not in ("", conn)
            if followed is None or (other and conn in self._channels):
                if self._heirs.get(asset_id) == conn:
                    del self._heirs[asset_id]
                continue
            self._heirs.pop(asset_id, None)
            del self._followed[asset_id]
            self._announcements.forget(asset_id)
            self._by_cadence[followed.cadence_ns].pop(asset_id, None)
            self._deferred.pop(asset_id, None)
            if followed.coverage is not None:
                self._cover(followed.coverage.cut(recv_ns))
                self._ended.add(followed.conn, followed.coverage, recv_ns)
        if channel is not None:
            channel.forget(asset_ids)

    def disconnect(self, conn: str, recv_ns: int, cause: str, since_ns: int | None = None) -> None:
        """The connection is gone: its books are no longer known, from ``since_ns`` if earlier."""
        self.advance(recv_ns)
        channel = self._channels.get(conn)
        if channel is None:
            return
        for asset_id, followed in self._followed.items():
            if followed.conn == conn:
                # what still waits is half-way through a batch that will not end
                self._deferred.pop(asset_id, None)
        for asset_id in channel.states:
            # only what is whole: half a batch would be called a mismatch
            self._handle(conn, channel.settle_asset(asset_id, recv_ns), recv_ns)
        self._tallies.add(channel)
        del self._channels[conn]
        self._held_up.pop(conn, None)
        self._heirs = {asset: heir for asset, heir in self._heirs.items() if heir != conn}
        doubted_ns = recv_ns if since_ns is None else min(since_ns, recv_ns)
        self._cover(self._ended.disconnect(conn, cause, doubted_ns))
        for followed in self._followed.values():
            if followed.conn == conn:
                followed.state.opened = False
                followed.awaiting_ns = None
                if followed.coverage is not None:
                    self._cover(followed.coverage.doubt(cause, doubted_ns, recv_ns))

    def disconnect_all(self, recv_ns: int, cause: str) -> None:
        """Every connection that is open ends."""
        for conn in list(self._channels):
            self.disconnect(conn, recv_ns, cause)

    def doubt(self, conn: str, asset_id: str, cause: str, since_ns: int, recv_ns: int) -> None:
        """Somebody outside has found that the connection's book of the asset is wrong."""
        self.advance(recv_ns)
        channel = self._channels.get(conn)
        if channel is not None and asset_id in channel.states:
            self._handle(conn, channel.doubt(asset_id, cause, since_ns), recv_ns)

    def receive(self, conn: str, frame: bytes | str, recv_ns: int) -> None:
        """One frame, with the time it was received."""
        self.take(conn, frame, recv_ns)
        self.apply_taken()

    def miss(self, cause: str, since_ns: int, until_ns: int) -> None:
        """Nobody was told what was between: nothing that stands is trusted there.

        For an engine that was restored at the end of it.
        """
        for followed in self._followed.values():
            if followed.coverage is not None:
                self._cover(followed.coverage.miss(cause, since_ns, until_ns))

    def take(self, conn: str, frame: bytes | str, recv_ns: int) -> None:
        """One frame, to be applied before anything else happens or when the caller says so.

        Frames that one read of a socket held are applied together at less cost than one by one,
        and to the same effect.
        """
        if conn != self._taken_conn:
            self.apply_taken()
            self._taken_conn = conn
        self._taken.append((frame, recv_ns))

    def take_all(self, conn: str, frames: Sequence[ReceivedFrame]) -> None:
        """Several frames, as ``take``."""
        if conn != self._taken_conn:
            self.apply_taken()
            self._taken_conn = conn
        self._taken += frames

    def apply_taken(self) -> None:
        """Apply the frames that were taken, as if each had been as it came."""
        frames, self._taken = self._taken, []
        conn, start = self._taken_conn, 0
        while start < len(frames):
            self._let_pass(frames[start][1])
            run = iter(frames[start : self._end_of_run(frames, start)])
            start += length_hint(run)
            for recv_ns, events in self._channels[conn].receive_all(run):
                self._handle(conn, events, recv_ns)
                if self._deferred:
                    # a book waits now, which any frame may make whole
                    break
            start -= length_hint(run)
            self._now_ns = max(self._now_ns, frames[start - 1][1])
        self.frames += len(frames)

    def _end_of_run(self, frames: Sequence[ReceivedFrame], start: int) -> int:
        """Where the frames end that come before anything else is due; at least one does."""
        if self._deferred:
            return start + 1
        due_ns = min(self._due.values(), default=frames[-1][1] + 1)
        if self._next_cut_ns is not None:
            due_ns = min(due_ns, self._next_cut_ns)
        for end in range(start + 1, len(frames)):
            if frames[end][1] >= due_ns:
                return end
        return len(frames)

    def advance(self, now_ns: int) -> None:
        """Do everything due up to ``now_ns``; the clock does not go back."""
        if self._taken:
            self.apply_taken()
        self._let_pass(now_ns)

    def finish(self, now_ns: int) -> None:
        """End of input: judge and cover what stands."""
        self.advance(now_ns)
        self._deferred.clear()
        for conn, channel in self._channels.items():
            self._handle(conn, channel.settle(now_ns), now_ns)
        for followed in self._followed.values():
            if followed.coverage is not None:
                self._cover(followed.coverage.cut(now_ns))

    # ── output ───────────────────────────────────────────────────────────────────────────────

    def drain(self) -> Output:
        """Take what has been produced."""
        self.apply_taken()
        output, self._output = self._output, Output()
        return output

    @property
    def tallies(self) -> Tallies:
        """What the channels counted, over all connections."""
        return self._tallies.with_open(self._channels.values())

    # ── events ───────────────────────────────────────────────────────────────────────────────

    def _handle(self, conn: str, events: Iterable[ChannelEvent], recv_ns: int) -> None:
        for event in events:
            match event:
                case Trade():
                    if self._is_new(event):
                        self.counts["trades"] += 1
                        self._emit(TRADES, trade_row(event, recv_ns))
                case Opened():
                    self._opened(conn, event, recv_ns)
                case Doubted():
                    self._doubted(conn, event, recv_ns)
                case MarketListed() | MarketResolved() | StatusChanged() | TickSizeChanged():
                    self._announced(conn, event, recv_ns)
                case Rejected():
                    self.rejected[event.reason] += 1
                    self._output.rejected.append(RejectedFrame(conn, recv_ns, event))

    def _is_new(self, trade: Trade) -> bool:
        """Whether no connection has told of the print; what has no id cannot be recognised."""
        match = trade.transaction_id
        key = (match, trade.outcome_id, trade.taker_side, trade.price, trade.size)
        return match is None or self._prints.is_new(key)

    def _announced(self, conn: str, event: Announcement, recv_ns: int) -> None:
        if isinstance(event, TickSizeChanged):
            followed = self._followed.get(event.asset_id)
            if followed is None or (
                event.old_tick is None and followed.state.tick == event.new_tick
            ):
                return
            event = replace(event, old_tick=event.old_tick or followed.state.tick)
            for channel in self._channels.values():
                channel.regrid(event.asset_id, event.new_tick)
        found = self._announcements.row_of(conn, event, recv_ns)
        if found is None:
            return
        name, row = found
        self.counts[name] += 1
        self._emit(LIFECYCLE, row)
        settled = isinstance(event, StatusChanged) and event.status is Status.SETTLED
        if settled or isinstance(event, MarketResolved):
            self._close_market(event.market_id, recv_ns)

    def _close_market(self, market_id: str, recv_ns: int) -> None:
        """A resolved market's book means nothing any more, and no new one is asked for."""
        for asset_id, followed in self._followed.items():
            if followed.terms.market_id == market_id:
                followed.resolved = True
                followed.state.opened = False
                followed.awaiting_ns = None
                self._deferred.pop(asset_id, None)
                if followed.coverage is not None:
                    self._cover(followed.coverage.doubt("resolved", recv_ns, recv_ns))

    def _opened(self, conn: str, event: Opened, recv_ns: int) -> None:
        followed = self._followed.get(event.asset_id)
        if followed is None:
            return
        held_up = conn in self._held_up
        if followed.conn != conn:
            if self._heirs.get(event.asset_id) == conn and not held_up:
                self._hand_over(followed, conn, recv_ns)
            return
        if followed.resolved:
            followed.state.opened = False
            return
        followed.awaiting_ns = None
        if held_up:
            # it may have waited longer than it was good for
            return
        if followed.coverage is not None:
            self._cover(followed.coverage.trust(recv_ns))
            reason = Reason.RESYNC if followed.ever_opened else Reason.OPENED
            self._write(followed, recv_ns, reason)
        followed.ever_opened = True

    def _hand_over(self, followed: Followed, conn: str, recv_ns: int) -> None:
        """From here on the asset's book is this connection's, which has just got it."""
        asset_id = followed.terms.asset_id
        del self._heirs[asset_id]
        old, new = followed.state, self._channels[conn].states[asset_id]
        line = followed.coverage
        stood = old.opened and (line is None or line.state == TRUSTED)
        unchanged = old.book == new.book and followed.sampled_version == old.version
        old.read_when_settled = False
        followed.state, followed.conn = new, conn
        followed.sampled_version = new.version if unchanged else -1
        self.counts["handed_over"] += 1
        if not stood:
            self._opened(conn, Opened(asset_id), recv_ns)
        elif asset_id in self._deferred:
            new.read_when_settled = True

    def _doubted(self, conn: str, event: Doubted, recv_ns: int) -> None:
        self.counts[f"doubted_{event.cause}"] += 1
        followed = self._followed.get(event.asset_id)
        if followed is None or followed.resolved:
            return
        if followed.conn != conn:
            if self._heirs.get(event.asset_id) == conn:
                self._output.commands.append(Resync(conn, (event.asset_id,), event.cause))
            return
        if followed.coverage is not None:
            self._cover(followed.coverage.doubt(event.cause, event.since_ns, recv_ns))
        if followed.state.opened or followed.awaiting_ns is None:
            followed.awaiting_ns = recv_ns
        if followed.state.trust is Trust.DIVERGED or not followed.state.opened:
            command = Resync(conn, (event.asset_id,), event.cause)
            self._output.commands.append(command)
