"""The commands as a user meets them: exit codes, one JSON document, causes and next steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from surveillance_assets.cli import app
from surveillance_core.lake.publish import Lake

runner = CliRunner()
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


def _json(*arguments: str, code: int = 0) -> object:
    result = runner.invoke(app, [*arguments, "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    "command",
    ["demo", "scan", "collect", "simulate", "summarize", "coverage", "status", "doctor", "compact"],
)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    result = runner.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    _, heading, examples = result.stdout.partition("\n  Examples:\n")
    assert heading
    assert examples.startswith(f"    surveillance {command}")


def test_the_shipped_configuration_is_valid_and_every_key_has_an_origin(tmp_path: Path) -> None:
    data = str(tmp_path / "lake")
    result = runner.invoke(app, ["doctor", "--json", "--data-dir", data])
    found = json.loads(result.stdout)
    assert result.exit_code == 1, "the real hosts cannot be reached from a test"
    settings = found["settings"]
    assert settings["data_dir"] == {"value": data, "origin": "command line"}
    assert settings["storage.top_k"] == {"value": 50, "origin": "file"}
    unreachable = [f for f in found["findings"] if f["verdict"] == "failed"]
    assert unreachable
    assert all(f["check"].startswith("host ") and f["next_step"] for f in unreachable)


def test_every_key_of_the_tree_is_in_the_shipped_file_with_a_comment() -> None:
    from surveillance_core.settings import flatten_settings, load_settings

    loaded = load_settings(REPOSITORY / "config" / "surveillance.toml")
    lines = (REPOSITORY / "config" / "surveillance.toml").read_text().splitlines()
    section, commented = "", set[str]()
    for number, line in enumerate(lines):
        if line.startswith("["):
            section = line.strip("[]") + "."
        elif "=" in line and not line.startswith("#"):
            key = section + line.split("=")[0].strip()
            above = lines[number - 1].startswith("#")
            if "#" in line.split("=", 1)[1] or above or section == "venues.kalshi.":
                commented.add(key)
    wanted = {k for k in flatten_settings(loaded.settings) if not k.startswith("venues.kalshi.")}
    assert wanted <= commented


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[storage]\ntop_k = 'many'", "storage.top_k"),
        ("[storage]\ntopk = 3", "storage.topk: unknown key"),
        ("data_dir = [", "not valid TOML"),
        ("[venues.polymarket]\nrest_url = 'http://example.com'", "loopback only"),
        ("[venues.polymarket]\nhot_count = 300\nmax_subs = 200", "hot_count"),
    ],
)
def test_a_bad_configuration_names_the_key_and_exits_78(
    tmp_path: Path, text: str, told: str
) -> None:
    config = tmp_path / "bad.toml"
    config.write_text(text)
    result = runner.invoke(app, ["doctor", "--config", str(config)])
    assert result.exit_code == 78
    assert told in result.stderr
    assert "Traceback" not in result.output


def test_scan_wants_a_venue(tmp_path: Path) -> None:
    data = str(tmp_path / "lake")
    assert runner.invoke(app, ["scan", "--data-dir", data]).exit_code == 2
    both = ["scan", "--venue", "polymarket", "--all-venues", "--data-dir", data]
    assert runner.invoke(app, both).exit_code == 2


def test_an_empty_day_summarizes_to_nothing(tmp_path: Path) -> None:
    Lake(str(tmp_path / "lake"), "real")
    summary = _json(
        "summarize", "--venue", "polymarket", "--date", "2026-09-01",
        "--data-dir", str(tmp_path / "lake"),
    )  # fmt: skip
    assert isinstance(summary, dict)
    assert summary["markets"] == 0
    assert summary["covered_hours"] is None
    assert all(table["files"] == 0 for table in summary["tables"].values())


def test_a_day_without_a_ledger_says_how_to_have_one(tmp_path: Path) -> None:
    Lake(str(tmp_path / "lake"), "real")
    result = runner.invoke(
        app,
        ["coverage", "--venue", "kalshi", "--date", "2026-09-01",
         "--data-dir", str(tmp_path / "lake")],
    )  # fmt: skip
    assert result.exit_code == 1
    assert "surveillance collect" in result.output


def test_a_simulated_day_is_recorded_and_replayed_into_statistics(tmp_path: Path) -> None:
    recording = tmp_path / "day.jsonl.zst"
    config = tmp_path / "small.toml"
    config.write_text("[mock]\nenabled = true\nmarkets_per_venue = 5\nevents_per_second = 0.02\n")
    found = _json(
        "simulate", "--config", str(config), "--record", str(recording), "--date", "2026-09-01"
    )
    assert isinstance(found, dict)
    assert found["frames"] > 1_000
