"""Kalshi: its listing, its fees and incentives, its WebSocket's market data and its signatures.

Everything here but ``rest`` is pure, and ``signing`` reads one key file: bytes and parsed JSON in,
typed values out. What does not belong: connections, and figures that the venue may change.
"""
