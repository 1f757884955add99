"""One folder a venue, the same file names in each.

``discovery`` turns listing pages into markets, ``wire`` frames into typed messages, ``channel`` is
the protocol state machine of one market-data connection, ``integrity`` proves a book, ``rest`` is
the thin HTTP edge. ``protocols`` says what a venue must offer to the collector and the assets.
"""
