"""A book doubted from outside the engine: untrusted since then, and asked for anew."""

from __future__ import annotations

import json

import pytest

from surveillance_collector.engine import Engine
from surveillance_collector.sampling import Tier
from surveillance_core.lake.schemas import COVERAGE
from surveillance_core.venues.kalshi.channel import KalshiChannel
from surveillance_core.venues.protocols import AssetTerms

from .worlds import SECOND, START_MS, START_NS, OneMarket, new_engine, rows_of, sampled

CAUSE = "witness_mismatch"
SINCE = START_NS + 3 * SECOND
NOW = START_NS + 4 * SECOND


class Polymarket:
    """One market, on one connection that has its book."""

    def __init__(self) -> None:
        self.market = OneMarket()
        self.engine: Engine = new_engine(sampled())
        self.terms = self.market.terms

    def book(self) -> str:
        return self.market.book_frame(START_MS)


class Kalshi:
    """The same at the other venue."""

    def __init__(self) -> None:
        self.engine = Engine(lambda reader: KalshiChannel(reader), sampled())
        self.terms = AssetTerms(market_id="KXA-1", asset_id="KXA-1", tick=100)
        self._seq = 0

    def book(self) -> str:
        self._seq += 1
        body = {
            "market_ticker": "KXA-1", "market_id": "",
            "yes_dollars_fp": [["0.4800", "10.00"]], "no_dollars_fp": [["0.5000", "7.50"]],
        }  # fmt: skip
        return json.dumps({"type": "orderbook_snapshot", "sid": 1, "seq": self._seq, "msg": body})


@pytest.mark.parametrize("kind", [Polymarket, Kalshi])
def test_a_doubted_book_is_untrusted_since_then_until_it_has_come_anew(
    kind: type[Polymarket | Kalshi],
) -> None:
    line = kind()
    engine, asset_id = line.engine, line.terms.asset_id
    engine.connect("c1", START_NS)
    engine.follow("c1", [line.terms], Tier.HOT, START_NS)
    engine.receive("c1", line.book(), START_NS + SECOND)
    engine.drain()
    engine.doubt("c1", asset_id, CAUSE, SINCE, NOW)
    engine.doubt("c1", asset_id, "again", SINCE, NOW + SECOND)
    engine.doubt("c1", "not followed", CAUSE, SINCE, NOW + SECOND)
    engine.doubt("c0", asset_id, CAUSE, SINCE, NOW + SECOND)
    output = engine.drain()
    (command,) = output.commands
    assert (command.conn, command.asset_ids, command.cause) == ("c1", (asset_id,), CAUSE)
    engine.receive("c1", line.book(), NOW + 2 * SECOND)
    engine.finish(NOW + 5 * SECOND)
    rows = rows_of([*output.rows, *engine.drain().rows], COVERAGE)
    spans = [(row["state"], row["cause"], row["ts_start"], row["ts_end"]) for row in rows]
    assert spans == [
        ("trusted", None, (START_NS + SECOND) // 1_000, SINCE // 1_000),
        ("untrusted", CAUSE, SINCE // 1_000, (NOW + 2 * SECOND) // 1_000),
        ("trusted", None, (NOW + 2 * SECOND) // 1_000, (NOW + 5 * SECOND) // 1_000),
    ]
    assert engine.counts[f"doubted_{CAUSE}"] == 1
