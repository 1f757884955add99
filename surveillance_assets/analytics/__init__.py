"""Pure Polars: LazyFrames of lake tables in, LazyFrames out. No Dagster, no files, no clock.

Every frame carries ``venue`` and ``date`` beside the table's own columns, so that one call serves a
single day and a range of days alike; nothing crosses from one (venue, date) into another.
"""
