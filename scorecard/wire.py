"""Real captures: every hash, every page, every fill, every file."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from scorecard.figure import SHARED, Figure, captures, run
from surveillance_core.books import OrderBook
from surveillance_core.markets import RewardTerms
from surveillance_core.venues.kalshi.channel import KalshiChannel
from surveillance_core.venues.kalshi.discovery import EventReader as KalshiReader
from surveillance_core.venues.kalshi.fees import Action, Fill, Liquidity, TradingFees, charge_fill
from surveillance_core.venues.listing import as_list
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.polymarket.discovery import EventReader
from surveillance_core.venues.polymarket.incentives import combine_sides, score_sides
from surveillance_core.venues.protocols import Discovery
from tests.wire.captured import FOLDERS, RECORDINGS, captured_files, held, values

SUBJECT = "real captures"
NOT_PAGES = ("forecastbench", "tags", "snapshot_")
"""Rules texts, a tag list, and descriptions of shapes: no market objects in them."""


def measure() -> Iterator[Figure]:
    """Replay with verification, discovery over every page, fills, rewards, every file."""
    yield from _replay("polymarket")
    yield from _replay("kalshi")
    yield from _pages()
    yield from _kalshi_pages()
    yield _fills()
    yield _reward_example()
    yield _every_file()


def _replay(venue: str) -> Iterator[Figure]:
    files = captures("captures", venue, "*.jsonl.gz")
    replay = f"replay --venue {venue} --verify"
    if not files:
        yield Figure(SUBJECT, replay, "captures absent", "exit code 0", None)
        return
    done = run(
        "surveillance-collector", "replay", *map(str, files), "--venue", venue, "--verify", "--json"
    )
    yield Figure(SUBJECT, f"{replay}: exit code", str(done.code), "0", done.code == 0)
    report = json.loads(done.output)
    tally, seq = report["hash"], report["seq"]
    if venue == "polymarket":
        yield Figure(
            SUBJECT,
            "Polymarket recordings: book hashes matched / due",
            f"{tally['matched']} / {tally['due']}",
            "all",
            tally["matched"] == tally["due"] > 0 and not tally["mismatched"],
        )
    else:
        yield Figure(
            SUBJECT,
            "Kalshi recordings: sequence gaps / streams",
            f"{seq['gaps']} / {seq['streams']}",
            "no gap",
            seq["streams"] > 0 and seq["gaps"] == 0,
        )
        negative = report["negative_levels"]
        yield Figure(
            SUBJECT, "Kalshi recordings: negative levels", str(negative), "0", negative == 0
        )
        yield _check_program(report["messages"])
    bad = sum(report["rejected"].values()) + report["damaged_lines"]
    yield Figure(SUBJECT, f"{replay}: frames rejected or lines damaged", str(bad), "0", bad == 0)


def _pages() -> Iterator[Figure]:
    files = [
        path
        for path in captures("polymarket", "gamma", "*")
        if not any(part in path.name for part in NOT_PAGES)
    ]
    what = "Gamma pages: markets kept + set aside with a reason / seen"
    if not files:
        yield Figure(SUBJECT, what, "captures absent", "equal", None)
        return
    reader = EventReader(datetime.now(UTC))
    for path in files:
        for value in _values(path):
            _read(value, reader)
    yield from _accounted(what, "reasons of those set aside", reader.found)


def _accounted(what: str, why: str, found: Discovery) -> Iterator[Figure]:
    kept, aside = len(found.markets), found.set_aside.total()
    yield Figure(
        SUBJECT,
        what,
        f"{kept:,} + {aside:,} / {found.seen:,}",
        "equal",
        kept + aside == found.seen > 0,
    )
    reasons = Counter(found.set_aside)
    shown = ", ".join(f"{name} {count}" for name, count in reasons.most_common())
    yield Figure(SUBJECT, why, shown, "each named", bool(reasons))


def _values(path: Path) -> list[object]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [json.loads(path.read_text(encoding="utf-8"))]


def _read(value: object, reader: EventReader) -> None:
    """Find events and bare markets wherever a capture holds them."""
    if isinstance(value, list):
        for item in cast("list[object]", value):
            _read(item, reader)
    elif isinstance(value, dict):
        members = cast("dict[str, object]", value)
        if isinstance(members.get("markets"), list):
            reader.read_event(members)
        elif "conditionId" in members:
            reader.read_market(members, None)
        else:
            for item in members.values():
                _read(item, reader)


def _kalshi_pages() -> Iterator[Figure]:
    """Every listing of the REST captures, their markets beside and within events."""
    what = "Kalshi pages: markets kept + set aside with a reason / seen"
    names = _names("kalshi/rest")
    if not names:
        yield Figure(SUBJECT, what, "captures absent", "equal", None)
        return
    reader = KalshiReader(datetime.now(UTC))
    for name in names:
        reader.terms.read_series(held(name).series)
    for name in names:
        reader.read_page(held(name).events)
        for market in held(name).markets:
            reader.read_market(market)
    yield from _accounted(what, "reasons of Kalshi's set aside", reader.finish())


def _check_program(counted: Mapping[str, int]) -> Figure:
    """The replay's message counts against those of the program that proved the recordings."""
    what = "Kalshi recordings: messages by type / by the check program"
    program = SHARED / "checks" / "kalshi_check_ws.py"
    if not program.is_file():
        return Figure(SUBJECT, what, "check program absent", "equal", None)
    types = Counter[str]()
    for found in re.findall(r"\{.*?\}", run(sys.executable, str(program)).output):
        types.update(cast("dict[str, int]", ast.literal_eval(found)))
    shown = f"{sum(counted.values()):,} / {types.total():,} of {len(types)} types"
    return Figure(SUBJECT, what, shown, "equal", types == counted and types.total() > 0)


def _fills() -> Figure:
    """Real fills charged anew; the halved series are those the venue listed so at the time."""
    what = "Kalshi fills: charged exactly / all"
    files = captures("kalshi", "rest", "fills_fee_check_*.json")
    if not files:
        return Figure(SUBJECT, what, "captures absent", "all", None)
    rows = cast("list[dict[str, Any]]", json.loads(files[0].read_text(encoding="utf-8")))
    rows = [row for row in rows if "fee_cost" in row]
    exact = sum(_charge(row) == Decimal(row["fee_cost"]) for row in rows)
    return Figure(SUBJECT, what, f"{exact} / {len(rows)}", "all", exact == len(rows) > 0)


def _charge(row: dict[str, Any]) -> Decimal:
    multiplier = Decimal("0.5") if row["ticker"].startswith("KXMLB") else Decimal(1)
    fill = Fill(
        price=Decimal(row[f"{row['side']}_price_dollars"]),
        contracts=Decimal(row["count_fp"]),
        action=Action(row["action"]),
        liquidity=Liquidity.TAKER if row["is_taker"] else Liquidity.MAKER,
    )
    return charge_fill(TradingFees(kind="quadratic", multiplier=multiplier), fill).charged


def _reward_example() -> Figure:
    """Polymarket's worked example: orders around 0.50, within three cents (mm_viability 3.1)."""
    terms = RewardTerms(min_size=50, max_spread=0.03)
    book = OrderBook({4_900: 200.0, 4_800: 200.0}, {5_150: 100.0, 5_200: 100.0, 5_050: 200.0})
    scores = score_sides(book, 5_000.0, terms)
    least = combine_sides(scores, 5_000.0)
    shown = f"{scores.bid:.2f}, {scores.ask:.2f}, {least:.2f}"
    return Figure(
        SUBJECT,
        "Polymarket rewards, worked example: both sides and the score",
        shown,
        "111.11, 175.00, 111.11",
        shown == "111.11, 175.00, 111.11",
    )


def _every_file() -> Figure:
    """Each capture through the readers and the channels of both venues, whatever it is."""
    what = "every captured file fed to both venues' adapters: exceptions"
    names = _names(*FOLDERS, *RECORDINGS)
    if not names:
        return Figure(SUBJECT, what, "captures absent", "0", None)
    fed = 0
    raised: list[str] = []
    for name in names:
        try:
            for value in values(name):
                fed += _feed(value)
            for channel in (PolymarketChannel(), KalshiChannel()):
                for frame in held(name).frames:
                    fed += 1
                    channel.receive(frame, fed)
        except Exception as error:
            raised.append(f"{name}: {type(error).__name__}")
    shown = ", ".join(raised) or f"0 in {len(names)} files, {fed:,} objects"
    return Figure(SUBJECT, what, shown, "0", not raised and fed > 0)


def _feed(value: object) -> int:
    """A captured value as everything that a venue could send; markets seen, and one for itself."""
    gamma, kalshi = EventReader(datetime.now(UTC)), KalshiReader(datetime.now(UTC))
    items = as_list(value)
    page = [value] if items is None else items
    gamma.read_page(page)
    gamma.read_market(value, None)
    for take in (kalshi.terms.read_series, kalshi.terms.read_incentives, kalshi.read_page):
        take(page)
    kalshi.terms.read_status(value)
    kalshi.read_market(value)
    text = json.dumps(value)
    for channel in (PolymarketChannel(), KalshiChannel()):
        channel.receive(text, 1)
    for found in (gamma.found, kalshi.finish()):
        if len(found.markets) + found.set_aside.total() != found.seen:
            raise ValueError(f"{found.seen} seen")
    return 1 + gamma.found.seen + kalshi.seen


def _names(*folders: str) -> list[str]:
    """Captured files below the folders, none where the captures are absent."""
    return [name for name in captured_files(*folders) if isinstance(name, str)]
