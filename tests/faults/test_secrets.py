"""SEC-01: a secret where secrets are and where none belongs; every error that may quote it."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import base64
import json
import logging
import pickle
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from io import StringIO
from pathlib import Path

import httpx
import msgspec
import pytest
import structlog
import typer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from typer.testing import CliRunner

from surveillance_assets.cli import app as assets_app
from surveillance_collector.cli import app as collector_app
from surveillance_collector.health import watch
from surveillance_collector.health.pages import PATHS
from surveillance_collector.service import collect
from surveillance_core.command_line import start_logging
from surveillance_core.lake.publish import Lake, publish_universe
from surveillance_core.markets import Venue
from surveillance_core.settings import Settings, load_settings
from surveillance_core.venues.kalshi.channel import KalshiChannel
from surveillance_core.venues.kalshi.signing import Signer
from tests.collector.live import until
from tests.collector.signed_venue import SignedVenue
from tests.collector.worlds import listed_market

from .matrix import Trial

CANARY = "c4n4ry5ecret0f7he7rue0wner1n7h3m1ne"
ID = f"{CANARY[:8]}-{CANARY[8:]}"
"""As a key's id, which has hyphens."""
NAME = "KALSHI_KEY_ID_OF_A_TEST"
_LINES = "\n".join([base64.b64encode(f"{CANARY}{n}".encode() * 2).decode() for n in range(20)])
PEM = f"-----BEGIN PRIVATE KEY-----\n{_LINES}\n-----END PRIVATE KEY-----\n"
TOLD = (CANARY, ID, *_LINES.split("\n"))
CONFIGURATION = 78

_KALSHI = "[venues.kalshi]\nenabled = true\n"
MISPLACED = {
    "an unknown key": f'{_KALSHI}api_key = "{CANARY}"\n',
    "an unknown table": f'[secrets]\nkalshi = "{CANARY}"\n',
    "an unknown key at the top": f'passphrase = "{CANARY}"\n',
    "the id for its variable's name": f'{_KALSHI}api_key_id_env = "{ID}"\n',
    "the key for its file's path": f'{_KALSHI}private_key_path = """{PEM}"""\n',
    "the key in one line": f'{_KALSHI}private_key_path = "{_LINES.replace(chr(10), "")}"\n',
    "a password in an address": f'{_KALSHI}ws_url = "wss://user:{CANARY}@example.com"\n',
    "a token in an address": f'{_KALSHI}ws_url = "wss://example.com/?token={CANARY}"\n',
    "an address that is none": f'{_KALSHI}rest_url = "{CANARY}"\n',
    "a text for a number": f'{_KALSHI}max_subs = "{CANARY}"\n',
    "a text for a truth value": f'{_KALSHI}enabled = "{CANARY}"\n',
    "a text for a table": f'[venues]\nkalshi = "{CANARY}"\n',
    "no TOML": f"{_KALSHI}api_key = {CANARY}\n",
    "no TOML either": f'{_KALSHI}api_key = "{CANARY}\n',
}
"""Settings files with a secret where there must be none."""

VARIABLES = {
    "an unknown key": ("SURVEILLANCE__VENUES__KALSHI__API_KEY", CANARY),
    "an unknown table": ("SURVEILLANCE__SECRET", CANARY),
    "no JSON": ("SURVEILLANCE__VENUES", CANARY),
    "an unknown key in JSON": ("SURVEILLANCE__VENUES", json.dumps({"kalshi": {"key": CANARY}})),
    "a text for a number": ("SURVEILLANCE__VENUES__KALSHI__MAX_SUBS", CANARY),
    "the id for its variable's name": ("SURVEILLANCE__VENUES__KALSHI__API_KEY_ID_ENV", ID),
    "the key for its file's path": ("SURVEILLANCE__VENUES__KALSHI__PRIVATE_KEY_PATH", PEM),
}
"""Environment variables with one."""


def _encrypted() -> bytes:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(CANARY.encode()),
    )  # fmt: skip


KEY_FILES = {
    "garbage": CANARY.encode(),
    "garbage in PEM": PEM.encode(),
    "a public key's frame": PEM.replace("PRIVATE", "PUBLIC").encode(),
    "bytes": b"\xff\xfe" + CANARY.encode(),
    "too large": PEM.encode() * 100,
}
"""What may be in a key's file and cannot be used."""


@dataclass
class Commands:
    """Every command that reads the settings, on a lake of its own."""

    root: Path
    config: Path

    def said(self) -> Iterator[tuple[str, int, str]]:
        """What each says, whatever it runs into, and its exit code."""
        lake = str(self.root / "lake")
        common = ["--config", str(self.config), "--data-dir", lake]
        for app, name, *more in (
            (collector_app, "run", "--for", "0.1"),
            (collector_app, "verify", "--deep"),
            (assets_app, "doctor"),
            (assets_app, "doctor", "--json"),
            (assets_app, "status"),
            (assets_app, "scan", "--venue", "kalshi"),
        ):
            yield name, *_run(app, [name, *common, *more])


def _run(app: typer.Typer, arguments: list[str]) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments)
    text = result.output
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        text += "".join(traceback.format_exception(result.exception))
    return result.exit_code, text


def _assert_untold(where: str, text: str, secrets: Sequence[str] = TOLD) -> None:
    told = next((secret for secret in secrets if secret in text), None)
    if told is not None:
        at = text.index(told)
        shown = text[max(0, at - 60) : at].replace("\n", " ")
        raise AssertionError(f"{where} tells the secret, after {shown!r}")


def _assert_in_no_file(root: Path, *but: Path, secrets: Sequence[str] = TOLD) -> None:
    for path in root.rglob("*"):
        if path.is_file() and path not in but:
            content = path.read_bytes()
            for secret in secrets:
                assert secret.encode() not in content, f"{path.relative_to(root)} holds the secret"


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.delenv("SURVEILLANCE_CONFIG", raising=False)
    monkeypatch.setenv("COLUMNS", "1000")
    config = tmp_path / "surveillance.toml"
    config.write_text("")
    return Commands(tmp_path, config)


@pytest.mark.fault("SEC-01")
def test_a_secret_in_the_settings_is_refused_and_not_repeated(
    trial: Trial, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    for how, content in MISPLACED.items():
        commands.config.write_text(content)
        for name, code, said in commands.said():
            with trial.case(f"{how} in the file, {name}"):
                _assert_untold(name, said)
                assert code == CONFIGURATION, f"exit code {code}: {said[-200:]}"
    commands.config.write_text("")
    for how, (variable, value) in VARIABLES.items():
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            for name, code, said in commands.said():
                with trial.case(f"{how} in {variable}, {name}"):
                    _assert_untold(name, said)
                    assert code == CONFIGURATION, f"exit code {code}: {said[-200:]}"
    with trial.case("files"):
        _assert_in_no_file(commands.root)


@pytest.mark.fault("SEC-01")
def test_a_key_that_cannot_be_used_is_named_and_not_shown(
    trial: Trial, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAME, CANARY)
    key = commands.root / "key.pem"
    commands.config.write_text(
        f'{_KALSHI}api_key_id_env = "{NAME}"\nprivate_key_path = "{key}"\n'
        'rest_url = "http://127.0.0.1:9"\nws_url = "ws://127.0.0.1:9"\n'
    )
    contents = KEY_FILES | {"encrypted": _encrypted()}
    for how, content in contents.items():
        key.write_bytes(content)
        key.chmod(0o600)
        for name, _, said in commands.said():
            with trial.case(f"a key file of {how}, {name}"):
                _assert_untold(name, said)
    key.chmod(0o644)
    for name, _, said in commands.said():
        with trial.case(f"a key file that others may read, {name}"):
            _assert_untold(name, said)
    key.unlink()
    key.mkdir()
    for name, _, said in commands.said():
        with trial.case(f"a key file that is a directory, {name}"):
            _assert_untold(name, said)
    key.rmdir()
    for bad in (f"{CANARY}\n{CANARY}", f"{CANARY} {CANARY}", f"{CANARY}\u202e"):
        monkeypatch.setenv(NAME, bad)
        for name, _, said in commands.said():
            with trial.case(f"an id that is none, {name}"):
                _assert_untold(name, said)
    with trial.case("files"):
        _assert_in_no_file(commands.root)


# ── while it runs ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Key:
    """A key that can be used, and its file."""

    path: Path
    private: rsa.RSAPrivateKey
    lines: tuple[str, ...]


@pytest.fixture
def key(tmp_path: Path) -> Key:
    path = tmp_path / "key.pem"
    private = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    path.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )  # fmt: skip
    path.chmod(0o600)
    return Key(path, private, tuple(path.read_text().splitlines()[1:-1]))


def _settings(config: Path, key: Path, ws_url: str) -> Settings:
    config.write_text(
        f'data_dir = "{config.parent / "lake"}"\n{_KALSHI}api_key_id_env = "{NAME}"\n'
        f'private_key_path = "{key}"\nrest_url = "http://127.0.0.1:9"\nws_url = "{ws_url}"\n'
        "reconnect_max_seconds = 0.1\nsnapshot_interval_ms_hot = 100\n"
        "[storage]\nbucket_minutes = 0.05\nflush_seconds = 0.0\n[health]\nport = 0\n"
    )
    return load_settings(config).settings


async def _pages(lake: Lake) -> str:
    record = lake.store.state_dir() / "collector-0.health.json"
    url = json.loads(record.read_bytes())["url"]
    async with httpx.AsyncClient() as client:
        return "".join([(await client.get(url + path)).text for path in (*PATHS, f"/{ID[:3]}")])


class Everything(logging.Handler):
    """All that any logger says, down to the debug level; but not what the test's own peer says."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text = StringIO()

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith("websockets.server"):
            self.text.write(self.format(record) + "\n")


@pytest.mark.fault("SEC-01")
async def test_a_running_collector_tells_nobody_its_key(
    trial: Trial,
    tmp_path: Path,
    key: Key,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(NAME, ID)
    monkeypatch.setattr(watch, "READ_SECONDS", 0.05)
    monkeypatch.setattr("surveillance_collector.reconnection.REFUSED_SECONDS", 0.1, raising=False)
    everything = Everything()
    root_logger = logging.getLogger()
    root_logger.addHandler(everything)
    monkeypatch.setattr(root_logger, "level", logging.DEBUG)
    start_logging(json_lines=False)
    secrets = (*TOLD, *key.lines)
    pages: list[str] = []
    try:
        async with SignedVenue(key.private.public_key(), ["A"]) as venue:
            settings = _settings(tmp_path / "surveillance.toml", key.path, venue.ws_url)
            lake = Lake(settings.data_dir, "real")
            market = msgspec.structs.replace(listed_market("A"), venue=Venue.KALSHI)
            day = datetime.now(UTC).date()
            publish_universe(lake, Venue.KALSHI, day, [market], writer="universe")
            for status in (
                HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS,
                HTTPStatus.FOUND, HTTPStatus.INTERNAL_SERVER_ERROR, None,
            ):  # fmt: skip
                venue.refuse_with = status
                running = asyncio.create_task(collect(settings, lake, [Venue.KALSHI], None))
                if status is None:
                    await until(lambda: venue.handshakes, "a handshake")
                    await asyncio.sleep(0.3)
                    pages.append(await _pages(lake))
                    await _fail(lake, venue, monkeypatch)
                else:
                    await until(lambda s=status: venue.refused[s], f"a refusal with {status}")
                    await asyncio.sleep(0.1)
                    pages.append(await _pages(lake))
                running.cancel()
                with suppress(asyncio.CancelledError, ExceptionGroup):
                    await running
                if running.done() and not running.cancelled() and running.exception() is not None:
                    pages.append("".join(traceback.format_exception(running.exception())))
    finally:
        root_logger.removeHandler(everything)
    captured = capsys.readouterr()
    for where, text in {
        "the log": captured.err + captured.out,
        "a library's log": everything.text.getvalue(),
        "a page": "".join(pages),
        "repr": f"{settings!r} {settings.model_dump_json()} {Signer(ID, key.private)!r}",
    }.items():
        with trial.case(where):
            # libraries may well be silent: what they would say of handshakes is kept from them
            assert text or where == "a library's log", "says nothing at all"
            _assert_untold(where, text, secrets)
    with trial.case("files"):
        _assert_in_no_file(tmp_path, key.path, secrets=secrets)
    with trial.case("a pickle"), pytest.raises(TypeError):
        pickle.dumps(Signer(ID, key.private))


async def _fail(lake: Lake, venue: SignedVenue, patch: pytest.MonkeyPatch) -> None:
    """A disk that refuses, and then an error in the heart of it."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def break_down(*_: object) -> None:
        raise ArithmeticError("broken on purpose")

    patch.setattr(lake.store, "publish_file", refuse)
    await venue.change("A", "yes", "0.4700", 1.0)
    await asyncio.sleep(0.3)
    patch.setattr(KalshiChannel, "receive_all", break_down)
    await venue.change("A", "yes", "0.4600", 1.0)
    await asyncio.sleep(0.3)


@pytest.mark.process
@pytest.mark.fault("SEC-01")
def test_a_traceback_shows_no_variables(trial: Trial, tmp_path: Path) -> None:
    """Of an error that nobody foresaw: local variables may be anything."""
    config = tmp_path / "surveillance.toml"
    config.write_text(f'data_dir = "{tmp_path / "lake"}"\n')
    for module in ("surveillance_collector", "surveillance_assets"):
        program = (
            f"import {module}.cli as cli\n"
            "import surveillance_core.command_line as line\n"
            "def broken(*_, **__):\n"
            f"    variable = {CANARY!r}.upper().lower()\n"
            "    raise ArithmeticError('broken on purpose')\n"
            "cli.settings_from = broken\n"
            "cli.load_settings = broken\n"
            "cli.main()\n"
        )
        name = "verify" if module == "surveillance_collector" else "doctor"
        done = subprocess.run(
            [sys.executable, "-c", program.replace(CANARY, CANARY[::-1]), name, "--config",
             str(config)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        with trial.case(f"{module}: an error nobody foresaw"):
            assert "ArithmeticError" in done.stderr, f"it did not happen: {done.stderr[-200:]}"
            shown = done.stderr.replace(f"variable = {CANARY[::-1]!r}.upper()", "")
            assert CANARY[::-1] not in shown, "the value of a variable is shown"


@pytest.mark.fault("SEC-01")
@pytest.mark.parametrize("json_lines", [False, True])
def test_a_logged_exception_shows_no_variables(
    trial: Trial, capsys: pytest.CaptureFixture[str], json_lines: bool
) -> None:
    start_logging(json_lines=json_lines)
    held = CANARY.upper()
    try:
        raise ArithmeticError("broken on purpose")
    except ArithmeticError:
        structlog.get_logger().exception("failed")
    with trial.case("a logged exception"):
        said = capsys.readouterr().err
        assert "failed" in said
        assert held not in said, "the value of a variable is shown"
