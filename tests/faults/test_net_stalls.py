"""NET-01: a venue, a connection or a token that falls silent while pings are answered."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from random import Random

import pytest

from surveillance_core.venues.simulated.polymarket.market_socket import _Client
from surveillance_core.venues.simulated.servers import SimulatedPolymarket
from tests.collector.live import until, world_of

from .matrix import Tier, Trial
from .silences import (
    HEALED_S,
    MARKETS,
    RATE,
    SCALE,
    STALL_S,
    Quiet,
    Silence,
    Told,
    judge_ledgers,
    now_us,
    on_lake,
)

FOUND_S = 60.0
BESIDE = 4
"""Collectors that run at the same time."""


class Part(StrEnum):
    """What falls silent."""

    BIRTH = "a venue from the beginning"
    VENUE = "a venue"
    CONNECTION = "a connection"
    TOKEN = "a token"


def _mute(client: _Client) -> None:
    """The connection stays open and answers pings, and that is all."""
    queue = client.queue

    def only_pongs(frame: str | bytes) -> None:
        if frame == "PONG":
            queue(frame)

    client.queue = only_pongs


async def _silence(quiet: Quiet, part: Part, chance: Random) -> Silence:
    venue, primary = quiet.venue, quiet.primary
    if part is Part.VENUE:
        outcomes = list(primary)
        # longer than it may take to find it
        lasts = 1.2 * STALL_S
        venue.faults.stall(lasts)
        await until(lambda: venue.sockets.stalled, "it stalls")
        since = asyncio.get_running_loop().time() - (venue.sockets._stalled_until - lasts)
        began_us = now_us() - int(since * 1e6)
    elif part is Part.CONNECTION:
        feed = chance.choice(quiet.collector._feeds)
        outcomes = [outcome for outcome in primary if feed.holds(outcome)]
        clients = venue.sockets._clients
        own = {terms.asset_id for held in feed.held.values() for terms in held}
        (client,) = (each for each in clients if own <= each.assets)
        began_us = now_us()
        _mute(client)
    else:
        market = chance.choice(world_of(venue).tradable)
        outcomes = [market.yes_id]
        began_us = now_us()
        for token in (market.yes_id, market.no_id):
            venue.sockets._followers[token].clear()
    return await quiet.watch(part, outcomes, began_us)


async def _from_the_beginning(quiet: Quiet, trial: Trial, began: float) -> None:
    """Books that never came are asked for again, and the ledger trusts none before they come."""
    sockets, loop = quiet.venue.sockets, asyncio.get_running_loop()
    asked = (sockets.connections_made, sockets.received["subscribe"])
    await until(
        lambda: (sockets.connections_made, sockets.received["subscribe"]) != asked,
        "asked again",
        HEALED_S,
    )
    trial.detected_after((loop.time() - began) * SCALE)
    assert (loop.time() - began) * SCALE <= FOUND_S, "found too late"
    assert quiet.trusted(quiet.primary) == 0, "trusted without a book"


async def _fall_silent(trial: Trial, folder: Path, number: int, parts: Sequence[Part]) -> Told:
    chance = Random(trial.seed + number)
    silences: list[Silence] = []
    loop = asyncio.get_running_loop()
    async with SimulatedPolymarket(
        seed=trial.seed + number, markets=MARKETS, events_per_second=RATE
    ) as venue:
        if Part.BIRTH in parts:
            venue.faults.stall(STALL_S)
            await until(lambda: venue.sockets.stalled, "it stalls")
        async with on_lake(folder, venue, venue.ws_url) as quiet:
            began = loop.time()
            if Part.BIRTH in parts:
                with trial.case(Part.BIRTH):
                    await _from_the_beginning(quiet, trial, began)
            await quiet.all_trusted()
            for part in (part for part in parts if part is not Part.BIRTH):
                await asyncio.sleep(chance.uniform(0.5, 1.5))
                with trial.case(part):
                    silence = await _silence(quiet, part, chance)
                    silences.append(silence)
                    trial.detected_after(silence.detection_s)
                    assert silence.detection_s <= FOUND_S, (
                        f"found after {silence.detection_s:.1f} s"
                    )
                await quiet.all_trusted()
    return Told(quiet.lake, venue, silences)


@pytest.mark.fault("NET-01")
async def test_every_silence_is_found_and_in_the_ledger(trial: Trial, tmp_path: Path) -> None:
    if trial.tier is Tier.QUICK:
        plans = [[part] for part in (Part.BIRTH, Part.CONNECTION, Part.TOKEN)]
    else:
        plans = [list(Part)] * (trial.quantity // len(Part))
    assert sum(map(len, plans)) == trial.quantity
    for first in range(0, len(plans), BESIDE):
        told = await asyncio.gather(
            *(
                _fall_silent(trial, tmp_path / f"{number}", number, plans[number])
                for number in range(first, min(first + BESIDE, len(plans)))
            )
        )
        judge_ledgers(trial, told)
    trial.notes.append(f"at {SCALE:g} times the deployed speed")
