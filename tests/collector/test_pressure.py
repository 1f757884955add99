"""Pressure of the disk and the memory: what is decided, and what a collector under it does."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from surveillance_collector import pressure as decisions
from surveillance_collector.backpressure import BackPressure
from surveillance_collector.holdings import Subscribe, Unsubscribe
from surveillance_collector.journal.files import LocalSegments
from surveillance_collector.pressure import Level, Pressure, Readings, follow_pressure
from surveillance_collector.pressure_watch import PressureWatch
from surveillance_collector.service import VenueCollector, collect
from surveillance_core.lake.publish import Lake
from surveillance_core.lake.schemas import COVERAGE

from .conftest import MakeSettings
from .live import busy_venue, collecting, judge, publish_world, until
from .rotations import Rotation, group_of, limits_of
from .test_journal import FailingFiles, journal_of
from .worlds import SECOND, VENUE, lake_rows, opened_segments

# ── decisions ────────────────────────────────────────────────────────────────────────────────


def _followed(readings: list[tuple[float, Readings]]) -> list[Pressure]:
    verdicts = [Pressure()]
    for now, reading in readings:
        verdicts.append(follow_pressure(verdicts[-1], reading, now))
    return verdicts[1:]


def test_each_mark_is_told_once_each_way_and_not_again_for_a_share_that_wavers(
    tmp_path: Path,
) -> None:
    shares = [0.3, 0.149, 0.151, 0.149, 0.099, 0.11, 0.049, 0.06, 0.071, 0.13, 0.169, 0.171]
    given = iter(shares)

    def read(_: float | None) -> Readings:
        return Readings(free_share=next(given))

    watch = PressureWatch("polymarket", read, None, tmp_path)
    with capture_logs() as logs:
        for now in range(len(shares)):
            watch.follow(float(now))
    told = [(entry["event"], entry["below"]) for entry in logs]
    assert told == [
        ("disk_low", 0.15),
        ("disk_low", 0.1),
        ("disk_low", 0.05),
        ("disk_recovering", 0.1),
        ("disk_recovering", 0.15),
        ("disk_recovering", None),
    ]


def test_a_stutter_sheds_nothing_and_what_lasts_sheds_until_there_has_been_calm() -> None:
    full = Readings(free_share=0.01, on_reserve=True)
    calm = Readings(free_share=0.5)
    stutter = _followed([(0, full), (1, full), (2, calm), (3, full), (4, calm)])
    assert not any(verdict.shedding for verdict in stutter)
    assert [verdict.level is Level.FULL for verdict in stutter] == [True, True, False, True, False]
    lasting = _followed(
        [
            (0, full),
            (4, full),
            (5, calm),
            (30, calm),
            (31, full),
            (32, calm),
            (61, calm),
            (62, calm),
        ]
    )
    assert [v.shedding for v in lasting] == [False, True, True, True, True, True, True, False]


def test_rows_press_from_half_of_their_limit_on_until_a_quarter() -> None:
    verdicts = _followed(
        [(n, Readings(free_share=0.5, rows_held=rows, rows_limit=100))
         for n, rows in enumerate((49, 50, 26, 49, 25, 24, 49))]
    )  # fmt: skip
    assert [verdict.causes for verdict in verdicts] == [
        (), ("rows",), ("rows",), ("rows",), ("rows",), (), (),
    ]  # fmt: skip


def test_what_fails_is_named() -> None:
    (verdict,) = _followed([(0, Readings(free_share=None, on_reserve=True, failing="EIO"))])
    assert verdict.causes == ("reserve", "journal")


# ── sockets ──────────────────────────────────────────────────────────────────────────────────


async def test_sockets_wait_for_rows_as_they_do_for_the_journal(tmp_path: Path) -> None:
    held = BackPressure(journal_of(opened_segments(tmp_path / "j")), rows_limit=100)
    held.note(99, SECOND)
    assert not held.crowded
    held.note(100, 2 * SECOND)
    waiting = asyncio.create_task(held.room())
    await asyncio.sleep(0)
    held.note(95, 3 * SECOND)
    await asyncio.sleep(0)
    assert held.crowded
    assert not waiting.done()
    held.note(89, 4 * SECOND)
    await waiting
    assert held.pauses == 1


def test_a_connection_that_dies_of_a_pause_is_not_trusted_from_its_beginning_on(
    tmp_path: Path,
) -> None:
    held = BackPressure(journal_of(opened_segments(tmp_path / "j")), rows_limit=100)
    held.note(0, SECOND)
    held.note(100, 2 * SECOND)
    assert held.ending("closed_1006", None, 3 * SECOND) == ("closed_1006", None), "too short"
    assert held.ending("closed_1006", None, 9 * SECOND) == ("backpressure", SECOND)
    assert held.ending("stopped", None, 9 * SECOND) == ("stopped", None)
    assert held.unheard_since(9 * SECOND) is None
    assert held.unheard_since(31 * SECOND) == SECOND
    assert held.unheard_since(32 * SECOND) is None, "said once a pause"
    held.note(0, 40 * SECOND)
    assert held.ending("closed_1011", 50 * SECOND, 50 * SECOND) == ("backpressure", SECOND)
    assert held.ending("closed_1011", None, 51 * SECOND) == ("closed_1011", None)


async def test_without_a_reserve_a_disk_that_was_full_is_not_full_for_ever(tmp_path: Path) -> None:
    files = FailingFiles(tmp_path / "j", (1,), errno.ENOSPC)
    journal = journal_of(files, reserve_bytes=0)
    journal.begin_segment(1, [])
    assert not await journal.sync()
    await journal.set_reserve()
    assert journal.on_reserve
    assert await journal.sync()
    await journal.set_reserve()
    assert not journal.on_reserve


# ── slots ────────────────────────────────────────────────────────────────────────────────────


def test_what_is_given_up_and_comes_back_keeps_to_the_churn_limit_and_to_whole_groups() -> None:
    limits = limits_of(40, dwell=5, churn=120, exploit=0.5)
    rotation = Rotation(limits)
    groups = [group_of(f"g{n:03d}", 2) for n in range(20)]
    rotation.adopt(groups)
    rotation.step(1.0)
    scheduler, now = rotation.scheduler, rotation.now
    kept = groups[:4]
    assert scheduler.adopt(kept, (), {})
    spent: list[tuple[float, int]] = []

    def steps(seconds: int) -> None:
        nonlocal now
        for _ in range(seconds):
            now += 1.0
            for change in scheduler.step(now):
                assert isinstance(change, Subscribe | Unsubscribe)
                spent.append((now, len(change.assets)))

    steps(120)
    assert set(scheduler.standing) == {group.group_id for group in kept}
    assert scheduler.adopt(groups, (), {}, back=True)
    steps(120)
    assert set(scheduler.standing) == {group.group_id for group in groups}
    assert all(len(s.group.assets) == 2 for s in scheduler.standing.values())
    for at, _ in spent:
        assert sum(n for t, n in spent if at <= t < at + 60.0) <= 120


# ── a collector ──────────────────────────────────────────────────────────────────────────────


async def test_warm_markets_are_given_up_while_the_disk_is_full_and_come_back(
    make_settings: MakeSettings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "SHED_SECONDS", 0.0)
    monkeypatch.setattr(decisions, "CALM_SECONDS", 2.0)
    full = False
    write = LocalSegments.write

    def refusing(self: LocalSegments, descriptor: int, content: bytes) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, descriptor, content)

    monkeypatch.setattr(LocalSegments, "write", refusing)
    async with busy_venue(markets=12) as venue:
        publish_world(lake, venue)
        settings = make_settings(venue, hot_count=3, subscription_churn_limit_per_minute=6_000)
        async with collecting(settings, lake) as collector:
            await until(lambda: collector.status().books > 8, "books")
            everything = await _settled(collector)
            full = True
            await until(lambda: collector.status().journal.shedding, "shedding")
            await until(lambda: collector.status().markets < everything, "warm markets go")
            hot = await _settled(collector)
            assert 0 < hot < everything
            full = False
            await until(lambda: collector.status().markets == everything, "they come back")
    judge(lake, venue)
    shed = lake_rows(lake, COVERAGE).filter(cause="shed")
    assert shed["outcome_id"].n_unique() == everything - hot
    assert set(shed["state"]) == {"untrusted"}


async def _settled(collector: VenueCollector) -> int:
    """Markets followed, once that has been the same for a second."""
    seen: list[int] = []

    def same() -> bool:
        seen.append(collector.status().markets)
        return len(seen) > 50 and len(set(seen[-50:])) == 1

    await until(same, "as many markets for a second")
    return seen[-1]


async def test_a_disk_that_is_full_at_the_start_is_waited_for(
    make_settings: MakeSettings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = errno.ENOSPC
    opened = LocalSegments.open

    def refusing(self: LocalSegments) -> None:
        if number:
            raise OSError(number, os.strerror(number))
        opened(self)

    monkeypatch.setattr(LocalSegments, "open", refusing)
    monkeypatch.setattr("surveillance_collector.recording.RETRY_SECONDS", 0.05)
    async with busy_venue() as venue:
        publish_world(lake, venue)
        async with collecting(make_settings(venue), lake) as collector:
            for number in (errno.ENOSPC, errno.EROFS, errno.EIO):
                await until(
                    lambda: collector.status().journal.blocked == os.strerror(number),  # noqa: B023
                    "it says why it waits",
                )
            assert collector.status().frames == 0
            number = 0
            await until(lambda: collector.report().files > 0, "files")
            assert collector.status().journal.blocked == ""
    judge(lake, venue)


async def test_a_directory_that_is_not_ours_ends_the_collector_with_the_next_step(
    make_settings: MakeSettings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(self: LocalSegments) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/journal")

    monkeypatch.setattr(LocalSegments, "open", refusing)
    async with busy_venue() as venue:
        publish_world(lake, venue)
        with pytest.raises(ExceptionGroup) as failed:
            await collect(make_settings(venue), lake, [VENUE], 15.0)
    assert "journal.directory" in str(failed.value.exceptions[0])
