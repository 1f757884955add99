"""UNI-01: a newer universe that is cut short, empty, garbage, or gone, while one is in use."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from surveillance_collector.health.readiness import assess, limits_of
from surveillance_collector.service import VenueCollector
from surveillance_core.lake.layout import manifest_segment, universe_file
from surveillance_core.lake.manifest import ManifestEntry, Operation, append_entry
from surveillance_core.lake.publish import Lake, file_digest, publish_universe
from surveillance_core.markets import encode_universe
from surveillance_core.settings import Settings
from surveillance_core.status import ProcessStatus
from tests.collector.worlds import VENUE, listed_market

from .matrix import Trial
from .places import hurried

NOW = datetime(2026, 9, 2, 12, tzinfo=UTC)
DAY = NOW.date()
MARKETS = [
    listed_market(f"0x{n}", volume=float(n), title=f"Wird es „regnen“? {n}") for n in range(6)
]
GOOD = encode_universe(MARKETS)
WRITER = "universe"
OF_ONE_LAKE = 25
"""Universes that are tried in a lake; its manifest grows with each."""

_CLASSES = {
    "a key": rb'"[a-z_]+":',
    "a text": rb'"[^"]{3,}"[,}]',
    "a number": rb":\d+\.\d+",
    "a character of two bytes": rb"[\xc2-\xf4]",
    "a list": rb"\[",
    "an object": rb"\{",
    "the end of a line": rb"\}\n\{",
    "a date": rb"\d{4}-\d\d-\d\dT",
    "a truth value": rb"true|false|null",
}
"""Places of each kind that a cut may fall into, each after its first byte."""

_GARBAGE: tuple[bytes, ...] = (
    b"", b"\n", b"\0" * 4_096, b"null\n", b"[]\n", b"{}\n", b"{\n", b"[" * 100_000 + b"\n",
    b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>\n", b"\xff\xfe\x00\n",
    b'{"market_id":1e999}\n', b'{"market_id":"x","tick_size":NaN}\n',
    GOOD.replace(b'"polymarket"', b'"nowhere"'), GOOD.replace(b"\n", b"\r"), GOOD[::-1],
    b"9" * 100_000 + b"\n", GOOD.replace(b"outcomes", b"outcome"), b"\xef\xbb\xbf" + GOOD,
)  # fmt: skip


def _cut(chance: random.Random, content: bytes) -> tuple[str, bytes]:
    kind = chance.choice(list(_CLASSES))
    places = [found.start() + 1 for found in re.finditer(_CLASSES[kind], content)]
    return f"cut in {kind}", content[: chance.choice(places)]


def _random_bytes(chance: random.Random, _: bytes) -> tuple[str, bytes]:
    return "random bytes", chance.randbytes(chance.randrange(1, 5_000))


def _garbage(chance: random.Random, _: bytes) -> tuple[str, bytes]:
    content = chance.choice(_GARBAGE)
    return f"{content[:20]!r}", content


def _changed(chance: random.Random, content: bytes) -> tuple[str, bytes]:
    """A byte of a line's structure, so that it cannot be a market any more."""
    at = chance.choice([n for n, byte in enumerate(content) if byte in b"{}[]:"])
    return "a byte changed", content[:at] + b"\x07" + content[at + 1 :]


BAD: tuple[Callable[[random.Random, bytes], tuple[str, bytes]], ...] = (
    _cut, _cut, _garbage, _changed, _random_bytes
)  # fmt: skip


def _publish(lake: Lake, content: bytes, listed: bytes) -> None:
    """A universe of the day with this content, which the manifest says to be another."""
    path = universe_file(VENUE, DAY)
    staged = lake.store.staging() / "universe"
    staged.write_bytes(content)
    lake.store.publish_file(staged, path)
    entry = ManifestEntry(
        operation=Operation.PUBLISH, table="universe", path=path, bytes=len(listed),
        digest=file_digest(listed), rows=1, first_us=None, last_us=None, schema_version=1,
        published_us=int(datetime.now(UTC).timestamp() * 1e6),
    )  # fmt: skip
    append_entry(lake.store, VENUE, DAY, WRITER, entry)


class InUse:
    """A collector that has adopted a universe, and is asked to look for a newer one."""

    def __init__(self, settings: Settings, lake: Lake) -> None:
        now_ns = int(NOW.timestamp()) * 1_000_000_000
        self.collector = VenueCollector(settings, lake, VENUE, wall_ns=lambda: now_ns)
        self._limits = limits_of(settings)
        assert self.collector._adopt_universe()
        self.groups = self.watched()

    def watched(self) -> set[str]:
        watchlist = self.collector._scheduling._watchlist
        assert watchlist is not None
        return {asset_id for group in watchlist.groups for asset_id in group.assets}

    def look(self) -> list[str]:
        """What it logs as an error while it looks twice."""
        with capture_logs() as logs:
            assert self.collector._adopt_universe()
            assert self.collector._adopt_universe()
        return [entry["event"] for entry in logs if entry["log_level"] == "error"]

    def reasons(self) -> set[str]:
        process = msgspec.convert(
            {"pid": 1, "version": "", "origin": "simulated", "started": NOW.isoformat(),
             "disk_free_bytes": None, "loop_lag_seconds": 0.0}, ProcessStatus,
        )  # fmt: skip
        status = assess(process, [self.collector.status()], self._limits, NOW)
        return {reason.code for reason in status.reasons}


def _assert_kept(used: InUse) -> None:
    alerts = used.look()
    assert used.watched() == used.groups, "other markets are watched"
    assert len(alerts) == 1, f"alerts: {alerts}"
    assert "universe_refused" in used.reasons(), "it is not among the reasons of readiness"


def _assert_mended(used: InUse, lake: Lake) -> None:
    publish_universe(lake, VENUE, DAY, MARKETS[1:], writer=WRITER)
    assert not used.look()
    assert len(used.watched()) == len(used.groups) - 2, "the mended one is not adopted"
    assert "universe_refused" not in used.reasons()
    publish_universe(lake, VENUE, DAY, MARKETS, writer=WRITER)
    assert not used.look()


def _adopted(root: Path) -> tuple[Lake, InUse]:
    """A lake with universes of two days, and a collector that uses the newer one."""
    lake = Lake(str(root / "lake"), "simulated")
    publish_universe(lake, VENUE, DAY - timedelta(days=1), MARKETS[:2], writer=WRITER)
    publish_universe(lake, VENUE, DAY, MARKETS, writer=WRITER)
    used = InUse(hurried(root), lake)
    assert not used.look()
    assert "universe_refused" not in used.reasons()
    return lake, used


@pytest.mark.fault("UNI-01")
def test_the_last_good_universe_is_kept(trial: Trial, tmp_path: Path) -> None:
    chance = random.Random(trial.seed)
    lake, used = _adopted(tmp_path / "0")
    for number in range(trial.quantity):
        if number and number % OF_ONE_LAKE == 0:
            lake, used = _adopted(tmp_path / f"{number}")
        bad = BAD[number % len(BAD)]
        how, content = bad(chance, GOOD)
        # published so by a broken writer, or damaged since
        whole = chance.random() < 0.5
        with trial.case(f"{number}: {how}, {'listed so' if whole else 'listed otherwise'}"):
            _publish(lake, content, content if whole else encode_universe(MARKETS[:-1]))
            _assert_kept(used)
            _assert_mended(used, lake)


@pytest.mark.fault("UNI-01")
def test_a_universe_that_is_gone_is_kept_and_no_older_one_adopted(
    trial: Trial, tmp_path: Path
) -> None:
    lake = Lake(str(tmp_path / "lake"), "simulated")
    publish_universe(lake, VENUE, DAY, MARKETS, writer=WRITER)
    segment = Path(lake.store.scan_path(manifest_segment(VENUE, DAY, WRITER)))
    for older in (False, True):
        if older:
            publish_universe(lake, VENUE, DAY - timedelta(days=1), MARKETS[:2], writer=WRITER)
        used = InUse(hurried(tmp_path), lake)
        for how, content in (("emptied", b""), ("garbage", b"{\n"), ("cut", b'{"operation":"pub')):
            listed = segment.read_bytes()
            segment.write_bytes(content)
            with trial.case(f"its manifest {how}, {'an' if older else 'no'} older universe there"):
                _assert_kept(used)
            segment.write_bytes(listed)
            with trial.case(f"its manifest {how} and mended"):
                assert not used.look()
                assert "universe_refused" not in used.reasons()
    assert json.loads(segment.read_bytes().splitlines()[-1])["operation"] == "publish"
