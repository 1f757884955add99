"""A simulated venue that speaks Polymarket's protocols on loopback, and the truth it was made of.

``families`` writes the listings (titles, rules text, identifiers), ``world`` moves prices and books
by a seed, ``frames`` and ``gamma`` spell them as the venue does, ``source`` and ``replay`` feed the
``servers`` from a world or from recordings, ``faults`` breaks them on request, ``truth`` keeps and
judges against what really happened, ``captures`` reads recordings, ``history`` makes frames without
sockets. Everything but ``servers`` and the market socket is pure.

What does not belong: anything that reads the lake or drives a collector, and anything that talks to
a real venue. Code outside the tests and the demo must not import from here, apart from the reader
of recordings.
"""
