"""Recordings of the market channel served as a venue: listings, books and frames from captures.

Pure. A capture's clock starts when one of its assets is first subscribed; its frames then follow at
their recorded distances, once. A subscriber gets the first recorded book, or the book as it stands
when the replay has begun, which the protocol's own state machine keeps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import msgspec

from surveillance_core.books import SPELLING, tick_of
from surveillance_core.venues.captures import (
    CAPTURE_SUFFIXES,
    AssetRecord,
    Damaged,
    FrameRecord,
    read_capture,
)
from surveillance_core.venues.polymarket.channel import PolymarketBook, PolymarketChannel
from surveillance_core.venues.polymarket.integrity import hash_members, level_members
from surveillance_core.venues.protocols import AssetTerms
from surveillance_core.venues.simulated.polymarket.frames import WireFrame
from surveillance_core.venues.simulated.polymarket.gamma import JsonObject

LEAD_MS = 500
"""From the first subscription to the first frame: time for the other assets to be subscribed."""

STEP_MS = 20


class _Played(msgspec.Struct):
    """One frame of a recording."""

    after_ms: float
    """Since the recording's first frame."""
    text: str
    assets: tuple[str, ...]


class _Recording(msgspec.Struct):
    """Frames on one clock: the assets, the book each opens with, and what came after.

    A later capture of the same assets continues the recording: its opening books are frames of it.
    """

    assets: dict[str, AssetRecord]
    first_ns: int = 0
    last_ns: int = 0
    opening: dict[str, str] = {}
    """First recorded book of each asset, the text of the object."""
    frames: list[_Played] = []
    begins_ms: float | None = None
    """The venue's time of the first frame, once somebody has subscribed."""
    played: int = 0


class CaptureSource:
    """Serves the captures of a directory; see ``VenueSource``.

    Parameters
    ----------
    captures
        Directory with ``*.jsonl``, ``*.jsonl.gz`` or ``*.zst`` captures. Files without asset
        records (other venues') are left out and counted in ``left_out``.
    start_ms
        The venue's time at the start, milliseconds.
    time_factor
        Venue milliseconds in a recorded one: 0.5 plays twice as fast.

    Raises
    ------
    FileNotFoundError
        If the directory holds no capture of this venue.
    """

    def __init__(self, captures: Path, *, start_ms: int, time_factor: float = 1.0) -> None:
        self.now_ms = start_ms
        self.step_ms = STEP_MS
        self.left_out: Counter[str] = Counter()
        self._factor = time_factor
        self._channel = PolymarketChannel()
        self._loaded: list[tuple[int, dict[str, AssetRecord], list[FrameRecord]]] = []
        self._recordings: list[_Recording] = []
        self._by_asset: dict[str, _Recording] = {}
        self._by_market: dict[str, dict[str, AssetRecord]] = {}
        for path in sorted(captures.iterdir()):
            if path.name.endswith(CAPTURE_SUFFIXES):
                self._load(path)
        self._arrange()
        self._loaded.clear()
        if not self._recordings:
            raise FileNotFoundError(
                f"{captures}: no capture with asset records; record some, or name another folder"
            )

    def event_ids(self, closed: bool | None) -> Sequence[str]:
        return [] if closed else list(self._by_market)

    def event(self, event_id: str) -> JsonObject | None:
        assets = self._by_market.get(event_id)
        if assets is None:
            return None
        first = next(iter(assets.values()))
        tokens = list(assets)
        title = f"Recorded market {event_id[:10]}"
        market: JsonObject = {
            "id": event_id,
            "question": title,
            "conditionId": event_id,
            "slug": event_id,
            "description": "A recorded market: its rules text was not recorded.",
            "outcomes": msgspec.json.encode(["Yes", "No"][: len(tokens)]).decode(),
            "clobTokenIds": msgspec.json.encode(tokens).decode(),
            "active": True,
            "closed": False,
            "archived": False,
            "acceptingOrders": True,
            "enableOrderBook": True,
            "negRisk": bool(first.neg_risk),
            "feesEnabled": False,
        }
        if first.tick_size is not None:
            market["orderPriceMinTickSize"] = float(first.tick_size)
        if first.min_order_size is not None:
            market["orderMinSize"] = float(first.min_order_size)
        return {
            "id": event_id,
            "slug": event_id,
            "title": title,
            "active": True,
            "closed": False,
            "archived": False,
            "negRisk": False,
            "tags": [],
            "markets": [market],
        }

    def clob_market(self, condition_id: str) -> JsonObject | None:
        assets = self._by_market.get(condition_id)
        if assets is None:
            return None
        first = next(iter(assets.values()))
        outcomes = [
            {"t": token, "o": label} for token, label in zip(assets, ("Yes", "No"), strict=False)
        ]
        found: JsonObject = {"t": outcomes, "c": condition_id, "ao": True}
        if first.min_order_size is not None:
            found["mos"] = float(first.min_order_size)
        if first.tick_size is not None:
            found["mts"] = float(first.tick_size)
        if first.neg_risk:
            found["nr"] = True
        return found

    def rest_book(self, token: str) -> str | None:
        recording = self._by_asset.get(token)
        text = None if recording is None else self._book(token)
        if recording is None or text is None:
            return None
        asset = recording.assets[token]
        book = cast("JsonObject", msgspec.json.decode(text))
        book.pop("event_type", None)
        book["min_order_size"] = asset.min_order_size or ""
        book["neg_risk"] = bool(asset.neg_risk)
        book.setdefault("tick_size", asset.tick_size or "")
        book.setdefault("last_trade_price", "")
        return msgspec.json.encode(book).decode()

    def initial_books(self, tokens: Sequence[str]) -> str:
        books = [book for token in tokens if (book := self._book(token)) is not None]
        return f"[{','.join(books)}]"

    def subscribed(self, tokens: Sequence[str]) -> None:
        for token in tokens:
            recording = self._by_asset.get(token)
            if recording is not None and recording.begins_ms is None:
                recording.begins_ms = self.now_ms + LEAD_MS

    def advance(self, to_ms: int, sent_ns: int) -> Iterator[WireFrame]:
        for recording in self._recordings:
            if recording.begins_ms is None:
                continue
            while recording.played < len(recording.frames):
                frame = recording.frames[recording.played]
                due_ms = recording.begins_ms + frame.after_ms * self._factor
                if due_ms > to_ms:
                    break
                recording.played += 1
                self._channel.receive(frame.text, sent_ns)
                yield WireFrame(int(due_ms), -1, frame.text, frame.assets)
        self.now_ms = to_ms

    def rewards(self, cursor: str) -> JsonObject:
        del cursor
        return {"limit": 500, "count": 0, "next_cursor": "LTE=", "data": []}

    def _load(self, path: Path) -> None:
        assets: dict[str, AssetRecord] = {}
        frames: list[FrameRecord] = []
        for record in read_capture(path):
            if isinstance(record, AssetRecord):
                assets.setdefault(record.asset_id, record)
            elif isinstance(record, Damaged):
                self.left_out["damaged_line"] += 1
            elif isinstance(record, FrameRecord):
                frames.append(record)
        if not assets or not frames:
            self.left_out["no_asset_records"] += 1
            return
        self._loaded.append((frames[0].recv_ns, assets, frames))

    def _arrange(self) -> None:
        """Put captures of the same assets one after another, in the order they were recorded."""
        for first_ns, assets, frames in sorted(self._loaded, key=lambda found: found[0]):
            known = [self._by_asset[asset_id] for asset_id in assets if asset_id in self._by_asset]
            recording = known[0] if known else _Recording({}, first_ns=first_ns)
            if first_ns < recording.last_ns or any(other is not recording for other in known):
                # two recordings of one asset at one time would be two venues
                self.left_out["overlaps_another_capture"] += 1
                continue
            if not known:
                self._recordings.append(recording)
            recording.assets = assets | recording.assets
            recording.last_ns = frames[-1].recv_ns
            for frame in frames:
                self._take_frame(recording, frame)
            for asset_id, asset in assets.items():
                self._by_asset[asset_id] = recording
                self._by_market.setdefault(asset.market, {}).setdefault(asset_id, asset)
        for recording in self._recordings:
            self._follow(recording)

    def _take_frame(self, recording: _Recording, record: FrameRecord) -> None:
        several = record.frame.lstrip().startswith("[")
        objects: list[str] = []
        try:
            if several:
                raws = msgspec.json.decode(record.frame, type=list[msgspec.Raw])
                objects = [bytes(raw).decode() for raw in raws]
            else:
                msgspec.json.decode(record.frame)
                objects = [record.frame]
        except msgspec.DecodeError:
            self.left_out["frame_not_json"] += 1
            return
        rest: list[str] = []
        named: dict[str, None] = {}
        for text in objects:
            assets, is_book = _assets_of(text)
            if is_book and len(assets) == 1 and assets[0] not in recording.opening:
                recording.opening[assets[0]] = text
                continue
            rest.append(text)
            named |= dict.fromkeys(assets)
        if named:
            whole = f"[{','.join(rest)}]" if several else record.frame
            after_ms = (record.recv_ns - recording.first_ns) / 1e6
            recording.frames.append(_Played(after_ms, whole, tuple(named)))

    def _follow(self, recording: _Recording) -> None:
        markets: dict[str, list[str]] = {}
        for asset_id, asset in recording.assets.items():
            markets.setdefault(asset.market, []).append(asset_id)
        for asset_id, asset in recording.assets.items():
            members = markets[asset.market]
            mirror = next((other for other in members if other != asset_id), None)
            terms = AssetTerms(
                market_id=asset.market,
                asset_id=asset_id,
                tick=tick_of(asset.tick_size or "0.01"),
                primary=members[0] == asset_id,
                mirror_id=mirror,
                min_order_size=asset.min_order_size,
                neg_risk=asset.neg_risk,
            )
            self._channel.follow([terms])
            opening = recording.opening.get(asset_id)
            if opening is not None:
                self._channel.receive(opening, 0)

    def _book(self, token: str) -> str | None:
        recording = self._by_asset.get(token)
        if recording is None:
            return None
        if not recording.played:
            return recording.opening.get(token)
        state = self._channel.states[token]
        return _spell_book(state) if state.opened else None


def _assets_of(text: str) -> tuple[list[str], bool]:
    """Assets one message names, and whether it is a full book."""
    message = cast("object", msgspec.json.decode(text))
    if not isinstance(message, dict):
        return [], False
    members = cast("JsonObject", message)
    assets: dict[str, None] = {}
    if isinstance(asset := members.get("asset_id"), str):
        assets[asset] = None
    changes = members.get("price_changes")
    if isinstance(changes, list):
        for change in cast("list[object]", changes):
            if isinstance(change, dict):
                assets[str(cast("JsonObject", change).get("asset_id"))] = None
    return list(assets), members.get("event_type") == "book"


def _spell_book(state: PolymarketBook) -> str:
    terms, ts_ms = state.wire_terms, state.ts_venue_ms or 0
    members = level_members(state.book)
    digest = hash_members(terms, ts_ms, members) if terms.complete else state.batch_hash
    return (
        f'{{"market":"{terms.market_id}","asset_id":"{terms.asset_id}","timestamp":"{ts_ms}",'
        f'"hash":"{digest}","bids":[{members[0]}],"asks":[{members[1]}],'
        f'"tick_size":"{SPELLING[state.tick]}",'
        f'"last_trade_price":"{terms.last_trade_price or ""}","event_type":"book"}}'
    )
