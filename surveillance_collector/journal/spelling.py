"""Records of the journal as lines of the capture format, and back. Pure.

What an engine is given comes back the same, but for assets that were subscribed together: each has
a line of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from surveillance_collector.journal.records import (
    Disconnect,
    Doubt,
    Follow,
    Kind,
    Record,
    decode_disconnect,
    decode_doubt,
    decode_follow,
    decode_forget,
    decode_hold_up,
    decode_shed,
    encode_payload,
)
from surveillance_collector.sampling import Tier
from surveillance_core.books import SPELLING
from surveillance_core.venues.captures import (
    AssetRecord,
    Began,
    CaughtUp,
    Connected,
    Disconnected,
    DoubtedAssets,
    EventRecord,
    Finished,
    Forgotten,
    FrameRecord,
    HeldUp,
    Passed,
    ShedAssets,
    frame_record,
)
from surveillance_core.venues.protocols import AssetTerms


class Speller:
    """Records to lines: knows connections by their numbers, which the lines have by their names."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {0: ""}

    def spell(self, record: Record) -> Sequence[EventRecord | FrameRecord]:
        """Lines of a record; none of what a reader of the archive has no use for.

        Raises
        ------
        msgspec.DecodeError, UnicodeDecodeError, ValueError
            If the payload is not what its kind has, or the kind none that there is.
        """
        kind, recv_ns, _, payload = record
        if kind == Kind.FRAME:
            return (frame_record(recv_ns, self._name(record), payload),)
        match Kind(kind):
            case Kind.CONNECT | Kind.STANDING_CONNECTION:
                name = self._names[record.conn] = payload.decode()
                standing = kind == Kind.STANDING_CONNECTION
                return (Connected(recv_ns=recv_ns, conn=name, standing=standing),)
            case Kind.FOLLOW | Kind.STANDING_ASSETS:
                told, name = decode_follow(payload), self._name(record)
                standing = kind == Kind.STANDING_ASSETS
                return [_asset(recv_ns, name, told.tier, a, standing) for a in told.assets]
            case Kind.FORGET:
                ids = tuple(decode_forget(payload))
                return (Forgotten(recv_ns=recv_ns, conn=self._name(record), asset_ids=ids),)
            case Kind.DISCONNECT:
                end, name = decode_disconnect(payload), self._name(record)
                return (
                    Disconnected(
                        recv_ns=recv_ns, conn=name, cause=end.cause, since_ns=end.since_ns
                    ),
                )
            case Kind.DOUBT:
                doubt = decode_doubt(payload)
                return (
                    DoubtedAssets(
                        recv_ns=recv_ns,
                        conn=self._name(record),
                        asset_ids=tuple(doubt.asset_ids),
                        cause=doubt.cause,
                        since_ns=doubt.since_ns,
                    ),
                )
            case Kind.SHED:
                return (ShedAssets(recv_ns=recv_ns, asset_ids=tuple(decode_shed(payload))),)
            case Kind.HOLD_UP:
                since_ns, name = decode_hold_up(payload), self._name(record)
                return (HeldUp(recv_ns=recv_ns, conn=name, since_ns=since_ns),)
            case Kind.CATCH_UP:
                return (CaughtUp(recv_ns=recv_ns, conn=self._name(record)),)
            case Kind.MARK:
                return (Passed(recv_ns=recv_ns),)
            case Kind.FINISH:
                return (Finished(recv_ns=recv_ns),)
            case _:
                return ()

    def _name(self, record: Record) -> str:
        # where a file's beginning was lost the frames are kept under a name that tells them apart
        return self._names.get(record.conn) or (f"unnamed-{record.conn}" if record.conn else "")


def _asset(recv_ns: int, conn: str, tier: Tier, terms: AssetTerms, standing: bool) -> AssetRecord:
    return AssetRecord(
        recv_ns=recv_ns,
        conn=conn,
        market=terms.market_id,
        asset_id=terms.asset_id,
        min_order_size=terms.min_order_size,
        tick_size=SPELLING[terms.tick] if 0 < terms.tick < len(SPELLING) else None,
        neg_risk=terms.neg_risk,
        tier=tier.value,
        primary=terms.primary,
        mirror_id=terms.mirror_id,
        tick=terms.tick,
        standing=standing,
    )


def exact_terms(record: AssetRecord) -> AssetTerms | None:
    """The terms that an asset was followed with, None where the capture does not have them."""
    if record.tick is None or record.primary is None:
        return None
    return AssetTerms(
        market_id=record.market,
        asset_id=record.asset_id,
        tick=record.tick,
        primary=record.primary,
        mirror_id=record.mirror_id,
        min_order_size=record.min_order_size,
        neg_risk=record.neg_risk,
    )


class RecordMaker:
    """Lines to records: gives each connection a number when it opens."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {"": 0}
        self._last = 0

    def connect(self, conn: str, recv_ns: int) -> Record:
        """A connection opened."""
        self._last += 1
        self._numbers[conn] = self._last
        return Record(Kind.CONNECT, recv_ns, self._last, conn.encode())

    def follow(self, conn: str, assets: Sequence[AssetTerms], tier: Tier, recv_ns: int) -> Record:
        """Assets were subscribed on a connection that opened."""
        payload = encode_payload(Follow(tier, list(assets)))
        return Record(Kind.FOLLOW, recv_ns, self._numbers[conn], payload)

    def disconnect(self, conn: str, recv_ns: int, cause: str, since_ns: int | None) -> Record:
        """A connection that opened ended."""
        payload = encode_payload(Disconnect(cause, since_ns))
        return Record(Kind.DISCONNECT, recv_ns, self._numbers[conn], payload)

    def frame(self, line: FrameRecord) -> Record:
        """A frame on a connection that opened."""
        text = line.frame.encode("utf-8", "surrogatepass") if line.raw is None else line.raw
        return Record(Kind.FRAME, line.recv_ns, self._numbers[line.conn], text)

    def other(
        self,
        line: Forgotten
        | DoubtedAssets
        | ShedAssets
        | HeldUp
        | CaughtUp
        | Began
        | Passed
        | Finished,
    ) -> Record:
        """What else a line tells."""
        match line:
            case Forgotten():
                payload = encode_payload(list(line.asset_ids))
                return Record(Kind.FORGET, line.recv_ns, self._numbers.get(line.conn, 0), payload)
            case DoubtedAssets():
                doubt = Doubt(list(line.asset_ids), line.cause, line.since_ns)
                number = self._numbers.get(line.conn, 0)
                return Record(Kind.DOUBT, line.recv_ns, number, encode_payload(doubt))
            case ShedAssets():
                return Record(Kind.SHED, line.recv_ns, 0, encode_payload(list(line.asset_ids)))
            case HeldUp():
                payload = encode_payload(line.since_ns)
                return Record(Kind.HOLD_UP, line.recv_ns, self._numbers[line.conn], payload)
            case CaughtUp():
                return Record(Kind.CATCH_UP, line.recv_ns, self._numbers[line.conn], b"")
            case Began() | Passed():
                return Record(Kind.MARK, line.recv_ns, 0, b"")
            case Finished():
                return Record(Kind.FINISH, line.recv_ns, 0, b"")
