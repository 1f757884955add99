"""Kalshi: discovery, the terms it lists, its fees and its incentive programmes.

Everything here but ``rest`` is pure: parsed JSON and the venue's own terms in, typed values out.
What does not belong: judging whether a quote is worth its cost, and anything that reads the lake.
"""
