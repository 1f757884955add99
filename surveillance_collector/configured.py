"""The parts of a collector as the settings have them."""

from __future__ import annotations

from collections.abc import Callable

from surveillance_collector.engine import Engine
from surveillance_collector.recorder import Recorder
from surveillance_collector.sampling import Sampling, Tier
from surveillance_core.lake.publish import Lake
from surveillance_core.markets import Venue
from surveillance_core.settings import Settings
from surveillance_core.simulated_time import receive_ns_of_wall
from surveillance_core.venues.protocols import BATCH_GAP_NS, MarketChannel, SettledReader
from surveillance_core.venues.registry import adapter_of


def sampling_of(settings: Settings, venue: Venue) -> Sampling:
    """The engine's cadences from the settings."""
    table, storage = settings.venues[venue], settings.storage
    return Sampling(
        cadence_ns={
            Tier.HOT: table.snapshot_interval_ms_hot * 1_000_000,
            Tier.WARM: table.snapshot_interval_ms_warm * 1_000_000,
        },
        heartbeat_ns=int(storage.heartbeat_seconds * 1e9),
        bucket_ns=int(storage.bucket_minutes * 60e9),
        top_k=storage.top_k,
        # a wait for the venue's answer, which simulated time does not hurry
        first_book_ns=receive_ns_of_wall(settings.mock, table.first_book_seconds),
    )


def new_channels(
    settings: Settings, venue: Venue, *, hash_interval_ms: int | None = None
) -> Callable[[SettledReader], MarketChannel]:
    """What makes the venue's channels as configured."""
    adapter = adapter_of(venue)
    interval = settings.venues[venue].hash_check_interval_ms
    interval_ns = (interval if hash_interval_ms is None else hash_interval_ms) * 1_000_000

    # the frames of a batch are apart by the wall's time, however fast the simulated one runs
    gap_ns = receive_ns_of_wall(settings.mock, BATCH_GAP_NS / 1e9)

    def new_channel(on_settled: SettledReader) -> MarketChannel:
        return adapter.new_channel(on_settled, interval_ns, batch_gap_ns=gap_ns)

    return new_channel


def new_engine(settings: Settings, venue: Venue, *, hash_interval_ms: int | None = None) -> Engine:
    """An engine of the venue as configured."""
    channels = new_channels(settings, venue, hash_interval_ms=hash_interval_ms)
    return Engine(channels, sampling_of(settings, venue))


def new_recorder(settings: Settings, lake: Lake, venue: Venue, shard: str) -> Recorder:
    """A recorder of the venue as configured."""
    storage = settings.storage
    return Recorder(
        lake,
        venue,
        shard,
        bucket_us=int(storage.bucket_minutes * 60e6),
        flush_rows=storage.flush_rows,
        flush_us=int(storage.flush_seconds * 1e6),
    )
