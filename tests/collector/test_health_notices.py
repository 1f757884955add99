"""What a service manager hears, over a socket as systemd's."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from surveillance_collector.health.notices import ServiceNotices


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inlet:
        inlet.bind(str(tmp_path / "notify"))
        inlet.settimeout(5.0)
        yield inlet


def _notices(address: str, **more: str) -> ServiceNotices:
    return ServiceNotices({"NOTIFY_SOCKET": address, **more})


def test_every_notice_is_one_datagram(manager: socket.socket) -> None:
    notices = _notices(manager.getsockname())
    notices.ready()
    notices.say("all\nis  well")
    notices.say("all is well")
    notices.alive()
    notices.stopping()
    heard = [manager.recv(1024) for _ in range(4)]
    assert heard == [b"READY=1", b"STATUS=all is well", b"WATCHDOG=1", b"STOPPING=1"]


def test_a_name_in_the_abstract_namespace_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inlet:
        inlet.bind(f"\0surveillance-test-{os.getpid()}")
        inlet.settimeout(5.0)
        _notices(f"@surveillance-test-{os.getpid()}").ready()
        assert inlet.recv(1024) == b"READY=1"


def test_without_a_manager_nothing_is_sent() -> None:
    notices = ServiceNotices({})
    with capture_logs() as logs:
        notices.ready()
        notices.say("alone")
    assert logs == []


def test_a_manager_that_is_gone_is_said_once_and_stops_nothing(tmp_path: Path) -> None:
    notices = _notices(str(tmp_path / "gone"))
    with capture_logs() as logs:
        notices.alive()
        notices.alive()
    assert [entry["event"] for entry in logs] == ["service_manager_unreachable"]


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_whether_systemd_watches(environment: dict[str, str], seconds: float | None) -> None:
    assert _notices("/nowhere", **environment).watchdog_seconds == seconds
    assert ServiceNotices(environment).watchdog_seconds is None
