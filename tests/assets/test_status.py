"""``surveillance status``: what runs, or plainly that nothing does, with the next step."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from typer.testing import CliRunner

from surveillance_assets.cli import app
from surveillance_assets.status import CollectorStatus
from surveillance_assets.status_table import MOST_CONNECTIONS, status_tables
from surveillance_core.lake.publish import Lake
from surveillance_core.status import (
    ConnectionStatus,
    HealthAddress,
    ProcessStatus,
    Reason,
    Status,
    VenueStatus,
)

runner = CliRunner()
NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


def _venue(name: str, connections: int = 2) -> VenueStatus:
    return VenueStatus(
        venue=name, seconds=60.0, universe=date(2026, 9, 1), universe_age_seconds=7_200.0,
        markets=1_000, books_expected=990, books=989, trusted=980, trust={"verified": 989},
        frames=12_345_678, messages={}, rejected={"not_json": 3}, rejected_not_kept=0, ignored={},
        counts={"snapshots": 1_234_567, "trades": 4_567}, hashes={"due": 9, "matched": 9},
        connections=tuple(
            ConnectionStatus(
                name=f"{name}-{n}", up=n > 0, assets=400, data_age_seconds=0.4 + n,
                reconnects={"stalled": 2, "closed_1006": 1, "handshake_503": 1, "closed_1012": 1},
            )
            for n in range(connections)
        ),
        rows_held=12_345, published={"orderbook_snapshots": 1_200_000}, files=480,
        publish_failures=0, publish_failing=False, engine_age_seconds=0.1, failed="",
        stopping=False,
    )  # fmt: skip


def _status(*, ready: bool = False, connections: int = 2) -> Status:
    reason = Reason(
        code="disconnected", venue="polymarket", since=NOON - timedelta(seconds=42),
        what="1 of 2 connections are down: polymarket-0",
        next_step="they come back by themselves; if not, look for feed_failed in the log",
    )  # fmt: skip
    return Status(
        at=NOON, ready=ready, reasons=() if ready else (reason,),
        process=ProcessStatus(
            pid=os.getpid(), version="0.1.0", origin="simulated",
            started=NOON - timedelta(hours=3), disk_free_bytes=50 * 1024**3, loop_lag_seconds=0.02,
        ),
        venues=(_venue("kalshi", connections), _venue("polymarket", connections)),
    )  # fmt: skip


def _printed(status: Status, width: int = 100) -> str:
    console = Console(width=width, file=open(os.devnull, "w"), record=True)  # noqa: SIM115, PTH123
    for table in status_tables(CollectorStatus("0", "http://127.0.0.1:8810", status)):
        console.print(table)
    return console.export_text()


def test_a_person_reads_verdict_reasons_and_figures_in_a_hundred_columns() -> None:
    text = _printed(_status())
    assert max(len(line) for line in text.splitlines()) <= 100
    for told in (
        "not ready", "1 of 2 connections are down", "42 s", "feed_failed", "989 of 990 stand",
        "12,345,678", "2026-09-01, 2.0 h old", "polymarket-0", "down", "9 of 9 hashes agree",
        "up 3.0 h", "5 (stalled 2, closed_1006 1, closed_1012 1, …)",
    ):  # fmt: skip
        assert told in text, told
    assert "why not ready" not in _printed(_status(ready=True))


def test_the_worst_connections_come_first_and_many_are_counted() -> None:
    text = _printed(_status(connections=20))
    assert f"and {40 - MOST_CONNECTIONS} more connections" in text
    assert "polymarket-0" in text
    assert "kalshi-19" in text
    assert "kalshi-1 " not in text


def test_what_a_venue_wrote_cannot_move_the_cursor_or_mark_up() -> None:
    hostile = msgspec.structs.replace(_venue("polymarket"), rejected={"\x1b[2J[red]x[/red]": 1})
    text = _printed(msgspec.structs.replace(_status(), venues=(hostile,)))
    assert "\x1b[2J" not in text
    assert "[red]x[/red]" in text.replace("\n", "")


# ── the command ──────────────────────────────────────────────────────────────────────────────


@contextmanager
def _answering(content: bytes) -> Generator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            del arguments

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), "simulated")


def _record(lake: Lake, pid: int, url: str | None, host: str | None = None) -> None:
    """What a collector leaves in the state directory."""
    state = lake.store.state_dir()
    holder = {"pid": pid, "host": host or socket.gethostname(), "since": NOON.isoformat()}
    (state / "collector-0.json").write_text(json.dumps(holder))
    if url is not None:
        address = msgspec.json.encode(HealthAddress(url=url, pid=pid))
        (state / "collector-0.health.json").write_bytes(address)


def _asked(lake: Lake, *arguments: str) -> tuple[int, str, str]:
    config = Path(lake.store.root).parent / "empty.toml"
    config.write_text("")
    words = ["status", "--config", str(config), "--data-dir", lake.store.root, *arguments]
    result = runner.invoke(app, words)
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


def test_a_running_collector_is_shown(lake: Lake) -> None:
    status = _status()
    with _answering(msgspec.json.encode(status)) as url:
        _record(lake, os.getpid(), url)
        code, out, _ = _asked(lake)
        assert (code, "not ready" in out, url in out) == (0, True, True)
        code, out, _ = _asked(lake, "--json")
    assert code == 0
    (shown,) = json.loads(out)["collectors"]
    assert msgspec.convert(shown["status"], Status, strict=False) == status


def test_without_a_collector_that_is_said_with_the_next_step(lake: Lake) -> None:
    code, out, told = _asked(lake)
    assert (code, out) == (1, "")
    assert "no collector runs on" in told
    assert "surveillance collect" in told


def test_one_that_was_killed_is_not_taken_for_running(lake: Lake) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    _record(lake, ended.pid, "http://127.0.0.1:9")
    code, _, told = _asked(lake)
    assert code == 1
    assert f"process {ended.pid}" in told
    assert "surveillance collect" in told


def test_one_without_pages_is_told_apart(lake: Lake) -> None:
    _record(lake, os.getpid(), None)
    code, _, told = _asked(lake)
    assert code == 1
    assert "without health pages" in told
    assert "health.enabled" in told


@pytest.mark.parametrize("content", [None, b"", b"<html>", b'{"ready": true}'])
def test_one_that_does_not_answer_is_said(lake: Lake, content: bytes | None) -> None:
    if content is None:
        _record(lake, os.getpid(), "http://127.0.0.1:9")
        code, _, told = _asked(lake)
    else:
        with _answering(content) as url:
            _record(lake, os.getpid(), url)
            code, _, told = _asked(lake)
    assert code == 1
    assert "does not answer at http://127.0.0.1" in told
    assert "its log" in told
