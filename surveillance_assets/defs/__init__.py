"""Assets, checks, sensors and schedules, one module a concern.

Belongs here: what Dagster must know (keys, partitions, groups, metadata, when to run) and one call
into pure code. Does not belong here: a formula, a file path, a loop over rows. With
``surveillance_assets.definitions`` these are the only modules that import Dagster.
Concepts: https://docs.dagster.io/guides/build/assets
"""
