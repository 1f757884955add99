"""The figures of ``/metrics``, in Prometheus' text format. Pure but for the process's own.

Base units; counters are counted since the start; labels are venues, connections and words of this
program's own, never a market or anything a venue wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from surveillance_core.status import ConnectionStatus, Status, VenueStatus

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
MOST_LABELS = 50
"""A peer chooses the code it closes with: causes beyond these are counted as ``other``."""
OTHER = "other"

_process = ProcessCollector(registry=None)


@dataclass(frozen=True)
class _Figure:
    """A metric of each venue: one number, or None where it is not known."""

    name: str
    help: str
    read: Callable[[VenueStatus], float | None]


@dataclass(frozen=True)
class _Family:
    """A metric of each venue, for each value of a label."""

    name: str
    help: str
    label: str
    read: Callable[[VenueStatus], Mapping[str, float]]


_GAUGES: tuple[_Figure, ...] = (
    _Figure("markets_followed", "Markets followed.", lambda v: v.markets),
    _Figure("books_expected", "Followed markets without a result.", lambda v: v.books_expected),
    _Figure("books_standing", "Books that stand.", lambda v: v.books),
    _Figure("books_trusted", "Books that can be relied on.", lambda v: v.trusted),
    _Figure("connections_wanted", "Connections that hold assets.", lambda v: len(v.connections)),
    _Figure("connections_up", "Of them, those open.", lambda v: sum(c.up for c in v.connections)),
    _Figure("rows_held", "Rows in memory, not yet published.", lambda v: v.rows_held),
    _Figure("publish_failing", "1 while files cannot be published.", lambda v: v.publish_failing),
    _Figure(
        "connections_watched",
        "Connections with a sentinel, which would be missed.",
        lambda v: sum(bool(c.sentinel) for c in v.connections),
    ),
    _Figure("witness_demoted", "1 while REST is not believed.", lambda v: v.witness_demoted),
    _Figure("universe_age_seconds", "Age of the universe.", lambda v: v.universe_age_seconds),
    _Figure("engine_age_seconds", "Since the engine last moved.", lambda v: v.engine_age_seconds),
    _Figure(
        "journal_lag_seconds",
        "Age of the oldest input that is not on the disk.",
        lambda v: v.journal.lag_seconds,
    ),
    _Figure(
        "journal_waiting_bytes",
        "Input that is in memory alone.",
        lambda v: v.journal.waiting_bytes,
    ),
    _Figure(
        "journal_on_reserve",
        "1 while the journal has only its reserve left.",
        lambda v: v.journal.on_reserve,
    ),
    _Figure("journal_failing", "1 while it cannot be written.", lambda v: v.journal.failing),
    _Figure("journal_segments", "Files of the journal.", lambda v: v.journal.segments),
    _Figure("disk_free_share", "Of the fuller disk.", lambda v: v.journal.free_share),
    _Figure(
        "recording_full",
        "1 while what comes in cannot be put away.",
        lambda v: v.journal.level == "full",
    ),
    _Figure("shedding", "1 while warm markets are given up.", lambda v: v.journal.shedding),
    _Figure(
        "sockets_paused",
        "1 while no socket is read, for want of memory.",
        lambda v: v.journal.sockets_paused,
    ),
)
_COUNTERS: tuple[_Figure, ...] = (
    _Figure("frames", "Frames received.", lambda v: v.frames),
    _Figure("snapshots", "Snapshot rows made.", lambda v: v.counts.get("snapshots", 0)),
    _Figure("trades", "Trade rows made.", lambda v: v.counts.get("trades", 0)),
    _Figure("files_published", "Files published.", lambda v: v.files),
    _Figure("publish_failures", "Failed attempts at a file.", lambda v: v.publish_failures),
    _Figure("journal_failures", "Failed writes of the journal.", lambda v: v.journal.failures),
    _Figure("socket_pauses", "Times no socket was read.", lambda v: v.journal.pauses),
    _Figure(
        "rejected_frames_not_kept", "Rejected and not kept either.", lambda v: v.rejected_not_kept
    ),
)
_GAUGE_FAMILIES: tuple[_Family, ...] = (
    _Family("books", "Standing books by what checks found.", "trust", lambda v: v.trust),
    _Family(
        "connection_data_age_seconds",
        "Since data last came on a connection, pings aside.",
        "connection",
        lambda v: {
            c.name: c.data_age_seconds for c in v.connections if c.data_age_seconds is not None
        },
    ),
    _Family(
        "connection_silence_limit_seconds",
        "How long data may stay away before the connection is replaced.",
        "connection",
        lambda v: {
            c.name: c.silence_seconds for c in v.connections if c.silence_seconds is not None
        },
    ),
    _Family(
        "connection_ping_seconds",
        "What the last answered ping took.",
        "connection",
        lambda v: {c.name: c.ping_seconds for c in v.connections if c.ping_seconds is not None},
    ),
)
_COUNTER_FAMILIES: tuple[_Family, ...] = (
    _Family("messages", "Messages received.", "type", lambda v: v.messages),
    _Family("rejected", "Input set aside.", "reason", lambda v: v.rejected),
    _Family("ignored", "Well-formed input that changed nothing.", "reason", lambda v: v.ignored),
    _Family("reconnects", "Connections made anew.", "cause", lambda v: _reconnects(v.connections)),
    _Family("doubts", "Times a book came into doubt.", "cause", lambda v: _doubts(v.counts)),
    _Family("stalls", "Stalls found.", "tier", lambda v: v.stalls),
    _Family("stall_verdicts", "Silences taken for stalls.", "verdict", lambda v: v.verdicts),
    _Family("witness_checks", "What REST said of books.", "verdict", lambda v: v.witness),
    _Family("hash_checks", "Integrity checks of books.", "verdict", lambda v: _verdicts(v.hashes)),
    _Family("rows_published", "Rows published.", "table", lambda v: v.published),
)


def exposition(status: Status) -> bytes:
    """Every figure of a status as Prometheus reads it."""
    return generate_latest(_Figures(status))


class _Figures(Collector):
    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        status = self._status
        yield from _of_process(status)
        for figure in _GAUGES:
            yield _labelled(GaugeMetricFamily, figure, status)
        for figure in _COUNTERS:
            yield _labelled(CounterMetricFamily, figure, status)
        for family in _GAUGE_FAMILIES:
            yield _of_family(GaugeMetricFamily, family, status)
        for family in _COUNTER_FAMILIES:
            yield _of_family(CounterMetricFamily, family, status)
        yield from _process.collect()


def _of_process(status: Status) -> Iterator[Metric]:
    process = status.process
    about = {"version": process.version, "origin": process.origin}
    yield InfoMetricFamily("surveillance_build", "What runs, on which kind of data.", about)
    yield _gauge("ready", "1 while the collector is ready.", status.ready)
    reasons = GaugeMetricFamily(
        "surveillance_not_ready", "1 for each reason against.", labels=["venue", "reason"]
    )
    for reason in status.reasons:
        reasons.add_metric([reason.venue, reason.code], 1)
    yield reasons
    yield _gauge("start_time_seconds", "Start, since the epoch.", process.started.timestamp())
    yield _gauge(
        "status_time_seconds", "When this was read, since the epoch.", status.at.timestamp()
    )
    yield _gauge(
        "event_loop_lag_seconds", "Greatest lateness in a minute.", process.loop_lag_seconds
    )
    if process.disk_free_bytes is not None:
        yield _gauge("disk_free_bytes", "Left where the lake is.", process.disk_free_bytes)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"surveillance_{name}", text, value)


def _labelled(
    kind: type[GaugeMetricFamily | CounterMetricFamily], figure: _Figure, status: Status
) -> Metric:
    family = kind(f"surveillance_{figure.name}", figure.help, labels=["venue"])
    for venue in status.venues:
        value = figure.read(venue)
        if value is not None:
            family.add_metric([venue.venue], value)
    return family


def _of_family(
    kind: type[GaugeMetricFamily | CounterMetricFamily], figure: _Family, status: Status
) -> Metric:
    family = kind(f"surveillance_{figure.name}", figure.help, labels=["venue", figure.label])
    for venue in status.venues:
        for label, value in _bounded(figure.read(venue)).items():
            family.add_metric([venue.venue, label], value)
    return family


def _bounded(values: Mapping[str, float]) -> Mapping[str, float]:
    """The labels that came first, which keep their place, and the sum of all others."""
    if len(values) <= MOST_LABELS:
        return values
    kept = dict(islice(values.items(), MOST_LABELS))
    return kept | {OTHER: kept.get(OTHER, 0) + sum(islice(values.values(), MOST_LABELS, None))}


def _reconnects(connections: tuple[ConnectionStatus, ...]) -> dict[str, float]:
    summed: dict[str, float] = {}
    for connection in connections:
        for cause, count in connection.reconnects.items():
            summed[cause] = summed.get(cause, 0) + count
    return summed


def _doubts(counts: Mapping[str, int]) -> dict[str, float]:
    return {
        name.removeprefix("doubted_"): count
        for name, count in counts.items()
        if name.startswith("doubted_")
    }


def _verdicts(hashes: Mapping[str, int]) -> dict[str, float]:
    return {name: hashes.get(name, 0) for name in ("matched", "mismatched")}
