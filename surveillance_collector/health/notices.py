"""Telling systemd how the service is: ``sd_notify``'s datagrams, without its library.

The protocol is three lines (systemd's man page sd_notify(3)): a datagram of ``NAME=value`` lines to
the UNIX socket that ``$NOTIFY_SOCKET`` names.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

import structlog

log = structlog.get_logger()


class ServiceNotices:
    """Sends notices to the service manager; does nothing where there is none.

    Parameters
    ----------
    environment
        Holds ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` where systemd started the
        process.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_seconds = _watchdog_seconds(environment) if self._address else None
        """Within which systemd wants to hear of progress; None where it does not watch."""
        self._said = ""
        self._failed = False

    def ready(self) -> None:
        """The service has started."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The service is about to end."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Data moves."""
        self._send("WATCHDOG=1")

    def say(self, text: str) -> None:
        """One line for ``systemctl status``; said again only where it changed."""
        line = " ".join(text.split())
        if line != self._said:
            self._said = line
            self._send(f"STATUS={line}")

    def _send(self, notice: str) -> None:
        if not self._address:
            return
        # a name in the abstract namespace is written with an @ where its zero byte is
        address = f"\0{self._address[1:]}" if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as outlet:
                outlet.setblocking(False)
                outlet.sendto(notice.encode(), address)
        except OSError as error:
            if not self._failed:
                log.warning("service_manager_unreachable", error=str(error)[:200])
            self._failed = True


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    meant_for = environment.get("WATCHDOG_PID", "")
    microseconds = environment.get("WATCHDOG_USEC", "")
    if not microseconds.isdigit() or meant_for not in ("", str(os.getpid())):
        return None
    return int(microseconds) / 1e6 or None
