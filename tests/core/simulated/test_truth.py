"""The judge: a right record passes, each kind of planted fault is found."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import polars as pl
import pytest

from surveillance_core.venues.protocols import Side
from surveillance_core.venues.simulated.happenings import EngineEvent
from surveillance_core.venues.simulated.judge import compare_books, compare_trades
from surveillance_core.venues.simulated.polymarket.history import record_history
from surveillance_core.venues.simulated.truth import Truth, TruthLog, read_truth
from surveillance_core.venues.simulated.world import World

START_MS = 1_790_000_000_000
END_MS = START_MS + 10_000
TOP_K = 5


def _world() -> World:
    return World(6, 10, start_ms=START_MS, events_per_second=100, trade_share=0.2)


@pytest.fixture
def truth(tmp_path: Path) -> Truth:
    path = tmp_path / "truth.zst"
    with TruthLog(path) as log:
        for _ in record_history(_world(), END_MS, log):
            pass
    return read_truth(path)


def _row(world: World, event: EngineEvent, *, mirrored: bool = False) -> dict[str, object]:
    listing = world.markets[event.market]
    bids = [(tick, size) for tick, size in reversed(event.bids)][:TOP_K]
    asks = [(tick, size) for tick, size in reversed(event.asks)][:TOP_K]
    if mirrored:
        bids, asks = (
            [(10_000 - t, s) for t, s in asks],
            [(10_000 - t, s) for t, s in bids],
        )
    return {
        "ts_recv": datetime.fromtimestamp(event.ts_ms / 1_000 + 0.01, UTC),
        "ts_venue": datetime.fromtimestamp(event.ts_ms / 1_000, UTC),
        "outcome_id": listing.no_id if mirrored else listing.yes_id,
        "bid_px": [t / 10_000 for t, _ in bids],
        "bid_sz": [s for _, s in bids],
        "ask_px": [t / 10_000 for t, _ in asks],
        "ask_sz": [s for _, s in asks],
        "trust": "verified",
    }


def _frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    lists = pl.List(pl.Float64)
    return pl.DataFrame(
        rows,
        schema={
            "ts_recv": pl.Datetime("us", "UTC"), "ts_venue": pl.Datetime("ms", "UTC"),
            "outcome_id": pl.String, "bid_px": lists, "bid_sz": lists, "ask_px": lists,
            "ask_sz": lists, "trust": pl.String,
        },
    )  # fmt: skip


def _rows() -> tuple[list[dict[str, object]], list[EngineEvent]]:
    world = _world()
    events = [e for e in world.advance(END_MS) if isinstance(e, EngineEvent)]
    return [_row(world, event, mirrored=event.ts_ms % 2 == 0) for event in events], events


def test_a_right_record_has_no_differences(truth: Truth) -> None:
    rows, events = _rows()
    found = compare_books(_frame(rows), truth)
    assert (found.compared, found.different, found.stale) == (len(events), 0, 0), found.examples


def test_a_wrong_level_is_found(truth: Truth) -> None:
    rows, _ = _rows()
    sizes = next(row["bid_sz"] for row in rows[100:] if row["bid_sz"])
    assert isinstance(sizes, list)
    sizes[0] += 0.01
    found = compare_books(_frame(rows), truth)
    assert found.different == 1
    assert "recorded" in found.examples[0]


def test_a_missing_level_is_found(truth: Truth) -> None:
    rows, _ = _rows()
    row = next(row for row in rows if len(cast("list[float]", row["ask_sz"])) == TOP_K)
    for column in ("ask_px", "ask_sz"):
        values = row[column]
        assert isinstance(values, list)
        row[column] = values[:-1]
    assert compare_books(_frame(rows), truth).different == 1


def test_a_stale_row_is_found(truth: Truth) -> None:
    rows, events = _rows()
    busiest = events[0].market
    mine = [place for place, event in enumerate(events) if event.market == busiest]
    later = events[mine[1]].ts_ms
    rows[mine[0]]["ts_recv"] = datetime.fromtimestamp(later / 1_000 + 1.5, UTC)
    found = compare_books(_frame(rows), truth)
    assert (found.different, found.stale) == (1, 1)
    assert "stale" in found.examples[0]


def test_a_time_without_a_batch_is_found(truth: Truth) -> None:
    rows, events = _rows()
    rows[0]["ts_venue"] = datetime.fromtimestamp((events[0].ts_ms - 1) / 1_000, UTC)
    assert compare_books(_frame(rows), truth).different == 1


def test_diverged_rows_are_counted_and_not_compared(truth: Truth) -> None:
    rows, events = _rows()
    rows[3]["trust"] = "diverged"
    rows[3]["bid_px"], rows[3]["bid_sz"] = [0.5], [1.0]
    found = compare_books(_frame(rows), truth)
    assert (found.compared, found.different, found.diverged) == (len(events) - 1, 0, 1)


def _trades(truth: Truth) -> list[dict[str, object]]:
    return [
        {
            "outcome_id": truth.markets[fill.market].yes_id,
            "price": fill.price / 10_000,
            "size": fill.size,
            "taker_side": str(fill.side),
            "transaction_id": fill.transaction_hash,
        }
        for fill in truth.trades
    ]


def test_trades_are_matched_missed_and_extra(truth: Truth) -> None:
    rows = _trades(truth)
    found = compare_trades(pl.DataFrame(rows), truth)
    assert (found.matched, found.missing, found.extra) == (len(rows), 0, 0)
    assert len(rows) > 20
    found = compare_trades(pl.DataFrame(rows[1:]), truth)
    assert (found.matched, found.missing, found.extra) == (len(rows) - 1, 1, 0)
    found = compare_trades(pl.DataFrame([*rows, rows[0]]), truth)
    assert (found.matched, found.missing, found.extra) == (len(rows), 0, 1)


def test_a_trade_in_terms_of_no_is_the_same_trade(truth: Truth) -> None:
    rows = _trades(truth)
    fill = truth.trades[0]
    rows[0] |= {
        "outcome_id": truth.markets[fill.market].no_id,
        "price": (10_000 - fill.price) / 10_000,
        "taker_side": "sell" if fill.side is Side.BUY else "buy",
    }
    assert compare_trades(pl.DataFrame(rows), truth).missing == 0


def test_fills_outside_the_subscribed_windows_are_not_missed(truth: Truth) -> None:
    empty = pl.DataFrame(_trades(truth)).clear()
    fill = truth.trades[0]
    market = truth.markets[fill.market]
    token = market.yes_id if fill.on_yes else market.no_id
    window = (fill.sent_ns, fill.sent_ns + 1)
    assert compare_trades(empty, truth, windows={token: [window]}).missing == 1
    assert compare_trades(empty, truth, windows={}).missing == 0
