"""Fees of real fills against what the exchange charged, to the last digit."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from surveillance_core.venues.kalshi.fees import Action, Fill, Liquidity, TradingFees, charge_fill

Json = dict[str, Any]
FILLS = 33
HALVED = "KXMLB"
"""Series of this prefix were listed at half the fee when the fills were made; others in full."""


def _fill(row: Json) -> Fill:
    return Fill(
        price=Decimal(row[f"{row['side']}_price_dollars"]),
        contracts=Decimal(row["count_fp"]),
        action=Action(row["action"]),
        liquidity=Liquidity.TAKER if row["is_taker"] else Liquidity.MAKER,
    )


def test_every_fill_costs_what_was_charged(shared: Path) -> None:
    capture = shared / "fixtures" / "kalshi" / "rest" / "fills_fee_check_2026-08.json"
    rows: list[Json] = [
        row for row in msgspec.json.decode(capture.read_bytes()) if "fee_cost" in row
    ]
    wrong: list[tuple[str, Decimal, Decimal]] = []
    for row in rows:
        multiplier = Decimal("0.5") if row["ticker"].startswith(HALVED) else Decimal(1)
        terms = TradingFees(kind="quadratic", multiplier=multiplier)
        fee, charged = charge_fill(terms, _fill(row)).charged, Decimal(row["fee_cost"])
        if fee != charged:
            wrong.append((row["ticker"], fee, charged))
    assert not wrong
    assert len(rows) == FILLS
