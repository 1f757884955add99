"""What ``surveillance scan`` does: venue after venue, with a progress line and a row for each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import date

import msgspec
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from surveillance_assets.progress import listening
from surveillance_core.command_line import CommandFailed, errors
from surveillance_core.markets import Venue


class ScanRow(msgspec.Struct, kw_only=True):
    """What a scan of one venue found; ``error`` says why it found nothing."""

    venue: str
    date: str
    markets: int = 0
    """Kept: tradable, and past the filters."""
    seen: int = 0
    tradable: int = 0
    set_aside: dict[str, int] = {}
    filtered: dict[str, int] = {}
    oddities: dict[str, int] = {}
    pages: int = 0
    requests: int = 0
    retries: int = 0
    throttled: int = 0
    """Answers of "too many requests" (429)."""
    waits: int = 0
    waited_seconds: float = 0.0
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    path: str = ""
    error: str | None = None


def scan_venues(venues: Sequence[Venue], day: date, *, force: bool) -> list[ScanRow]:
    """Scan the venues in turn; the failure of one is its row's and does not stop the others.

    Raises
    ------
    CommandFailed
        On an interrupt: what was scanned is published, what was not is as it was.
    """
    # imported when needed: importing Dagster takes seconds
    from surveillance_assets.defs.runs import materialise

    rows: list[ScanRow] = []
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as progress:
        for venue in venues:
            task = progress.add_task(f"scanning {venue}", total=None, said="")

            started = time.monotonic()

            def on_page(
                pages: int, markets: int, task: TaskID = task, started: float = started
            ) -> None:
                rate = markets / max(1e-3, time.monotonic() - started)
                said = f"{pages:,} pages, {markets:,} markets, {rate:,.0f} a second"
                progress.update(task, said=said)

            try:
                with listening(on_page):
                    done = materialise("universe", venue, day, {"force": force})
            except CommandFailed as error:
                rows.append(ScanRow(venue=venue.value, date=day.isoformat(), error=str(error)))
            except KeyboardInterrupt:
                raise _interrupted(venue) from None
            else:
                rows.append(_row(venue, day, done.metadata))
            progress.remove_task(task)
    return rows


def _row(venue: Venue, day: date, metadata: Mapping[str, object]) -> ScanRow:
    wanted = set(ScanRow.__struct_fields__) - {"venue", "date", "error"}
    figures = {name: value for name, value in metadata.items() if name in wanted}
    known = {"venue": venue.value, "date": day.isoformat()}
    return msgspec.convert(figures | known, ScanRow)


def _interrupted(venue: Venue) -> CommandFailed:
    return CommandFailed(f"interrupted while scanning {venue}; its last universe is kept")
