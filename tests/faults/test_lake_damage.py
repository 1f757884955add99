"""STO-07, the lake's half: its files, manifests and universes changed by a bit, cut, or zeroed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from surveillance_collector import cli
from surveillance_core.lake.layout import bucket_file, manifest_segment, universe_file
from surveillance_core.lake.publish import (
    Lake,
    publish_rows,
    publish_universe,
    rows_to_table,
)
from surveillance_core.lake.read import (
    read_universe,
    scan_table,
    unlisted_files,
    verify_days,
)
from surveillance_core.lake.schemas import COVERAGE, TRADES, Table
from surveillance_core.markets import Market, UniverseError, Venue
from tests.collector.worlds import listed_market

from .matrix import Tier, Trial

POLYMARKET = Venue.POLYMARKET
START = datetime(2026, 9, 1, 13, tzinfo=UTC)
DAY = START.date()
BY_COMMAND = {Tier.QUICK: 5, Tier.FULL: 40}
PAGE = 512
Rows = Counter[tuple[object, ...]]


@dataclass
class Sound:
    """A lake, and what is in it."""

    lake: Lake
    rows: dict[str, dict[str, Rows]] = field(default_factory=dict[str, dict[str, Rows]])
    """By table and by path of the file."""
    markets: list[Market] = field(default_factory=list[Market])

    @property
    def targets(self) -> list[str]:
        """What is damaged: as often a manifest or a universe as a file of rows."""
        files = [path for of_table in self.rows.values() for path in of_table]
        others = [
            *(manifest_segment(POLYMARKET, DAY, name) for name in ("collector-0", "universe")),
            universe_file(POLYMARKET, DAY),
        ]
        return files + others * (len(files) // len(others))


@pytest.fixture
def sound(lake: Lake) -> Sound:
    """Trades and coverage of a few buckets, and a universe."""
    sound = Sound(lake, {TRADES.name: {}, COVERAGE.name: {}})
    for minute in range(0, 15, 5):
        bucket = START + timedelta(minutes=minute)
        at_us = int(bucket.timestamp() * 1e6)
        trades = [
            (at_us + n * 1_000, at_us // 1_000, "m", f"yes-{n % 7}", n % 90 / 100 + 0.01, n / 3.0,
             "buy", f"yes-{n % 7}", 0.5, "0", None)
            for n in range(80)
        ]  # fmt: skip
        covered = [("m", f"yes-{n}", at_us, at_us + 300_000_000, "trusted", None) for n in range(7)]
        _publish(sound, TRADES, bucket, trades)
        _publish(sound, COVERAGE, bucket, covered)
    markets = [listed_market(f"0x{n}", volume=float(n)) for n in range(20)]
    publish_universe(lake, POLYMARKET, DAY, markets, writer="universe")
    sound.markets = read_universe(lake, POLYMARKET, DAY) or []
    assert len(sound.markets) == len(markets)
    return sound


def _publish(
    sound: Sound, table: Table, bucket: datetime, rows: Sequence[tuple[object, ...]]
) -> None:
    entry = publish_rows(
        sound.lake, table, bucket_file(table, POLYMARKET, bucket, "0", 0, 1), POLYMARKET, DAY,
        rows_to_table(table, rows), writer="collector-0",
        time_column="ts_recv" if table is TRADES else "ts_start",
    )  # fmt: skip
    frame = scan_table(sound.lake, table, POLYMARKET, [DAY]).frame.collect()
    known = sum(sound.rows[table.name].values(), Rows())
    sound.rows[table.name][entry.path] = Rows(frame.rows()) - known


# ── damages ──────────────────────────────────────────────────────────────────────────────────


def _flip_a_bit(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]


def _cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def _cut_between_lines(content: bytes, chance: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join(lines[: chance.randrange(len(lines))])


def _zero_a_page(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(0, len(content), PAGE)
    page = content[start : start + PAGE]
    return content[:start] + bytes(len(page)) + content[start + PAGE :]


Damaging = Callable[[bytes, random.Random], bytes]
DAMAGES: tuple[Damaging, ...] = (_flip_a_bit, _flip_a_bit, _cut, _zero_a_page, _cut_between_lines)


@dataclass(frozen=True)
class Damaged:
    """A file of the lake as it was, and what was done to it."""

    path: str
    content: bytes
    left: bytes
    how: Damaging

    @property
    def whole_lines(self) -> bool:
        """Whether what is left of a manifest are the first of its lines, none of them torn."""
        rest = self.content.removeprefix(self.left)
        return self.content.startswith(self.left) and (
            not self.left or self.left.endswith(b"\n") or rest.startswith(b"\n")
        )

    def __str__(self) -> str:
        return f"{self.path} {self.how.__name__.strip('_')}"


def _damage(sound: Sound, chance: random.Random) -> Damaged:
    while True:
        path, how = chance.choice(sound.targets), chance.choice(DAMAGES)
        content = sound.lake.store.read_bytes(path)
        changed = how(content, chance)
        if changed != content:
            Path(sound.lake.store.scan_path(path)).write_bytes(changed)
            return Damaged(path, content, changed, how)


def _mend(sound: Sound, damaged: Damaged) -> None:
    Path(sound.lake.store.scan_path(damaged.path)).write_bytes(damaged.content)


# ── what must hold ───────────────────────────────────────────────────────────────────────────


def _found(lake: Lake) -> bool:
    """Whether ``verify --deep`` would say anything."""
    _, damaged, lines = verify_days(lake, POLYMARKET, [DAY], deep=True)
    return bool(damaged or lines or unlisted_files(lake, POLYMARKET, DAY))


def _assert_the_rest_is_read(sound: Sound, damaged: Damaged) -> None:
    """No row is another one, none of another file is missing, and what is left out is named."""
    for name, files in sound.rows.items():
        table = TRADES if name == TRADES.name else COVERAGE
        scan = scan_table(sound.lake, table, POLYMARKET, [DAY], deep=True)
        read = Rows(scan.frame.collect().rows())
        rest = sum((rows for path, rows in files.items() if path != damaged.path), Rows())
        if damaged.path in files:
            assert read == rest, f"{name}: other rows than those of the other files"
            assert [d.entry.path for d in scan.damaged] == [damaged.path], "it is not named"
            continue
        assert read <= rest, f"{name}: rows that there never were"
        silent = not scan.damaged_lines and not scan.damaged
        # what is not known to have been listed is not missed by readers, but by verify
        assert read == rest or not silent or damaged.whole_lines, (
            f"{name}: {(rest - read).total()} rows are missing without a word"
        )
    try:
        markets = read_universe(sound.lake, POLYMARKET, DAY)
    except UniverseError:
        return
    assert markets in (None, sound.markets), "another universe"
    assert markets or damaged.path == manifest_segment(POLYMARKET, DAY, "universe"), "no universe"


@pytest.mark.fault("STO-07")
def test_damage_in_the_lake_is_found_and_the_rest_is_read(trial: Trial, sound: Sound) -> None:
    chance = random.Random(trial.seed)
    assert not _found(sound.lake)
    where: Counter[str] = Counter()
    for number in range(trial.quantity - BY_COMMAND[trial.tier]):
        damaged = _damage(sound, chance)
        where[damaged.path.partition("/")[0]] += 1
        with trial.case(f"{number}: {damaged}"):
            assert _found(sound.lake), "not found"
            _assert_the_rest_is_read(sound, damaged)
        _mend(sound, damaged)
    assert not _found(sound.lake)
    kinds = ", ".join(f"{count:,} {name}" for name, count in sorted(where.items()))
    trial.notes.append(f"the lake's half, by directory: {kinds}")
    trial.notes.append("of a manifest cut between two lines verify alone tells, readers cannot")


@pytest.mark.fault("STO-07")
def test_the_command_finds_it_too(
    trial: Trial, sound: Sound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "LISTING_SECONDS", 0.0)
    config = tmp_path / "surveillance.toml"
    config.write_text("")
    command = ["verify", "--deep", "--config", str(config), "--data-dir", sound.lake.store.root]
    assert CliRunner().invoke(cli.app, command).exit_code == 0
    chance = random.Random(trial.seed)
    for number in range(BY_COMMAND[trial.tier]):
        damaged = _damage(sound, chance)
        with trial.case(f"command {number}: {damaged}"):
            result = CliRunner().invoke(cli.app, command)
            assert result.exit_code == 1, f"exit code {result.exit_code}: {result.output[:200]}"
            if "_manifest" not in damaged.path:
                assert damaged.path in result.output.replace("\n", ""), "it is not named"
        _mend(sound, damaged)
