"""The tables of the settings: every key with its type, its default and what it may be.

What each is for stands beside it in ``config/surveillance.toml``; ``settings`` makes the tree.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from surveillance_core.markets import Venue

POLYMARKET_ASSETS_A_CONNECTION = 700
LAST_MS = 4_102_444_800_000
"""2100-01-01: no time in the settings is later."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def is_loopback(host: str) -> bool:
    """Whether an address or name reaches this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class VenueSettings(_Table):
    """``[venues.<name>]``: where a venue is and how much of it to follow."""

    enabled: bool = False
    rest_url: str = ""
    clob_url: str = ""
    ws_url: str = ""
    max_subs: int = Field(default=200, ge=1)
    assets_per_connection: int = Field(default=400, ge=1, le=10_000)
    hot_count: int = Field(default=40, ge=0)
    rotation_period_secs: int = Field(default=180, ge=1)
    snapshot_interval_ms_hot: int = Field(default=2_000, ge=50)
    snapshot_interval_ms_warm: int = Field(default=10_000, ge=50)
    subscription_churn_limit_per_minute: int = Field(default=600, ge=1)
    pinned: tuple[str, ...] = ()
    exclude_title_patterns: tuple[str, ...] = ()
    min_hours_until_close: float = Field(default=0.0, ge=0.0)
    min_volume_24h: float = Field(default=0.0, ge=0.0)
    min_liquidity: float = Field(default=0.0, ge=0.0)
    categories: tuple[str, ...] = ()
    exclude_categories: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    mirror_check: bool = True
    requests_per_second: float = Field(default=5.0, ge=0.1)
    request_burst: float = Field(default=5.0, ge=1.0)
    complete_rewards: bool = True
    page_size: int = Field(default=500, ge=1, le=500)
    max_pages: int = Field(default=1_000, ge=1)
    stall_seconds: float = Field(default=55.0, gt=0.0)
    stall_least_seconds: float = Field(default=10.0, gt=0.0)
    half_open_seconds: float = Field(default=30.0, gt=0.0, le=3_600.0)
    sentinels: bool = True
    witness_seconds: float = Field(default=35.0, ge=0.0)
    witness_again_seconds: float = Field(default=5.0, ge=0.0)
    witness_quiet_seconds: float = Field(default=10.0, ge=0.0)
    witness_books: int = Field(default=200, ge=1)
    first_book_seconds: float = Field(default=30.0, gt=0.0)
    hash_check_interval_ms: int = Field(default=5_000, ge=0)
    reconnect_max_seconds: float = Field(default=30.0, gt=0.0)
    connection_minutes: float = Field(default=12.0, ge=0.0)

    @field_validator("rest_url", "clob_url", "ws_url")
    @classmethod
    def _secure_or_loopback(cls, url: str) -> str:
        if not url:
            return url
        parts = urlsplit(url)
        if parts.scheme not in {"https", "wss", "http", "ws"} or not parts.hostname:
            # whatever stands here instead may be a secret: it is not repeated
            raise ValueError("not a web address, as in https://example.com")
        loopback = is_loopback(parts.hostname)
        if parts.scheme in {"http", "ws"} and not loopback:
            raise ValueError("http:// and ws:// are for loopback only; use https:// or wss://")
        if parts.username or parts.password:
            raise ValueError("credentials do not belong in an address")
        if parts.query or parts.fragment:
            raise ValueError("an address ends with its path; no secret belongs in it")
        return url.rstrip("/")


class KalshiSettings(VenueSettings):
    """``[venues.kalshi]``: with references to the key that its handshake is signed with."""

    witness_books: int = Field(default=20, ge=1)
    api_key_id_env: str = ""
    private_key_path: str = ""

    @field_validator("api_key_id_env")
    @classmethod
    def _names_a_variable(cls, name: str) -> str:
        if name and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            # whatever stands here instead may be the secret itself: it is not repeated
            raise ValueError("names the environment variable that holds the key's id")
        return name

    @field_validator("private_key_path")
    @classmethod
    def _is_a_path(cls, path: str) -> str:
        if "-----BEGIN" in path or "\n" in path or re.fullmatch(r"[A-Za-z0-9+/=]{100,}", path):
            raise ValueError("is the path of the key's file, never the key")
        return path


class VenuesSettings(_Table):
    """``[venues]``: one table a venue."""

    polymarket: VenueSettings = VenueSettings()
    kalshi: KalshiSettings = KalshiSettings()

    @field_validator("polymarket")
    @classmethod
    def _books_that_come(cls, table: VenueSettings) -> VenueSettings:
        if table.assets_per_connection > POLYMARKET_ASSETS_A_CONNECTION:
            raise ValueError(
                f"assets_per_connection ({table.assets_per_connection}) exceeds "
                f"{POLYMARKET_ASSETS_A_CONNECTION}: beyond about 750 books silently never come"
            )
        return table

    def __getitem__(self, venue: Venue) -> VenueSettings:
        return self.polymarket if venue is Venue.POLYMARKET else self.kalshi

    @property
    def enabled(self) -> list[Venue]:
        """Enabled venues in alphabetical order."""
        return [venue for venue in Venue if self[venue].enabled]


class RawSettings(_Table):
    """``[storage.raw]``: the archive of frames as they were received.

    With 0 days none are archived, and what was archived before is left alone.
    """

    keep_days: float = Field(default=0.0, ge=0.0)


class StorageSettings(_Table):
    """``[storage]``: how rows become files."""

    top_k: int = Field(default=50, ge=1, le=1_000)
    flush_rows: int = Field(default=50_000, ge=1)
    flush_seconds: float = Field(default=5.0, ge=0.0)
    bucket_minutes: float = Field(default=5.0, gt=0.0, le=60.0)
    heartbeat_seconds: float = Field(default=60.0, gt=0.0)
    held_rows: int = Field(default=1_000_000, ge=1)
    raw: RawSettings = RawSettings()
    s3_endpoint_url: str = ""
    s3_region: str = "us-east-1"

    @field_validator("bucket_minutes")
    @classmethod
    def _divides_the_hour(cls, minutes: float) -> float:
        if abs(60 / minutes - round(60 / minutes)) > 1e-9:
            raise ValueError("must divide an hour, so that no bucket spans two")
        return minutes


class JournalSettings(_Table):
    """``[journal]``: the write-ahead log of everything received."""

    directory: str = ""
    sync_ms: float = Field(default=500.0, gt=0.0, le=60_000.0)
    segment_mb: float = Field(default=128.0, gt=0.0, le=4_096.0)
    memory_mb: float = Field(default=64.0, gt=0.0)
    reserve_mb: float = Field(default=128.0, ge=0.0)


class RotationSettings(_Table):
    """``[rotation]``: whether groups take turns where they do not all fit."""

    enabled: bool = True
    exploit_share: float = Field(default=0.5, ge=0.0, le=0.95)
    priorities_max_age_minutes: float = Field(default=120.0, gt=0.0)
    revisit_target_minutes: float = Field(default=0.0, ge=0.0)


class MockSettings(_Table):
    """``[mock]``: the simulated venues instead of the real ones."""

    enabled: bool = False
    universe_size: int = Field(default=1_000, ge=1)
    markets_per_venue: int = Field(default=40, ge=1)
    polymarket_markets: int = Field(default=0, ge=0)
    kalshi_markets: int = Field(default=0, ge=0)
    seed: int = 7
    http_port: int = Field(default=8801, ge=0, le=65_535)
    ws_port: int = Field(default=8802, ge=0, le=65_535)
    kalshi_http_port: int = Field(default=8803, ge=0, le=65_535)
    kalshi_ws_port: int = Field(default=8804, ge=0, le=65_535)
    speed: float = Field(default=1.0, gt=0.0, le=100_000.0)
    epoch_ms: int = Field(default=0, ge=0, le=LAST_MS)
    start_ms: int = Field(default=0, ge=0, le=LAST_MS)
    events_per_second: float = Field(default=20.0, gt=0.0)
    plants_per_hour: float = Field(default=12.0, ge=0.0)
    windows: bool = True

    @model_validator(mode="after")
    def _time_has_an_epoch(self) -> Self:
        if not self.epoch_ms and (self.speed != 1.0 or self.start_ms):
            raise ValueError(
                "speed and start_ms count from epoch_ms, which has to be set with them"
            )
        return self


class UniverseSettings(_Table):
    """``[universe]``: which universe is published, and which one the collector may use."""

    max_age_hours: float = Field(default=48.0, gt=0.0)
    poll_seconds: float = Field(default=30.0, gt=0.0)
    least_share_of_last: float = Field(default=0.2, ge=0.0, le=1.0)
    max_filtered_share: float = Field(default=0.9, ge=0.0, le=1.0)


class HealthSettings(_Table):
    """``[health]``: the collector's health pages, and what it takes to be called ready."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = Field(default=8810, ge=0, le=65_535)
    expose: bool = False
    allowed_hosts: tuple[str, ...] = ()
    least_books_share: float = Field(default=0.9, ge=0.0, le=1.0)
    quiet_seconds: float = Field(default=30.0, gt=0.0)
    least_free_gib: float = Field(default=1.0, ge=0.0)

    @model_validator(mode="after")
    def _loopback_unless_exposed(self) -> Self:
        if not self.expose and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} can be reached by others, and the pages have no login: "
                "use 127.0.0.1, or set expose = true and put something with a login in front"
            )
        return self


class OrchestrationSettings(_Table):
    """``[orchestration]``: how Dagster is driven."""

    first_date: str = "2026-01-01"
    sensor_seconds: int = Field(default=30, ge=1)
    open_day_refresh_seconds: float = Field(default=900.0, ge=0.0)
    run_requests_a_tick: int = Field(default=50, ge=1)
    day_close_minute: int = Field(default=30, ge=0, le=59)
    liveness_minutes: float = Field(default=15.0, gt=0.0)


class CompactionSettings(_Table):
    """``[compaction]``: when hours become one file, and how long the files before it stay."""

    margin_minutes: float = Field(default=60.0, ge=0.0)
    grace_hours: float = Field(default=24.0, ge=0.0)


class VenueEndpoints(_Table):
    """Where a venue answers."""

    rest_url: str
    clob_url: str
    ws_url: str
