"""Which markets go on which connection: pure."""

from __future__ import annotations

from collections.abc import Sequence


def place_group(sizes: Sequence[int], rooms: Sequence[int], limit: int) -> list[int]:
    """Connection of each market of a group, by its number; numbers from ``len(rooms)`` are new.

    A group shares a connection where it can, so that its books have one clock and one fate: the
    first with room for all of it, else a new one. A group larger than a connection fills what is
    free. The assets of one market are never parted, so that its two books tell one story.

    Parameters
    ----------
    sizes
        Assets of each market.
    rooms
        Assets that each connection can still take.
    limit
        Assets that a new connection takes.

    Examples
    --------
    >>> place_group([2, 2], rooms=[3, 4], limit=10), place_group([2, 2], rooms=[3], limit=10)
    ([1, 1], [1, 1])
    """
    total = sum(sizes)
    if total <= limit or any(total <= room for room in rooms):
        whole = next((number for number, room in enumerate(rooms) if total <= room), len(rooms))
        return [whole] * len(sizes)
    left = list(rooms)
    places: list[int] = []
    for size in sizes:
        place = next((number for number, room in enumerate(left) if size <= room), len(left))
        if place == len(left):
            left.append(max(limit, size))
        left[place] -= size
        places.append(place)
    return places
