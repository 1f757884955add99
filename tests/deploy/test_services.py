"""Units and services: they parse, name existing commands, and are shut in."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from typer.main import get_command

from surveillance_assets.cli import app as surveillance
from surveillance_collector.cli import app as collector
from surveillance_core.settings import ENVIRONMENT_PREFIX, load_settings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
SERVICES = [path for path in UNITS if path.suffix == ".service"]
APPLICATIONS = {"surveillance": surveillance, "surveillance-collector": collector}
INSTALLED = "/opt/surveillance/.venv/bin/"


class _Unit(configparser.RawConfigParser):
    """A unit file, whose keys are case-sensitive and may repeat; the last value stands."""

    def __init__(self) -> None:
        super().__init__(strict=False, interpolation=None, delimiters=("=",))

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def _unit(path: Path) -> _Unit:
    unit = _Unit()
    unit.read_string(path.read_text())
    return unit


def _scripts() -> set[str]:
    return {entry.name for entry in entry_points(group="console_scripts")}


def _exists(words: list[str]) -> None:
    """The command is installed, and where it is ours takes the subcommand and the options."""
    name, *rest = words
    assert name in _scripts(), name
    application = APPLICATIONS.get(name)
    if application is None:
        return
    command = cast("Any", get_command(application)).commands[rest[0]]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= options


def _commands(line: str) -> list[str]:
    """The words of what a unit's line runs, through a shell or not."""
    words = shlex.split(line)
    if words[0] == "/bin/sh":
        words = shlex.split(re.sub(r"\$\$\([^)]*\)", "DATE", words[2]).removeprefix("exec "))
    assert words[0].startswith(INSTALLED), line
    return [words[0].removeprefix(INSTALLED), *words[1:]]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_says_what_it_is(path: Path) -> None:
    assert path.read_text().startswith("# ")
    unit = _unit(path)
    assert unit["Unit"]["Description"]
    assert ("Timer" in unit) == (path.suffix == ".timer")
    if path.suffix == ".timer":
        assert (path.parent / f"{path.stem}.service").is_file()
        assert unit["Timer"]["OnCalendar"].endswith("UTC")


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_a_unit_runs_a_command_that_exists(path: Path) -> None:
    _exists(_commands(_unit(path)["Service"]["ExecStart"]))


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_a_unit_is_shut_in_and_writes_in_one_place(path: Path) -> None:
    service = _unit(path)["Service"]
    assert service["ProtectSystem"] == "strict"
    assert service["ReadWritePaths"] == "/var/lib/surveillance"
    assert service["CapabilityBoundingSet"] == ""
    assert service["User"] == "surveillance"
    for key in (
        "NoNewPrivileges",
        "PrivateTmp",
        "PrivateDevices",
        "ProtectHome",
        "RestrictSUIDSGID",
    ):
        assert service[key] == "yes", key
    assert "SystemCallFilter" in service
    assert set(service["RestrictAddressFamilies"].split()) == {"AF_INET", "AF_INET6", "AF_UNIX"}
    assert "Environment=SURVEILLANCE__DATA_DIR=/var/lib/surveillance/lake" in path.read_text()


def test_the_collector_is_watched_and_has_time_to_publish() -> None:
    service = _unit(DEPLOY / "systemd/surveillance-collector.service")["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) >= 30
    assert int(service["TimeoutStopSec"]) >= 60
    assert service["Restart"] == "always"
    assert service["RestartPreventExitStatus"].split() == ["2", "75", "78"]


@pytest.mark.parametrize("path", [*UNITS, DEPLOY / "compose.yaml"], ids=lambda path: path.name)
def test_every_setting_in_an_environment_is_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = re.findall(rf"({ENVIRONMENT_PREFIX}\w+)[=:] ?(.+)", path.read_text())
    for name, value in pairs:
        monkeypatch.setenv(name, value.strip("'\""))
    load_settings()


@pytest.mark.process
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_systemd_finds_little_exposed(path: Path) -> None:
    words = ["systemd-analyze", "security", "--offline=yes", "--threshold=25", str(path)]
    found = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert found.returncode == 0, found.stdout[-2_000:] + found.stderr


@pytest.mark.process
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_reads_every_unit_without_a_complaint(tmp_path: Path) -> None:
    here = f"{Path(sys.executable).parent}/"
    for path in UNITS:
        (tmp_path / path.name).write_text(path.read_text().replace(INSTALLED, here))
    units = [str(path) for path in sorted(tmp_path.iterdir())]
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "surveillance" not in found.stdout + found.stderr


_WITHOUT_NEW_CODE = """
import ctypes, os, sys
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
    sys.exit(77)
os.execv(sys.executable, [sys.executable, "-m", "surveillance_collector.cli", "run", "--help"])
"""


@pytest.mark.process
def test_the_collector_starts_where_memory_cannot_become_code() -> None:
    text = (DEPLOY / "systemd/surveillance-collector.service").read_text()
    assert "MemoryDenyWriteExecute=yes" in text
    given = dict(re.findall(r"^Environment=(POLARS_\w+)=(.+)$", text, re.MULTILINE))
    started = subprocess.run(
        [sys.executable, "-c", _WITHOUT_NEW_CODE],
        env=os.environ | given, cwd=DEPLOY.parent,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if started.returncode == 77:
        pytest.skip("this kernel cannot forbid it (Linux 6.3 can)")
    assert started.returncode == 0, started.stderr


# ── containers ───────────────────────────────────────────────────────────────────────────────


def _compose() -> dict[str, Any]:
    return cast("dict[str, Any]", yaml.safe_load((DEPLOY / "compose.yaml").read_text()))


def test_containers_run_commands_that_exist() -> None:
    services = _compose()["services"]
    for service in services.values():
        if "command" in service:
            _exists(service["command"])
    test = services["collector"]["healthcheck"]["test"]
    assert test[0] == "CMD"
    _exists(test[1:])


def test_containers_are_shut_in_and_published_on_loopback_alone() -> None:
    for name, service in _compose()["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
        if service["image"] == "surveillance":
            assert service["read_only"], name
            assert service["user"] != "0:0"
    assert "ports" not in _compose()["services"]["collector"]


def test_what_the_image_copies_exists_and_is_not_ignored() -> None:
    root = DEPLOY.parent
    kept = {
        line.removeprefix("!")
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    for line in re.findall(r"^COPY (.+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE):
        for source in line.split()[:-1]:
            assert (root / source).exists(), source
            assert source in kept


def test_the_services_mount_what_is_there() -> None:
    for service in _compose()["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_dir(), source
