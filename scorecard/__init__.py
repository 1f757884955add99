"""Every acceptance figure, measured and held against its bound.

A module a subject; each offers ``measure() -> Iterator[Figure]``. ``python -m scorecard`` runs them
all, writes ``docs/scorecard.md`` and exits 1 where a bound is missed. A figure that cannot be had
here (captures or browser absent) is listed with the reason and misses nothing.
"""
