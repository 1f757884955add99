"""The simulated Polymarket: its listing, its frames, its sockets, on a world or on recordings."""
