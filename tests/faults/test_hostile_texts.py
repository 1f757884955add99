"""SEC-02: what anybody may call a market, in paths, on terminals, in logs and in Dagster."""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import polars as pl
import pytest
import structlog
from rich.console import Console
from typer.testing import CliRunner

from surveillance_assets import coverage_report
from surveillance_assets.cli import app
from surveillance_assets.presentation import markdown_table
from surveillance_collector.output import RejectedFrame
from surveillance_collector.recorder import Recorder, RejectedFrames
from surveillance_collector.rows import Reason, Row, coverage_row, snapshot_row
from surveillance_core.books import BookState, OrderBook
from surveillance_core.command_line import start_logging
from surveillance_core.lake.publish import Lake, publish_day, publish_universe
from surveillance_core.lake.schemas import COVERAGE, SNAPSHOTS, STATS
from surveillance_core.markets import Market
from surveillance_core.venues.protocols import Rejected
from tests.collector.worlds import VENUE, listed_market

from .matrix import Trial

DAY = datetime(2026, 9, 1, tzinfo=UTC)
MARK = "zq"
"""Stands in every text, to find it by."""

_TEXTS = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>",
    "javascript:alert(1)", "[x](javascript:alert(1))", "![x](http://evil.test/p.png)",
    "<a href='http://evil.test'>x</a>", "|a|b|", "a\n| --- |\n| b |", "`code` **bold** _it_",
    "# heading\n- list\n> quote", "&lt;script&gt;", "&#60;script&#62;", "]]>", "--><script>",
    "[red]x[/red]", "[/]", "[link=http://evil.test]x[/link]", "[bold", ":smile:", "[@click=quit]x",
    "\x1b[2J\x1b[H", "\x1b]0;title\x07", "\x1b]8;;http://evil.test\x07x\x1b]8;;\x07", "\r\nforged",
    "\x00", "a\x00b", "\x07\x08\x7f", "\x9b31m", "\u202eevil\u202c", "\u2066x\u2069", "\u200b",
    "\u200d", "\ufeff", "\U000e0041\U000e007f", "e\u0301" * 50, "Z\u0351\u036b\u0343" * 40,
    "\u2028\u2029",
    "../../../../etc/passwd", "..", ".", "/etc/passwd", "..\\..\\x", "C:\\x", "a/b/c", "~root",
    "%2e%2e%2f", "date=2020-01-01/hour=00", "_manifest", ".lock", "con", "nul.txt", "x" * 300,
    "' OR 1=1 --", '"; DROP TABLE stats; --', "=cmd|' /C calc'!A0", "+1+1", "@SUM(A1)", "-2+3",
    "{{7*7}}", "${jndi:ldap://evil.test/a}", "%s%n%x", "{0.__class__}", "$(touch x)", "`touch x`",
    "*", "?", "[a-z]*", "x" * 10_240, "漢字" * 2_000, "\U0001f600" * 500, " ", "\t\t", "'", '"',
    "\\", "\\n", "null", "NaN", "true", "0",
)  # fmt: skip


def _texts(chance: random.Random, quantity: int) -> list[str]:
    """Each of them, then pairs of them."""

    def pairs() -> Iterator[str]:
        while True:
            yield "".join(chance.sample(_TEXTS, 2))

    every = islice((*_TEXTS, *islice(pairs(), quantity)), quantity)
    return [f"{MARK}{n}{text}" if n % 2 else f"{text}{MARK}{n}" for n, text in enumerate(every)]


def _market(text: str) -> Market:
    return listed_market(text, title=text, group=text, volume=1.0, tokens=(f"{text}y", f"{text}n"))


def _collect(lake: Lake, texts: list[str]) -> None:
    """What the collector and the assets publish of markets of these ids and titles."""
    start_ns = int(DAY.timestamp()) * 1_000_000_000
    recorder = Recorder(lake, VENUE, "0", bucket_us=300_000_000, flush_rows=10_000, flush_us=0)
    for text in texts:
        state = BookState(text, f"{text}y", 100)
        state.book = OrderBook({4000: 10.0}, {4200: 20.0})
        row = snapshot_row(state, start_ns, 50, Reason.HEARTBEAT)
        end_ns = start_ns + 60_000_000_000
        covered: Row = coverage_row(text, f"{text}y", start_ns, end_ns, "untrusted", text)
        at_us = start_ns // 1_000
        recorder.add([(SNAPSHOTS, at_us, row), (COVERAGE, at_us, covered)], at_us)
        refused = Rejected(text, text, text.encode())
        RejectedFrames(lake, VENUE).keep([RejectedFrame(text, start_ns, refused)])
    assert recorder.flush() == []
    publish_universe(lake, VENUE, DAY.date(), [_market(text) for text in texts], writer="universe")
    blank = dict.fromkeys(STATS.polars)
    rows = pl.DataFrame(
        [blank | {"market_id": text, "title": text, "volume": 1.0} for text in texts],
        schema=STATS.polars,
    )
    counts = [c.name for c in STATS.columns if not c.nullable and c.name != "market_id"]
    rows = rows.with_columns(pl.col(counts).fill_null(strategy="zero"))
    publish_day(lake, STATS, VENUE, DAY.date(), rows, writer="dagster")


def _paths(root: Path) -> set[str]:
    return {re.sub(r"[0-9a-f]{8,}", "", str(p.relative_to(root))) for p in root.rglob("*")}


@pytest.mark.fault("SEC-02")
def test_no_text_is_in_a_path(trial: Trial, tmp_path: Path) -> None:
    texts = _texts(random.Random(trial.seed), trial.quantity)
    _collect(Lake(str(tmp_path / "calm" / "lake"), "real"), [f"market-{n}" for n in range(3)])
    _collect(Lake(str(tmp_path / "hostile" / "lake"), "real"), texts)
    with trial.case("paths"):
        assert {path.name for path in tmp_path.iterdir()} == {"calm", "hostile"}
        assert _paths(tmp_path / "hostile") == _paths(tmp_path / "calm"), "paths differ"
        assert not [p for p in (tmp_path / "hostile").rglob("*") if MARK in str(p)]


def _cells(line: str) -> int:
    return line.count("│") + line.count("┃")


def _assert_a_table(shown: str, wanted: str) -> None:
    """All lines of each table have as many cells, and nothing moves the cursor."""
    bad = {c for c in shown if not c.isprintable() and c != "\n"}
    assert not bad, f"{bad} on the terminal"
    rows = [line for line in shown.split("\n") if _cells(line)]
    assert rows, "no table"
    assert wanted in shown, "the text is not there"


@pytest.mark.fault("SEC-02")
def test_no_text_breaks_a_table_on_a_terminal(trial: Trial, tmp_path: Path) -> None:
    texts = _texts(random.Random(trial.seed), trial.quantity)
    for number, text in enumerate(texts):
        row = {
            "grade": "A", "title": text, "market_id": text, "trusted_share": 1.0, "gaps": 1,
            "subscribed_s": 60.0, "longest_gap_s": 1.0, "main_cause": text,
        }  # fmt: skip
        cause = {"cause": text, "markets": 1, "gaps": 1, "market_seconds": 1.0, "longest_s": 1.0}
        gap = {"outcome_id": text, "cause": text, "start": DAY, "end": DAY + timedelta(seconds=1)}
        found = coverage_report.CoverageReport(
            venue="polymarket", date=DAY.date(), grades={"A": 1}, subscribed_s=60.0,
            trusted_s=60.0, files=1, damaged=0, markets=[row], causes=[cause], gaps=[gap],
        )  # fmt: skip
        page = io.StringIO()
        terminal = Console(file=page, width=400, force_terminal=True, color_system=None)
        with trial.case(f"{number}: {text[:30]!r}"):
            coverage_report.show(found, terminal, 5)
            wanted = f"{MARK}{number}" if number % 2 else text[:3].strip("\x00")
            _assert_a_table(page.getvalue(), wanted if wanted.isprintable() else "")
            counts = {_cells(line) for line in page.getvalue().split("\n")}
            assert counts <= {0, *_expected(page.getvalue())}, "a table is broken"


def _expected(shown: str) -> set[int]:
    """Cells of the heads of the tables."""
    return {line.count("┃") for line in shown.split("\n") if "┃" in line}


@pytest.mark.fault("SEC-02")
def test_commands_show_a_lake_of_such_markets(trial: Trial, tmp_path: Path) -> None:
    texts = _texts(random.Random(trial.seed), trial.quantity)
    lake = Lake(str(tmp_path / "lake"), "real")
    _collect(lake, texts)
    config = tmp_path / "surveillance.toml"
    config.write_text("")
    common = [
        "--venue", "polymarket", "--date", f"{DAY:%Y-%m-%d}", "--top", str(len(texts)),
        "--config", str(config), "--data-dir", lake.store.root,
    ]  # fmt: skip
    for command in (["summarize"], ["coverage", "--gaps"]):
        for json_output in (False, True):
            arguments = [*command, *common, *(["--json"] if json_output else [])]
            result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
            with trial.case(" ".join(arguments[:2])):
                assert result.exit_code == 0, f"{result.exception!r}: {result.output[-200:]}"
                if json_output:
                    json.loads(result.stdout)
                else:
                    _assert_a_table(result.stdout, MARK)


@pytest.mark.fault("SEC-02")
def test_no_text_is_markup_in_dagster(trial: Trial) -> None:
    for number, text in enumerate(_texts(random.Random(trial.seed), trial.quantity)):
        with trial.case(f"{number}: {text[:30]!r}"):
            head, rule, *rows = markdown_table([{"title": text, "n": 1}], ["title", "n"]).split(
                "\n"
            )
            assert len(rows) == 1, "a row more"
            borders = len(re.findall(r"(?<!\\)(?:\\\\)*\|", rows[0]))
            assert borders == head.count("|") == rule.count("|"), "a column more"
            assert len(rows[0]) < 250, "the text is not cut"
            bad = {c for c in rows[0] if not c.isprintable()}
            assert not bad, f"{bad} in the page"
            for opening in ("<", "](", "!["):
                assert not re.search(rf"(?<!\\){re.escape(opening)}", rows[0]), f"{opening} in it"


@pytest.mark.fault("SEC-02")
@pytest.mark.parametrize("json_lines", [False, True])
def test_no_text_forges_a_line_of_the_log(
    trial: Trial, capsys: pytest.CaptureFixture[str], json_lines: bool
) -> None:
    start_logging(json_lines=json_lines)
    log = structlog.get_logger()
    for number, text in enumerate(_texts(random.Random(trial.seed), trial.quantity)):
        log.warning("told", text=text, listed=[text], named={text: text})
        said = capsys.readouterr().err
        with trial.case(f"{number}: {text[:30]!r}"):
            plain = re.sub(r"\x1b\[[0-9;]*m", "", said) if not json_lines else said
            assert plain.count("\n") == 1, "a line more"
            bad = {c for c in plain[:-1] if not c.isprintable()}
            assert not bad, f"{bad} in the log"
            if json_lines:
                assert json.loads(said)["event"] == "told"
