"""The always-on process: order books and trades from the venues into the lake.

Belongs here: what happens between a frame's arrival and its rows' publication, and nothing that
derives anything from them. ``engine`` is the pure heart (frames and ticks in, rows out); ``feed``,
``recorder`` and ``service`` are the thin edges with the socket, the files and the clock.
Does not belong here: Dagster, anything of ``surveillance_assets``.
"""
