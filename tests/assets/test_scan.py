"""The scan against listings served on loopback: what is published, checked, refused, survived."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from surveillance_core.lake.publish import Lake, publish_universe
from surveillance_core.lake.read import read_universe
from surveillance_core.markets import GroupKind, Market, Venue

from .listing_server import Listings, serving

pytestmark = [pytest.mark.dagster, pytest.mark.process, pytest.mark.timeout(120)]

REPOSITORY = Path(__file__).resolve().parents[2]
TODAY = datetime.now(UTC).date()
COMMAND = [sys.executable, "-m", "surveillance_assets.cli", "scan"]


class Scans:
    """A configuration over served listings, and the command run with it."""

    def __init__(self, root: Path, url: str, listings: Listings) -> None:
        self.root, self.url, self.listings = root, url, listings
        self.data = root / "lake"

    def config(self, polymarket: str = "", kalshi: str = "", universe: str = "") -> Path:
        path = self.root / "surveillance.toml"
        path.write_text(
            f'data_dir = "{self.data}"\n'
            f'[venues.polymarket]\nenabled = true\nrest_url = "{self.url}"\npage_size = 3\n'
            f"requests_per_second = 1000\n{polymarket}\n"
            f'[venues.kalshi]\nenabled = true\nrest_url = "{self.url}"\npage_size = 3\n'
            f"requests_per_second = 1000\n{kalshi}\n[universe]\n{universe}\n"
        )
        return path

    def start(self, *arguments: str, config: Path | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *arguments, "--config", str(config or self.config())],
            cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=_environment(),
        )  # fmt: skip

    def run(
        self, *arguments: str, config: Path | None = None, code: int = 0
    ) -> tuple[list[dict[str, Any]], str]:
        process = self.start(*arguments, "--json", config=config)
        out, err = process.communicate(timeout=100)
        assert process.returncode == code, err
        assert "Traceback" not in err
        return json.loads(out) if out else [], err

    def published(self, venue: Venue = Venue.POLYMARKET) -> list[Market] | None:
        return read_universe(Lake(str(self.data)), venue, TODAY)


def _environment() -> Mapping[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SURVEILLANCE")}
    return kept | {"DAGSTER_HOME": str(REPOSITORY / "config")}


@pytest.fixture
def scans(tmp_path: Path) -> Generator[Scans]:
    listings = Listings()
    with serving(listings) as url:
        yield Scans(tmp_path, url, listings)


def _last_good(scans: Scans) -> list[Market]:
    """Scan once, so that there is something to lose."""
    scans.run("--venue", "polymarket")
    found = scans.published()
    assert found
    scans.listings.requests.clear()
    return found


def test_both_venues_are_scanned_and_one_that_fails_does_not_stop_the_other(
    scans: Scans,
) -> None:
    scans.listings.statuses["/events"] = [404]
    rows, err = scans.run("--all-venues", code=1)
    kalshi, polymarket = rows
    assert (kalshi["venue"], polymarket["venue"]) == ("kalshi", "polymarket")
    assert "status 404: 'trouble'" in kalshi["error"]
    assert "kalshi: " in err
    assert polymarket["error"] is None
    assert (polymarket["markets"], polymarket["seen"], polymarket["pages"]) == (40, 40, 4)
    assert polymarket["requests"] == 5
    assert 0 < polymarket["peak_memory_mb"] < 600
    assert scans.published(Venue.KALSHI) is None
    markets = scans.published()
    assert markets is not None
    assert [m.market_id for m in markets] == [f"0x{n:064x}" for n in range(40)]
    completed = [m for m in markets if m.rewards is not None and m.rewards.daily_rate is not None]
    assert [(m.market_id, m.rewards and m.rewards.daily_rate) for m in completed] == [
        (f"0x{1:064x}", 10.5)
    ]


def test_a_scan_says_what_the_filters_took_and_which_groups_lack_members(scans: Scans) -> None:
    config = scans.config(
        polymarket='exclude_title_patterns = ["DAY 3 "]\nmin_volume_24h = 2\ndeny = ["event:9"]\n'
        'allow = ["3"]'
    )
    scans.listings.statuses["/events/keyset"] = [429, 429]
    [row], _ = scans.run("--venue", "polymarket", config=config)
    assert row["filtered"] == {"volume_24h_low": 2, "denied": 4}, "event 3 is always kept"
    assert (row["markets"], row["tradable"], row["throttled"]) == (34, 40, 2)
    markets = scans.published()
    assert markets is not None
    sizes = {g.members for m in markets for g in m.groups if g.kind is GroupKind.NEG_RISK}
    assert sizes == {4}, "a group still knows every member listed"


@pytest.mark.parametrize("trouble", ["a page fails", "shrunken"])
def test_a_scan_that_fails_keeps_the_last_universe(scans: Scans, trouble: str) -> None:
    good = _last_good(scans)
    if trouble == "a page fails":
        scans.listings.statuses["/events/keyset"] = [200, 403]
        told = "status 403"
    else:
        scans.listings.polymarket = 4
        told = "4 markets where the last universe has 40"
    [row], err = scans.run("--venue", "polymarket", code=1)
    assert told in row["error"]
    assert told in " ".join(err.split())
    assert scans.published() == good


def test_a_shrunken_listing_is_published_when_told_to(scans: Scans) -> None:
    _last_good(scans)
    scans.listings.polymarket = 4
    [row], _ = scans.run("--venue", "polymarket", "--force")
    assert row["markets"] == 4
    assert len(scans.published() or []) == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_scan_that_is_interrupted_keeps_the_last_universe(
    scans: Scans, number: signal.Signals
) -> None:
    good = _last_good(scans)
    scans.listings.hang_after = 2
    process = scans.start("--venue", "polymarket")
    assert scans.listings.hung.wait(60)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert scans.published() == good
    if number is signal.SIGINT:
        assert process.returncode == 1
        assert "interrupted while scanning polymarket; its last universe is kept" in err
        assert "Traceback" not in err
    scans.listings.hang_after = None
    scans.run("--venue", "polymarket")
    again = scans.published()
    assert again is not None
    assert [m.market_id for m in again] == [m.market_id for m in good]


def test_the_scans_checks_warn_and_stop_nothing(
    scans: Scans, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dagster as dg

    scans.listings.extra = {"brandNewMember": 1, "feeType": "lunar_fees", "feesEnabled": True}
    for name in [name for name in os.environ if name.startswith("SURVEILLANCE__")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SURVEILLANCE_CONFIG", str(scans.root / "surveillance.toml"))
    monkeypatch.setenv("SURVEILLANCE__DATA_DIR", str(scans.data))
    from surveillance_assets.definitions import defs

    yesterday = TODAY - timedelta(days=1)
    _last_good(scans)
    scans.config(polymarket="min_volume_24h = 38", universe="least_share_of_last = 0")
    lake = Lake(str(scans.data), "real")
    publish_universe(lake, Venue.POLYMARKET, yesterday, scans.published() or [], writer="test")
    job = defs().resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            partition_key=f"{TODAY}|polymarket", asset_selection=[dg.AssetKey("universe")],
            instance=instance,
        )  # fmt: skip
        checks = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert {name: check.passed for name, check in checks.items()} == {
        "can_be_read": True, "counts_against_yesterday": False, "groups_complete": False,
        "drift": False, "share_filtered": False,
    }  # fmt: skip
    assert all(
        check.severity is dg.AssetCheckSeverity.WARN
        for name, check in checks.items() if name != "can_be_read"
    )  # fmt: skip
    assert checks["counts_against_yesterday"].metadata["before"].value == 40
    assert checks["drift"].metadata["drift"].value == {
        "market.brandNewMember": 40, "feeType_unknown:lunar_fees": 40
    }  # fmt: skip
    assert "0xneg9" in checks["groups_complete"].metadata["incomplete"].value
    groups = checks["groups_complete"].metadata["groups"].value
    assert {"kind": "neg_risk", "groups": 1, "incomplete": 1, "missing": 2} in groups
    assert checks["share_filtered"].metadata["share"].value == pytest.approx(0.95)
