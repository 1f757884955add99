"""Polymarket: Gamma discovery, the CLOB's REST books, the market channel.

Everything here but ``rest`` is pure: bytes and parsed JSON in, typed values out.
"""
