"""Visits between runs: one small file in the state directory, replaced whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import structlog

from surveillance_collector.visits import Visit, VisitsError, decode_visits, encode_visits
from surveillance_core.lake.layout import visits_file
from surveillance_core.lake.store import Store
from surveillance_core.markets import Venue

log = structlog.get_logger()


class VisitStore:
    """The visits of one venue and shard."""

    def __init__(self, store: Store, venue: Venue, shard: str) -> None:
        self._venue = venue
        self._path = store.state_dir() / visits_file(venue, shard)

    def load(self, now: float) -> dict[str, Visit]:
        """What an earlier run has kept; what cannot be used is set aside and done without."""
        try:
            return decode_visits(self._venue, self._path.read_bytes(), now)
        except FileNotFoundError:
            return {}
        except (OSError, VisitsError) as error:
            aside = self._path.with_suffix(f".damaged-{int(now)}")
            log.warning(
                "visits_set_aside",
                venue=self._venue.value,
                file=str(self._path),
                cause=str(error)[:300],
                moved_to=str(aside),
            )
            self._set_aside(aside)
            return {}

    def save(self, visits: Mapping[str, Visit], now: float) -> None:
        """Keep the visits; a failure is only logged, since those kept before are little older."""
        staged = self._path.with_suffix(".new")
        try:
            with staged.open("wb") as file:
                file.write(encode_visits(self._venue, visits, now))
                file.flush()
                os.fsync(file.fileno())
            staged.replace(self._path)
        except OSError as error:
            log.warning("visits_not_kept", venue=self._venue.value, error=str(error))

    def _set_aside(self, aside: Path) -> None:
        try:
            self._path.replace(aside)
        except OSError as error:
            log.warning("visits_not_moved", venue=self._venue.value, error=str(error))
