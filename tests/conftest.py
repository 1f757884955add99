"""What every package's tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from surveillance_core.lake.publish import Lake

settings.register_profile(
    "ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci")

# processes that tests start find their modules compiled, as deployed ones do: to compile them is a
# fourth of what it takes to start, and the time to start is what some tests are about
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """No test writes to the streams of an earlier one, whichever came before it."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real captures, which the project does not carry."""
    default = Path(__file__).resolve().parents[2] / "shared"
    path = Path(os.environ.get("SURVEILLANCE_SHARED", default))
    if not (path / "fixtures").is_dir():
        pytest.skip(f"no fixtures in {path}; name their folder in SURVEILLANCE_SHARED")
    return path


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake for real data."""
    return Lake(str(tmp_path / "lake"), "real")
