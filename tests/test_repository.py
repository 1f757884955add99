"""What the repository promises of itself."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
from pathlib import Path

import pytest

import surveillance_assets
import surveillance_collector
import surveillance_core

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = (surveillance_core, surveillance_collector, surveillance_assets)
DAGSTER = ("surveillance_assets.defs", "surveillance_assets.definitions")


def _modules() -> list[str]:
    return [
        info.name
        for package in PACKAGES
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if not info.name.startswith(DAGSTER)
    ]


@pytest.mark.parametrize("name", _modules())
def test_examples_in_docstrings_run_and_every_module_says_what_it_is(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} does not say what it is"
    result = doctest.testmod(module)
    assert result.failed == 0


def test_the_lock_pins_everything_with_hashes_and_names_no_index() -> None:
    lock = (REPOSITORY / "requirements.lock").read_text()
    requirements = re.split(r"\n(?=[a-zA-Z0-9])", lock.strip())
    assert len(requirements) > 100
    assert all("==" in r and "--hash=sha256:" in r for r in requirements)
    assert not re.search(r"https?://|file://|--(extra-)?index|--find-links", lock)


def test_no_tracked_text_carries_a_path_of_a_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    pattern = re.compile(r"/(?:root|home|work)/[a-z]")
    found = [
        name
        for name in listed.stdout.splitlines()
        if not name.endswith(".png")
        and pattern.search((REPOSITORY / name).read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []
