"""What ordered faults do to the frames of one connection. Pure: a frame in, what is sent out."""

from __future__ import annotations

from surveillance_core.venues.simulated.faults import Duplicate, Reorder, Skip


class Disturbance:
    """Faults of one connection that are still to happen to its numbered frames.

    Examples
    --------
    >>> line = Disturbance()
    >>> line.order(Skip(1))
    >>> line.order(Reorder())
    >>> [line.pass_on(text) for text in ("a", "b", "c", "d")]
    [(), (), ('c', 'b'), ('d',)]
    """

    __slots__ = ("_duplicates", "_held", "_skips", "_swaps")

    def __init__(self) -> None:
        self._skips = 0
        self._duplicates = 0
        self._swaps = 0
        self._held: str | None = None

    @property
    def quiet(self) -> bool:
        """Whether frames pass as they are."""
        return not (self._skips or self._duplicates or self._swaps or self._held)

    def order(self, fault: Skip | Duplicate | Reorder) -> None:
        """Have a fault happen to the next frames."""
        if isinstance(fault, Skip):
            self._skips += fault.frames
        elif isinstance(fault, Duplicate):
            self._duplicates += fault.frames
        else:
            self._swaps += 1

    def pass_on(self, text: str) -> tuple[str, ...]:
        """What is sent for a frame; one that waits to be swapped is sent after the next."""
        if self._skips:
            self._skips -= 1
            return ()
        if self._held is not None:
            held, self._held = self._held, None
            return text, held
        if self._swaps:
            self._swaps -= 1
            self._held = text
            return ()
        if self._duplicates:
            self._duplicates -= 1
            return text, text
        return (text,)
