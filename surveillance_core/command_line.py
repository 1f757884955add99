"""What every command shares: its options, its exit codes, its logs and how it fails.

Exit codes: 0 done, 1 failed, 2 usage, 75 another process holds the lock, 78 bad configuration.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import structlog
import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand

from surveillance_core.lake.errors import LakeError, OriginError
from surveillance_core.lake.publish import Lake, Origin
from surveillance_core.lake.store import ObjectStoreOptions
from surveillance_core.settings import (
    EXIT_CONFIGURATION,
    ConfigurationError,
    LoadedSettings,
    Settings,
    load_settings,
)
from surveillance_core.venues.rest import VenueError

EXIT_FAILED = 1
EXIT_LOCKED = 75

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file. Default: config/surveillance.toml."),
]
DataDirOption = Annotated[
    str | None,
    typer.Option("--data-dir", help="Root of the lake: a directory or s3://bucket/prefix."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
DateOption = Annotated[
    datetime | None,
    typer.Option("--date", formats=["%Y-%m-%d"], help="UTC day. Default: today."),
]

_EXAMPLES = re.compile(r"^Examples\n-+\n", re.MULTILINE)

console = Console()
errors = Console(stderr=True)


class CommandFailed(Exception):
    """A command cannot do what it was asked; the message names the cause and the next step."""

    def __init__(self, message: str, code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.code = code


class LockHeld(CommandFailed):
    """Another process works on the same data."""

    def __init__(self, message: str) -> None:
        super().__init__(message, EXIT_LOCKED)


class _Command(TyperCommand):
    """Shows the examples of a docstring each on its line, under a heading."""

    def __init__(self, *arguments: Any, **members: Any) -> None:
        super().__init__(*arguments, **members)
        # what follows a backspace keeps its lines
        self.help = _EXAMPLES.sub("\b\nExamples:\n", self.help or "")


def show_examples(app: typer.Typer) -> None:
    """Have the help of every command of an application show its examples."""
    for command in app.registered_commands:
        command.cls = _Command


@contextmanager
def reporting_failures() -> Generator[None]:
    """Turn the project's own errors into one line on standard error and an exit code."""
    try:
        yield
    except (ConfigurationError, OriginError) as error:
        _fail(str(error), EXIT_CONFIGURATION)
    except CommandFailed as error:
        _fail(str(error), error.code)
    except (LakeError, VenueError) as error:
        _fail(str(error), EXIT_FAILED)


def settings_from(
    config: Path | None, data_dir: str | None, overrides: Mapping[str, Any] | None = None
) -> LoadedSettings:
    """Settings with the options every command takes on top."""
    return load_settings(config, {**(overrides or {}), "data_dir": data_dir})


def open_lake(settings: Settings, *, write: bool) -> Lake:
    """The configured lake; a writer claims it for its kind of data."""
    origin: Origin | None = settings.origin if write else None
    options = ObjectStoreOptions(settings.storage.s3_endpoint_url, settings.storage.s3_region)
    return Lake(settings.data_dir, origin, options)


def day_of(given: datetime | None) -> date:
    """The day that a command was given, or today's; UTC."""
    return given.date() if given is not None else datetime.now(UTC).date()


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def start_logging(*, json_lines: bool | None = None) -> None:
    """Structured logs on standard error: for people on a terminal, JSON lines elsewhere."""
    lines = not sys.stderr.isatty() if json_lines is None else json_lines
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if lines
        # the library's own choice shows the values of variables, which may be secrets
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _printable,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _printable(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Venue text must not move a terminal's cursor or forge a log line."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = printable(value)
    return event


def printable(text: str) -> str:
    """Text with control and direction characters escaped, safe on a terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def plain(text: str) -> Text:
    """Text that is shown as it is: no markup, which square brackets would be, no control."""
    return Text(printable(text))


def _fail(message: str, code: int) -> NoReturn:
    text = "\n".join(printable(line) for line in message.splitlines())
    errors.print(f"error: {text}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)
