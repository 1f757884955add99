"""What every command shares: exit codes, messages that are safe to print, the lake it opens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import structlog
import typer
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.command_line import (
    CommandFailed,
    LockHeld,
    open_lake,
    print_json,
    printable,
    reporting_failures,
    settings_from,
    start_logging,
)
from surveillance_core.lake.errors import LakeError, OriginError, PublishError, SchemaError
from surveillance_core.settings import ConfigurationError, load_settings
from surveillance_core.venues.rest import VenueError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("the cause"), 78),
        (OriginError("the cause"), 78),
        (LockHeld("the cause"), 75),
        (CommandFailed("the cause"), 1),
        (CommandFailed("the cause", 2), 2),
        (PublishError("the cause"), 1),
        (SchemaError("the cause"), 1),
        (LakeError("the cause"), 1),
        (VenueError("the cause"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_failure_is_one_line_and_an_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as caught, reporting_failures():
        raise error
    assert caught.value.exit_code == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "error: the cause\n"


def test_a_defect_is_not_dressed_up_as_a_failure() -> None:
    with pytest.raises(ZeroDivisionError), reporting_failures():
        raise ZeroDivisionError


def test_venue_text_in_a_message_cannot_move_the_cursor(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit), reporting_failures():
        raise VenueError("\x1b[2J[red]markup[/red] \u202eturned\x07")
    assert capsys.readouterr().err == "error: \\x1b[2J[red]markup[/red] \\x202eturned\\x07\n"


@given(st.text())
def test_printable_text_is_printable_and_otherwise_unchanged(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text


def test_log_lines_are_json_and_cannot_be_forged(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging(json_lines=True)
    try:
        structlog.get_logger().info("market_seen", title='x"}\n{"event":"forged"}\x1b[1m')
        structlog.get_logger().debug("too_fine")
    finally:
        structlog.reset_defaults()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    record = json.loads(lines[0])
    assert record["event"] == "market_seen"
    assert record["level"] == "info"
    assert record["title"] == 'x"}\\x0a{"event":"forged"}\\x1b[1m'


def test_json_is_one_document_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"b": 1, "a": [None, 0.5]})
    assert capsys.readouterr().out == '{"b":1,"a":[null,0.5]}\n'


def test_the_data_dir_option_overrules_the_file(tmp_path: Path) -> None:
    config = tmp_path / "s.toml"
    config.write_text('data_dir = "file"')
    assert settings_from(config, "option").settings.data_dir == "option"
    assert settings_from(config, None).settings.data_dir == "file"


def test_only_a_writer_claims_the_lake_and_only_for_its_own_kind(tmp_path: Path) -> None:
    root = tmp_path / "lake"
    mock = load_settings(None, {"data_dir": str(root), "mock": {"enabled": True}}).settings
    real = load_settings(None, {"data_dir": str(root)}).settings
    open_lake(mock, write=False)
    assert not root.exists()
    open_lake(mock, write=True)
    assert json.loads((root / "_lake.json").read_text())["origin"] == "simulated"
    open_lake(real, write=False)
    with pytest.raises(OriginError, match="holds simulated data and this process writes real"):
        open_lake(real, write=True)
