"""Which prints a run answers for: those sent while its ledger says that it was listening."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from surveillance_assets.judgement import judge_venue
from surveillance_core.lake.layout import bucket_file
from surveillance_core.lake.publish import Lake, publish_rows, publish_universe, rows_to_table
from surveillance_core.lake.schemas import COVERAGE
from surveillance_core.markets import Venue
from surveillance_core.venues.protocols import Side
from surveillance_core.venues.simulated.truth import TrueMarket, TrueTrade, Truth
from tests.collector.worlds import listed_market

START = datetime(2026, 11, 2, 10, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000


def _ledger(lake: Lake, spans: list[tuple[int, int, str, str | None]]) -> None:
    """One market followed over these seconds from the hour's start, with state and cause."""
    market = listed_market("m", tokens=("yes", "no"))
    publish_universe(lake, Venue.POLYMARKET, START.date(), [market], writer="universe")
    rows = [
        ("m", "yes", START_US + a * 1_000_000, START_US + b * 1_000_000, state, cause)
        for a, b, state, cause in spans
    ]
    path = bucket_file(COVERAGE, Venue.POLYMARKET, START, "s", rows[0][2], rows[-1][3])
    publish_rows(
        lake,
        COVERAGE,
        path,
        Venue.POLYMARKET,
        START.date(),
        rows_to_table(COVERAGE, rows),
        writer="collector",
        time_column="ts_start",
    )


def _fills(seconds: list[int]) -> Truth:
    """One market, with a fill printed on Yes at each of these seconds."""
    start_ms = START_US // 1_000
    truth = Truth(markets={}, batches={}, trades=[])
    truth.markets[0] = TrueMarket(0, Venue.POLYMARKET, "m", "yes", "no", start_ms, (), ())
    truth.trades += [
        TrueTrade(
            market=0,
            batch_ms=start_ms + second * 1_000,
            print_ms=start_ms + second * 1_000,
            sent_ns=(START_US + second * 1_000_000) * 1_000,
            price=5_000,
            size=1.0,
            side=Side.BUY,
            on_yes=True,
            informed=False,
            transaction_hash=f"0x{second}",
        )
        for second in seconds
    ]
    return truth


@pytest.mark.parametrize(
    ("spans", "answers_for"),
    [
        pytest.param(
            [(0, 60, "trusted", None)], [30], id="nothing before or after the subscription"
        ),
        pytest.param(
            [
                (0, 60, "trusted", None),
                (60, 80, "untrusted", "reconnect"),
                (80, 120, "trusted", None),
            ],
            [30, 70, 90],
            id="a gap by a reconnect is the collector's",
        ),
        pytest.param(
            [(0, 60, "trusted", None), (60, 80, "untrusted", "stopped")],
            [30],
            id="the wait for a stopped collector's sockets is not",
        ),
    ],
)
def test_fills_are_missed_where_the_ledger_says_followed(
    lake: Lake, spans: list[tuple[int, int, str, str | None]], answers_for: list[int]
) -> None:
    _ledger(lake, spans)
    for second in (30, 70, 90, 130):
        judged = judge_venue(lake, Venue.POLYMARKET, [START.date()], _fills([second]))
        assert judged.trades.missing == (second in answers_for), second
        assert judged.faultless == (second not in answers_for)
