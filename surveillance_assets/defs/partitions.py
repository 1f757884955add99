"""The two ways assets are partitioned: a venue's day, and (later) a day across venues.

Belongs here: partition definitions and nothing else.
Concept: https://docs.dagster.io/guides/build/partitions-and-backfills
"""

from datetime import date

import dagster as dg

from surveillance_core.markets import Venue
from surveillance_core.settings import load_settings

# A static axis must be sorted: a range is a rectangle in list order, and an unsorted one can be
# empty and "succeed".
VENUES = sorted(venue.value for venue in Venue)

# end_offset=1: today, whose files are still arriving, is a partition.
days = dg.DailyPartitionsDefinition(
    start_date=load_settings().settings.orchestration.first_date, end_offset=1
)
venue_days = dg.MultiPartitionsDefinition(
    {"date": days, "venue": dg.StaticPartitionsDefinition(VENUES)}
)


def venue_day(key: str) -> tuple[Venue, date]:
    """Venue and date of a partition key, ``2026-09-01|polymarket``."""
    day, _, venue = key.partition("|")
    return Venue(venue), date.fromisoformat(day)
