"""How work that nobody has in hand comes back: the sweep, the next in an ordered line, claims without an answer."""
