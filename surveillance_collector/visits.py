"""When each group was last visited, as it is kept between runs. Pure.

Times are seconds since the epoch, UTC.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import msgspec

from surveillance_core.markets import Venue

VERSION = 1
KEPT_SECONDS = 7 * 86_400.0
"""A group that was not visited for this long has most likely left the venue."""
KEPT_GONE = 50_000
"""Groups remembered that are listed no more: some come back, and most never do."""


class Visit(msgspec.Struct, frozen=True):
    """What is known of a group's visits."""

    ended: float
    """When it last gave up its slots: its place in the rotation."""
    completed: float | None
    """When it was last left after all its books had been fresh at once, None if never."""


class VisitsError(ValueError):
    """Kept visits that cannot be used; says why."""


class _Kept(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    venue: Venue
    visits: dict[str, Visit]


def without_long_gone(
    visits: Mapping[str, Visit], listed: Collection[str], now: float
) -> dict[str, Visit]:
    """The visits of groups that are listed, and the last ones of those that are not any more."""
    kept: dict[str, Visit] = {}
    gone: list[tuple[float, str]] = []
    for group_id, visit in visits.items():
        if group_id in listed:
            kept[group_id] = visit
        elif now - visit.ended < KEPT_SECONDS:
            gone.append((visit.ended, group_id))
    gone.sort(reverse=True)
    return kept | {group_id: visits[group_id] for _, group_id in gone[:KEPT_GONE]}


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(_Kept)


def encode_visits(venue: Venue, visits: Mapping[str, Visit], now: float) -> bytes:
    """The visits of the last days as one JSON object."""
    recent = {g: visit for g, visit in visits.items() if now - visit.ended < KEPT_SECONDS}
    return _ENCODER.encode(_Kept(VERSION, venue, recent)) + b"\n"


def decode_visits(venue: Venue, content: bytes, now: float) -> dict[str, Visit]:
    """Visits kept by an earlier run.

    Raises
    ------
    VisitsError
        If the content is damaged, another version's or another venue's.
    """
    try:
        kept = _DECODER.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise VisitsError(str(error)) from error
    if kept.version != VERSION:
        raise VisitsError(f"version {kept.version} where {VERSION} is read")
    if kept.venue is not venue:
        raise VisitsError(f"visits of {kept.venue}")
    for group_id, visit in kept.visits.items():
        times = [visit.ended] if visit.completed is None else [visit.ended, visit.completed]
        # a place in the future would be the last one for as long
        if not all(math.isfinite(time) and time <= now for time in times):
            raise VisitsError(f"{group_id}: a visit that is not in the past")
    return kept.visits
