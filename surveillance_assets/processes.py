"""The processes of a running system, started and stopped together: venue, collector, Dagster.

Children are started from Python, each in a session of its own with its log in a file, and stopped
with SIGTERM in the reverse order. (Started from a shell with ``&``, Dagster ignores both SIGINT
and SIGTERM and its code servers stay.)
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from surveillance_core.command_line import CommandFailed

STOP_SECONDS = 30.0
_POLL_SECONDS = 0.2


class ChildProcess:
    """One running child and its log."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self.log = log
        self.output = log.with_suffix(".out")
        with log.open("wb") as errors, self.output.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=dict(environment),
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """Raise ``CommandFailed`` with the end of its log if it has ended."""
        code = self.exit_code
        if code is not None:
            raise CommandFailed(f"{self.name} ended with exit code {code}.\n{self.tail()}")

    def wait(self, seconds: float) -> int:
        """Its exit code; raises ``CommandFailed`` if it does not end in time or fails."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise CommandFailed(
                f"{self.name} did not end within {seconds:.0f} s.\n{self.tail()}"
            ) from None
        if code != 0:
            self.check()
        return code

    def stop(self) -> int | None:
        """Ask it to end, insist after ``STOP_SECONDS``; its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        return self._process.returncode

    def tail(self, lines: int = 15) -> str:
        """The end of what it wrote to its log."""
        text = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"(the end of {self.log})", *text[-lines:]])


class ProcessGroup:
    """Children by name, as a context manager that stops them all, last started first."""

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        self._environment = {**os.environ, **environment}
        self._logs = logs
        self.children: dict[str, ChildProcess] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in reversed(list(self.children.values())):
            child.stop()

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> ChildProcess:
        """Start a child, with more environment where given; its log is ``<name>.log``."""
        own = {**self._environment, **(environment or {})}
        child = ChildProcess(name, command, own, self._logs / f"{name}.log")
        self.children[name] = child
        return child

    def finish(self, name: str, seconds: float) -> ChildProcess:
        """Wait for a child that ends by itself, and let go of it; raises if it fails."""
        child = self.children[name]
        child.wait(seconds)
        return self.children.pop(name)

    def check(self) -> None:
        """Raise if any child has ended."""
        for child in self.children.values():
            child.check()

    def wait_for_port(self, child: ChildProcess, port: int, seconds: float) -> None:
        """Wait until something listens on a loopback port, watching the child meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            child.check()
            with socket.socket() as probe:
                probe.settimeout(1.0)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(_POLL_SECONDS)
        raise CommandFailed(
            f"{child.name} did not answer on port {port} within {seconds:.0f} s.\n{child.tail()}"
        )


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def module_command(module: str, *arguments: str) -> list[str]:
    """Run a module of this installation with this interpreter."""
    return [sys.executable, "-m", module, *arguments]
