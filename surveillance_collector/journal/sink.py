"""The engine with its inputs journaled: what feeds are given in the engine's place."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from surveillance_collector.backpressure import BackPressure
from surveillance_collector.engine import Engine
from surveillance_collector.following import Followed
from surveillance_collector.journal.records import (
    Disconnect,
    Doubt,
    Follow,
    Kind,
    encode_payload,
    encode_record,
)
from surveillance_collector.journal.writer import Journal
from surveillance_collector.sampling import Tier
from surveillance_core.venues.protocols import AssetTerms, ConnectionCommands, ReceivedFrame


class JournaledEngine:
    """Writes down each input before the engine has it; see ``feed_sink.FeedSink``.

    Time that passes is no input: it does nothing that the next input would not do.
    """

    def __init__(
        self, engine: Engine, journal: Journal, back_pressure: BackPressure | None = None
    ) -> None:
        self.engine = engine
        self._journal = journal
        self._back_pressure = back_pressure or BackPressure(journal)
        self._numbers: dict[str, int] = {}
        self._last_number = 0
        self._standing: dict[str, dict[str, tuple[AssetTerms, Tier]]] = {}
        """What each open connection follows."""
        self._frames: list[ReceivedFrame] = []
        """What was taken of one connection and is not written down yet."""
        self._conn = ""

    def connect(self, conn: str, recv_ns: int) -> ConnectionCommands:
        """A connection opened."""
        self.apply_taken()
        self._last_number += 1
        self._numbers[conn] = self._last_number
        self._standing[conn] = {}
        self._journal.append(Kind.CONNECT, recv_ns, self._last_number, conn.encode())
        return self.engine.connect(conn, recv_ns)

    def follow(self, conn: str, assets: Iterable[AssetTerms], tier: Tier, recv_ns: int) -> None:
        """These assets were subscribed on the connection."""
        self.apply_taken()
        followed = list(assets)
        payload = encode_payload(Follow(tier, followed))
        self._journal.append(Kind.FOLLOW, recv_ns, self._numbers[conn], payload)
        self._standing[conn] |= {terms.asset_id: (terms, tier) for terms in followed}
        self.engine.follow(conn, followed, tier, recv_ns)

    def forget(self, conn: str, asset_ids: Sequence[str], recv_ns: int) -> None:
        """These assets were unsubscribed."""
        self.apply_taken()
        number = self._numbers.get(conn, 0)
        self._journal.append(Kind.FORGET, recv_ns, number, encode_payload(list(asset_ids)))
        for asset_id in asset_ids:
            self._standing.get(conn, {}).pop(asset_id, None)
        self.engine.forget(conn, asset_ids, recv_ns)

    def shed(self, asset_ids: Sequence[str], recv_ns: int) -> None:
        """These are about to be unsubscribed to spare the disk."""
        self.apply_taken()
        self._journal.append(Kind.SHED, recv_ns, 0, encode_payload(list(asset_ids)))
        self.engine.shed(asset_ids, recv_ns)

    def disconnect(self, conn: str, recv_ns: int, cause: str, since_ns: int | None = None) -> None:
        """The connection is gone."""
        self.apply_taken()
        cause, since_ns = self._back_pressure.ending(cause, since_ns, recv_ns)
        number = self._numbers.pop(conn, None)
        if number is None:
            return
        del self._standing[conn]
        payload = encode_payload(Disconnect(cause, since_ns))
        self._journal.append(Kind.DISCONNECT, recv_ns, number, payload)
        self.engine.disconnect(conn, recv_ns, cause, since_ns)

    def doubt(self, conn: str, asset_id: str, cause: str, since_ns: int, recv_ns: int) -> None:
        """Somebody outside has found that the connection's book of the asset is wrong."""
        self.apply_taken()
        number = self._numbers.get(conn)
        if number is None:
            return
        payload = encode_payload(Doubt([asset_id], cause, since_ns))
        self._journal.append(Kind.DOUBT, recv_ns, number, payload)
        self.engine.doubt(conn, asset_id, cause, since_ns, recv_ns)

    def hold_up(self, conn: str, since_ns: int, recv_ns: int) -> None:
        """What the connection brings has not been read since then."""
        self.apply_taken()
        number = self._numbers.get(conn)
        if number is not None:
            self._journal.append(Kind.HOLD_UP, recv_ns, number, encode_payload(since_ns))
            self.engine.hold_up(conn, since_ns, recv_ns)

    def catch_up(self, conn: str, recv_ns: int) -> None:
        """What had waited on the connection has been read."""
        self.apply_taken()
        number = self._numbers.get(conn)
        if number is not None:
            self._journal.append(Kind.CATCH_UP, recv_ns, number, b"")
            self.engine.catch_up(conn, recv_ns)

    def take(self, conn: str, frame: bytes | str, recv_ns: int) -> None:
        """One frame, to be applied before anything else happens or when the caller says so."""
        if conn != self._conn:
            self.apply_taken()
            self._conn = conn
        self._frames.append((frame, recv_ns))

    def apply_taken(self) -> None:
        """Write down the frames that were taken, and apply them."""
        frames = self._frames
        if frames:
            self._frames = []
            self._journal.append_frames(self._numbers[self._conn], frames)
            self.engine.take_all(self._conn, frames)
        self.engine.apply_taken()

    def advance(self, now_ns: int) -> None:
        """Let time pass."""
        self.apply_taken()
        self.engine.advance(now_ns)

    @property
    def assets(self) -> Collection[Followed]:
        """Every asset as it is followed, to be read only."""
        return self.engine.assets

    def waiting(self, conn: str) -> int:
        """Standing books that the connection is to take over and has not got yet."""
        return self.engine.waiting(conn)

    @property
    def crowded(self) -> bool:
        """Whether ``room`` would wait."""
        return self._back_pressure.crowded

    async def room(self) -> None:
        """Return when more may be taken: what is not on disk must not fill the memory."""
        await self._back_pressure.room()

    def mark(self, now_ns: int) -> int:
        """What the engine had produced by now was handed over; the position of the mark."""
        self.apply_taken()
        return self._journal.append(Kind.MARK, now_ns, 0, b"")

    def finish(self, now_ns: int) -> None:
        """End of input: judge and cover what stands."""
        self.apply_taken()
        self._journal.append(Kind.FINISH, now_ns, 0, b"")
        self.engine.finish(now_ns)

    def begin_segment(self, now_ns: int) -> None:
        """Have the next inputs in a file of their own, which begins with how things stand.

        What the engine has produced must have been taken before.
        """
        head = [encode_record(Kind.CHECKPOINT, now_ns, 0, self.engine.checkpoint())]
        for conn, number in self._numbers.items():
            head.append(encode_record(Kind.STANDING_CONNECTION, now_ns, number, conn.encode()))
            held = self._standing[conn]
            for tier in Tier:
                assets = [terms for terms, own in held.values() if own is tier]
                if assets:
                    payload = encode_payload(Follow(tier, assets))
                    head.append(encode_record(Kind.STANDING_ASSETS, now_ns, number, payload))
        self._journal.begin_segment(now_ns, head)
