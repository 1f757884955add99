"""What both processes stand on: settings, markets, books, the lake, the venues' protocols.

Belongs here: types and pure functions that the collector and the Dagster assets share, and the
only code that knows where a file lies or how a venue spells a message.
Does not belong here: Dagster, event loops that own a socket, anything that decides *when* to run.
The simulated venues are the one exception: they serve sockets, because they are a venue.
"""
