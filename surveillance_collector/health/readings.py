"""Reading how one venue's collection stands from its parts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, cast

from surveillance_collector.coverage import TRUSTED
from surveillance_collector.following import Followed
from surveillance_core.status import ConnectionStatus, JournalStatus, VenueStatus

if TYPE_CHECKING:
    from surveillance_collector.feed import Feed
    from surveillance_collector.service import CollectorReport
    from surveillance_collector.subscriptions import Subscriptions


OTHER = "other"


@dataclass
class Course:
    """What a collector notes of its own course as it goes, for those who ask how it is."""

    universe: date | None = None
    """Day of the universe in use."""
    universe_published_us: int = 0
    """When that was published, microseconds since the epoch on the wall."""
    universe_refused: str = ""
    """What was logged of a newer one that is not in use."""
    driven: float | None = None
    """When time last passed in the engine, on ``time.monotonic``."""
    publish_failing: bool = False
    failed: str = ""
    """Kinds of error that ended it."""
    stopping: bool = False

    def note_failure(self, error: Exception) -> None:
        """Keep the kinds of error alone: a message may say what is nobody else's to read."""
        causes: Sequence[BaseException] = [error]
        if isinstance(error, BaseExceptionGroup):
            causes = cast("BaseExceptionGroup[BaseException]", error).exceptions
        self.failed = ", ".join(sorted({type(cause).__name__ for cause in causes}))


def read_venue(
    report: CollectorReport,
    course: Course,
    assets: Iterable[Followed],
    rejected_not_kept: int,
    message_types: frozenset[str],
    subscriptions: Subscriptions,
    journal: JournalStatus,
) -> VenueStatus:
    """How a venue's collection stands at this moment.

    Types of message other than ``message_types`` are counted together: their names are whatever
    the venue wrote.
    """
    now = time.monotonic()
    primary = [followed for followed in assets if followed.terms.primary]
    expected = [followed for followed in primary if not followed.resolved]
    standing = [followed for followed in expected if followed.state.opened]
    trusted = [f for f in expected if f.coverage is not None and f.coverage.state == TRUSTED]
    universe_age = None
    if course.universe is not None:
        universe_age = max(0.0, time.time() - course.universe_published_us / 1e6)
    return VenueStatus(
        venue=report.venue,
        seconds=report.seconds,
        universe=course.universe,
        universe_age_seconds=universe_age,
        universe_refused=course.universe_refused,
        markets=len(primary),
        books_expected=len(expected),
        books=len(standing),
        trusted=len(trusted),
        trust=dict(Counter(followed.state.trust.value for followed in standing)),
        frames=report.frames,
        messages=_named(report.messages, message_types),
        rejected=report.rejected,
        rejected_not_kept=rejected_not_kept,
        ignored=report.ignored,
        counts=report.counts,
        hashes=report.hash,
        connections=tuple(
            _read_connection(feed, now, subscriptions.watch.sentinel_of(feed.name))
            for feed in subscriptions.feeds
            if feed.assets
        ),
        stalls=subscriptions.watch.stalls(subscriptions.endings),
        verdicts=dict(subscriptions.watch.verdicts),
        witness=dict(subscriptions.witness.counts),
        witness_demoted=subscriptions.witness.demoted,
        rows_held=report.rows_held,
        published=report.published,
        files=report.files,
        publish_failures=report.publish_failures,
        publish_failing=course.publish_failing,
        engine_age_seconds=None if course.driven is None else now - course.driven,
        journal=journal,
        failed=course.failed,
        stopping=course.stopping,
    )


def _named(messages: dict[str, int], known: frozenset[str]) -> dict[str, int]:
    named = {kind: count for kind, count in messages.items() if kind in known}
    others = sum(messages.values()) - sum(named.values())
    return named | {OTHER: others} if others else named


def _read_connection(feed: Feed, now: float, sentinel: str) -> ConnectionStatus:
    return ConnectionStatus(
        name=feed.name,
        up=feed.connected,
        assets=feed.assets,
        data_age_seconds=None if feed.heard is None else now - feed.heard,
        reconnects=dict(feed.endings),
        ping_seconds=feed.ping_seconds,
        silence_seconds=feed.silence.deadline,
        sentinel=sentinel,
    )
