"""The adapters' counts against the programs that proved the captures, run as they are."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from surveillance_core.books import tick_of
from surveillance_core.venues.kalshi.channel import KalshiChannel
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.protocols import AssetTerms
from tests.wire.captured import captured_files, held, recorded_assets

pytestmark = pytest.mark.process
KALSHI_LINE = re.compile(
    r"(?P<name>\S+?)\.jsonl(\.gz)? (?P<types>\{.*\}) .*gaps=(?P<gaps>\d+)"
    r" negative=(?P<negative>\d+) .*ticker_vs_book=(?P<agreed>\d+)/(?P<compared>\d+)"
)
HASH_LINE = re.compile(
    r"\s*(\d+) ok\s+(\d+) not\s+(book v4|price_change hash at batch end)\s+(\S+)"
)


def _output(shared: Path, program: str) -> Iterator[str]:
    path = shared / "checks" / program
    if not path.is_file():
        pytest.skip(f"no check program {path}")
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=True, timeout=120
    )
    yield from done.stdout.splitlines()


@pytest.fixture(scope="module")
def checked(shared: Path) -> dict[str, re.Match[str]]:
    found = map(KALSHI_LINE.match, _output(shared, "kalshi_check_ws.py"))
    return {match["name"]: match for match in found if match}


@pytest.fixture(scope="module")
def hashes(shared: Path) -> Counter[str]:
    counted = Counter[str]()
    for line in _output(shared, "polymarket_verify_hash.py"):
        if match := HASH_LINE.fullmatch(line):
            assert match[2] == "0"
            counted[Path(match[4]).stem] += int(match[1])
    return counted


@pytest.mark.parametrize("name", captured_files("captures/kalshi"))
def test_kalshi_counts_are_the_check_programs(checked: dict[str, re.Match[str]], name: str) -> None:
    expected = checked[Path(name).name.partition(".")[0]]
    types, agreed = Counter[str](), Counter[str]()
    for connection in held(name).connections:
        channel = KalshiChannel()
        for at, frame in enumerate(connection):
            named = channel.assets_named(frame)
            channel.follow(terms for terms in named if terms.asset_id not in channel.states)
            channel.receive(frame, at)
        types += channel.messages
        agreed["gaps"] += channel.sequence.gaps
        agreed["negative"] += channel.negative_levels
        agreed["compared"] += channel.tickers.compared
        agreed["agreed"] += channel.tickers.agreed
    assert types == ast.literal_eval(expected["types"])
    for count in ("gaps", "negative", "compared", "agreed"):
        assert agreed[count] == int(expected[count]), count


@pytest.mark.parametrize("name", captured_files("captures/polymarket"))
def test_polymarket_hashes_due_are_the_check_programs_and_all_match(
    hashes: Counter[str], name: str
) -> None:
    channel = PolymarketChannel()
    channel.follow(
        AssetTerms(
            market_id=record.market,
            asset_id=record.asset_id,
            tick=tick_of(record.tick_size or ""),
            min_order_size=record.min_order_size,
            neg_risk=record.neg_risk,
        )
        for record in recorded_assets(name)
    )
    frames = held(name).frames
    for at, frame in enumerate(frames):
        channel.receive(frame, at)
    channel.settle(len(frames) + 1)
    expected = hashes[Path(name).name.partition(".")[0]]
    assert channel.hashes.due == channel.hashes.matched == expected > 0
    assert channel.hashes.mismatched == 0
