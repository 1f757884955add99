"""What a person sees: the demo's Dagster UI in a real browser.

Needs Debian's ``chromium``; skipped with notice where it is absent. With
``SURVEILLANCE_SCREENSHOTS`` set to a directory, the documentation's pictures are taken there.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

REPOSITORY = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
READY_SECONDS = 180

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is absent: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running demo whose today's statistics the sensor has materialised."""
    directory = tmp_path_factory.mktemp("demo")
    log = directory / "demo.log"
    with log.open("w") as output:
        demo = subprocess.Popen(
            [sys.executable, "-m", "surveillance_assets.cli", "demo",
             "--data-dir", str(directory / "lake")],
            cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + READY_SECONDS
        while len(re.findall(r"markets, materialised by Dagster", log.read_text())) < 2:
            assert demo.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            _wait(demo)
        found = re.search(r"(http://127\.0\.0\.1:\d+)/asset-groups", log.read_text())
        assert found is not None
        yield found.group(1)
    finally:
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(60) == 0, log.read_text()


def _wait(demo: subprocess.Popen[bytes]) -> None:
    """Half a second, or until the demo ends."""
    try:
        demo.wait(0.5)
    except subprocess.TimeoutExpired:
        return


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser.new_page(viewport={"width": 1700, "height": 1500})
        browser.close()


def _picture(page: Page, name: str) -> None:
    directory = os.environ.get("SURVEILLANCE_SCREENSHOTS")
    if directory:
        page.wait_for_timeout(1_500)
        page.screenshot(path=str(Path(directory) / f"{name}.png"))


def test_the_graph_leads_from_the_collectors_files_to_the_statistics(
    address: str, page: Page
) -> None:
    page.goto(f"{address}/asset-groups", wait_until="networkidle")
    for group in ("collection", "discovery", "statistics"):
        expect(page.get_by_text(group, exact=True).first).to_be_visible(timeout=30_000)
    page.mouse.click(1_100, 1_300)
    page.keyboard.press("Alt+KeyE")
    for asset in ("orderbook_snapshots", "trades", "coverage", "universe", "stats"):
        expect(page.get_by_text(asset, exact=True).first).to_be_visible(timeout=30_000)
    _picture(page, "asset-graph")


def test_statistics_show_what_they_are_who_owns_them_and_what_they_found(
    address: str, page: Page
) -> None:
    page.goto(f"{address}/assets/stats?view=overview", wait_until="networkidle")
    for text in ("surveillance", "statistics", "spread_mean"):
        expect(page.get_by_text(text, exact=True).first).to_be_visible(timeout=30_000)
    expect(page.get_by_text("One row a market and day", exact=False).first).to_be_visible()
    _picture(page, "stats")


def test_both_days_are_materialised_and_the_checks_passed(address: str, page: Page) -> None:
    page.goto(f"{address}/assets/stats?view=checks", wait_until="networkidle")
    for check in ("has_rows", "schema_holds"):
        expect(page.get_by_text(check, exact=True).first).to_be_visible(timeout=30_000)
    expect(page.get_by_text("Failed", exact=True)).to_have_count(0)
    page.goto(f"{address}/assets/stats?view=partitions", wait_until="networkidle")
    expect(page.get_by_text("polymarket", exact=True).first).to_be_visible(timeout=30_000)
    expect(page.get_by_text(re.compile(r"Materializ(ed|ing) \([12]\)")).first).to_be_visible()
    _picture(page, "partitions")
