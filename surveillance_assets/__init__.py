"""The Dagster code location: everything derived from what was collected, as daily assets.

Reading order: ``analytics`` holds the pure Polars functions, ``defs`` the assets, sensors and
schedules around them (the only Dagster imports, with ``definitions``), ``cli`` the commands.
Does not belong here: anything that talks to a socket or decides what to subscribe.
"""
