"""The fault matrix: what may go wrong, how often it was tried, and what was lost by it."""
