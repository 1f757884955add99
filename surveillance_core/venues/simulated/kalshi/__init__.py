"""The simulated Kalshi: its listing, its REST interface and its WebSocket over a shared world."""
