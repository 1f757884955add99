"""A figure and its bound."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SURVEILLANCE_SHARED", REPOSITORY.parent / "shared"))


@dataclass(frozen=True)
class Figure:
    """One acceptance figure: what was measured, what it must be, whether it is.

    ``holds`` is None where it could not be measured; ``figure`` then says why.
    """

    subject: str
    what: str
    figure: str
    bound: str
    holds: bool | None

    @property
    def verdict(self) -> str:
        """Whether it holds, in a word or two."""
        return {True: "yes", False: "NO", None: "not measured"}[self.holds]


@dataclass(frozen=True)
class Finished:
    """A command that ran to its end."""

    code: int
    output: str
    errors: str
    seconds: float


def run(
    *command: str, seconds: float = 900.0, environment: dict[str, str] | None = None
) -> Finished:
    """Run a command at the project's root with this interpreter's scripts first on the path."""
    scripts = str(Path(sys.executable).parent)
    own = {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}",
        "VIRTUAL_ENV": str(Path(sys.executable).parents[1]),
        **(environment or {}),
    }
    started = time.monotonic()
    done = subprocess.run(  # noqa: S603
        command,
        cwd=REPOSITORY,
        env=own,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr, time.monotonic() - started)


def captures(*parts: str) -> Sequence[Path]:
    """Files below the shared captures matching the last part; empty where they are absent."""
    *folders, pattern = parts
    return sorted(SHARED.joinpath("fixtures", *folders).glob(pattern))
