"""The coverage ledger's arithmetic: one market's intervals of trust and distrust. Pure."""

from __future__ import annotations

from surveillance_collector.rows import Row, coverage_row

TRUSTED = "trusted"
UNTRUSTED = "untrusted"


class CoverageLine:
    """Alternating intervals of one market, from the moment it was subscribed.

    Each call returns the rows that it completes. Times are nanoseconds on the receive clock and
    do not go back, except the ``since_ns`` of a doubt, which may.
    """

    __slots__ = ("cause", "market_id", "outcome_id", "since_ns", "state")

    def __init__(self, market_id: str, outcome_id: str, since_ns: int, cause: str) -> None:
        self.market_id = market_id
        self.outcome_id = outcome_id
        self.since_ns = since_ns
        self.state = UNTRUSTED
        self.cause: str | None = cause

    def trust(self, at_ns: int) -> list[Row]:
        """A full book arrived."""
        return self._change(TRUSTED, None, at_ns)

    def doubt(self, cause: str, since_ns: int, now_ns: int) -> list[Row]:
        """The book cannot be trusted, and could not since ``since_ns``."""
        if self.state == UNTRUSTED:
            return []
        if since_ns >= self.since_ns:
            return self._change(UNTRUSTED, cause, min(since_ns, now_ns))
        # the doubt reaches into what is already written as trusted: the untrusted row overrides
        rows = [self._row(since_ns, self.since_ns, UNTRUSTED, cause)]
        self.state, self.cause = UNTRUSTED, cause
        return rows

    def cut(self, at_ns: int) -> list[Row]:
        """Write what stands so far and go on: nothing waits longer than a bucket."""
        return self._change(self.state, self.cause, at_ns)

    def miss(self, cause: str, since_ns: int, until_ns: int) -> list[Row]:
        """Nobody saw what was between; from the end of it on it is as it was.

        What was before ``since_ns`` is for who saw it to write.
        """
        start_ns = max(since_ns, self.since_ns)
        self.since_ns = max(self.since_ns, until_ns)
        return [self._row(start_ns, until_ns, UNTRUSTED, cause)] if until_ns > start_ns else []

    def _change(self, state: str, cause: str | None, at_ns: int) -> list[Row]:
        rows: list[Row] = []
        if at_ns > self.since_ns:
            rows.append(self._row(self.since_ns, at_ns, self.state, self.cause))
        self.since_ns = max(at_ns, self.since_ns)
        self.state, self.cause = state, cause
        return rows

    def _row(self, start_ns: int, end_ns: int, state: str, cause: str | None) -> Row:
        return coverage_row(self.market_id, self.outcome_id, start_ns, end_ns, state, cause)
