"""NET-02: peers that are gone without a word, on connections that stay open."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from surveillance_core.venues.simulated.servers import SimulatedPolymarket
from tests.collector.live import port_of

from .black_hole import BlackHole, Vanishing, before
from .matrix import Trial
from .silences import (
    MARKETS,
    RATE,
    SCALE,
    Quiet,
    Silence,
    Told,
    judge_ledgers,
    now_us,
    on_lake,
)

FOUND_S = 30.0
A_COLLECTOR = 10
"""Connections that one collector loses, one after the other."""


async def _lose(quiet: Quiet, hole: BlackHole, way: Vanishing, chance: Random) -> Silence:
    feed = chance.choice([each for each in quiet.collector._feeds if each.connected])
    assert feed._socket is not None
    outcomes = [outcome for outcome in quiet.primary if feed.holds(outcome)]
    before_it = feed.endings["half_open"]
    began_us = now_us()
    told_us = hole.vanish(feed._socket.local_address[1], way)
    silence = replace(await quiet.watch(way, outcomes, began_us), told_us=told_us)
    assert feed.endings["half_open"] == before_it + 1, f"ended as {dict(feed.endings)}"
    return silence


async def _lose_connections(
    trial: Trial, folder: Path, number: int, ways: Sequence[Vanishing]
) -> Told:
    chance = Random(trial.seed + number)
    silences: list[Silence] = []
    async with (
        SimulatedPolymarket(
            seed=trial.seed + number, markets=MARKETS, events_per_second=RATE
        ) as venue,
        before(port_of(venue.ws_url)) as (hole, port),
    ):
        url = venue.ws_url.replace(str(port_of(venue.ws_url)), str(port))
        # what REST says is to have no part in it
        async with on_lake(folder, venue, url, witness_seconds=0.0) as quiet:
            await quiet.all_trusted()
            for way in ways:
                await asyncio.sleep(chance.uniform(0.5, 1.5))
                with trial.case(f"bytes {way}"):
                    silence = await _lose(quiet, hole, way, chance)
                    silences.append(silence)
                    trial.detected_after(silence.detection_s)
                    assert silence.detection_s <= FOUND_S, (
                        f"found after {silence.detection_s:.1f} s"
                    )
                await quiet.all_trusted()
    return Told(quiet.lake, venue, silences)


@pytest.mark.fault("NET-02")
async def test_a_peer_that_is_gone_is_given_up_and_dated(trial: Trial, tmp_path: Path) -> None:
    ways = [tuple(Vanishing)[number % len(Vanishing)] for number in range(trial.quantity)]
    left = iter(ways)
    plans = iter(lambda: list(islice(left, A_COLLECTOR)), [])
    told = await asyncio.gather(
        *(
            _lose_connections(trial, tmp_path / f"{number}", number, plan)
            for number, plan in enumerate(plans)
        )
    )
    judge_ledgers(trial, told)
    trial.notes.append(f"at {SCALE:g} times the deployed speed")
