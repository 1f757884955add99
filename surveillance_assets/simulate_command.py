"""``surveillance simulate``: the simulated venues alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surveillance_core.command_line import (
    ConfigOption,
    DataDirOption,
    DateOption,
    JsonOption,
    console,
    day_of,
    print_json,
    reporting_failures,
    settings_from,
    start_logging,
)
from surveillance_core.markets import Venue

if TYPE_CHECKING:
    from surveillance_core.venues.simulated.servers import Endpoints


def simulate(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json_output: JsonOption = False,
    truth: Annotated[
        Path | None, typer.Option("--truth", help="Write the truth log to this file.")
    ] = None,
    frames: Annotated[
        bool, typer.Option("--frames", help="Every frame sent goes into the truth log too.")
    ] = False,
    faults: Annotated[
        Path | None, typer.Option("--faults", help="Do wrong what this TOML file schedules.")
    ] = None,
    captures: Annotated[
        Path | None,
        typer.Option("--captures", help="Serve Polymarket's recordings of this directory instead."),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option("--record", help="Do not serve: write a whole day's frames to this file."),
    ] = None,
    venue: Annotated[
        Venue, typer.Option("--venue", help="Whose frames --record writes.")
    ] = Venue.POLYMARKET,
    day: DateOption = None,
    seconds: Annotated[
        float | None, typer.Option("--for", min=0.0, help="Stop after this many seconds.")
    ] = None,
) -> None:
    """The simulated venues alone, on the loopback ports of [mock].

    Examples
    --------
      surveillance simulate

      surveillance simulate --truth truth.jsonl.zst --faults faults.toml --for 600

      surveillance simulate --captures recordings --for 60

      surveillance simulate --record day.jsonl.zst --venue kalshi --date 2026-09-01
    """
    from surveillance_assets.simulation import record_day, serve_captures, serve_simulation

    start_logging()
    with reporting_failures():
        settings = settings_from(config, data_dir).settings
        if record is not None:
            records = record_day(settings, venue, day_of(day), record)
            if json_output:
                print_json({"frames": records, "path": str(record)})
            else:
                console.print(f"{records:,} records in {record}", markup=False)
            return

        def ready(endpoints: Mapping[Venue, Endpoints]) -> None:
            if json_output:
                print_json({name.value: found for name, found in endpoints.items()})
                return
            for name, found in endpoints.items():
                console.print(f"{name:<12}{found.http_url}  {found.ws_url}", markup=False)

        if captures is not None:
            asyncio.run(serve_captures(settings, captures, seconds, ready))
            return
        asyncio.run(
            serve_simulation(
                settings, truth=truth, frames=frames, faults=faults, seconds=seconds, ready=ready
            )
        )
